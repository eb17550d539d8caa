//! What a test asks the peer to produce and to compare, and what it answers.

use anyhow::{Context, Result};

use crate::peer::Fields;

/// What the records look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Every key and value is unique.
    Plain,
    /// Also null and empty keys and values, and headers that repeat, are null or are not text.
    Mixed,
}

/// Records to produce: what they are depends on the seed and their number alone.
#[derive(Debug, Clone)]
pub struct Load {
    /// The topic, which exists already.
    pub topic: String,
    /// How many records.
    pub records: u64,
    /// Distinguishes the records of one load from those of another.
    pub seed: u64,
    /// `compression.type` of the producer.
    pub codec: &'static str,
    /// What the records look like.
    pub shape: Shape,
    /// When not 0: there are so many keys, which repeat irregularly, as in a compacted topic.
    pub keys: u32,
    /// Length of a value, in bytes.
    pub value_bytes: u32,
    /// `batch.size` of the producer, in bytes.
    pub batch_bytes: u32,
    /// `linger.ms` of the producer.
    pub linger_ms: u32,
    /// Records per second; 0 for as fast as it goes.
    pub rate: u32,
    /// When not 0: so many records per transaction, of which every third is aborted.
    pub transaction_records: u32,
    /// When not 0: the first record's timestamp in milliseconds, the others one apart.
    pub first_timestamp_ms: u64,
    /// All records into this partition, instead of one after the other into each.
    pub partition: Option<u32>,
}

impl Load {
    /// A thousand plain records of 100 bytes, not compressed.
    pub fn of(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            records: 1000,
            seed: 1,
            codec: "none",
            shape: Shape::Plain,
            keys: 0,
            value_bytes: 100,
            batch_bytes: 16_384,
            linger_ms: 5,
            rate: 0,
            transaction_records: 0,
            first_timestamp_ms: 0,
            partition: None,
        }
    }

    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let shape = match self.shape {
            Shape::Plain => "plain",
            Shape::Mixed => "mixed",
        };
        let numbers = [
            ("records", self.records),
            ("seed", self.seed),
            ("keys", self.keys.into()),
            ("value_bytes", self.value_bytes.into()),
            ("batch_bytes", self.batch_bytes.into()),
            ("linger_ms", self.linger_ms.into()),
            ("rate", self.rate.into()),
            ("transaction_records", self.transaction_records.into()),
            ("first_timestamp_ms", self.first_timestamp_ms),
        ];
        let mut fields = vec![
            ("topic".to_owned(), self.topic.clone()),
            ("codec".to_owned(), self.codec.to_owned()),
            ("shape".to_owned(), shape.to_owned()),
        ];
        fields.extend(numbers.map(|(name, number)| (name.to_owned(), number.to_string())));
        if let Some(partition) = self.partition {
            fields.push(("partition".to_owned(), partition.to_string()));
        }
        fields
    }
}

/// How the producer of a load fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    /// Records that the cluster acknowledged.
    pub acknowledged: u64,
    /// Records that the producer gave up, or that an abort took back before they were sent.
    pub failed: u64,
    /// What Kafka's producer said of the first of them.
    pub first_error: String,
}

impl Produced {
    pub(crate) fn parse(fields: &Fields) -> Result<Self> {
        Ok(Self {
            acknowledged: number(fields, "acknowledged")?,
            failed: number(fields, "failed")?,
            first_error: text(fields, "first_error")?,
        })
    }

    /// Every record was acknowledged.
    ///
    /// # Panics
    /// Some were not; the message says why.
    #[track_caller]
    pub fn assert_complete(&self) {
        assert!(self.failed == 0, "{} records failed: {}", self.failed, self.first_error);
    }
}

/// Which records of the source a comparison reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Those of committed transactions and those outside of any.
    ReadCommitted,
    /// All.
    ReadUncommitted,
}

impl Isolation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// A topic and its mirror, record by record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Records on the source.
    pub source_records: u64,
    /// Records on the target.
    pub target_records: u64,
    /// Records of the source that the target lacks.
    pub missing: u64,
    /// Records of the target that the source never had.
    pub extra: u64,
    /// Records of the source that the target holds once more.
    pub repeated: u64,
    /// The first place where the two differ; empty when they are equal, order included.
    pub first_difference: String,
    /// The same with those records of the target left out that the source never had.
    pub first_difference_in_ours: String,
}

impl Comparison {
    pub(crate) fn parse(fields: &Fields) -> Result<Self> {
        Ok(Self {
            source_records: number(fields, "source_records")?,
            target_records: number(fields, "target_records")?,
            missing: number(fields, "missing")?,
            extra: number(fields, "extra")?,
            repeated: number(fields, "repeated")?,
            first_difference: text(fields, "first_difference")?,
            first_difference_in_ours: text(fields, "first_difference_in_ours")?,
        })
    }

    /// Both hold the same records in the same order, and `records` of them.
    ///
    /// # Panics
    /// They differ; the message is the whole comparison.
    #[track_caller]
    pub fn assert_equal(&self, records: u64) {
        let equal = self.first_difference.is_empty() && self.source_records == records;
        assert!(equal, "expected {records} equal records: {self:#?}");
    }
}

fn text(fields: &Fields, name: &str) -> Result<String> {
    fields.get(name).cloned().with_context(|| format!("the answer has no {name}"))
}

fn number(fields: &Fields, name: &str) -> Result<u64> {
    text(fields, name)?.parse().with_context(|| format!("{name} is not a number"))
}
