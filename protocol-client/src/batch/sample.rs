//! Random batches for the tests of this module, encoded without the code that builds real ones.

use super::codec;
use super::crc;
use super::header::Compression;
use super::open::OpenBatch;
use super::record::{self, Header, RawRecord, RecordBody};
use super::walk::Entry;
use proptest::prelude::*;

pub(super) const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// A record as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Sample {
    pub(super) fn new(offset: i64, timestamp: i64) -> Self {
        Self { offset, timestamp, key: None, value: Some(b"value".to_vec()), headers: vec![] }
    }
}

pub(super) fn codec() -> impl Strategy<Value = Compression> {
    prop::sample::select(&CODECS[..])
}

/// Samples whose offsets grow, with holes, from anywhere in the first thousand.
pub(super) fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..80);
    let maybe = move || prop::option::of(bytes());
    let headers = prop::collection::vec((bytes(), maybe()), 0..3);
    let time = prop_oneof![Just(-1), 0..3_000_000_000_000i64, any::<i64>()];
    let one = (1i64..4, time, maybe(), maybe(), headers);
    (0i64..1000, prop::collection::vec(one, 1..20)).prop_map(|(mut offset, records)| {
        let sample = |(step, timestamp, key, value, headers)| {
            offset += step;
            Sample { offset, timestamp, key, value, headers }
        };
        records.into_iter().map(sample).collect()
    })
}

/// A batch of these records. With an append time, the header carries it and the records their own.
pub(super) fn entry(samples: &[Sample], codec: Compression, append_time: Option<i64>) -> Entry {
    cleaned_entry(samples, codec, append_time, 0)
}

/// A batch as the cleaner leaves it: so many offsets before its first and behind its last record
/// are gone.
pub(super) fn cleaned_entry(
    samples: &[Sample],
    codec: Compression,
    append_time: Option<i64>,
    gone: i32,
) -> Entry {
    let base_offset = samples[0].offset - i64::from(gone);
    let base_timestamp = 1_234_567_890_123i64;
    let mut payload = Vec::new();
    for sample in samples {
        let headers: Vec<Header<'_>> =
            sample.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        let mut body = Vec::new();
        record::encode_body(&mut body, sample.key.as_deref(), sample.value.as_deref(), &headers);
        RawRecord {
            attributes: 0,
            timestamp_delta: sample.timestamp.wrapping_sub(base_timestamp),
            offset_delta: (sample.offset - base_offset) as i32,
            body: &body,
        }
        .encode(&mut payload);
    }
    let last_delta = (samples[samples.len() - 1].offset - base_offset) as i32 + gone;
    let max = samples.iter().map(|sample| sample.timestamp).fold(-1, i64::max);
    let attributes = codec.code() | if append_time.is_some() { 0x08 } else { 0 };
    let mut bytes = vec![0; 61];
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[16] = 2;
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    bytes[23..27].copy_from_slice(&last_delta.to_be_bytes());
    bytes[27..35].copy_from_slice(&base_timestamp.to_be_bytes());
    bytes[35..43].copy_from_slice(&append_time.unwrap_or(max).to_be_bytes());
    bytes[57..61].copy_from_slice(&(samples.len() as i32).to_be_bytes());
    codec::compress(codec, &payload, &mut bytes).unwrap();
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    seal(&mut bytes);
    Entry::new(bytes.into()).unwrap()
}

/// Writes the checksum that belongs to the bytes.
pub(super) fn seal(bytes: &mut [u8]) {
    let crc = crc::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// What a reader sees of an entry.
pub(super) fn decoded(entry: &Entry) -> Vec<Sample> {
    let open = OpenBatch::open(entry, 64 << 20).unwrap();
    let sample = |record: Result<super::OpenRecord<'_>, _>| {
        let record = record.unwrap();
        let body = RecordBody::decode(record.body, 0).unwrap();
        Sample {
            offset: record.offset,
            timestamp: open.append_time_ms().unwrap_or(record.create_time_ms),
            key: body.key.map(<[u8]>::to_vec),
            value: body.value.map(<[u8]>::to_vec),
            headers: body.headers().map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect(),
        }
    };
    open.records().map(sample).collect()
}
