//! What flows say about themselves and about consumer groups: heartbeats, checkpoints, committed positions.

use std::time::Duration;

use embedded_broker::Cluster;
use engine::records::heartbeat::Heartbeat;

use crate::setup::{Clusters, eventually, stop};

fn heartbeats(cluster: &Cluster, topic: &str) -> Vec<Heartbeat> {
    let records = cluster.records(topic, 0).unwrap_or_default();
    let decoded = records.into_iter().map(|(_, record)| {
        let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
        let heartbeat = Heartbeat::decode(&key, &value).expect("Java reads it");
        assert_eq!(heartbeat.timestamp_ms, record.timestamp_ms);
        heartbeat
    });
    decoded.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_beat_on_both_sides_and_travel() {
    let clusters = Clusters::start(1).await;
    let engine = clusters.mirror("");
    let (source, target) = (&clusters.source, &clusters.target);
    eventually("heartbeats on the target", || heartbeats(target, "heartbeats").len() > 1).await;
    eventually("those of the source on the target", || {
        heartbeats(target, "source.heartbeats").len() > 1
    })
    .await;
    stop(engine).await;
    for (cluster, topic, from, to) in [
        (target, "heartbeats", "source", "target"),
        (source, "heartbeats", "target", "source"),
        (target, "source.heartbeats", "target", "source"),
    ] {
        for heartbeat in heartbeats(cluster, topic) {
            assert_eq!((&*heartbeat.source, &*heartbeat.target), (from, to), "{topic}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_can_be_turned_off_for_one_pair() {
    let clusters = Clusters::start(1).await;
    let engine = clusters.mirror("target->source.emit.heartbeats.enabled = false");
    let target = &clusters.target;
    eventually("heartbeats on the target", || heartbeats(target, "heartbeats").len() > 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop(engine).await;
    assert_eq!(clusters.source.end_offset("heartbeats", 0), None, "nothing is written there");
}
