//! Several lanes to one source broker: how many, who is on which, and which of them help to read one partition.

use bytes::Bytes;
use protocol_client::conn::fetch_session::SessionTopic;
use protocol_client::wire::fetch::FetchPartition;

use super::super::event::{Effect, LaneId, NodeId, PartitionKey};
use super::super::fetch_lane::{FetchLane, Sharing, Span};
use super::super::fleet::{Answered, Fleet};
use super::super::split::Asked;
use super::{Fleets, LaneKey, Shard, Slot};
use crate::model::{Moment, Side};

/// How many full answers in a row a partition has to fill before others help its lane.
const ALONE: u32 = 2;

/// What a lane has to have of the budget at least, in bytes: less would not be worth a connection.
const LEAST_SHARE_BYTES: usize = 128 << 10;

/// What a lane reads of a partition at once at most, in bytes, if there are others: what connections with brokers' usual
/// sockets carry in a few round trips. Larger ones would keep more of the others waiting for their turn.
const SPAN_BYTES: usize = 512 << 10;

/// Up to which size of batches, in bytes, the request for a second span follows the first at once: the broker reads it when
/// it has sent the first, and the line is not idle for the way there and back. Larger ones are long under way, and two of them
/// would take the memory of another connection.
const FOLLOWED_BATCH_BYTES: usize = 256 << 10;

impl Shard {
    /// An answer of a broker's lane: it may be time for more lanes, or fewer.
    pub(super) fn count(
        &mut self,
        now: Moment,
        node: NodeId,
        answered: Answered,
        effects: &mut Vec<Effect>,
    ) {
        let most = self.most_lanes();
        let Some(fleet) = self.source_fleets.get_mut(&node) else { return };
        let before = fleet.lanes();
        if fleet.answered(now, answered, most) {
            let after = fleet.lanes();
            self.set_lanes(now, node, (before, after), effects);
        }
    }

    /// As many as the budget has room for, with the batches that there are.
    fn most_lanes(&self) -> u16 {
        let largest = self.largest_batch_bytes();
        let spans = self.spans_of_lane(largest);
        let each = largest.max(LEAST_SHARE_BYTES) * spans + LEAST_SHARE_BYTES;
        let room = self.settings.under_way_bytes() / each;
        let room = u16::try_from(room).unwrap_or(u16::MAX);
        room.min(self.settings.most_fetch_lanes).max(self.settings.least_fetch_lanes)
    }

    /// The largest batch of late of all partitions that are split.
    fn largest_batch_bytes(&self) -> usize {
        let splits = self.splits.iter().filter_map(|key| self.partitions.get(key));
        splits.map(|slot| slot.flow.largest_batch_bytes()).max().unwrap_or(0)
    }

    /// How many spans a lane may have under way.
    fn spans_of_lane(&self, largest_batch_bytes: usize) -> usize {
        match largest_batch_bytes {
            _ if self.splits.is_empty() => 0,
            ..=FOLLOWED_BATCH_BYTES => 2,
            _ => 1,
        }
    }

    /// Among how many requests the budget is shared now.
    pub(super) fn sharing(&self) -> Sharing {
        Sharing {
            lanes: self.fetch_lanes.len(),
            spans: self.spans_of_lane(self.largest_batch_bytes()),
            has_others: self.partitions.len() > self.splits.len(),
        }
    }

    fn set_lanes(
        &mut self,
        now: Moment,
        node: NodeId,
        (before, after): (u16, u16),
        effects: &mut Vec<Effect>,
    ) {
        let is_led =
            |slot: &Slot| slot.flow.source_leader.is_some_and(|leader| leader.node == node);
        let led = self.partitions.iter().filter(|(_, slot)| is_led(slot));
        let led: Vec<PartitionKey> = led.map(|(key, _)| *key).collect();
        for key in &led {
            let home = home_of(*key, before);
            if home != home_of(*key, after)
                && let Some(lane) = self.fetch_lanes.get_mut(&(node, home))
            {
                lane.leave(*key, false);
            }
        }
        for number in before..after {
            self.fetch_lanes.entry((node, number)).or_insert_with(|| FetchLane::new(now));
        }
        led.into_iter().for_each(|key| self.update(key));
        self.close_surplus(node, effects);
    }

    /// Whether a lane is one more than its broker is to have.
    pub(super) fn is_surplus(&self, at: LaneKey) -> bool {
        is_surplus(&self.source_fleets, at)
    }

    /// Closes lanes that are too many, as soon as no span is on its way there: what other lanes have brought waits for it.
    pub(super) fn close_surplus(&mut self, node: NodeId, effects: &mut Vec<Effect>) {
        let lanes = self.source_fleets.get(&node).map_or(0, Fleet::lanes);
        let surplus = self.fetch_lanes.range((node, lanes)..=(node, u16::MAX));
        let done = surplus.filter(|(_, lane)| !lane.awaits_span());
        let done: Vec<LaneKey> = done.map(|(at, _)| *at).collect();
        for at in done {
            let Some(mut lane) = self.fetch_lanes.remove(&at) else { continue };
            lane.lose(&mut self.frames);
            let ((node, number), incarnation) = (at, lane.link().incarnation());
            let id = LaneId { side: Side::Source, node, number, incarnation };
            effects.push(Effect::Close(id, None));
        }
    }

    /// A partition that fills its lane alone is read by others too, if there are any.
    pub(super) fn consider_split(
        &mut self,
        key: PartitionKey,
        records: &Bytes,
        answered: Answered,
    ) {
        let Some(slot) = self.partitions.get_mut(&key) else { return };
        let is_alone = answered.is_full && records.len() >= answered.bytes / 4 * 3;
        slot.alone = if is_alone { slot.alone.saturating_add(1) } else { 0 };
        let leader = slot.flow.source_leader;
        let has_help = leader.is_some_and(|leader| !has_one_lane(&self.source_fleets, leader.node));
        if slot.alone >= ALONE && has_help {
            slot.flow.begin_split(records);
            self.update(key);
        }
    }

    /// Lanes that are free help to read the partitions that are split.
    pub(super) fn give_spans(&mut self, sharing: Sharing) {
        if self.splits.is_empty() {
            return;
        }
        let takes = |(at, lane): &(&LaneKey, &FetchLane)| {
            lane.takes_span(sharing.spans) && !self.is_surplus(**at)
        };
        let free: Vec<LaneKey> = self.fetch_lanes.iter().filter(takes).map(|(at, _)| *at).collect();
        let ahead_limit_bytes = self.settings.ahead_bytes() / self.splits.len();
        // The rest is for those that have come before it is their turn.
        let spans = (sharing.lanes * sharing.spans).max(1);
        let share_bytes = (self.settings.ahead_bytes() / 3 * 2 / spans).min(SPAN_BYTES);
        // Who wants no more now is not asked by the lanes that follow.
        let mut wanting: Vec<PartitionKey> = self.splits.iter().copied().collect();
        for at in free {
            let Some(lane) = self.fetch_lanes.get_mut(&at) else { continue };
            let wish_bytes = lane.wish_bytes(sharing, &self.settings).min(share_bytes);
            // Those that come first in one lane come later in the next.
            let mut turn = usize::from(at.1) % wanting.len().max(1);
            for _ in 0..wanting.len() {
                turn = if turn < wanting.len() { turn } else { 0 };
                let key = wanting[turn];
                let slot = self.partitions.get_mut(&key);
                let leader = slot.as_ref().and_then(|slot| slot.flow.source_leader);
                let (Some(slot), Some(leader)) = (slot, leader.filter(|one| one.node == at.0))
                else {
                    turn += 1;
                    continue;
                };
                // A lane that is left alone reads in order: first what is missing, then as if nothing had been split.
                let is_alone = has_one_lane(&self.source_fleets, at.0);
                let limit_bytes = if is_alone { 0 } else { ahead_limit_bytes };
                self.last_ticket += 1;
                let asked = slot.flow.next_span(self.last_ticket, wish_bytes, limit_bytes);
                let Some(asked) = asked else {
                    wanting.remove(turn);
                    continue;
                };
                let source = &slot.flow.spec.source;
                let topic = SessionTopic { name: source.topic.clone(), id: source.topic_id };
                let partition = FetchPartition {
                    index: source.index,
                    offset: asked.start,
                    leader_epoch: leader.epoch,
                    // Which epoch comes before the span is not known; a log that was cut shows where it is read in order.
                    last_fetched_epoch: -1,
                    max_bytes: i32::try_from(asked.max_bytes).unwrap_or(i32::MAX),
                };
                lane.give_span(Span { key, asked, topic, partition });
                break;
            }
        }
        self.end_idle_splits();
    }

    /// Takes back what could not be asked for now: whoever asks next begins with what is to be handed over first, which might
    /// come free meanwhile.
    pub(super) fn take_back_spans(&mut self) {
        for lane in self.fetch_lanes.values_mut() {
            if let Some((key, asked)) = lane.take_back_span()
                && let Some(slot) = self.partitions.get_mut(&key)
            {
                slot.flow.on_span_lost(asked.ticket);
            }
        }
    }

    /// What has no span under way and wants none is read by its own lane again, and so is what has no other lane.
    fn end_idle_splits(&mut self) {
        let is_idle = |key: &&PartitionKey| {
            let Some(slot) = self.partitions.get(key) else { return true };
            let flow = &slot.flow;
            let node = flow.source_leader.map(|leader| leader.node);
            let is_alone = node.is_none_or(|node| has_one_lane(&self.source_fleets, node));
            flow.is_split_over() || (is_alone && flow.is_split_empty())
        };
        let idle: Vec<PartitionKey> = self.splits.iter().filter(is_idle).copied().collect();
        idle.into_iter().for_each(|key| self.end_split(key));
    }

    /// A partition is read by its own lane only.
    pub(super) fn end_split(&mut self, key: PartitionKey) {
        if let Some(slot) = self.partitions.get_mut(&key) {
            slot.alone = 0;
            slot.flow.end_split(&mut self.frames);
        }
        self.update(key);
    }

    /// Nothing will come for these spans.
    pub(super) fn lose_spans(
        &mut self,
        now: Moment,
        spans: Vec<(PartitionKey, Asked)>,
        effects: &mut Vec<Effect>,
    ) {
        for (key, asked) in spans {
            self.with(now, key, effects, |flow, _| flow.on_span_lost(asked.ticket));
        }
    }
}

/// Whether a broker has one lane only.
fn has_one_lane(fleets: &Fleets, node: NodeId) -> bool {
    fleets.get(&node).is_none_or(|fleet| fleet.lanes() == 1)
}

/// Whether a lane is one more than its broker is to have.
pub(super) fn is_surplus(fleets: &Fleets, (node, number): LaneKey) -> bool {
    fleets.get(&node).is_none_or(|fleet| number >= fleet.lanes())
}

/// The lane that a partition is on. Partitions are spread evenly, and stay as long as the number of lanes does.
pub(super) fn home(fleets: &Fleets, key: PartitionKey, node: NodeId) -> LaneKey {
    let lanes = fleets.get(&node).map_or(1, Fleet::lanes);
    (node, home_of(key, lanes))
}

fn home_of(key: PartitionKey, lanes: u16) -> u16 {
    u16::try_from(key % u32::from(lanes.max(1))).unwrap_or(0)
}
