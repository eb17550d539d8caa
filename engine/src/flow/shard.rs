//! A shard: some partitions, the lanes that carry them, one share of the memory budget; one thread's worth of work.
//!
//! [`Shard::handle`] is the only input and [`Shard::next_deadline`] the only clock. What a partition touches lives in one
//! shard, so nothing here is locked or shared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use protocol_client::cluster::{self, ClusterView};
use protocol_client::conn::fetch_session::SessionTopic;
use protocol_client::wire::error_code::{ErrorCode, RetryClass};
use protocol_client::wire::fetch::RawFetchAnswer;
use protocol_client::wire::produce::{Acks, ProducePartition, RawProduce, RawProduceAnswer};

use super::event::{Effect, Event, LaneId, NodeId, PartitionKey, PartitionSpec, Report};
use super::fetch_lane::FetchLane;
use super::frames::{Charge, Frames};
pub use super::partition::PartitionState;
use super::partition::{Cx, Leader, Note, PartitionFlow};
use super::produce_lane::ProduceLane;
use super::settings::ShardSettings;
pub use super::target_side::Delivered;
use super::target_side::Outcome;
use crate::model::{Moment, Side, TopicPartition};

/// Least time between two refreshes of one cluster's metadata.
const REFRESH_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// The same when refreshes do not bring what is missing.
const LONGEST_REFRESH_PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

/// Progress of one partition, for status and for the positions that are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Where it is read.
    pub source: TopicPartition,
    /// Where it is written.
    pub target: TopicPartition,
    /// What it is doing.
    pub state: PartitionState,
    /// Next source offset that is not known to be at the target; `None` while it is being looked up.
    pub position: Option<i64>,
    /// End of the source's log as last seen, or -1.
    pub high_watermark: i64,
    /// Target offset behind everything delivered, once known.
    pub target_next: Option<i64>,
    /// What was delivered since the start.
    pub delivered: Delivered,
    /// Time from a record's timestamp to its acknowledgement, of the last batch, in milliseconds.
    pub latency_ms: Option<i64>,
}

/// The machine.
#[derive(Debug)]
pub struct Shard {
    settings: ShardSettings,
    rng: fastrand::Rng,
    partitions: BTreeMap<PartitionKey, Slot>,
    next_key: PartitionKey,
    fetch_lanes: BTreeMap<NodeId, FetchLane>,
    produce_lanes: BTreeMap<NodeId, ProduceLane>,
    frames: Frames,
    views: [Option<Arc<ClusterView>>; 2],
    refresh: [Refresh; 2],
    wakes: BTreeSet<(Moment, PartitionKey)>,
    producer: Option<(i64, i16)>,
    next_request: u64,
    /// The number of the last connection.
    last_incarnation: u64,
    /// The lane whose turn it is to ask for records.
    next_fetch: NodeId,
    draining: bool,
    drained: bool,
}

#[derive(Debug)]
struct Slot {
    flow: PartitionFlow,
    /// Waits in the ready list of its target leader's lane.
    ready: bool,
    /// Wall-clock latency of the last delivered batch.
    latency_ms: Option<i64>,
}

#[derive(Debug, Default)]
struct Refresh {
    asked: bool,
    not_before: Moment,
    wanted: bool,
    /// Views in a row that still lacked a leader.
    fruitless: u32,
}

impl Shard {
    /// A shard without partitions.
    pub fn new(settings: ShardSettings, seed: u64) -> Self {
        Self {
            frames: Frames::new(settings.budget_bytes),
            settings,
            rng: fastrand::Rng::with_seed(seed),
            partitions: BTreeMap::new(),
            next_key: 0,
            fetch_lanes: BTreeMap::new(),
            produce_lanes: BTreeMap::new(),
            views: [None, None],
            refresh: [Refresh::default(), Refresh::default()],
            wakes: BTreeSet::new(),
            producer: None,
            next_request: 0,
            last_incarnation: 0,
            next_fetch: NodeId::MIN,
            draining: false,
            drained: false,
        }
    }

    /// Takes one event; what has to be done about it is appended to `effects`.
    pub fn handle(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Add(spec) => self.add(now, spec, effects),
            Event::Remove(key) => self.remove(key),
            Event::Pause(key) => self.with(now, key, effects, |flow, _| flow.pause()),
            Event::Resume(key) => self.with(now, key, effects, PartitionFlow::resume),
            Event::Metadata(side, view) => self.on_metadata(now, side, view, effects),
            Event::MetadataFailed(side) => {
                let refresh = &mut self.refresh[side as usize];
                refresh.asked = false;
                refresh.not_before = now + REFRESH_PAUSE * 5;
                refresh.wanted = true;
            }
            Event::Producer { producer_id, epoch } => self.producer = Some((producer_id, epoch)),
            Event::LaneUp(lane) => self.on_lane_up(lane, effects),
            Event::LaneDown(lane) => self.on_lane_down(now, lane, effects),
            Event::Fetched(lane, answer) => self.on_fetched(now, lane, answer, effects),
            Event::Produced(lane, request, answer) => {
                self.on_produced(now, lane, request, &answer, effects)
            }
            Event::SourceRange(key, range) => {
                self.with(now, key, effects, |flow, cx| flow.on_source_range(range, cx))
            }
            Event::TargetEnd(key, end) => {
                self.with(now, key, effects, |flow, cx| flow.on_target_end(end, cx))
            }
            Event::Drain => self.drain(),
            Event::Tick => {}
        }
        self.wake(now, effects);
        self.find_stalls(now);
        self.pump(now, effects);
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Moment> {
        let fetch = self.fetch_lanes.values().filter_map(|lane| lane.link.retry_at());
        let produce = self.produce_lanes.values().filter_map(|lane| lane.link.retry_at());
        let stall = self.produce_lanes.values().filter_map(ProduceLane::stall_at);
        let refresh = self.refresh.iter().filter(|refresh| refresh.wanted && !refresh.asked);
        let wake = self.wakes.first().map(|(at, _)| *at);
        fetch
            .chain(produce)
            .chain(stall)
            .chain(refresh.map(|refresh| refresh.not_before))
            .chain(wake)
            .min()
    }

    /// Progress of all partitions.
    pub fn progress(&self) -> impl Iterator<Item = Progress> {
        self.partitions.values().map(|slot| Progress {
            source: slot.flow.spec.source.clone(),
            target: slot.flow.spec.target.clone(),
            state: self.state(slot),
            position: slot.flow.position(),
            high_watermark: slot.flow.high_watermark(),
            target_next: slot.flow.target_next(),
            delivered: slot.flow.delivered(),
            latency_ms: slot.latency_ms,
        })
    }

    /// A partition's state, and whether its connections are up.
    fn state(&self, slot: &Slot) -> PartitionState {
        let source = slot.flow.source_leader.and_then(|at| self.fetch_lanes.get(&at.node));
        let target = slot.flow.target_leader.and_then(|at| self.produce_lanes.get(&at.node));
        let connected = source.is_some_and(|lane| lane.link.is_up())
            && target.is_some_and(|lane| lane.link.is_up());
        match slot.flow.state() {
            PartitionState::Running if !connected => PartitionState::Retrying,
            state => state,
        }
    }

    /// What source and target call a partition.
    pub fn names(&self, key: PartitionKey) -> Option<(TopicPartition, TopicPartition)> {
        let spec = &self.partitions.get(&key)?.flow.spec;
        Some((spec.source.clone(), spec.target.clone()))
    }

    /// The keys of a source topic's partitions.
    pub fn keys_of(&self, topic: &str) -> Vec<PartitionKey> {
        let of_topic = |slot: &Slot| &*slot.flow.spec.source.topic == topic;
        let found = self.partitions.iter().filter(|(_, slot)| of_topic(slot));
        found.map(|(key, _)| *key).collect()
    }

    /// Bytes of the budget that hold batches.
    pub fn held_bytes(&self) -> usize {
        let promised: usize = self.fetch_lanes.values().map(FetchLane::promised_bytes).sum();
        self.frames.used_bytes().saturating_sub(promised)
    }

    fn add(&mut self, now: Moment, spec: PartitionSpec, effects: &mut Vec<Effect>) {
        let mut notes = Vec::new();
        let mut cx = Cx {
            now,
            settings: &self.settings,
            frames: &mut self.frames,
            rng: &mut self.rng,
            notes: &mut notes,
        };
        let flow = PartitionFlow::new(spec, &mut cx);
        // Keys are never used twice, so a late answer for a removed partition finds nobody.
        let key = self.next_key;
        self.next_key += 1;
        self.partitions.insert(key, Slot { flow, ready: false, latency_ms: None });
        self.act_on(key, notes, effects);
        for side in [Side::Source, Side::Target] {
            self.place(now, key, side, effects);
        }
        self.update(key);
    }

    fn remove(&mut self, key: PartitionKey) {
        let Some(mut slot) = self.partitions.remove(&key) else { return };
        slot.flow.clear(&mut self.frames);
        leave_source(&mut self.fetch_lanes, key, &slot);
        leave_target(&mut self.produce_lanes, key, &mut slot);
    }

    fn drain(&mut self) {
        self.draining = true;
        for slot in self.partitions.values_mut() {
            slot.flow.drain(&mut self.frames);
        }
        let keys: Vec<PartitionKey> = self.partitions.keys().copied().collect();
        keys.into_iter().for_each(|key| self.update(key));
    }

    /// Runs one input of a partition and carries out what it asks for.
    fn with(
        &mut self,
        now: Moment,
        key: PartitionKey,
        effects: &mut Vec<Effect>,
        input: impl FnOnce(&mut PartitionFlow, &mut Cx<'_>),
    ) {
        let Some(slot) = self.partitions.get_mut(&key) else { return };
        let mut notes = Vec::new();
        let mut cx = Cx {
            now,
            settings: &self.settings,
            frames: &mut self.frames,
            rng: &mut self.rng,
            notes: &mut notes,
        };
        input(&mut slot.flow, &mut cx);
        self.act_on(key, notes, effects);
        self.update(key);
    }

    fn act_on(&mut self, key: PartitionKey, notes: Vec<Note>, effects: &mut Vec<Effect>) {
        for note in notes {
            match note {
                Note::AskSourceRange => effects.push(Effect::AskSourceRange(key)),
                Note::AskTargetEnd => effects.push(Effect::AskTargetEnd(key)),
                Note::RefreshMetadata(side) => self.refresh[side as usize].wanted = true,
                Note::WakeAt(at) => {
                    self.wakes.insert((at, key));
                }
                Note::Tell(what) => {
                    let Some(slot) = self.partitions.get(&key) else { continue };
                    let (source, target) =
                        (slot.flow.spec.source.clone(), slot.flow.spec.target.clone());
                    effects.push(Effect::Report(Report { source, target, what }));
                }
            }
        }
    }

    /// Brings a partition's place in its session and in its lane's ready list up to date.
    fn update(&mut self, key: PartitionKey) {
        let Some(slot) = self.partitions.get_mut(&key) else { return };
        let want = if self.draining { None } else { slot.flow.want(&self.settings) };
        if let Some(lane) =
            slot.flow.source_leader.and_then(|leader| self.fetch_lanes.get_mut(&leader.node))
        {
            match want {
                Some(want) => {
                    let source = &slot.flow.spec.source;
                    let topic = SessionTopic { name: source.topic.clone(), id: source.topic_id };
                    lane.want(key, &topic, source.index, want);
                }
                None => lane.leave(key, !self.draining && slot.flow.sits_out(&self.settings)),
            }
        }
        if !slot.ready
            && slot.flow.can_send()
            && let Some(lane) =
                slot.flow.target_leader.and_then(|leader| self.produce_lanes.get_mut(&leader.node))
        {
            slot.ready = true;
            lane.push_ready(key);
        }
    }

    fn on_metadata(
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
    fn place(&mut self, now: Moment, key: PartitionKey, side: Side, effects: &mut Vec<Effect>) {
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
        let before = slot.flow.source_leader.map(|leader| leader.node);
        if before != leader.map(|leader| leader.node) {
            leave_source(&mut self.fetch_lanes, key, slot);
        }
        slot.flow.source_leader = leader;
        if let Some(leader) = leader {
            self.fetch_lanes.entry(leader.node).or_insert_with(|| FetchLane::new(now));
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
        let before = slot.flow.target_leader.map(|leader| leader.node);
        if before == leader.map(|leader| leader.node) {
            slot.flow.target_leader = leader;
            return;
        }
        leave_target(&mut self.produce_lanes, key, slot);
        slot.flow.target_leader = leader;
        let lane = leader.map(|leader| {
            self.produce_lanes.entry(leader.node).or_insert_with(|| ProduceLane::new(now))
        });
        let stalled = lane.is_none_or(|lane| lane.is_stalled());
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
        let mut close = |node: NodeId, incarnation: u64| {
            effects.push(Effect::Close(LaneId { side, node, incarnation }, None));
        };
        match side {
            Side::Source => {
                let frames = &mut self.frames;
                self.fetch_lanes.retain(|node, lane| {
                    let keep = led.contains(node);
                    if !keep {
                        lane.settle(frames);
                        close(*node, lane.link.incarnation());
                    }
                    keep
                });
            }
            Side::Target => self.produce_lanes.retain(|node, lane| {
                let keep = led.contains(node);
                if !keep {
                    close(*node, lane.link.incarnation());
                }
                keep
            }),
        }
    }

    fn on_lane_up(&mut self, lane: LaneId, effects: &mut Vec<Effect>) {
        let link = match lane.side {
            Side::Source => self.fetch_lanes.get_mut(&lane.node).map(|fetch| &mut fetch.link),
            Side::Target => self.produce_lanes.get_mut(&lane.node).map(|produce| &mut produce.link),
        };
        if !link.is_some_and(|link| link.up(lane.incarnation)) {
            // It took so long that nobody wants it any more.
            effects.push(Effect::Close(lane, None));
        } else if lane.side == Side::Target {
            self.set_stalled(lane.node, false);
        }
    }

    /// Tells the partitions of a target broker whether it answers.
    fn set_stalled(&mut self, node: NodeId, stalled: bool) {
        if !self.produce_lanes.get_mut(&node).is_some_and(|lane| lane.set_stalled(stalled)) {
            return;
        }
        let mut keys = Vec::new();
        for (key, slot) in &mut self.partitions {
            if slot.flow.target_leader.is_some_and(|leader| leader.node == node) {
                slot.flow.set_stalled(stalled, &mut self.frames);
                keys.push(*key);
            }
        }
        keys.into_iter().for_each(|key| self.update(key));
    }

    fn find_stalls(&mut self, now: Moment) {
        let late = |lane: &ProduceLane| lane.stall_at().is_some_and(|at| at <= now);
        let nodes: Vec<NodeId> = self
            .produce_lanes
            .iter()
            .filter(|(_, lane)| late(lane))
            .map(|(node, _)| *node)
            .collect();
        nodes.into_iter().for_each(|node| self.set_stalled(node, true));
    }

    fn on_lane_down(&mut self, now: Moment, lane: LaneId, effects: &mut Vec<Effect>) {
        match lane.side {
            Side::Source => {
                let Some(fetch) = self.fetch_lanes.get_mut(&lane.node) else { return };
                if !fetch.link.down(now, lane.incarnation, &mut self.rng) {
                    return;
                }
                fetch.lose(&mut self.frames);
            }
            Side::Target => {
                let Some(produce) = self.produce_lanes.get_mut(&lane.node) else { return };
                if !produce.link.down(now, lane.incarnation, &mut self.rng) {
                    return;
                }
                for (request, key) in produce.lose() {
                    let lost = Err(ErrorCode::NETWORK_EXCEPTION);
                    self.with(now, key, effects, |flow, cx| flow.on_produced(request, lost, cx));
                }
                self.set_stalled(lane.node, true);
            }
        }
        self.refresh[lane.side as usize].wanted = true;
    }

    fn on_fetched(
        &mut self,
        now: Moment,
        id: LaneId,
        answer: RawFetchAnswer,
        effects: &mut Vec<Effect>,
    ) {
        let Some(lane) = self.fetch_lanes.get_mut(&id.node) else { return };
        if !lane.link.is_up_as(id.incarnation) {
            return;
        }
        lane.settle(&mut self.frames);
        let frame_bytes = answer.frame_bytes;
        let fetched = match lane.accept(answer) {
            Ok(fetched) => fetched,
            Err(error) => {
                effects.push(Effect::Close(id, Some(error)));
                return self.on_lane_down(now, id, effects);
            }
        };
        let frame = self.frames.enter(frame_bytes);
        for part in fetched {
            if part.partition.error != ErrorCode::NONE {
                self.refresh[Side::Source as usize].wanted |= needs_metadata(part.partition.error);
            }
            self.with(now, part.key, effects, |flow, cx| {
                flow.on_fetched(part.offset, &part.partition, frame, cx);
            });
        }
        self.frames.release(Charge::Frame(frame));
    }

    fn on_produced(
        &mut self,
        now: Moment,
        id: LaneId,
        request: u64,
        answer: &RawProduceAnswer,
        effects: &mut Vec<Effect>,
    ) {
        let Some(lane) = self.produce_lanes.get_mut(&id.node) else { return };
        if !lane.link.is_up_as(id.incarnation) {
            return;
        }
        lane.link.worked();
        let carried = lane.answered(request).unwrap_or_default();
        let outcomes: HashMap<(&str, i32), Outcome> = answer
            .partitions
            .iter()
            .map(|part| ((&*part.topic, part.index), part.error.ok().map(|()| part.base_offset)))
            .collect();
        self.set_stalled(id.node, false);
        for key in carried {
            let Some(slot) = self.partitions.get(&key) else { continue };
            let target = &slot.flow.spec.target;
            // An answer that leaves a partition out says nothing about it.
            let outcome = outcomes.get(&(&*target.topic, target.index)).copied();
            let outcome = outcome.unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR));
            let before = slot.flow.delivered().records;
            self.with(now, key, effects, |flow, cx| flow.on_produced(request, outcome, cx));
            self.note_latency(now, key, before);
        }
    }

    fn note_latency(&mut self, now: Moment, key: PartitionKey, before: u64) {
        let Some(slot) = self.partitions.get_mut(&key) else { return };
        let delivered = slot.flow.delivered();
        if delivered.records > before && delivered.last_timestamp_ms >= 0 {
            let since_start_ms = i64::try_from(now.since_start().as_millis()).unwrap_or(i64::MAX);
            let wall_ms = self.settings.wall_start_ms.saturating_add(since_start_ms);
            slot.latency_ms = Some(wall_ms.saturating_sub(delivered.last_timestamp_ms).max(0));
        }
    }

    fn wake(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        while let Some((at, key)) = self.wakes.first().copied() {
            if at > now {
                break;
            }
            self.wakes.pop_first();
            self.with(now, key, effects, PartitionFlow::on_deadline);
        }
    }

    /// Sends what can be sent.
    fn pump(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for side in [Side::Source, Side::Target] {
            let refresh = &mut self.refresh[side as usize];
            if refresh.wanted && !refresh.asked && refresh.not_before <= now {
                refresh.asked = true;
                refresh.wanted = false;
                effects.push(Effect::RefreshMetadata(side));
            }
        }
        self.pump_produce(now, effects);
        self.pump_fetch(now, effects);
        if self.draining
            && !self.drained
            && self.partitions.values().all(|slot| slot.flow.is_drained())
        {
            self.drained = true;
            effects.push(Effect::Drained);
        }
    }

    fn pump_fetch(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let side = Side::Source;
        for (node, lane) in &mut self.fetch_lanes {
            if let Some(incarnation) = lane.link.try_connect(now, &mut self.last_incarnation) {
                effects.push(Effect::Connect(LaneId { side, node: *node, incarnation }));
            }
        }
        if self.draining {
            return;
        }
        let lanes = self.fetch_lanes.len();
        let wants = |(_, lane): &(&NodeId, &FetchLane)| lane.wants_request();
        let ahead = self.fetch_lanes.range(self.next_fetch..).filter(wants);
        let behind = self.fetch_lanes.range(..self.next_fetch).filter(wants);
        let turns: Vec<NodeId> = ahead.chain(behind).map(|(node, _)| *node).collect();
        for node in turns {
            let Some(lane) = self.fetch_lanes.get_mut(&node) else { continue };
            let Some(request) = lane.next_request(lanes, &self.settings, &mut self.frames) else {
                // Who finds no room in the budget is the first when there is some.
                self.next_fetch = node;
                break;
            };
            let incarnation = lane.link.incarnation();
            effects.push(Effect::Fetch(LaneId { side, node, incarnation }, request));
        }
    }

    fn pump_produce(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let nodes: Vec<NodeId> = self.produce_lanes.keys().copied().collect();
        for node in nodes {
            let Some(lane) = self.produce_lanes.get_mut(&node) else { continue };
            if let Some(incarnation) = lane.link.try_connect(now, &mut self.last_incarnation) {
                effects.push(Effect::Connect(LaneId { side: Side::Target, node, incarnation }));
            }
            let Some(producer) = self.producer else { continue };
            while self.produce_lanes.get(&node).is_some_and(ProduceLane::can_send) {
                if !self.send_request(now, node, producer, effects) {
                    break;
                }
            }
        }
    }

    /// Builds one request of everything that waits on a lane; `false` when nothing was to be sent.
    fn send_request(
        &mut self,
        now: Moment,
        node: NodeId,
        producer: (i64, i16),
        effects: &mut Vec<Effect>,
    ) -> bool {
        let request = self.next_request;
        let mut partitions = Vec::new();
        let mut carried = Vec::new();
        let mut bytes = 0;
        let waiting = self.produce_lanes.get(&node).map_or(0, ProduceLane::ready_len);
        let mut again = Vec::new();
        for _ in 0..waiting {
            if bytes >= self.settings.produce_max_bytes {
                break;
            }
            let Some(key) = self.produce_lanes.get_mut(&node).and_then(ProduceLane::take_ready)
            else {
                break;
            };
            let Some(slot) = self.partitions.get_mut(&key) else { continue };
            if slot.flow.target_leader.is_none_or(|leader| leader.node != node) {
                continue;
            }
            slot.ready = false;
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
                carried.push(key);
                partitions.push(ProducePartition {
                    topic: target.topic,
                    topic_id: target.topic_id,
                    index: target.index,
                    header: batch.header,
                    payload: batch.payload.clone(),
                });
            }
            self.act_on(key, notes, effects);
            again.push(key);
        }
        again.into_iter().for_each(|key| self.update(key));
        if partitions.is_empty() {
            return false;
        }
        self.next_request += 1;
        let Some(lane) = self.produce_lanes.get_mut(&node) else { return false };
        lane.sent(now, request, carried);
        let id = LaneId { side: Side::Target, node, incarnation: lane.link.incarnation() };
        let produce = RawProduce {
            acks: Acks::All,
            timeout_ms: self.settings.produce_timeout_ms,
            transactional_id: None,
            partitions,
        };
        effects.push(Effect::Produce(id, request, produce));
        true
    }
}

/// Takes a partition off the lane that fetches it.
fn leave_source(lanes: &mut BTreeMap<NodeId, FetchLane>, key: PartitionKey, slot: &Slot) {
    let lane = slot.flow.source_leader.and_then(|leader| lanes.get_mut(&leader.node));
    if let Some(lane) = lane {
        lane.leave(key, false);
    }
}

/// Takes a partition off the lane that it waits on.
fn leave_target(lanes: &mut BTreeMap<NodeId, ProduceLane>, key: PartitionKey, slot: &mut Slot) {
    let lane = slot.flow.target_leader.and_then(|leader| lanes.get_mut(&leader.node));
    if std::mem::take(&mut slot.ready)
        && let Some(lane) = lane
    {
        lane.drop_ready(key);
    }
}

fn needs_metadata(error: ErrorCode) -> bool {
    error.class() == RetryClass::RefreshMetadata
}
