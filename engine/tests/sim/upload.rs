//! A long line to the target in virtual time: what a connection carries for each round trip is small, as brokers' socket
//! buffers have it, what the line carries is not. The source is near and has records without end.
//!
//! The target is strict: what comes out of order ends the test.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use engine::flow::event::{Effect, Event, LaneId};
use engine::flow::settings::ShardSettings;
use engine::model::Side;
use protocol_client::batch::BatchHeader;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::produce::{RawProduce, RawProduceAnswer};

use crate::distance::{Connection, repeated};
use crate::rig::{Asked, Rig, produced, sized};

/// 1 Gbit/s.
const LINE_BYTES_PER_MS: f64 = 125_000.0;

/// What a connection carries for each round trip: `socket.receive.buffer.bytes` of a broker, 100 KiB, of which the kernel
/// makes 125 to 250 KB.
const WINDOW_BYTES: f64 = 150_000.0;

/// A connection to the target.
#[derive(Debug, Default)]
struct Lane {
    /// Not on the line yet: so many bytes of each.
    waiting: VecDeque<(f64, Asked<RawProduce>)>,
    /// On its way until then.
    under_way: VecDeque<(u64, Asked<RawProduce>)>,
    /// Answers on their way back until then.
    answers: VecDeque<(u64, u64, RawProduceAnswer)>,
}

struct Upload {
    rig: Rig,
    round_trip_ms: u64,
    now_ms: u64,
    source: BTreeMap<LaneId, Connection>,
    opening: Vec<(u64, LaneId)>,
    lanes: BTreeMap<LaneId, Lane>,
    batch: Bytes,
    /// The next sequence number and the end of each partition.
    logs: BTreeMap<i32, (i32, i64)>,
    arrived_bytes: usize,
    most_lanes: usize,
    /// The source has little to read.
    trickles: bool,
}

impl Upload {
    fn new(partitions: i32, round_trip_ms: u64) -> Self {
        let mut rig = Rig::led(ShardSettings::default(), partitions);
        rig.high_watermark = i64::MAX / 2;
        rig.say_ends(0);
        Self {
            rig,
            round_trip_ms,
            now_ms: 0,
            source: BTreeMap::new(),
            opening: Vec::new(),
            lanes: BTreeMap::new(),
            batch: sized(0, &[1], 65_000),
            logs: BTreeMap::new(),
            arrived_bytes: 0,
            most_lanes: 0,
            trickles: false,
        }
    }

    /// Megabytes a second that arrive in so many seconds.
    fn run(&mut self, seconds: u64) -> f64 {
        let before = self.arrived_bytes;
        (0..seconds * 1000).for_each(|_| self.step());
        (self.arrived_bytes - before) as f64 / (seconds * 1_000_000) as f64
    }

    /// One millisecond.
    fn step(&mut self) {
        self.now_ms += 1;
        self.rig.pass(1);
        self.connect();
        self.read();
        for asked in self.rig.produces() {
            let parts = asked.request.partitions.iter();
            let bytes: usize = parts.map(|part| part.header.len() + part.payload.len()).sum();
            // A lane that is closed meanwhile takes nothing.
            if let Some(lane) = self.lanes.get_mut(&asked.lane) {
                lane.waiting.push_back((bytes as f64, asked));
            }
        }
        self.carry();
        self.append();
        self.answer();
        self.most_lanes = self.most_lanes.max(self.lanes.len());
    }

    fn connect(&mut self) {
        let now_ms = self.now_ms;
        for (_, lane) in self.opening.extract_if(.., |(until_ms, _)| *until_ms <= now_ms) {
            match lane.side {
                Side::Source => drop(self.source.insert(lane, Connection::default())),
                Side::Target => drop(self.lanes.insert(lane, Lane::default())),
            }
            self.rig.feed(Event::LaneUp(lane));
        }
        self.rig.say_ends(0);
        for lane in self.rig.connects() {
            let far_ms = if lane.side == Side::Target { self.round_trip_ms } else { 0 };
            self.opening.push((now_ms + 2 * far_ms, lane));
        }
        for lane in self.rig.take(|effect| match effect {
            Effect::Close(lane, _) => Some(*lane),
            _ => None,
        }) {
            let closed = self.lanes.remove(&lane);
            let idle = closed.is_none_or(|one| one.waiting.is_empty() && one.under_way.is_empty());
            assert!(idle, "a lane is closed while requests are under way");
        }
    }

    fn read(&mut self) {
        if self.trickles && !self.now_ms.is_multiple_of(50) {
            return;
        }
        for asked in self.rig.fetches() {
            let Some(connection) = self.source.get_mut(&asked.lane) else { continue };
            let mut parts = connection.at_once(&asked.request, self.batch.len());
            parts.truncate(if self.trickles { 1 } else { usize::MAX });
            let records = parts.iter().map(|(index, offset, count)| {
                (*index, ErrorCode::NONE, repeated(&self.batch, *offset, *count))
            });
            let records = records.collect();
            self.rig.answer_fetch(asked.lane, records);
        }
    }

    /// What the connections carry in one millisecond.
    fn carry(&mut self) {
        let busy = self.lanes.values().filter(|lane| !lane.waiting.is_empty()).count();
        let share = LINE_BYTES_PER_MS / busy.max(1) as f64;
        let until_ms = self.now_ms + self.round_trip_ms / 2;
        for lane in self.lanes.values_mut() {
            let mut room = share.min(WINDOW_BYTES / self.round_trip_ms as f64);
            while let Some((left, _)) = lane.waiting.front_mut() {
                let carried = left.min(room);
                *left -= carried;
                room -= carried;
                if *left > 0.0 {
                    break;
                }
                let done = lane.waiting.pop_front().map(|(_, asked)| (until_ms, asked));
                lane.under_way.extend(done);
            }
        }
    }

    /// What has arrived is appended, if it is what comes next.
    fn append(&mut self) {
        let (now_ms, back_ms) = (self.now_ms, self.now_ms + self.round_trip_ms / 2);
        for lane in self.lanes.values_mut() {
            while let Some((_, asked)) = lane.under_way.pop_front_if(|(until, _)| *until <= now_ms)
            {
                let mut partitions = Vec::new();
                for part in &asked.request.partitions {
                    let header = BatchHeader::of(&part.header);
                    let (sequence, end) = self.logs.entry(part.index).or_default();
                    assert_eq!(header.base_sequence(), *sequence, "partition {}", part.index);
                    partitions.push(produced(part, Ok(*end)));
                    *sequence += header.record_count();
                    *end += i64::from(header.record_count());
                    self.arrived_bytes += part.header.len() + part.payload.len();
                }
                let answer = RawProduceAnswer { throttle: Duration::ZERO, partitions };
                lane.answers.push_back((back_ms, asked.number, answer));
            }
        }
    }

    fn answer(&mut self) {
        let now_ms = self.now_ms;
        let mut answers = Vec::new();
        for (id, lane) in &mut self.lanes {
            while let Some((_, number, answer)) =
                lane.answers.pop_front_if(|(until, ..)| *until <= now_ms)
            {
                answers.push(Event::Produced(*id, number, answer));
            }
        }
        answers.into_iter().for_each(|event| self.rig.feed(event));
    }
}

#[test]
fn partitions_spread_over_as_many_lanes_as_pay() {
    let mut far = Upload::new(40, 100);
    far.run(30);
    let rate = far.run(10);
    // Each of forty connections carries 1.5 MB/s.
    assert!(rate > 54.0, "{rate} MB/s of 60");
    assert_eq!(far.lanes.len(), 40, "no more than there are partitions");
}

#[test]
fn a_near_target_has_one_lane() {
    let mut near = Upload::new(40, 2);
    let rate = near.run(10);
    assert!(rate > 60.0, "{rate} MB/s");
    assert_eq!(near.most_lanes, 1);
}

/// Order is kept while partitions come and go between lanes, and nothing is sent twice.
#[test]
fn lanes_go_when_there_is_little_to_carry() {
    let mut line = Upload::new(12, 60);
    line.run(20);
    assert!(line.lanes.len() > 4, "{} lanes", line.lanes.len());
    line.trickles = true;
    line.run(200);
    assert!(line.lanes.len() <= 2, "{} lanes", line.lanes.len());
    line.trickles = false;
    line.run(60);
    assert!(line.lanes.len() > 4, "{} lanes", line.lanes.len());
}
