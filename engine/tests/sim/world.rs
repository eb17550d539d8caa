//! The world of one run: two clusters, one shard, the network between them, and what goes wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use embedded_broker::core::faults::{Fault, FaultAction};
use embedded_broker::core::{Broker, Call, ConnectionId, Outcome, Response, TopicSpec};
use embedded_broker::{BrokerOptions, Record};
use engine::flow::event::{
    Effect, Event, LaneId, LogRange, NodeId, PartitionKey, PartitionSpec, Start,
};
use engine::flow::settings::{BatchMode, ShardSettings, TargetLimits};
use engine::flow::shard::Shard;
use engine::model::{Moment, Side, TopicPartition};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ApiKey, MetadataRequest, ProduceRequest, RequestKind, ResponseKind,
};
use protocol_client::cluster::ClusterView;
use protocol_client::cluster::metadata::Topics;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::RawFetch;
use protocol_client::wire::produce::RawProduce;
use uuid::Uuid;

use crate::{translate, workload};

pub(crate) const SOURCE_TOPIC: &str = "orders";
pub(crate) const TARGET_TOPIC: &str = "source.orders";
pub(crate) const PARTITIONS: i32 = 3;

const NODES: NodeId = 3;
/// How long writes and faults go on.
const TROUBLE_MS: i64 = 8_000;
/// How long the run may take to come to rest behind that.
const REST_MS: i64 = 60_000;
/// A run takes some ten thousand steps; many more mean that something goes in circles.
const MAX_STEPS: u64 = 500_000;
/// How long a client waits for an answer.
const REQUEST_TIMEOUT_MS: i64 = 3_000;

/// Something that will happen.
#[derive(Debug)]
enum Item {
    /// The shard hears of it.
    Event(Event),
    /// A request arrives at its broker.
    Arrive(LaneId, Request),
    /// A parked request may go on.
    Resume(Side, ConnectionId),
    /// Nobody answered this request in time.
    Timeout(LaneId, u64),
    /// A producer writes to the source.
    Write,
    /// Something breaks.
    Break,
    /// What broke is mended.
    Mend(Side, NodeId),
    Tick,
}

#[derive(Debug)]
enum Request {
    Fetch(RawFetch),
    Produce(u64, RawProduce),
}

/// A connection as its broker sees it: one request at a time, the others wait.
#[derive(Debug)]
struct Connection {
    lane: LaneId,
    waiting: VecDeque<Request>,
    /// The number of the request at work; for produce also the engine's number of it.
    busy: Option<(u64, Option<u64>)>,
}

pub(crate) struct World {
    now_ms: i64,
    rng: fastrand::Rng,
    source: Broker,
    target: Broker,
    shard: Shard,
    queue: BTreeMap<(i64, u64), Item>,
    connections: BTreeMap<ConnectionId, Connection>,
    lanes: BTreeMap<LaneId, ConnectionId>,
    counter: u64,
    written: [u64; PARTITIONS as usize],
    steps: u64,
    ticks: BTreeMap<i64, ()>,
    /// A connection is cut before one in so many events; 0 for never.
    cuts: u32,
    /// Where each partition stood last.
    positions: [i64; PARTITIONS as usize],
    story: bool,
}

impl World {
    pub(crate) fn new(seed: u64, story: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let cluster = |seed| {
            let options = BrokerOptions {
                nodes: NODES as usize,
                seed,
                default_replication_factor: 3,
                ..BrokerOptions::default()
            };
            Broker::new(options)
        };
        let (mut source, mut target) = (cluster(seed), cluster(seed + 1));
        source.create_topic(TopicSpec::new(SOURCE_TOPIC, PARTITIONS)).expect("a new topic");
        target.create_topic(TopicSpec::new(TARGET_TOPIC, PARTITIONS)).expect("a new topic");
        let settings = ShardSettings {
            // From less than one batch to more than there ever is.
            budget_bytes: 1 << rng.u32(13..28),
            fetch_max_bytes: 1 << rng.u32(8..24),
            fetch_partition_max_bytes: 1 << rng.u32(8..21),
            produce_max_bytes: 1 << rng.u32(8..23),
            batches: if rng.bool() { BatchMode::Auto } else { BatchMode::Sealed },
            ..ShardSettings::default()
        };
        let cuts = [0, 0, 300, 30][rng.usize(0..4)];
        let shard = Shard::new(settings, seed);
        let mut world = Self {
            now_ms: 0,
            rng,
            source,
            target,
            shard,
            queue: BTreeMap::new(),
            connections: BTreeMap::new(),
            lanes: BTreeMap::new(),
            counter: 0,
            written: [0; PARTITIONS as usize],
            steps: 0,
            ticks: BTreeMap::new(),
            cuts,
            positions: [0; PARTITIONS as usize],
            story,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        self.after(0, Item::Event(Event::Producer { producer_id: 1, epoch: 0 }));
        for index in 0..PARTITIONS {
            let at =
                |topic: &str| TopicPartition { topic: topic.into(), topic_id: Uuid::nil(), index };
            let (source, target) = (at(SOURCE_TOPIC), at(TARGET_TOPIC));
            let spec = PartitionSpec {
                source,
                target,
                start: Start::Earliest,
                limits: TargetLimits::default(),
            };
            self.after(0, Item::Event(Event::Add(spec)));
        }
        self.after(1, Item::Write);
        self.after(1_000, Item::Break);
    }

    /// Runs until nothing is left to do, or for so long that something must hang.
    pub(crate) fn run(&mut self) {
        while let Some(((at, _), item)) = self.queue.pop_first() {
            self.now_ms = at;
            self.steps += 1;
            assert!(self.steps < MAX_STEPS, "the run does not come to rest");
            if at > TROUBLE_MS + REST_MS || (at > TROUBLE_MS && self.at_rest()) {
                break;
            }
            if self.cuts > 0 && self.now_ms < TROUBLE_MS && self.rng.u32(0..self.cuts) == 0 {
                self.cut();
            }
            self.happen(item);
            self.wake_parked();
            self.watch_positions();
        }
    }

    /// At any moment: a position never goes back, and never passes what is in the target's log. The source has no holes,
    /// so its offsets count records.
    fn watch_positions(&mut self) {
        for index in 0..PARTITIONS {
            let Some(position) = self.position(index) else { continue };
            let before = std::mem::replace(&mut self.positions[index as usize], position);
            assert!(
                before <= position,
                "partition {index}: the position went from {before} to {position}"
            );
            let log = self.target.partition(TARGET_TOPIC, index).and_then(|found| found.log());
            let end = log.map_or(0, |log| log.end_offset());
            assert!(
                position <= end,
                "partition {index}: position {position}, the target ends at {end}"
            );
        }
    }

    /// The shard loses a connection. Its broker may not know that yet, and go on with what it has.
    fn cut(&mut self) {
        let at = self.rng.usize(0..self.lanes.len().max(1));
        let Some(lane) = self.lanes.keys().nth(at).copied() else { return };
        self.say(|| format!("{lane:?} is cut"));
        if self.rng.bool() {
            self.lose(lane);
        } else {
            self.later(Item::Event(Event::LaneDown(lane)));
        }
    }

    fn at_rest(&self) -> bool {
        let done = |index| self.position(index) == Some(self.source_end(index));
        (0..PARTITIONS).all(done) && self.shard.held_bytes() == 0
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Event(event) => self.feed(event),
            Item::Tick => {
                self.ticks.remove(&self.now_ms);
                self.feed(Event::Tick);
            }
            Item::Arrive(lane, request) => self.arrive(lane, request),
            Item::Resume(side, id) => {
                let now_ms = self.now_ms;
                let outcome = self.broker(side).resume(now_ms, id);
                self.answer(side, id, outcome);
            }
            Item::Timeout(lane, number) => {
                let late = self.lanes.get(&lane).and_then(|id| self.connections.get(id));
                if late.is_some_and(|connection| {
                    connection.busy.is_some_and(|(busy, _)| busy == number)
                }) {
                    self.lose(lane);
                }
            }
            Item::Write => self.write(),
            Item::Break => self.break_something(),
            Item::Mend(side, node) => {
                let short_memory = self.rng.bool();
                self.say(|| format!("node {node} of the {side} is back"));
                self.broker(side).restart_node(node, short_memory);
            }
        }
    }

    fn feed(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.say(|| format!("event {event:?}").chars().take(200).collect());
        let now = Moment::new(Duration::from_millis(self.now_ms.unsigned_abs()));
        self.shard.handle(now, event, &mut effects);
        for effect in effects {
            self.carry_out(effect);
        }
        if let Some(at) = self.shard.next_deadline() {
            let at_ms = (at.since_start().as_nanos().div_ceil(1_000_000) as i64).max(self.now_ms);
            if self.ticks.insert(at_ms, ()).is_none() {
                self.at(at_ms, Item::Tick);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        self.say(|| format!("  effect {effect:?}").chars().take(200).collect());
        match effect {
            Effect::Connect(lane) => {
                let side = lane.side;
                let alive = self.broker(side).is_alive(lane.node);
                if alive {
                    let id = self.next();
                    self.connections
                        .insert(id, Connection { lane, waiting: VecDeque::new(), busy: None });
                    self.lanes.insert(lane, id);
                }
                let event = if alive { Event::LaneUp(lane) } else { Event::LaneDown(lane) };
                self.later(Item::Event(event));
            }
            Effect::Close(lane, _) => self.forget(lane),
            Effect::Fetch(lane, request) => self.later(Item::Arrive(lane, Request::Fetch(request))),
            Effect::Produce(lane, number, request) => {
                // The requests of one connection arrive in their order.
                self.after(2, Item::Arrive(lane, Request::Produce(number, request)));
            }
            Effect::AskSourceRange(key) => {
                let range = self.source_range(key);
                self.later(Item::Event(Event::SourceRange(key, range)));
            }
            Effect::AskTargetEnd(key) => {
                let end = self.target_end(key);
                self.later(Item::Event(Event::TargetEnd(key, end)));
            }
            Effect::RefreshMetadata(side) => {
                let event = match self.view(side) {
                    Some(view) => Event::Metadata(side, Arc::new(view)),
                    None => Event::MetadataFailed(side),
                };
                self.later(Item::Event(event));
            }
            Effect::Report(report) => self.say(|| format!("  REPORT {report:?}")),
            Effect::Drained => {}
        }
    }

    fn arrive(&mut self, lane: LaneId, request: Request) {
        let Some(id) = self.lanes.get(&lane).copied() else { return };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.waiting.push_back(request);
        self.serve(id);
    }

    fn serve(&mut self, id: ConnectionId) {
        let number = self.next();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.busy.is_some() {
            return;
        }
        let Some(request) = connection.waiting.pop_front() else { return };
        let lane = connection.lane;
        let (api, version, produce, request) = match request {
            Request::Fetch(request) => (
                ApiKey::Fetch,
                translate::FETCH_VERSION,
                None,
                RequestKind::Fetch(translate::fetch(&request)),
            ),
            Request::Produce(produce, request) => {
                let typed = RequestKind::Produce(translate::produce(&request));
                (ApiKey::Produce, translate::PRODUCE_VERSION, Some(produce), typed)
            }
        };
        connection.busy = Some((number, produce));
        self.after(REQUEST_TIMEOUT_MS, Item::Timeout(lane, number));
        let now_ms = self.now_ms;
        let outcome =
            self.broker(lane.side).handle(now_ms, Call::new(lane.node, id, api, version), request);
        self.answer(lane.side, id, outcome);
    }

    fn answer(&mut self, side: Side, id: ConnectionId, outcome: Outcome) {
        let Some(lane) = self.connections.get(&id).map(|connection| connection.lane) else {
            return;
        };
        match outcome {
            Outcome::Reply(response) => {
                let Some(connection) = self.connections.get_mut(&id) else { return };
                let Some((_, produce)) = connection.busy.take() else { return };
                let event = match (response, produce) {
                    (Response::Fetch(reply), _) => Event::Fetched(lane, translate::fetched(reply)),
                    (Response::Message(message), Some(produce)) => match *message {
                        ResponseKind::Produce(response) => {
                            Event::Produced(lane, produce, translate::produced(&response))
                        }
                        other => panic!("an answer of another kind: {other:?}"),
                    },
                    (Response::Message(message), None) => {
                        panic!("an answer nobody asked for: {message:?}")
                    }
                };
                self.later(Item::Event(event));
                self.serve(id);
            }
            Outcome::Park { until_ms } => {
                self.at(until_ms.max(self.now_ms), Item::Resume(side, id))
            }
            Outcome::Silent | Outcome::NoReply => {}
            Outcome::Close | Outcome::CutMidFrame(_) => self.lose(lane),
        }
    }

    /// The connection breaks; the shard hears of it a little later.
    fn lose(&mut self, lane: LaneId) {
        self.forget(lane);
        self.later(Item::Event(Event::LaneDown(lane)));
    }

    fn forget(&mut self, lane: LaneId) {
        if let Some(id) = self.lanes.remove(&lane) {
            self.connections.remove(&id);
            self.broker(lane.side).disconnected(id);
        }
    }

    fn wake_parked(&mut self) {
        for side in [Side::Source, Side::Target] {
            for id in self.broker(side).take_woken() {
                self.after(0, Item::Resume(side, id));
            }
        }
    }

    fn write(&mut self) {
        let index = self.rng.i32(0..PARTITIONS);
        for _ in 0..self.rng.usize(1..30) {
            let (records, count) = workload::batch(&mut self.rng, self.written[index as usize]);
            if self.append(index, records) {
                self.written[index as usize] += count;
            }
        }
        if self.now_ms < TROUBLE_MS {
            let pause = self.rng.i64(1..400);
            self.after(pause, Item::Write);
        }
    }

    fn append(&mut self, index: i32, records: Bytes) -> bool {
        let Some(leader) =
            self.source.partition(SOURCE_TOPIC, index).and_then(|found| found.leader)
        else {
            return false;
        };
        let call = Call::new(leader, u64::MAX, ApiKey::Produce, translate::PRODUCE_VERSION);
        let data = translate::produce_topic(SOURCE_TOPIC, index, records);
        let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![data]);
        match self.source.handle(self.now_ms, call, RequestKind::Produce(request)) {
            Outcome::Reply(Response::Message(message)) => match *message {
                ResponseKind::Produce(response) => {
                    response.responses[0].partition_responses[0].error_code == 0
                }
                _ => false,
            },
            // A fault meant for somebody else hit this writer; it may have been applied, so its numbers are used up.
            _ => true,
        }
    }

    fn break_something(&mut self) {
        let side = if self.rng.bool() { Side::Source } else { Side::Target };
        let node = self.rng.i32(0..NODES);
        match self.rng.u8(0..4) {
            0 => {
                let topic = if side == Side::Source { SOURCE_TOPIC } else { TARGET_TOPIC };
                let index = self.rng.i32(0..PARTITIONS);
                self.say(|| format!("{topic}-{index} moves to node {node}"));
                self.broker(side).move_leader(topic, index, node);
            }
            1 => {
                self.say(|| format!("node {node} of the {side} dies"));
                let lanes: Vec<LaneId> = self
                    .lanes
                    .keys()
                    .filter(|lane| lane.side == side && lane.node == node)
                    .copied()
                    .collect();
                self.broker(side).kill_node(node);
                lanes.into_iter().for_each(|lane| self.lose(lane));
                let away = self.rng.i64(10..4_000);
                self.after(away, Item::Mend(side, node));
            }
            _ => self.order_fault(side, node),
        }
        if self.now_ms < TROUBLE_MS {
            let pause = self.rng.i64(50..2_000);
            self.after(pause, Item::Break);
        }
    }

    fn order_fault(&mut self, side: Side, node: NodeId) {
        let api = if side == Side::Source { ApiKey::Fetch } else { ApiKey::Produce };
        let ms = self.rng.i64(1..2_000);
        let actions = [
            FaultAction::ApplyThenDrop,
            FaultAction::CutMidFrame,
            FaultAction::Drop,
            FaultAction::Silence,
            FaultAction::Delay { ms },
            FaultAction::Error(ResponseError::NotLeaderOrFollower),
            FaultAction::Error(ResponseError::RequestTimedOut),
            FaultAction::Error(ResponseError::NotEnoughReplicas),
            FaultAction::Error(ResponseError::UnknownServerError),
        ];
        let action = actions[self.rng.usize(0..actions.len())];
        let times = self.rng.u32(1..4);
        self.say(|| format!("fault at the {side}: {action:?} x{times}"));
        self.broker(side).fault(Fault::new(api, action).node(node).times(times));
    }

    fn source_range(&self, key: PartitionKey) -> Result<LogRange, ErrorCode> {
        let (at, _) = self.shard.names(key).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let found = self
            .source
            .partition(&at.topic, at.index)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        found.leader.ok_or(ErrorCode(5))?;
        let log = found.log().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        Ok(LogRange { earliest: log.start_offset(), latest: log.end_offset() })
    }

    fn target_end(&self, key: PartitionKey) -> Result<i64, ErrorCode> {
        let (_, at) = self.shard.names(key).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let found = self
            .target
            .partition(&at.topic, at.index)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        found.leader.ok_or(ErrorCode(5))?;
        Ok(found.log().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?.end_offset())
    }

    #[expect(clippy::disallowed_methods, reason = "the view's age is not looked at")]
    fn view(&mut self, side: Side) -> Option<ClusterView> {
        let now_ms = self.now_ms;
        let node = (0..NODES).find(|node| self.broker(side).is_alive(*node))?;
        let request = MetadataRequest::default().with_topics(None);
        let call = Call::new(node, u64::MAX, ApiKey::Metadata, 9);
        match self.broker(side).handle(now_ms, call, RequestKind::Metadata(request)) {
            Outcome::Reply(Response::Message(message)) => match *message {
                ResponseKind::Metadata(response) => Some(ClusterView::default().merged(
                    &Topics::All,
                    &[response],
                    std::time::Instant::now(),
                )),
                _ => None,
            },
            _ => None,
        }
    }

    fn broker(&mut self, side: Side) -> &mut Broker {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn at(&mut self, at_ms: i64, item: Item) {
        let order = self.next();
        self.queue.insert((at_ms, order), item);
    }

    fn after(&mut self, wait_ms: i64, item: Item) {
        self.at(self.now_ms + wait_ms, item);
    }

    /// After a trip over the network.
    fn later(&mut self, item: Item) {
        let trip_ms = self.rng.i64(0..4);
        self.after(trip_ms, item);
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.story {
            println!("{:>7} ms  {}", self.now_ms, what());
        }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.shard.held_bytes()
    }

    pub(crate) fn all_records(&self) -> Vec<Record> {
        (0..PARTITIONS).flat_map(|index| self.target_records(TARGET_TOPIC, index)).collect()
    }

    pub(crate) fn source_records(&self, topic: &str, index: i32) -> Vec<Record> {
        records(&self.source, topic, index)
    }

    pub(crate) fn target_records(&self, topic: &str, index: i32) -> Vec<Record> {
        records(&self.target, topic, index)
    }

    pub(crate) fn source_end(&self, index: i32) -> i64 {
        let log = self.source.partition(SOURCE_TOPIC, index).and_then(|found| found.log());
        log.map_or(-1, |log| log.end_offset())
    }

    pub(crate) fn position(&self, index: i32) -> Option<i64> {
        let mut progress = self.shard.progress();
        progress.find(|at| at.source.index == index).and_then(|at| at.position)
    }
}

fn records(broker: &Broker, topic: &str, index: i32) -> Vec<Record> {
    let records = broker.read_records(topic, index).expect("brokers check what they store");
    records.into_iter().map(|(_, record)| record).collect()
}
