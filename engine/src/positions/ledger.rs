//! The stored positions of one flow, as `mm2-offsets.<source>.internal` holds them.
//!
//! A stored offset is that of the last replicated record (Kafka Connect's source offsets); a position here is the offset
//! behind it, where reading goes on. Beside it kmirror keeps the pair of both sides' offsets ([`crate::records::pair`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol_client::batch::record::{Header, RecordBody};
use protocol_client::batch::{BatchBuilder, BatchError, Entry, OpenBatch, Rebuilt};

use crate::model::{Pair, TopicPartition};
use crate::records::connect_offset::{ConnectOffsetKey, ConnectOffsetValue, SourcePartition};
use crate::records::pair::{self, EndedProducer, StoredPair};

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

/// The header of a position under MirrorMaker 2's key that kmirror has written. Connect does not look at headers, and who
/// sets a position by hand does not write this one.
const OWN: &str = "kmirror";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Row {
    next: Option<i64>,
    /// Nobody else has set `next`.
    is_own: bool,
    pair: Option<StoredPair>,
}

impl Row {
    fn stored(self) -> Stored {
        let next = self.next.unwrap_or(0);
        match self.pair {
            // Both keys are written one after the other, so one of them may be a flush older; and an instance that was
            // replaced may have written late. Whichever pair there is, the logs are compared from it on.
            Some(StoredPair { pair, previous })
                if self.is_own || next == pair.source_next || next == previous =>
            {
                Stored::Pair(pair)
            }
            Some(StoredPair { pair, .. }) if self.next.is_some() && next < pair.source_next => {
                Stored::SetBack(next)
            }
            _ => self.next.map_or(Stored::Nothing, Stored::Position),
        }
    }

    /// Whether the row lacks something of this position. A position of 0 says nothing and is not written.
    fn lacks(self, at: &Position) -> (bool, bool) {
        let pair = at.pair.is_some() && at.pair != self.pair.map(|stored| stored.pair);
        let next = self.next.map_or(at.next > 0, |stored| stored != at.next);
        (pair, next)
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
            let is_own = body.headers().any(|(name, _)| name == OWN.as_bytes());
            self.absorb_record(body.key, body.value, is_own);
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
        let differs =
            |at: &Position| self.row(&at.source.topic, at.source.index).lacks(at) != (false, false);
        positions.into_iter().filter(differs).collect()
    }

    /// The batches that store the changes, each with the partition of the offsets topic it belongs to, in the order in
    /// which they must be written.
    ///
    /// # Errors
    /// A batch cannot be built.
    pub fn encode(
        &self,
        changes: &[Position],
        partitions: i32,
        now_ms: i64,
    ) -> Result<Vec<(i32, Rebuilt)>, BatchError> {
        let mut pairs = Batches::new(partitions, now_ms);
        let mut nexts = Batches::new(partitions, now_ms);
        for change in changes {
            let row = self.row(&change.source.topic, change.source.index);
            let at = SourcePartition {
                cluster: &self.cluster,
                topic: &change.source.topic,
                partition: change.source.index,
            };
            let (lacks_pair, lacks_next) = row.lacks(change);
            if let Some(pair) = change.pair.filter(|_| lacks_pair) {
                let stored = StoredPair { pair, previous: row.next.unwrap_or(0) };
                pairs.push(&pair::key(&self.connector, at), &stored.encode())?;
            }
            if lacks_next {
                let value = ConnectOffsetValue::new(change.next - 1).encode();
                nexts.push_own(&ConnectOffsetKey::source(&self.connector, at), &value)?;
            }
        }
        let mut done = pairs.finish()?;
        done.extend(nexts.finish()?);
        Ok(done)
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
            batches.push(&pair::producer_key(&self.connector, transactional_id), &end.encode())?;
        }
        batches.finish()
    }

    /// The changes are stored now.
    pub fn commit(&mut self, changes: Vec<Position>) {
        for change in changes {
            let row = self.row(&change.source.topic, change.source.index);
            let (lacks_pair, lacks_next) = row.lacks(&change);
            let stored = StoredPair { pair: Pair::NOWHERE, previous: row.next.unwrap_or(0) };
            let new = change.pair.filter(|_| lacks_pair).map(|pair| StoredPair { pair, ..stored });
            let next =
                if lacks_next { Some(change.next).filter(|next| *next > 0) } else { row.next };
            let rows = self.stored.entry(change.source.topic).or_default();
            let is_own = lacks_next || row.is_own;
            rows.insert(change.source.index, Row { next, is_own, pair: new.or(row.pair) });
        }
    }

    fn row(&self, topic: &str, index: i32) -> Row {
        self.stored.get(topic).and_then(|rows| rows.get(&index)).copied().unwrap_or_default()
    }

    fn absorb_record(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, is_own: bool) {
        let Ok(key) = ConnectOffsetKey::decode(key.unwrap_or_default()) else {
            self.skipped += 1;
            return;
        };
        let value = value.unwrap_or_default();
        let understood = if key.connector == self.connector {
            self.absorb_next(&key, value, is_own)
        } else if key.connector == self.owner {
            self.absorb_own(&key, value)
        } else {
            true
        };
        self.skipped += u64::from(!understood);
    }

    /// A position as MirrorMaker 2 writes it; `false` if it cannot be understood.
    fn absorb_next(&mut self, key: &ConnectOffsetKey, value: &[u8], is_own: bool) -> bool {
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
        row.is_own = is_own;
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
        match StoredPair::decode(value) {
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

/// The partitions of the offsets topic that a source partition's position goes to: Connect's record, and ours.
pub fn places(connector: &str, at: SourcePartition<'_>, partitions: i32) -> [Option<i32>; 2] {
    let keys = [ConnectOffsetKey::source(connector, at), pair::key(connector, at)];
    keys.map(|key| key.topic_partition(partitions))
}

/// The batches that store these positions whatever is stored, each with the partition of the offsets topic it belongs to.
/// Only for who writes both records of a position in one transaction.
///
/// # Errors
/// A batch cannot be built.
pub fn encode_together(
    connector: &str,
    cluster: &str,
    positions: &[(TopicPartition, Pair)],
    partitions: i32,
    now_ms: i64,
) -> Result<Vec<(i32, Rebuilt)>, BatchError> {
    let mut batches = Batches::new(partitions, now_ms);
    for (source, pair) in positions {
        let at = SourcePartition { cluster, topic: &source.topic, partition: source.index };
        let value = ConnectOffsetValue::new(pair.source_next - 1).encode();
        batches.push_own(&ConnectOffsetKey::source(connector, at), &value)?;
        let stored = StoredPair { pair: *pair, previous: pair.source_next };
        batches.push(&pair::key(connector, at), &stored.encode())?;
    }
    batches.finish()
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

    fn push(&mut self, key: &ConnectOffsetKey, value: &[u8]) -> Result<(), BatchError> {
        self.push_with(key, value, &[])
    }

    /// A position under MirrorMaker 2's key.
    fn push_own(&mut self, key: &ConnectOffsetKey, value: &[u8]) -> Result<(), BatchError> {
        self.push_with(key, value, &[(OWN.as_bytes(), None)])
    }

    fn push_with(
        &mut self,
        key: &ConnectOffsetKey,
        value: &[u8],
        headers: &[Header<'_>],
    ) -> Result<(), BatchError> {
        let Some(partition) = key.topic_partition(self.partitions) else { return Ok(()) };
        let builder = self.open.entry(partition).or_default();
        builder.push(Some(&key.encode()), Some(value), headers, self.now_ms);
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
    fn half_a_flush_and_what_others_set_are_told_apart() {
        let key = br#"["MirrorSourceConnector",{"cluster":"A","partition":0,"topic":"t"}]"#;
        let pair = |source_next, target_next| Pair { source_next, target_next, ..Pair::NOWHERE };
        let mut ledger = absorbed(&[]);
        ledger.commit(vec![paired("t", 5, 9)]);
        let mut batches = written(&absorbed(&[]), &[paired("t", 5, 9)]);
        batches.extend(written(&ledger, &[paired("t", 8, 12)]));
        assert_eq!(batches.len(), 4, "the pair comes first, then MirrorMaker 2's key");
        assert_eq!(absorbed(&batches[..1]).stored("t", 0), Stored::Pair(pair(5, 9)));
        assert_eq!(absorbed(&batches[..3]).stored("t", 0), Stored::Pair(pair(8, 12)));
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

    /// The first instance has written half of what it had when the second one stores where it is.
    #[test]
    fn what_a_replaced_instance_writes_late_sets_nothing_back() {
        let mut late = written(&absorbed(&[]), &[paired("t", 5, 9)]);
        let mut second = written(&absorbed(&[]), &[paired("t", 8, 12)]);
        late.insert(1, second.remove(0));
        late.insert(2, second.remove(0));
        let pair = Pair { source_next: 8, target_next: 12, ..Pair::NOWHERE };
        assert_eq!(absorbed(&late).stored("t", 0), Stored::Pair(pair));
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
