//! Several lanes to one target broker: how many, and who is on which.
//!
//! What a partition sends has to arrive in its order, and only one connection keeps that. So partitions are spread over the
//! lanes, and one changes its lane only while nothing of it is under way.

use super::super::event::{Effect, LaneId, NodeId, PartitionKey};
use super::super::fleet::Answered;
use super::super::produce_lane::ProduceLane;
use super::placement::leave_target;
use super::spans::{home, is_surplus};
use super::{LaneKey, Shard};
use crate::model::{Moment, Side};

impl Shard {
    /// An answer of a target broker: it may be time for more lanes, or fewer.
    pub(super) fn count_produced(
        &mut self,
        now: Moment,
        node: NodeId,
        answered: Answered,
        effects: &mut Vec<Effect>,
    ) {
        let partitions = u16::try_from(self.partitions.len()).unwrap_or(u16::MAX);
        let settings = &self.settings;
        let most = partitions.min(settings.most_produce_lanes).max(settings.least_produce_lanes);
        let Some(fleet) = self.target_fleets.get_mut(&node) else { return };
        let before = fleet.lanes();
        if !fleet.answered(now, answered, most) {
            return;
        }
        let after = fleet.lanes();
        self.has_moves = true;
        for number in before..after {
            self.produce_lanes.entry((node, number)).or_insert_with(|| ProduceLane::new(now));
        }
        if after < before {
            let is_led = |slot: &super::Slot| slot.produce_lane().is_some_and(|at| at.0 == node);
            let led = self.partitions.iter().filter(|(_, slot)| is_led(slot));
            let led: Vec<PartitionKey> = led.map(|(key, _)| *key).collect();
            led.into_iter().for_each(|key| self.update(key));
            (after..before).for_each(|number| self.close_deserted((node, number), effects));
        }
    }

    /// A lane that is one too many is closed when nobody is on it any more.
    pub(super) fn close_deserted(&mut self, at: LaneKey, effects: &mut Vec<Effect>) {
        if is_surplus(&self.target_fleets, at)
            && let Some(lane) = self.produce_lanes.get(&at)
            && lane.is_deserted()
        {
            let ((node, number), incarnation) = (at, lane.link.incarnation());
            let id = LaneId { side: Side::Target, node, number, incarnation };
            self.produce_lanes.remove(&at);
            effects.push(Effect::Close(id, None));
        }
    }

    /// Puts a partition on the lane that is its own, if there are more or fewer now; `false` while it may not send, because
    /// what it has sent on another has not been answered.
    pub(super) fn change_lane(&mut self, key: PartitionKey) -> bool {
        let Some(slot) = self.partitions.get_mut(&key) else { return false };
        let Some(at) = slot.produce_lane() else { return true };
        let home = home(&self.target_fleets, key, at.0);
        if home == at {
            return true;
        }
        let is_up = |lane: &ProduceLane| lane.link.is_up();
        if !is_surplus(&self.target_fleets, at) && !self.produce_lanes.get(&home).is_some_and(is_up)
        {
            return true;
        }
        if slot.flow.awaits_answers() {
            return false;
        }
        leave_target(&mut self.produce_lanes, key, slot);
        slot.lane = home.1;
        let lane = self.produce_lanes.get_mut(&home);
        let is_stalled = lane.is_none_or(|lane| {
            lane.join();
            lane.is_stalled()
        });
        slot.flow.set_stalled(is_stalled, &mut self.frames);
        true
    }
}
