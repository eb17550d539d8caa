//! Which indexes are written to the offset-syncs topic, and when: seldom enough that no source floods it, often enough
//! that little is forgotten by a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol_client::batch::{BatchBuilder, BatchError, Compression, Rebuilt};

use super::Named;
use super::ledger::Ledger;
use crate::flow::shard::SyncState;
use crate::index::OffsetIndex;
use crate::model::{Moment, TopicIds};
use crate::records::OffsetSync;

/// Between two records of a partition that has breakpoints or many records.
const SOON: Duration = Duration::from_secs(1);

/// Between two records of any other partition that changes.
const LATE: Duration = Duration::from_secs(5);

/// What one partition may write in the long run, in bytes a second: a large index waits longer for its next record.
const BYTES_PER_SECOND: u64 = 8 << 10;

/// Most bytes of one value.
const MAX_VALUE_BYTES: usize = 256 << 10;

/// Most bytes of one batch before compression, if the topic takes them.
const MAX_BATCH_BYTES: usize = 512 << 10;

/// What a batch and a record have beside the value, at most, with the longest name of a topic.
const OVERHEAD_BYTES: usize = 512;

/// An index to be written.
#[derive(Debug, Clone)]
pub struct Due {
    /// The partition, as the source calls it.
    pub partition: Named,
    /// The ids of its topic on both sides.
    pub ids: TopicIds,
    /// Which offset is which.
    pub index: OffsetIndex,
}

/// Batches to be written, and what is known of the partitions once they are.
#[derive(Debug, Default)]
pub struct Written {
    /// In this order.
    pub batches: Vec<Rebuilt>,
    states: Vec<(Named, Emitted)>,
}

/// What was last written of one partition.
#[derive(Debug, Clone, Copy)]
struct Emitted {
    end: (i64, i64),
    breaks: u64,
    bytes: u64,
    /// None if another process wrote it.
    at: Option<Moment>,
}

/// What was written, and the bounds of what is.
#[derive(Debug)]
pub struct Emission {
    lag_max: i64,
    max_message_bytes: usize,
    emitted: BTreeMap<Named, Emitted>,
    /// What has changed and is not known to be written.
    changed: BTreeMap<Named, SyncState>,
}

impl Emission {
    /// Nothing is written yet but what the ledger has; `lag_max` is `offset.lag.max`, the records that make a partition
    /// write earlier; `max_message_bytes` is what the topic takes.
    pub fn new(lag_max: u32, max_message_bytes: usize, ledger: &Ledger) -> Self {
        let whole = ledger.rows().iter().filter(|(_, row)| row.is_whole);
        let emitted = whole.filter_map(|(partition, row)| {
            let end = row.index.end()?;
            Some((
                partition.clone(),
                Emitted { end, breaks: row.index.breaks(), bytes: 0, at: None },
            ))
        });
        Self {
            lag_max: i64::from(lag_max),
            max_message_bytes,
            emitted: emitted.collect(),
            changed: BTreeMap::new(),
        }
    }

    /// Which indexes have to be written now, given the `states` of those that may have changed since the last call; all
    /// that changed, if nothing comes after.
    pub fn due(
        &mut self,
        states: Vec<SyncState>,
        now: Moment,
        is_last: bool,
    ) -> BTreeMap<Named, TopicIds> {
        let named = |state: SyncState| ((state.source.topic.clone(), state.source.index), state);
        self.changed.extend(states.into_iter().map(named));
        let emitted = &self.emitted;
        self.changed.retain(|at, state| emitted.get(at).is_none_or(|it| it.differs(state)));
        let due = self.changed.iter().filter(|(partition, state)| {
            let emitted = self.emitted.get(*partition);
            emitted.is_none_or(|it| it.is_due(state, now, self.lag_max, is_last))
        });
        due.map(|(partition, state)| (partition.clone(), state.ids)).collect()
    }

    /// Of the partitions that were due only these are there still.
    pub fn keep_only(&mut self, due: &[Named], found: &[(Named, OffsetIndex)]) {
        let found: BTreeSet<&Named> = found.iter().map(|(partition, _)| partition).collect();
        due.iter().filter(|at| !found.contains(at)).for_each(|at| drop(self.changed.remove(at)));
    }

    /// The batches that store these indexes. Those that have no record yet are left out.
    ///
    /// # Errors
    /// A batch cannot be built.
    pub fn encode(&self, due: &[Due], now: Moment, now_ms: i64) -> Result<Written, BatchError> {
        let max_batch_bytes = MAX_BATCH_BYTES.min(self.max_message_bytes);
        let max_bytes = MAX_VALUE_BYTES.min(max_batch_bytes).saturating_sub(OVERHEAD_BYTES);
        let mut written = Written::default();
        let mut batch = empty();
        for Due { partition, ids, index } in due {
            let Some(((upstream_offset, downstream_offset), end)) =
                index.last_pair().zip(index.end())
            else {
                continue;
            };
            let (topic, number) = (partition.0.to_string(), partition.1);
            let sync = OffsetSync { topic, partition: number, upstream_offset, downstream_offset };
            // Kafka's names of topics have 249 characters at most.
            let Ok(key) = sync.encode_key() else { continue };
            let value = sync.encode_with_index(*ids, index, max_bytes);
            let bytes = key.len() + value.len() + OVERHEAD_BYTES;
            if batch.record_count() > 0 && batch.size_bytes() + bytes > max_batch_bytes {
                written.batches.push(std::mem::replace(&mut batch, empty()).build()?);
            }
            batch.push(Some(&key), Some(&value), &[], now_ms);
            let (breaks, bytes) = (index.breaks(), value.len() as u64);
            let state = Emitted { end, breaks, bytes, at: Some(now) };
            written.states.push((partition.clone(), state));
        }
        if batch.record_count() > 0 {
            written.batches.push(batch.build()?);
        }
        Ok(written)
    }

    /// It is stored now.
    pub fn commit(&mut self, written: Written) {
        self.emitted.extend(written.states);
    }
}

/// Holes that come again and again compress well.
fn empty() -> BatchBuilder {
    BatchBuilder::with_compression(Compression::Lz4)
}

impl Emitted {
    fn differs(&self, state: &SyncState) -> bool {
        (state.end, state.breaks) != (self.end, self.breaks)
    }

    fn is_due(&self, state: &SyncState, now: Moment, lag_max: i64, is_last: bool) -> bool {
        let Some(at) = self.at.filter(|_| !is_last) else { return true };
        let records = state.end.1 - self.end.1;
        let wait = match state.breaks != self.breaks || records >= lag_max {
            true => SOON,
            false => LATE,
        };
        now - at >= wait.max(Duration::from_millis(self.bytes * 1000 / BYTES_PER_SECOND))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol_client::batch::Entry;
    use uuid::Uuid;

    use super::*;
    use crate::model::TopicPartition;

    const IDS: TopicIds = TopicIds { source: Uuid::from_u128(1), target: Uuid::from_u128(2) };

    fn at(millis: u64) -> Moment {
        Moment::new(Duration::from_millis(millis))
    }

    fn state(index: &OffsetIndex) -> SyncState {
        let topic: Arc<str> = "t".into();
        SyncState {
            source: TopicPartition { topic, topic_id: IDS.source, index: 3 },
            ids: IDS,
            generation: index.generation(),
            breaks: index.breaks(),
            end: index.end().unwrap_or_default(),
        }
    }

    /// Writes what is due; answers whether something was.
    fn flush(
        emission: &mut Emission,
        index: &OffsetIndex,
        now: Moment,
        ledger: &mut Ledger,
    ) -> bool {
        let due = emission.due(vec![state(index)], now, false);
        let due: Vec<Due> = due
            .into_iter()
            .map(|(partition, ids)| Due { partition, ids, index: index.clone() })
            .collect();
        let written = emission.encode(&due, now, 0).unwrap();
        let is_something = !written.batches.is_empty();
        for batch in &written.batches {
            ledger.absorb(&Entry::new(batch.bytes.clone()).unwrap()).unwrap();
        }
        emission.commit(written);
        is_something
    }

    #[test]
    fn many_records_come_soon_and_few_come_late() {
        let mut ledger = Ledger::default();
        let mut emission = Emission::new(100, 1 << 20, &ledger);
        let mut index = OffsetIndex::default();
        index.begin(0, 0);
        assert!(!flush(&mut emission, &index, at(0), &mut ledger), "nothing to say");
        index.append(0, 0, 1);
        assert!(flush(&mut emission, &index, at(0), &mut ledger), "the first");
        assert!(!flush(&mut emission, &index, at(60_000), &mut ledger), "nothing new");
        index.append(1, 1, 99);
        assert!(flush(&mut emission, &index, at(60_000), &mut ledger), "news after a long time");
        index.append(100, 100, 99);
        assert!(!flush(&mut emission, &index, at(64_999), &mut ledger));
        assert!(flush(&mut emission, &index, at(65_000), &mut ledger));
        index.append(199, 199, 100);
        assert!(!flush(&mut emission, &index, at(65_999), &mut ledger));
        assert!(flush(&mut emission, &index, at(66_000), &mut ledger), "offset.lag.max");
        index.append(300, 299, 1);
        assert!(flush(&mut emission, &index, at(67_000), &mut ledger), "a breakpoint");
        let restored = ledger.take(&("t".into(), 3), IDS);
        assert_eq!(restored.encode(1000), index.encode(1000));
    }

    #[test]
    fn what_is_stored_is_not_written_again_after_a_restart() {
        let mut ledger = Ledger::default();
        let mut index = OffsetIndex::default();
        index.append(0, 0, 10);
        index.append(11, 10, 10);
        flush(&mut Emission::new(100, 1 << 20, &ledger), &index, at(0), &mut ledger);
        let mut emission = Emission::new(100, 1 << 20, &ledger);
        let mut restored = ledger.take(&("t".into(), 3), IDS);
        restored.resume(21, 20);
        assert!(!flush(&mut emission, &restored, at(0), &mut ledger));
        restored.append(21, 20, 1);
        assert!(flush(&mut emission, &restored, at(0), &mut ledger));
    }

    #[test]
    fn what_was_not_written_stays_due_without_being_told_again() {
        let mut emission = Emission::new(100, 1 << 20, &Ledger::default());
        let mut index = OffsetIndex::default();
        index.append(0, 0, 10);
        let partition: Named = ("t".into(), 3);
        assert_eq!(emission.due(vec![state(&index)], at(0), false).len(), 1);
        assert_eq!(emission.due(vec![], at(1), false).len(), 1, "the write failed");
        let due = Due { partition: partition.clone(), ids: IDS, index: index.clone() };
        let written = emission.encode(&[due], at(1), 0).unwrap();
        emission.commit(written);
        assert!(emission.due(vec![], at(60_000), true).is_empty());
        index.append(10, 10, 1);
        assert!(emission.due(vec![state(&index)], at(2), false).is_empty(), "not yet");
        assert_eq!(emission.due(vec![], at(60_000), false).len(), 1, "but later");
        emission.keep_only(&[partition], &[]);
        assert!(emission.due(vec![], at(60_000), true).is_empty(), "its topic is gone");
    }

    #[test]
    fn a_large_index_writes_seldom_and_fits() {
        let mut ledger = Ledger::default();
        let mut emission = Emission::new(100, 20_000, &ledger);
        let mut index = OffsetIndex::default();
        let mut batches = 0;
        for second in 0..60_i64 {
            for i in second * 1000..(second + 1) * 1000 {
                index.append(i * 15 + i % 3, i * 10, 10);
            }
            let due = emission.due(vec![state(&index)], at(second.unsigned_abs() * 1000), false);
            let due: Vec<Due> = due
                .into_iter()
                .map(|(partition, ids)| Due { partition, ids, index: index.clone() })
                .collect();
            let now = at(second.unsigned_abs() * 1000);
            let written = emission.encode(&due, now, 0).unwrap();
            for batch in &written.batches {
                assert!(batch.bytes.len() <= 20_000);
                ledger.absorb(&Entry::new(batch.bytes.clone()).unwrap()).unwrap();
                batches += 1;
            }
            emission.commit(written);
        }
        assert!((10..40).contains(&batches), "{batches}");
        let last = emission.due(vec![state(&index)], at(60_000), true);
        assert_eq!(last.len(), 1, "at the end everything is due");
    }
}
