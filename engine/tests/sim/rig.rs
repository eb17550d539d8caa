//! One shard, driven by hand: a test plays both clusters and says what happens when.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use engine::flow::event::{
    Effect, Event, Happening, LaneId, LogRange, PartitionSpec, Producer, Start,
};
use engine::flow::settings::{ShardSettings, TargetLimits};
use engine::flow::shard::{Progress, Shard};
use engine::index::OffsetIndex;
use engine::model::{Moment, Pair, Side, TopicPartition};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_client::batch::{BatchBuilder, BatchHeader, Entry, walk};
use protocol_client::client::ReadChunk;
use protocol_client::cluster::ClusterView;
use protocol_client::cluster::metadata::Topics;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::{
    Diverging, FetchedPartition, RawFetch, RawFetchAnswer, TopicRef,
};
use protocol_client::wire::produce::{
    ProducePartition, ProducedPartition, RawProduce, RawProduceAnswer,
};
use uuid::Uuid;

use crate::translate;

pub(crate) const SOURCE_ID: Uuid = Uuid::from_u128(1);
pub(crate) const TARGET_ID: Uuid = Uuid::from_u128(2);

pub(crate) struct Rig {
    pub(crate) shard: Shard,
    pub(crate) effects: Vec<Effect>,
    now_ms: u64,
    generation: [u64; 2],
    /// End of the source's partitions, as brokers say.
    pub(crate) high_watermark: i64,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Asked<R> {
    pub(crate) lane: LaneId,
    pub(crate) number: u64,
    pub(crate) request: R,
}

impl Rig {
    pub(crate) fn new(settings: ShardSettings) -> Self {
        let mut rig = Self {
            shard: Shard::new(settings, 7),
            effects: Vec::new(),
            now_ms: 0,
            generation: [0; 2],
            high_watermark: 1_000,
        };
        rig.feed(Event::Producer(Producer { id: 1, epoch: 0, is_named: true }));
        rig
    }

    /// A rig whose partitions `0..count` are led by node 1 on both sides, connected and at work.
    pub(crate) fn running(settings: ShardSettings, count: i32) -> Self {
        let mut rig = Self::led(settings, count);
        rig.connect_all();
        rig.say_ends(0);
        rig
    }

    /// The same before anything is connected.
    pub(crate) fn led(settings: ShardSettings, count: i32) -> Self {
        let mut rig = Self::new(settings);
        let leaders: Vec<i32> = vec![1; count as usize];
        rig.lead(Side::Source, &leaders);
        rig.lead(Side::Target, &leaders);
        for index in 0..count {
            rig.add(index, Start::Pair(Pair::NOWHERE));
        }
        rig
    }

    pub(crate) fn feed(&mut self, event: Event) {
        let now = Moment::new(Duration::from_millis(self.now_ms));
        self.shard.handle(now, event, &mut self.effects);
    }

    /// Lets time pass, with a tick whenever the shard wants one; answers how many that were.
    pub(crate) fn pass(&mut self, ms: u64) -> usize {
        let end_ms = self.now_ms + ms;
        let mut ticks = 0;
        while let Some(at) = self.shard.next_deadline() {
            let at_ms = at.since_start().as_nanos().div_ceil(1_000_000) as u64;
            if at_ms > end_ms {
                break;
            }
            self.now_ms = self.now_ms.max(at_ms);
            self.feed(Event::Tick);
            ticks += 1;
            assert!(ticks < 10_000, "ticks without end");
        }
        self.now_ms = end_ms;
        ticks
    }

    pub(crate) fn add(&mut self, index: i32, start: Start) {
        self.add_with(index, start, OffsetIndex::default());
    }

    pub(crate) fn add_with(&mut self, index: i32, start: Start, offsets: OffsetIndex) {
        let spec = spec(index, start, offsets);
        self.feed(Event::Add(Box::new(spec)));
    }

    /// A partition that an earlier instance was shut out of.
    pub(crate) fn add_marked(&mut self, index: i32, pair: Pair) {
        let spec = spec(index, Start::Pair(pair), OffsetIndex::default());
        self.feed(Event::Add(Box::new(PartitionSpec { is_marked: true, ..spec })));
    }

    /// New metadata: partition `i` is led by `leaders[i]`, by nobody if that is negative.
    pub(crate) fn lead(&mut self, side: Side, leaders: &[i32]) {
        let (topic, id) = match side {
            Side::Source => ("orders", SOURCE_ID),
            Side::Target => ("copy", TARGET_ID),
        };
        self.lead_topic(side, topic, id, leaders);
    }

    pub(crate) fn lead_topic(&mut self, side: Side, topic: &str, id: Uuid, leaders: &[i32]) {
        self.generation[side as usize] += 1;
        let generation = self.generation[side as usize];
        let view = view(topic, id, leaders, generation);
        self.feed(Event::Metadata(side, Arc::new(view)));
    }

    /// The next view says that it is `by` generations older than it would be.
    pub(crate) fn rewind_views(&mut self, side: Side, by: u64) {
        self.generation[side as usize] -= by;
    }

    /// Takes out the effects for which `pick` has an answer.
    pub(crate) fn take<T>(&mut self, pick: impl Fn(&Effect) -> Option<T>) -> Vec<T> {
        let mut taken = Vec::new();
        self.effects.retain(|effect| match pick(effect) {
            Some(found) => {
                taken.push(found);
                false
            }
            None => true,
        });
        taken
    }

    pub(crate) fn connects(&mut self) -> Vec<LaneId> {
        self.take(|effect| match effect {
            Effect::Connect(lane) => Some(*lane),
            _ => None,
        })
    }

    pub(crate) fn connect_all(&mut self) {
        for lane in self.connects() {
            self.feed(Event::LaneUp(lane));
        }
    }

    /// Gives the next epoch to a shard that asks for it; answers whether it did.
    pub(crate) fn renew(&mut self, epoch: i16) -> bool {
        let asked = self.take(|effect| matches!(effect, Effect::RenewProducer).then_some(()));
        if !asked.is_empty() {
            self.feed(Event::Producer(Producer { id: 1, epoch, is_named: true }));
        }
        !asked.is_empty()
    }

    /// Stores where partitions stand, if they have asked for it; answers what was stored of those that wait.
    pub(crate) fn store(&mut self) -> Vec<(i64, i64)> {
        let asked = self.take(|effect| matches!(effect, Effect::StorePosition).then_some(()));
        if asked.is_empty() {
            return Vec::new();
        }
        let waiting = self.shard.progress().filter(|at| at.awaits_store);
        let pairs: Vec<_> =
            waiting.filter_map(|at| Some((at.source.clone(), at.pair()?))).collect();
        let stored = pairs.iter().map(|(_, pair)| (pair.source_next, pair.target_next)).collect();
        pairs.into_iter().for_each(|(source, pair)| self.feed(Event::Stored(source, pair)));
        stored
    }

    pub(crate) fn fetches(&mut self) -> Vec<Asked<RawFetch>> {
        self.take(|effect| match effect {
            Effect::Fetch(lane, request) => {
                Some(Asked { lane: *lane, number: 0, request: request.clone() })
            }
            _ => None,
        })
    }

    pub(crate) fn produces(&mut self) -> Vec<Asked<RawProduce>> {
        self.take(|effect| match effect {
            Effect::Produce(lane, number, request) => {
                Some(Asked { lane: *lane, number: *number, request: request.clone() })
            }
            _ => None,
        })
    }

    pub(crate) fn happenings(&mut self) -> Vec<Happening> {
        self.take(|effect| match effect {
            Effect::Report(report) => Some(report.what.clone()),
            _ => None,
        })
    }

    pub(crate) fn refreshes(&mut self, wanted: Side) -> usize {
        self.take(|effect| {
            matches!(effect, Effect::RefreshMetadata(side) if *side == wanted).then_some(())
        })
        .len()
    }

    /// Answers all questions for the end of the target's log.
    pub(crate) fn say_ends(&mut self, end: i64) -> usize {
        let keys = self.take(|effect| match effect {
            Effect::AskTargetEnd(key) => Some(*key),
            _ => None,
        });
        keys.iter().for_each(|key| self.feed(Event::TargetEnd(*key, Ok(end))));
        keys.len()
    }

    /// Answers all readings of the target's log with these batches of requests, one behind the other from where it is
    /// read; `None` is a record of somebody else.
    pub(crate) fn say_log(&mut self, batches: &[Option<&Asked<RawProduce>>]) -> usize {
        let reads = self.take(|effect| match effect {
            Effect::ReadLog(key, Side::Target, from, _) => Some((*key, *from)),
            _ => None,
        });
        for (key, from) in &reads {
            let mut next = *from;
            let entry = |batch: &Option<&Asked<RawProduce>>| {
                let mut bytes = match batch {
                    Some(asked) => {
                        let part = &asked.request.partitions[0];
                        [&part.header[..], &part.payload].concat()
                    }
                    None => sized(0, &[1], 10).to_vec(),
                };
                bytes[..8].copy_from_slice(&next.to_be_bytes());
                let entry = Entry::new(bytes.into()).expect("a batch");
                next = entry.next_offset();
                entry
            };
            let entries: Vec<Entry> = batches.iter().map(entry).collect();
            let chunk = ReadChunk {
                from: *from,
                next,
                entries,
                aborted: Vec::new(),
                high_watermark: next,
                last_stable_offset: next,
                log_start: 0,
            };
            self.feed(Event::LogRead(*key, Side::Target, Ok(Box::new(chunk))));
        }
        reads.len()
    }

    /// Answers all readings of one side's log with the batches of `log` that are not before where it is read.
    pub(crate) fn say_whole_log(&mut self, wanted: Side, log: &Bytes) -> usize {
        let reads = self.take(|effect| match effect {
            Effect::ReadLog(key, side, from, _) if *side == wanted => Some((*key, *from)),
            _ => None,
        });
        for (key, from) in &reads {
            let entries = walk(log).map(|entry| entry.expect("a batch"));
            let entries: Vec<Entry> = entries.filter(|one| one.next_offset() > *from).collect();
            let next = entries.last().map_or(*from, Entry::next_offset);
            let chunk = ReadChunk {
                from: *from,
                next,
                entries,
                aborted: Vec::new(),
                high_watermark: next,
                last_stable_offset: next,
                log_start: 0,
            };
            self.feed(Event::LogRead(*key, wanted, Ok(Box::new(chunk))));
        }
        reads.len()
    }

    /// Answers all questions for the range of the source's log.
    pub(crate) fn say_ranges(&mut self, earliest: i64, latest: i64) -> usize {
        let keys = self.take(|effect| match effect {
            Effect::AskSourceRange(key) => Some(*key),
            _ => None,
        });
        for key in &keys {
            self.feed(Event::SourceRange(*key, Ok(LogRange { earliest, latest })));
        }
        keys.len()
    }

    /// Answers a fetch; each part is a partition's number, its error and its records.
    pub(crate) fn answer_fetch(&mut self, lane: LaneId, parts: Vec<(i32, ErrorCode, Bytes)>) {
        let answer = fetched(self.high_watermark, parts);
        self.feed(Event::Fetched(lane, answer));
    }

    /// Answers a fetch: the log of partition 0 parts ways with what was read.
    pub(crate) fn answer_diverging(&mut self, lane: LaneId, diverging: Diverging) {
        let parts = vec![(0, ErrorCode::NONE, Bytes::new())];
        let mut answer = fetched(self.high_watermark, parts);
        answer.partitions[0].diverging = Some(diverging);
        self.feed(Event::Fetched(lane, answer));
    }

    /// Answers the fetch that must be under way with these records of partition 0.
    pub(crate) fn bring(&mut self, records: Bytes) {
        let asked = self.fetches().pop().expect("a fetch is under way");
        self.answer_fetch(asked.lane, vec![(0, ErrorCode::NONE, records)]);
    }

    /// Answers a produce request for all its partitions alike.
    pub(crate) fn answer_produce(
        &mut self,
        asked: &Asked<RawProduce>,
        outcome: Result<i64, ErrorCode>,
    ) {
        let parts = asked.request.partitions.iter().map(|part| produced(part, outcome));
        let answer = RawProduceAnswer { throttle: Duration::ZERO, partitions: parts.collect() };
        self.feed(Event::Produced(asked.lane, asked.number, answer));
    }

    pub(crate) fn progress(&self, index: i32) -> Progress {
        self.shard.progress().find(|at| at.source.index == index).expect("it was added")
    }

    pub(crate) fn position(&self) -> i64 {
        self.progress(0).position.expect("it is known")
    }
}

/// What becomes of one partition of a produce request.
pub(crate) fn produced(
    part: &ProducePartition,
    outcome: Result<i64, ErrorCode>,
) -> ProducedPartition {
    ProducedPartition {
        topic: part.topic.clone(),
        index: part.index,
        error: outcome.err().unwrap_or(ErrorCode::NONE),
        base_offset: outcome.unwrap_or(-1),
        log_append_time_ms: -1,
        log_start_offset: 0,
        message: None,
        record_errors: Vec::new(),
        current_leader: None,
    }
}

fn spec(index: i32, start: Start, offsets: OffsetIndex) -> PartitionSpec {
    let at = |topic: &str, topic_id| TopicPartition { topic: topic.into(), topic_id, index };
    PartitionSpec {
        source: at("orders", SOURCE_ID),
        target: at("copy", TARGET_ID),
        start,
        is_marked: false,
        limits: TargetLimits::default(),
        index: offsets,
    }
}

/// The answer to a fetch; each part is a partition's number, its error and its records.
fn fetched(high_watermark: i64, parts: Vec<(i32, ErrorCode, Bytes)>) -> RawFetchAnswer {
    let frame_bytes = parts.iter().map(|(_, _, records)| records.len()).sum();
    let partitions = parts.into_iter().map(|(index, error, records)| FetchedPartition {
        topic: TopicRef::Id(SOURCE_ID),
        index,
        error,
        high_watermark,
        last_stable_offset: high_watermark,
        log_start_offset: 0,
        aborted: Vec::new(),
        diverging: None,
        preferred_replica: None,
        current_leader: None,
        records,
    });
    RawFetchAnswer {
        throttle: Duration::ZERO,
        error: ErrorCode::NONE,
        session_id: 9,
        partitions: partitions.collect(),
        frame_bytes,
        waited: None,
    }
}

/// Batches of so many records each, at consecutive offsets from `first` on, too large to be merged.
pub(crate) fn batches(first: i64, counts: &[u32]) -> Bytes {
    sized(first, counts, 20_000)
}

/// The same with values of so many bytes in each batch.
pub(crate) fn sized(first: i64, counts: &[u32], bytes: usize) -> Bytes {
    let mut all = BytesMut::new();
    let mut offset = first;
    for count in counts {
        let mut batch = BatchBuilder::new();
        for number in 0..*count {
            let key = (offset + i64::from(number)).to_string();
            batch.push(Some(key.as_bytes()), Some(&vec![7; bytes / *count as usize]), &[], 5);
        }
        let mut built = batch.build().expect("records were pushed").bytes.to_vec();
        built[..8].copy_from_slice(&offset.to_be_bytes());
        all.extend_from_slice(&built);
        offset += i64::from(*count);
    }
    all.freeze()
}

/// Sequence number, epoch and number of records of each batch in a request.
pub(crate) fn stamps(request: &RawProduce) -> Vec<(i32, i16, i32)> {
    let stamp = |header: BatchHeader<'_>| {
        (header.base_sequence(), header.producer_epoch(), header.record_count())
    };
    request.partitions.iter().map(|part| stamp(BatchHeader::of(&part.header))).collect()
}

#[expect(clippy::disallowed_methods, reason = "the view's age is not looked at")]
fn view(topic: &str, id: Uuid, leaders: &[i32], generation: u64) -> ClusterView {
    let brokers = (1..=3).map(|node| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(node))
            .with_host(StrBytes::from_static_str("localhost"))
            .with_port(9092)
    });
    let partitions = leaders.iter().enumerate().map(|(index, leader)| {
        MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId(*leader))
            .with_leader_epoch(generation as i32)
            .with_error_code(if *leader < 0 { 5 } else { 0 })
    });
    let topic = MetadataResponseTopic::default()
        .with_name(Some(translate::name(topic)))
        .with_topic_id(id)
        .with_partitions(partitions.collect());
    let response =
        MetadataResponse::default().with_brokers(brokers.collect()).with_topics(vec![topic]);
    let mut older = ClusterView::default();
    older.generation = generation - 1;
    older.merged(&Topics::All, &[response], std::time::Instant::now())
}
