//! A borrowed view of the 61-byte header of a version 2 record batch.
//!
//! Layout: Kafka's `org.apache.kafka.common.record.DefaultRecordBatch`.

use super::error::BatchError;

/// Length of the header of a version 2 batch, in bytes.
pub const HEADER_BYTES: usize = 61;
/// Length of the part of an entry that its own length field does not count, in bytes.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// Where the checksummed part of a batch starts, in bytes.
pub const CRC_START: usize = 21;

/// Where every message format keeps its number, in bytes.
pub(super) const MAGIC_AT: usize = 16;

/// How the records of a batch are compressed: bits 0-2 of the attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// snappy, either with the xerial framing (Java) or raw (librdkafka).
    Snappy,
    /// lz4 frames.
    Lz4,
    /// zstd frames.
    Zstd,
}

impl Compression {
    /// The codec for bits 0-2 of the attributes; `None` for the numbers that Kafka does not use.
    pub fn from_attributes(attributes: i16) -> Option<Self> {
        Some(match attributes & 0x07 {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }

    /// Kafka's name of the codec, as in the topic setting `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec's number in the attributes.
    pub fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }
}

/// Header of a version 2 batch, checked once: the whole batch lies in the borrowed bytes.
#[derive(Debug, Clone, Copy)]
pub struct BatchHeader<'a> {
    bytes: &'a [u8; HEADER_BYTES],
}

macro_rules! field {
    ($(#[$doc:meta])* $name:ident: $type:ty, $at:expr, $len:expr) => {
        $(#[$doc])*
        pub fn $name(&self) -> $type {
            const AT: usize = $at;
            let mut raw = [0u8; $len];
            raw.copy_from_slice(&self.bytes[AT..AT + $len]);
            <$type>::from_be_bytes(raw)
        }
    };
}

impl<'a> BatchHeader<'a> {
    /// Views the header of the batch that starts at the first byte of `batch` and ends at or before its last.
    ///
    /// # Errors
    /// [`BatchError::Magic`] for another message format, [`BatchError::Length`] when the batch does not fit.
    pub fn parse(batch: &'a [u8]) -> Result<Self, BatchError> {
        let short = BatchError::Length { at: 0, length: batch.len() as i64 };
        let magic = *batch.get(MAGIC_AT).ok_or_else(|| short.clone())? as i8;
        if magic != 2 {
            return Err(BatchError::Magic { magic });
        }
        let bytes = batch.first_chunk::<HEADER_BYTES>().ok_or(short)?;
        let header = Self { bytes };
        let length = i64::from(header.batch_length());
        let total = length + LOG_OVERHEAD_BYTES as i64;
        if total < HEADER_BYTES as i64 || total > batch.len() as i64 {
            return Err(BatchError::Length { at: 0, length });
        }
        Ok(header)
    }

    /// Views the header of a batch that was checked before and whose payload is kept elsewhere.
    pub fn of(bytes: &'a [u8; HEADER_BYTES]) -> Self {
        Self { bytes }
    }

    field! {
        /// Offset of the batch's first record (or of the record that stood there before compaction).
        base_offset: i64, 0, 8
    }
    field! {
        /// Length of the batch without its first 12 bytes, in bytes.
        batch_length: i32, 8, 4
    }
    field! {
        /// Epoch of the leader that appended the batch.
        partition_leader_epoch: i32, 12, 4
    }
    field! {
        /// The stored CRC-32C of bytes 21 to the end.
        crc: u32, 17, 4
    }
    field! {
        /// Codec, timestamp type, transactional, control and delete-horizon bits.
        attributes: i16, 21, 2
    }
    field! {
        /// Offset of the last record minus the base offset.
        last_offset_delta: i32, 23, 4
    }
    field! {
        /// Timestamp that the records' deltas count from, or the delete horizon, in milliseconds.
        base_timestamp: i64, 27, 8
    }
    field! {
        /// Largest timestamp in the batch, or the append time of all its records, in milliseconds.
        max_timestamp: i64, 35, 8
    }
    field! {
        /// The producer that wrote the batch, or -1.
        producer_id: i64, 43, 8
    }
    field! {
        /// Epoch of that producer, or -1.
        producer_epoch: i16, 51, 2
    }
    field! {
        /// Sequence number of the first record, or -1.
        base_sequence: i32, 53, 4
    }
    field! {
        /// Number of records in the batch.
        record_count: i32, 57, 4
    }

    /// Length of the whole batch, in bytes.
    pub fn total_bytes(&self) -> usize {
        LOG_OVERHEAD_BYTES + self.batch_length() as usize
    }

    /// Offset of the last record (or of the one that stood there before compaction).
    pub fn last_offset(&self) -> i64 {
        self.base_offset().saturating_add(i64::from(self.last_offset_delta()))
    }

    /// The codec; `None` for the numbers that Kafka does not use.
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_attributes(self.attributes())
    }

    /// Whether all records carry the append time in `max_timestamp` (bit 3).
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & 0x08 != 0
    }

    /// Whether the batch is part of a transaction (bit 4).
    pub fn is_transactional(&self) -> bool {
        self.attributes() & 0x10 != 0
    }

    /// Whether the batch holds a marker and no data (bit 5).
    pub fn is_control(&self) -> bool {
        self.attributes() & 0x20 != 0
    }

    /// Whether `base_timestamp` is a delete horizon (bit 6, KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes() & 0x40 != 0
    }

    /// Whether the offsets are without holes: what a broker demands of a produced batch.
    pub fn is_dense(&self) -> bool {
        self.record_count() > 0
            && i64::from(self.last_offset_delta()) + 1 == i64::from(self.record_count())
    }

    /// The header's bytes.
    pub fn as_bytes(&self) -> &'a [u8; HEADER_BYTES] {
        self.bytes
    }
}
