//! The real shard machine between two clusters that cost nothing: one serves the same batches over and over, the other
//! acknowledges what it gets. Only the shard, the decoding of answers and the encoding of requests are counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use engine::flow::event::{Effect, Event, LaneId, LogRange, PartitionSpec, Producer, Start};
use engine::flow::settings::{ShardSettings, TargetLimits};
use engine::flow::shard::Shard;
use engine::index::OffsetIndex;
use engine::model::{Moment, Side, TopicPartition};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol_client::batch::HEADER_BYTES;
use protocol_client::cluster::ClusterView;
use protocol_client::cluster::metadata::Topics;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::{RawFetch, RawFetchAnswer};
use protocol_client::wire::produce::{ProducedPartition, RawProduce, RawProduceAnswer};
use uuid::Uuid;

use crate::counted_region;
use crate::frames::{self, FETCH_VERSION, Part};

const SOURCE_ID: Uuid = Uuid::from_u128(1);
const TARGET_ID: Uuid = Uuid::from_u128(2);
const SESSION: i32 = 77;
const PRODUCE_VERSION: i16 = 13;
/// The frame's size and the header of a request stand before its body.
const REQUEST_HEAD_BYTES: usize = 24;
/// Many more events than any scenario has mean that something goes in circles.
const MAX_EVENTS: u64 = 10_000_000;

/// What a fetch lane's broker remembers: the session's partitions with offset and limit.
type Session = BTreeMap<i32, (i64, usize)>;

pub(crate) struct World {
    shard: Shard,
    now_ms: u64,
    events: VecDeque<Event>,
    /// The same batch for everybody, with its number of records.
    batch: (Bytes, i64),
    /// The log end of each source partition.
    source_ends: Vec<i64>,
    target_ends: Vec<i64>,
    sessions: BTreeMap<LaneId, Session>,
    /// Lanes whose request waits for records: how many bytes it takes, and until when it waits.
    parked: BTreeMap<LaneId, (usize, u64)>,
    handled: u64,
    /// Whether what happens counts.
    pub(crate) counts: bool,
}

impl World {
    /// Partitions that are full of copies of `batch`, `count` in each, and at work.
    pub(crate) fn new(partitions: usize, batch: Bytes, records: i64, count: i64) -> Self {
        let mut world = Self {
            shard: Shard::new(ShardSettings::default(), 7),
            now_ms: 0,
            events: VecDeque::new(),
            batch: (batch, records),
            source_ends: vec![records * count; partitions],
            target_ends: vec![0; partitions],
            sessions: BTreeMap::new(),
            parked: BTreeMap::new(),
            handled: 0,
            counts: true,
        };
        world.events.push_back(Event::Producer(Producer { id: 1, epoch: 0, is_named: true }));
        for (side, topic, id) in
            [(Side::Source, "orders", SOURCE_ID), (Side::Target, "copy", TARGET_ID)]
        {
            let view = view(topic, id, partitions);
            world.events.push_back(Event::Metadata(side, Arc::new(view)));
        }
        for index in 0..partitions as i32 {
            let at =
                |topic: &str, topic_id| TopicPartition { topic: topic.into(), topic_id, index };
            let spec = PartitionSpec {
                source: at("orders", SOURCE_ID),
                target: at("copy", TARGET_ID),
                start: Start::At(0),
                is_marked: false,
                limits: TargetLimits::default(),
                index: OffsetIndex::default(),
            };
            world.events.push_back(Event::Add(Box::new(spec)));
        }
        world
    }

    /// One batch more in a partition.
    pub(crate) fn append(&mut self, partition: usize) {
        self.source_ends[partition] += self.batch.1;
        self.wake_parked();
    }

    /// Time passes until waiting fetches come back empty.
    pub(crate) fn pass_idly(&mut self) {
        let due = self.parked.values().map(|(_, until_ms)| *until_ms).max();
        self.now_ms = due.expect("somebody waits");
        self.give_up_waiting();
    }

    fn give_up_waiting(&mut self) {
        let now_ms = self.now_ms;
        let due = self.parked.extract_if(.., |_, (_, until_ms)| *until_ms <= now_ms);
        for lane in due.map(|(lane, _)| lane).collect::<Vec<_>>() {
            self.fetched(lane, &frames::answer(SESSION, SOURCE_ID, &[]));
        }
    }

    /// Metadata of both clusters, as it was.
    pub(crate) fn say_metadata(&mut self) {
        let partitions = self.source_ends.len();
        for (side, topic, id) in
            [(Side::Source, "orders", SOURCE_ID), (Side::Target, "copy", TARGET_ID)]
        {
            let view = Arc::new(view(topic, id, partitions));
            self.events.push_back(Event::Metadata(side, view));
        }
        self.settle();
    }

    /// Works until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        loop {
            while let Some(event) = self.events.pop_front() {
                self.feed(event);
            }
            if self.delivered() == self.offered() {
                return;
            }
            let tick = self.shard.next_deadline().map(|due| due.since_start().as_nanos());
            let tick = tick.map(|nanos| nanos.div_ceil(1_000_000) as u64);
            let waited = self.parked.values().map(|(_, until_ms)| *until_ms).min();
            let due = tick.into_iter().chain(waited).min();
            self.now_ms = self.now_ms.max(due.expect("records are missing and nothing is due"));
            self.give_up_waiting();
            self.events.push_back(Event::Tick);
        }
    }

    /// Records at the target that the source had.
    pub(crate) fn delivered(&self) -> u64 {
        self.shard.progress().map(|progress| progress.delivered.records).sum()
    }

    /// Whether every lane's request waits at its broker.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.sessions.is_empty() && self.sessions.keys().all(|lane| self.parked.contains_key(lane))
    }

    fn offered(&self) -> u64 {
        self.source_ends.iter().map(|end| end.unsigned_abs()).sum()
    }

    fn feed(&mut self, event: Event) {
        self.handled += 1;
        assert!(self.handled < MAX_EVENTS, "the scenario does not come to rest");
        let now = Moment::new(Duration::from_millis(self.now_ms));
        let mut effects = Vec::new();
        let shard = &mut self.shard;
        count(self.counts, || shard.handle(now, event, &mut effects));
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Connect(lane) => self.events.push_back(Event::LaneUp(lane)),
            Effect::Fetch(lane, request) => {
                let mut out = BytesMut::new();
                count(self.counts, || request.encode(FETCH_VERSION, &mut out));
                self.ask(lane, &request);
            }
            Effect::Produce(lane, number, request) => {
                let head = BytesMut::zeroed(REQUEST_HEAD_BYTES);
                let pieces = count(self.counts, || request.encode(PRODUCE_VERSION, head));
                assert!(pieces.is_ok(), "a request that can be sent");
                let answer = self.append_all(&request);
                self.events.push_back(Event::Produced(lane, number, answer));
            }
            Effect::AskSourceRange(key) => {
                let latest = self.source_ends[key as usize];
                let range = LogRange { earliest: 0, latest };
                self.events.push_back(Event::SourceRange(key, Ok(range)));
            }
            Effect::AskTargetEnd(key) => {
                let end = self.target_ends[key as usize];
                self.events.push_back(Event::TargetEnd(key, Ok(end)));
            }
            Effect::Report(_) | Effect::RefreshMetadata(_) => {}
            other => panic!("nothing goes wrong here, and yet: {other:?}"),
        }
    }

    fn ask(&mut self, lane: LaneId, request: &RawFetch) {
        let session = self.sessions.entry(lane).or_default();
        if request.session_epoch <= 0 {
            session.clear();
        }
        for forgotten in request.forgotten.iter().flat_map(|topic| &topic.partitions) {
            session.remove(forgotten);
        }
        for at in request.topics.iter().flat_map(|topic| &topic.partitions) {
            session.insert(at.index, (at.offset, at.max_bytes.unsigned_abs() as usize));
        }
        let until_ms = self.now_ms + u64::from(request.max_wait_ms.unsigned_abs());
        self.parked.insert(lane, (request.max_bytes.unsigned_abs() as usize, until_ms));
        self.wake_parked();
    }

    /// Answers those requests for which there are records.
    fn wake_parked(&mut self) {
        for (lane, (max_bytes, _)) in self.parked.clone() {
            let parts = self.read(lane, max_bytes);
            if !parts.is_empty() {
                self.parked.remove(&lane);
                self.fetched(lane, &frames::answer(SESSION, SOURCE_ID, &parts));
            }
        }
    }

    fn fetched(&mut self, lane: LaneId, body: &Bytes) {
        let answer = count(self.counts, || RawFetchAnswer::decode(FETCH_VERSION, body));
        self.events.push_back(Event::Fetched(lane, answer.expect("an answer")));
    }

    /// What a broker finds for a session, as KIP-74 says: whole batches up to both limits, one at least.
    fn read(&self, lane: LaneId, max_bytes: usize) -> Vec<Part> {
        let Some(session) = self.sessions.get(&lane) else { return Vec::new() };
        let (batch, records) = &self.batch;
        let mut left = max_bytes;
        let mut parts = Vec::new();
        for (index, (offset, most)) in session {
            let high_watermark = self.source_ends[*index as usize];
            let most = (*most).min(left);
            let mut part = Part { index: *index, high_watermark, records: Vec::new() };
            let mut base = offset - offset.rem_euclid(*records);
            let mut taken = 0;
            let is_first = parts.is_empty();
            while base < high_watermark && (taken + batch.len() <= most || (is_first && taken == 0))
            {
                let mut header = BytesMut::from(&batch[..HEADER_BYTES]);
                header[..8].copy_from_slice(&base.to_be_bytes());
                part.records.extend([header.freeze(), batch.slice(HEADER_BYTES..)]);
                base += records;
                taken += batch.len();
            }
            if taken > 0 {
                left = left.saturating_sub(taken);
                parts.push(part);
            }
        }
        parts
    }

    fn append_all(&mut self, request: &RawProduce) -> RawProduceAnswer {
        let parts = request.partitions.iter().map(|part| {
            let end = &mut self.target_ends[part.index as usize];
            let base_offset = *end;
            // lastOffsetDelta of the batch's header.
            let delta = part.header[23..27].try_into().map(i32::from_be_bytes);
            *end += i64::from(delta.expect("four bytes")) + 1;
            ProducedPartition {
                topic: part.topic.clone(),
                index: part.index,
                error: ErrorCode::NONE,
                base_offset,
                log_append_time_ms: -1,
                log_start_offset: 0,
                message: None,
                record_errors: Vec::new(),
                current_leader: None,
            }
        });
        RawProduceAnswer { throttle: Duration::ZERO, partitions: parts.collect() }
    }
}

fn count<R>(counts: bool, work: impl FnOnce() -> R) -> R {
    if counts { counted_region(work) } else { work() }
}

/// A cluster of one broker that leads everything.
#[expect(clippy::disallowed_methods, reason = "a view knows when it came; nothing depends on it")]
fn view(topic: &str, id: Uuid, partitions: usize) -> ClusterView {
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(StrBytes::from_static_str("localhost"))
        .with_port(9092);
    let partitions = (0..partitions).map(|index| {
        MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId(1))
            .with_leader_epoch(1)
    });
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.to_owned()))))
        .with_topic_id(id)
        .with_partitions(partitions.collect());
    let response = MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
    ClusterView::default().merged(&Topics::All, &[response], std::time::Instant::now())
}
