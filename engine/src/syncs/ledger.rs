//! What the offset-syncs topic holds: one index for each partition, from kmirror's records as they are, from MirrorMaker
//! 2's as far as pairs of offsets go.

use std::collections::BTreeMap;

use protocol_client::batch::record::RecordBody;
use protocol_client::batch::{BatchError, Entry, OpenBatch};
use uuid::Uuid;

use super::Named;
use crate::index::OffsetIndex;
use crate::model::TopicIds;
use crate::records::{OffsetSync, RecordError};

/// Most that the records of one batch of the topic may be when decompressed, in bytes.
const MAX_OPEN_BYTES: usize = 64 << 20;

/// Records of the topic that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// How many.
    pub count: u64,
    /// The offset of the first.
    pub first_offset: i64,
    /// What is wrong with the first.
    pub why: String,
}

/// What is stored of one partition.
#[derive(Debug, Clone)]
pub struct Row {
    /// The ids that the topic had on both sides, if they were written down.
    pub ids: Option<TopicIds>,
    /// Which offset is which.
    pub index: OffsetIndex,
    /// Whether a record has all of the index; MirrorMaker 2's have only a pair.
    pub is_whole: bool,
}

/// What is stored.
#[derive(Debug, Default)]
pub struct Ledger {
    rows: BTreeMap<Named, Row>,
    skipped: Option<Skipped>,
}

impl Ledger {
    /// Takes in a batch of the topic; batches come in its order.
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
            if let Err(error) = self.absorb_record(body.key, body.value) {
                self.skip(record.offset, &error);
            }
        }
        Ok(())
    }

    /// A whole batch was not understood.
    pub fn skip(&mut self, offset: i64, why: &dyn std::fmt::Display) {
        let why = || why.to_string();
        let skipped = self.skipped.get_or_insert_with(|| Skipped {
            count: 0,
            first_offset: offset,
            why: why(),
        });
        skipped.count += 1;
    }

    /// What was not understood so far.
    pub fn skipped(&self) -> Option<&Skipped> {
        self.skipped.as_ref()
    }

    /// All that is stored, in order of topic and partition.
    pub fn rows(&self) -> &BTreeMap<Named, Row> {
        &self.rows
    }

    /// The index of a partition, of the topic and the copy of it that have these ids; empty if nothing is known of it. Takes it out of the
    /// ledger.
    pub fn take(&mut self, partition: &Named, ids: TopicIds) -> OffsetIndex {
        let differ = |one: Uuid, other: Uuid| !one.is_nil() && !other.is_nil() && one != other;
        let is_other = |stored: TopicIds| {
            differ(stored.source, ids.source) || differ(stored.target, ids.target)
        };
        match self.rows.remove(partition) {
            Some(row) if !row.ids.is_some_and(is_other) => row.index,
            _ => OffsetIndex::default(),
        }
    }

    fn absorb_record(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), RecordError> {
        let key = key.ok_or(RecordError::Missing { part: "key" })?;
        let Some(value) = value else {
            let OffsetSync { topic, partition, .. } = OffsetSync::decode(key, &[0; 16])?;
            self.rows.remove(&(topic.into(), partition));
            return Ok(());
        };
        let sync = OffsetSync::decode(key, value)?;
        let pair = (sync.upstream_offset, sync.downstream_offset);
        let whole = sync.decode_index(value);
        let partition = (sync.topic.into(), sync.partition);
        // What cannot be read of a newer version leaves the 16 bytes, which hold as they always did.
        if let Ok(Some((ids, index))) = whole {
            self.rows.insert(partition, Row { ids: Some(ids), index, is_whole: true });
            return Ok(());
        }
        let nothing = Row { ids: None, index: OffsetIndex::default(), is_whole: false };
        let row = self.rows.entry(partition).or_insert(nothing);
        row.is_whole = false;
        row.index.resume(pair.0, pair.1);
        row.index.append(pair.0, pair.1, 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use protocol_client::batch::BatchBuilder;

    use super::*;
    use crate::index::Translation;

    fn sync(upstream_offset: i64, downstream_offset: i64) -> OffsetSync {
        OffsetSync { topic: "t".to_owned(), partition: 3, upstream_offset, downstream_offset }
    }

    type Record = (Option<Vec<u8>>, Option<Vec<u8>>);

    fn batch(records: &[Record]) -> Entry {
        let mut batch = BatchBuilder::new();
        for (key, value) in records {
            batch.push(key.as_deref(), value.as_deref(), &[], 0);
        }
        Entry::new(batch.build().unwrap().bytes).unwrap()
    }

    fn plain(upstream: i64, downstream: i64) -> Record {
        let sync = sync(upstream, downstream);
        (Some(sync.encode_key().unwrap()), Some(sync.encode_value()))
    }

    /// As MirrorMaker 2 itself translates, but without calling inexact what is exact.
    #[test]
    fn pairs_of_mirror_maker_are_never_ahead() {
        let mut ledger = Ledger::default();
        ledger.absorb(&batch(&[plain(10, 5), plain(20, 12), plain(200, 150)])).unwrap();
        let index = ledger.take(&("t".into(), 3), TopicIds::default());
        let answers = [9, 10, 11, 15, 20, 21, 100, 200, 201, 300].map(|at| index.translate(at));
        use Translation::{Behind, Exact, Unknown};
        assert_eq!(
            answers,
            [
                Unknown,
                Exact(5),
                Exact(6),
                Behind(6),
                Exact(12),
                Exact(13),
                Behind(13),
                Exact(150),
                Exact(151),
                Behind(151)
            ]
        );
        assert!(ledger.rows().is_empty());
    }

    /// MirrorMaker 2's store clears itself when offsets go back.
    #[test]
    fn a_pair_that_goes_back_starts_anew() {
        let mut ledger = Ledger::default();
        ledger.absorb(&batch(&[plain(10, 5), plain(20, 12), plain(15, 30)])).unwrap();
        let index = ledger.take(&("t".into(), 3), TopicIds::default());
        assert_eq!(index.start(), Some((15, 30)));
        assert_eq!(index.translate(15), Translation::Exact(30));
    }

    #[test]
    fn an_index_of_another_topic_of_the_name_is_not_taken() {
        let mut index = OffsetIndex::default();
        index.append(0, 0, 10);
        let ids = |source, target| TopicIds {
            source: Uuid::from_u128(source),
            target: Uuid::from_u128(target),
        };
        let value = sync(9, 9).encode_with_index(ids(1, 7), &index, 1000);
        let record = (Some(sync(9, 9).encode_key().unwrap()), Some(value));
        for (source, target, is_taken) in
            [(1, 7, true), (0, 7, true), (1, 0, true), (2, 7, false), (1, 8, false)]
        {
            let mut ledger = Ledger::default();
            ledger.absorb(&batch(std::slice::from_ref(&record))).unwrap();
            assert!(ledger.rows().values().all(|row| row.is_whole));
            let taken = ledger.take(&("t".into(), 3), ids(source, target));
            assert_eq!(taken.end().is_some(), is_taken, "{source} {target}");
        }
    }

    #[test]
    fn foreign_records_are_counted_and_newer_ones_keep_their_pair() {
        let mut ledger = Ledger::default();
        let mut newer = sync(7, 8).encode_value();
        newer.extend([99, 1, 2, 3]);
        ledger
            .absorb(&batch(&[
                (Some(sync(7, 8).encode_key().unwrap()), Some(newer)),
                (None, Some(vec![1])),
                (Some(b"\0\x04to".to_vec()), Some(vec![0; 16])),
                (Some(sync(0, 0).encode_key().unwrap()), Some(vec![0; 15])),
            ]))
            .unwrap();
        let skipped = ledger.skipped().unwrap();
        assert_eq!((skipped.count, skipped.first_offset), (3, 1));
        assert_eq!(skipped.why, "the record has no key");
        let row = &ledger.rows()[&("t".into(), 3)];
        assert_eq!((row.is_whole, row.index.translate(7)), (false, Translation::Exact(8)));
        ledger.absorb(&batch(&[(Some(sync(0, 0).encode_key().unwrap()), None)])).unwrap();
        assert!(ledger.rows().is_empty(), "a tombstone");
    }
}
