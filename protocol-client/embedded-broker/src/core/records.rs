//! What a broker sees when it opens a batch: counts, keys, timestamps.

use std::borrow::Cow;

use kafka_protocol::ResponseError as KafkaError;
use protocol_client::batch::Compression;
use protocol_client::batch::codec::{self, Framing};
use protocol_client::batch::record::{RawRecords, RecordBody};

use super::batch::{BatchFields, Refusal};

/// Records of one batch when they are not compressed: more is taken for an attack.
const OPENED_MAX_BYTES: usize = 256 << 20;

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
