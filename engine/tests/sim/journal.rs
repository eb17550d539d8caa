//! What processes store: positions in the offsets topic, indexes in the topic of offset syncs.

use std::collections::BTreeMap;

use engine::flow::event::{Event, PartitionSpec};
use engine::flow::shard::Which;
use engine::model::Pair;
use engine::positions::ledger::{Ledger, Position, Stored};
use engine::syncs;
use engine::syncs::emission::Due;
use protocol_client::batch::Entry;

use crate::instance::InstanceId;
use crate::world::{Item, PARTITIONS, SOURCE_TOPIC, World};

pub(crate) const FLUSH_MS: i64 = 500;
/// Partitions of the offsets topic, as Connect creates it.
const OFFSETS_PARTITIONS: i32 = 25;

/// What the offsets topic and the topic of offset syncs hold.
#[derive(Default)]
pub(crate) struct Journal {
    positions: Vec<Entry>,
    syncs: Vec<Entry>,
}

/// What is still to be stored, and what follows then.
#[derive(Debug)]
pub(crate) struct Landing {
    batches: Vec<Entry>,
    changes: Vec<Position>,
    ready: Vec<PartitionSpec>,
}

impl Journal {
    pub(crate) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::new("MirrorSourceConnector", "source");
        self.positions.iter().for_each(|entry| ledger.absorb(entry).expect("it was written whole"));
        ledger
    }

    pub(crate) fn syncs(&self) -> syncs::ledger::Ledger {
        let mut ledger = syncs::ledger::Ledger::default();
        self.syncs.iter().for_each(|entry| ledger.absorb(entry).expect("it was written whole"));
        ledger
    }
}

impl World {
    /// Up to where it is stored that the target holds copies.
    pub(crate) fn stored_target_next(&self, index: i32) -> i64 {
        match self.journal.ledger().stored(SOURCE_TOPIC, index) {
            Stored::Pair(pair) => pair.target_next,
            _ => 0,
        }
    }

    /// Stores positions, and indexes now and then.
    pub(crate) fn flush(&mut self, id: InstanceId) -> Result<(), String> {
        if !self.instances.contains_key(&id) {
            return Ok(());
        }
        self.after(FLUSH_MS, Item::Flush(id));
        self.store_positions(id)?;
        self.store_indexes(id)
    }

    /// Stores positions for a partition that waits for that; it may go on when they have landed.
    pub(crate) fn confirm(&mut self, id: InstanceId) -> Result<(), String> {
        let Some(instance) = self.instances.get(&id) else { return Ok(()) };
        let waiting = instance.shard.progress().filter(|at| at.awaits_store);
        let waiting: Vec<Position> = waiting.filter_map(|at| Position::of(&at)).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        if instance.storing || !instance.ledger.changes(waiting.clone()).is_empty() {
            self.after(20, Item::Confirm(id));
            return self.store_positions(id);
        }
        for Position { source, pair, .. } in waiting {
            let pair = pair.expect("only such are stored");
            let truth = &mut self.truths[source.index as usize];
            if self.instances.get(&id).is_some_and(|one| one.knows(source.index, truth)) {
                truth.stored();
            }
            self.feed(id, Event::Stored(source, pair));
        }
        Ok(())
    }

    pub(crate) fn store_positions(&mut self, id: InstanceId) -> Result<(), String> {
        let positions = self.positions(id);
        self.say(|| {
            format!(
                "{id} stores {:?}",
                positions
                    .iter()
                    .map(|at| (at.source.index, at.next, at.pair.map(|pair| pair.target_next)))
                    .collect::<Vec<_>>()
            )
        });
        for at in positions.iter().filter(|_| self.is_up_to_date(id)) {
            if let Some(Pair { source_next, target_next, .. }) = at.pair {
                let truth = &self.truths[at.source.index as usize];
                if self.instances.get(&id).is_some_and(|one| one.knows(at.source.index, truth)) {
                    let check = truth.check_position(source_next, target_next);
                    check.map_err(|why| format!("{id} partition {}: {why}", at.source.index))?;
                }
            }
        }
        let Some(instance) = self.instances.get_mut(&id) else { return Ok(()) };
        let changes = instance.ledger.changes(positions);
        if !instance.storing && !changes.is_empty() {
            self.store(id, changes, Vec::new());
        }
        Ok(())
    }

    pub(crate) fn positions(&self, id: InstanceId) -> Vec<Position> {
        let Some(instance) = self.instances.get(&id) else { return Vec::new() };
        instance.shard.progress().filter_map(|at| Position::of(&at)).collect()
    }

    /// Whether a process knows which topics there are. One that does not says what was true of others, and their ids.
    pub(crate) fn is_up_to_date(&self, id: InstanceId) -> bool {
        self.instances.get(&id).is_some_and(|one| one.placed == Some(self.topic_ids()))
    }

    pub(crate) fn store_indexes(&mut self, id: InstanceId) -> Result<(), String> {
        let (now, is_up_to_date) = (self.now(), self.is_up_to_date(id));
        let Some(instance) = self.instances.get_mut(&id) else { return Ok(()) };
        let mut indexes = BTreeMap::new();
        let eras = &instance.eras;
        for partition in 0..PARTITIONS {
            if let Some(index) = instance.shard.index_of(&SOURCE_TOPIC.into(), partition) {
                let truth = &self.truths[partition as usize];
                let is_back = !instance.goes_back.contains_key(&partition);
                if is_up_to_date && is_back && eras.get(&partition) == Some(&truth.era()) {
                    let check = truth.check_index(index);
                    check.map_err(|why| format!("{id} partition {partition}: {why}"))?;
                }
                indexes.insert(partition, index.clone());
            }
        }
        let due = instance.emission.due(instance.shard.sync_states(Which::Changed), now, false);
        let due = due.into_iter().filter_map(|(partition, ids)| {
            let index = indexes.remove(&partition.1)?;
            Some(Due { partition, ids, index })
        });
        let due: Vec<Due> = due.collect();
        let written = instance.emission.encode(&due, now, self.now_ms);
        let written = written.expect("indexes can be encoded");
        let entries = written.batches.iter().map(|built| Entry::new(built.bytes.clone()));
        self.journal.syncs.extend(entries.map(|entry| entry.expect("a whole batch")));
        instance.emission.commit(written);
        Ok(())
    }

    pub(crate) fn store(
        &mut self,
        id: InstanceId,
        changes: Vec<Position>,
        ready: Vec<PartitionSpec>,
    ) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let batches = instance.ledger.encode(&changes, OFFSETS_PARTITIONS, self.now_ms);
        let batches = batches.expect("positions can be encoded").into_iter();
        let batches = batches.map(|(_, built)| Entry::new(built.bytes).expect("a whole batch"));
        let batches: Vec<Entry> = batches.rev().collect();
        if batches.is_empty() && ready.is_empty() {
            return;
        }
        instance.storing = true;
        self.land_later(id, Landing { batches, changes, ready });
    }

    pub(crate) fn land_later(&mut self, id: InstanceId, landing: Landing) {
        let trip_ms = self.rng.i64(0..50);
        self.after(trip_ms, Item::Land(id, landing));
    }

    /// A part of what is to be stored arrives. What a process has sent may arrive when it is dead.
    pub(crate) fn land(&mut self, id: InstanceId, mut landing: Landing) {
        let alive = self.instances.contains_key(&id);
        if !alive && self.rng.bool() {
            return;
        }
        self.journal.positions.extend(landing.batches.pop());
        if !alive {
            return;
        }
        if !landing.batches.is_empty() {
            return self.land_later(id, landing);
        }
        let Some(instance) = self.instances.get_mut(&id) else { return };
        instance.ledger.commit(landing.changes);
        instance.storing = false;
        self.mark(id, landing.ready);
    }
}
