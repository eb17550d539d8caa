//! What can be sent is sent: metadata requests, connections, fetches as far as the budget goes, produce requests.

use std::ops::Bound;

use protocol_client::wire::produce::{Acks, ProducePartition, RawProduce};

use super::super::bandwidth::Gate;
use super::super::event::{Effect, LaneId};
use super::super::fetch_lane::Urgency;
use super::super::partition::Cx;
use super::super::produce_lane::ProduceLane;
use super::super::round::Round;
use super::{LaneKey, Shard};
use crate::model::{Moment, Side};

/// For so many partitions a request has room from the start.
const USUAL_PARTITIONS: usize = 16;

impl Shard {
    /// Sends what can be sent.
    pub(super) fn pump(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for side in [Side::Source, Side::Target] {
            let refresh = &mut self.refresh[side as usize];
            if refresh.wanted && !refresh.asked && refresh.not_before <= now {
                refresh.asked = true;
                refresh.wanted = false;
                effects.push(Effect::RefreshMetadata(side));
            }
        }
        self.pump_produce(now, effects);
        self.pump_round(now, effects);
        self.gate.iter_mut().for_each(Gate::begin);
        self.pump_fetch(now, effects);
        self.gate.iter_mut().for_each(Gate::end);
        if self.draining
            && !self.drained
            && self.partitions.values().all(|slot| slot.flow.is_drained())
            && self.round.as_ref().is_none_or(Round::is_idle)
        {
            self.drained = true;
            effects.push(Effect::Drained);
        }
    }

    fn pump_fetch(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let side = Side::Source;
        for (&(node, number), lane) in &mut self.fetch_lanes {
            if let Some(incarnation) = lane.try_connect(now, &mut self.last_incarnation) {
                effects.push(Effect::Connect(LaneId { side, node, number, incarnation }));
            }
        }
        if self.draining {
            return;
        }
        let sharing = self.sharing();
        self.give_spans(sharing);
        let mut is_full = false;
        let first = self.next_fetch;
        let ahead = (Bound::Included(first), Bound::Unbounded);
        let behind = (Bound::Unbounded, Bound::Excluded(first));
        for turns in [ahead, behind] {
            for (&at, lane) in self.fetch_lanes.range_mut(turns) {
                let ((node, number), incarnation) = (at, lane.link().incarnation());
                let id = LaneId { side, node, number, incarnation };
                let (settings, frames) = (&self.settings, &mut self.frames);
                // What waits for it to be handed over holds the budget: only this can free it.
                let is_next = lane.next_span().is_some_and(|(key, asked)| {
                    self.partitions.get(&key).is_some_and(|slot| slot.flow.is_next(asked))
                });
                if lane.next_span().is_some() && (is_next || !is_full) {
                    let urgency = if is_next { Urgency::Now } else { Urgency::WhenThereIsRoom };
                    let gate = self.gate.as_mut();
                    match lane.span_request(now, urgency, settings, frames, gate) {
                        Some(request) => effects.push(Effect::Fetch(id, request)),
                        None => {
                            // Who finds no room in the budget, or the gate closed, is the first when that is over.
                            self.next_fetch = at;
                            is_full = true;
                        }
                    }
                }
                if lane.wants_request() && !is_full {
                    match lane.next_request(now, sharing, settings, frames, self.gate.as_mut()) {
                        Some(request) => effects.push(Effect::Fetch(id, request)),
                        None => {
                            self.next_fetch = at;
                            is_full = true;
                        }
                    }
                }
            }
        }
        if is_full {
            self.take_back_spans();
        }
    }

    fn pump_produce(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let mut last = Bound::Unbounded;
        while let Some((&at, lane)) = self.produce_lanes.range_mut((last, Bound::Unbounded)).next()
        {
            last = Bound::Excluded(at);
            if let Some(incarnation) = lane.link.try_connect(now, &mut self.last_incarnation) {
                let (side, (node, number)) = (Side::Target, at);
                effects.push(Effect::Connect(LaneId { side, node, number, incarnation }));
            }
            let Some(producer) = self.producer.map(|producer| (producer.id, producer.epoch)) else {
                continue;
            };
            while self.produce_lanes.get(&at).is_some_and(ProduceLane::can_send) {
                if !self.send_request(now, at, producer, effects) {
                    break;
                }
            }
        }
    }

    /// Builds one request of everything that waits on a lane; `false` when nothing was to be sent.
    fn send_request(
        &mut self,
        now: Moment,
        at: LaneKey,
        producer: (i64, i16),
        effects: &mut Vec<Effect>,
    ) -> bool {
        let request = self.next_request;
        let mut bytes = 0;
        let waiting = self.produce_lanes.get(&at).map_or(0, ProduceLane::ready_len);
        let mut partitions = Vec::with_capacity(waiting.min(USUAL_PARTITIONS));
        let mut carried = Vec::with_capacity(waiting.min(USUAL_PARTITIONS));
        for _ in 0..waiting {
            if bytes >= self.settings.produce_max_bytes {
                break;
            }
            let Some(key) = self.produce_lanes.get_mut(&at).and_then(ProduceLane::take_ready)
            else {
                break;
            };
            let Some(slot) = self.partitions.get_mut(&key) else { continue };
            if slot.produce_lane() != Some(at) {
                continue;
            }
            slot.ready = false;
            if self.round.as_mut().is_some_and(|round| !round.admits(key)) {
                continue;
            }
            let mut notes = Vec::new();
            let mut cx = Cx {
                now,
                settings: &self.settings,
                frames: &mut self.frames,
                rng: &mut self.rng,
                notes: &mut notes,
            };
            let target = slot.flow.spec.target.clone();
            if let Some(batch) = slot.flow.send(request, producer, &mut cx) {
                bytes += batch.wire_bytes();
                self.round.iter_mut().for_each(|round| round.sent(batch.wire_bytes()));
                carried.push(key);
                partitions.push(ProducePartition {
                    topic: target.topic,
                    topic_id: target.topic_id,
                    index: target.index,
                    header: batch.header,
                    payload: batch.payload.clone(),
                });
            }
            slot.flow.hand_over(&mut cx);
            self.act_on(key, notes, effects);
            // It may get behind those that wait, for another request.
            self.update(key);
        }
        if partitions.is_empty() {
            return false;
        }
        self.next_request += 1;
        let Some(lane) = self.produce_lanes.get_mut(&at) else { return false };
        lane.sent(now, request, bytes, carried);
        let ((node, number), incarnation) = (at, lane.link.incarnation());
        let id = LaneId { side: Side::Target, node, number, incarnation };
        let produce = RawProduce {
            acks: Acks::All,
            timeout_ms: self.settings.produce_timeout_ms,
            transactional_id: self.settings.transactional_id.clone(),
            partitions,
        };
        effects.push(Effect::Produce(id, request, produce));
        true
    }
}
