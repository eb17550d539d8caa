//! What flows say about themselves and about consumer groups: heartbeats, checkpoints, committed positions.

use std::collections::BTreeMap;
use std::time::Duration;

use embedded_broker::{ApiKey, Cluster, Fault, FaultAction, KafkaError, TopicSpec};
use engine::records::checkpoint::Checkpoint;
use engine::records::heartbeat::Heartbeat;
use engine::runtime::Engine;
use protocol_client::batch::BatchBuilder;

use crate::setup::{Clusters, commit, eventually, stop};

/// Everything every second.
const EAGER: &str = "emit.checkpoints.interval.seconds = 1\n\
                     sync.group.offsets.enabled = true\n\
                     sync.group.offsets.interval.seconds = 1\n\
                     refresh.groups.interval.seconds = 1\n";

const CHECKPOINTS: &str = "source.checkpoints.internal";

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

/// All checkpoints that were ever written, oldest first.
fn checkpoints(cluster: &Cluster, topic: &str) -> Vec<Checkpoint> {
    let records = cluster.records(topic, 0).unwrap_or_default();
    let decoded = records.into_iter().filter_map(|(_, record)| {
        Checkpoint::decode(&record.key.unwrap_or_default(), &record.value.unwrap_or_default()).ok()
    });
    decoded.collect()
}

/// The last checkpoint of a group: upstream and downstream by topic and partition.
fn standing(cluster: &Cluster, topic: &str, group: &str) -> BTreeMap<(String, i32), (i64, i64)> {
    let of_group = checkpoints(cluster, topic).into_iter().filter(|one| one.group == group);
    let pairs = of_group
        .map(|one| ((one.topic, one.partition), (one.upstream_offset, one.downstream_offset)));
    pairs.collect()
}

async fn copied(clusters: &Clusters, topic: &str, end: i64) {
    eventually("the copy", || clusters.target.end_offset(topic, 0) == Some(end)).await;
}

async fn committed(cluster: &Cluster, group: &str, topic: &str, position: i64) {
    let what = format!("{group} at {position} in {topic}");
    eventually(&what, || cluster.committed(group, topic, 0) == Some(position)).await;
}

/// Two rounds of everything that happens every second.
async fn rounds() {
    tokio::time::sleep(Duration::from_millis(2300)).await;
}

/// A topic whose first three records are gone: the copy's offsets are smaller by three.
async fn shifted(clusters: &mut Clusters) {
    clusters.create("orders", 1);
    clusters.write("orders", 0, 4, 5);
    clusters.source.delete_records("orders", 0, 3).expect("they are there");
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_of_groups_are_translated_written_down_and_committed() {
    let mut clusters = Clusters::start(1).await;
    shifted(&mut clusters).await;
    clusters.create("__hidden", 1);
    let source = &clusters.source;
    commit(source, "readers", "orders", 7, "a remark").await;
    commit(source, "at-the-end", "orders", 20, "").await;
    commit(source, "ahead", "orders", 1000, "").await;
    commit(source, "before-the-beginning", "orders", 1, "").await;
    commit(source, "console-consumer-1", "orders", 7, "").await;
    commit(source, "elsewhere", "__hidden", 7, "").await;
    let engine = clusters.mirror(EAGER);
    let target = &clusters.target;
    for (group, position) in [("readers", 4), ("at-the-end", 17), ("ahead", 17)] {
        committed(target, group, "source.orders", position).await;
    }
    rounds().await;
    stop(engine).await;
    let all = checkpoints(target, CHECKPOINTS);
    let readers: Vec<_> = all.iter().filter(|one| one.group == "readers").collect();
    assert_eq!(readers.len(), 1, "written once: {readers:?}");
    assert_eq!((readers[0].upstream_offset, readers[0].downstream_offset), (7, 4));
    assert_eq!((&*readers[0].topic, &*readers[0].metadata), ("source.orders", "a remark"));
    for group in ["console-consumer-1", "elsewhere"] {
        assert!(all.iter().all(|one| one.group != group), "{group}");
        assert_eq!(target.committed(group, "source.orders", 0), None, "{group}");
    }
    let early = target.committed("before-the-beginning", "source.orders", 0);
    assert!(early.is_none_or(|position| position == 0), "{early:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_positions_are_taken_over_once_more() {
    let mut clusters = Clusters::start(1).await;
    shifted(&mut clusters).await;
    let engine = clusters.mirror("sync.group.offsets.enabled = true");
    copied(&clusters, "source.orders", 17).await;
    eventually("the checkpoints topic", || clusters.target.end_offset(CHECKPOINTS, 0).is_some())
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    commit(&clusters.source, "readers", "orders", 7, "").await;
    stop(engine).await;
    let target = &clusters.target;
    let at = ("source.orders".to_owned(), 0);
    assert_eq!(standing(target, CHECKPOINTS, "readers").get(&at), Some(&(7, 4)));
    assert_eq!(target.committed("readers", "source.orders", 0), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_word_about_it_nothing_is_committed() {
    let mut clusters = Clusters::start(1).await;
    shifted(&mut clusters).await;
    commit(&clusters.source, "readers", "orders", 7, "").await;
    let engine = clusters.mirror("emit.checkpoints.interval.seconds = 1");
    let target = &clusters.target;
    eventually("a checkpoint", || standing(target, CHECKPOINTS, "readers").len() == 1).await;
    rounds().await;
    stop(engine).await;
    assert_eq!(target.committed("readers", "source.orders", 0), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_takes_nothing_back_and_steps_over_records_of_others() {
    let mut clusters = Clusters::start(1).await;
    shifted(&mut clusters).await;
    commit(&clusters.source, "readers", "orders", 7, "").await;
    let engine = clusters.mirror(EAGER);
    committed(&clusters.target, "readers", "source.orders", 4).await;
    stop(engine).await;
    let written = checkpoints(&clusters.target, CHECKPOINTS).len();
    let mut batch = BatchBuilder::new();
    batch.push(Some(b"no checkpoint"), Some(b"at all"), &[], 1_700_000_000_000);
    let batch = batch.build().expect("one record");
    clusters.target.append(CHECKPOINTS, 0, &batch.bytes, false).expect("the topic is there");

    let engine = clusters.mirror(EAGER);
    clusters.write("orders", 0, 1, 10);
    copied(&clusters, "source.orders", 27).await;
    rounds().await;
    assert_eq!(checkpoints(&clusters.target, CHECKPOINTS).len(), written, "nothing changed");
    commit(&clusters.source, "readers", "orders", 25, "").await;
    committed(&clusters.target, "readers", "source.orders", 22).await;
    // What was replicated before the restart is known as well as what came since.
    commit(&clusters.source, "others", "orders", 6, "").await;
    committed(&clusters.target, "others", "source.orders", 3).await;
    stop(engine).await;
    let mut all = checkpoints(&clusters.target, CHECKPOINTS);
    all.retain(|one| one.group == "readers");
    let all: Vec<i64> = all.iter().map(|one| one.downstream_offset).collect();
    assert!(all.is_sorted(), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_active_at_the_target_is_left_alone() {
    let mut clusters = Clusters::start(1).await;
    shifted(&mut clusters).await;
    let (source, target) = (&clusters.source, &clusters.target);
    target.populate_group("readers", "consumer", 1);
    commit(source, "readers", "orders", 7, "").await;
    commit(source, "others", "orders", 8, "").await;
    let engine = clusters.mirror(EAGER);
    committed(target, "others", "source.orders", 5).await;
    rounds().await;
    assert_eq!(target.committed("readers", "source.orders", 0), None);
    assert_eq!(standing(target, CHECKPOINTS, "readers").len(), 1, "its checkpoint is written");
    target.populate_group("readers", "consumer", 0);
    committed(target, "readers", "source.orders", 4).await;
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_turns_active_at_the_last_moment_is_no_error() {
    let mut clusters = Clusters::start(1).await;
    shifted(&mut clusters).await;
    let (source, target) = (&clusters.source, &clusters.target);
    let has_members = FaultAction::Error(KafkaError::UnknownMemberId);
    target.fault(Fault::new(ApiKey::OffsetCommit, has_members));
    commit(source, "readers", "orders", 7, "").await;
    let engine = clusters.mirror(EAGER);
    committed(target, "readers", "source.orders", 4).await;
    stop(engine).await;
    assert!(target.requests(ApiKey::OffsetCommit) >= 2, "the first was refused");
}

/// Mirrors a group at 17, sets it back to 5, and answers where that leaves it.
async fn set_back(more: &str) -> (Clusters, Engine) {
    let mut clusters = Clusters::start(1).await;
    shifted(&mut clusters).await;
    commit(&clusters.source, "readers", "orders", 17, "").await;
    let engine = clusters.mirror(&format!("{EAGER}{more}"));
    committed(&clusters.target, "readers", "source.orders", 14).await;
    commit(&clusters.source, "readers", "orders", 5, "").await;
    let key = ("source.orders".to_owned(), 0);
    eventually("the checkpoint goes back", || {
        standing(&clusters.target, CHECKPOINTS, "readers").get(&key) == Some(&(5, 2))
    })
    .await;
    (clusters, engine)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_set_back_keeps_its_position_at_the_target() {
    let (clusters, engine) = set_back("").await;
    rounds().await;
    assert_eq!(clusters.target.committed("readers", "source.orders", 0), Some(14));
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_set_back_is_followed_where_that_is_wanted() {
    let (clusters, engine) = set_back("kmirror.groups.follow.rewinds = true").await;
    committed(&clusters.target, "readers", "source.orders", 2).await;
    // What the group of the target does by itself afterwards is its own affair.
    commit(&clusters.target, "readers", "source.orders", 9, "").await;
    rounds().await;
    assert_eq!(clusters.target.committed("readers", "source.orders", 0), Some(9));
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_in_topics_that_came_from_the_target_go_back_under_their_first_name() {
    let mut clusters = Clusters::start(1).await;
    clusters.target.create_topic(TopicSpec::new("payments", 1)).expect("a new topic");
    clusters.create("orders", 1);
    clusters.write("orders", 0, 1, 3);
    let mut batch = BatchBuilder::new();
    for _ in 0..10 {
        batch.push(None, Some(b"value"), &[], 1_700_000_000_000);
    }
    let batch = batch.build().expect("ten records");
    clusters.target.append("payments", 0, &batch.bytes, false).expect("the topic is there");
    clusters.target.delete_records("payments", 0, 4).expect("they are there");
    let engine = clusters.mirror(&format!(
        "{EAGER}target->source.enabled = true\nsource.offset.storage.replication.factor = 1\n"
    ));
    let (source, target) = (&clusters.source, &clusters.target);
    eventually("the copy", || source.end_offset("target.payments", 0) == Some(6)).await;
    commit(source, "readers", "target.payments", 2, "").await;
    committed(target, "readers", "payments", 6).await;
    stop(engine).await;
    let key = ("payments".to_owned(), 0);
    assert_eq!(standing(target, CHECKPOINTS, "readers").get(&key), Some(&(2, 6)));
}
