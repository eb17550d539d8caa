//! A version 2 batch while it is being built: records go in, a batch ready for patching comes out.

use super::codec;
use super::crc;
use super::error::BatchError;
use super::header::{CRC_START, Compression, HEADER_BYTES, LOG_OVERHEAD_BYTES};
use super::record::RawRecord;
use bytes::Bytes;

/// Records with consecutive offsets at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRun {
    /// Offset of the first record at the source.
    pub source_first: i64,
    /// How many records follow each other.
    pub count: u32,
}

/// A batch that was built here: base offset 0, no producer, dense offsets, correct checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The whole batch.
    pub bytes: Bytes,
    /// Number of its records.
    pub record_count: u32,
    /// Where the records stand at the source: record `i` of the batch is the `i`-th of the runs.
    pub runs: Vec<OffsetRun>,
    /// Largest timestamp of the records, or -1 when none has one, in milliseconds.
    pub max_timestamp_ms: i64,
    /// Last source offset that this batch accounts for, holes behind its records included.
    pub last_source_offset: i64,
}

/// A batch in the making; its records lie behind the room for the header.
#[derive(Debug)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    runs: Vec<OffsetRun>,
    next_offset: i64,
}

impl Draft {
    pub(super) fn with_capacity(payload_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + payload_bytes);
        bytes.resize(HEADER_BYTES, 0);
        let (base_timestamp, max_timestamp) = (-1, -1);
        Self { bytes, base_timestamp, max_timestamp, count: 0, runs: Vec::new(), next_offset: 0 }
    }

    /// Size of the batch if it were finished without compression, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn record_count(&self) -> u32 {
        self.count as u32
    }

    /// Appends a record that stands at `source_offset`, which grows from call to call.
    #[inline]
    pub(super) fn push(&mut self, source_offset: i64, timestamp: i64, attributes: i8, body: &[u8]) {
        if self.is_empty() {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        // Deltas wrap in Java too, so that any two timestamps have one.
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let record = RawRecord { attributes, timestamp_delta, offset_delta: self.count, body };
        record.encode(&mut self.bytes);
        self.count += 1;
        match self.runs.last_mut() {
            Some(run) if self.next_offset == source_offset => run.count += 1,
            _ => self.runs.push(OffsetRun { source_first: source_offset, count: 1 }),
        }
        self.next_offset = source_offset.wrapping_add(1);
    }

    /// Compresses the records, writes the header and the checksum.
    pub(super) fn finish(self, codec: Compression) -> Result<Rebuilt, BatchError> {
        let Self { mut bytes, base_timestamp, max_timestamp, count, runs, next_offset } = self;
        let first = runs.first().map_or(0, |run| run.source_first);
        if codec != Compression::None {
            let mut packed = Vec::with_capacity(HEADER_BYTES + bytes.len() / 2);
            packed.resize(HEADER_BYTES, 0);
            codec::compress(codec, &bytes[HEADER_BYTES..], &mut packed)
                .map_err(BatchError::codec(first))?;
            bytes = packed;
        }
        let Ok(length) = i32::try_from(bytes.len() - LOG_OVERHEAD_BYTES) else {
            return Err(BatchError::records(first, "the rebuilt batch has more than 2 GiB"));
        };
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(8, &length.to_be_bytes());
        put(12, &(-1i32).to_be_bytes());
        put(16, &[2]);
        put(21, &codec.code().to_be_bytes());
        put(23, &(count - 1).to_be_bytes());
        put(27, &base_timestamp.to_be_bytes());
        put(35, &max_timestamp.to_be_bytes());
        put(43, &(-1i64).to_be_bytes());
        put(51, &(-1i16).to_be_bytes());
        put(53, &(-1i32).to_be_bytes());
        put(57, &count.to_be_bytes());
        let crc = crc::crc32c(&bytes[CRC_START..]);
        bytes[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
        Ok(Rebuilt {
            bytes: bytes.into(),
            record_count: count as u32,
            runs,
            max_timestamp_ms: max_timestamp,
            last_source_offset: next_offset.wrapping_sub(1),
        })
    }
}
