//! Records that MirrorMaker 2 4.3.1 wrote come back byte by byte from our codecs.

use std::fs;
use std::path::PathBuf;

use engine::records::{
    Checkpoint, ConnectOffsetKey, ConnectOffsetValue, Heartbeat, OffsetSync, RecordError,
};
use serde_json::Value;

struct Golden {
    partitions: i32,
    records: Vec<GoldenRecord>,
}

struct GoldenRecord {
    partition: i32,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

fn golden(name: &str) -> Golden {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/records")
        .join(format!("{name}.json"));
    let text = fs::read_to_string(&path).expect("golden file");
    let file: Value = serde_json::from_str(&text).expect("golden JSON");
    let number = |value: &Value| i32::try_from(value.as_i64().expect("number")).expect("i32");
    let records: Vec<_> = file["records"]
        .as_array()
        .expect("records")
        .iter()
        .map(|record| GoldenRecord {
            partition: number(&record["partition"]),
            key: unhex(record["key_hex"].as_str().expect("key")),
            value: record["value_hex"].as_str().map(unhex),
        })
        .collect();
    assert!(!records.is_empty(), "{name} is empty");
    Golden { partitions: number(&file["partitions"]), records }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex"))
        .collect()
}

/// Decodes and encodes every record of the files and compares the bytes.
fn comes_back(
    names: &[&str],
    again: impl Fn(&[u8], &[u8]) -> Result<(Vec<u8>, Vec<u8>), RecordError>,
) {
    for name in names {
        for record in golden(name).records {
            let value = record.value.expect("value");
            let expected = (record.key.clone(), value.clone());
            assert_eq!(again(&record.key, &value), Ok(expected), "{name}");
        }
    }
}

#[test]
fn offset_syncs() {
    let names = ["dedicated-offset-syncs", "eos-offset-syncs-on-target", "connectors-offset-syncs"];
    comes_back(&names, |key, value| {
        let sync = OffsetSync::decode(key, value)?;
        Ok((sync.encode_key()?, sync.encode_value()))
    });
}

#[test]
fn checkpoints() {
    let names = ["dedicated-checkpoints", "eos-checkpoints", "connectors-checkpoints"];
    comes_back(&names, |key, value| {
        let checkpoint = Checkpoint::decode(key, value)?;
        Ok((checkpoint.encode_key()?, checkpoint.encode_value()?))
    });
}

#[test]
fn heartbeats() {
    let names = [
        "dedicated-heartbeats-on-source",
        "dedicated-heartbeats-on-target",
        "dedicated-replicated-heartbeats",
    ];
    comes_back(&names, |key, value| {
        let heartbeat = Heartbeat::decode(key, value)?;
        Ok((heartbeat.encode_key()?, heartbeat.encode_value()))
    });
}

#[test]
fn connect_offsets() {
    for name in ["dedicated-connect-offsets", "eos-connect-offsets", "connectors-connect-offsets"] {
        let golden = golden(name);
        let mut of_sources = 0;
        for record in golden.records {
            let text = String::from_utf8_lossy(&record.key).into_owned();
            let key = ConnectOffsetKey::decode(&record.key).expect("key");
            assert_eq!(key.encode(), record.key, "{name}: {text}");
            assert_eq!(key.topic_partition(golden.partitions), Some(record.partition), "{text}");
            of_sources += usize::from(key.source_partition().is_some());
            let Some(bytes) = record.value else { continue };
            let value = ConnectOffsetValue::decode(&bytes).expect("value").expect("offset");
            assert_eq!(value.encode(), bytes, "{name}: {text}");
            assert!(value.offset().is_some(), "{name}: {text}");
        }
        assert!(of_sources > 0, "{name} holds no source partition");
    }
}
