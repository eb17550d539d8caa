//! Two embedded clusters, the engine between them, and how to compare the two.

use std::time::{Duration, Instant};

use embedded_broker::{Cluster, ClusterOptions, Record, TopicSpec};
use engine::config::{Input, Surroundings, resolve};
use engine::flow::shard::Progress;
use engine::runtime::Engine;
use protocol_client::batch::{BatchBuilder, Compression};
use protocol_client::client::{Client, ClientOptions, OffsetToCommit};
use protocol_client::cluster::TopicPartition;

const PATIENCE: Duration = Duration::from_secs(30);

/// A source and a target.
pub(crate) struct Clusters {
    pub(crate) source: Cluster,
    pub(crate) target: Cluster,
    written: u64,
}

struct Nothing;

impl Surroundings for Nothing {
    fn read_file(&self, _: &std::path::Path) -> Result<Vec<u8>, String> {
        Err("no files here".to_owned())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

impl Clusters {
    /// Clusters of so many nodes, whose topics have as many replicas.
    pub(crate) async fn start(nodes: usize) -> Self {
        let cluster = || async {
            let mut options = ClusterOptions::nodes(nodes);
            options.broker.default_replication_factor = nodes as i16;
            Cluster::start(options).await.expect("ports are free")
        };
        Self { source: cluster().await, target: cluster().await, written: 0 }
    }

    /// Starts the engine with these lines added to the file.
    pub(crate) fn mirror(&self, more: &str) -> Engine {
        let file = format!(
            "clusters = source, target\n\
             source.bootstrap.servers = {}\n\
             target.bootstrap.servers = {}\n\
             source->target.enabled = true\n\
             replication.factor = 1\n\
             heartbeats.topic.replication.factor = 1\n\
             checkpoints.topic.replication.factor = 1\n\
             offset-syncs.topic.replication.factor = 1\n\
             refresh.topics.interval.seconds = 1\n\
             target.offset.storage.replication.factor = 1\n\
             target.offset.flush.interval.ms = 200\n\
             {more}\n",
            self.source.bootstrap(),
            self.target.bootstrap()
        );
        let resolution = resolve(
            Input { file: "test.properties", bytes: file.as_bytes(), clusters: None },
            &Nothing,
        );
        let replication =
            resolution.replication.unwrap_or_else(|| panic!("{:?}", resolution.findings));
        Engine::start(replication).expect("threads start")
    }

    pub(crate) fn create(&self, topic: &str, partitions: i32) {
        self.source.create_topic(TopicSpec::new(topic, partitions)).expect("a new topic");
    }

    fn source_client(&self) -> Client {
        let bootstrap = vec![self.source.bootstrap().parse().expect("an address")];
        Client::new(ClientOptions { bootstrap, ..ClientOptions::default() })
    }

    /// Deletes a topic of the source.
    pub(crate) async fn delete(&self, topic: &str) {
        let deleted = self.source_client().delete_topics(&[topic.into()]).await;
        assert!(deleted.values().all(Result::is_ok), "{deleted:?}");
    }

    /// Gives a topic more partitions.
    pub(crate) async fn grow(&self, topic: &str, partitions: i32) {
        let grown =
            self.source_client().create_partitions(&[(topic.into(), partitions)].into()).await;
        assert!(grown.values().all(Result::is_ok), "{grown:?}");
    }

    /// Deletes a topic of the target.
    pub(crate) async fn delete_copy(&self, topic: &str) {
        let bootstrap = vec![self.target.bootstrap().parse().expect("an address")];
        let client = Client::new(ClientOptions { bootstrap, ..ClientOptions::default() });
        let deleted = client.delete_topics(&[topic.into()]).await;
        assert!(deleted.values().all(Result::is_ok), "{deleted:?}");
    }

    /// Writes batches of numbered records to a partition of the source.
    pub(crate) fn write(&mut self, topic: &str, partition: i32, batches: u64, records: u64) {
        for _ in 0..batches {
            let codec =
                if self.written.is_multiple_of(3) { Compression::Lz4 } else { Compression::None };
            let mut batch = BatchBuilder::with_compression(codec);
            for _ in 0..records {
                let number = self.written.to_string();
                batch.push(
                    Some(number.as_bytes()),
                    Some(&[7; 100]),
                    &[],
                    1_700_000_000_000 + self.written as i64,
                );
                self.written += 1;
            }
            let built = batch.build().expect("records were pushed");
            self.source
                .append(topic, partition, &built.bytes, false)
                .expect("the partition is there");
        }
    }

    /// Waits until the copy of a partition is as long as the original, then compares record by record.
    pub(crate) async fn assert_mirrored(&self, topic: &str, partition: i32) {
        let copy = format!("source.{topic}");
        let source = records(&self.source, topic, partition);
        let deadline = now() + PATIENCE;
        while now() < deadline && records(&self.target, &copy, partition).len() < source.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // A repeated record would follow at once.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let target = records(&self.target, &copy, partition);
        assert_eq!(source.len(), target.len(), "records of {topic}-{partition}");
        assert!(source == target, "the records of {topic}-{partition} differ");
    }
}

/// Waits for something that the progress of the partitions must show.
pub(crate) async fn until(engine: &Engine, what: &str, holds: impl Fn(&[Progress]) -> bool) {
    let deadline = now() + PATIENCE;
    loop {
        let flows = engine.progress().await;
        let all: Vec<Progress> = flows.into_iter().flat_map(|flow| flow.partitions).collect();
        if holds(&all) {
            return;
        }
        assert!(now() < deadline, "waited in vain for {what}: {all:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Commits a position of a group from outside.
pub(crate) async fn commit(
    cluster: &Cluster,
    group: &str,
    topic: &str,
    offset: i64,
    metadata: &str,
) {
    let bootstrap = vec![cluster.bootstrap().parse().expect("an address")];
    let client = Client::new(ClientOptions { bootstrap, ..ClientOptions::default() });
    let commit = OffsetToCommit { offset, leader_epoch: -1, metadata: metadata.to_owned() };
    let partition = TopicPartition::new(topic, 0);
    let committed = client.commit_group_offsets(group, [(partition, commit)].into()).await;
    let committed = committed.expect("the coordinator answers");
    assert!(committed.values().all(Result::is_ok), "{committed:?}");
}

/// Waits for something that the clusters must show.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = now() + PATIENCE;
    while !holds() {
        assert!(now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Stops the engine; it must come to rest.
pub(crate) async fn stop(engine: Engine) {
    assert!(engine.stop(Duration::from_secs(20)).await, "the engine drains in time");
}

fn records(cluster: &Cluster, topic: &str, partition: i32) -> Vec<Record> {
    let records = cluster.records(topic, partition).expect("brokers check what they store");
    records.into_iter().map(|(_, record)| record).collect()
}

#[expect(clippy::disallowed_methods, reason = "tests on sockets wait in real time")]
fn now() -> Instant {
    Instant::now()
}
