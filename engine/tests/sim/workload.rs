//! What is written to the source: numbered records in batches of all sizes and codecs.

use bytes::Bytes;
use protocol_client::batch::{BatchBuilder, Compression};

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// A batch of records that carry consecutive numbers, starting at `first`; answers how many they are.
pub(crate) fn batch(rng: &mut fastrand::Rng, first: u64) -> (Bytes, u64) {
    let count = if rng.bool() { rng.u64(1..4) } else { rng.u64(1..40) };
    let value_bytes = if rng.u8(0..10) == 0 { 3_000 } else { rng.usize(8..200) };
    let codec = if rng.bool() { Compression::None } else { CODECS[rng.usize(0..CODECS.len())] };
    let mut batch = BatchBuilder::with_compression(codec);
    for number in first..first + count {
        let mut value = vec![0x5a; value_bytes];
        value[..8].copy_from_slice(&number.to_be_bytes());
        let key = number.to_string();
        batch.push(Some(key.as_bytes()), Some(&value), &[], 1_000_000 + number as i64);
    }
    let built = batch.build().expect("records were pushed");
    (built.bytes, count)
}
