//! Limits of bandwidth, in virtual time: shards that always find more to read, under limits that they share.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use engine::flow::bandwidth::{Bandwidth, Limit, Rate, Schedule, Window};
use engine::flow::event::LaneId;
use engine::flow::settings::ShardSettings;
use protocol_client::wire::error_code::ErrorCode;

use crate::rig::{Rig, sized};

const MB: u64 = 1_000_000;

/// How long a broker holds a fetch that finds nothing.
const IDLE_MS: u64 = 500;

fn limit(bytes_per_second: u64) -> Limit {
    Limit::new(Schedule::always(Rate::new(bytes_per_second).unwrap()), 0)
}

fn of_flow(bytes_per_second: u64) -> Bandwidth {
    Bandwidth::new(Some(limit(bytes_per_second)), Vec::new()).unwrap()
}

/// A shard, and a source with a log of equal batches that has an end only if it is told so.
struct Reader {
    rig: Rig,
    round_trip_ms: u64,
    batch_bytes: usize,
    /// The log is empty until then.
    begins_ms: u64,
    /// When they are there, by number.
    coming: BTreeMap<(u64, usize), (LaneId, Bytes)>,
    brought: Vec<(u64, u64)>,
    fetches: usize,
    ticks: usize,
    largest_ask: i32,
    made: BTreeMap<(i64, usize), Bytes>,
}

impl Reader {
    fn new(bandwidth: &Bandwidth, lanes: u16, batch_bytes: usize, round_trip_ms: u64) -> Self {
        let settings = ShardSettings {
            bandwidth: Some(bandwidth.clone()),
            least_fetch_lanes: lanes,
            most_fetch_lanes: lanes,
            ..ShardSettings::default()
        };
        Self {
            rig: Rig::running(settings, 1),
            round_trip_ms,
            batch_bytes,
            begins_ms: 0,
            coming: BTreeMap::new(),
            brought: Vec::new(),
            fetches: 0,
            ticks: 0,
            largest_ask: 0,
            made: BTreeMap::new(),
        }
    }

    /// One millisecond.
    fn step(&mut self, now_ms: u64) {
        self.ticks += self.rig.pass(1);
        while let Some(first) = self.coming.first_entry().filter(|first| first.key().0 <= now_ms) {
            let (lane, records) = first.remove();
            self.brought.push((now_ms, records.len() as u64));
            self.rig.answer_fetch(lane, vec![(0, ErrorCode::NONE, records)]);
        }
        self.deliver();
        for asked in self.rig.fetches() {
            self.fetches += 1;
            self.largest_ask = self.largest_ask.max(asked.request.max_bytes);
            if now_ms < self.begins_ms {
                let due = (now_ms + IDLE_MS).min(self.begins_ms.max(now_ms + 1));
                self.coming.insert((due, self.fetches), (asked.lane, Bytes::new()));
                continue;
            }
            let wanted = asked.request.topics.first().map(|topic| &topic.partitions[0]);
            let (offset, most) = wanted.map_or((0, 0), |want| (want.offset, want.max_bytes));
            let most = most.min(asked.request.max_bytes) as usize;
            let count = (most / self.batch_bytes).max(1);
            let records = self.records(offset, count);
            let due = now_ms + self.round_trip_ms;
            self.coming.insert((due, self.fetches), (asked.lane, records));
        }
    }

    /// The target takes everything at once.
    fn deliver(&mut self) {
        loop {
            let asked = self.rig.produces();
            if asked.is_empty() {
                return;
            }
            for one in asked {
                let base_offset = self.rig.position();
                self.rig.answer_produce(&one, Ok(base_offset));
            }
        }
    }

    /// Batches of one record each, from an offset on.
    fn records(&mut self, first: i64, count: usize) -> Bytes {
        let bytes = self.batch_bytes - 80;
        let make = || sized(first, &vec![1; count], bytes);
        self.made.entry((first, count)).or_insert_with(make).clone()
    }

    fn bytes_in(&self, span_ms: Range<u64>) -> u64 {
        let within = self.brought.iter().filter(|(at, _)| span_ms.contains(at));
        within.map(|(_, bytes)| bytes).sum()
    }
}

fn run(readers: &mut [&mut Reader], ms: Range<u64>) {
    for now_ms in ms {
        readers.iter_mut().for_each(|reader| reader.step(now_ms));
    }
}

#[track_caller]
fn assert_near(bytes: u64, wanted: u64, percent: u64) {
    let apart = bytes.abs_diff(wanted) * 100;
    assert!(apart <= wanted * percent, "{bytes} bytes instead of {wanted}");
}

#[test]
fn a_limit_holds_over_any_ten_seconds() {
    for (rate, round_trip_ms, lanes) in [(MB, 1, 1), (2 * MB, 30, 1), (3 * MB, 100, 3)] {
        let mut reader = Reader::new(&of_flow(rate), lanes, 10_000, round_trip_ms);
        run(&mut [&mut reader], 0..25_000);
        for start in (500..15_000).step_by(500) {
            assert_near(reader.bytes_in(start..start + 10_000), rate * 10, 5);
        }
        let first = reader.bytes_in(0..1_000);
        assert!(first <= rate * 13 / 10, "{first} bytes in the first second");
        assert!(reader.ticks <= reader.fetches + 10, "{} ticks: it polls", reader.ticks);
        assert!(reader.largest_ask as u64 <= rate / 10);
    }
}

#[test]
fn shards_share_alike_however_many_lanes_they_have() {
    let flow = of_flow(2 * MB);
    let mut one = Reader::new(&flow, 1, 10_000, 2);
    let mut other = Reader::new(&flow, 4, 10_000, 2);
    run(&mut [&mut one, &mut other], 0..21_000);
    let shares = [&one, &other].map(|reader| reader.bytes_in(1_000..21_000));
    assert_near(shares[0] + shares[1], 40 * MB, 3);
    assert_near(shares[0], 20 * MB, 10);
}

#[test]
fn flows_have_limits_of_their_own_under_that_of_a_cluster() {
    let cluster = limit(4 * MB);
    let flow = |own: Option<Limit>| Bandwidth::new(own, vec![cluster.clone()]).unwrap();
    let mut narrow = Reader::new(&flow(Some(limit(MB))), 1, 10_000, 2);
    let mut wide = Reader::new(&flow(None), 3, 10_000, 2);
    let on_two_threads = flow(None);
    let mut one = Reader::new(&on_two_threads, 1, 10_000, 2);
    let mut other = Reader::new(&on_two_threads, 1, 10_000, 2);
    run(&mut [&mut narrow, &mut wide, &mut one, &mut other], 0..21_000);
    assert_near(narrow.bytes_in(1_000..21_000), 20 * MB, 5);
    assert_near(wide.bytes_in(1_000..21_000), 30 * MB, 5);
    assert_near(one.bytes_in(1_000..21_000), 15 * MB, 5);
    assert_near(other.bytes_in(1_000..21_000), 15 * MB, 5);
}

#[test]
fn who_waits_for_records_keeps_nothing_from_who_has_some() {
    let flow = of_flow(MB);
    let mut idle: Vec<Reader> = (0..4).map(|_| Reader::new(&flow, 1, 10_000, 2)).collect();
    idle.iter_mut().for_each(|reader| reader.begins_ms = 12_000);
    let mut busy = Reader::new(&flow, 1, 10_000, 2);
    for now_ms in 0..24_000 {
        idle.iter_mut().for_each(|reader| reader.step(now_ms));
        busy.step(now_ms);
    }
    assert_near(busy.bytes_in(1_000..11_000), 10 * MB, 5);
    // Then they have some too.
    let all = busy.bytes_in(12_000..22_000)
        + idle.iter().map(|reader| reader.bytes_in(12_000..22_000)).sum::<u64>();
    assert_near(all, 10 * MB, 5);
    assert_near(busy.bytes_in(13_000..23_000), 2 * MB, 15);
}

#[test]
fn batches_larger_than_the_limit_hold_it_on_average() {
    let mut reader = Reader::new(&of_flow(64 << 10), 1, 1 << 20, 2);
    // A batch is sixteen seconds' worth.
    run(&mut [&mut reader], 0..161_000);
    let count = reader.brought.len() as u64;
    assert!((10..=11).contains(&count), "{count} batches");
    assert_eq!(reader.rig.position(), count as i64);
}

#[test]
fn the_rate_changes_with_the_time_of_the_day() {
    let window = Window { start_minute: 0, minutes: 1, rate: Rate::new(8 * MB).unwrap() };
    let schedule = Schedule::new(Rate::new(MB).unwrap(), &[window]).unwrap();
    // Moment zero is five seconds before midnight.
    let limit = Limit::new(schedule, 20_000 * 86_400_000 - 5_000);
    let flow = Bandwidth::new(Some(limit), Vec::new()).unwrap();
    let mut reader = Reader::new(&flow, 1, 10_000, 2);
    run(&mut [&mut reader], 0..80_000);
    assert_near(reader.bytes_in(1_000..5_000), 4 * MB, 5);
    assert_near(reader.bytes_in(5_000..15_000), 80 * MB, 5);
    assert_near(reader.bytes_in(66_000..76_000), 10 * MB, 5);
}

#[test]
fn a_time_without_limit_is_one() {
    let window = Window { start_minute: 0, minutes: 1, rate: Rate::UNLIMITED };
    let schedule = Schedule::new(Rate::new(MB).unwrap(), &[window]).unwrap();
    let limit = Limit::new(schedule, 20_000 * 86_400_000 - 2_000);
    let flow = Bandwidth::new(Some(limit), Vec::new()).unwrap();
    let mut reader = Reader::new(&flow, 1, 100_000, 2);
    run(&mut [&mut reader], 0..3_000);
    assert!(reader.bytes_in(0..2_000) < 3 * MB);
    // Each round trip brings what a lane asks for that has no limit.
    assert!(reader.bytes_in(2_000..3_000) > 100 * MB);
}

#[test]
fn what_a_lost_connection_would_have_brought_goes_to_others() {
    let mut reader = Reader::new(&of_flow(MB), 1, 10_000, 2);
    run(&mut [&mut reader], 0..1_000);
    for second in 1..11 {
        // A request is lost with its connection, and another connection opens at once.
        if let Some((_, (lane, _))) = reader.coming.pop_first() {
            reader.rig.feed(engine::flow::event::Event::LaneDown(lane));
        }
        for now_ms in second * 1_000..second * 1_000 + 1_000 {
            reader.rig.connect_all();
            reader.step(now_ms);
        }
    }
    // A connection is away for up to some hundred milliseconds.
    assert!(reader.bytes_in(1_000..11_000) > 8 * MB);
}
