//! A partition without a log: what is produced is counted and discarded, what is fetched is one prepared set
//! of batches served over and over. It costs next to nothing per byte, so a benchmark sees the ceiling of
//! the program under test and not the broker's.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use protocol_client::batch::{BatchHeader, HEADER_BYTES};

/// Batches that a null partition serves in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    batches: Vec<PreparedBatch>,
    /// Offsets that one round covers.
    span: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PreparedBatch {
    header: [u8; HEADER_BYTES],
    payload: Bytes,
    /// Offset within the round.
    at: i64,
    records: i64,
}

impl Prepared {
    /// Splits a blob of whole batches; `None` when it holds none or anything else.
    pub fn parse(blob: &Bytes) -> Option<Arc<Self>> {
        let mut batches = Vec::new();
        let mut rest = blob.clone();
        let mut at = 0;
        while !rest.is_empty() {
            let header = BatchHeader::parse(&rest).ok()?;
            let batch = rest.slice(..header.total_bytes());
            let records = i64::from(header.last_offset_delta()) + 1;
            if records <= 0 {
                return None;
            }
            let prepared = PreparedBatch {
                header: *header.as_bytes(),
                payload: batch.slice(HEADER_BYTES..),
                at,
                records,
            };
            rest = rest.slice(batch.len()..);
            batches.push(prepared);
            at += records;
        }
        (!batches.is_empty()).then(|| Arc::new(Self { batches, span: at }))
    }
}

/// State of a null partition.
#[derive(Debug, Clone, Default)]
pub struct NullLog {
    produced_end: i64,
    served: Option<(Arc<Prepared>, i64)>,
}

impl NullLog {
    /// Serves `prepared` in a circle up to `end_offset`.
    pub fn serve(&mut self, prepared: Arc<Prepared>, end_offset: i64) {
        self.served = Some((prepared, end_offset));
    }

    /// End of what may be fetched, or of what was produced where nothing is served.
    pub fn end_offset(&self) -> i64 {
        self.served.as_ref().map_or(self.produced_end, |(_, end)| *end)
    }

    /// Takes note of a produced batch and returns the offset it is acknowledged with.
    pub fn append(&mut self, records: i32) -> i64 {
        let base_offset = self.produced_end;
        self.produced_end += i64::from(records);
        base_offset
    }

    /// Reads as a log does; batches get their base offset, payloads are shared.
    pub fn read(&self, offset: i64, max_bytes: usize, whole_first: bool) -> (Vec<Bytes>, usize) {
        let (mut pieces, mut taken) = (Vec::new(), 0);
        let Some((prepared, end)) = &self.served else {
            return (pieces, taken);
        };
        let mut round_start = offset - offset.rem_euclid(prepared.span);
        let within = offset - round_start;
        let mut nth = prepared.batches.partition_point(|batch| batch.at + batch.records <= within);
        loop {
            let Some(batch) = prepared.batches.get(nth) else {
                nth = 0;
                round_start += prepared.span;
                continue;
            };
            let base_offset = round_start + batch.at;
            let total = HEADER_BYTES + batch.payload.len();
            let fits = taken + total <= max_bytes || (taken == 0 && whole_first);
            if base_offset + batch.records > *end || !fits {
                return (pieces, taken);
            }
            let mut header = BytesMut::from(&batch.header[..]);
            header[0..8].copy_from_slice(&base_offset.to_be_bytes());
            pieces.push(header.freeze());
            pieces.push(batch.payload.clone());
            taken += total;
            nth += 1;
        }
    }
}
