//! A partition whose records are written in transactions: what it sends counts when the round is committed, and is sent
//! again when it is aborted.

use protocol_client::wire::error_code::ErrorCode;

use super::{Cx, Note, PartitionFlow, Run};
use crate::flow::event::Failure;
use crate::flow::frames::Frames;
use crate::flow::target_side::Outcome;
use crate::model::{Pair, Side};

impl PartitionFlow {
    /// What is sent from here on belongs to the round.
    pub(super) fn join_round(&mut self) {
        self.anchor = self.anchor.or_else(|| self.next_offset());
        self.target.begin_transaction();
    }

    /// Something that was sent in the round must not count.
    pub(super) fn break_round(&self, cx: &mut Cx<'_>) {
        if self.anchor.is_some() {
            cx.notes.push(Note::BreakRound);
        }
    }

    /// The target answered for a batch of the round. A single one that is refused, or of unknown fate, undoes the round.
    pub(super) fn on_produced_in_round(&mut self, request: u64, outcome: Outcome, cx: &mut Cx<'_>) {
        let known = self.target.target_next().unwrap_or(0);
        let error = match outcome {
            Ok(base_offset) if base_offset >= known => {
                self.damaged = 0;
                self.worked(Side::Target, cx);
                let step = self.target.on_answer(request, outcome, cx.frames);
                return self.take(step, cx);
            }
            Ok(_) => ErrorCode::NETWORK_EXCEPTION,
            Err(error) => error,
        };
        self.break_round(cx);
        if is_of_round(error) || self.run == Run::Failed {
            return;
        }
        match error {
            // The connection tells when sending makes sense again.
            ErrorCode::NETWORK_EXCEPTION => cx.notes.push(Note::RefreshMetadata(Side::Target)),
            ErrorCode::CORRUPT_MESSAGE => {
                self.damaged_batch("the target finds its checksum wrong", cx);
            }
            _ if error.class().retryable() => self.trouble(Side::Target, error, cx),
            _ => {
                let source_offset = self.target.first_offset().unwrap_or(-1);
                self.fail(Failure::Refused { source_offset, error, message: None }, cx);
            }
        }
    }

    /// Where the partition stands when everything that it sent counts; none if it sent nothing.
    pub(in crate::flow) fn proposal(&self) -> Option<Pair> {
        self.anchor?;
        let source_next = self.next_offset()?;
        Some(Pair {
            source_next,
            source_epoch: self.epochs.before(source_next),
            target_next: self.target.target_next()?,
            source_id: self.spec.source.topic_id,
            target_id: self.spec.target.topic_id,
        })
    }

    /// The round counts.
    pub(in crate::flow) fn commit(&mut self) {
        self.anchor = None;
        self.target.commit();
    }

    /// The round never was: everything goes again.
    pub(in crate::flow) fn abort(&mut self, frames: &mut Frames) {
        // To the position: a member that has not sent anything yet has no anchor, but records that wait.
        self.clear(frames);
        self.target.abort(frames);
        self.anchor = None;
    }

    /// The producer has another epoch.
    pub(in crate::flow) fn reset_producer(&mut self) {
        self.target.reset_producer();
    }

    /// The coordinator does not let the partition be written.
    pub(in crate::flow) fn on_not_added(&mut self, error: ErrorCode, cx: &mut Cx<'_>) {
        self.fail(Failure::Denied(Side::Target, error), cx);
    }
}

/// What is said of the round or of the producer, not of a batch.
fn is_of_round(error: ErrorCode) -> bool {
    [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::INVALID_TXN_STATE,
        ErrorCode::INVALID_PRODUCER_ID_MAPPING,
        ErrorCode::CONCURRENT_TRANSACTIONS,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::PRODUCER_FENCED,
        ErrorCode::TRANSACTION_ABORTABLE,
    ]
    .contains(&error)
}
