//! A batch on its way to the target: patched header, untouched payload, and what its answer will mean.

use bytes::Bytes;
use protocol_client::batch::{
    BatchError, BatchHeader, HEADER_BYTES, OffsetRun, ProducerStamp, Rebuilt, patch,
};
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
    /// Where its records stand at the source.
    pub(super) runs: Runs,
}

/// Where the records of a batch stand at the source.
#[derive(Debug)]
pub(super) enum Runs {
    /// One behind the other.
    One(OffsetRun),
    /// With holes between them.
    Many(Box<[OffsetRun]>),
}

impl Runs {
    pub(super) fn as_slice(&self) -> &[OffsetRun] {
        match self {
            Self::One(run) => std::slice::from_ref(run),
            Self::Many(runs) => runs,
        }
    }
}

impl Draft {
    /// A batch that goes as it came; `source_first` is the offset behind what came before it.
    ///
    /// # Errors
    /// The bytes are none.
    pub(super) fn sealed(
        source_first: i64,
        bytes: &Bytes,
        charge: Charge,
    ) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let count = header.record_count().unsigned_abs();
        let runs = Runs::One(OffsetRun { source_first: header.base_offset(), count });
        Self::new(source_first, bytes, charge, Way::Sealed, runs)
    }

    /// A batch that was built; none if it holds nothing.
    ///
    /// # Errors
    /// The bytes are none.
    pub(super) fn built(rebuilt: Rebuilt, way: Way) -> Result<Option<Self>, BatchError> {
        let Some(first) = rebuilt.runs.first().copied() else { return Ok(None) };
        let runs = match rebuilt.runs.len() {
            1 => Runs::One(first),
            _ => Runs::Many(rebuilt.runs.into()),
        };
        let charge = Charge::Owned(rebuilt.bytes.len());
        Self::new(first.source_first, &rebuilt.bytes, charge, way, runs).map(Some)
    }

    fn new(
        source_first: i64,
        bytes: &Bytes,
        charge: Charge,
        way: Way,
        runs: Runs,
    ) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let payload = bytes.slice(HEADER_BYTES..header.total_bytes());
        Ok(Self { source_first, header: *header.as_bytes(), payload, charge, way, runs })
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

/// How a header is made fit for the target: as part of a transaction there, or not.
pub(super) type Patch = fn(&BatchHeader<'_>, ProducerStamp) -> [u8; HEADER_BYTES];

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
    pub(super) runs: Runs,
    charge: Charge,
}

impl Outgoing {
    /// Patches the header of a draft; the payload stays where it is.
    pub(super) fn new(draft: Draft, stamp: ProducerStamp, patch: Patch) -> Self {
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
            runs: draft.runs,
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
