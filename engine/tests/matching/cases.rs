//! Pairing two logs, case by case.

use engine::matching::{
    Checksums, Counts, Divergence, MatchError, MatchSettings, Matcher, Missing, Run, Start, Stray,
    StrayKind,
};
use protocol_client::batch::{AbortedTransaction, Compression};

use crate::logs::{Batch, FOREIGN, Log, OWN, Record, TRANSACTIONAL, drive, own, pair};

fn log(values: &[&str]) -> Log {
    let mut log = Log::default();
    values.iter().for_each(|value| log.write(&[value]));
    log
}

/// Pairs from the beginning; the target's records were written by this mirror.
fn paired(source: &Log, target: &Log) -> engine::matching::Outcome {
    drive(source, target, pair(0, 0), own(), 100).unwrap()
}

#[test]
fn a_sealed_batch_is_not_opened() {
    let mut source = Log::default();
    source.write_as(&["a", "b", "c"], 5, Compression::Zstd);
    let mut damaged = source.batches[0].entry().bytes().to_vec();
    // No record could be read of it.
    damaged[70] ^= 1;
    let entry = protocol_client::batch::Entry::new(damaged.into()).unwrap();
    let chunk = || engine::matching::Chunk {
        entries: vec![entry.clone()],
        end: Some(3),
        ..Default::default()
    };
    let mut matcher = Matcher::new(pair(0, 0), 3, own());
    matcher.target(chunk()).unwrap();
    matcher.source(chunk()).unwrap();
    let outcome = matcher.finish();
    assert_eq!(outcome.resume_source, 3);
    assert_eq!(
        outcome.counts,
        Counts { matched: 3, sealed: 3, sealed_batches: 1, ..Counts::default() }
    );
    let checked = MatchSettings { checksums: Checksums::Verify, ..own() };
    let mut matcher = Matcher::new(pair(0, 0), 3, checked);
    matcher.target(chunk()).unwrap();
    assert!(matches!(matcher.source(chunk()), Err(MatchError::Target(_))));
}

fn run(source_first: i64, target_first: i64, count: u64) -> Run {
    Run { source_first, target_first, count, is_behind_vanished: false }
}

#[test]
fn equal_records_keep_their_positions() {
    let source = log(&["x"; 50]);
    let mut target = log(&["x"; 30]);
    assert_eq!(paired(&source, &target).resume_source, 30);
    target.truncate_head(20);
    let outcome = paired(&source, &target);
    assert_eq!(outcome.runs, [run(20, 20, 10)]);
    assert_eq!((outcome.resume_source, outcome.counts.skipped), (30, 20));
}

#[test]
fn markers_in_the_source_do_not_count() {
    let mut source = Log::default();
    for i in 0..20 {
        source.write(&[&format!("{i}")]);
        source.push(Batch::marker(source.end, 5, true));
    }
    let values: Vec<String> = (0..15).map(|i| i.to_string()).collect();
    let mut target = log(&values.iter().map(String::as_str).collect::<Vec<_>>());
    target.truncate_head(10);
    let outcome = paired(&source, &target);
    assert_eq!(outcome.resume_source, 29);
    assert_eq!(outcome.runs[0], run(20, 10, 1));
}

#[test]
fn it_is_told_where_originals_of_copies_are_gone() {
    let mut source = log(&["a", "b", "c", "d"]);
    let target = log(&["a", "b", "c"]);
    source.truncate_head(2);
    let outcome = paired(&source, &target);
    assert_eq!(outcome.runs, [Run { is_behind_vanished: true, ..run(2, 2, 1) }]);
    assert_eq!((outcome.counts.vanished, outcome.ends_vanished), (2, false));
    source.truncate_head(3);
    let outcome = paired(&source, &target);
    assert_eq!((outcome.runs.len(), outcome.counts.vanished, outcome.ends_vanished), (0, 3, true));
}

#[test]
fn a_truncated_target_is_told() {
    let source = log(&["a", "b"]);
    let target = log(&["a"]);
    let outcome = drive(&source, &target, pair(2, 2), own(), 9).unwrap();
    assert_eq!(outcome.divergence, Some(Divergence::Truncated { expected: 2, end: 1 }));
    assert_eq!(outcome.resume_source, 2);
}

#[test]
fn the_record_before_the_start_must_agree() {
    let source = log(&["a", "b", "c", "d"]);
    let start = Start::Pair { source: 2, target: 2, last: Some((1, 1)) };
    let good = drive(&source, &log(&["a", "b", "c"]), start, own(), 1).unwrap();
    assert_eq!((good.divergence, good.resume_source), (None, 3));
    let bad = drive(&source, &log(&["a", "?", "c"]), start, own(), 1).unwrap();
    assert_eq!(bad.divergence, Some(Divergence::Different { source: 1, target: 1 }));
    let mut cleaned = log(&["a", "?", "c"]);
    cleaned.truncate_head(2);
    assert_eq!(drive(&source, &cleaned, start, own(), 1).unwrap().divergence, None);
}

#[test]
fn a_source_that_ends_early_is_told_apart() {
    let mut target = log(&["a"]);
    target.write_as(&["b"], OWN, Compression::None);
    let outcome = paired(&log(&["a"]), &target);
    assert_eq!(outcome.divergence, Some(Divergence::SourceEnds { source_end: 1, target: 1 }));
    assert_eq!(outcome.resume_source, 1);
}

#[test]
fn aborted_batches_of_the_target_are_no_copies() {
    let source = log(&["a", "b"]);
    let mut target = log(&["a"]);
    let mut aborted = source.batches[1].clone();
    (aborted.producer_id, aborted.attributes) = (OWN, TRANSACTIONAL);
    target.push(aborted);
    target.push(Batch::marker(2, OWN, false));
    target.aborted = vec![AbortedTransaction { first_offset: 1, producer_id: OWN }];
    let outcome = paired(&source, &target);
    assert_eq!((outcome.resume_source, outcome.divergence), (1, None));
    assert!(outcome.strays.is_empty());
    assert_eq!((outcome.target_next, outcome.trailing_hole), (3, 0));
}

#[test]
fn an_empty_target_repeats_what_may_be_gone() {
    let source = log(&["a", "b", "c"]);
    let mut target = log(&["a", "b"]);
    target.truncate_head(2);
    let outcome = paired(&source, &target);
    assert_eq!((outcome.resume_source, outcome.trailing_hole), (0, 2));
}

#[test]
fn append_times_are_what_a_copy_must_carry() {
    let mut source = Log::default();
    source.write(&["a", "b"]);
    source.batches[0].append_time = Some(5_000);
    let mut target = source.clone();
    target.batches[0].append_time = None;
    assert_eq!(paired(&source, &target).resume_source, 0);
    target.batches[0].records.iter_mut().for_each(|one| one.timestamp = 5_000);
    assert_eq!(paired(&source, &target).resume_source, 2);
    // A target that stamps anew says nothing about times.
    target.batches[0].append_time = Some(6_000);
    assert_eq!(paired(&source, &target).resume_source, 2);
}

#[test]
fn records_without_a_time_got_one_from_the_client_that_copied_them() {
    let mut source = Log::default();
    let record = |timestamp| Record { offset: 0, timestamp, value: b"a".to_vec() };
    source.push(Batch::new(vec![record(-1)], Compression::None, -1));
    let mut target = Log::default();
    target.push(Batch::new(vec![record(77)], Compression::None, -1));
    assert_eq!(paired(&source, &target).resume_source, 1);
}

#[test]
fn slack_finds_what_is_missing_changed_and_too_much() {
    let source = log(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    let mut target = log(&["a", "c", "d", "?", "f"]);
    target.write_as(&["f"], FOREIGN, Compression::None);
    target.write(&["g"]);
    let settings = MatchSettings { slack_records: 100, ..MatchSettings::default() };
    for limit in [1, 2, 100] {
        let outcome = drive(&source, &target, pair(0, 0), settings.clone(), limit).unwrap();
        let missing = |source_first, target_next| Missing { source_first, count: 1, target_next };
        assert_eq!(outcome.missing, [missing(1, 1), missing(4, 4)]);
        let stray = |kind, target_first, producer_id, source_next| Stray {
            kind,
            target_first,
            count: 1,
            producer_id,
            source_next,
        };
        assert_eq!(
            outcome.strays,
            [stray(StrayKind::Foreign, 3, -1, 4), stray(StrayKind::Repeated, 5, FOREIGN, 6),]
        );
        assert_eq!((outcome.resume_source, outcome.counts.matched), (7, 5));
    }
}

#[test]
fn a_start_is_not_made_up() {
    let source = log(&["a", "b", "c"]);
    let outcome = drive(&source, &log(&["x", "y"]), Start::Source(2), own(), 9).unwrap();
    assert_eq!((outcome.start_found, outcome.resume_source), (false, 2));
    let nothing = drive(&source, &log(&["a"]), Start::Source(0), own(), 9).unwrap();
    assert_eq!((nothing.start_found, nothing.resume_source), (false, 0));
}

#[test]
fn among_equal_starts_nothing_is_lost() {
    let outcome = drive(&log(&["x"; 90]), &log(&["x"; 85]), Start::Source(80), own(), 9).unwrap();
    assert_eq!((outcome.start_found, outcome.resume_source), (true, 80));
}

#[test]
fn old_formats_pair_with_what_they_became() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol-client/tests/golden/batches/");
    for segment in ["m0-client-gzip", "m1-client-lz4", "m0-client-none", "java-none", "java-zstd"] {
        let bytes = std::fs::read(format!("{golden}{segment}.bin")).unwrap().into();
        let entries: Vec<_> =
            protocol_client::batch::walk(&bytes).collect::<Result<_, _>>().unwrap();
        let end = entries.last().unwrap().next_offset();
        let mut matcher = Matcher::new(pair(0, 0), end, own());
        let chunk = engine::matching::Chunk { entries, end: Some(end), ..Default::default() };
        matcher.target(chunk.clone()).unwrap();
        matcher.source(chunk).unwrap();
        let outcome = matcher.finish();
        assert_eq!((outcome.resume_source, outcome.divergence), (end, None), "{segment}");
        assert!(outcome.strays.is_empty(), "{segment}");
    }
}

#[test]
fn a_log_that_begins_within_a_batch_holds_nothing_before() {
    let mut source = log(&["a"]);
    source.write(&["b", "c", "d", "e"]);
    source.write(&["f"]);
    source.truncate_head(3);
    // What was gone from the source was told, and never copied.
    let target = log(&["a", "d", "e", "f"]);
    let outcome = drive(&source, &target, pair(1, 1), own(), 100).unwrap();
    assert_eq!((outcome.resume_source, outcome.divergence), (6, None));
    assert_eq!((outcome.counts.matched, outcome.counts.vanished), (3, 0));
    // Of these the target had copies.
    let target = log(&["a", "b", "c", "d", "e", "f"]);
    let outcome = drive(&source, &target, pair(1, 1), own(), 100).unwrap();
    assert_eq!((outcome.resume_source, outcome.divergence), (6, None));
    assert_eq!((outcome.counts.matched, outcome.counts.vanished), (3, 2));
}

#[test]
fn a_long_look_ahead_holds_little() {
    let mut source = Log::default();
    for i in 0..3_000 {
        source.write(&[&format!("{i} {}", "-".repeat(100))]);
    }
    let mut target = source.clone();
    target.truncate_head(2_900);
    // The expected place does not help: others wrote, and their records are gone again.
    for batch in &mut target.batches {
        batch.base += 50;
        batch.last += 50;
        batch.records[0].offset += 50;
    }
    target.end += 50;
    let settings = MatchSettings { max_held_bytes: 1_000, ..own() };
    let outcome = drive(&source, &target, pair(0, 0), settings, 10).unwrap();
    assert_eq!((outcome.resume_source, outcome.counts.matched), (3_000, 100));
}
