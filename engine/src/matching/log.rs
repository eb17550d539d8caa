//! One of the two logs: the batches with data that were read and not yet dealt with.

use std::collections::VecDeque;

use protocol_client::batch::{BatchError, Entry, TxnFilter, Verdict};

use super::Chunk;
use super::print::{Opener, Print};
use crate::model::Side;

/// A batch with data.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) entry: Entry,
    /// Offset from which on it accounts for something; for old formats, where what was before ends.
    pub(super) first: i64,
    /// Offsets before `first` that nothing stands at.
    pub(super) hole: u64,
    /// Offsets before `first` at which markers or aborted records stand.
    steps: u64,
    /// Whether its hole has been counted.
    pub(super) entered: bool,
    /// Index of the next record.
    pub(super) at: usize,
    prints: Option<Vec<Print>>,
}

impl Held {
    /// Whether nothing of it has been looked at, and nothing of it is out of bounds.
    pub(super) fn is_whole(&self, to: i64) -> bool {
        self.at == 0 && self.entry.base_offset() >= self.first && self.entry.next_offset() <= to
    }

    /// Offsets of markers and aborted records between `from`, up to which all has been dealt with, and it.
    pub(super) fn steps_from(&self, from: i64) -> u64 {
        if from <= self.first { self.steps } else { 0 }
    }

    /// The leader epoch that it was written in, or -1.
    pub(super) fn epoch(&self) -> i32 {
        self.entry.header().map_or(-1, |header| header.partition_leader_epoch())
    }

    /// The producer that wrote it, or -1.
    pub(super) fn producer_id(&self) -> i64 {
        self.entry.header().map_or(-1, |header| header.producer_id())
    }
}

/// A log as far as it is held: everything from `held_from` to `next`.
#[derive(Debug)]
pub(super) struct Log {
    side: Side,
    pub(super) batches: VecDeque<Held>,
    pub(super) bytes: usize,
    /// All that was taken in, in bytes.
    pub(super) read_bytes: usize,
    /// Everything from here on is held.
    pub(super) held_from: i64,
    /// Next offset to ask for.
    pub(super) next: i64,
    /// Offsets from here on do not count.
    pub(super) to: i64,
    /// Where it ends, once that is known.
    pub(super) end: Option<i64>,
    /// Behind the last batch that left anything.
    covered: i64,
    /// Offsets that nothing stands at, since the last batch with data.
    hole: u64,
    /// Offsets of markers and aborted records since then.
    pub(super) steps: u64,
    /// The first thing of it is the marker of a transaction.
    pub(super) starts_with_marker: bool,
}

impl Log {
    pub(super) fn new(side: Side, from: i64, to: i64) -> Self {
        Self {
            side,
            batches: VecDeque::new(),
            bytes: 0,
            read_bytes: 0,
            held_from: from,
            next: from,
            to,
            end: None,
            covered: from,
            hole: 0,
            steps: 0,
            starts_with_marker: false,
        }
    }

    /// Whether there is nothing more to read.
    pub(super) fn is_exhausted(&self) -> bool {
        self.end.is_some() || self.next >= self.to
    }

    /// Offsets at the end that nothing stands at.
    pub(super) fn trailing_hole(&self) -> u64 {
        self.hole + (self.to - self.covered).max(0).unsigned_abs()
    }

    /// Offsets between `from`, up to which all has been dealt with, and `print`, which comes next,
    /// at which nothing stands; without a print, those to the end of what was read.
    pub(super) fn room(&self, from: i64, print: Option<&Print>) -> u64 {
        let (to, steps) = match (print, self.batches.front()) {
            (Some(print), Some(held)) => (print.offset, held.steps_from(from)),
            (Some(print), None) => (print.offset, 0),
            (None, _) => (self.next, self.steps),
        };
        (to - from).max(0).unsigned_abs().saturating_sub(steps)
    }

    /// Takes in what was read at `next`.
    pub(super) fn accept(&mut self, chunk: Chunk) -> Result<(), BatchError> {
        if chunk.start > self.next {
            // A log that begins within a batch still gives the whole batch, and nobody else reads what is before.
            let start = chunk.start.min(self.to);
            self.hole += (start - self.covered).max(0).unsigned_abs();
            (self.covered, self.next) = (start, start);
        }
        let mut filter = TxnFilter::new(chunk.aborted);
        for entry in chunk.entries {
            let verdict = filter.judge(&entry)?;
            let behind = entry.next_offset();
            if behind <= self.next || self.next >= self.to {
                continue;
            }
            self.next = behind;
            let header = entry.header();
            if header.is_some_and(|header| header.record_count() == 0) {
                continue;
            }
            // An old format names its last offset only: its holes show when it is open.
            let first = header.map_or(self.covered, |header| header.base_offset());
            let first = first.max(self.covered);
            self.hole += (first - self.covered).unsigned_abs();
            self.covered = behind.min(self.to);
            self.starts_with_marker |=
                entry.is_control() && first == self.held_from && self.hole == 0;
            if entry.is_control() || verdict == Verdict::Aborted {
                self.steps += (self.covered - first).max(0).unsigned_abs();
                continue;
            }
            let hole = std::mem::take(&mut self.hole);
            let steps = std::mem::take(&mut self.steps);
            self.bytes += entry.bytes().len();
            self.read_bytes += entry.bytes().len();
            self.batches.push_back(Held {
                entry,
                first,
                hole,
                steps,
                entered: false,
                at: 0,
                prints: None,
            });
        }
        self.end = chunk.end;
        self.next = self.next.max(chunk.end.unwrap_or(self.next).min(self.to));
        Ok(())
    }

    /// The records of the batch at `index`, kept open.
    pub(super) fn prints(
        &mut self,
        opener: &mut Opener,
        index: usize,
    ) -> Result<&[Print], BatchError> {
        let Some(held) = self.batches.get_mut(index) else { return Ok(&[]) };
        if held.prints.is_none() {
            held.prints = Some(opener.open(self.side, &held.entry, held.first, self.to)?);
        }
        Ok(held.prints.as_deref().unwrap_or_default())
    }

    /// The next record of the first batch, if there is one.
    pub(super) fn head(&mut self, opener: &mut Opener) -> Result<Option<Print>, BatchError> {
        let Some(at) = self.batches.front().map(|held| held.at) else { return Ok(None) };
        Ok(self.prints(opener, 0)?.get(at).copied())
    }

    /// Goes to the next record.
    pub(super) fn advance(&mut self) {
        if let Some(held) = self.batches.front_mut() {
            held.at += 1;
            if held.prints.as_ref().is_some_and(|prints| held.at >= prints.len()) {
                self.pop();
            }
        }
    }

    /// Leaves the first batch.
    pub(super) fn pop(&mut self) {
        if let Some(held) = self.batches.pop_front() {
            self.bytes = self.bytes.saturating_sub(held.entry.bytes().len());
            self.held_from = held.entry.next_offset();
        }
    }

    /// Makes the record at `offset` (or the one behind it) the next one, as far as it is held.
    pub(super) fn seek(&mut self, opener: &mut Opener, offset: i64) -> Result<(), BatchError> {
        if offset < self.held_from {
            *self = Self::new(self.side, offset, self.to);
            return Ok(());
        }
        while self.batches.front().is_some_and(|held| held.entry.next_offset() <= offset) {
            self.pop();
        }
        if self.batches.front().is_some_and(|held| held.is_whole(self.to) && held.first >= offset) {
            return Ok(());
        }
        let at = self.prints(opener, 0)?.partition_point(|print| print.offset < offset);
        if let Some(held) = self.batches.front_mut() {
            held.at = held.at.max(at);
        }
        Ok(())
    }
}
