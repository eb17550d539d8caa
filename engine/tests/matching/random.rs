//! A mirror makes a copy in random ways, cleaners and retention work on both logs, others write in
//! between: what the matcher says must be exactly what the mirror did.

use std::collections::BTreeMap;

use engine::matching::{Ask, Divergence, MatchError, MatchSettings, Matcher, Start, StrayKind};
use fastrand::Rng;
use proptest::prelude::*;
use protocol_client::batch::{AbortedTransaction, Compression, Entry, crc};

use crate::logs::{self, Batch, FOREIGN, Log, OWN, Record, TRANSACTIONAL};

const CODECS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

struct World {
    rng: Rng,
    source: Log,
    target: Log,
    /// Target offset to source offset, for every copy.
    copies: BTreeMap<i64, i64>,
    foreign: Vec<i64>,
    next_value: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let rng = Rng::with_seed(seed);
        let (source, target) = (Log::default(), Log::default());
        let mut world =
            Self { rng, source, target, copies: BTreeMap::new(), foreign: vec![], next_value: 0 };
        world.source.end = world.rng.i64(0..500);
        world.target.end = world.rng.i64(0..500);
        world
    }

    fn records(&mut self, offset: i64) -> Vec<Record> {
        let count = self.rng.i64(1..12);
        let record = |i| {
            self.next_value += 1;
            let value = format!("value {}", self.next_value).into_bytes();
            Record { offset: offset + i, timestamp: 1_000 + self.rng.i64(0..5), value }
        };
        (0..count).map(record).collect()
    }

    fn write_source(&mut self, batches: usize) {
        for _ in 0..batches {
            let records = self.records(self.source.end);
            let codec = CODECS[self.rng.usize(..3)];
            let mut batch = Batch::new(records, codec, -1);
            match self.rng.u8(..10) {
                0 => {
                    let producer_id = 1_000 + self.source.end;
                    (batch.producer_id, batch.attributes) = (producer_id, TRANSACTIONAL);
                    let aborts = self.rng.bool();
                    if aborts {
                        let first_offset = self.source.end;
                        self.source.aborted.push(AbortedTransaction { first_offset, producer_id });
                    }
                    self.source.push(batch);
                    let marker = Batch::marker(self.source.end, producer_id, !aborts);
                    self.source.push(marker);
                    continue;
                }
                1 => batch.append_time = Some(9_999),
                _ => {}
            }
            self.source.push(batch);
        }
    }

    /// Appends copies of `records` as one batch.
    fn copy(&mut self, records: &[Record], codec: Compression, base_timestamp: Option<i64>) {
        let mut copies = records.to_vec();
        for (i, one) in copies.iter_mut().enumerate() {
            one.offset = self.target.end + i as i64;
            self.copies.insert(one.offset, records[i].offset);
        }
        let mut batch = Batch::new(copies, codec, OWN);
        batch.base_timestamp = base_timestamp.unwrap_or(batch.base_timestamp);
        self.target.push(batch);
    }

    /// Copies what the source shows from `from` on, as far as `share` says.
    fn mirror(&mut self, from: i64, share: f64) {
        let batches: Vec<Batch> = self.source.visible().cloned().collect();
        let upto = (batches.len() as f64 * share) as usize;
        let mut pending: Vec<Record> = Vec::new();
        for batch in &batches[..upto] {
            let mut records: Vec<Record> =
                batch.records.iter().filter(|one| one.offset >= from).cloned().collect();
            if let Some(time) = batch.append_time {
                records.iter_mut().for_each(|one| one.timestamp = time);
            }
            if records.is_empty() {
                continue;
            }
            let dense = records.len() as i64 == batch.last - batch.base + 1;
            let may_seal = dense && batch.append_time.is_none() && pending.is_empty();
            if may_seal && self.rng.bool() {
                self.copy(&records, batch.codec, Some(batch.base_timestamp));
            } else {
                pending.extend(records);
                while !pending.is_empty() && self.rng.u8(..3) > 0 {
                    let rest = pending.split_off(self.rng.usize(1..=pending.len()));
                    let codec = CODECS[self.rng.usize(..3)];
                    self.copy(&pending, codec, None);
                    pending = rest;
                }
            }
            if self.rng.u8(..8) == 0 {
                self.intrude();
            }
        }
        if !pending.is_empty() {
            self.copy(&pending, Compression::None, None);
        }
    }

    fn intrude(&mut self) {
        if self.rng.bool() {
            let records = self.records(self.target.end);
            self.foreign.extend(records.iter().map(|one| one.offset));
            self.target.push(Batch::new(records, Compression::None, FOREIGN));
        } else {
            self.target.push(Batch::marker(self.target.end, OWN, true));
        }
    }

    fn clean(&mut self, source: bool, target: bool) {
        let keep = self.rng.f64();
        let seed = self.rng.u64(..);
        let kept = move |offset: i64| Rng::with_seed(seed ^ offset as u64).f64() < keep;
        if source {
            self.source.compact(&mut self.rng, kept);
        }
        if target {
            self.target.compact(&mut self.rng, move |offset| kept(offset + 1_000_000));
        }
    }

    /// Pairs that are left on both sides from `start` on.
    fn pairs(&self, start: i64) -> Vec<(i64, i64)> {
        let left = |log: &Log, offset: i64| {
            let mut records = log.batches.iter().flat_map(|batch| &batch.records);
            offset >= log.start && records.any(|one| one.offset == offset)
        };
        self.copies
            .iter()
            .filter(|(copy, original)| {
                **copy >= start && left(&self.target, **copy) && left(&self.source, **original)
            })
            .map(|(copy, original)| (*original, *copy))
            .collect()
    }

    fn foreign_left(&self, start: i64) -> Vec<i64> {
        let records = self.target.batches.iter().flat_map(|batch| &batch.records);
        let left: Vec<i64> = records.map(|one| one.offset).collect();
        let start = start.max(self.target.start);
        self.foreign.iter().copied().filter(|at| *at >= start && left.contains(at)).collect()
    }
}

fn check(world: &World, start: Start, from: (i64, i64), limit: usize) {
    let outcome = logs::drive(&world.source, &world.target, start, logs::own(), limit).unwrap();
    let expected = world.pairs(from.1);
    let paired: Vec<(i64, i64)> = outcome
        .runs
        .iter()
        .flat_map(|run| {
            (0..run.count as i64).map(move |i| (run.source_first + i, run.target_first + i))
        })
        .collect();
    assert_eq!(paired, expected);
    let resume = expected.last().map_or(from.0, |(original, _)| original + 1);
    assert_eq!(outcome.resume_source, resume);
    assert_eq!(outcome.divergence, None);
    assert_eq!((outcome.target_next, outcome.start_found), (world.target.end, true));
    let foreign: Vec<i64> = outcome
        .strays
        .iter()
        .filter(|stray| stray.kind == StrayKind::Foreign)
        .flat_map(|stray| (0..stray.count as i64).map(move |i| stray.target_first + i))
        .collect();
    assert_eq!(foreign, world.foreign_left(from.1));
    assert_eq!(outcome.counts.matched, expected.len() as u64);
    assert_eq!(outcome.counts.missing + outcome.counts.repeated, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_was_copied_is_found(
        seed: u64,
        share in 0.0..1.0f64,
        clean_source: bool,
        clean_target: bool,
        head_lost: bool,
        source_head_lost: bool,
        limit in 1usize..9,
    ) {
        let mut world = World::new(seed);
        world.write_source(3);
        // The pair may lie inside a batch.
        let from = (world.rng.i64(world.source.batches[0].base..world.source.end), world.target.end);
        world.write_source(30);
        world.mirror(from.0, share);
        if clean_source || clean_target {
            world.clean(clean_source, clean_target);
        }
        if head_lost && world.target.end > from.1 {
            let start = world.rng.i64(from.1..world.target.end);
            world.target.truncate_head(start);
        }
        if source_head_lost {
            let start = world.rng.i64(from.0..world.source.end);
            world.source.truncate_head(start);
        }
        check(&world, logs::pair(from.0, from.1), from, limit);
    }

    #[test]
    fn a_start_that_nobody_wrote_down_is_found(seed: u64, share in 0.0..1.0f64, limit in 1usize..9) {
        let mut world = World::new(seed);
        world.write_source(12);
        world.mirror(0, 1.0);
        let copied: Vec<i64> = world.copies.values().copied().collect();
        // MirrorMaker 2 says that it has stored everything up to one of its records.
        let stored = copied[world.rng.usize(..copied.len())] + 1;
        let behind = world.copies.iter().find(|(_, original)| **original == stored - 1).unwrap();
        let from = (stored, behind.0 + 1);
        world.write_source(10);
        world.mirror(copied[copied.len() - 1] + 1, share);
        check(&world, Start::Source(stored), from, limit);
    }

    #[test]
    fn what_was_copied_again_is_stepped_over(seed: u64, limit in 1usize..9) {
        let mut world = World::new(seed);
        let from = (world.source.end, world.target.end);
        world.write_source(20);
        world.mirror(from.0, 0.6);
        let copied = world.copies.clone();
        let back = world.rng.i64(from.0..world.source.end);
        let first_repeat = world.target.end;
        world.mirror(back, 1.0);
        let last = copied.values().next_back().copied().unwrap_or(-1);
        let repeated = world.copies.iter().filter(|(at, of)| **at >= first_repeat && **of <= last);
        let repeated: Vec<i64> = repeated.map(|(at, _)| *at).collect();
        if back > last + 1 {
            return Ok(());
        }
        let outcome = logs::drive(
            &world.source,
            &world.target,
            logs::pair(from.0, from.1),
            logs::own(),
            limit,
        );
        let outcome = outcome.unwrap();
        prop_assert_eq!(outcome.counts.repeated, repeated.len() as u64);
        prop_assert_eq!(outcome.divergence, None);
        prop_assert_eq!(outcome.resume_source, world.copies.values().max().unwrap() + 1);
    }

    #[test]
    fn a_tail_that_was_written_anew_is_a_divergence(seed: u64, limit in 1usize..9) {
        let mut world = World::new(seed);
        let from = (world.source.end, world.target.end);
        world.write_source(8);
        world.mirror(from.0, 0.7);
        // Somebody made the source anew: other records at the offsets of those that were copied.
        let copied = world.copies.values().copied().max();
        let Some(last) = copied else { return Ok(()) };
        let cut = world.rng.i64(from.0..=last);
        for one in world.source.batches.iter_mut().flat_map(|batch| &mut batch.records) {
            if one.offset >= cut {
                one.value.push(b'!');
            }
        }
        let start = logs::pair(from.0, from.1);
        let outcome = logs::drive(&world.source, &world.target, start, logs::own(), limit).unwrap();
        let first = world.copies.iter().find(|(_, original)| **original >= cut).unwrap();
        let told = match outcome.divergence {
            Some(Divergence::Different { target, .. }) => target,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!(told, *first.0);
        prop_assert!(outcome.resume_source <= cut);
    }

    #[test]
    fn damaged_batches_are_errors_and_never_more(
        seed: u64,
        at: prop::sample::Index,
        which: prop::sample::Index,
        byte: u8,
        in_source: bool,
        sealed: bool,
        slack in prop::sample::select(vec![0, 50]),
    ) {
        let mut world = World::new(seed);
        let from = (world.source.end, world.target.end);
        world.write_source(10);
        world.mirror(from.0, 0.8);
        if world.target.batches.is_empty() {
            return Ok(());
        }
        let log = if in_source { &world.source } else { &world.target };
        let damaged = which.get(&log.batches).entry();
        let mut bytes = damaged.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if sealed {
            let crc = crc::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let Ok(bad) = Entry::new(bytes.into()) else { return Ok(()) };
        let settings = MatchSettings { slack_records: slack, ..logs::own() };
        let mut matcher = Matcher::new(logs::pair(from.0, from.1), world.target.end, settings);
        for _ in 0..1_000 {
            let (side, mut chunk) = match matcher.ask() {
                Ask::Source { from } => (true, world.source.chunk(from, i64::MAX, 3)),
                Ask::Target { from } => (false, world.target.chunk(from, world.target.end, 3)),
                Ask::Nothing => return Ok(()),
            };
            if side == in_source {
                chunk.entries.iter_mut().filter(|one| **one == damaged).for_each(|one| *one = bad.clone());
            }
            let fed = if side { matcher.source(chunk) } else { matcher.target(chunk) };
            if let Err(error) = fed {
                prop_assert_eq!(matches!(error, MatchError::Source(_)), in_source);
                return Ok(());
            }
        }
        // A log that goes back to the same offset for ever is the reader's to find out.
        prop_assert!(at < 28, "it asks for ever");
    }
}
