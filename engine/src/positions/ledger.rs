//! The stored positions of one flow, as `mm2-offsets.<source>.internal` holds them.
//!
//! A stored offset is that of the last replicated record (Kafka Connect's source offsets); a position here is the offset
//! behind it, where reading goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol_client::batch::record::RecordBody;
use protocol_client::batch::{BatchBuilder, BatchError, Entry, OpenBatch, Rebuilt};

use crate::records::connect_offset::{ConnectOffsetKey, ConnectOffsetValue, SourcePartition};

/// Most that the records of one batch of the topic may be when decompressed, in bytes.
const MAX_OPEN_BYTES: usize = 64 << 20;

/// Records per batch when positions are written.
const BATCH_RECORDS: u32 = 2_000;

/// A source partition and the offset where reading goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The topic, as the source calls it.
    pub topic: Arc<str>,
    /// The partition's number.
    pub index: i32,
    /// The next offset to read.
    pub next: i64,
}

/// What is stored.
#[derive(Debug)]
pub struct Ledger {
    connector: String,
    cluster: String,
    stored: BTreeMap<Arc<str>, BTreeMap<i32, i64>>,
    skipped: u64,
}

impl Ledger {
    /// An empty ledger for the records of this connector about this source cluster.
    pub fn new(connector: &str, cluster: &str) -> Self {
        Self {
            connector: connector.to_owned(),
            cluster: cluster.to_owned(),
            stored: BTreeMap::new(),
            skipped: 0,
        }
    }

    /// Takes in a batch of the offsets topic; batches of a partition come in its order, and the last record of a key wins.
    ///
    /// # Errors
    /// The batch is damaged. Records that cannot be understood are skipped and counted.
    pub fn absorb(&mut self, batch: &Entry) -> Result<(), BatchError> {
        if batch.is_control() {
            return Ok(());
        }
        let open = OpenBatch::open(batch, MAX_OPEN_BYTES)?;
        for record in open.records() {
            let record = record?;
            let body = RecordBody::decode(record.body, record.offset)?;
            self.absorb_record(body.key, body.value);
        }
        Ok(())
    }

    /// Records that were not understood so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Where reading goes on, if that is stored.
    pub fn position(&self, topic: &str, index: i32) -> Option<i64> {
        self.stored.get(topic)?.get(&index).copied()
    }

    /// Of all positions, those that differ from what is stored. A position of 0 says nothing and is not written.
    pub fn changes(&self, positions: impl IntoIterator<Item = Position>) -> Vec<Position> {
        let differs = |at: &Position| {
            self.position(&at.topic, at.index).map_or(at.next > 0, |stored| stored != at.next)
        };
        positions.into_iter().filter(differs).collect()
    }

    /// The batches that store the changes, each with the partition of the offsets topic it belongs to.
    ///
    /// # Errors
    /// A batch cannot be built.
    pub fn encode(
        &self,
        changes: &[Position],
        partitions: i32,
        now_ms: i64,
    ) -> Result<Vec<(i32, Rebuilt)>, BatchError> {
        let mut open: BTreeMap<i32, BatchBuilder> = BTreeMap::new();
        let mut done = Vec::new();
        for change in changes {
            let at = SourcePartition {
                cluster: &self.cluster,
                topic: &change.topic,
                partition: change.index,
            };
            let key = ConnectOffsetKey::source(&self.connector, at);
            let Some(partition) = key.topic_partition(partitions) else { continue };
            let value = ConnectOffsetValue::new(change.next - 1).encode();
            let builder = open.entry(partition).or_default();
            builder.push(Some(&key.encode()), Some(&value), &[], now_ms);
            if builder.record_count() >= BATCH_RECORDS {
                done.push((partition, std::mem::take(builder).build()?));
            }
        }
        for (partition, builder) in open {
            if builder.record_count() > 0 {
                done.push((partition, builder.build()?));
            }
        }
        Ok(done)
    }

    /// The changes are stored now.
    pub fn commit(&mut self, changes: Vec<Position>) {
        for change in changes {
            self.stored.entry(change.topic).or_default().insert(change.index, change.next);
        }
    }

    fn absorb_record(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let Ok(key) = ConnectOffsetKey::decode(key.unwrap_or_default()) else {
            self.skipped += 1;
            return;
        };
        let Some(at) = key
            .source_partition()
            .filter(|at| key.connector == self.connector && at.cluster == self.cluster)
        else {
            return;
        };
        match ConnectOffsetValue::decode(value.unwrap_or_default()) {
            Ok(Some(value)) => match value.offset() {
                Some(last) if last >= 0 => {
                    self.stored
                        .entry(at.topic.into())
                        .or_default()
                        .insert(at.partition, last.saturating_add(1));
                }
                // Nothing is replicated (`MirrorSourceTask.isUncommitted`).
                Some(_) => self.forget(at.topic, at.partition),
                None => self.skipped += 1,
            },
            Ok(None) => self.forget(at.topic, at.partition),
            Err(_) => self.skipped += 1,
        }
    }

    fn forget(&mut self, topic: &str, index: i32) {
        if let Some(partitions) = self.stored.get_mut(topic) {
            partitions.remove(&index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(topic: &str, index: i32, next: i64) -> Position {
        Position { topic: topic.into(), index, next }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut ledger = Ledger::new("MirrorSourceConnector", "A");
        let changes = vec![position("t", 0, 42), position("t", 1, 7), position("u", 0, 1)];
        let batches = ledger.encode(&changes, 25, 1_700_000_000_000).unwrap();
        for (_, batch) in &batches {
            ledger.absorb(&Entry::new(batch.bytes.clone()).unwrap()).unwrap();
        }
        for change in &changes {
            assert_eq!(ledger.position(&change.topic, change.index), Some(change.next));
        }
        assert_eq!(ledger.skipped(), 0);
        assert!(ledger.changes(changes).is_empty());
    }

    #[test]
    fn mirror_makers_own_partitioner_is_used() {
        let ledger = Ledger::new("MirrorSourceConnector", "A");
        let batches = ledger.encode(&[position("t", 0, 42)], 25, 0).unwrap();
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].0, 7);
    }

    #[test]
    fn foreign_and_broken_records_do_no_harm() {
        let mut ledger = Ledger::new("MirrorSourceConnector", "A");
        let mut batch = BatchBuilder::new();
        let key = br#"["MirrorSourceConnector",{"cluster":"A","partition":0,"topic":"t"}]"#;
        batch.push(Some(key), Some(br#"{"offset":9}"#), &[], 0);
        batch.push(Some(b"nonsense"), Some(b"{}"), &[], 0);
        batch.push(None, None, &[], 0);
        batch.push(
            Some(br#"["Other",{"cluster":"A","partition":0,"topic":"t"}]"#),
            Some(br#"{"offset":1}"#),
            &[],
            0,
        );
        batch.push(Some(key), Some(br#"{"offset":"x"}"#), &[], 0);
        let entry = Entry::new(batch.build().unwrap().bytes).unwrap();
        ledger.absorb(&entry).unwrap();
        assert_eq!(ledger.position("t", 0), Some(10));
        assert_eq!(ledger.skipped(), 3);
        let mut tombstone = BatchBuilder::new();
        tombstone.push(Some(key), None, &[], 0);
        ledger.absorb(&Entry::new(tombstone.build().unwrap().bytes).unwrap()).unwrap();
        assert_eq!(ledger.position("t", 0), None);
    }

    /// As when the topic was deleted and made anew.
    #[test]
    fn a_position_that_went_back_to_zero_is_forgotten() {
        let mut ledger = Ledger::new("MirrorSourceConnector", "A");
        ledger.commit(vec![position("t", 0, 5)]);
        let changes = ledger.changes([position("t", 0, 0)]);
        assert_eq!(changes.len(), 1);
        for (_, batch) in ledger.encode(&changes, 25, 0).unwrap() {
            ledger.absorb(&Entry::new(batch.bytes).unwrap()).unwrap();
        }
        assert_eq!(ledger.position("t", 0), None);
        assert_eq!(ledger.skipped(), 0);
    }

    #[test]
    fn a_position_of_zero_is_not_written() {
        let ledger = Ledger::new("MirrorSourceConnector", "A");
        assert!(ledger.changes([position("t", 0, 0)]).is_empty());
        assert_eq!(ledger.changes([position("t", 0, 1)]).len(), 1);
    }
}
