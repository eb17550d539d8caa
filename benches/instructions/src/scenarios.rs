//! What is counted. A scenario checks that it did what it says; its names and sizes are part of the committed numbers.

use bytes::Bytes;
use engine::index::OffsetIndex;
use protocol_client::batch::{BatchBuilder, Compression};

use crate::counted_region;
use crate::world::World;

/// Timestamp of all records, in milliseconds.
const TIMESTAMP_MS: i64 = 1_795_000_000_000;

/// A fixed piece of work.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// How many units of what it consists of.
    pub(crate) units: (u64, &'static str),
    pub(crate) run: fn(),
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "sealed-64k", units: (2000, "batch"), run: || forward(64, 2000) },
    Scenario { name: "sealed-1m", units: (100, "batch"), run: || forward(1024, 100) },
    Scenario { name: "merge-none", units: (50_000, "record"), run: || merge(Compression::None) },
    Scenario { name: "merge-lz4", units: (50_000, "record"), run: || merge(Compression::Lz4) },
    Scenario { name: "trickle", units: (2000, "record"), run: trickle },
    Scenario { name: "start-1000", units: (1000, "partition"), run: start },
    Scenario { name: "idle-1000", units: (200, "empty fetch"), run: idle },
    Scenario { name: "metadata-1000", units: (20, "refresh"), run: metadata },
    Scenario { name: "index-append", units: (20_000, "breakpoint"), run: append },
    Scenario { name: "index-translate", units: (20_000, "translation"), run: translate },
];

const PARTITIONS: usize = 10;
const MANY: usize = 1000;

/// Letters in no order.
fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = 1u64;
    let letter = |_| {
        noise =
            noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b' ' + (noise >> 58) as u8
    };
    (0..bytes).map(letter).collect()
}

fn batch(codec: Compression, records: usize, record_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::with_compression(codec);
    for _ in 0..records {
        builder.push(None, Some(&noise(record_bytes)), &[], TIMESTAMP_MS);
    }
    builder.build().expect("a valid batch").bytes
}

/// Batches of `records` records of a KiB go as they are.
fn forward(records: usize, batches: i64) {
    let batch = batch(Compression::None, records, 1000);
    let mut world = World::new(PARTITIONS, batch, records as i64, batches / PARTITIONS as i64);
    world.settle();
    assert_eq!(world.delivered(), records as u64 * batches.unsigned_abs());
}

/// Batches of one record become larger ones.
fn merge(codec: Compression) {
    let batch = batch(codec, 1, 200);
    let mut world = World::new(PARTITIONS, batch, 1, 50_000 / PARTITIONS as i64);
    world.settle();
    assert_eq!(world.delivered(), 50_000);
}

/// One record at a time, each in another of a thousand partitions.
fn trickle() {
    let mut world = idle_world();
    for round in 0..2000 {
        world.append(round * 7 % MANY);
        world.settle();
    }
    assert_eq!(world.delivered(), 2000);
}

/// A thousand partitions from nothing to the first waiting fetch.
fn start() {
    let mut world = World::new(MANY, batch(Compression::None, 1, 200), 1, 0);
    world.settle();
    assert!(world.is_waiting());
}

/// A thousand partitions that have come to rest; how they came there does not count.
fn idle_world() -> World {
    let mut world = World::new(MANY, batch(Compression::None, 1, 200), 1, 0);
    world.counts = false;
    world.settle();
    world.counts = true;
    world
}

/// A hundred seconds in which nothing comes.
fn idle() {
    let mut world = idle_world();
    for _ in 0..200 {
        world.pass_idly();
        world.settle();
        assert!(world.is_waiting());
    }
}

/// Metadata in which nothing has changed.
fn metadata() {
    let mut world = idle_world();
    for _ in 0..10 {
        world.say_metadata();
    }
    assert!(world.is_waiting());
}

/// Ten records, then a hole in the source, as transactions leave them; 20 000 times.
fn append() {
    let mut index = OffsetIndex::new(usize::MAX);
    index.begin(0, 0);
    counted_region(|| fill(&mut index));
    assert!(index.end().is_some());
}

fn fill(index: &mut OffsetIndex) {
    for nth in 0..20_000 {
        index.append(nth * 11, nth * 10, 10);
    }
}

/// Positions from all over an index.
fn translate() {
    let mut index = OffsetIndex::new(usize::MAX);
    index.begin(0, 0);
    fill(&mut index);
    let found = counted_region(|| {
        let positions = (0..20_000).map(|nth: i64| nth * 7_919 % 220_000);
        positions.filter_map(|position| index.translate(position).position()).count()
    });
    assert_eq!(found, 20_000);
}
