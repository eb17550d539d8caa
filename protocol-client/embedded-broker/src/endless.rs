//! Batches for topics that never end: made once, served over and over.

use bytes::{BufMut, Bytes, BytesMut};
use protocol_client::batch::{BatchBuilder, BatchError, Compression};

use crate::core::topics::topic_name;
use crate::core::{Refused, TopicSpec};

/// Distinct batches of one round.
const ROUND_BATCHES: usize = 8;
/// Timestamp of all records: 2026-01-01, in milliseconds.
const TIMESTAMP_MS: i64 = 1_767_225_600_000;

/// A topic whose partitions are full of made-up records.
#[derive(Debug, Clone)]
pub struct EndlessTopic {
    /// Its name, partitions and configs.
    pub spec: TopicSpec,
    /// Records of each batch.
    pub batch_records: usize,
    /// Value of each record, in bytes.
    pub record_bytes: usize,
    /// How the batches are compressed.
    pub compression: Compression,
    /// Where each partition ends after all.
    pub end_offset: i64,
}

impl EndlessTopic {
    /// Batches of 1 MiB with records of 1 KiB, not compressed, for longer than anybody reads.
    pub fn new(name: &str, partitions: i32) -> Self {
        Self {
            spec: TopicSpec::new(name, partitions),
            batch_records: 1000,
            record_bytes: 1024,
            compression: Compression::None,
            end_offset: 1 << 50,
        }
    }

    /// From `NAME:PARTITIONS[:KEY=VALUE]...`; keys are `batch.records`, `record.bytes`, `codec` and `end.offset`,
    /// others are configs of the topic.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut endless = Self::new("", 0);
        endless.spec = TopicSpec::parse(text)?;
        let number = |value: &str| -> Result<usize, String> {
            let parsed = value.parse().ok().filter(|&number| number > 0);
            parsed.ok_or_else(|| format!("{value:?} is no positive number"))
        };
        for (name, value) in std::mem::take(&mut endless.spec.configs) {
            let text = value.clone().unwrap_or_default();
            match name.as_str() {
                "batch.records" => endless.batch_records = number(&text)?,
                "record.bytes" => endless.record_bytes = number(&text)?,
                "end.offset" => endless.end_offset = number(&text)? as i64,
                "codec" => {
                    let codecs = (0..5).filter_map(Compression::from_attributes);
                    let mut named = codecs.filter(|codec| codec.name() == text);
                    let unknown = || format!("{text:?} is no codec");
                    endless.compression = named.next().ok_or_else(unknown)?;
                }
                _ => endless.spec.configs.push((name, value)),
            }
        }
        Ok(endless)
    }

    /// The batches of one round, one behind the other.
    ///
    /// # Errors
    /// When a batch gets too large.
    pub fn round(&self) -> Result<Bytes, BatchError> {
        let mut blob = BytesMut::new();
        let mut noise = 1u64;
        for _ in 0..ROUND_BATCHES {
            let mut builder = BatchBuilder::with_compression(self.compression);
            for _ in 0..self.batch_records {
                let value = value(&mut noise, self.record_bytes);
                builder.push(None, Some(&value), &[], TIMESTAMP_MS);
            }
            blob.put_slice(&builder.build()?.bytes);
        }
        Ok(blob.freeze())
    }
}

/// Text of four-letter syllables: codecs find something in it, but not everything.
fn value(noise: &mut u64, length: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(length + 4);
    while value.len() < length {
        *noise ^= *noise << 13;
        *noise ^= *noise >> 7;
        *noise ^= *noise << 17;
        let letter = |shift: u32| b'a' + ((*noise >> shift) & 0x0f) as u8;
        value.extend([letter(0), letter(8), letter(16), b' ']);
    }
    value.truncate(length);
    value
}

impl TopicSpec {
    /// From `NAME:PARTITIONS[:CONFIG=VALUE]...`.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let count = parts.next().ok_or("the number of partitions is missing: NAME:PARTITIONS")?;
        let count = count.parse().map_err(|_| format!("{count:?} is no number"))?;
        let mut spec = Self::new(name, count);
        for part in parts {
            let (name, value) =
                part.split_once('=').ok_or_else(|| format!("{part:?} has no '='"))?;
            spec = spec.config(name, value);
        }
        Ok(spec)
    }
}

impl crate::core::Broker {
    /// Creates a topic that discards what is produced and serves made-up records.
    ///
    /// # Errors
    /// The error that CreateTopics answers, or INVALID_CONFIG for batches that cannot be.
    pub fn create_endless(&mut self, endless: &EndlessTopic) -> Result<(), Refused> {
        let invalid = |error: BatchError| (crate::KafkaError::InvalidConfig, error.to_string());
        let round = endless.round().map_err(invalid)?;
        self.create_topic(endless.spec.clone())?;
        if self.make_null(&endless.spec.name, Some((&round, endless.end_offset))) {
            return Ok(());
        }
        self.delete_topic(&topic_name(&endless.spec.name));
        Err((crate::KafkaError::InvalidConfig, "the batches cannot be served".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::log::Isolation;
    use protocol_client::batch::{Entry, OpenBatch, walk};

    #[test]
    fn every_batch_opens_at_its_offset() {
        let text = "t:2:batch.records=3:record.bytes=50:codec=lz4:end.offset=100:retention.ms=5";
        let endless = EndlessTopic::parse(text).expect("parses");
        let mut broker = crate::core::Broker::new(crate::BrokerOptions::default());
        broker.create_endless(&endless).expect("created");
        let partition = broker.partition("t", 1).expect("there");
        assert_eq!(partition.end_offset(), 100);
        let (pieces, _) = partition.read(31, Isolation::ReadUncommitted, 2000, true);
        let blob = Bytes::from(pieces.concat());
        let mut next = 30;
        for entry in walk(&blob) {
            let entry: Entry = entry.expect("a whole batch");
            assert_eq!(entry.base_offset(), next);
            let open = OpenBatch::open(&entry, 1 << 20).expect("opens");
            assert!(open.records().all(|record| record.is_ok()));
            next = entry.next_offset();
        }
        assert!(next > 36);
        assert!(EndlessTopic::parse("t:1:codec=rar").is_err());
        assert!(EndlessTopic::parse("t").is_err());
    }
}
