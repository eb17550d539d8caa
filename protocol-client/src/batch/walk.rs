//! Splits the blob of a fetched partition into its entries, without a copy.
//!
//! A broker cuts the blob at a byte limit, so its last entry may be incomplete: Kafka's
//! `ByteBufferLogInputStream`. All message formats share the first 17 bytes: offset, length,
//! four bytes that differ, and the format's number.

use super::error::BatchError;
use super::header::{BatchHeader, Compression, HEADER_BYTES, LOG_OVERHEAD_BYTES, MAGIC_AT};
use bytes::Bytes;

/// Smallest message of format 0: checksum, magic, attributes and two lengths, in bytes.
const MIN_V0_BYTES: usize = 14;
/// Smallest message of format 1: that and a timestamp, in bytes.
const MIN_V1_BYTES: usize = 22;

/// A message format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Magic {
    /// Before Kafka 0.10: no timestamps.
    V0,
    /// Kafka 0.10: timestamps, relative inner offsets.
    V1,
    /// Since Kafka 0.11: record batches.
    V2,
}

impl Magic {
    fn min_bytes(self) -> usize {
        match self {
            Self::V0 => MIN_V0_BYTES,
            Self::V1 => MIN_V1_BYTES,
            Self::V2 => HEADER_BYTES - LOG_OVERHEAD_BYTES,
        }
    }
}

impl TryFrom<u8> for Magic {
    type Error = BatchError;

    fn try_from(number: u8) -> Result<Self, BatchError> {
        match number {
            0 => Ok(Self::V0),
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            _ => Err(BatchError::Magic { magic: number as i8 }),
        }
    }
}

/// One whole entry of a log: a version 2 batch, or a message of an older format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    bytes: Bytes,
    magic: Magic,
}

impl Entry {
    /// Takes exactly one entry.
    ///
    /// # Errors
    /// [`BatchError::Length`] when `bytes` are not one whole entry, [`BatchError::Magic`] when its
    /// format is unknown.
    pub fn new(bytes: Bytes) -> Result<Self, BatchError> {
        match entry_bytes(&bytes, 0)? {
            Some(length) if length == bytes.len() => {
                let magic = Magic::try_from(bytes[MAGIC_AT])?;
                Ok(Self { bytes, magic })
            }
            _ => Err(BatchError::Length { at: 0, length: bytes.len() as i64 }),
        }
    }

    /// The entry's bytes, a slice of the fetched frame.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The entry's message format.
    pub fn magic(&self) -> Magic {
        self.magic
    }

    /// The header; `None` for formats older than version 2.
    pub fn header(&self) -> Option<BatchHeader<'_>> {
        BatchHeader::parse(&self.bytes).ok()
    }

    /// The codec; `None` for the numbers that Kafka does not use.
    pub fn compression(&self) -> Option<Compression> {
        let attributes = match self.header() {
            Some(header) => header.attributes(),
            None => i16::from(*self.bytes.get(MAGIC_AT + 1)?),
        };
        Compression::from_attributes(attributes)
    }

    /// Whether the entry is a transaction marker.
    pub fn is_control(&self) -> bool {
        self.header().is_some_and(|header| header.is_control())
    }

    /// Offset of the first record. Older formats name their last record only, so it is that.
    pub fn base_offset(&self) -> i64 {
        self.bytes.first_chunk().map_or(-1, |raw| i64::from_be_bytes(*raw))
    }

    /// Offset of the last record (or of the one that stood there before compaction).
    pub fn last_offset(&self) -> i64 {
        self.header().map_or_else(|| self.base_offset(), |header| header.last_offset())
    }

    /// Where the position stands once this entry has been dealt with.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }
}

/// Iterator over the whole entries of a blob; an error is the last item.
#[derive(Debug)]
pub struct Walk<'a> {
    blob: &'a Bytes,
    at: usize,
    failed: bool,
}

/// Walks the entries of `blob`.
pub fn walk(blob: &Bytes) -> Walk<'_> {
    Walk { blob, at: 0, failed: false }
}

impl Walk<'_> {
    /// What has not been walked over, in bytes: after the last entry, the cut-off tail.
    ///
    /// A blob that is nothing but a tail holds a batch larger than the fetch limit.
    pub fn rest_bytes(&self) -> usize {
        self.blob.len() - self.at
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Entry, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = entry_bytes(&self.blob[self.at..], self.at).and_then(|length| {
            let Some(length) = length else { return Ok(None) };
            let bytes = self.blob.slice(self.at..self.at + length);
            Ok(Some(Entry { magic: Magic::try_from(bytes[MAGIC_AT])?, bytes }))
        });
        match next {
            Ok(Some(entry)) => {
                self.at += entry.bytes.len();
                Some(Ok(entry))
            }
            Ok(None) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

/// Length of the entry at the start of `rest` with its first 12 bytes; `None` when it is cut off.
///
/// `at` is where `rest` starts in the blob, for the error.
pub(super) fn entry_bytes(rest: &[u8], at: usize) -> Result<Option<usize>, BatchError> {
    let Some(raw) = rest.get(8..LOG_OVERHEAD_BYTES).and_then(|raw| raw.first_chunk::<4>()) else {
        return Ok(None);
    };
    let length = i64::from(i32::from_be_bytes(*raw));
    let wrong = BatchError::Length { at, length };
    let Ok(body) = usize::try_from(length) else { return Err(wrong) };
    if body < MIN_V0_BYTES {
        return Err(wrong);
    }
    let Some(&magic) = rest.get(MAGIC_AT) else { return Ok(None) };
    if body < Magic::try_from(magic)?.min_bytes() {
        return Err(wrong);
    }
    let total = body + LOG_OVERHEAD_BYTES;
    Ok((total <= rest.len()).then_some(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::builder::BatchBuilder;
    use proptest::prelude::*;

    fn blob() -> Bytes {
        let mut blob = Vec::new();
        for offset in 0..3 {
            let mut batch = BatchBuilder::new();
            batch.push(Some(b"k"), Some(&[b'v'; 40]), &[], offset);
            let mut bytes = batch.build().unwrap().bytes.to_vec();
            bytes[..8].copy_from_slice(&offset.to_be_bytes());
            blob.extend(bytes);
        }
        blob.into()
    }

    #[test]
    fn every_cut_gives_the_whole_entries_before_it() {
        let blob = blob();
        let one = blob.len() / 3;
        for end in 0..=blob.len() {
            let cut = blob.slice(..end);
            let mut walk = walk(&cut);
            let offsets: Vec<i64> = walk.by_ref().map(|e| e.unwrap().base_offset()).collect();
            assert_eq!(offsets, (0..(end / one) as i64).collect::<Vec<_>>());
            assert_eq!(walk.rest_bytes(), end % one);
        }
    }

    #[test]
    fn entries_are_slices_of_the_blob() {
        let blob = blob();
        let second = walk(&blob).nth(1).unwrap().unwrap();
        assert_eq!(second.bytes().as_ptr() as usize - blob.as_ptr() as usize, blob.len() / 3);
        assert_eq!((second.magic(), second.last_offset(), second.next_offset()), (Magic::V2, 1, 2));
    }

    #[test]
    fn impossible_lengths_and_formats_are_errors_and_end_the_walk() {
        let good = blob();
        let with = |at: usize, bytes: &[u8]| {
            let mut bad = good.to_vec();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            let bad = Bytes::from(bad);
            walk(&bad).collect::<Vec<_>>()
        };
        let length = |length| Err(BatchError::Length { at: 0, length });
        assert_eq!(with(8, &(-1i32).to_be_bytes()), [length(-1)]);
        assert_eq!(with(8, &0i32.to_be_bytes()), [length(0)]);
        assert_eq!(with(8, &48i32.to_be_bytes()), [length(48)]);
        assert_eq!(with(16, &[3]), [Err(BatchError::Magic { magic: 3 })]);
        assert_eq!(with(8, &i32::MAX.to_be_bytes()), []);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(0u8..4, 0..200)) {
            let bytes = Bytes::from(bytes);
            let whole: usize = walk(&bytes).flatten().map(|e| e.bytes().len()).sum();
            prop_assert!(whole <= bytes.len());
        }
    }
}
