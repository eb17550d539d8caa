//! The four kinds of data that are copied: large batches in three codecs, and batches of one small record.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use protocol_client::batch::{BatchBuilder, Compression};
use protocol_client::client::Client;

use crate::fill::{self, TIMESTAMP_MS, noise};

pub(crate) const PARTITIONS: i32 = 10;
/// What a Java producer with `batch.size=65536` leaves behind.
const BATCH_BYTES: usize = 65_536;
const RECORD_BYTES: usize = 903;
const TINY_RECORD_BYTES: usize = 200;
/// Distinct batches of a set; enough that none of them is always in a cache.
const DISTINCT: u64 = 24;

/// One topic's worth of records.
#[derive(Debug, Clone)]
pub(crate) struct DataSet {
    pub(crate) name: &'static str,
    /// `compression.type` of whoever wrote it.
    pub(crate) codec: &'static str,
    pub(crate) is_tiny: bool,
    batches: Vec<Bytes>,
    batch_records: u32,
    rounds: u32,
}

impl DataSet {
    /// All four, the large ones with about `large` records each.
    pub(crate) fn all(large: u32, tiny: u32) -> Result<Vec<Self>> {
        Ok(vec![
            Self::large("none", Compression::None, large)?,
            Self::large("lz4", Compression::Lz4, large)?,
            Self::large("zstd", Compression::Zstd, large)?,
            Self::tiny(tiny)?,
        ])
    }

    fn large(name: &'static str, codec: Compression, records: u32) -> Result<Self> {
        let plain = (BATCH_BYTES / RECORD_BYTES) as u32;
        let small = batch(codec, plain, 0)?.len().max(1);
        let batch_records = (plain as usize * BATCH_BYTES / small) as u32;
        let batches = (0..DISTINCT).map(|nth| batch(codec, batch_records, nth));
        let rounds = (records / PARTITIONS.unsigned_abs()).div_ceil(batch_records);
        let batches = batches.collect::<Result<_>>()?;
        Ok(Self { name, codec: name, is_tiny: false, batches, batch_records, rounds })
    }

    fn tiny(records: u32) -> Result<Self> {
        let batches = (0..DISTINCT).map(|nth| {
            let mut builder = BatchBuilder::new();
            builder.push(None, Some(&noise(nth, TINY_RECORD_BYTES)), &[], TIMESTAMP_MS);
            Ok(builder.build()?.bytes)
        });
        Ok(Self {
            name: "tiny",
            codec: "none",
            is_tiny: true,
            batches: batches.collect::<Result<_>>()?,
            batch_records: 1,
            rounds: records / PARTITIONS.unsigned_abs(),
        })
    }

    pub(crate) fn records(&self) -> u64 {
        let per_round = u64::from(PARTITIONS.unsigned_abs()) * u64::from(self.batch_records);
        u64::from(self.rounds) * per_round
    }

    /// Bytes of all batches: what the source's log holds.
    pub(crate) fn wire_bytes(&self) -> u64 {
        let all = (0..PARTITIONS).flat_map(|index| (0..self.rounds).map(move |at| (index, at)));
        all.map(|(index, round)| self.at(index, round).len() as u64).sum()
    }

    /// One line for the report.
    pub(crate) fn text(&self) -> String {
        let (bytes, records) = (self.wire_bytes(), self.records());
        let gib = bytes as f64 / (1u64 << 30) as f64;
        let each = bytes / (u64::from(self.rounds) * u64::from(PARTITIONS.unsigned_abs())).max(1);
        format!(
            "{records} records in batches of {} ({each} bytes), {gib:.2} GiB",
            self.batch_records
        )
    }

    /// Creates the topic, named as the set, and fills it.
    pub(crate) async fn fill(&self, client: &Client, topic: &str) -> Result<()> {
        let next = |index, round| Ok((round < self.rounds).then(|| self.at(index, round).clone()));
        fill::fill_with(client, topic, PARTITIONS, next).await
    }

    fn at(&self, index: i32, round: u32) -> &Bytes {
        let nth = round as usize + index.unsigned_abs() as usize;
        &self.batches[nth % self.batches.len()]
    }

    /// Deletes topics; those that are not there are as good as deleted.
    pub(crate) async fn delete(client: &Client, topics: &[&str]) {
        let names: Vec<Arc<str>> = topics.iter().map(|topic| Arc::from(*topic)).collect();
        client.delete_topics(&names).await;
    }
}

fn batch(codec: Compression, records: u32, nth: u64) -> Result<Bytes> {
    let mut builder = BatchBuilder::with_compression(codec);
    for record in 0..records {
        let value = value(nth << 32 | u64::from(record));
        builder.push(None, Some(&value), &[], TIMESTAMP_MS + i64::from(record));
    }
    Ok(builder.build()?.bytes)
}

/// JSON of 903 bytes, of which lz4 leaves 6 in 10 and zstd 4 to 5.
pub(crate) fn value(seed: u64) -> Vec<u8> {
    let letters = noise(seed, RECORD_BYTES);
    let mut letters =
        letters.iter().map(|letter| b"0123456789abcdefghijklmnopqrstuv"[usize::from(letter % 32)]);
    let mut value = b"{".to_vec();
    for field in 0.. {
        if value.len() + 30 > RECORD_BYTES {
            break;
        }
        value.extend(format!("\"field_{field:02}\":\"").bytes());
        value.extend(letters.by_ref().take(14));
        value.extend(b"\",");
    }
    value.resize(RECORD_BYTES - 1, b' ');
    value.push(b'}');
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_as_large_as_asked_for_and_compress_as_their_names_say() {
        let sets = DataSet::all(20_000, 1000).expect("they can be built");
        assert!(sets.iter().all(|set| set.is_tiny || set.records() >= 20_000));
        assert_eq!(sets[3].records(), 1000);
        let per_record = |set: &DataSet| set.wire_bytes() as f64 / set.records() as f64;
        assert!(per_record(&sets[0]) > 903.0);
        assert!((0.5..0.75).contains(&(per_record(&sets[1]) / 903.0)), "{}", per_record(&sets[1]));
        assert!((0.3..0.55).contains(&(per_record(&sets[2]) / 903.0)), "{}", per_record(&sets[2]));
    }
}
