//! What is written: numbered records in batches of all sizes and codecs, in transactions or not.

use bytes::{BufMut, Bytes, BytesMut};
use embedded_broker::Record;
use protocol_client::batch::{BatchBuilder, Compression, crc};

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// Keys of a topic that is compacted.
const KEYS: u64 = 40;

/// The header that tells which record it is, whatever becomes of key and value.
const NUMBER: &[u8] = b"number";

const TRANSACTIONAL_BIT: u8 = 0x10;

/// A batch to be appended, and what a reader of it will see.
pub(crate) struct Batch {
    pub(crate) bytes: Bytes,
    pub(crate) records: Vec<(u64, Record)>,
}

/// A batch of records that carry consecutive numbers, starting at `first`. With `keyed` the keys come again and again.
pub(crate) fn batch(rng: &mut fastrand::Rng, first: u64, keyed: bool) -> Batch {
    let count = match rng.u8(0..10) {
        0..=4 => rng.u64(1..4),
        5..=8 => rng.u64(1..40),
        _ => rng.u64(40..120),
    };
    let value_bytes = if rng.u8(0..10) == 0 { 3_000 } else { rng.usize(0..200) };
    let codec = if rng.bool() { Compression::None } else { CODECS[rng.usize(0..CODECS.len())] };
    let mut batch = BatchBuilder::with_compression(codec);
    let mut records = Vec::new();
    for number in first..first + count {
        let key = match keyed {
            true => Some(rng.u64(0..KEYS).to_string()),
            false => (number % 7 != 0).then(|| number.to_string()),
        };
        let value = (rng.u8(0..12) > 0).then(|| vec![rng.u8(..); value_bytes]);
        let record = Record {
            key: key.map(String::into_bytes),
            value,
            headers: vec![(NUMBER.to_vec(), Some(number.to_be_bytes().to_vec()))],
            timestamp_ms: 1_000_000 + number as i64 + rng.i64(-50..50),
        };
        push(&mut batch, &record);
        records.push((number, record));
    }
    Batch { bytes: batch.build().expect("records were pushed").bytes, records }
}

/// A batch that nobody copied: somebody writes to the target.
pub(crate) fn foreign(rng: &mut fastrand::Rng) -> Bytes {
    let mut batch = BatchBuilder::new();
    for _ in 0..rng.u32(1..6) {
        batch.push(
            Some(b"foreign"),
            Some(&vec![rng.u8(..); rng.usize(0..300)]),
            &[],
            rng.i64(0..9),
        );
    }
    batch.build().expect("records were pushed").bytes
}

/// The number that a record was written with; none for a foreign one.
pub(crate) fn number_of(record: &Record) -> Option<u64> {
    let (name, value) = record.headers.first()?;
    let raw = value.as_deref().filter(|_| name == NUMBER)?;
    Some(u64::from_be_bytes(raw.try_into().ok()?))
}

/// The batch as a producer with a transaction sends it.
pub(crate) fn transactional(batch: &Bytes, producer: (i64, i16), sequence: i32) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    bytes[22] |= TRANSACTIONAL_BIT;
    (&mut bytes[43..57]).put_i64(producer.0);
    (&mut bytes[51..57]).put_i16(producer.1);
    (&mut bytes[53..57]).put_i32(sequence);
    let checksum = crc::crc32c(&bytes[21..]);
    (&mut bytes[17..21]).put_u32(checksum);
    bytes.freeze()
}

fn push(batch: &mut BatchBuilder, record: &Record) {
    let headers: Vec<_> =
        record.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
    batch.push(record.key.as_deref(), record.value.as_deref(), &headers, record.timestamp_ms);
}
