//! What happens on lanes: connections come and go, answers arrive.

use protocol_client::conn::fetch_session::Fetched;
use protocol_client::wire::error_code::{ErrorCode, RetryClass};
use protocol_client::wire::fetch::RawFetchAnswer;
use protocol_client::wire::produce::{ProducedPartition, RawProduceAnswer};

use super::super::event::{Effect, LaneId};
use super::super::fetch_lane::Brought;
use super::super::frames::Charge;
use super::super::produce_lane::ProduceLane;
use super::super::round::Round;
use super::super::target_side::Outcome;
use super::{LaneKey, Shard};
use crate::model::{Moment, Side, TopicPartition};

impl Shard {
    pub(super) fn on_lane_up(&mut self, now: Moment, lane: LaneId, effects: &mut Vec<Effect>) {
        let attempt = lane.incarnation;
        let is_up = match lane.side {
            Side::Source => {
                let fetch = self.fetch_lanes.get_mut(&(lane.node, lane.number));
                fetch.is_some_and(|fetch| fetch.up(now, attempt))
            }
            Side::Target => {
                let produce = self.produce_lanes.get_mut(&(lane.node, lane.number));
                produce.is_some_and(|produce| produce.link.up(now, attempt))
            }
        };
        if !is_up {
            // It took so long that nobody wants it any more.
            effects.push(Effect::Close(lane, None));
        } else if lane.side == Side::Target {
            self.set_stalled((lane.node, lane.number), false);
        }
    }

    /// Tells the partitions of a lane to a target broker whether that answers.
    fn set_stalled(&mut self, at: LaneKey, stalled: bool) {
        let Some(lane) = self.produce_lanes.get_mut(&at) else { return };
        if !lane.set_stalled(stalled) || !lane.has_members() {
            return;
        }
        let mut keys = Vec::new();
        for (key, slot) in &mut self.partitions {
            if slot.produce_lane() == Some(at) {
                slot.flow.set_stalled(stalled, &mut self.frames);
                keys.push(*key);
            }
        }
        keys.into_iter().for_each(|key| self.update(key));
    }

    pub(super) fn find_stalls(&mut self, now: Moment) {
        let late = |lane: &ProduceLane| lane.stall_at().is_some_and(|at| at <= now);
        let found = self.produce_lanes.iter().filter(|(_, lane)| late(lane));
        let found: Vec<LaneKey> = found.map(|(at, _)| *at).collect();
        found.into_iter().for_each(|at| self.set_stalled(at, true));
    }

    pub(super) fn on_lane_down(&mut self, now: Moment, lane: LaneId, effects: &mut Vec<Effect>) {
        match lane.side {
            Side::Source => {
                let at = (lane.node, lane.number);
                let Some(fetch) = self.fetch_lanes.get_mut(&at) else { return };
                let lost = fetch.down(now, lane.incarnation, &mut self.rng, &mut self.frames);
                let Some(lost) = lost else { return };
                self.lose_spans(now, lost, effects);
                self.close_surplus(lane.node, effects);
            }
            Side::Target => {
                let at = (lane.node, lane.number);
                let Some(produce) = self.produce_lanes.get_mut(&at) else { return };
                if !produce.link.down(now, lane.incarnation, &mut self.rng) {
                    return;
                }
                for (request, key) in produce.lose() {
                    self.round.iter_mut().for_each(Round::answered);
                    let lost = Err(ErrorCode::NETWORK_EXCEPTION);
                    self.with(now, key, effects, |flow, cx| flow.on_produced(request, lost, cx));
                }
                self.round.iter_mut().for_each(Round::lost_broker);
                self.set_stalled(at, true);
                self.close_deserted(at, effects);
            }
        }
        self.refresh[lane.side as usize].wanted = true;
    }

    pub(super) fn on_fetched(
        &mut self,
        now: Moment,
        id: LaneId,
        answer: RawFetchAnswer,
        effects: &mut Vec<Effect>,
    ) {
        let at = (id.node, id.number);
        let Some(lane) = self.fetch_lanes.get_mut(&at) else { return };
        if !lane.link().is_up_as(id.incarnation) {
            return;
        }
        let frame_bytes = answer.frame_bytes;
        let (measured, brought) = match lane.accept(now, answer, &mut self.frames) {
            Ok(accepted) => accepted,
            Err(error) => {
                effects.push(Effect::Close(id, Some(error)));
                return self.on_lane_down(now, id, effects);
            }
        };
        let frame = self.frames.enter(frame_bytes);
        match brought {
            Brought::Span(key, asked, Some(part)) => {
                self.refresh[Side::Source as usize].wanted |= needs_metadata(part.error);
                self.with(now, key, effects, |flow, cx| {
                    flow.on_span(asked.ticket, &part, frame, cx);
                });
            }
            Brought::Span(key, asked, None) => {
                let slot = self.partitions.get(&key);
                if slot.is_some_and(|slot| slot.flow.awaits_span(asked.ticket)) {
                    self.end_split(key);
                }
            }
            Brought::Parts(parts) => {
                for Fetched { key, offset, partition } in parts {
                    self.refresh[Side::Source as usize].wanted |= needs_metadata(partition.error);
                    self.with(now, key, effects, |flow, cx| {
                        flow.on_fetched(offset, &partition, frame, cx);
                    });
                    self.consider_split(key, &partition.records, measured);
                }
            }
        }
        self.frames.release(Charge::Frame(frame));
        self.count(now, id.node, measured, effects);
        if self.is_surplus(at) {
            self.close_surplus(id.node, effects);
        }
    }

    pub(super) fn on_produced(
        &mut self,
        now: Moment,
        id: LaneId,
        request: u64,
        answer: &RawProduceAnswer,
        effects: &mut Vec<Effect>,
    ) {
        let at = (id.node, id.number);
        let Some(lane) = self.produce_lanes.get_mut(&at) else { return };
        if !lane.link.is_up_as(id.incarnation) {
            return;
        }
        lane.link.worked();
        let Some((carried, measured)) = lane.answered(now, request) else { return };
        self.set_stalled(at, false);
        for (at, key) in carried.into_iter().enumerate() {
            self.round.iter_mut().for_each(Round::answered);
            self.with(now, key, effects, |flow, cx| {
                // An answer that leaves a partition out says nothing about it.
                let outcome = outcome_of(answer, at, &flow.spec.target);
                let outcome = outcome.unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR));
                flow.on_produced(request, outcome, cx);
            });
        }
        self.count_produced(now, id.node, measured, effects);
        self.close_deserted(at, effects);
    }
}

/// What became of a partition that stood at this place in the request; answers come in the same order.
fn outcome_of(answer: &RawProduceAnswer, at: usize, target: &TopicPartition) -> Option<Outcome> {
    let is_its =
        |part: &&ProducedPartition| part.index == target.index && part.topic == target.topic;
    let part = answer.partitions.get(at).filter(is_its);
    let part = part.or_else(|| answer.partitions.iter().find(is_its))?;
    Some(part.error.ok().map(|()| part.base_offset))
}

fn needs_metadata(error: ErrorCode) -> bool {
    error.class() == RetryClass::RefreshMetadata
}
