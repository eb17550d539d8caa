//! The records of an uncompressed batch, walked in place.
//!
//! Layout: Kafka's `DefaultRecord` (message format 2).

use kafka_protocol::ResponseError as KafkaError;
use protocol_client::batch::Compression;

use super::batch::{BatchFields, Refusal};

/// One record, as it lies in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp minus the batch's base timestamp, in milliseconds.
    pub timestamp_delta: i64,
    /// The key; `None` for null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` for null.
    pub value: Option<&'a [u8]>,
    /// Number of headers and the headers, as they lie there.
    pub headers: &'a [u8],
}

/// Iterates the records; ends with an `Err` where the bytes are not records.
pub struct Records<'a> {
    rest: &'a [u8],
    failed: bool,
}

/// The bytes are not records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Records<'a> {
    /// Walks an uncompressed payload.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, failed: false }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.failed {
            return None;
        }
        let record = read_record(&mut self.rest).ok_or(Malformed);
        self.failed = record.is_err();
        Some(record)
    }
}

fn read_record<'a>(rest: &mut &'a [u8]) -> Option<Record<'a>> {
    let length = usize::try_from(varint(rest)?).ok()?;
    let mut body = take(rest, length)?;
    take(&mut body, 1)?;
    let timestamp_delta = varint(&mut body)?;
    let offset_delta = i32::try_from(varint(&mut body)?).ok()?;
    let key = sized(&mut body)?;
    let value = sized(&mut body)?;
    (!body.is_empty()).then_some(Record {
        offset_delta,
        timestamp_delta,
        key,
        value,
        headers: body,
    })
}

fn sized<'a>(body: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match varint(body)? {
        length if length < 0 => Some(None),
        length => Some(Some(take(body, usize::try_from(length).ok()?)?)),
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut raw = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        raw |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
        }
    }
    None
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

/// Walks all records of a batch; `None` for a compressed one, whose records stay sealed here.
///
/// # Errors
/// INVALID_RECORD when the payload does not hold exactly the promised number of records.
pub fn walk_all(fields: &BatchFields, payload: &[u8]) -> Result<Option<Walk>, Refusal> {
    if fields.compression() != Some(Compression::None) {
        return Ok(None);
    }
    let invalid = Refusal {
        error: KafkaError::InvalidRecord,
        what: "the payload does not hold the promised number of records",
    };
    let mut walk = Walk { null_keys: 0, least_timestamp: i64::MAX, max_timestamp: -1 };
    let mut count = 0i32;
    for record in Records::new(payload) {
        let record = record.map_err(|Malformed| invalid)?;
        let timestamp = fields.base_timestamp.saturating_add(record.timestamp_delta);
        walk.null_keys += usize::from(record.key.is_none());
        walk.least_timestamp = walk.least_timestamp.min(timestamp);
        walk.max_timestamp = walk.max_timestamp.max(timestamp);
        count += 1;
    }
    if count != fields.record_count {
        return Err(invalid);
    }
    Ok(Some(walk))
}
