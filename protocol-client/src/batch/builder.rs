//! Builds one version 2 batch from keys, values, headers and timestamps.

use super::draft::{Draft, Rebuilt};
use super::error::BatchError;
use super::header::Compression;
use super::record::{self, Header};

/// A batch to be produced by this program itself: internal topics, demo data.
#[derive(Debug)]
pub struct BatchBuilder {
    draft: Draft,
    codec: Compression,
    body: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch without compression.
    #[must_use]
    pub fn new() -> Self {
        Self::with_compression(Compression::None)
    }

    /// An empty batch whose records will be compressed.
    #[must_use]
    pub fn with_compression(codec: Compression) -> Self {
        Self { draft: Draft::with_capacity(0), codec, body: Vec::new() }
    }

    /// Appends a record with a timestamp in milliseconds.
    pub fn push(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
        timestamp_ms: i64,
    ) {
        self.body.clear();
        record::encode_body(&mut self.body, key, value, headers);
        let offset = i64::from(self.draft.record_count());
        self.draft.push(offset, timestamp_ms, 0, &self.body);
    }

    /// Number of records so far.
    pub fn record_count(&self) -> u32 {
        self.draft.record_count()
    }

    /// Size so far without compression, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.draft.size_bytes()
    }

    /// Finishes the batch; its runs count the records from 0.
    ///
    /// # Errors
    /// [`BatchError::Records`] without records: a broker refuses an empty batch.
    /// [`BatchError::Codec`] when they cannot be compressed.
    pub fn build(self) -> Result<Rebuilt, BatchError> {
        if self.draft.is_empty() {
            return Err(BatchError::records(0, "a batch needs at least one record"));
        }
        self.draft.finish(self.codec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::crc;
    use crate::batch::draft::OffsetRun;
    use crate::batch::header::BatchHeader;
    use crate::batch::record::{RawRecords, RecordBody};

    #[test]
    fn a_built_batch_says_what_it_holds() {
        let mut builder = BatchBuilder::new();
        builder.push(Some(b"a"), None, &[(b"h", None), (b"h", Some(b"2"))], 1_000);
        builder.push(None, Some(b"v"), &[], -1);
        builder.push(None, Some(b""), &[], 999);
        assert_eq!(builder.record_count(), 3);
        let size = builder.size_bytes();
        let built = builder.build().unwrap();
        assert_eq!(built.bytes.len(), size);
        assert_eq!((built.record_count, built.max_timestamp_ms), (3, 1_000));
        assert_eq!(built.runs, [OffsetRun { source_first: 0, count: 3 }]);
        assert_eq!(built.last_source_offset, 2);
        crc::verify(&built.bytes).unwrap();
        let header = BatchHeader::parse(&built.bytes).unwrap();
        assert!(header.is_dense());
        assert_eq!((header.base_offset(), header.producer_id(), header.attributes()), (0, -1, 0));
        assert_eq!((header.base_timestamp(), header.max_timestamp()), (1_000, 1_000));
        let records: Vec<_> =
            RawRecords::new(&built.bytes[61..], 3, 0).map(Result::unwrap).collect();
        assert_eq!(records.iter().map(|r| r.timestamp_delta).collect::<Vec<_>>(), [0, -1001, -1]);
        let first = RecordBody::decode(records[0].body, 0).unwrap();
        assert_eq!((first.key, first.value), (Some(&b"a"[..]), None));
        let headers: Vec<_> = first.headers().collect();
        assert_eq!(headers, [(&b"h"[..], None), (&b"h"[..], Some(&b"2"[..]))]);
    }

    #[test]
    fn an_empty_batch_is_refused() {
        assert!(BatchBuilder::new().build().is_err());
    }
}
