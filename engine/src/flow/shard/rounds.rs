//! The transactions of a shard: what its round asks of the coordinator, and what the answers mean for partitions.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::Isolation;

use super::super::event::{Coordinate, Effect, PartitionKey};
use super::super::round::{Ask, Came};
use super::Shard;
use crate::model::{Moment, Side};

/// After how long a partition tries again to become part of a transaction.
const NOT_ADDED_PAUSE: Duration = Duration::from_secs(1);

impl Shard {
    /// Asks of the coordinator what is to be asked now.
    pub(super) fn pump_round(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let mut lanes = self.produce_lanes.values();
        let waits = lanes.any(|lane| lane.link.is_up() && lane.ready_len() > 0);
        let Some(round) = &mut self.round else { return };
        let Some(ask) = round.advance(now, waits) else { return };
        effects.push(Effect::Coordinate(match ask {
            Ask::Add => Coordinate::Add(round.joining().iter().copied().collect()),
            Ask::Positions => {
                let slots = round.members().iter().filter_map(|key| self.partitions.get(key));
                let proposal = |flow: &super::PartitionFlow| {
                    Some((flow.spec.source.clone(), flow.proposal()?))
                };
                Coordinate::Positions(slots.filter_map(|slot| proposal(&slot.flow)).collect())
            }
            Ask::Commit => Coordinate::Commit,
            Ask::Abort => Coordinate::Abort,
            Ask::Settle { counts } => {
                Coordinate::Settle { members: round.last().iter().copied().collect(), counts }
            }
            Ask::Renew { anew } => Coordinate::Renew { anew },
        }));
    }

    pub(super) fn on_coordinated(
        &mut self,
        now: Moment,
        answer: Result<(), Option<ErrorCode>>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(round) = &mut self.round else { return };
        match round.on_answer(now, answer, &mut self.rng) {
            Came::Nothing => {}
            Came::Joined(keys) => keys.into_iter().for_each(|key| self.update(key)),
            Came::Committed(members) => self.commit(members),
            Came::Aborted(members) => self.abort(&members),
            Came::Refused(key, error) => {
                self.with(now, key, effects, |flow, cx| flow.on_not_added(error, cx));
            }
            Came::Delayed(key) => {
                self.refresh[Side::Target as usize].wanted = true;
                self.wakes.insert((now + NOT_ADDED_PAUSE, key));
            }
            Came::Fenced => effects.push(Effect::Fenced),
        }
    }

    fn commit(&mut self, members: BTreeSet<PartitionKey>) {
        for key in members {
            if let Some(slot) = self.partitions.get_mut(&key) {
                slot.flow.commit();
            }
            self.update(key);
        }
    }

    /// Members send again what they sent, everybody under the new epoch.
    fn abort(&mut self, members: &BTreeSet<PartitionKey>) {
        for (key, slot) in &mut self.partitions {
            if members.contains(key) {
                slot.flow.abort(&mut self.frames);
            }
            slot.flow.reset_producer();
        }
        members.iter().for_each(|key| self.update(*key));
    }

    /// What is read of a log, to compare: of the target what counts; but while it is settled what became of single
    /// batches, everything, because they are told apart by their stamps and a transaction of others may stay open long.
    pub(super) fn isolation_for(&self, key: PartitionKey, side: Side) -> Isolation {
        let is_recovering = self.partitions.get(&key).is_some_and(|slot| slot.flow.is_recovering());
        match side {
            Side::Source => self.settings.isolation,
            Side::Target if is_recovering => Isolation::ReadCommitted,
            Side::Target => Isolation::ReadUncommitted,
        }
    }
}
