//! Which lane a partition is on: what metadata says about leaders, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use protocol_client::cluster::{self, ClusterView};

use super::super::event::{Effect, LaneId, NodeId, PartitionKey};
use super::super::fetch_lane::FetchLane;
use super::super::fleet::Fleet;
use super::super::pace;
use super::super::partition::{Leader, PartitionFlow};
use super::super::produce_lane::{FAR, ProduceLane};
use super::super::round::Round;
use super::spans::home;
use super::{LaneKey, Shard, Slot};
use crate::model::{Moment, Side};

/// Least time between two refreshes of one cluster's metadata.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);

/// The same when refreshes do not bring what is missing.
const LONGEST_REFRESH_PAUSE: Duration = Duration::from_secs(5);

impl Shard {
    /// A view could not be had.
    pub(super) fn on_metadata_failed(&mut self, now: Moment, side: Side) {
        let refresh = &mut self.refresh[side as usize];
        refresh.asked = false;
        refresh.not_before = now + REFRESH_PAUSE * 5;
        refresh.wanted = true;
    }

    pub(super) fn on_metadata(
        &mut self,
        now: Moment,
        side: Side,
        view: Arc<ClusterView>,
        effects: &mut Vec<Effect>,
    ) {
        self.refresh[side as usize].asked = false;
        let known = self.views[side as usize].as_ref().map_or(0, |view| view.generation);
        if view.generation < known {
            return;
        }
        self.refresh[side as usize].wanted = false;
        self.views[side as usize] = Some(view);
        let keys: Vec<PartitionKey> = self.partitions.keys().copied().collect();
        for key in keys {
            self.place(now, key, side, effects);
            self.update(key);
        }
        // A leader that stays away, or a topic that is gone, must not be asked for ten times a second for ever.
        let refresh = &mut self.refresh[side as usize];
        refresh.fruitless = if refresh.wanted { refresh.fruitless.saturating_add(1) } else { 0 };
        refresh.not_before =
            now + (REFRESH_PAUSE * (1 << refresh.fruitless.min(6))).min(LONGEST_REFRESH_PAUSE);
        self.close_unused(side, effects);
    }

    /// Puts a partition on the lane of its leader, as the view tells it.
    pub(super) fn place(
        &mut self,
        now: Moment,
        key: PartitionKey,
        side: Side,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(view), Some(slot)) = (&self.views[side as usize], self.partitions.get(&key))
        else {
            self.refresh[side as usize].wanted = true;
            return;
        };
        let at = match side {
            Side::Source => &slot.flow.spec.source,
            Side::Target => &slot.flow.spec.target,
        };
        let id = view.topics.get(&at.topic).map_or(at.topic_id, |topic| topic.id);
        let recreated = id != at.topic_id && !id.is_nil() && !at.topic_id.is_nil();
        let partition = cluster::TopicPartition::new(at.topic.clone(), at.index);
        let leader = view.leader(&partition).map(|(node, epoch)| Leader { node, epoch });
        match side {
            Side::Source => self.place_source(now, key, leader),
            Side::Target => self.place_target(now, key, leader, effects),
        }
        if recreated {
            self.with(now, key, effects, |flow, cx| flow.on_recreated(side, cx));
        } else if leader.is_none() {
            self.refresh[side as usize].wanted = true;
            self.with(now, key, effects, |flow, cx| flow.on_leaderless(side, cx));
        }
    }

    fn place_source(&mut self, now: Moment, key: PartitionKey, leader: Option<Leader>) {
        let Some(slot) = self.partitions.get_mut(&key) else { return };
        let before = slot.flow.source_leader;
        if before != leader {
            // Spans of one leader's log are not put together with those of another's.
            slot.flow.end_split(&mut self.frames);
        }
        if before.map(|leader| leader.node) != leader.map(|leader| leader.node) {
            leave_source(&mut self.fetch_lanes, key, slot);
        }
        slot.flow.source_leader = leader;
        if let Some(leader) = leader {
            let least = self.settings.least_fetch_lanes;
            let fleet = self.source_fleets.entry(leader.node);
            let fleet = fleet.or_insert_with(|| Fleet::new(now, least, pace::NEAR));
            for number in 0..fleet.lanes() {
                let lane = (leader.node, number);
                self.fetch_lanes.entry(lane).or_insert_with(|| FetchLane::new(now));
            }
        }
    }

    fn place_target(
        &mut self,
        now: Moment,
        key: PartitionKey,
        leader: Option<Leader>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(slot) = self.partitions.get_mut(&key) else { return };
        let before = slot.flow.target_leader;
        if before.map(|leader| leader.node) == leader.map(|leader| leader.node) {
            slot.flow.target_leader = leader;
            if before != leader {
                self.with(now, key, effects, PartitionFlow::on_leader_moved);
            }
            return;
        }
        leave_target(&mut self.produce_lanes, key, slot);
        slot.flow.target_leader = leader;
        let lane = leader.and_then(|leader| {
            let least = self.settings.least_produce_lanes;
            let fleet = self.target_fleets.entry(leader.node);
            let fleet = fleet.or_insert_with(|| Fleet::new(now, least, FAR));
            for number in 0..fleet.lanes() {
                let lane = (leader.node, number);
                self.produce_lanes.entry(lane).or_insert_with(|| ProduceLane::new(now));
            }
            let home = home(&self.target_fleets, key, leader.node);
            slot.lane = home.1;
            self.produce_lanes.get_mut(&home)
        });
        let stalled = lane.is_none_or(|lane| {
            lane.join();
            lane.is_stalled()
        });
        slot.flow.set_stalled(stalled, &mut self.frames);
        if before.is_some() {
            self.with(now, key, effects, PartitionFlow::on_leader_moved);
        }
    }

    /// Closes lanes towards brokers that lead nothing of ours any more.
    fn close_unused(&mut self, side: Side, effects: &mut Vec<Effect>) {
        let led: BTreeSet<NodeId> = self
            .partitions
            .values()
            .filter_map(|slot| match side {
                Side::Source => slot.flow.source_leader,
                Side::Target => slot.flow.target_leader,
            })
            .map(|leader| leader.node)
            .collect();
        let mut close = |node: NodeId, number: u16, incarnation: u64| {
            effects.push(Effect::Close(LaneId { side, node, number, incarnation }, None));
        };
        match side {
            Side::Source => {
                let frames = &mut self.frames;
                self.source_fleets.retain(|node, _| led.contains(node));
                self.fetch_lanes.retain(|(node, number), lane| {
                    let keep = led.contains(node);
                    if !keep {
                        // Those whose leader it was have let go of their spans.
                        lane.lose(frames);
                        close(*node, *number, lane.link().incarnation());
                    }
                    keep
                });
            }
            Side::Target => {
                let round = &mut self.round;
                self.target_fleets.retain(|node, _| led.contains(node));
                self.produce_lanes.retain(|(node, number), lane| {
                    let keep = led.contains(node);
                    if !keep {
                        let lost = lane.lose().into_iter();
                        lost.for_each(|_| round.iter_mut().for_each(Round::answered));
                        close(*node, *number, lane.link.incarnation());
                    }
                    keep
                });
            }
        }
    }
}

/// Takes a partition off the lanes that fetch it.
pub(super) fn leave_source(
    lanes: &mut BTreeMap<LaneKey, FetchLane>,
    key: PartitionKey,
    slot: &Slot,
) {
    let Some(node) = slot.flow.source_leader.map(|leader| leader.node) else { return };
    let lanes = lanes.range_mut((node, 0)..=(node, u16::MAX));
    lanes.for_each(|(_, lane)| lane.leave(key, false));
}

/// Takes a partition off the lane to its target leader.
pub(super) fn leave_target(
    lanes: &mut BTreeMap<LaneKey, ProduceLane>,
    key: PartitionKey,
    slot: &mut Slot,
) {
    let waits = std::mem::take(&mut slot.ready);
    if let Some(lane) = slot.produce_lane().and_then(|at| lanes.get_mut(&at)) {
        lane.leave(key, waits);
    }
}
