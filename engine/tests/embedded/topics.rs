//! Topics come, grow and go; the engine stops and starts.

use std::time::Duration;

use embedded_broker::{ApiKey, Fault, FaultAction, TopicSpec};
use engine::flow::shard::PartitionState;
use engine::runtime::Engine;

use crate::setup::{Clusters, stop, until};

#[tokio::test(flavor = "multi_thread")]
async fn new_topics_and_partitions_follow() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 2);
    clusters.write("orders", 0, 20, 10);
    let engine = clusters.mirror("");
    clusters.assert_mirrored("orders", 0).await;
    clusters.create("payments", 1);
    clusters.write("payments", 0, 5, 1);
    clusters.assert_mirrored("payments", 0).await;
    clusters.grow("orders", 4).await;
    clusters.write("orders", 3, 7, 3);
    clusters.assert_mirrored("orders", 3).await;
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_last_run_stopped() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 3);
    for round in 0..4 {
        for partition in 0..3 {
            clusters.write("orders", partition, 10 + round, 3);
        }
        let engine = clusters.mirror("");
        for partition in 0..3 {
            clusters.assert_mirrored("orders", partition).await;
        }
        for partition in 0..3 {
            clusters.write("orders", partition, 50, 2);
        }
        stop(engine).await;
    }
    let engine = clusters.mirror("");
    for partition in 0..3 {
        clusters.assert_mirrored("orders", partition).await;
    }
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_target_refuses_stops_its_partition_alone() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("large", 1);
    clusters.create("small", 1);
    let tight = TopicSpec::new("source.large", 1).config("max.message.bytes", "90");
    clusters.target.create_topic(tight).expect("a new topic");
    clusters.write("large", 0, 1, 1);
    clusters.write("small", 0, 10, 1);
    let engine = clusters.mirror("");
    clusters.assert_mirrored("small", 0).await;
    until(&engine, "the partition to stop", |all| {
        all.iter().any(|at| &*at.source.topic == "large" && at.state == PartitionState::Failed)
    })
    .await;
    clusters.write("small", 0, 10, 1);
    clusters.assert_mirrored("small", 0).await;
    // The stopped partition does not keep its lane busy: idle fetches wait for half a second each.
    let before = clusters.source.requests(ApiKey::Fetch);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = clusters.source.requests(ApiKey::Fetch) - before;
    assert!(idle <= 12, "{idle} fetches in an idle second");
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_deleted_before_they_were_read_leave_a_gap_and_the_rest_follows() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 1);
    clusters.write("orders", 0, 10, 1);
    let engine = clusters.mirror("");
    clusters.assert_mirrored("orders", 0).await;
    stop(engine).await;
    clusters.write("orders", 0, 10, 1);
    clusters.source.delete_records("orders", 0, 15).expect("they are there");
    clusters.write("orders", 0, 5, 1);
    let engine = clusters.mirror("");
    until(&engine, "the rest", |all| all.iter().any(|at| at.position == Some(25))).await;
    // Ten before the gap, ten behind it.
    assert_eq!(clusters.target.end_offset("source.orders", 0), Some(20));
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_deleted_is_made_anew_and_filled_from_the_beginning() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 2);
    clusters.create("empty", 1);
    clusters.write("orders", 0, 20, 3);
    clusters.write("orders", 1, 10, 3);
    let engine = clusters.mirror("");
    clusters.assert_mirrored("orders", 0).await;
    clusters.assert_mirrored("orders", 1).await;
    for copy in ["source.orders", "source.empty"] {
        clusters.delete_copy(copy).await;
    }
    clusters.write("orders", 0, 5, 1);
    clusters.write("empty", 0, 5, 1);
    clusters.assert_mirrored("empty", 0).await;
    clusters.assert_mirrored("orders", 0).await;
    clusters.assert_mirrored("orders", 1).await;
    stop(engine).await;
    clusters.delete_copy("source.orders").await;
    let engine = clusters.mirror("");
    clusters.assert_mirrored("orders", 0).await;
    stop(engine).await;
    let engine = clusters.mirror("");
    clusters.assert_mirrored("orders", 0).await;
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_copies_only_what_comes_later() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 1);
    clusters.write("orders", 0, 10, 1);
    let engine = clusters.mirror("source.consumer.auto.offset.reset = latest");
    until(&engine, "the start", |all| all.iter().any(|at| at.state == PartitionState::Running))
        .await;
    clusters.write("orders", 0, 4, 1);
    until(&engine, "what comes later", |all| all.iter().any(|at| at.delivered.records == 4)).await;
    assert_eq!(clusters.target.end_offset("source.orders", 0), Some(4));
    stop(engine).await;
}

const STOP_AT_GAPS: &str = "kmirror.on.gap = fail";

/// Ten records of a topic are copied; then the topic is deleted, and made anew after a while with fifteen.
async fn made_anew(clusters: &mut Clusters, topic: &str, pause: Duration) {
    clusters.write(topic, 0, 10, 1);
    clusters.assert_mirrored(topic, 0).await;
    clusters.delete(topic).await;
    tokio::time::sleep(pause).await;
    clusters.create(topic, 1);
    clusters.write(topic, 0, 15, 1);
}

async fn until_stopped(engine: &Engine, topic: &str) {
    until(engine, "the partition to stop", |all| {
        all.iter().any(|at| &*at.source.topic == topic && at.state == PartitionState::Failed)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_created_again_is_copied_behind_the_one_before_or_not_at_all() {
    // The first comes back before anybody looks, the second after its absence was noticed.
    for pause in [Duration::ZERO, Duration::from_millis(2_500)] {
        for stops in [false, true] {
            let mut clusters = Clusters::start(1).await;
            clusters.create("orders", 1);
            let engine = clusters.mirror(if stops { STOP_AT_GAPS } else { "" });
            made_anew(&mut clusters, "orders", pause).await;
            if stops {
                until_stopped(&engine, "orders").await;
            } else {
                until(&engine, "the rest", |all| all.iter().any(|at| at.target_next == Some(25)))
                    .await;
            }
            let end = if stops { 10 } else { 25 };
            assert_eq!(clusters.target.end_offset("source.orders", 0), Some(end));
            stop(engine).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_stored_although_a_target_partition_does_not_answer() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 1);
    clusters.write("orders", 0, 10, 1);
    let seldom = "target.offset.flush.interval.ms = 600000";
    let engine = clusters.mirror(seldom);
    clusters.assert_mirrored("orders", 0).await;
    let silence = Fault::new(ApiKey::Produce, FaultAction::Silence).topic("source.orders");
    clusters.target.fault(silence.times(1_000));
    clusters.write("orders", 0, 1, 1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(engine.stop(Duration::from_secs(6)).await, "it does not wait for ever");
    clusters.target.clear_faults();
    let engine = clusters.mirror(seldom);
    clusters.assert_mirrored("orders", 0).await;
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_the_copy_takes_up_a_topic_that_was_made_anew_at_the_source() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 1);
    let engine = clusters.mirror(STOP_AT_GAPS);
    made_anew(&mut clusters, "orders", Duration::ZERO).await;
    until_stopped(&engine, "orders").await;
    clusters.delete_copy("source.orders").await;
    clusters.assert_mirrored("orders", 0).await;
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_a_topic_that_was_made_anew() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 1);
    let engine = clusters.mirror("");
    clusters.write("orders", 0, 10, 1);
    clusters.assert_mirrored("orders", 0).await;
    stop(engine).await;
    clusters.delete("orders").await;
    clusters.create("orders", 1);
    clusters.write("orders", 0, 15, 1);
    let engine = clusters.mirror(STOP_AT_GAPS);
    until_stopped(&engine, "orders").await;
    stop(engine).await;
    let engine = clusters.mirror("");
    until(&engine, "the rest", |all| all.iter().any(|at| at.position == Some(15))).await;
    assert_eq!(clusters.target.end_offset("source.orders", 0), Some(25));
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_others_made_anew_is_filled_only_if_the_policy_says_so() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 1);
    let engine = clusters.mirror("");
    clusters.write("orders", 0, 10, 1);
    clusters.assert_mirrored("orders", 0).await;
    stop(engine).await;
    clusters.delete_copy("source.orders").await;
    clusters.target.create_topic(TopicSpec::new("source.orders", 1)).expect("a new topic");
    let engine = clusters.mirror("");
    until_stopped(&engine, "orders").await;
    assert_eq!(clusters.target.end_offset("source.orders", 0), Some(0));
    stop(engine).await;
    let engine = clusters.mirror("kmirror.on.divergence = resume");
    clusters.assert_mirrored("orders", 0).await;
    stop(engine).await;
}
