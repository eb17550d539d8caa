//! What records are compared by: a hash of key, value and headers, and the timestamp.

use protocol_client::batch::codec::Decompressor;
use protocol_client::batch::{AppendTime, BatchError, BatchHeader, Entry, OpenBatch, crc};
use twox_hash::XxHash3_64;

use super::Checksums;
use crate::model::Side;

/// A record as it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) offset: i64,
    /// In milliseconds; `None` where it says nothing: the source record has none, so that a copying
    /// client put in its own, or the target stamped it anew.
    pub(super) time_ms: Option<i64>,
    pub(super) body: u64,
}

impl Print {
    /// Whether one is a copy of the other.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.body == other.body
            && (self.time_ms == other.time_ms || self.time_ms.is_none() || other.time_ms.is_none())
    }

    /// One number for a record seen before.
    pub(super) fn key(&self) -> u64 {
        self.body.rotate_left(17) ^ self.time_ms.unwrap_or(i64::MIN) as u64
    }
}

/// Opens batches of either side.
#[derive(Debug)]
pub(super) struct Opener {
    decompressor: Decompressor,
    max_open_bytes: usize,
    checksums: Checksums,
}

impl Opener {
    pub(super) fn new(max_open_bytes: usize, checksums: Checksums) -> Self {
        Self { decompressor: Decompressor::default(), max_open_bytes, checksums }
    }

    /// The records with offsets in `from..to`.
    pub(super) fn open(
        &mut self,
        side: Side,
        entry: &Entry,
        from: i64,
        to: i64,
    ) -> Result<Vec<Print>, BatchError> {
        let open = OpenBatch::open_with(&mut self.decompressor, entry, self.max_open_bytes)?;
        let mut prints = Vec::new();
        for record in open.records() {
            let record = record?;
            if record.offset < from || record.offset >= to {
                continue;
            }
            let time_ms = match (side, open.append_time_ms()) {
                (Side::Target, Some(_)) => None,
                (Side::Target, None) => Some(record.create_time_ms),
                (Side::Source, _) => {
                    Some(open.timestamp_ms(&record, AppendTime::Keep)).filter(|time| *time != -1)
                }
            };
            let body = XxHash3_64::oneshot(record.body);
            prints.push(Print { offset: record.offset, time_ms, body });
        }
        Ok(prints)
    }

    /// Whether the headers alone show that both batches hold the same records.
    pub(super) fn sealed_alike(&self, source: &Entry, target: &Entry) -> Result<bool, BatchError> {
        let (Some(one), Some(other)) = (source.header(), target.header()) else { return Ok(false) };
        // Equal payloads have equal deltas; the target's own append times do not count.
        let times = other.is_log_append_time()
            || (!one.is_log_append_time() && one.base_timestamp() == other.base_timestamp());
        let alike = times
            && one.is_dense()
            && other.is_dense()
            && one.record_count() == other.record_count()
            && one.compression() == other.compression()
            && one.total_bytes() == other.total_bytes()
            && crc::of_payload(&one) == crc::of_payload(&other);
        if alike && self.checksums == Checksums::Verify {
            crc::verify(source.bytes())?;
            crc::verify(target.bytes())?;
        }
        Ok(alike)
    }
}

/// One number for a sealed batch seen before.
pub(super) fn batch_key(header: &BatchHeader<'_>) -> u64 {
    let payload = u64::from(crc::of_payload(header)) << 32 | header.total_bytes() as u64;
    payload.rotate_left(7) ^ header.base_timestamp() as u64
}
