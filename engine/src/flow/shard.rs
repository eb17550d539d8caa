//! A shard: some partitions, the lanes that carry them, one share of the memory budget; one thread's worth of work.
//!
//! [`Shard::handle`] is the only input and [`Shard::next_deadline`] the only clock. What a partition touches lives in one
//! shard, so nothing here is locked or shared.
//!
//! Here are the partitions; `placement` puts them on lanes, `lanes` takes what comes from there, `pump` sends.

mod lanes;
mod placement;
mod pump;
mod rounds;
mod spans;
mod target_lanes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use protocol_client::cluster::ClusterView;
use protocol_client::conn::fetch_session::SessionTopic;

use self::placement::{leave_source, leave_target};
use self::spans::home;
use super::bandwidth::Gate;
use super::event::{Effect, Event, NodeId, PartitionKey, PartitionSpec, Producer, Report};
use super::fetch_lane::FetchLane;
use super::fleet::Fleet;
use super::frames::Frames;
pub use super::partition::PartitionState;
use super::partition::{Cx, Leader, Note, PartitionFlow};
use super::produce_lane::ProduceLane;
use super::round::Round;
use super::settings::ShardSettings;
use super::split::Ticket;
pub use super::target_side::Delivered;
use super::target_side::Spent;
use crate::index::OffsetIndex;
use crate::model::{Moment, Pair, Side, TopicIds, TopicPartition};

/// Partitions of a shard that compare logs at the same time: each holds a few megabytes.
const RECOVERIES: usize = 8;

/// A lane towards a broker of one side: the broker, and which of its lanes.
type LaneKey = (NodeId, u16);

/// How many lanes the brokers of one side are to have.
type Fleets = BTreeMap<NodeId, Fleet>;

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
    /// The leader epoch of the source's last record before the position, or -1.
    pub position_epoch: i32,
    /// End of the source's log as last seen, or -1.
    pub high_watermark: i64,
    /// Target offset behind everything delivered, once known.
    pub target_next: Option<i64>,
    /// Whether everything that was sent has been answered.
    pub is_settled: bool,
    /// Whether it stands still until it is stored where it stands ([`Effect::StorePosition`]).
    pub awaits_store: bool,
    /// What was delivered since the start.
    pub delivered: Delivered,
    /// Time from a record's timestamp to its acknowledgement, of the last batch, in milliseconds.
    pub latency_ms: Option<i64>,
}

impl Progress {
    /// Where the partition stands on both sides, once known.
    pub fn pair(&self) -> Option<Pair> {
        Some(Pair {
            source_next: self.position?,
            source_epoch: self.position_epoch,
            target_next: self.target_next?,
            source_id: self.source.topic_id,
            target_id: self.target.topic_id,
        })
    }
}

/// Whose indexes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that may have changed since they were asked for the last time.
    Changed,
    /// All.
    All,
}

/// What of a partition's index a flush has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncState {
    /// The partition, as the source calls it.
    pub source: TopicPartition,
    /// The ids of its topic on both sides.
    pub ids: TopicIds,
    /// Grows with every change of the index.
    pub generation: u64,
    /// Breakpoints there ever were.
    pub breaks: u64,
    /// The next source offset and the target offset behind the last record.
    pub end: (i64, i64),
}

/// The machine.
#[derive(Debug)]
pub struct Shard {
    settings: ShardSettings,
    rng: fastrand::Rng,
    /// Boxed, because the map leaves almost every second place empty when keys only grow.
    partitions: BTreeMap<PartitionKey, Box<Slot>>,
    /// The keys by topic and partition, as the source calls them.
    keys: BTreeMap<(Arc<str>, i32), PartitionKey>,
    next_key: PartitionKey,
    fetch_lanes: BTreeMap<LaneKey, FetchLane>,
    source_fleets: Fleets,
    /// Partitions whose index may have changed since somebody asked.
    changed: Vec<PartitionKey>,
    /// Partitions that several lanes read.
    splits: BTreeSet<PartitionKey>,
    /// The number of the last span; no two have the same, of whatever partition they are.
    last_ticket: Ticket,
    produce_lanes: BTreeMap<LaneKey, ProduceLane>,
    target_fleets: Fleets,
    /// There have been more lanes to some target broker, or fewer: until then every partition is on its own.
    has_moves: bool,
    frames: Frames,
    /// Where fetches wait, if there is a limit of bandwidth.
    gate: Option<Gate>,
    views: [Option<Arc<ClusterView>>; 2],
    refresh: [Refresh; 2],
    wakes: BTreeSet<(Moment, PartitionKey)>,
    /// Partitions that wait for their turn to compare logs.
    recoveries: VecDeque<PartitionKey>,
    /// Those whose turn it is.
    recovering: BTreeSet<PartitionKey>,
    producer: Option<Producer>,
    /// The transactions, if records are written in any.
    round: Option<Round>,
    /// Another producer has been asked for, or this one is shut out.
    renewing: bool,
    next_request: u64,
    /// The number of the last connection.
    last_incarnation: u64,
    /// The lane whose turn it is to ask for records.
    next_fetch: LaneKey,
    draining: bool,
    drained: bool,
}

#[derive(Debug)]
struct Slot {
    flow: PartitionFlow,
    /// Which of the lanes to its target leader it is on.
    lane: u16,
    /// Waits in the ready list of that lane.
    ready: bool,
    /// How many answers in a row were full, and full of it alone.
    alone: u32,
    /// Its index may have changed since somebody asked.
    changed: bool,
}

#[derive(Debug, Default)]
struct Refresh {
    asked: bool,
    not_before: Moment,
    wanted: bool,
    /// Views in a row that still lacked a leader.
    fruitless: u32,
}

impl Slot {
    /// The lane to its target leader that it is on.
    fn produce_lane(&self) -> Option<LaneKey> {
        self.flow.target_leader.map(|leader| (leader.node, self.lane))
    }
}

impl Shard {
    /// A shard without partitions.
    pub fn new(settings: ShardSettings, seed: u64) -> Self {
        Self {
            frames: Frames::new(settings.budget.clone()),
            gate: settings.bandwidth.as_ref().map(Gate::new),
            round: settings.rounds.map(Round::new),
            settings,
            rng: fastrand::Rng::with_seed(seed),
            partitions: BTreeMap::new(),
            keys: BTreeMap::new(),
            next_key: 0,
            fetch_lanes: BTreeMap::new(),
            source_fleets: Fleets::new(),
            changed: Vec::new(),
            splits: BTreeSet::new(),
            last_ticket: 0,
            produce_lanes: BTreeMap::new(),
            target_fleets: Fleets::new(),
            has_moves: false,
            views: [None, None],
            refresh: [Refresh::default(), Refresh::default()],
            wakes: BTreeSet::new(),
            recoveries: VecDeque::new(),
            recovering: BTreeSet::new(),
            producer: None,
            renewing: false,
            next_request: 0,
            last_incarnation: 0,
            next_fetch: (NodeId::MIN, 0),
            draining: false,
            drained: false,
        }
    }

    /// Takes one event; what has to be done about it is appended to `effects`.
    pub fn handle(&mut self, now: Moment, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Add(spec) => self.add(now, *spec, effects),
            Event::Remove(key) => self.remove(key),
            Event::Pause(key) => self.with(now, key, effects, |flow, _| flow.pause()),
            Event::Resume(key) => self.with(now, key, effects, PartitionFlow::resume),
            Event::Metadata(side, view) => self.on_metadata(now, side, view, effects),
            Event::MetadataFailed(side) => self.on_metadata_failed(now, side),
            Event::Producer(producer) => self.on_producer(producer),
            Event::LaneUp(lane) => self.on_lane_up(now, lane, effects),
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
            Event::LogRead(key, side, read) => {
                self.with(now, key, effects, |flow, cx| flow.on_log_read(side, read, cx))
            }
            Event::Stored(source, pair) => {
                if let Some(key) = self.keys.get(&(source.topic, source.index)).copied() {
                    self.with(now, key, effects, |flow, cx| flow.on_stored(pair, cx));
                }
            }
            Event::Coordinated(answer) => self.on_coordinated(now, answer, effects),
            Event::Drain => self.drain(),
            Event::Tick => {}
        }
        self.wake(now, effects);
        self.give_turns(now, effects);
        self.find_stalls(now);
        self.pump(now, effects);
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Moment> {
        let fetch = self.fetch_lanes.values().filter_map(|lane| lane.link().retry_at());
        let produce = self.produce_lanes.values().filter_map(|lane| lane.link.retry_at());
        let stall = self.produce_lanes.values().filter_map(ProduceLane::stall_at);
        let refresh = self.refresh.iter().filter(|refresh| refresh.wanted && !refresh.asked);
        let wake = self.wakes.first().map(|(at, _)| *at);
        fetch
            .chain(produce)
            .chain(stall)
            .chain(refresh.map(|refresh| refresh.not_before))
            .chain(wake)
            .chain(self.round.as_ref().and_then(Round::deadline))
            .chain(self.gate.as_ref().and_then(Gate::opens_at))
            .min()
    }

    /// Progress of all partitions.
    pub fn progress(&self) -> impl Iterator<Item = Progress> {
        self.partitions.iter().map(|(key, slot)| Progress {
            source: slot.flow.spec.source.clone(),
            target: slot.flow.spec.target.clone(),
            state: self.state(*key, slot),
            position: slot.flow.position(),
            high_watermark: slot.flow.high_watermark(),
            position_epoch: slot.flow.position_epoch(),
            target_next: slot.flow.target_next(),
            is_settled: slot.flow.is_settled(),
            awaits_store: slot.flow.awaits_store(),
            delivered: slot.flow.delivered(),
            latency_ms: slot.flow.latency_ms(),
        })
    }

    /// A partition's state, and whether its connections are up.
    fn state(&self, key: PartitionKey, slot: &Slot) -> PartitionState {
        let home = |leader: Leader| home(&self.source_fleets, key, leader.node);
        let source = slot.flow.source_leader.and_then(|at| self.fetch_lanes.get(&home(at)));
        let target = slot.produce_lane().and_then(|at| self.produce_lanes.get(&at));
        let connected = source.is_some_and(|lane| lane.link().is_up())
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
    pub fn keys_of(&self, topic: &Arc<str>) -> Vec<PartitionKey> {
        let all = (topic.clone(), i32::MIN)..=(topic.clone(), i32::MAX);
        self.keys.range(all).map(|(_, key)| *key).collect()
    }

    /// The state of the indexes that know of a record.
    pub fn sync_states(&mut self, which: Which) -> Vec<SyncState> {
        let changed = std::mem::take(&mut self.changed);
        let keys = match which {
            Which::Changed => changed,
            Which::All => self.partitions.keys().copied().collect(),
        };
        let states = keys.into_iter().filter_map(|key| {
            let slot = self.partitions.get_mut(&key)?;
            slot.changed = false;
            let index = slot.flow.index();
            let (generation, breaks, end) = (index.generation(), index.breaks(), index.end()?);
            index.last_pair()?;
            let source = slot.flow.spec.source.clone();
            let ids = TopicIds { source: source.topic_id, target: slot.flow.spec.target.topic_id };
            Some(SyncState { source, ids, generation, breaks, end })
        });
        states.collect()
    }

    /// Which offset is which, of a partition as the source calls it.
    pub fn index_of(&mut self, topic: &Arc<str>, index: i32) -> Option<&OffsetIndex> {
        let key = self.keys.get(&(topic.clone(), index))?;
        Some(self.partitions.get_mut(key)?.flow.index())
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
        let source = &flow.spec.source;
        self.keys.insert((source.topic.clone(), source.index), key);
        let slot = Slot { flow, lane: 0, ready: false, alone: 0, changed: false };
        self.partitions.insert(key, Box::new(slot));
        self.act_on(key, notes, effects);
        for side in [Side::Source, Side::Target] {
            self.place(now, key, side, effects);
        }
        self.update(key);
    }

    fn on_producer(&mut self, producer: Producer) {
        self.producer = Some(producer);
        self.renewing = false;
        let keys: Vec<PartitionKey> = self.partitions.keys().copied().collect();
        for key in keys {
            if let Some(slot) = self.partitions.get_mut(&key) {
                slot.flow.on_producer((producer.id, producer.epoch));
            }
            self.update(key);
        }
    }

    fn remove(&mut self, key: PartitionKey) {
        let Some(mut slot) = self.partitions.remove(&key) else { return };
        self.round.iter_mut().for_each(|round| round.leave(key));
        let source = &slot.flow.spec.source;
        self.keys.remove(&(source.topic.clone(), source.index));
        slot.flow.clear(&mut self.frames);
        self.splits.remove(&key);
        leave_source(&mut self.fetch_lanes, key, &slot);
        leave_target(&mut self.produce_lanes, key, &mut slot);
    }

    fn drain(&mut self) {
        self.draining = true;
        self.round.iter_mut().for_each(Round::drain);
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
                Note::WantTurn => self.recoveries.push_back(key),
                Note::ReadLog(side, from) => {
                    let isolation = self.isolation_for(key, side);
                    effects.push(Effect::ReadLog(key, side, from, isolation));
                }
                Note::StorePosition => effects.push(Effect::StorePosition),
                Note::BreakRound => self.round.iter_mut().for_each(|round| round.break_off(key)),
                Note::RefreshMetadata(side) => self.refresh[side as usize].wanted = true,
                Note::RenewProducer(why) => {
                    let is_named = self.producer.is_some_and(|one| one.is_named);
                    let is_fenced = is_named && why == Spent::Refused;
                    if is_fenced || !self.renewing {
                        effects.push(if is_fenced {
                            Effect::Fenced
                        } else {
                            Effect::RenewProducer
                        });
                    }
                    self.renewing = true;
                }
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
        let is_on_its_lane = !self.has_moves || self.change_lane(key);
        let Some(slot) = self.partitions.get_mut(&key) else { return };
        let home =
            slot.flow.source_leader.map(|leader| home(&self.source_fleets, key, leader.node));
        if !slot.changed {
            slot.changed = true;
            self.changed.push(key);
        }
        let want = if self.draining { None } else { slot.flow.want(&self.settings) };
        let is_split = slot.flow.is_split();
        match is_split {
            true => self.splits.insert(key),
            false => self.splits.remove(&key),
        };
        if let Some(lane) = home.and_then(|home| self.fetch_lanes.get_mut(&home)) {
            match want {
                _ if is_split => lane.leave(key, false),
                Some(want) => {
                    let source = &slot.flow.spec.source;
                    let topic = SessionTopic { name: source.topic.clone(), id: source.topic_id };
                    lane.want(key, &topic, source.index, want);
                }
                None => lane.leave(key, !self.draining && slot.flow.sits_out()),
            }
        }
        if !slot.ready
            && is_on_its_lane
            && slot.flow.can_send()
            && let Some(lane) = slot.produce_lane().and_then(|at| self.produce_lanes.get_mut(&at))
        {
            let admits = |round: &mut Round| lane.link.is_up() && round.admits(key);
            if self.round.as_mut().is_none_or(admits) {
                slot.ready = true;
                lane.push_ready(key);
            }
        }
    }

    fn give_turns(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let partitions = &self.partitions;
        let is_recovering =
            |key: &PartitionKey| partitions.get(key).is_some_and(|slot| slot.flow.is_recovering());
        self.recovering.retain(is_recovering);
        while self.recovering.len() < RECOVERIES
            && let Some(key) = self.recoveries.pop_front()
        {
            if self.recovering.insert(key) {
                self.with(now, key, effects, PartitionFlow::on_turn);
            }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_does_nothing_is_small() {
        let bytes = size_of::<Slot>();
        assert!(bytes <= 896, "{bytes} bytes: the allocator has sizes of 768, 896, 1024, 1280");
    }
}
