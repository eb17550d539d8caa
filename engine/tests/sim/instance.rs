//! A process of kmirror in the world: its shard, and what its flow does beside it: find out where partitions begin, store
//! positions, notice topics that were made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use embedded_broker::core::{Call, Outcome, Response};
use engine::flow::event::{
    Effect, Event, Happening, LogRange, PartitionKey, PartitionSpec, Producer, Start,
};
use engine::flow::settings::TargetLimits;
use engine::flow::shard::{PartitionState, Shard};
use engine::index::OffsetIndex;
use engine::model::{Pair, Side, TopicPartition};
use engine::positions::ledger::{Ledger, Position, Stored};
use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, MetadataRequest, ProducerId, RequestKind, ResponseKind,
    TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use protocol_client::batch::Entry;
use protocol_client::client::ReadChunk;
use protocol_client::cluster::ClusterView;
use protocol_client::cluster::metadata::Topics;
use protocol_client::wire::error_code::ErrorCode;
use uuid::Uuid;

use crate::world::{Item, NODES, PARTITIONS, Request, SOURCE_TOPIC, TARGET_TOPIC, World};

const FLUSH_MS: i64 = 500;
const LOOK_MS: i64 = 1_000;
const TRANSACTIONAL_ID: &str = "kmirror";
/// Partitions of the offsets topic, as Connect creates it.
const OFFSETS_PARTITIONS: i32 = 25;

/// Numbers the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InstanceId(u64);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One process.
pub(crate) struct Instance {
    pub(crate) shard: Shard,
    pub(crate) ticks: BTreeSet<i64>,
    ledger: Ledger,
    /// Ids of the topic and its copy that the partitions were placed with.
    placed: (Uuid, Uuid),
    flushing: bool,
    /// Where each partition stood last.
    positions: BTreeMap<i32, i64>,
    producer: Producer,
}

/// What the offsets topic at the target holds.
#[derive(Default)]
pub(crate) struct Journal {
    entries: Vec<Entry>,
}

/// The batches of a flush that are still to arrive, and what is stored when all have.
#[derive(Debug)]
pub(crate) struct Landing {
    batches: Vec<Entry>,
    changes: Vec<Position>,
}

impl Journal {
    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::new("MirrorSourceConnector", "source");
        self.entries.iter().for_each(|entry| ledger.absorb(entry).expect("it was written whole"));
        ledger
    }
}

impl Instance {
    /// A position never goes back.
    pub(crate) fn watch_positions(&mut self) -> Result<(), String> {
        for at in self.shard.progress() {
            let (index, Some(position)) = (at.source.index, at.position) else { continue };
            match self.positions.insert(index, position) {
                Some(before) if before > position => {
                    return Err(format!(
                        "partition {index}: the position went from {before} to {position}"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl World {
    /// A process is started; it waits until it gets a producer id.
    pub(crate) fn start(&mut self) {
        let Some(Ok(producer)) = self.init_producer(None) else {
            return self.after(100, Item::Start);
        };
        let id = InstanceId(self.next());
        self.say(|| format!("{id} starts as {producer:?}"));
        let instance = Instance {
            shard: Shard::new(self.settings.clone(), id.0),
            ticks: BTreeSet::new(),
            ledger: self.journal.ledger(),
            placed: self.topic_ids(),
            flushing: false,
            positions: BTreeMap::new(),
            producer,
        };
        self.instances.insert(id, instance);
        self.after(0, Item::Event(id, Event::Producer(producer)));
        (0..PARTITIONS).for_each(|index| self.place(id, index));
        self.after(FLUSH_MS, Item::Flush(id));
        self.after(LOOK_MS, Item::Look(id));
    }

    pub(crate) fn place(&mut self, id: InstanceId, index: i32) {
        let Some(instance) = self.instances.get(&id) else { return };
        let at = |topic: &str, topic_id| TopicPartition { topic: topic.into(), topic_id, index };
        let (source, target) =
            (at(SOURCE_TOPIC, instance.placed.0), at(TARGET_TOPIC, instance.placed.1));
        let start = match instance.ledger.stored(SOURCE_TOPIC, index) {
            Stored::Pair(pair) => Start::Pair(pair),
            Stored::Position(next) => Start::At(next),
            Stored::SetBack(next) => Start::SetBack(next),
            Stored::Nothing => {
                let Some(pair) = self.begin(id, &source, &target) else {
                    return self.after(100, Item::Place(id, index));
                };
                Start::Pair(pair)
            }
        };
        let limits = TargetLimits::default();
        let spec = PartitionSpec { source, target, start, limits, index: OffsetIndex::default() };
        self.later(Item::Event(id, Event::Add(Box::new(spec))));
    }

    /// Where the logs begin and end, which is stored before anything is copied.
    fn begin(
        &mut self,
        id: InstanceId,
        source: &TopicPartition,
        target: &TopicPartition,
    ) -> Option<Pair> {
        let from = self.source.partition(SOURCE_TOPIC, source.index)?;
        let to = self.target.partition(TARGET_TOPIC, source.index)?;
        from.leader.and(to.leader)?;
        let pair = Pair {
            source_next: from.log()?.start_offset(),
            target_next: to.log()?.high_watermark(),
            source_id: source.topic_id,
            target_id: target.topic_id,
        };
        let changes =
            vec![Position { source: source.clone(), next: pair.source_next, pair: Some(pair) }];
        let instance = self.instances.get_mut(&id)?;
        let batches = instance.ledger.encode(&changes, OFFSETS_PARTITIONS, self.now_ms);
        for (_, built) in batches.expect("positions can be encoded") {
            self.journal.entries.push(Entry::new(built.bytes).expect("a whole batch"));
        }
        instance.ledger.commit(changes);
        Some(pair)
    }

    /// Ids as metadata gives them.
    fn topic_ids(&self) -> (Uuid, Uuid) {
        if !self.versions.have_ids() {
            return (Uuid::nil(), Uuid::nil());
        }
        let source = self.source.topic(SOURCE_TOPIC).map_or(Uuid::nil(), |topic| topic.id);
        let target = self.target.topic(TARGET_TOPIC).map_or(Uuid::nil(), |topic| topic.id);
        (source, target)
    }

    /// A producer id under the transactional id, which fences the process before; or the next epoch of `current`, unless
    /// that is fenced. None while nobody grants one.
    fn init_producer(&mut self, current: Option<Producer>) -> Option<Result<Producer, ErrorCode>> {
        let id = TransactionalId(StrBytes::from_static_str(TRANSACTIONAL_ID));
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(current.map_or(-1, |current| current.id)))
            .with_producer_epoch(current.map_or(-1, |current| current.epoch));
        let alive: Vec<i32> = (0..NODES).filter(|node| self.target.is_alive(*node)).collect();
        alive.into_iter().find_map(|node| {
            let call = Call::new(node, u64::MAX, ApiKey::InitProducerId, 4);
            let request = RequestKind::InitProducerId(request.clone());
            match message(self.target.handle(self.now_ms, call, request))? {
                ResponseKind::InitProducerId(answer) => {
                    let (id, epoch) = (answer.producer_id.0, answer.producer_epoch);
                    match ErrorCode(answer.error_code) {
                        ErrorCode::NONE => Some(Ok(Producer { id, epoch, is_named: true })),
                        error => error.is_fenced().then_some(Err(error)),
                    }
                }
                _ => None,
            }
        })
    }

    /// A process asks for its next epoch; if another has taken over, it ends.
    pub(crate) fn renew(&mut self, id: InstanceId) {
        let Some(instance) = self.instances.get(&id) else { return };
        match self.init_producer(Some(instance.producer)) {
            None => self.after(100, Item::Renew(id)),
            Some(Err(_)) => self.kill(id),
            Some(Ok(producer)) => {
                if let Some(instance) = self.instances.get_mut(&id) {
                    instance.producer = producer;
                }
                self.later(Item::Event(id, Event::Producer(producer)));
            }
        }
    }

    /// Another process takes note when a topic is not the one that it knows.
    pub(crate) fn look_at_topics(&mut self, id: InstanceId) {
        if self.instances.contains_key(&id) {
            self.after(LOOK_MS, Item::Look(id));
        }
    }

    /// Stores positions: first all are looked at, then they arrive batch by batch.
    pub(crate) fn flush(&mut self, id: InstanceId) -> Result<(), String> {
        let Some(instance) = self.instances.get_mut(&id) else { return Ok(()) };
        let progress: Vec<_> = instance.shard.progress().collect();
        let positions = progress.iter().filter_map(|at| {
            let pair = Pair {
                source_next: at.position?,
                target_next: at.target_next?,
                source_id: at.source.topic_id,
                target_id: at.target.topic_id,
            };
            Some(Position { source: at.source.clone(), next: at.position?, pair: Some(pair) })
        });
        let changes = instance.ledger.changes(positions);
        if !instance.flushing && !changes.is_empty() {
            instance.flushing = true;
            let batches = instance.ledger.encode(&changes, OFFSETS_PARTITIONS, self.now_ms);
            let batches = batches.expect("positions can be encoded").into_iter();
            let batches = batches.map(|(_, built)| Entry::new(built.bytes).expect("a whole batch"));
            let landing = Landing { batches: batches.rev().collect(), changes };
            let trip_ms = self.rng.i64(0..50);
            self.after(trip_ms, Item::Land(id, landing));
        }
        self.after(FLUSH_MS, Item::Flush(id));
        for at in progress {
            if let (Some(source_next), Some(target_next)) = (at.position, at.target_next) {
                let truth = &self.truths[at.source.index as usize];
                let check = truth.check_position(source_next, target_next);
                check.map_err(|why| format!("{id} partition {}: {why}", at.source.index))?;
            }
        }
        Ok(())
    }

    /// A part of a flush arrives. What a process has sent may arrive when it is dead.
    pub(crate) fn land(&mut self, id: InstanceId, mut landing: Landing) {
        let alive = self.instances.contains_key(&id);
        if !alive && self.rng.bool() {
            return;
        }
        self.journal.entries.extend(landing.batches.pop());
        if !landing.batches.is_empty() {
            let trip_ms = self.rng.i64(0..50);
            self.after(trip_ms, Item::Land(id, landing));
        } else if let Some(instance) = self.instances.get_mut(&id) {
            instance.ledger.commit(landing.changes);
            instance.flushing = false;
        }
    }

    /// A process is gone from one moment to the next.
    pub(crate) fn kill(&mut self, id: InstanceId) {
        if self.instances.remove(&id).is_none() {
            return;
        }
        self.say(|| format!("{id} is killed"));
        let mut connections = self.connections.iter();
        let own: Vec<_> =
            connections.by_ref().filter(|(_, one)| one.instance == id).map(|(at, _)| *at).collect();
        for connection in own {
            self.forget(connection);
        }
    }

    pub(crate) fn carry_out(&mut self, id: InstanceId, effect: Effect) {
        self.say(|| format!("{id}   effect {effect:?}").chars().take(300).collect());
        match effect {
            Effect::Connect(lane) => self.connect(id, lane),
            Effect::Close(lane, _) => {
                if let Some(connection) = self.connection(id, lane) {
                    self.forget(connection);
                }
            }
            Effect::Fetch(lane, request) => self.send(id, lane, Request::Fetch(request)),
            Effect::Produce(lane, number, request) => {
                self.send(id, lane, Request::Produce(number, request));
            }
            Effect::AskSourceRange(key) => {
                let range = self.source_range(id, key);
                self.later(Item::Event(id, Event::SourceRange(key, range)));
            }
            Effect::AskTargetEnd(key) => {
                let end = self.target_end(id, key);
                self.later(Item::Event(id, Event::TargetEnd(key, end)));
            }
            Effect::ReadLog(key, side, from) => {
                let read = self.read_log(id, key, side, from);
                self.later(Item::Event(id, Event::LogRead(key, side, read.map(Box::new))));
            }
            Effect::RefreshMetadata(side) => {
                let event = match self.view(side) {
                    Some(view) => Event::Metadata(side, Arc::new(view)),
                    None => Event::MetadataFailed(side),
                };
                self.later(Item::Event(id, event));
            }
            Effect::Report(report) => {
                self.say(|| format!("{id}   REPORT {} {}", report.source, report.what));
                if let Happening::Gap { from, to } = report.what {
                    self.truths[report.source.index as usize].reported_gap(from, to);
                }
            }
            Effect::RenewProducer => self.later(Item::Renew(id)),
            Effect::Fenced => self.kill(id),
            Effect::Drained => {}
        }
    }

    fn source_range(&self, id: InstanceId, key: PartitionKey) -> Result<LogRange, ErrorCode> {
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let (at, _) =
            self.instances.get(&id).and_then(|one| one.shard.names(key)).ok_or(unknown)?;
        let found = self.source.partition(&at.topic, at.index).ok_or(unknown)?;
        found.leader.ok_or(ErrorCode(5))?;
        let log = found.log().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        Ok(LogRange { earliest: log.start_offset(), latest: log.high_watermark() })
    }

    fn target_end(&self, id: InstanceId, key: PartitionKey) -> Result<i64, ErrorCode> {
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let (_, at) =
            self.instances.get(&id).and_then(|one| one.shard.names(key)).ok_or(unknown)?;
        let found = self.target.partition(&at.topic, at.index).ok_or(unknown)?;
        found.leader.ok_or(ErrorCode(5))?;
        Ok(found.log().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?.high_watermark())
    }

    /// Some batches of a log from an offset on, as far as readers may see it.
    fn read_log(
        &mut self,
        id: InstanceId,
        key: PartitionKey,
        side: Side,
        from: i64,
    ) -> Result<ReadChunk, ErrorCode> {
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let (source, target) =
            self.instances.get(&id).and_then(|one| one.shard.names(key)).ok_or(unknown)?;
        let at = if side == Side::Source { source } else { target };
        let some = self.rng.usize(1..6);
        let broker = self.broker(side);
        let found = broker.partition(&at.topic, at.index).ok_or(unknown)?;
        found.leader.ok_or(ErrorCode(5))?;
        let log = found.log().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let (log_start, end) = (log.start_offset(), log.high_watermark());
        let from = from.max(log_start);
        let batches = broker.read_batches(&at.topic, at.index).into_iter();
        let entries = batches.map(|batch| Entry::new(batch).expect("brokers store whole batches"));
        let seen = |entry: &Entry| entry.next_offset() > from && entry.next_offset() <= end;
        let entries: Vec<Entry> = entries.filter(seen).take(some).collect();
        Ok(ReadChunk {
            from,
            next: entries.last().map_or(from, Entry::next_offset),
            entries,
            aborted: Vec::new(),
            high_watermark: end,
            last_stable_offset: end,
            log_start,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the view's age is not looked at")]
    fn view(&mut self, side: Side) -> Option<ClusterView> {
        let (now_ms, version) = (self.now_ms, self.versions.metadata);
        let node = (0..NODES).find(|node| self.broker(side).is_alive(*node))?;
        let request = MetadataRequest::default().with_topics(None);
        let call = Call::new(node, u64::MAX, ApiKey::Metadata, version);
        let outcome = self.broker(side).handle(now_ms, call, RequestKind::Metadata(request));
        let ResponseKind::Metadata(response) = message(outcome)? else { return None };
        let now = std::time::Instant::now();
        Some(ClusterView::default().merged(&Topics::All, &[response], now))
    }

    /// Nothing is left to do.
    pub(crate) fn at_rest(&self) -> bool {
        let [instance] = &self.instances.values().collect::<Vec<_>>()[..] else { return false };
        let progress: Vec<_> = instance.shard.progress().collect();
        let done = |at: &engine::flow::shard::Progress| {
            let end = self.source_log(at.source.index).map(|log| log.end_offset());
            at.state == PartitionState::Failed || (end.is_some() && at.position == end)
        };
        progress.len() == PARTITIONS as usize
            && progress.iter().all(done)
            && instance.shard.held_bytes() == 0
    }

    /// The process that runs at the end.
    pub(crate) fn survivor(&self) -> Option<&Instance> {
        self.instances.values().next_back()
    }
}

fn message(outcome: Outcome) -> Option<ResponseKind> {
    match outcome {
        Outcome::Reply(Response::Message(message)) => Some(*message),
        _ => None,
    }
}
