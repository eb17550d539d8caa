//! A partition that several lanes read ahead of each other.

use bytes::Bytes;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::{FetchedPartition, Isolation};

use super::{Cx, PartitionFlow, Run, SourceState};
use crate::flow::frames::{Charge, FrameKey, Frames};
use crate::flow::split::{Asked, Piece, Split, Ticket};
use crate::model::Side;

impl PartitionFlow {
    pub(in crate::flow) fn is_split(&self) -> bool {
        self.split.is_some()
    }

    /// Several lanes read on from here; the last records tell what batches are like.
    pub(in crate::flow) fn begin_split(&mut self, records: &Bytes) {
        if self.split.is_none() && self.takes_records() && self.fetch_offset < self.readable_end {
            self.split = Some(Box::new(Split::new(records)));
        }
    }

    /// One lane reads on; what came ahead of its turn is let go of and comes again.
    pub(in crate::flow) fn end_split(&mut self, frames: &mut Frames) {
        if let Some(mut split) = self.split.take() {
            split.clear(frames);
        }
    }

    /// Nothing is under way and nothing waits for its turn.
    pub(in crate::flow) fn is_split_empty(&self) -> bool {
        self.split.as_deref().is_some_and(Split::is_empty)
    }

    /// Neither is there anything to ask for.
    pub(in crate::flow) fn is_split_over(&self) -> bool {
        self.is_split_empty() && (self.fetch_offset >= self.readable_end || !self.takes_records())
    }

    /// Whether a span is still to come.
    pub(in crate::flow) fn awaits_span(&self, ticket: Ticket) -> bool {
        self.split.as_ref().is_some_and(|split| split.awaits(ticket))
    }

    /// Whether a span is what has to be handed over next.
    pub(in crate::flow) fn is_next(&self, asked: Asked) -> bool {
        self.split.is_some() && asked.start <= self.fetch_offset
    }

    pub(in crate::flow) fn largest_batch_bytes(&self) -> usize {
        self.split.as_deref().map_or(0, Split::largest_batch_bytes)
    }

    /// What one more lane should read, of about so many bytes. With a limit of 0 only holes are read.
    pub(in crate::flow) fn next_span(
        &mut self,
        ticket: Ticket,
        wish_bytes: usize,
        ahead_limit_bytes: usize,
    ) -> Option<Asked> {
        if !self.takes_records() {
            return None;
        }
        let split = self.split.as_mut()?;
        // A target that is slow must not make this partition hold what others could use.
        if split.due_bytes(self.fetch_offset) > ahead_limit_bytes / 4 * 3 {
            return None;
        }
        if ahead_limit_bytes == 0 && split.is_empty() {
            return None;
        }
        split.ask(ticket, self.fetch_offset, self.readable_end, wish_bytes, ahead_limit_bytes)
    }

    /// The answer for a span. Whatever is wrong with it shows again, and is dealt with, where the log is read in order.
    pub(in crate::flow) fn on_span(
        &mut self,
        ticket: Ticket,
        answer: &FetchedPartition,
        frame: FrameKey,
        cx: &mut Cx<'_>,
    ) {
        let Some(split) = self.split.as_mut().filter(|split| split.awaits(ticket)) else { return };
        let is_good = answer.error == ErrorCode::NONE
            && answer.diverging.is_none()
            && self.run != Run::Failed
            && self.source == SourceState::Ready;
        if !is_good {
            return self.end_split(cx.frames);
        }
        let charge = cx.frames.share(frame);
        let (records, aborted) = (answer.records.clone(), answer.aborted.clone());
        if let Err(piece) = split.arrive(ticket, Piece { records, aborted, charge }) {
            cx.frames.release(piece.charge);
            return self.end_split(cx.frames);
        }
        self.high_watermark = answer.high_watermark;
        self.see_end(answer, cx);
        self.worked(Side::Source, cx);
        self.hand_over(cx);
    }

    /// Hands over whose turn it is, as long as the queue has room; the rest waits where it is.
    pub(in crate::flow) fn hand_over(&mut self, cx: &mut Cx<'_>) {
        while let Some(split) = &mut self.split
            && self.queue.bytes() < cx.settings.queue_limit_bytes()
            && let Some(piece) = split.take(self.fetch_offset, cx.frames)
        {
            if let Charge::Frame(frame) = piece.charge {
                self.accept(&piece.records, piece.aborted, frame, cx);
            }
            cx.frames.release(piece.charge);
        }
    }

    /// Nothing will come for a span: somebody else reads it.
    pub(in crate::flow) fn on_span_lost(&mut self, ticket: Ticket) {
        self.split.iter_mut().for_each(|split| split.lose(ticket));
    }

    /// How far the log can be read.
    pub(super) fn see_end(&mut self, answer: &FetchedPartition, cx: &Cx<'_>) {
        self.readable_end = match cx.settings.isolation {
            Isolation::ReadCommitted if answer.last_stable_offset >= 0 => answer.last_stable_offset,
            _ => answer.high_watermark,
        };
    }
}
