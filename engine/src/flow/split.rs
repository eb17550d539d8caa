//! One partition that several lanes read at once: each fetches a span of offsets ahead of the others, and what comes is
//! handed over in order.
//!
//! Where a span starts is guessed from how many bytes an offset took so far. A broker answers with the batch that holds the
//! offset, so a guess within a batch costs that batch twice and nothing else: what is known already is dropped when it is
//! handed over. Where a guess leaves a hole, the next span is the hole.
//!
//! Invariants: (a) spans are in order of their starts; (b) what is handed over starts at or
//! before the next offset, so that nothing is left out; (c) the bytes in `ahead_bytes` are those of all spans, asked for
//! or held.

use std::collections::VecDeque;

use bytes::Bytes;
use protocol_client::batch;
use protocol_client::wire::fetch::AbortedTransaction;

use super::frames::{Charge, Frames};

/// Names a span; never used twice by a partition.
pub(super) type Ticket = u64;

/// A span that a lane is to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) ticket: Ticket,
    pub(super) start: i64,
    pub(super) max_bytes: usize,
}

/// What came for a span.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) records: Bytes,
    pub(super) aborted: Vec<AbortedTransaction>,
    pub(super) charge: Charge,
}

/// The spans of one partition.
#[derive(Debug, Default)]
pub(super) struct Split {
    spans: VecDeque<Span>,
    ahead_bytes: usize,
    shape: Shape,
}

#[derive(Debug)]
struct Span {
    ticket: Ticket,
    /// Where it begins: as asked for, or the first offset that came, if that lies before.
    start: i64,
    /// Where it ends: a guess until it has come.
    end: i64,
    bytes: usize,
    piece: Option<Piece>,
}

/// What batches have been like.
#[derive(Debug, Default, Clone, Copy)]
struct Shape {
    /// Bytes and offsets of the last piece.
    bytes: usize,
    offsets: i64,
    largest_batch_bytes: usize,
    /// How many offsets each batch has, if all have the same.
    batch_offsets: Option<i64>,
}

impl Shape {
    /// Of a piece, and where its whole batches begin and end; `None` if it has none.
    fn of(records: &Bytes) -> Option<(Self, i64, i64)> {
        let mut shape = Self::default();
        let mut ends: Option<(i64, i64)> = None;
        for entry in batch::walk(records).map_while(Result::ok) {
            let (first, next) = (entry.base_offset(), entry.next_offset());
            let offsets = next.saturating_sub(first);
            shape.batch_offsets = match ends {
                None => Some(offsets),
                Some(_) => shape.batch_offsets.filter(|same| *same == offsets),
            };
            shape.bytes += entry.bytes().len();
            shape.largest_batch_bytes = shape.largest_batch_bytes.max(entry.bytes().len());
            ends = Some((ends.map_or(first, |(start, _)| start.min(first)), next));
        }
        let (start, end) = ends?;
        shape.offsets = end.saturating_sub(start).max(1);
        Some((shape, start, end))
    }

    /// How many offsets to expect of at most so many bytes, and how many bytes to ask for to get them.
    fn stride(&self, wish_bytes: usize) -> (i64, usize) {
        let batch = self.largest_batch_bytes.max(1);
        if let Some(offsets) = self.batch_offsets {
            // Batches are alike: so many whole ones, a little larger than the largest seen.
            let count = (wish_bytes / (batch + batch / 16)).max(1);
            let bytes = count * batch + batch / 16;
            return (offsets.saturating_mul(count as i64).max(1), bytes);
        }
        // The first and the last batch may be cut by the guess.
        let sure = wish_bytes.saturating_sub(2 * batch).max(wish_bytes / 2);
        (self.offsets_in(sure), wish_bytes)
    }

    fn offsets_in(&self, bytes: usize) -> i64 {
        let offsets = bytes as f64 * self.offsets as f64 / self.bytes.max(1) as f64;
        (offsets as i64).max(1)
    }

    fn bytes_of(&self, offsets: i64) -> usize {
        (offsets as f64 * self.bytes as f64 / self.offsets.max(1) as f64) as usize
    }
}

impl Split {
    /// Begins with what the last answer was like.
    pub(super) fn new(records: &Bytes) -> Self {
        let shape = Shape::of(records).map(|(shape, ..)| shape).unwrap_or_default();
        Self { shape, ..Self::default() }
    }

    /// Whether nothing is asked for and nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The largest batch of late, in bytes.
    pub(super) fn largest_batch_bytes(&self) -> usize {
        self.shape.largest_batch_bytes
    }

    /// The next span to fetch of what lies between `next` and `end`: the first that nobody has asked for, as long as all
    /// that is ahead stays within `ahead_limit_bytes`. What is next to be handed over is always asked for. The ticket is one
    /// that no span had before.
    pub(super) fn ask(
        &mut self,
        ticket: Ticket,
        next: i64,
        end: i64,
        wish_bytes: usize,
        ahead_limit_bytes: usize,
    ) -> Option<Asked> {
        let mut start = next;
        let mut at = 0;
        for span in &self.spans {
            if span.start > start {
                break;
            }
            start = start.max(span.end);
            at += 1;
        }
        let is_head = start == next;
        let has_room = self.ahead_bytes + wish_bytes <= ahead_limit_bytes;
        if start >= end || !(is_head || has_room) {
            return None;
        }
        let (mut offsets, mut max_bytes) = self.shape.stride(wish_bytes);
        if let Some(behind) = self.spans.get(at) {
            let hole = behind.start - start;
            if hole < offsets {
                offsets = hole;
                let batch = self.shape.largest_batch_bytes;
                let bytes = self.shape.bytes_of(hole).max(batch) + batch / 8 + 1;
                max_bytes = max_bytes.min(bytes);
            }
        }
        let span = Span {
            ticket,
            start,
            end: start.saturating_add(offsets),
            bytes: max_bytes,
            piece: None,
        };
        self.spans.insert(at, span);
        self.ahead_bytes += max_bytes;
        Some(Asked { ticket, start, max_bytes })
    }

    /// Bytes that could be handed over now, from the offset `next` on.
    pub(super) fn due_bytes(&self, next: i64) -> usize {
        let mut end = next;
        let mut bytes = 0;
        for span in &self.spans {
            if span.piece.is_none() || span.start > end {
                break;
            }
            end = end.max(span.end);
            bytes += span.bytes;
        }
        bytes
    }

    /// Whether a span is still to come.
    pub(super) fn awaits(&self, ticket: Ticket) -> bool {
        self.spans.iter().any(|span| span.ticket == ticket && span.piece.is_none())
    }

    /// Takes what came for a span. Gives it back if nobody asked for it any more, or if there is no whole batch in it.
    pub(super) fn arrive(&mut self, ticket: Ticket, piece: Piece) -> Result<(), Piece> {
        let Some(at) = self.spans.iter().position(|span| span.ticket == ticket) else {
            return Err(piece);
        };
        let Some((shape, first, end)) = Shape::of(&piece.records) else {
            self.remove(at);
            return Err(piece);
        };
        let Some(mut span) = self.remove(at) else { return Err(piece) };
        self.shape = shape;
        span.start = span.start.min(first);
        span.end = end;
        span.bytes = piece.records.len();
        span.piece = Some(piece);
        // A span may begin earlier than it was thought.
        let at = self.spans.partition_point(|other| other.start < span.start);
        self.ahead_bytes += span.bytes;
        self.spans.insert(at, span);
        Ok(())
    }

    /// Nothing will come for a span.
    pub(super) fn lose(&mut self, ticket: Ticket) {
        if let Some(at) = self.spans.iter().position(|span| span.ticket == ticket) {
            self.remove(at);
        }
    }

    /// The next piece to hand over: one that holds the offset `next`. Pieces that hold nothing new are let go.
    pub(super) fn take(&mut self, next: i64, frames: &mut Frames) -> Option<Piece> {
        loop {
            let is_due = |span: &Span| span.piece.is_some() && span.start <= next;
            let at = self.spans.iter().position(is_due)?;
            let span = self.remove(at)?;
            let piece = span.piece?;
            if span.end > next {
                return Some(piece);
            }
            frames.release(piece.charge);
        }
    }

    /// Lets go of everything.
    pub(super) fn clear(&mut self, frames: &mut Frames) {
        let pieces = self.spans.drain(..).filter_map(|span| span.piece);
        pieces.for_each(|piece| frames.release(piece.charge));
        self.ahead_bytes = 0;
    }

    fn remove(&mut self, at: usize) -> Option<Span> {
        let span = self.spans.remove(at)?;
        self.ahead_bytes = self.ahead_bytes.saturating_sub(span.bytes);
        Some(span)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::budget::Budget;

    const LIMIT: usize = 1 << 20;

    /// A log: the first offset of each batch, the one behind it, and its bytes.
    #[derive(Debug, Clone)]
    struct Log(Vec<(i64, i64, Bytes)>);

    impl Log {
        /// Batches of so many records, their values of so many bytes, behind so many missing offsets.
        fn of(batches: &[(u8, u8, u8)]) -> Self {
            let mut next = 0;
            let batches = batches.iter().map(|(count, value_bytes, missing)| {
                let mut builder = batch::BatchBuilder::new();
                for _ in 0..*count {
                    builder.push(None, Some(&vec![7; usize::from(*value_bytes)]), &[], 5);
                }
                let first = next + i64::from(*missing);
                let mut bytes = builder.build().expect("records were pushed").bytes.to_vec();
                bytes[..8].copy_from_slice(&first.to_be_bytes());
                next = first + i64::from(*count);
                (first, next, bytes.into())
            });
            Self(batches.collect())
        }

        fn end(&self) -> i64 {
            self.0.last().map_or(0, |(_, next, _)| *next)
        }

        /// What a broker sends: from the batch that holds the offset on, one whole batch at least, and the last one cut.
        fn read(&self, offset: i64, max_bytes: usize) -> Bytes {
            let mut all = Vec::new();
            let mut limit = max_bytes;
            for (_, _, bytes) in self.0.iter().filter(|(_, next, _)| *next > offset) {
                if all.is_empty() {
                    limit = limit.max(bytes.len());
                }
                all.extend_from_slice(bytes);
            }
            all.truncate(limit);
            all.into()
        }
    }

    /// A reader that hands over as a partition does, and some lanes.
    struct Reader {
        log: Log,
        split: Split,
        frames: Frames,
        next: i64,
        asked: Ticket,
        read: Vec<i64>,
        under_way: Vec<Asked>,
        fetched_bytes: usize,
    }

    impl Reader {
        fn new(log: Log) -> Self {
            let first = log.read(0, 1);
            Self {
                split: Split::new(&first),
                log,
                frames: Frames::new(Budget::alone(LIMIT)),
                next: 0,
                asked: 0,
                read: Vec::new(),
                under_way: Vec::new(),
                fetched_bytes: 0,
            }
        }

        fn ask(&mut self, wish_bytes: usize) -> bool {
            self.asked += 1;
            let asked = self.split.ask(self.asked, self.next, self.log.end(), wish_bytes, LIMIT);
            self.under_way.extend(asked);
            asked.is_some()
        }

        fn answer(&mut self, at: usize) {
            let asked = self.under_way.remove(at % self.under_way.len());
            let records = self.log.read(asked.start, asked.max_bytes);
            self.fetched_bytes += records.len();
            let frame = self.frames.enter(records.len());
            let charge = self.frames.share(frame);
            self.frames.release(Charge::Frame(frame));
            if self.split.awaits(asked.ticket) {
                let piece = Piece { records, aborted: Vec::new(), charge };
                self.split.arrive(asked.ticket, piece).expect("one whole batch at least");
            } else {
                self.frames.release(charge);
            }
            while let Some(piece) = self.split.take(self.next, &mut self.frames) {
                for entry in batch::walk(&piece.records).map_while(Result::ok) {
                    if entry.next_offset() > self.next {
                        assert!(entry.base_offset() >= self.next, "a batch is known or it is not");
                        self.read.push(entry.base_offset());
                        self.next = entry.next_offset();
                    }
                }
                self.frames.release(piece.charge);
            }
        }

        fn lose(&mut self, at: usize) {
            let asked = self.under_way.remove(at % self.under_way.len());
            self.split.lose(asked.ticket);
        }

        fn check(&mut self) {
            let there: Vec<i64> = self.log.0.iter().map(|(first, ..)| *first).collect();
            assert_eq!(self.read, there, "everything once and in order");
            assert_eq!(self.split.ahead_bytes, 0);
            assert_eq!(self.frames.used_bytes(), 0);
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Ask(usize),
        Answer(usize),
        Lose(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1usize..3000).prop_map(Step::Ask),
            3 => any::<usize>().prop_map(Step::Answer),
            1 => any::<usize>().prop_map(Step::Lose),
        ]
    }

    proptest! {
        /// Whatever lanes do: nothing is left out, repeated or out of order, and it comes to an end.
        #[test]
        fn everything_comes_once_and_in_order(
            batches in proptest::collection::vec((1u8..9, 0u8..90, 0u8..3), 1..60),
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut reader = Reader::new(Log::of(&batches));
            for step in steps {
                match step {
                    Step::Ask(wish_bytes) => drop(reader.ask(wish_bytes)),
                    Step::Answer(at) if !reader.under_way.is_empty() => reader.answer(at),
                    Step::Lose(at) if !reader.under_way.is_empty() => reader.lose(at),
                    _ => {}
                }
            }
            for _ in 0..200 {
                while reader.under_way.len() < 3 && reader.ask(700) {}
                if !reader.under_way.is_empty() {
                    reader.answer(0);
                }
            }
            reader.check();
        }
    }

    #[test]
    fn batches_that_are_alike_are_hardly_read_twice() {
        for batch in [(8, 90, 0), (1, 90, 0)] {
            let mut reader = Reader::new(Log::of(&[batch; 240]));
            while reader.next < reader.log.end() {
                while reader.under_way.len() < 8 && reader.ask(16_000) {}
                reader.answer(0);
            }
            reader.check();
            let bytes: usize = reader.log.0.iter().map(|(_, _, bytes)| bytes.len()).sum();
            let waste = reader.fetched_bytes - bytes;
            assert!(waste * 20 < bytes, "{waste} of {bytes}");
        }
    }

    #[test]
    fn what_is_ahead_stays_within_its_limit_but_the_head_goes_on() {
        let log = Log::of(&[(4, 90, 0); 100]);
        let mut split = Split::new(&log.read(0, 1));
        let first = split.ask(1, 0, log.end(), 4000, 9000).expect("nothing is ahead");
        assert!(split.ask(2, 0, log.end(), 4000, 9000).is_some());
        assert_eq!(split.ask(3, 0, log.end(), 4000, 9000), None, "there is no room");
        split.lose(first.ticket);
        let again = split.ask(4, 0, log.end(), 4000, 0).expect("the head");
        assert_eq!((again.start, again.ticket > first.ticket), (0, true));
        assert_eq!(split.ask(5, log.end(), log.end(), 4000, 9000), None, "the end");
    }
}
