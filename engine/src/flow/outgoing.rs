//! A batch on its way to the target: patched header, untouched payload, and what its answer will mean.

use bytes::Bytes;
use protocol_client::batch::{BatchError, BatchHeader, HEADER_BYTES, ProducerStamp, patch};
use protocol_client::wire::error_code::ErrorCode;

use super::frames::{Charge, Frames};

/// How a batch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As it came, with another header.
    Sealed,
    /// Together with its neighbors in one batch.
    Merged,
    /// Decoded and encoded again.
    Rewritten,
}

/// A batch chosen to be sent, not yet stamped with a sequence number.
#[derive(Debug)]
pub(super) struct Draft {
    /// First source offset in the batch.
    pub(super) source_first: i64,
    /// The header as it came, or as it was built.
    pub(super) header: [u8; HEADER_BYTES],
    /// What follows the header: a slice of a frame, or built anew.
    pub(super) payload: Bytes,
    /// What it is charged to.
    pub(super) charge: Charge,
    /// What was done to it.
    pub(super) way: Way,
}

impl Draft {
    /// Splits a whole version 2 batch.
    ///
    /// # Errors
    /// The bytes are none.
    pub(super) fn new(
        source_first: i64,
        bytes: &Bytes,
        charge: Charge,
        way: Way,
    ) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let payload = bytes.slice(HEADER_BYTES..header.total_bytes());
        Ok(Self { source_first, header: *header.as_bytes(), payload, charge, way })
    }

    /// Bytes on the wire.
    pub(super) fn wire_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }
}

/// What the target said about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing yet.
    Waiting,
    /// Appended at this target offset.
    Appended(i64),
    /// Refused, or of unknown fate; [`ErrorCode::NETWORK_EXCEPTION`] when the connection was lost.
    Failed(ErrorCode),
}

/// A stamped batch in the window of a partition.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) source_first: i64,
    pub(super) records: u32,
    pub(super) max_timestamp_ms: i64,
    pub(super) stamp: ProducerStamp,
    pub(super) header: [u8; HEADER_BYTES],
    pub(super) payload: Bytes,
    pub(super) answer: Answer,
    /// The request that carried it last: an answer to an earlier one says nothing about this one.
    pub(super) request: Option<u64>,
    pub(super) way: Way,
    charge: Charge,
}

impl Outgoing {
    /// Patches the header of a draft; the payload stays where it is.
    pub(super) fn new(draft: Draft, stamp: ProducerStamp) -> Self {
        let header = BatchHeader::of(&draft.header);
        Self {
            source_first: draft.source_first,
            records: header.record_count().unsigned_abs(),
            max_timestamp_ms: header.max_timestamp(),
            stamp,
            header: patch(&header, stamp),
            payload: draft.payload,
            answer: Answer::Waiting,
            request: None,
            way: draft.way,
            charge: draft.charge,
        }
    }

    /// Bytes on the wire.
    pub(super) fn wire_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// Gives the batch another place in the sequence.
    pub(super) fn stamp_again(&mut self, stamp: ProducerStamp) {
        self.header = patch(&BatchHeader::of(&self.header), stamp);
        self.stamp = stamp;
        self.answer = Answer::Waiting;
        self.request = None;
    }

    /// Moves the payload out of its frame, so that a batch that has to wait long pins nothing but itself.
    pub(super) fn unpin(&mut self, frames: &mut Frames) {
        if let Charge::Frame(_) = self.charge {
            self.payload = Bytes::copy_from_slice(&self.payload);
            let charge = frames.own(self.wire_bytes());
            frames.release(std::mem::replace(&mut self.charge, charge));
        }
    }

    /// Ends the batch's life.
    pub(super) fn release(self, frames: &mut Frames) {
        frames.release(self.charge);
    }
}
