//! The stored positions of one flow, as `mm2-offsets.<source>.internal` holds them.
//!
//! A stored offset is that of the last replicated record (Kafka Connect's source offsets); a position here is the offset
//! behind it, where reading goes on. Beside it, in the same batch, kmirror keeps the pair of both sides' offsets
//! ([`crate::records::pair`]): whatever ends a process or loses an answer, both are there or neither.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol_client::batch::record::RecordBody;
use protocol_client::batch::{BatchBuilder, BatchError, Entry, OpenBatch, Rebuilt};

use crate::flow::shard::Progress;
use crate::model::{Pair, TopicPartition};
use crate::records::connect_offset::{ConnectOffsetKey, ConnectOffsetValue, SourcePartition};
use crate::records::pair::{self, EndedProducer};

/// Most that the records of one batch of the topic may be when decompressed, in bytes.
const MAX_OPEN_BYTES: usize = 64 << 20;

/// Records per batch when positions are written.
const BATCH_RECORDS: u32 = 2_000;

/// How far a source partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The partition, as the source calls it.
    pub source: TopicPartition,
    /// The next offset to read.
    pub next: i64,
    /// The same place at the target, once known.
    pub pair: Option<Pair>,
}

impl Position {
    /// What there is to store of a partition: nothing before it knows its place at the target, where what is stored is
    /// still being compared with the logs.
    pub fn of(progress: &Progress) -> Option<Self> {
        let pair = progress.pair()?;
        Some(Self { source: progress.source.clone(), next: pair.source_next, pair: Some(pair) })
    }
}

/// What is stored of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Nothing.
    Nothing,
    /// Where it stands on both sides.
    Pair(Pair),
    /// The next offset to read, as MirrorMaker 2 has left it.
    Position(i64),
    /// The next offset to read: somebody has set it back.
    SetBack(i64),
}

/// What is stored.
#[derive(Debug)]
pub struct Ledger {
    connector: String,
    owner: String,
    cluster: String,
    stored: BTreeMap<Arc<str>, BTreeMap<i32, Row>>,
    ended: BTreeMap<String, EndedProducer>,
    skipped: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Row {
    next: Option<i64>,
    pair: Option<Pair>,
}

impl Row {
    fn stored(self) -> Stored {
        let next = self.next.unwrap_or(0);
        match self.pair {
            Some(pair) if next == pair.source_next => Stored::Pair(pair),
            Some(pair) if self.next.is_some() && next < pair.source_next => Stored::SetBack(next),
            _ => self.next.map_or(Stored::Nothing, Stored::Position),
        }
    }

    /// Whether the row lacks something of this position. A position of 0 says nothing and is not written.
    fn lacks(self, at: &Position) -> bool {
        let pair = at.pair.is_some() && at.pair != self.pair;
        pair || self.lacks_next(at)
    }

    fn lacks_next(self, at: &Position) -> bool {
        self.next.map_or(at.next > 0, |stored| stored != at.next)
    }
}

impl Ledger {
    /// An empty ledger for the records of this connector about this source cluster.
    pub fn new(connector: &str, cluster: &str) -> Self {
        Self {
            connector: connector.to_owned(),
            owner: pair::owner(connector),
            cluster: cluster.to_owned(),
            stored: BTreeMap::new(),
            ended: BTreeMap::new(),
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

    /// What is stored of a partition.
    pub fn stored(&self, topic: &str, index: i32) -> Stored {
        self.row(topic, index).stored()
    }

    /// So many partitions of a topic are known: one more than the largest number.
    pub fn partitions(&self, topic: &str) -> i32 {
        let rows = self.stored.get(topic).into_iter().flatten();
        let known = rows.filter(|(_, row)| row.stored() != Stored::Nothing);
        known.max_by_key(|(index, _)| **index).map_or(0, |(index, _)| index + 1)
    }

    /// The transactional ids that anything is noted of.
    pub fn transactional_ids(&self) -> impl Iterator<Item = &str> {
        self.ended.keys().map(String::as_str)
    }

    /// The last producer of this transactional id that ended in good order.
    pub fn ended(&self, transactional_id: &str) -> Option<EndedProducer> {
        self.ended.get(transactional_id).copied()
    }

    /// Of all positions, those that differ from what is stored.
    pub fn changes(&self, positions: impl IntoIterator<Item = Position>) -> Vec<Position> {
        let differs = |at: &Position| self.row(&at.source.topic, at.source.index).lacks(at);
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
        let mut batches = Batches::new(partitions, now_ms);
        for change in changes {
            let row = self.row(&change.source.topic, change.source.index);
            let at = partition_of(&self.cluster, &change.source);
            let next = change.next - 1;
            let next = row.lacks_next(change).then(|| ConnectOffsetValue::new(next).encode());
            let pair = change.pair.map(|pair| pair::encode(&pair));
            batches.push_position(&self.connector, at, next.as_deref(), pair.as_deref())?;
        }
        batches.finish()
    }

    /// The batches that note the end of producers, by transactional id.
    ///
    /// # Errors
    /// A batch cannot be built.
    pub fn encode_ends(
        &self,
        ended: &BTreeMap<String, EndedProducer>,
        partitions: i32,
        now_ms: i64,
    ) -> Result<Vec<(i32, Rebuilt)>, BatchError> {
        let mut batches = Batches::new(partitions, now_ms);
        for (transactional_id, end) in ended {
            let key = pair::producer_key(&self.connector, transactional_id);
            if let Some(partition) = key.topic_partition(partitions) {
                batches.push(partition, &[(&key, &end.encode())])?;
            }
        }
        batches.finish()
    }

    /// The changes are stored now.
    pub fn commit(&mut self, changes: Vec<Position>) {
        for Position { source, next, pair } in changes {
            let row = self.stored.entry(source.topic).or_default().entry(source.index).or_default();
            *row = Row { next: Some(next).filter(|next| *next > 0), pair: pair.or(row.pair) };
        }
    }

    fn row(&self, topic: &str, index: i32) -> Row {
        self.stored.get(topic).and_then(|rows| rows.get(&index)).copied().unwrap_or_default()
    }

    fn absorb_record(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let Ok(key) = ConnectOffsetKey::decode(key.unwrap_or_default()) else {
            self.skipped += 1;
            return;
        };
        let value = value.unwrap_or_default();
        let understood = if key.connector == self.connector {
            self.absorb_next(&key, value)
        } else if key.connector == self.owner {
            self.absorb_own(&key, value)
        } else {
            true
        };
        self.skipped += u64::from(!understood);
    }

    /// A position as MirrorMaker 2 writes it; `false` if it cannot be understood.
    fn absorb_next(&mut self, key: &ConnectOffsetKey, value: &[u8]) -> bool {
        let Some(row) = self.row_of(key) else { return true };
        match ConnectOffsetValue::decode(value) {
            Ok(Some(value)) => match value.offset() {
                // Below 0 nothing is replicated (`MirrorSourceTask.isUncommitted`).
                Some(last) => row.next = (last >= 0).then(|| last.saturating_add(1)),
                None => return false,
            },
            Ok(None) => row.next = None,
            Err(_) => return false,
        }
        true
    }

    /// A record of kmirror's own.
    fn absorb_own(&mut self, key: &ConnectOffsetKey, value: &[u8]) -> bool {
        if let Some(id) = key.member("producer") {
            let Ok(ended) = EndedProducer::decode(value) else { return false };
            match ended {
                Some(ended) => self.ended.insert(id.to_owned(), ended),
                None => self.ended.remove(id),
            };
            return true;
        }
        let Some(row) = self.row_of(key) else { return true };
        match pair::decode(value) {
            Ok(pair) => row.pair = pair,
            Err(_) => return false,
        }
        true
    }

    /// The row of the partition that a key names, if it is one of this cluster.
    fn row_of(&mut self, key: &ConnectOffsetKey) -> Option<&mut Row> {
        let at = key.source_partition().filter(|at| at.cluster == self.cluster)?;
        Some(self.stored.entry(at.topic.into()).or_default().entry(at.partition).or_default())
    }
}

/// The partition of the offsets topic that a source partition's position goes to.
pub fn place(connector: &str, at: SourcePartition<'_>, partitions: i32) -> Option<i32> {
    ConnectOffsetKey::source(connector, at).topic_partition(partitions)
}

/// The batches that store these positions whatever is stored, each with the partition of the offsets topic it belongs to.
///
/// # Errors
/// A batch cannot be built.
pub fn encode_all(
    connector: &str,
    cluster: &str,
    positions: &[(TopicPartition, Pair)],
    partitions: i32,
    now_ms: i64,
) -> Result<Vec<(i32, Rebuilt)>, BatchError> {
    let mut batches = Batches::new(partitions, now_ms);
    for (source, pair) in positions {
        let next = ConnectOffsetValue::new(pair.source_next - 1).encode();
        let at = partition_of(cluster, source);
        batches.push_position(connector, at, Some(&next), Some(&pair::encode(pair)))?;
    }
    batches.finish()
}

fn partition_of<'a>(cluster: &'a str, source: &'a TopicPartition) -> SourcePartition<'a> {
    SourcePartition { cluster, topic: &source.topic, partition: source.index }
}

/// Records on their way into the partitions of the offsets topic.
struct Batches {
    partitions: i32,
    now_ms: i64,
    open: BTreeMap<i32, BatchBuilder>,
    done: Vec<(i32, Rebuilt)>,
}

impl Batches {
    fn new(partitions: i32, now_ms: i64) -> Self {
        Self { partitions, now_ms, open: BTreeMap::new(), done: Vec::new() }
    }

    /// Where Connect's record goes, the pair goes too.
    fn push_position(
        &mut self,
        connector: &str,
        at: SourcePartition<'_>,
        next: Option<&[u8]>,
        pair: Option<&[u8]>,
    ) -> Result<(), BatchError> {
        let Some(partition) = place(connector, at, self.partitions) else { return Ok(()) };
        let keys = (pair::key(connector, at), ConnectOffsetKey::source(connector, at));
        let records = [pair.map(|value| (&keys.0, value)), next.map(|value| (&keys.1, value))];
        let records: Vec<_> = records.into_iter().flatten().collect();
        self.push(partition, &records)
    }

    /// Records that stay in one batch.
    fn push(
        &mut self,
        partition: i32,
        records: &[(&ConnectOffsetKey, &[u8])],
    ) -> Result<(), BatchError> {
        let builder = self.open.entry(partition).or_default();
        for (key, value) in records {
            builder.push(Some(&key.encode()), Some(value), &[], self.now_ms);
        }
        if builder.record_count() >= BATCH_RECORDS {
            self.done.push((partition, std::mem::take(builder).build()?));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<(i32, Rebuilt)>, BatchError> {
        for (partition, builder) in self.open {
            if builder.record_count() > 0 {
                self.done.push((partition, builder.build()?));
            }
        }
        Ok(self.done)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn position(topic: &str, index: i32, next: i64) -> Position {
        let source = TopicPartition { topic: topic.into(), topic_id: Uuid::nil(), index };
        Position { source, next, pair: None }
    }

    fn paired(topic: &str, next: i64, target_next: i64) -> Position {
        let mut position = position(topic, 0, next);
        position.pair = Some(Pair { source_next: next, target_next, ..Pair::NOWHERE });
        position
    }

    fn written(ledger: &Ledger, changes: &[Position]) -> Vec<Entry> {
        let batches = ledger.encode(changes, 25, 1_700_000_000_000).unwrap();
        batches.into_iter().map(|(_, batch)| Entry::new(batch.bytes).unwrap()).collect()
    }

    fn absorbed(batches: &[Entry]) -> Ledger {
        let mut ledger = Ledger::new("MirrorSourceConnector", "A");
        batches.iter().for_each(|batch| ledger.absorb(batch).unwrap());
        ledger
    }

    #[test]
    fn what_is_written_is_read_again() {
        let ledger = absorbed(&[]);
        let changes =
            vec![position("t", 0, 42), position("t", 1, 7), position("u", 0, 1), paired("v", 5, 9)];
        let ledger = absorbed(&written(&ledger, &changes));
        for change in &changes {
            let stored = ledger.stored(&change.source.topic, change.source.index);
            let expected = change.pair.map_or(Stored::Position(change.next), Stored::Pair);
            assert_eq!(stored, expected);
        }
        assert_eq!(ledger.skipped(), 0);
        assert!(ledger.changes(changes).is_empty());
    }

    #[test]
    fn a_commit_leaves_what_reading_would() {
        let mut ledger = absorbed(&[]);
        let mut all = Vec::new();
        for changes in [vec![paired("t", 0, 3)], vec![paired("t", 5, 9)], vec![paired("t", 9, 13)]]
        {
            all.extend(written(&ledger, &changes));
            ledger.commit(changes);
            assert_eq!(absorbed(&all).stored, ledger.stored);
        }
    }

    #[test]
    fn what_others_set_is_told_apart() {
        let key = br#"["MirrorSourceConnector",{"cluster":"A","partition":0,"topic":"t"}]"#;
        let pair = |source_next, target_next| Pair { source_next, target_next, ..Pair::NOWHERE };
        let mut ledger = absorbed(&[]);
        let mut batches = written(&ledger, &[paired("t", 5, 9)]);
        ledger.commit(vec![paired("t", 5, 9)]);
        batches.extend(written(&ledger, &[paired("t", 8, 12)]));
        assert_eq!(batches.len(), 2, "a position and its pair are never apart");
        assert_eq!(absorbed(&batches[..1]).stored("t", 0), Stored::Pair(pair(5, 9)));
        assert_eq!(absorbed(&batches).stored("t", 0), Stored::Pair(pair(8, 12)));
        for (next, expected) in [(20, Stored::Position(20)), (3, Stored::SetBack(3))] {
            let value = format!(r#"{{"offset":{}}}"#, next - 1);
            let mut batch = BatchBuilder::new();
            batch.push(Some(key), Some(value.as_bytes()), &[], 0);
            let mut batches = batches.clone();
            batches.push(Entry::new(batch.build().unwrap().bytes).unwrap());
            assert_eq!(absorbed(&batches).stored("t", 0), expected);
        }
        let mut tombstone = BatchBuilder::new();
        tombstone.push(Some(key), None, &[], 0);
        batches.push(Entry::new(tombstone.build().unwrap().bytes).unwrap());
        assert_eq!(absorbed(&batches).stored("t", 0), Stored::Nothing);
    }

    /// The logs are compared from an older pair then, which costs time and no more.
    #[test]
    fn what_a_replaced_instance_writes_late_sets_nothing_back() {
        let mut all = written(&absorbed(&[]), &[paired("t", 8, 12)]);
        all.extend(written(&absorbed(&[]), &[paired("t", 5, 9)]));
        let pair = Pair { source_next: 5, target_next: 9, ..Pair::NOWHERE };
        assert_eq!(absorbed(&all).stored("t", 0), Stored::Pair(pair));
    }

    #[test]
    fn ends_of_producers_are_kept() {
        let ledger = absorbed(&[]);
        let ended = EndedProducer { id: 9, epoch: 2 };
        let batches =
            ledger.encode_ends(&BTreeMap::from([("id".to_owned(), ended)]), 25, 0).unwrap();
        let entries: Vec<Entry> =
            batches.into_iter().map(|(_, batch)| Entry::new(batch.bytes).unwrap()).collect();
        let ledger = absorbed(&entries);
        assert_eq!((ledger.ended("id"), ledger.ended("other")), (Some(ended), None));
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
        let own = br#"["MirrorSourceConnector.kmirror",{"cluster":"A","partition":0,"topic":"t"}]"#;
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
        batch.push(Some(own), Some(br#"{"source":"x"}"#), &[], 0);
        let entry = Entry::new(batch.build().unwrap().bytes).unwrap();
        ledger.absorb(&entry).unwrap();
        assert_eq!(ledger.stored("t", 0), Stored::Position(10));
        assert_eq!(ledger.skipped(), 4);
    }

    /// As when the topic was deleted and made anew.
    #[test]
    fn a_position_that_went_back_to_zero_is_forgotten() {
        let mut ledger = Ledger::new("MirrorSourceConnector", "A");
        ledger.commit(vec![position("t", 0, 5)]);
        let changes = ledger.changes([position("t", 0, 0)]);
        assert_eq!(changes.len(), 1);
        for entry in written(&ledger, &changes) {
            ledger.absorb(&entry).unwrap();
        }
        assert_eq!(ledger.stored("t", 0), Stored::Nothing);
        assert_eq!(ledger.skipped(), 0);
    }

    #[test]
    fn a_position_of_zero_is_not_written() {
        let ledger = Ledger::new("MirrorSourceConnector", "A");
        assert!(ledger.changes([position("t", 0, 0)]).is_empty());
        assert_eq!(ledger.changes([position("t", 0, 1)]).len(), 1);
    }
}
