//! Records and positions in transactions: whatever is killed, a reader of what is committed sees each record once.

use std::time::Duration;

use embedded_broker::{ApiKey, Cluster, Fault, FaultAction, KafkaError, Markers};
use engine::error::EngineError;
use engine::runtime::Engine;
use protocol_client::batch::record::RecordBody;
use protocol_client::batch::{OpenBatch, TxnFilter, Verdict};
use protocol_client::client::{Client, ClientOptions, ReadLimits};
use protocol_client::cluster::TopicPartition;
use protocol_client::wire::fetch::Isolation;

use crate::setup::{Clusters, eventually, stop};

const TOPIC: &str = "orders";
const COPY: &str = "source.orders";
const PARTITIONS: i32 = 3;
const ENABLED: &str = "target.exactly.once.source.support = enabled\nkmirror.threads = 2";

/// Keys of what is committed, in order.
async fn committed(cluster: &Cluster, topic: &str, partition: i32) -> Vec<Vec<u8>> {
    let bootstrap = vec![cluster.bootstrap().parse().expect("an address")];
    let client = Client::new(ClientOptions { bootstrap, ..ClientOptions::default() });
    let limits = ReadLimits { isolation: Isolation::ReadCommitted, ..ReadLimits::default() };
    let partition = TopicPartition::new(topic, partition);
    let mut reader = client.read(partition, 0, limits).await.expect("readable");
    let mut keys = Vec::new();
    while let Some(chunk) = reader.next_chunk().await.expect("readable") {
        let mut filter = TxnFilter::new(chunk.aborted);
        for entry in &chunk.entries {
            if filter.judge(entry).expect("whole") != Verdict::Keep || entry.is_control() {
                continue;
            }
            let open = OpenBatch::open(entry, 64 << 20).expect("whole");
            for record in open.records() {
                let record = record.expect("whole");
                let body = RecordBody::decode(record.body, record.offset).expect("whole");
                keys.push(body.key.expect("a key").to_vec());
            }
        }
    }
    keys
}

/// Waits until everything is committed, and compares.
async fn assert_committed(clusters: &Clusters) {
    for partition in 0..PARTITIONS {
        let source = committed(&clusters.source, TOPIC, partition).await;
        let mut target = Vec::new();
        for _ in 0..600 {
            target = committed(&clusters.target, COPY, partition).await;
            if target.len() >= source.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(source.len(), target.len(), "records of {TOPIC}-{partition}");
        assert!(source == target, "the records of {TOPIC}-{partition} differ");
    }
}

fn write(clusters: &mut Clusters, round: u64) {
    for partition in 0..PARTITIONS {
        clusters.write(TOPIC, partition, 6, 1 + round % 5);
    }
}

/// Ends the engine in the middle of whatever it does.
fn kill(engine: Engine) {
    drop(engine);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_counts_once_through_kills() {
    let mut clusters = Clusters::start(1).await;
    clusters.create(TOPIC, PARTITIONS);
    for round in 0..12 {
        write(&mut clusters, round);
        let engine = clusters.mirror(ENABLED);
        tokio::time::sleep(Duration::from_millis(40 + 35 * (round % 6))).await;
        write(&mut clusters, round);
        tokio::time::sleep(Duration::from_millis(20 * (round % 5))).await;
        kill(engine);
    }
    let engine = clusters.mirror(ENABLED);
    assert_committed(&clusters).await;
    stop(engine).await;
    assert_committed(&clusters).await;
    assert!(clusters.target.requests(ApiKey::EndTxn) > 0, "transactions were ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_instance_shuts_out_the_first() {
    let mut clusters = Clusters::start(1).await;
    clusters.create(TOPIC, PARTITIONS);
    write(&mut clusters, 1);
    let mut first = clusters.mirror(ENABLED);
    assert_committed(&clusters).await;
    let second = clusters.mirror(ENABLED);
    let fenced = loop {
        write(&mut clusters, 2);
        match tokio::time::timeout(Duration::from_millis(50), first.failed()).await {
            Ok(error) => break error,
            Err(_) => continue,
        }
    };
    assert!(matches!(fenced, EngineError::Fenced { .. }), "{fenced}");
    drop(first);
    assert_committed(&clusters).await;
    stop(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_counts_once_through_lost_answers_and_errors() {
    let mut clusters = Clusters::start(1).await;
    clusters.create(TOPIC, PARTITIONS);
    write(&mut clusters, 1);
    let engine = clusters.mirror(ENABLED);
    // Faults that all meet the start add up to a minute of growing waits.
    assert_committed(&clusters).await;
    let apis = [ApiKey::Produce, ApiKey::EndTxn, ApiKey::AddPartitionsToTxn];
    let actions = [
        FaultAction::ApplyThenDrop,
        FaultAction::Drop,
        FaultAction::Error(KafkaError::NotEnoughReplicas),
        FaultAction::Error(KafkaError::CoordinatorNotAvailable),
    ];
    for round in 0..36usize {
        write(&mut clusters, round as u64);
        let (api, action) = (apis[round % 3], actions[round / 3 % 4]);
        let is_known = matches!(
            (api, action),
            (ApiKey::Produce, FaultAction::Error(KafkaError::CoordinatorNotAvailable))
                | (_, FaultAction::Error(KafkaError::NotEnoughReplicas))
        );
        if !is_known || api == ApiKey::Produce {
            clusters.target.fault(Fault::new(api, action));
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_committed(&clusters).await;
    stop(engine).await;
    assert_committed(&clusters).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_and_without_transactions_go_on_after_each_other() {
    let mut clusters = Clusters::start(1).await;
    clusters.create(TOPIC, PARTITIONS);
    for (round, more) in ["", ENABLED, "", ENABLED].into_iter().enumerate() {
        write(&mut clusters, round as u64);
        let engine = clusters.mirror(more);
        assert_committed(&clusters).await;
        match round % 2 {
            0 => stop(engine).await,
            _ => kill(engine),
        }
    }
}

/// Has the target end a round without a marker.
async fn forget_markers(clusters: &mut Clusters) {
    clusters.target.set_markers(Markers::Forgotten);
    let (before, end) = (clusters.target.requests(ApiKey::EndTxn), ends(clusters));
    write(clusters, 3);
    eventually("a round has ended", || {
        clusters.target.requests(ApiKey::EndTxn) > before && ends(clusters) > end
    })
    .await;
}

/// What the copies end at, together.
fn ends(clusters: &Clusters) -> i64 {
    (0..PARTITIONS).filter_map(|partition| clusters.target.end_offset(COPY, partition)).sum()
}

/// KAFKA-20734, and the process ends before it notices.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_was_not_ended_everywhere_counts_for_the_next_instance() {
    let mut clusters = Clusters::start(1).await;
    clusters.create(TOPIC, PARTITIONS);
    for round in 0..4 {
        write(&mut clusters, round);
        let engine = clusters.mirror(ENABLED);
        assert_committed(&clusters).await;
        forget_markers(&mut clusters).await;
        kill(engine);
        clusters.target.set_markers(Markers::Written);
    }
    let engine = clusters.mirror(ENABLED);
    assert_committed(&clusters).await;
    stop(engine).await;
}

/// KAFKA-20734, and the next round is undone: what was told to have ended must not be undone with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_was_not_ended_everywhere_is_ended_before_the_next() {
    let mut clusters = Clusters::start(1).await;
    clusters.create(TOPIC, PARTITIONS);
    write(&mut clusters, 1);
    let engine = clusters.mirror(ENABLED);
    for _ in 0..4 {
        assert_committed(&clusters).await;
        forget_markers(&mut clusters).await;
        clusters.target.set_markers(Markers::Written);
        clusters.target.close_connections();
        clusters.target.fault(Fault::new(ApiKey::Produce, FaultAction::ApplyThenDrop));
        write(&mut clusters, 2);
    }
    assert_committed(&clusters).await;
    stop(engine).await;
    assert_committed(&clusters).await;
}
