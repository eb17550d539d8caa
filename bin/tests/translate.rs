//! `kmirror translate` on embedded clusters: where groups go on, from what kmirror has stored and from what MirrorMaker
//! 2 has.

use std::process::{Command, Output};

use embedded_broker::{Cluster, ClusterOptions, TopicSpec};
use engine::index::OffsetIndex;
use engine::records::OffsetSync;
use protocol_client::batch::BatchBuilder;
use protocol_client::client::{Client, ClientOptions, OffsetToCommit};
use protocol_client::cluster::TopicPartition;
use serde_json::{Value, json};
use tempfile::TempDir;

const SYNCS: &str = "mm2-offset-syncs.B.internal";

struct Clusters {
    source: Cluster,
    target: Cluster,
    directory: TempDir,
}

impl Clusters {
    /// Topics with three partitions, and nothing copied.
    async fn start() -> Self {
        let cluster =
            || async { Cluster::start(ClusterOptions::nodes(1)).await.expect("ports are free") };
        let directory = TempDir::new().expect("directory");
        let clusters = Self { source: cluster().await, target: cluster().await, directory };
        clusters.source.create_topic(TopicSpec::new("orders", 3)).expect("a new topic");
        clusters.source.create_topic(TopicSpec::new(SYNCS, 1)).expect("a new topic");
        clusters.target.create_topic(TopicSpec::new("A.orders", 3)).expect("a new topic");
        clusters
    }

    fn fill(&self, partition: i32, records: u32) {
        let mut batch = BatchBuilder::new();
        (0..records).for_each(|_| batch.push(None, Some(b"value"), &[], 0));
        let bytes = batch.build().expect("there are records").bytes;
        self.target.append("A.orders", partition, &bytes, false).expect("it is there");
    }

    fn store(&self, partition: i32, pair: (i64, i64), index: Option<&OffsetIndex>) {
        let sync = OffsetSync {
            topic: "orders".to_owned(),
            partition,
            upstream_offset: pair.0,
            downstream_offset: pair.1,
        };
        let value = match index {
            Some(index) => sync.encode_with_index(Default::default(), index, 1000),
            None => sync.encode_value(),
        };
        let mut batch = BatchBuilder::new();
        batch.push(Some(&sync.encode_key().expect("a short name")), Some(&value), &[], 0);
        let bytes = batch.build().expect("there is a record").bytes;
        self.source.append(SYNCS, 0, &bytes, false).expect("it is there");
    }

    async fn commit(&self, offsets: [i64; 3]) {
        let bootstrap = vec![self.source.bootstrap().parse().expect("an address")];
        let client = Client::new(ClientOptions { bootstrap, ..ClientOptions::default() });
        let commits = (0..).zip(offsets).map(|(partition, offset)| {
            let commit = OffsetToCommit { offset, leader_epoch: -1, metadata: String::new() };
            (TopicPartition::new("orders", partition), commit)
        });
        let committed = client.commit_group_offsets("billing", commits.collect()).await;
        assert!(committed.expect("the coordinator answers").values().all(Result::is_ok));
    }

    fn translate(&self, args: &[&str]) -> Output {
        let file = self.directory.path().join("mm2.properties");
        let (source, target) = (self.source.bootstrap(), self.target.bootstrap());
        let text = format!(
            "clusters = A, B\nA.bootstrap.servers = {source}\nB.bootstrap.servers = {target}\nA->B.enabled = true\n"
        );
        std::fs::write(&file, text).expect("file");
        Command::new(env!("CARGO_BIN_EXE_kmirror"))
            .arg("translate")
            .arg(file)
            .args(args)
            .env_remove("KMIRROR_LOG")
            .output()
            .expect("kmirror starts")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_exact_with_an_index_and_cautious_without() {
    let clusters = Clusters::start().await;
    let mut index = OffsetIndex::default();
    index.begin(0, 0);
    for transaction in 0..10 {
        index.append(transaction * 11, transaction * 10, 10);
    }
    clusters.store(0, (108, 99), Some(&index));
    clusters.store(1, (40, 35), None);
    (0..2).for_each(|partition| clusters.fill(partition, 100));
    clusters.commit([57, 50, 7]).await;

    let output = clusters.translate(&["--group", "billing"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let said: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(said[0], ["A->B"]);
    assert_eq!(said[2], ["orders-0", "57", "A.orders-0", "52", "exact"]);
    assert_eq!(said[3][..6], ["orders-1", "50", "A.orders-1", "36", "not", "exact:"]);
    assert_eq!(said[4][..5], ["orders-2", "7", "A.orders-2", "-", "unknown:"]);

    let output = clusters.translate(&["--group", "billing", "--topic", "A.orders", "--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let partitions = said["flows"][0]["partitions"].as_array().expect("a list");
    let short = |one: &Value| json!([one["source_position"], one["target_position"], one["exact"]]);
    let short: Vec<Value> = partitions.iter().map(short).collect();
    assert_eq!(short, [json!([57, 52, true]), json!([50, 36, false]), json!([7, null, false])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_positions_are_a_success_and_a_missing_copy_is_said() {
    let clusters = Clusters::start().await;
    for partition in 0..3 {
        let mut index = OffsetIndex::default();
        index.begin_at_start(5, 0);
        index.append(5, 0, 100);
        clusters.store(partition, (104, 99), Some(&index));
        clusters.fill(partition, 100);
    }
    clusters.commit([0, 50, 105]).await;
    let output = clusters.translate(&["--group", "billing", "--flow", "A->B"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));

    assert!(clusters.target.truncate("A.orders", 1, 0), "there is something to lose");
    let output = clusters.translate(&["--group", "billing"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("unknown: the copy ends at 0"), "{text}");

    for (args, code) in [
        (&["--group", "nobody"][..], 1),
        (&["--group", "billing", "--topic", "nothing"], 1),
        (&["--group", "billing", "--flow", "B->A"], 2),
        (&[], 2),
    ] {
        assert_eq!(clusters.translate(args).status.code(), Some(code), "{args:?}");
    }
}
