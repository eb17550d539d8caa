//! `kmirror verify` on embedded clusters: a copy is a copy, and every kind of difference is found where it is.

use std::path::PathBuf;
use std::process::{Command, Output};

use embedded_broker::{Cluster, ClusterOptions, TopicSpec};
use engine::records::checkpoint::Checkpoint;
use protocol_client::batch::{BatchBuilder, Compression};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Records of a batch.
const BATCH: i64 = 10;
const FIRST_MS: i64 = 1_700_000_000_000;

struct Clusters {
    source: Cluster,
    target: Cluster,
    directory: TempDir,
}

/// Records `numbers` as one batch.
fn batch(numbers: impl Iterator<Item = i64>, codec: Compression) -> Vec<u8> {
    let mut batch = BatchBuilder::with_compression(codec);
    for number in numbers {
        let value = format!("value {number}");
        batch.push(Some(b"key"), Some(value.as_bytes()), &[], FIRST_MS + number);
    }
    batch.build().expect("there are records").bytes.to_vec()
}

impl Clusters {
    /// A source topic with 20 batches of records 0 to 199, and an empty copy.
    async fn start() -> Self {
        let cluster =
            || async { Cluster::start(ClusterOptions::nodes(1)).await.expect("ports are free") };
        let directory = TempDir::new().expect("directory");
        let clusters = Self { source: cluster().await, target: cluster().await, directory };
        clusters.source.create_topic(TopicSpec::new("orders", 1)).expect("a new topic");
        clusters.target.create_topic(TopicSpec::new("A.orders", 1)).expect("a new topic");
        for first in 0..20 {
            let bytes = batch(first * BATCH..(first + 1) * BATCH, codec(first));
            clusters.source.append("orders", 0, &bytes.into(), false).expect("it is there");
        }
        clusters
    }

    fn copy(&self, bytes: Vec<u8>) {
        self.target.append("A.orders", 0, &bytes.into(), false).expect("it is there");
    }

    /// Copies so many batches as they are.
    fn copy_batches(&self, batches: std::ops::Range<i64>) {
        batches.for_each(|i| self.copy(batch(i * BATCH..(i + 1) * BATCH, codec(i))));
    }

    fn file(&self) -> PathBuf {
        let file = self.directory.path().join("mm2.properties");
        let (source, target) = (self.source.bootstrap(), self.target.bootstrap());
        let text = format!(
            "clusters = A, B\nA.bootstrap.servers = {source}\nB.bootstrap.servers = {target}\nA->B.enabled = true\n"
        );
        std::fs::write(&file, text).expect("file");
        file
    }

    fn verify(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kmirror"))
            .arg("verify")
            .arg(self.file())
            .args(args)
            .env_remove("KMIRROR_LOG")
            .output()
            .expect("kmirror starts")
    }

    /// The exit code and what `--json` says.
    fn json(&self, args: &[&str]) -> (i32, Value) {
        let output = self.verify(&[&["--json"], args].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
        (output.status.code().expect("it ends"), value)
    }

    /// Kind, source offset, target offset and count of every difference; and the verdict on the partition.
    fn differences(&self, args: &[&str]) -> (Vec<Value>, Value) {
        let (code, said) = self.json(args);
        let partition = said["flows"][0]["partitions"][0].clone();
        let listed = partition["differences"].as_array().expect("a list");
        let short = |one: &Value| {
            json!([one["kind"], one["source_offset"], one["target_offset"], one["count"]])
        };
        assert_eq!(code, i32::from(!listed.is_empty()), "{said:#}");
        assert_eq!(said["differences"], listed.len(), "{said:#}");
        (listed.iter().map(short).collect(), partition)
    }
}

fn codec(batch: i64) -> Compression {
    [Compression::None, Compression::Lz4, Compression::Zstd, Compression::Gzip][batch as usize % 4]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_no_difference_however_it_was_made() {
    let clusters = Clusters::start().await;
    clusters.copy_batches(0..12);
    // As MirrorMaker 2 does: other batches, another codec.
    clusters.copy(batch(12 * BATCH..15 * BATCH + 4, Compression::Snappy));
    let (differences, partition) = clusters.differences(&[]);
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!(partition["records_alike"], 154);
    assert_eq!(partition["records_sealed"], 120);
    assert_eq!(partition["lag_offsets"], 46);
    let text = clusters.verify(&[]);
    let said = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        said.contains("orders-0 -> A.orders-0: 154 records alike (78 % sealed), 46 offsets behind"),
        "{said}"
    );
    assert!(text.stderr.is_empty(), "no bar where nobody watches");
    for sample in ["--sample=3", "--sample=50%", "--since=2023-11-14T22:13:20.055Z"] {
        let (differences, partition) = clusters.differences(&[sample]);
        assert!(differences.is_empty(), "{sample} {differences:?}");
        let alike = partition["records_alike"].as_u64().expect("a number");
        assert!((99..=154).contains(&alike), "{sample}: {alike}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_difference_is_found_where_it_is() {
    let clusters = Clusters::start().await;
    clusters.copy_batches(0..2);
    // Record 20 is missing.
    clusters.copy(batch(21..30, Compression::None));
    clusters.copy_batches(3..5);
    // Record 53 is another.
    clusters.copy(batch((50..60).map(|i| if i == 53 { 1_053 } else { i }), Compression::Lz4));
    clusters.copy_batches(6..8);
    // Record 75 comes again.
    clusters.copy(batch(75..76, Compression::None));
    clusters.copy_batches(8..10);
    // Somebody wrote two records of his own.
    clusters.copy(batch(5_000..5_002, Compression::None));
    clusters.copy_batches(10..20);
    let (differences, partition) = clusters.differences(&[]);
    assert_eq!(
        differences,
        [
            json!(["missing", 20, 20, 1]),
            json!(["changed", 53, 52, 1]),
            json!(["repeated", 80, 79, 1]),
            json!(["foreign", 100, 100, 2]),
        ]
    );
    assert_eq!((&partition["records_alike"], &partition["lag_offsets"]), (&json!(198), &json!(0)));
    let output = clusters.verify(&["--flow", "A->B", "--topic", "A.orders"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let first =
        "first difference: A->B orders-0: source offset 20, target offset 20: 1 record missing";
    assert!(said.contains(first), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flipped_byte_in_a_sealed_batch_is_found() {
    let clusters = Clusters::start().await;
    clusters.copy_batches(0..6);
    let mut damaged = batch(60..70, codec(6));
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    clusters.copy(damaged);
    clusters.copy_batches(7..20);
    let (differences, partition) = clusters.differences(&[]);
    assert_eq!(differences, [json!(["damaged", 60, 60, 1])]);
    assert_eq!(partition["differences"][0]["side"], "target");
    assert_eq!((&partition["records_alike"], &partition["trouble"]), (&json!(190), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_by_retention_or_compaction_is_no_difference() {
    let clusters = Clusters::start().await;
    clusters.copy_batches(0..20);
    clusters.target.delete_records("A.orders", 0, 55).expect("they are there");
    let (differences, partition) = clusters.differences(&[]);
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!(partition["records_alike"], 145);
    clusters.source.delete_records("orders", 0, 121).expect("they are there");
    let (differences, partition) = clusters.differences(&[]);
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!(partition["lag_offsets"], 0);
    // All records have one key.
    assert!(clusters.target.compact("A.orders"));
    let (differences, partition) = clusters.differences(&[]);
    assert!(differences.is_empty(), "{differences:?}");
    assert!(partition["records_alike"].as_u64() < Some(79), "{partition:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_absent_or_set_up_otherwise_are_named() {
    let clusters = Clusters::start().await;
    clusters.copy_batches(0..20);
    let spec = TopicSpec::new("payments", 3).config("retention.ms", "1000");
    clusters.source.create_topic(spec).expect("a new topic");
    let spec = TopicSpec::new("A.payments", 1).config("retention.ms", "2000");
    clusters.target.create_topic(spec).expect("a new topic");
    let (code, said) = clusters.json(&[]);
    assert_eq!((code, &said["differences"]), (1, &json!(2)), "{said:#}");
    let flow = &said["flows"][0];
    assert_eq!(
        flow["absent"],
        json!([{"source": "payments", "target": "A.payments", "from_partition": 1, "partitions": 3}])
    );
    assert_eq!(flow["configs"][0]["config"], "retention.ms");
    assert_eq!(flow["configs"][0]["target_value"], "2000");
    assert_eq!(clusters.json(&["--topic", "orders"]).0, 0);
    assert_eq!(clusters.verify(&["--topic", "nothing"]).status.code(), Some(2));
    assert_eq!(clusters.verify(&["--flow", "B->A"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_held_against_the_logs() {
    let clusters = Clusters::start().await;
    clusters.copy_batches(0..10);
    let topic = TopicSpec::new("A.checkpoints.internal", 1).config("cleanup.policy", "compact");
    clusters.target.create_topic(topic).expect("a new topic");
    let checkpoint = |group: &str, upstream_offset: i64, downstream_offset: i64| {
        let checkpoint = Checkpoint {
            group: group.to_owned(),
            topic: "A.orders".to_owned(),
            partition: 0,
            upstream_offset,
            downstream_offset,
            metadata: String::new(),
        };
        let (key, value) = (checkpoint.encode_key(), checkpoint.encode_value());
        let mut batch = BatchBuilder::new();
        batch.push(Some(&key.expect("short names")), Some(&value.expect("short")), &[], FIRST_MS);
        let bytes = batch.build().expect("one record").bytes;
        clusters.target.append("A.checkpoints.internal", 0, &bytes, false).expect("it is there");
    };
    checkpoint("exact", 3, 2);
    checkpoint("exact", 40, 40);
    checkpoint("mirror-maker", 40, 33);
    let (differences, partition) = clusters.differences(&[]);
    assert!(differences.is_empty(), "{differences:?}");
    let positions = &partition["group_positions"];
    assert_eq!((&positions["exact"], &positions["ahead"]), (&json!(1), &json!([])));
    assert_eq!(positions["behind"][0]["right_target_offset"], 40);
    checkpoint("skips", 40, 41);
    let output = clusters.verify(&[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("group skips would skip records, 40 is right"), "{said}");
}
