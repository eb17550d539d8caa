//! Log segments that real brokers wrote (Kafka 4.3.1 and 2.8.2, fed by Java clients from 0.9 to
//! 4.3.1 and by librdkafka) decode to what Kafka's own classes say, and so does what is rebuilt
//! from them.
//!
//! `tests/golden/batches/NAME.bin` is a whole segment, `NAME.json` its decoding.

use bytes::Bytes;
use protocol_client::batch::record::RecordBody;
use protocol_client::batch::{
    AbortedTransaction, AppendTime, Context, Decision, DropReason, Entry, Magic, OpenBatch,
    OpenRecord, ProducerStamp, RebuildOptions, Rebuilt, RewriteReason, TxnFilter, Verdict,
    can_merge, crc, decide, merge, patch, rewrite, walk,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

const MAX_OPEN_BYTES: usize = 16 << 20;
const OPTIONS: RebuildOptions = RebuildOptions {
    start_offset: 0,
    append_time: AppendTime::Keep,
    max_message_bytes: 1_048_588,
    max_open_bytes: MAX_OPEN_BYTES,
};

struct Segment {
    name: String,
    entries: Vec<Entry>,
    expected: Value,
}

fn segments() -> Vec<Segment> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/batches");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 47);
    paths.iter().map(|path| segment(path)).collect()
}

fn segment(path: &Path) -> Segment {
    let blob = Bytes::from(std::fs::read(path).unwrap());
    let mut entries = walk(&blob);
    let whole = entries.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(entries.rest_bytes(), 0);
    let text = std::fs::read_to_string(path.with_extension("json")).unwrap();
    Segment {
        name: path.file_stem().unwrap().to_string_lossy().into_owned(),
        entries: whole,
        expected: serde_json::from_str(&text).unwrap(),
    }
}

fn open(entry: &Entry) -> OpenBatch<'_> {
    OpenBatch::open(entry, MAX_OPEN_BYTES).unwrap()
}

fn hex(bytes: Option<&[u8]>) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match bytes {
        None => Value::Null,
        Some(bytes) if bytes.len() > 2000 => {
            format!("#{}:sha256:{}", bytes.len(), hex(&Sha256::digest(bytes))).into()
        }
        Some(bytes) => hex(bytes).into(),
    }
}

/// Key, value and headers of a record and its effective timestamp, as the JSON shows them.
fn contents(open: &OpenBatch<'_>) -> Vec<Value> {
    let record = |record: Result<OpenRecord<'_>, _>| {
        let record = record.unwrap();
        let body = RecordBody::decode(record.body, record.offset).unwrap();
        let headers: Vec<Value> = body
            .headers()
            .map(|(name, value)| json!([std::str::from_utf8(name).unwrap(), hex(value)]))
            .collect();
        json!({
            "offset": record.offset,
            "timestamp": open.timestamp_ms(&record, AppendTime::Keep),
            "key": hex(body.key),
            "value": hex(body.value),
            "headers": headers,
        })
    };
    open.records().map(record).collect()
}

fn sequence(base: i32, delta: i64) -> Value {
    if base < 0 { base.into() } else { ((i64::from(base) + delta) % (1 << 31)).into() }
}

/// The part of the decoding that only version 2 has.
fn add_batch_fields(entry: &Entry, shown: &mut Value) {
    let Some(header) = entry.header() else { return };
    let base = header.base_sequence();
    shown["partition_leader_epoch"] = header.partition_leader_epoch().into();
    shown["producer_id"] = header.producer_id().into();
    shown["producer_epoch"] = header.producer_epoch().into();
    shown["base_sequence"] = base.into();
    shown["last_sequence"] = sequence(base, i64::from(header.last_offset_delta()));
    shown["transactional"] = header.is_transactional().into();
    shown["control"] = header.is_control().into();
    shown["count"] = header.record_count().into();
    let horizon = header.has_delete_horizon().then(|| header.base_timestamp());
    shown["delete_horizon_ms"] = horizon.into();
    for record in shown["records"].as_array_mut().unwrap() {
        let delta = record["offset"].as_i64().unwrap() - header.base_offset();
        record["sequence"] = sequence(base, delta);
        if header.is_control() {
            let marker = |field: &str, range: std::ops::Range<usize>| {
                i64::from_str_radix(&record[field].as_str().unwrap()[range], 16).unwrap()
            };
            let control_type = if marker("key", 4..8) == 0 { "ABORT" } else { "COMMIT" };
            let coordinator_epoch = marker("value", 4..12);
            record["control_type"] = control_type.into();
            record["coordinator_epoch"] = coordinator_epoch.into();
        }
    }
}

fn shown(entry: &Entry, position: usize) -> Value {
    let bytes = entry.bytes();
    let open = open(entry);
    let number = |at: usize| i64::from_be_bytes(*bytes[at..].first_chunk().unwrap());
    let (crc_at, max_timestamp) = match entry.magic() {
        Magic::V0 => (12, -1),
        Magic::V1 => (12, number(18)),
        Magic::V2 => (17, number(35)),
    };
    let timestamp_type = match (entry.magic(), open.append_time_ms()) {
        (Magic::V0, _) => "NoTimestampType",
        (_, Some(_)) => "LogAppendTime",
        (_, None) => "CreateTime",
    };
    let mut shown = json!({
        "position": position,
        "size": bytes.len(),
        "magic": entry.magic() as u8,
        "base_offset": open.base_offset(),
        "last_offset": entry.last_offset(),
        "crc": u32::from_be_bytes(*bytes[crc_at..].first_chunk().unwrap()),
        "valid": crc::verify(bytes).is_ok(),
        "codec": open.compression().name(),
        "timestamp_type": timestamp_type,
        "max_timestamp": max_timestamp,
        "records": contents(&open),
    });
    add_batch_fields(entry, &mut shown);
    shown
}

#[test]
fn every_segment_decodes_as_kafka_decodes_it() {
    let mut count = 0;
    for segment in segments() {
        let mut position = 0;
        let expected = segment.expected["batches"].as_array().unwrap();
        assert_eq!(segment.entries.len(), expected.len(), "{}", segment.name);
        for (entry, expected) in segment.entries.iter().zip(expected) {
            let mut shown = shown(entry, position);
            // Kafka 2.8's classes, which decoded this one, know no delete horizon.
            if segment.name == "mixed-0-1-2" {
                shown.as_object_mut().unwrap().shift_remove("delete_horizon_ms");
            }
            assert_eq!(&shown, expected, "{} at {position}", segment.name);
            position += entry.bytes().len();
            count += 1;
        }
        assert_eq!(segment.expected["bytes"], position, "{}", segment.name);
    }
    assert_eq!(count, 267);
}

/// The records of rebuilt batches under their source offsets.
fn rebuilt_contents(batches: &[Rebuilt]) -> Vec<Value> {
    let mut contents_of_all = Vec::new();
    for batch in batches {
        let entry = Entry::new(batch.bytes.clone()).unwrap();
        let mut records = contents(&open(&entry));
        let offsets = batch
            .runs
            .iter()
            .flat_map(|run| (run.source_first..).take(run.count as usize).map(Value::from));
        assert_eq!(records.len(), batch.record_count as usize);
        for (record, offset) in records.iter_mut().zip(offsets) {
            record["offset"] = offset;
        }
        contents_of_all.append(&mut records);
    }
    contents_of_all
}

#[test]
fn rewritten_entries_hold_the_same_records() {
    for segment in segments() {
        for entry in segment.entries.iter().filter(|entry| !entry.is_control()) {
            for max_message_bytes in [OPTIONS.max_message_bytes, 300_000, 100_000] {
                let options = RebuildOptions { max_message_bytes, ..OPTIONS };
                let rebuilt = rewrite(entry, &options).unwrap();
                assert_eq!(rebuilt_contents(&rebuilt), contents(&open(entry)), "{}", segment.name);
                for batch in &rebuilt {
                    let rebuilt = Entry::new(batch.bytes.clone()).unwrap();
                    assert_eq!(rebuilt.compression(), entry.compression());
                    assert!(rebuilt.header().unwrap().is_dense());
                }
            }
        }
    }
}

#[test]
fn merged_runs_hold_the_same_records() {
    let mut merged_entries = 0;
    for segment in segments() {
        let mut rest = &segment.entries[..];
        while !rest.is_empty() {
            let Some(merged) = merge(rest, &OPTIONS).unwrap() else {
                rest = &rest[1..];
                continue;
            };
            let (run, behind) = rest.split_at(merged.entry_count);
            assert!(run.windows(2).all(|pair| can_merge(&pair[0], &pair[1])));
            let expected: Vec<Value> =
                run.iter().flat_map(|entry| contents(&open(entry))).collect();
            assert_eq!(rebuilt_contents(&[merged.batch]), expected, "{}", segment.name);
            merged_entries += run.len();
            rest = behind;
        }
    }
    assert!(merged_entries > 150, "{merged_entries}");
}

#[test]
fn patched_batches_stay_valid() {
    let stamp = ProducerStamp { producer_id: 4711, epoch: 3, base_sequence: 42 };
    for segment in segments() {
        for entry in &segment.entries {
            let Some(header) = entry.header() else { continue };
            let mut bytes = entry.bytes().to_vec();
            bytes[..61].copy_from_slice(&patch(&header, stamp));
            crc::verify(&bytes).unwrap();
            let patched = Entry::new(bytes.into()).unwrap();
            assert_eq!(patched.header().unwrap().producer_id(), 4711);
            let times = |entry: &Entry| {
                open(entry).records().map(|r| r.unwrap().create_time_ms).collect::<Vec<_>>()
            };
            assert_eq!(times(&patched), times(entry), "{}", segment.name);
        }
    }
}

fn decisions(name: &str, aborted: Vec<AbortedTransaction>) -> Vec<Decision> {
    let segment = segments().into_iter().find(|segment| segment.name == name).unwrap();
    let mut filter = TxnFilter::new(aborted);
    let decision = |entry: &Entry| {
        let verdict = filter.judge(entry).unwrap();
        let (append_time, max_message_bytes) = (AppendTime::Keep, 1_048_588);
        decide(entry, &Context { fetch_offset: 0, max_message_bytes, append_time, verdict })
    };
    segment.entries.iter().map(decision).collect()
}

#[test]
fn real_segments_are_decided_as_they_should_be() {
    let compacted = decisions("compacted", vec![]);
    assert!(compacted.contains(&Decision::Rewrite(RewriteReason::Sparse)));
    assert!(compacted.contains(&Decision::Drop(DropReason::Empty)));
    assert!(compacted.contains(&Decision::Drop(DropReason::Control)));
    let stamped = decisions("java-logappendtime-zstd", vec![]);
    assert!(stamped.iter().all(|d| *d == Decision::Rewrite(RewriteReason::AppendTimeKept)));
    let mixed = decisions("mixed-0-1-2", vec![]);
    assert_eq!(mixed.first(), Some(&Decision::Rewrite(RewriteReason::LegacyMagic)));
    assert_eq!(mixed.last(), Some(&Decision::Seal));
    for name in ["java-idempotent-lz4", "java-zstd", "rdk-snappy"] {
        assert!(decisions(name, vec![]).iter().all(|d| *d == Decision::Seal), "{name}");
    }
}

/// The aborted transactions of a segment, from the markers that its decoding shows.
fn aborted(segment: &Segment) -> Vec<AbortedTransaction> {
    let mut aborted = Vec::new();
    let mut first_offsets = std::collections::BTreeMap::new();
    for batch in segment.expected["batches"].as_array().unwrap() {
        let producer_id = batch["producer_id"].as_i64().unwrap();
        if batch["control"] == true {
            let first_offset = first_offsets.remove(&producer_id);
            if batch["records"][0]["control_type"] == "ABORT" {
                let first_offset = first_offset.unwrap();
                aborted.push(AbortedTransaction { first_offset, producer_id });
            }
        } else if batch["transactional"] == true {
            let base_offset = batch["base_offset"].as_i64().unwrap();
            first_offsets.entry(producer_id).or_insert(base_offset);
        }
    }
    aborted
}

#[test]
fn aborted_transactions_of_real_segments_are_left_out() {
    for name in ["java-txn", "rdk-txn"] {
        let segment = segments().into_iter().find(|segment| segment.name == name).unwrap();
        let aborted = aborted(&segment);
        assert!(!aborted.is_empty(), "{name}");
        let mut filter = TxnFilter::new(aborted.clone());
        for (i, entry) in segment.entries.iter().enumerate() {
            let header = entry.header().unwrap();
            // Aborted is what lies between a transaction's first offset and its producer's
            // next marker.
            let next_marker = segment.entries[i..].iter().find(|later| {
                later.is_control() && later.header().unwrap().producer_id() == header.producer_id()
            });
            let expected = header.is_transactional()
                && !header.is_control()
                && next_marker.is_some_and(|marker| {
                    open(marker).records().next().unwrap().unwrap().body[4] == 0
                });
            let verdict = filter.judge(entry).unwrap();
            assert_eq!(verdict == Verdict::Aborted, expected, "{name} {}", entry.base_offset());
        }
    }
}
