//! An entry with its seal broken: checksum verified, records decompressed, ready to iterate.
//!
//! Entries of every message format look alike from here on.

use super::codec::{Decompressor, Framing};
use super::crc;
use super::decide::AppendTime;
use super::error::BatchError;
use super::header::{BatchHeader, Compression, HEADER_BYTES};
use super::legacy;
use super::record::RawRecords;
use super::walk::{Entry, Magic};
use std::borrow::Cow;

/// A record of an opened entry; offsets grow from one to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenRecord<'a> {
    /// Offset at the source.
    pub offset: i64,
    /// Time that the producer gave the record, -1 for none, in milliseconds.
    pub create_time_ms: i64,
    /// Attributes of the record: unused so far by Kafka.
    pub attributes: i8,
    /// Key, value and headers as a version 2 record encodes them.
    pub body: &'a [u8],
}

/// An opened entry.
#[derive(Debug, Clone)]
pub struct OpenBatch<'a> {
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    pub(super) base_timestamp: i64,
    pub(super) count: usize,
    pub(super) codec: Compression,
    pub(super) append_time_ms: Option<i64>,
    pub(super) payload: Cow<'a, [u8]>,
}

impl<'a> OpenBatch<'a> {
    /// Opens an entry whose records have at most `max_bytes` when they are not compressed.
    ///
    /// # Errors
    /// A [`BatchError`] when the checksum is wrong, the codec is unknown or fails, there is more
    /// than `max_bytes`, or (older formats) the messages are not what the entry promises.
    pub fn open(entry: &'a Entry, max_bytes: usize) -> Result<Self, BatchError> {
        Self::open_with(&mut Decompressor::default(), entry, max_bytes)
    }

    /// Opens one of many entries, as [`Self::open`] does, with decoders that are kept.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        decompressor: &mut Decompressor,
        entry: &'a Entry,
        max_bytes: usize,
    ) -> Result<Self, BatchError> {
        crc::verify(entry.bytes())?;
        match entry.magic() {
            Magic::V0 | Magic::V1 => legacy::open(decompressor, entry, max_bytes),
            Magic::V2 => Self::unseal(decompressor, entry.bytes(), max_bytes),
        }
    }

    fn unseal(
        decompressor: &mut Decompressor,
        bytes: &'a [u8],
        max_bytes: usize,
    ) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let base_offset = header.base_offset();
        let wrong = |what| BatchError::records(base_offset, what);
        let codec = header.compression().ok_or_else(|| wrong("its codec is unknown"))?;
        let count = usize::try_from(header.record_count())
            .map_err(|_| wrong("its record count is negative"))?;
        let sealed = bytes.get(HEADER_BYTES..header.total_bytes()).unwrap_or_default();
        let payload = match codec {
            Compression::None => Cow::Borrowed(sealed),
            // The cleaner leaves an empty batch without even an empty compressed frame.
            _ if count == 0 && sealed.is_empty() => Cow::Borrowed(sealed),
            _ => decompressor
                .decompress(codec, Framing::Standard, sealed, max_bytes)
                .map_err(BatchError::codec(base_offset))?
                .into(),
        };
        Ok(Self {
            base_offset,
            last_offset: header.last_offset(),
            base_timestamp: header.base_timestamp(),
            count,
            codec,
            append_time_ms: header.is_log_append_time().then(|| header.max_timestamp()),
            payload,
        })
    }

    /// Number of records, as the header says.
    pub fn record_count(&self) -> usize {
        self.count
    }

    /// Size of the records without compression, in bytes.
    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Offset of the first record (or of the record that stood there before compaction).
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Last offset that the entry accounts for.
    pub fn last_offset(&self) -> i64 {
        self.last_offset
    }

    /// How the records were compressed.
    pub fn compression(&self) -> Compression {
        self.codec
    }

    /// The time that counts for every record when the source topic is `LogAppendTime`.
    pub fn append_time_ms(&self) -> Option<i64> {
        self.append_time_ms
    }

    /// The records in their order; an error is the last item.
    pub fn records(&self) -> OpenRecords<'_> {
        OpenRecords {
            raw: RawRecords::new(&self.payload, self.count, self.base_offset),
            base_offset: self.base_offset,
            base_timestamp: self.base_timestamp,
            next_offset: self.base_offset,
            last_offset: self.last_offset,
        }
    }

    /// The time that `record` has at the target, -1 for none, in milliseconds.
    #[inline]
    pub fn timestamp_ms(&self, record: &OpenRecord<'_>, append_time: AppendTime) -> i64 {
        match (self.append_time_ms, append_time) {
            (Some(append_time_ms), AppendTime::Keep) => append_time_ms,
            _ => record.create_time_ms,
        }
    }
}

/// Iterator over the records of an opened entry.
#[derive(Debug, Clone)]
pub struct OpenRecords<'a> {
    raw: RawRecords<'a>,
    base_offset: i64,
    base_timestamp: i64,
    next_offset: i64,
    last_offset: i64,
}

impl<'a> Iterator for OpenRecords<'a> {
    type Item = Result<OpenRecord<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let raw = match self.raw.next()? {
            Ok(raw) => raw,
            Err(error) => return Some(Err(error)),
        };
        let offset = self.base_offset.wrapping_add(i64::from(raw.offset_delta));
        if offset < self.next_offset || offset > self.last_offset {
            self.raw = RawRecords::new(&[], 0, self.base_offset);
            let what = "its records' offsets do not grow or lie outside it";
            return Some(Err(BatchError::records(self.base_offset, what)));
        }
        self.next_offset = offset.wrapping_add(1);
        Some(Ok(OpenRecord {
            offset,
            create_time_ms: self.base_timestamp.wrapping_add(raw.timestamp_delta),
            attributes: raw.attributes,
            body: raw.body,
        }))
    }
}
