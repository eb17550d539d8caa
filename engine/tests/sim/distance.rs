//! A long line in virtual time: what connections carry for each round trip is small, what the line carries is not.
//!
//! What a connection brings for each round trip is limited, as brokers' socket buffers have it, and all together share the
//! line's rate. The target is near.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use engine::flow::budget::Budget;
use engine::flow::event::{Effect, Event, LaneId};
use engine::flow::settings::ShardSettings;
use engine::model::Side;
use protocol_client::batch::BatchHeader;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::RawFetch;
use protocol_client::wire::produce::{RawProduce, RawProduceAnswer};

use crate::rig::{Asked, Rig, produced, sized};

/// With how much TCP begins, and begins again after a while in which nothing was to be sent.
const FIRST_WINDOW_BYTES: f64 = 90_000.0;

/// That while.
const IDLE_MS: u64 = 300;

/// What a fast target takes in a millisecond, in bytes.
const FAST: f64 = 200_000.0;

/// The default of `kmirror.memory.bytes`.
const BUDGET_BYTES: usize = 64 << 20;

/// What a line is like.
#[derive(Debug, Clone, Copy)]
struct Shape {
    round_trip_ms: u64,
    bytes_per_ms: f64,
    /// What a connection carries for each round trip: `socket.send.buffer.bytes` of a broker, 100 KiB, of which the kernel
    /// makes 125 to 250 KB.
    window_bytes: f64,
    /// Of so many answers one is late by some round trips, because a packet was lost; none if this is zero.
    late_one_in: u32,
    /// What the target takes in a millisecond, in bytes.
    target_bytes_per_ms: f64,
}

/// A partition, an offset, most bytes; or a count of batches.
pub(crate) type Part = (i32, i64, usize);

/// What a broker does for one connection: one request at a time.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// Whoever got something is the last.
    session: Vec<Part>,
    /// On their way, or waiting for those before them.
    asked: VecDeque<Question>,
    /// So much of an answer is not on the line yet.
    sending: Option<(f64, Vec<Part>)>,
    /// On their way, until then.
    answered: VecDeque<(u64, Vec<Part>)>,
    /// What it carries for a round trip at present, when that grows, and when it was busy last.
    window_bytes: f64,
    grows_ms: u64,
    busy_ms: u64,
}

#[derive(Debug)]
struct Question {
    until_ms: u64,
    max_bytes: usize,
    /// What it wants, if it is of no session.
    alone: Option<Vec<Part>>,
}

/// A shard at one end, partitions without end at the other.
struct Distance {
    rig: Rig,
    shape: Shape,
    rng: fastrand::Rng,
    now_ms: u64,
    connections: BTreeMap<LaneId, Connection>,
    opening: Vec<(u64, LaneId)>,
    batch: Bytes,
    target_ends: BTreeMap<i32, i64>,
    /// When the target has written what it was sent.
    target_free_ms: f64,
    /// Answers of the target, each with its time.
    writing: VecDeque<(f64, Event)>,
    arrived_bytes: usize,
    most_held_bytes: usize,
}

impl Distance {
    fn new(partitions: i32, shape: Shape) -> Self {
        let budget = Budget::shared(BUDGET_BYTES, 2);
        let mut rig = Rig::led(ShardSettings { budget, ..ShardSettings::default() }, partitions);
        rig.high_watermark = i64::MAX / 2;
        rig.say_ends(0);
        Self {
            rig,
            shape,
            rng: fastrand::Rng::with_seed(5),
            now_ms: 0,
            connections: BTreeMap::new(),
            opening: Vec::new(),
            batch: sized(0, &[1], 65_000),
            target_ends: BTreeMap::new(),
            target_free_ms: 0.0,
            writing: VecDeque::new(),
            arrived_bytes: 0,
            most_held_bytes: 0,
        }
    }

    /// One millisecond.
    fn step(&mut self) {
        self.now_ms += 1;
        self.rig.pass(1);
        let (now_ms, half_ms) = (self.now_ms, self.shape.round_trip_ms / 2);
        for (_, lane) in self.opening.extract_if(.., |(until_ms, _)| *until_ms <= now_ms) {
            if lane.side == Side::Source {
                self.connections.insert(lane, Connection::default());
            }
            self.rig.feed(Event::LaneUp(lane));
        }
        let mut arrived = Vec::new();
        for (lane, one) in &mut self.connections {
            while let Some((_, parts)) = one.answered.pop_front_if(|(until, _)| *until <= now_ms) {
                arrived.push((*lane, parts));
            }
        }
        for (lane, parts) in arrived {
            let records = parts.iter().map(|(index, offset, count)| {
                (*index, ErrorCode::NONE, repeated(&self.batch, *offset, *count))
            });
            let records = records.collect();
            self.rig.answer_fetch(lane, records);
        }
        self.rig.say_ends(0);
        self.deliver();
        self.most_held_bytes = self.most_held_bytes.max(self.rig.shard.held_bytes());
        for lane in self.rig.connects() {
            let far = if lane.side == Side::Source { self.shape.round_trip_ms } else { 0 };
            self.opening.push((now_ms + 2 * far, lane));
        }
        for lane in self.rig.take(|effect| match effect {
            Effect::Close(lane, _) => Some(*lane),
            _ => None,
        }) {
            self.connections.remove(&lane);
        }
        for asked in self.rig.fetches() {
            if let Some(connection) = self.connections.get_mut(&asked.lane) {
                connection.ask(&asked.request, now_ms + half_ms);
            }
        }
        let batch_bytes = self.batch.len();
        self.connections.values_mut().for_each(|one| one.read(now_ms, batch_bytes));
        self.send();
    }

    /// What connections carry in one millisecond.
    fn send(&mut self) {
        let count = self.connections.values().filter(|one| one.sending.is_some()).count();
        let share = self.shape.bytes_per_ms / count.max(1) as f64;
        for one in self.connections.values_mut() {
            let Some((bytes, parts)) = &mut one.sending else { continue };
            if one.busy_ms == 0 || self.now_ms - one.busy_ms > IDLE_MS {
                one.window_bytes = FIRST_WINDOW_BYTES;
                one.grows_ms = self.now_ms + self.shape.round_trip_ms;
            }
            one.busy_ms = self.now_ms;
            if one.grows_ms <= self.now_ms {
                one.window_bytes = (one.window_bytes * 2.0).min(self.shape.window_bytes);
                one.grows_ms = self.now_ms + self.shape.round_trip_ms;
            }
            *bytes -= share.min(one.window_bytes / self.shape.round_trip_ms as f64);
            if *bytes <= 0.0 {
                let mut until_ms = self.now_ms + self.shape.round_trip_ms / 2;
                if self.shape.late_one_in > 0 && self.rng.u32(..self.shape.late_one_in) == 0 {
                    until_ms += self.shape.round_trip_ms * 2;
                }
                // What is late keeps back what comes behind it on the same connection.
                let before = one.answered.back().map_or(0, |(until_ms, _)| *until_ms);
                one.answered.push_back((until_ms.max(before), std::mem::take(parts)));
                one.sending = None;
            }
        }
    }

    /// The target takes one request after the other.
    fn deliver(&mut self) {
        loop {
            while self.writing.front().is_some_and(|(due, _)| *due <= self.now_ms as f64) {
                let Some((_, event)) = self.writing.pop_front() else { return };
                self.rig.feed(event);
            }
            let asked = self.rig.produces();
            if asked.is_empty() {
                return;
            }
            asked.into_iter().for_each(|one| self.write(one));
        }
    }

    fn write(&mut self, one: Asked<RawProduce>) {
        let mut partitions = Vec::new();
        let mut bytes = 0;
        for part in &one.request.partitions {
            bytes += part.header.len() + part.payload.len();
            let end = self.target_ends.entry(part.index).or_default();
            partitions.push(produced(part, Ok(*end)));
            *end += i64::from(BatchHeader::of(&part.header).last_offset_delta()) + 1;
        }
        self.arrived_bytes += bytes;
        let answer = RawProduceAnswer { throttle: std::time::Duration::ZERO, partitions };
        self.target_free_ms = self.target_free_ms.max(self.now_ms as f64 - 1.0)
            + bytes as f64 / self.shape.target_bytes_per_ms;
        self.writing
            .push_back((self.target_free_ms, Event::Produced(one.lane, one.number, answer)));
    }
}

impl Connection {
    pub(crate) fn ask(&mut self, request: &RawFetch, until_ms: u64) {
        let wanted = request.topics.iter().flat_map(|topic| &topic.partitions);
        let wanted = wanted.map(|want| (want.index, want.offset, want.max_bytes as usize));
        let max_bytes = request.max_bytes as usize;
        if request.session_epoch < 0 {
            let alone = Some(wanted.collect());
            return self.asked.push_back(Question { until_ms, max_bytes, alone });
        }
        if request.session_epoch == 0 {
            self.session.clear();
        }
        for gone in request.forgotten.iter().flat_map(|topic| &topic.partitions) {
            self.session.retain(|(index, ..)| index != gone);
        }
        for wanted in wanted {
            match self.session.iter_mut().find(|(index, ..)| *index == wanted.0) {
                Some(known) => *known = wanted,
                None => self.session.push(wanted),
            }
        }
        self.asked.push_back(Question { until_ms, max_bytes, alone: None });
    }

    /// What a request that comes now is answered with, where no line is between.
    pub(crate) fn at_once(&mut self, request: &RawFetch, batch_bytes: usize) -> Vec<Part> {
        self.ask(request, 0);
        self.read(0, batch_bytes);
        self.sending.take().map(|(_, parts)| parts).unwrap_or_default()
    }

    /// A request that has come is answered with whole batches up to both limits, one at least (KIP-74).
    fn read(&mut self, now_ms: u64, batch_bytes: usize) {
        if self.sending.is_some() {
            return;
        }
        let Some(question) = self.asked.pop_front_if(|question| question.until_ms <= now_ms) else {
            return;
        };
        let wanted = question.alone.as_ref().unwrap_or(&self.session);
        let mut left = question.max_bytes;
        let mut parts = Vec::new();
        for (index, offset, most) in wanted {
            let count = (*most).min(left) / batch_bytes;
            let count = if parts.is_empty() { count.max(1) } else { count };
            if count > 0 {
                parts.push((*index, *offset, count));
                left = left.saturating_sub(count * batch_bytes);
            }
        }
        if question.alone.is_none() {
            let got = |index: i32| parts.iter().any(|(other, ..)| *other == index);
            self.session.sort_by_key(|(index, ..)| got(*index));
        }
        let bytes = parts.iter().map(|(_, _, count)| count * batch_bytes).sum::<usize>() as f64;
        self.sending = Some((bytes, parts));
    }
}

/// So many copies of a batch of one record, from this offset on.
pub(crate) fn repeated(batch: &Bytes, first: i64, count: usize) -> Bytes {
    let mut all = BytesMut::with_capacity(batch.len() * count);
    for offset in first..first + count as i64 {
        all.extend_from_slice(&offset.to_be_bytes());
        all.extend_from_slice(&batch[8..]);
    }
    all.freeze()
}

/// What arrives in a second of the last twenty, in megabytes; what is held stays within the budget.
fn rate(partitions: i32, window_bytes: f64, late_one_in: u32) -> f64 {
    let shape = Shape {
        round_trip_ms: 100,
        bytes_per_ms: 125_000.0,
        late_one_in,
        window_bytes,
        target_bytes_per_ms: FAST,
    };
    let mut line = Distance::new(partitions, shape);
    for _ in 0..40_000 {
        line.step();
    }
    let before = line.arrived_bytes;
    for _ in 0..20_000 {
        line.step();
    }
    assert!(line.most_held_bytes <= BUDGET_BYTES, "{} bytes are held", line.most_held_bytes);
    (line.arrived_bytes - before) as f64 / 20e6
}

#[test]
fn one_partition_fills_a_long_line() {
    let rate = rate(1, 125e3, 50);
    assert!(rate > 90.0, "{rate} MB/s of 125");
}

/// As on a machine that is busy at first: the target is the limit, so whatever is read ahead only takes memory.
#[test]
fn a_near_broker_that_looked_far_is_read_by_one_lane_again() {
    let mut line = Distance::new(
        1,
        Shape {
            round_trip_ms: 4,
            bytes_per_ms: 2e6,
            window_bytes: 2e6,
            late_one_in: 0,
            target_bytes_per_ms: 50_000.0,
        },
    );
    (0..3_000).for_each(|_| line.step());
    assert!(line.connections.len() > 1, "it looks far");
    line.shape.round_trip_ms = 1;
    (0..3_000).for_each(|_| line.step());
    let before = line.arrived_bytes;
    line.most_held_bytes = 0;
    (0..3_000).for_each(|_| line.step());
    assert_eq!(line.connections.len(), 1);
    assert!(line.most_held_bytes <= 5 << 20, "{} bytes are held", line.most_held_bytes);
    let rate = (line.arrived_bytes - before) as f64 / 3e6;
    assert!(rate > 45.0, "{rate} MB/s of 50");
}

#[test]
fn several_partitions_fill_a_long_line() {
    let rate = rate(10, 250e3, 50);
    assert!(rate > 90.0, "{rate} MB/s of 125");
}

/// One answer holds no more than `max.partition.fetch.bytes` then, which is less than the line would take.
#[test]
fn connections_that_carry_much_are_not_left_alone() {
    let rate = rate(1, 1e6, 0);
    assert!(rate > 90.0, "{rate} MB/s of 125");
}
