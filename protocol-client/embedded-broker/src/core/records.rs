//! What a broker sees when it opens a batch: counts, keys, timestamps.

use std::borrow::Cow;

use bytes::Bytes;
use kafka_protocol::ResponseError as KafkaError;
use protocol_client::batch::codec::{self, Framing};
use protocol_client::batch::record::{RawRecords, RecordBody};
use protocol_client::batch::{AppendTime, BatchError, Compression, Entry, OpenBatch};

use super::batch::{BatchFields, Refusal};

/// Records of one batch when they are not compressed: more is taken for an attack.
const OPENED_MAX_BYTES: usize = 256 << 20;

/// A record as its reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// When it was made or appended, in milliseconds.
    pub timestamp_ms: i64,
}

/// Decodes a stored batch: each record behind its offset; none for a batch with a marker.
///
/// # Errors
/// The batch was appended past all checks, and is none.
pub fn decoded(batch: Bytes) -> Result<Vec<(i64, Record)>, BatchError> {
    let entry = Entry::new(batch)?;
    if BatchFields::read(entry.bytes()).is_control() {
        return Ok(Vec::new());
    }
    let open = OpenBatch::open(&entry, OPENED_MAX_BYTES)?;
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let records = open.records().map(|record| {
        let record = record?;
        let body = RecordBody::decode(record.body, record.offset)?;
        let found = Record {
            key: owned(body.key),
            value: owned(body.value),
            headers: body.headers().map(|(key, value)| (key.to_vec(), owned(value))).collect(),
            timestamp_ms: open.timestamp_ms(&record, AppendTime::Keep),
        };
        Ok((record.offset, found))
    });
    records.collect()
}

/// What a walk over all records found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// Records without a key.
    pub null_keys: usize,
    /// Smallest timestamp, in milliseconds.
    pub least_timestamp: i64,
    /// Largest timestamp, in milliseconds.
    pub max_timestamp: i64,
}

/// The records of a batch without their compression; `None` when the codec cannot read them.
pub fn opened<'a>(fields: &BatchFields, payload: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    match fields.compression()? {
        Compression::None => Some(Cow::Borrowed(payload)),
        _ if fields.record_count == 0 => Some(Cow::Borrowed(payload)),
        compression => {
            let opened =
                codec::decompress(compression, Framing::Standard, payload, OPENED_MAX_BYTES);
            opened.ok().map(Cow::Owned)
        }
    }
}

/// The records of an opened payload.
pub fn iterate<'a>(fields: &BatchFields, opened: &'a [u8]) -> RawRecords<'a> {
    let count = usize::try_from(fields.record_count).unwrap_or(0);
    RawRecords::new(opened, count, fields.base_offset)
}

/// Walks all records of a produced batch, as `LogValidator` does.
///
/// Offsets are checked in compressed batches only: a broker stores an uncompressed batch with holes as it is,
/// and its records then overlap the next batch.
///
/// # Errors
/// INVALID_RECORD when the payload does not hold exactly the promised number of records;
/// UNKNOWN_SERVER_ERROR when it cannot be decompressed, or when its offsets are not 0, 1, 2, ...
pub fn walk_all(fields: &BatchFields, payload: &[u8]) -> Result<Walk, Refusal> {
    let unknown = |what| Refusal { error: KafkaError::UnknownServerError, what };
    let invalid = |_| Refusal {
        error: KafkaError::InvalidRecord,
        what: "the payload does not hold the promised number of records",
    };
    let opened = opened(fields, payload).ok_or_else(|| unknown("it cannot be decompressed"))?;
    let sealed = fields.compression() != Some(Compression::None);
    let mut walk = Walk { null_keys: 0, least_timestamp: i64::MAX, max_timestamp: -1 };
    for (nth, record) in iterate(fields, &opened).enumerate() {
        let record = record.map_err(invalid)?;
        if sealed && usize::try_from(record.offset_delta) != Ok(nth) {
            return Err(unknown("the offsets of a compressed batch are not 0, 1, 2, ..."));
        }
        let body = RecordBody::decode(record.body, fields.base_offset).map_err(invalid)?;
        let timestamp = fields.base_timestamp.saturating_add(record.timestamp_delta);
        walk.null_keys += usize::from(body.key.is_none());
        walk.least_timestamp = walk.least_timestamp.min(timestamp);
        walk.max_timestamp = walk.max_timestamp.max(timestamp);
    }
    Ok(walk)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Batch, NOW, cluster, produce};
    use super::*;

    #[test]
    fn a_reader_sees_the_records_from_the_start_of_the_log_on() {
        let mut broker = cluster(1);
        for _ in 0..2 {
            produce(&mut broker, Batch::of(2).bytes());
        }
        broker.delete_records("t", 0, 1).expect("in range");
        let read = broker.read_records("t", 0).expect("checked when it was appended");
        assert_eq!(read.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1, 2, 3]);
        let second = Record {
            key: Some(vec![1]),
            value: Some(b"value 1".to_vec()),
            headers: Vec::new(),
            timestamp_ms: NOW + 1,
        };
        assert_eq!(read[0].1, second);
    }
}
