//! Which batches a read_committed reader sees: Kafka's `CompletedFetch#nextFetchedRecord`.
//!
//! A batch belongs to one transaction or to none, so the filter keeps or drops whole batches.
//! The list of a fetch response covers every transaction that overlaps the response, so a new
//! filter per response is enough.

use super::error::BatchError;
use super::open::OpenBatch;
use super::record::RecordBody;
use super::walk::Entry;
use std::collections::BTreeSet;

/// A control batch holds one small record; more than this is not one, in bytes.
const MAX_CONTROL_BYTES: usize = 64 * 1024;
/// Type of the marker that ends an aborted transaction: Kafka's `ControlRecordType.ABORT`.
const ABORT: i16 = 0;

/// An aborted transaction, as a fetch response names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Offset of its first record in the partition.
    pub first_offset: i64,
    /// The producer that wrote it.
    pub producer_id: i64,
}

/// What the filter says about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The entry is visible.
    Keep,
    /// Its transaction was aborted.
    Aborted,
}

/// The filter over the entries of one fetched partition, in offset order.
#[derive(Debug, Default)]
pub struct TxnFilter {
    /// Transactions that start behind the entries seen so far, the next one last.
    ahead: Vec<AbortedTransaction>,
    /// Producers inside an aborted transaction.
    active: BTreeSet<i64>,
}

impl TxnFilter {
    /// A filter for the aborted transactions of one partition of a response, in any order.
    ///
    /// Without any (and for read_uncommitted) it keeps everything.
    #[must_use]
    pub fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self { ahead: aborted, active: BTreeSet::new() }
    }

    /// Judges the next entry.
    ///
    /// # Errors
    /// A [`BatchError`] when the entry is a marker that cannot be read: to go on could mix
    /// aborted records with good ones.
    pub fn judge(&mut self, entry: &Entry) -> Result<Verdict, BatchError> {
        let Some(header) = entry.header().filter(|header| header.producer_id() >= 0) else {
            return Ok(Verdict::Keep);
        };
        let last_offset = header.last_offset();
        while let Some(next) = self.ahead.pop_if(|next| next.first_offset <= last_offset) {
            self.active.insert(next.producer_id);
        }
        if self.active.is_empty() {
            return Ok(Verdict::Keep);
        }
        if header.is_control() {
            if is_abort_marker(entry)? {
                self.active.remove(&header.producer_id());
            }
            return Ok(Verdict::Keep);
        }
        let aborted = header.is_transactional() && self.active.contains(&header.producer_id());
        Ok(if aborted { Verdict::Aborted } else { Verdict::Keep })
    }
}

/// Whether the first record of a control batch ends an aborted transaction.
fn is_abort_marker(entry: &Entry) -> Result<bool, BatchError> {
    let batch = OpenBatch::open(entry, MAX_CONTROL_BYTES)?;
    let Some(record) = batch.records().next().transpose()? else { return Ok(false) };
    let base_offset = entry.base_offset();
    let body = RecordBody::decode(record.body, base_offset)?;
    let marker = body.key.and_then(|key| key.get(2..4)?.first_chunk());
    let marker = marker.ok_or_else(|| {
        BatchError::records(base_offset, "a transaction marker has no version and type")
    })?;
    Ok(i16::from_be_bytes(*marker) == ABORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::builder::BatchBuilder;
    use crate::batch::crc;

    const TRANSACTIONAL: u8 = 0x10;
    const CONTROL: u8 = 0x30;

    fn entry(offset: i64, producer_id: i64, attributes: u8, key: &[u8]) -> Entry {
        let mut builder = BatchBuilder::new();
        builder.push(Some(key), Some(b""), &[], 0);
        let mut bytes = builder.build().unwrap().bytes.to_vec();
        bytes[..8].copy_from_slice(&offset.to_be_bytes());
        bytes[22] = attributes;
        bytes[43..51].copy_from_slice(&producer_id.to_be_bytes());
        let crc = crc::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        Entry::new(bytes.into()).unwrap()
    }

    fn aborted(producer_id: i64, first_offset: i64) -> AbortedTransaction {
        AbortedTransaction { first_offset, producer_id }
    }

    #[test]
    fn only_records_between_start_and_abort_marker_go() {
        let mut filter = TxnFilter::new(vec![aborted(8, 5), aborted(7, 1)]);
        let mut judge = |offset, producer, attributes, key: &[u8]| {
            filter.judge(&entry(offset, producer, attributes, key)).unwrap()
        };
        assert_eq!(judge(0, 7, TRANSACTIONAL, b""), Verdict::Keep);
        assert_eq!(judge(1, 7, TRANSACTIONAL, b""), Verdict::Aborted);
        assert_eq!(judge(2, 8, TRANSACTIONAL, b""), Verdict::Keep);
        assert_eq!(judge(3, 7, 0, b""), Verdict::Keep);
        assert_eq!(judge(4, 8, CONTROL, &[0, 0, 0, 1]), Verdict::Keep);
        assert_eq!(judge(5, 8, TRANSACTIONAL, b""), Verdict::Aborted);
        assert_eq!(judge(6, 7, CONTROL, &[0, 0, 0, 0]), Verdict::Keep);
        assert_eq!(judge(7, 7, TRANSACTIONAL, b""), Verdict::Keep);
        assert_eq!(judge(8, 8, TRANSACTIONAL, b""), Verdict::Aborted);
        assert_eq!(judge(9, -1, 0, b""), Verdict::Keep);
    }

    #[test]
    fn an_unreadable_marker_is_an_error() {
        let mut filter = TxnFilter::new(vec![aborted(7, 0)]);
        assert!(filter.judge(&entry(0, 7, CONTROL, &[0])).is_err());
    }

    #[test]
    fn no_list_keeps_everything() {
        let mut filter = TxnFilter::default();
        let entry = entry(0, 7, TRANSACTIONAL, b"");
        assert_eq!(filter.judge(&entry).unwrap(), Verdict::Keep);
    }
}
