//! The world of one run: two clusters, the instances of kmirror between them, the network, and time.
//!
//! Here are time and the network; `instance` is what a process does beside its shard, `writers` write to both clusters,
//! `trouble` is what goes wrong, `truth` what must hold.

use std::collections::{BTreeMap, VecDeque};

use embedded_broker::core::log::Log;
use embedded_broker::core::{Broker, Call, ConnectionId, Outcome, Response, TopicSpec};
use embedded_broker::{BrokerOptions, Record};
use engine::flow::bandwidth::{Bandwidth, Limit, Rate, Schedule, Window};
use engine::flow::budget::Budget;
use engine::flow::event::{Event, LaneId, NodeId, PartitionSpec, Producer};
use engine::flow::settings::{BatchMode, ShardSettings};
use engine::flow::shard::Progress;
use engine::model::{Moment, Side};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::{Isolation, RawFetch, RawFetchAnswer};
use protocol_client::wire::produce::RawProduce;

use crate::instance::{Instance, InstanceId};
use crate::journal::{Journal, Landing};
use crate::translate::{self, Versions};
use crate::trouble::Plan;
use crate::truth::Truth;
use crate::writers::Writer;

pub(crate) const SOURCE_TOPIC: &str = "orders";
pub(crate) const TARGET_TOPIC: &str = "source.orders";
pub(crate) const PARTITIONS: i32 = 3;

pub(crate) const NODES: NodeId = 3;
/// How long writes and faults go on.
pub(crate) const TROUBLE_MS: i64 = 8_000;
/// How long the run may take to come to rest behind that.
const REST_MS: i64 = 120_000;
/// A run takes some ten thousand steps; many more mean that something goes in circles.
const MAX_STEPS: u64 = 1_000_000;
/// How long a client waits for an answer.
const REQUEST_TIMEOUT_MS: i64 = 3_000;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Item {
    /// A shard hears of it.
    Event(InstanceId, Event),
    Tick(InstanceId),
    /// A request arrives at its broker.
    Arrive(ConnectionId, Request),
    /// A parked request may go on.
    Resume(Side, ConnectionId),
    /// Nobody answered this request in time.
    Timeout(ConnectionId, u64),
    /// A process is started.
    Start,
    /// A process asks for its producer's next epoch.
    Renew(InstanceId),
    /// A process stores its positions.
    Flush(InstanceId),
    /// It does because a partition waits for that.
    Confirm(InstanceId),
    /// A process tells partitions of its epoch.
    Mark(InstanceId, Vec<PartitionSpec>),
    /// A process gives partitions to its shard.
    HandOut(InstanceId, Vec<PartitionSpec>),
    /// A process tries to find out where partitions begin.
    Begin(InstanceId, Vec<PartitionSpec>),
    /// A part of that arrives.
    Land(InstanceId, Landing),
    /// A process looks whether the topics are still the same.
    Look(InstanceId),
    /// A process is killed.
    Kill(InstanceId),
    /// A producer writes to the source.
    Write,
    /// Something breaks.
    Break,
    /// What broke is mended.
    Mend(Side, NodeId),
    /// A topic is created again.
    Create(Side),
    /// Followers have caught up.
    Show(Side, i32),
}

#[derive(Debug)]
pub(crate) enum Request {
    Fetch(RawFetch),
    Produce(u64, RawProduce),
}

/// A connection as its broker sees it: one request at a time, the others wait.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) instance: InstanceId,
    pub(crate) lane: LaneId,
    pub(crate) waiting: VecDeque<Request>,
    /// The number of the request at work; for produce also the engine's number of it.
    busy: Option<(u64, Option<u64>)>,
    /// When the last answer is there.
    answered_ms: i64,
}

pub(crate) struct World {
    pub(crate) now_ms: i64,
    pub(crate) rng: fastrand::Rng,
    pub(crate) plan: Plan,
    pub(crate) source: Broker,
    pub(crate) target: Broker,
    pub(crate) versions: Versions,
    pub(crate) settings: ShardSettings,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    pub(crate) journal: Journal,
    /// The last producer that the target's coordinator granted.
    pub(crate) granted: Option<Producer>,
    pub(crate) truths: Vec<Truth>,
    pub(crate) writers: Vec<Writer>,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    /// Connections that are gone, and whose requests arrive all the same.
    haunting: BTreeMap<ConnectionId, NodeId>,
    queue: BTreeMap<(i64, u64), Item>,
    counter: u64,
    steps: u64,
    story: bool,
}

/// Some runs have a limit that they feel, and another one for a minute in the middle of it.
fn bandwidth(rng: &mut fastrand::Rng) -> Option<Bandwidth> {
    if rng.u32(0..3) > 0 {
        return None;
    }
    let mut rate = || Rate::new(1 << rng.u32(16..24)).expect("more than the least");
    let window = Window { start_minute: 0, minutes: 1, rate: rate() };
    let schedule = Schedule::new(rate(), &[window]).expect("one window");
    // It begins some seconds after the start.
    let limit = Limit::new(schedule, 86_400_000 - 5_000);
    Bandwidth::new(Some(limit), Vec::new())
}

impl World {
    pub(crate) fn new(seed: u64, story: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = Plan::drawn(&mut rng);
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
        let isolation =
            if rng.bool() { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
        let settings = ShardSettings {
            // From less than one batch to more than there ever is.
            budget: Budget::alone(1 << rng.u32(13..28)),
            fetch_max_bytes: 1 << rng.u32(8..24),
            fetch_partition_max_bytes: 1 << rng.u32(8..21),
            produce_max_bytes: 1 << rng.u32(8..23),
            least_fetch_lanes: rng.u16(1..5),
            most_fetch_lanes: 6,
            least_produce_lanes: rng.u16(1..4),
            batches: if rng.bool() { BatchMode::Auto } else { BatchMode::Sealed },
            isolation,
            on_gap: plan.on_gap,
            on_divergence: plan.on_divergence,
            ..ShardSettings::default()
        };
        let versions = Versions::drawn(&mut rng);
        let settings = ShardSettings { bandwidth: bandwidth(&mut rng), ..settings };
        let truth = || Truth::new(isolation == Isolation::ReadCommitted);
        let mut world = Self {
            now_ms: 0,
            rng,
            plan,
            source,
            target,
            versions,
            settings,
            instances: BTreeMap::new(),
            journal: Journal::default(),
            granted: None,
            truths: (0..PARTITIONS).map(|_| truth()).collect(),
            writers: (0..PARTITIONS).map(|_| Writer::default()).collect(),
            connections: BTreeMap::new(),
            haunting: BTreeMap::new(),
            queue: BTreeMap::new(),
            counter: 0,
            steps: 0,
            story,
        };
        world.say(|| format!("{:?} {:?}", world.plan, world.settings));
        world.after(0, Item::Start);
        world.after(1, Item::Write);
        world.after(1_000, Item::Break);
        world
    }

    /// Runs until nothing is left to do, or for so long that something must hang.
    ///
    /// # Errors
    /// Something happened that must never happen.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        while let Some(((at, _), item)) = self.queue.pop_first() {
            self.now_ms = at;
            self.steps += 1;
            assert!(self.steps < MAX_STEPS, "the run does not come to rest");
            if at > TROUBLE_MS + REST_MS || (at > TROUBLE_MS && self.at_rest()) {
                break;
            }
            if self.is_troubled() && self.plan.cuts > 0 && self.rng.u32(0..self.plan.cuts) == 0 {
                self.cut();
            }
            self.happen(item).map_err(|why| format!("at {} ms: {why}", self.now_ms))?;
            self.wake_parked();
            self.look().map_err(|why| format!("at {} ms: {why}", self.now_ms))?;
        }
        Ok(())
    }

    pub(crate) fn is_troubled(&self) -> bool {
        self.now_ms < TROUBLE_MS
    }

    /// What must hold at any moment.
    fn look(&mut self) -> Result<(), String> {
        for index in 0..PARTITIONS {
            let Some(log) = log(&self.target, TARGET_TOPIC, index) else { continue };
            let seen = self.truths[index as usize].look(log);
            seen.map_err(|why| format!("partition {index}: {why}"))?;
        }
        for instance in self.instances.values_mut() {
            instance.watch_positions()?;
        }
        Ok(())
    }

    fn happen(&mut self, item: Item) -> Result<(), String> {
        match item {
            Item::Event(id, event) => self.feed(id, event),
            Item::Tick(id) => {
                let now_ms = self.now_ms;
                if let Some(instance) = self.instances.get_mut(&id) {
                    instance.ticks.remove(&now_ms);
                    self.feed(id, Event::Tick);
                }
            }
            Item::Arrive(connection, request) => self.arrive(connection, request),
            Item::Resume(side, id) => {
                let now_ms = self.now_ms;
                let outcome = self.broker(side).resume(now_ms, id);
                self.answer(side, id, outcome);
            }
            Item::Timeout(id, number) => {
                let late = self.connections.get(&id);
                if late.is_some_and(|late| late.busy.is_some_and(|(busy, _)| busy == number)) {
                    self.lose(id);
                }
            }
            Item::Start => self.start(),
            Item::Renew(id) => self.renew(id),
            Item::Flush(id) => return self.flush(id),
            Item::Confirm(id) => return self.confirm(id),
            Item::Mark(id, specs) => self.mark(id, specs),
            Item::HandOut(id, specs) => self.hand_out(id, specs),
            Item::Begin(id, anew) => self.begin(id, anew),
            Item::Land(id, landing) => self.land(id, landing),
            Item::Look(id) => self.look_at_topics(id),
            Item::Kill(id) => self.kill(id),
            Item::Write => self.write(),
            Item::Break => self.break_something(),
            Item::Mend(side, node) => {
                let short_memory = self.rng.bool();
                self.say(|| format!("node {node} of the {side} is back"));
                self.broker(side).restart_node(node, short_memory);
            }
            Item::Create(side) => self.create(side),
            Item::Show(side, index) => {
                self.broker(side).hold_high_watermark(topic(side), index, None)
            }
        }
        Ok(())
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::new(std::time::Duration::from_millis(self.now_ms.unsigned_abs()))
    }

    pub(crate) fn feed(&mut self, id: InstanceId, event: Event) {
        let now = self.now();
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let mut effects = Vec::new();
        if self.story {
            let event: String = format!("{id} event {event:?}").chars().take(300).collect();
            println!("{:>7} ms  {event}", self.now_ms);
        }
        instance.shard.handle(now, event, &mut effects);
        for effect in effects {
            self.carry_out(id, effect);
        }
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if let Some(at) = instance.shard.next_deadline() {
            let at_ms = (at.since_start().as_nanos().div_ceil(1_000_000) as i64).max(self.now_ms);
            if instance.ticks.insert(at_ms) {
                self.at(at_ms, Item::Tick(id));
            }
        }
    }

    /// A process loses a connection. Its broker may not know that yet, and go on with what it has.
    fn cut(&mut self) {
        let at = self.rng.usize(0..self.connections.len().max(1));
        let Some((id, connection)) = self.connections.iter().nth(at) else { return };
        let (id, instance, lane) = (*id, connection.instance, connection.lane);
        self.say(|| format!("{instance} {lane:?} is cut"));
        if self.plan.forgets() || self.rng.bool() {
            self.leave_ghosts(id);
            self.lose(id);
        } else {
            self.later(Item::Event(instance, Event::LaneDown(lane)));
        }
    }

    fn arrive(&mut self, id: ConnectionId, request: Request) {
        match self.connections.get_mut(&id) {
            Some(connection) => {
                connection.waiting.push_back(request);
                self.serve(id);
            }
            // It was on its way when the connection broke.
            None => self.haunt(id, request),
        }
    }

    /// The sender of what is on its way on this connection is gone; it may arrive all the same.
    pub(crate) fn leave_ghosts(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(&id).filter(|_| self.plan.ghosts)
            && self.rng.bool()
        {
            self.haunting.insert(id, connection.lane.node);
        }
    }

    /// A broker takes a request whose sender is gone.
    pub(crate) fn haunt(&mut self, id: ConnectionId, request: Request) {
        if let Request::Produce(_, produce) = request
            && let Some(node) = self.haunting.get(&id).copied()
            && self.target.is_alive(node)
        {
            self.say(|| format!("a request of a lost connection arrives: {id}"));
            let call = Call::new(node, id, ApiKey::Produce, self.versions.produce);
            let request = RequestKind::Produce(translate::produce(&produce, self.versions));
            self.target.handle(self.now_ms, call, request);
            self.target.disconnected(id);
        }
    }

    fn serve(&mut self, id: ConnectionId) {
        let number = self.next();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.busy.is_some() {
            return;
        }
        let Some(request) = connection.waiting.pop_front() else { return };
        let lane = connection.lane;
        let versions = self.versions;
        let (api, version, produce, request) = match request {
            Request::Fetch(request) => {
                let typed = RequestKind::Fetch(translate::fetch(&request, versions));
                (ApiKey::Fetch, versions.fetch, None, typed)
            }
            Request::Produce(produce, request) => {
                let typed = RequestKind::Produce(translate::produce(&request, versions));
                (ApiKey::Produce, versions.produce, Some(produce), typed)
            }
        };
        connection.busy = Some((number, produce));
        self.after(REQUEST_TIMEOUT_MS, Item::Timeout(id, number));
        let now_ms = self.now_ms;
        let call = Call::new(lane.node, id, api, version);
        let outcome = self.broker(lane.side).handle(now_ms, call, request);
        self.answer(lane.side, id, outcome);
    }

    fn answer(&mut self, side: Side, id: ConnectionId, outcome: Outcome) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (instance, lane) = (connection.instance, connection.lane);
        match outcome {
            Outcome::Reply(response) => {
                let Some((_, produce)) = connection.busy.take() else { return };
                let trip_ms = self.rng.i64(0..4);
                // As TCP has it, it does not overtake the one before.
                connection.answered_ms = connection.answered_ms.max(self.now_ms + trip_ms);
                let there_ms = connection.answered_ms;
                let event = match (response, produce) {
                    (Response::Fetch(reply), _) => {
                        let answer = translate::fetched(reply);
                        self.source_seen(&answer);
                        Event::Fetched(lane, answer)
                    }
                    (Response::Message(message), Some(produce)) => match *message {
                        ResponseKind::Produce(response) => {
                            let answer = translate::produced(&response, TARGET_TOPIC);
                            Event::Produced(lane, produce, answer)
                        }
                        other => panic!("an answer of another kind: {other:?}"),
                    },
                    (Response::Message(message), None) => {
                        panic!("an answer nobody asked for: {message:?}")
                    }
                };
                self.at(there_ms, Item::Event(instance, event));
                self.serve(id);
            }
            Outcome::Park { until_ms } => {
                self.at(until_ms.max(self.now_ms), Item::Resume(side, id))
            }
            Outcome::Silent | Outcome::NoReply => {}
            Outcome::Close | Outcome::CutMidFrame(_) => self.lose(id),
        }
    }

    /// The truth takes note of the partitions that are answered for.
    fn source_seen(&mut self, answer: &RawFetchAnswer) {
        for part in answer.partitions.iter().filter(|part| part.error == ErrorCode::NONE) {
            self.truths[part.index as usize].source_seen();
        }
    }

    /// A request sets out; those of one connection arrive in their order.
    pub(crate) fn send(&mut self, instance: InstanceId, lane: LaneId, request: Request) {
        if let Some(id) = self.connection(instance, lane) {
            self.after(2, Item::Arrive(id, request));
        }
    }

    pub(crate) fn connect(&mut self, instance: InstanceId, lane: LaneId) {
        let alive = self.broker(lane.side).is_alive(lane.node);
        if alive {
            let id = self.next();
            let (waiting, busy, answered_ms) = (VecDeque::new(), None, 0);
            let connection = Connection { instance, lane, waiting, busy, answered_ms };
            self.connections.insert(id, connection);
        }
        let event = if alive { Event::LaneUp(lane) } else { Event::LaneDown(lane) };
        self.later(Item::Event(instance, event));
    }

    /// The connection of a lane, if it has one.
    pub(crate) fn connection(&self, instance: InstanceId, lane: LaneId) -> Option<ConnectionId> {
        let mut all = self.connections.iter();
        all.find(|(_, one)| one.instance == instance && one.lane == lane).map(|(id, _)| *id)
    }

    /// The connection breaks; its process hears of it a little later.
    pub(crate) fn lose(&mut self, id: ConnectionId) {
        if let Some((instance, lane)) = self.forget(id) {
            self.later(Item::Event(instance, Event::LaneDown(lane)));
        }
    }

    pub(crate) fn forget(&mut self, id: ConnectionId) -> Option<(InstanceId, LaneId)> {
        let connection = self.connections.remove(&id)?;
        self.broker(connection.lane.side).disconnected(id);
        connection.waiting.into_iter().for_each(|request| self.haunt(id, request));
        Some((connection.instance, connection.lane))
    }

    fn wake_parked(&mut self) {
        for side in [Side::Source, Side::Target] {
            for id in self.broker(side).take_woken() {
                self.after(0, Item::Resume(side, id));
            }
        }
    }

    pub(crate) fn broker(&mut self, side: Side) -> &mut Broker {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }

    pub(crate) fn leader(&mut self, side: Side, index: i32) -> Option<NodeId> {
        self.broker(side).partition(topic(side), index)?.leader
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(crate) fn at(&mut self, at_ms: i64, item: Item) {
        let order = self.next();
        self.queue.insert((at_ms, order), item);
    }

    pub(crate) fn after(&mut self, wait_ms: i64, item: Item) {
        self.at(self.now_ms + wait_ms, item);
    }

    /// After a trip over the network.
    pub(crate) fn later(&mut self, item: Item) {
        let trip_ms = self.rng.i64(0..4);
        self.after(trip_ms, item);
    }

    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.story {
            println!("{:>7} ms  {}", self.now_ms, what());
        }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// All records of the target, for telling runs apart.
    pub(crate) fn all_records(&self) -> Vec<(i64, Record)> {
        let of = |index| self.target.read_records(TARGET_TOPIC, index).expect("whole batches");
        (0..PARTITIONS).flat_map(of).collect()
    }

    pub(crate) fn source_log(&self, index: i32) -> Option<&Log> {
        log(&self.source, SOURCE_TOPIC, index)
    }

    /// Whether nothing of the source stands behind where a partition is. A log that was compacted and cut may end with
    /// offsets that nothing stands at: brokers give nothing for them, so a position stays before them.
    pub(crate) fn is_read(&self, at: &Progress) -> bool {
        let log = self.source_log(at.source.index);
        let Some((log, position)) = log.zip(at.position) else { return false };
        let mut behind = log.batches().skip_while(|batch| batch.last_offset() < position);
        (log.start_offset()..=log.end_offset()).contains(&position) && behind.next().is_none()
    }

    pub(crate) fn target_log(&self, index: i32) -> Option<&Log> {
        log(&self.target, TARGET_TOPIC, index)
    }
}

pub(crate) fn topic(side: Side) -> &'static str {
    match side {
        Side::Source => SOURCE_TOPIC,
        Side::Target => TARGET_TOPIC,
    }
}

fn log<'a>(broker: &'a Broker, topic: &str, index: i32) -> Option<&'a Log> {
    broker.partition(topic, index)?.log()
}
