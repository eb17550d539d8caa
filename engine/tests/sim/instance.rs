//! A process of kmirror in the world: its shard, and what its flow does beside it: find out where partitions begin, store
//! positions, notice topics that were made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use embedded_broker::core::{Call, Outcome, Response};
use engine::config::StartFrom;
use engine::flow::event::{
    Divergence, Effect, Event, Failure, Happening, LogRange, PartitionKey, PartitionSpec, Producer,
    Report, Start,
};
use engine::flow::settings::{DivergencePolicy, GapPolicy, TargetLimits};
use engine::flow::shard::{PartitionState, Progress, Shard};
use engine::index::OffsetIndex;
use engine::model::{Pair, Side, TopicIds, TopicPartition};
use engine::positions::beginning::{Beginning, Situation, Surprise, with_index};
use engine::positions::ledger::{Ledger, Position};
use engine::syncs;
use engine::syncs::emission::Emission;
use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, MetadataRequest, ProducerId, RequestKind, ResponseKind,
    TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use protocol_client::batch::{AbortedTransaction, Entry};
use protocol_client::client::ReadChunk;
use protocol_client::cluster::ClusterView;
use protocol_client::cluster::metadata::Topics;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::Isolation;
use uuid::Uuid;

use crate::journal::FLUSH_MS;
use crate::trouble::Plan;
use crate::truth::Truth;
use crate::world::{Item, NODES, PARTITIONS, Request, SOURCE_TOPIC, TARGET_TOPIC, World};

const LOOK_MS: i64 = 1_000;
const TRANSACTIONAL_ID: &str = "kmirror";

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
    pub(crate) ledger: Ledger,
    /// What was stored of indexes when it started, until it is handed out.
    syncs: syncs::ledger::Ledger,
    pub(crate) emission: Emission,
    producer: Producer,
    /// Who it was at first.
    began: Producer,
    /// Ids of the topics that the partitions were placed with; none before.
    pub(crate) placed: Option<TopicIds>,
    /// Something is on its way to the offsets topic.
    pub(crate) storing: bool,
    /// Where each partition stood last.
    positions: BTreeMap<i32, i64>,
    /// Where partitions go back to that have told so, when what is under way has arrived.
    pub(crate) goes_back: BTreeMap<i32, i64>,
    /// Up to which era it knows what became of the source.
    pub(crate) eras: BTreeMap<i32, u32>,
    /// Why partitions begin anew that were copied before.
    surprises: BTreeMap<i32, Surprise>,
    /// Those that are to tell so.
    diverged: BTreeSet<i32>,
    /// Why partitions have stopped.
    failures: BTreeMap<i32, Failure>,
}

impl Instance {
    /// A position never goes back unless that was told.
    pub(crate) fn watch_positions(&mut self) -> Result<(), String> {
        for at in self.shard.progress() {
            let (index, Some(position)) = (at.source.index, at.position) else { continue };
            let has_arrived = |back: &i64| at.is_settled && position <= *back;
            let back = self.goes_back.get(&index).copied().filter(has_arrived);
            if back.is_some() {
                self.goes_back.remove(&index);
            }
            match self.positions.insert(index, position) {
                Some(before) if before > position && back != Some(position) => {
                    return Err(format!(
                        "partition {index}: the position went from {before} to {position}"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the process knows that the source gives offsets again, if it does. What it says before is of the others.
    pub(crate) fn knows(&self, index: i32, truth: &Truth) -> bool {
        self.eras.get(&index) == Some(&truth.era()) && !self.goes_back.contains_key(&index)
    }

    /// Whether a partition has told that the target was cut, and not yet where it goes on.
    pub(crate) fn looks_for_cut(&self, index: i32) -> bool {
        self.diverged.contains(&index)
    }

    /// Why a partition has stopped, if it has and may.
    ///
    /// # Errors
    /// No policy wants that.
    pub(crate) fn stopped(
        &self,
        at: &Progress,
        plan: &Plan,
        truth: &Truth,
    ) -> Result<bool, String> {
        if at.state != PartitionState::Failed {
            return Ok(false);
        }
        let failure = self.failures.get(&at.source.index);
        let wanted = match failure {
            Some(Failure::Gap { .. }) => plan.on_gap == GapPolicy::Fail,
            Some(Failure::SourceTruncated { .. } | Failure::Recreated(Side::Source)) => {
                plan.on_gap == GapPolicy::Fail && truth.was_cut(Side::Source)
            }
            Some(Failure::Diverged(Divergence::SourceEnds { .. })) => {
                plan.on_gap == GapPolicy::Fail && truth.was_cut(Side::Source)
            }
            // Of a log that was cut and has grown again only the other one can tell, which was cut too, or the epoch.
            Some(Failure::Diverged(Divergence::Differs { .. })) => {
                plan.on_divergence == DivergencePolicy::Fail
                    && (truth.was_cut(Side::Target) || truth.was_cut(Side::Source))
            }
            Some(Failure::Recreated(Side::Target) | Failure::Diverged(_)) => {
                plan.on_divergence == DivergencePolicy::Fail && truth.was_cut(Side::Target)
            }
            _ => false,
        };
        match wanted {
            true => Ok(true),
            false => Err(format!("it has stopped: {failure:?}")),
        }
    }
}

impl World {
    /// A process is started; it waits until it gets a producer id.
    pub(crate) fn start(&mut self) {
        let (ledger, syncs) = (self.journal.ledger(), self.journal.syncs());
        let Some(Ok(producer)) = self.init_producer(None) else {
            return self.after(100, Item::Start);
        };
        let id = InstanceId(self.next());
        self.say(|| format!("{id} starts as {producer:?}"));
        let instance = Instance {
            shard: Shard::new(self.settings.clone(), id.0),
            ticks: BTreeSet::new(),
            ledger,
            emission: Emission::new(100, 1 << 20, &syncs),
            syncs,
            producer,
            began: producer,
            placed: None,
            storing: false,
            positions: BTreeMap::new(),
            goes_back: BTreeMap::new(),
            eras: BTreeMap::new(),
            surprises: BTreeMap::new(),
            diverged: BTreeSet::new(),
            failures: BTreeMap::new(),
        };
        self.instances.insert(id, instance);
        self.feed(id, Event::Producer(producer));
        self.look_at_topics(id);
        self.after(FLUSH_MS, Item::Flush(id));
    }

    /// A process looks at the topics: partitions of new ones are placed, those of others removed.
    pub(crate) fn look_at_topics(&mut self, id: InstanceId) {
        let Some(instance) = self.instances.get(&id) else { return };
        let (placed, storing) = (instance.placed, instance.storing);
        if self.granted != Some(instance.producer) {
            return self.kill(id);
        }
        self.after(if storing { 20 } else { LOOK_MS }, Item::Look(id));
        if storing || self.source.topic(SOURCE_TOPIC).is_none() {
            return;
        }
        self.show_views(id);
        let is_created = self.target.topic(TARGET_TOPIC).is_none();
        if is_created {
            self.create(Side::Target);
        }
        let ids = self.topic_ids();
        if placed == Some(ids) {
            return;
        }
        let mut known = None;
        if placed.is_some() {
            // What the old one reached has to be known, to say what of it is lost.
            known = Some(self.positions(id));
            self.remove_all(id);
            self.renew(id);
        }
        let Some(instance) = self.instances.get_mut(&id) else { return };
        instance.placed = Some(ids);
        if let Some(positions) = known {
            let changes = instance.ledger.changes(positions);
            self.store(id, changes, Vec::new());
            if let Some(instance) = self.instances.get_mut(&id)
                && instance.storing
            {
                // They are placed when that is stored.
                instance.placed = None;
                return;
            }
        }
        self.place(id, ids, is_created);
    }

    fn remove_all(&mut self, id: InstanceId) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        instance.positions.clear();
        instance.goes_back.clear();
        instance.diverged.clear();
        instance.eras.clear();
        instance.failures.clear();
        for key in instance.shard.keys_of(&SOURCE_TOPIC.into()) {
            self.feed(id, Event::Remove(key));
        }
    }

    fn place(&mut self, id: InstanceId, ids: TopicIds, is_created: bool) {
        let (mut anew, mut stored) = (Vec::new(), Vec::new());
        for index in 0..PARTITIONS {
            let Some(instance) = self.instances.get_mut(&id) else { return };
            let at =
                |topic: &str, topic_id| TopicPartition { topic: topic.into(), topic_id, index };
            let situation = Situation {
                stored: instance.ledger.stored(SOURCE_TOPIC, index),
                ids,
                is_created,
                reset: StartFrom::Earliest,
                on_gap: self.plan.on_gap,
                on_divergence: self.plan.on_divergence,
            };
            let mut spec = PartitionSpec {
                source: at(SOURCE_TOPIC, ids.source),
                target: at(TARGET_TOPIC, ids.target),
                start: Start::Pair(Pair::NOWHERE),
                is_marked: false,
                limits: TargetLimits::default(),
                index: OffsetIndex::default(),
            };
            match situation.beginning() {
                Beginning::Stored(start) => {
                    spec.index = instance.syncs.take(&(SOURCE_TOPIC.into(), index), ids);
                    spec.start = with_index(start, &mut spec.index);
                }
                Beginning::Refused(failure) => spec.start = Start::Refused(failure),
                Beginning::Anew { surprise, .. } => {
                    instance.surprises.extend(surprise.map(|surprise| (index, surprise)));
                    if let Some(Surprise::SourceRecreated { lost_from, .. }) = surprise {
                        self.truths[index as usize].reported_end(lost_from);
                    }
                    anew.push(spec);
                    continue;
                }
            }
            stored.push(spec);
        }
        self.mark(id, stored);
        self.begin(id, anew);
    }

    /// Partitions that begin anew may begin when it is stored where. Those whose leaders do not answer are asked again.
    pub(crate) fn begin(&mut self, id: InstanceId, anew: Vec<PartitionSpec>) {
        let mut changes = Vec::new();
        let (mut ready, mut waiting) = (Vec::new(), Vec::new());
        if self.instances.get(&id).is_none_or(|one| one.placed != Some(self.topic_ids())) {
            return;
        }
        for mut spec in anew {
            let index = spec.source.index;
            let (from, to) = (self.leader(Side::Source, index), self.leader(Side::Target, index));
            let (source, target) = (self.source_log(index), self.target_log(index));
            let (Some(_), Some(source), Some(target)) = (from.and(to), source, target) else {
                waiting.push(spec);
                continue;
            };
            let pair = Pair {
                source_next: source.start_offset(),
                source_epoch: -1,
                target_next: target.high_watermark(),
                source_id: spec.source.topic_id,
                target_id: spec.target.topic_id,
            };
            let next = pair.source_next;
            let truth = &mut self.truths[index as usize];
            truth.begins(next);
            truth.stored();
            if let Some(instance) = self.instances.get_mut(&id) {
                let surprise = instance.surprises.remove(&index);
                if surprise.is_some_and(|one| one.lost_at_target(pair.target_next).is_some()) {
                    truth.reported_cut();
                }
                instance.eras.insert(index, truth.era());
            }
            spec.index.begin_at_start(pair.source_next, pair.target_next);
            changes.push(Position { source: spec.source.clone(), next, pair: Some(pair) });
            spec.start = Start::Pair(pair);
            ready.push(spec);
        }
        if !changes.is_empty() {
            self.store(id, changes, ready);
        }
        if !waiting.is_empty() {
            self.after(100, Item::Begin(id, waiting));
        }
    }

    /// The shard gets to know who leads what now.
    fn show_views(&mut self, id: InstanceId) {
        for side in [Side::Source, Side::Target] {
            if let Some(view) = self.view(side) {
                self.feed(id, Event::Metadata(side, Arc::new(view)));
            }
        }
    }

    /// Ids as metadata gives them.
    pub(crate) fn topic_ids(&self) -> TopicIds {
        if !self.versions.have_ids() {
            return TopicIds { source: Uuid::nil(), target: Uuid::nil() };
        }
        let source = self.source.topic(SOURCE_TOPIC).map_or(Uuid::nil(), |topic| topic.id);
        let target = self.target.topic(TARGET_TOPIC).map_or(Uuid::nil(), |topic| topic.id);
        TopicIds { source, target }
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
        let granted = alive.into_iter().find_map(|node| {
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
        });
        if let Some(Ok(producer)) = granted {
            self.granted = Some(producer);
        }
        granted
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

    /// Partitions that go on where another process stopped get to know the new epoch first, unless that one ended in good
    /// order. A process that was replaced ends.
    pub(crate) fn mark(&mut self, id: InstanceId, mut specs: Vec<PartitionSpec>) {
        let Some(instance) = self.instances.get(&id) else { return };
        let producer = instance.producer;
        if self.granted != Some(producer) {
            return self.kill(id);
        }
        let before = instance.ledger.ended(TRANSACTIONAL_ID);
        let Producer { id: began_id, epoch: began, .. } = instance.began;
        let follows = began == 0
            || before.is_some_and(|ended| (ended.id, ended.epoch) == (began_id, began - 1));
        if !follows {
            let led = |spec: &PartitionSpec| {
                let found = self.target.partition(TARGET_TOPIC, spec.target.index);
                found.is_some_and(|found| found.leader.is_some())
            };
            if !specs.iter().all(led) {
                return self.after(100, Item::Mark(id, specs));
            }
            let now_ms = self.now_ms;
            for spec in &mut specs {
                if matches!(spec.start, Start::Pair(_)) {
                    spec.is_marked = true;
                    let (index, stamp) = (spec.target.index, (producer.id, producer.epoch));
                    self.target.append_marker(TARGET_TOPIC, index, stamp, true, now_ms);
                }
            }
        }
        self.hand_out(id, specs);
    }

    /// Gives partitions to the shard; when they were marked, all replicas have the markers first.
    pub(crate) fn hand_out(&mut self, id: InstanceId, specs: Vec<PartitionSpec>) {
        let seen = |spec: &PartitionSpec| {
            let log = self.target_log(spec.target.index);
            log.is_none_or(|log| log.high_watermark() == log.end_offset())
        };
        if !specs.iter().all(seen) {
            return self.after(50, Item::HandOut(id, specs));
        }
        let placed = self.instances.get(&id).and_then(|one| one.placed);
        self.show_views(id);
        for spec in specs {
            self.say(|| {
                format!(
                    "{id} {} begins: {:?}, index {:?}",
                    spec.source,
                    spec.start,
                    spec.index.end()
                )
            });
            let ids = TopicIds { source: spec.source.topic_id, target: spec.target.topic_id };
            if placed == Some(ids) {
                let (index, truths) = (spec.source.index, &self.truths);
                if let Some(instance) = self.instances.get_mut(&id) {
                    let stored_era = || truths[index as usize].stored_era();
                    instance.eras.entry(index).or_insert_with(stored_era);
                }
                self.feed(id, Event::Add(Box::new(spec)));
            }
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
            self.leave_ghosts(connection);
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
            Effect::RefreshMetadata(side) => {
                let event = match self.view(side) {
                    Some(view) => Event::Metadata(side, Arc::new(view)),
                    None => Event::MetadataFailed(side),
                };
                self.later(Item::Event(id, event));
            }
            Effect::ReadLog(key, side, from, _) => {
                let read = self.read_log(id, key, side, from);
                self.later(Item::Event(id, Event::LogRead(key, side, read.map(Box::new))));
            }
            Effect::Report(report) => self.hear(id, report),
            Effect::RenewProducer => self.later(Item::Renew(id)),
            Effect::StorePosition => self.later(Item::Confirm(id)),
            Effect::Fenced => self.kill(id),
            Effect::Coordinate(_) => unreachable!("no transactions are asked for"),
            Effect::Drained => {}
        }
    }

    /// Takes note of what people are told.
    fn hear(&mut self, id: InstanceId, report: Report) {
        let index = report.source.index;
        self.say(|| format!("{id}   REPORT {} {}", report.source, report.what));
        let truth = &mut self.truths[index as usize];
        let Some(instance) = self.instances.get_mut(&id) else { return };
        match report.what {
            Happening::Gap { from, to } => truth.reported_gap(from, to),
            Happening::SourceTruncated { from, to } => {
                truth.reported_truncation(from, to);
                instance.eras.insert(index, truth.era());
                // It may not yet have gone back for the one before.
                let back = instance.goes_back.entry(index).or_insert(from);
                *back = from.min(*back);
            }
            Happening::Diverged(_) => {
                truth.reported_cut();
                instance.diverged.insert(index);
            }
            Happening::Started { source_offset, .. } if instance.diverged.remove(&index) => {
                instance.goes_back.insert(index, source_offset);
            }
            Happening::Foreign { .. } => truth.reported_foreign(),
            Happening::Failed(failure) => {
                if let Failure::Diverged(_) = failure {
                    truth.reported_cut();
                }
                instance.failures.insert(index, failure);
            }
            _ => {}
        }
    }

    fn read_log(
        &mut self,
        id: InstanceId,
        key: PartitionKey,
        side: Side,
        from: i64,
    ) -> Result<ReadChunk, ErrorCode> {
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let names = self.instances.get(&id).and_then(|one| one.shard.names(key));
        let (source, target) = names.ok_or(unknown)?;
        let (at, isolation) = match side {
            Side::Source => (source, self.settings.isolation),
            Side::Target => (target, Isolation::ReadUncommitted),
        };
        let some = self.rng.usize(1..6);
        let found = self.broker(side).partition(&at.topic, at.index).ok_or(unknown)?;
        found.leader.ok_or(ErrorCode::LEADER_NOT_AVAILABLE)?;
        let log = found.log().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let from = from.max(log.start_offset());
        let committed = isolation == Isolation::ReadCommitted;
        let end = if committed { log.last_stable_offset() } else { log.high_watermark() };
        let visible =
            log.batches().filter(|one| one.last_offset() >= from && one.last_offset() < end);
        let entries: Vec<Entry> = visible
            .take(some)
            .map(|batch| Entry::new(batch.to_bytes()).expect("brokers store whole batches"))
            .collect();
        let next = entries.last().map_or(from, Entry::next_offset);
        let aborted = log.producers.aborted_between(from, end).map(|one| AbortedTransaction {
            producer_id: one.producer_id,
            first_offset: one.first_offset,
        });
        Ok(ReadChunk {
            from,
            next,
            entries,
            aborted: if committed { aborted.collect() } else { Vec::new() },
            high_watermark: log.high_watermark(),
            last_stable_offset: log.last_stable_offset(),
            log_start: log.start_offset(),
        })
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
        let done = |at: &Progress| {
            let target_end = self.target_log(at.target.index).map(|log| log.end_offset());
            let arrived = self.is_read(at)
                && at.target_next <= target_end
                && at.state == PartitionState::Running;
            at.state == PartitionState::Failed || arrived
        };
        let progress: Vec<_> = instance.shard.progress().collect();
        let ids = Some(self.topic_ids());
        progress.len() == PARTITIONS as usize
            && instance.placed == ids
            && progress.iter().all(done)
            && instance.shard.held_bytes() == 0
    }

    /// The process that runs at the end.
    pub(crate) fn survivor(&self) -> Option<InstanceId> {
        self.instances.keys().next_back().copied()
    }
}

fn message(outcome: Outcome) -> Option<ResponseKind> {
    match outcome {
        Outcome::Reply(Response::Message(message)) => Some(*message),
        _ => None,
    }
}
