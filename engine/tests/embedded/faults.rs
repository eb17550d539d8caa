//! Brokers that move, die, forget and lie: everything arrives once, in order, while the engine stays up.

use std::time::Duration;

use embedded_broker::{ApiKey, Fault, FaultAction, KafkaError};

use crate::setup::{Clusters, stop};

/// A multiple of four: the last round of a kill is followed by its restart.
const ROUNDS: u64 = 32;

/// Writes while `trouble` goes on, then compares everything.
async fn through(nodes: usize, trouble: impl Fn(&Clusters, u64)) {
    let mut clusters = Clusters::start(nodes).await;
    clusters.create("orders", 3);
    let engine = clusters.mirror(&format!("replication.factor = {nodes}"));
    for round in 0..ROUNDS {
        for partition in 0..3 {
            clusters.write("orders", partition, 8, 1 + round % 5);
        }
        trouble(&clusters, round);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    for partition in 0..3 {
        clusters.assert_mirrored("orders", partition).await;
    }
    stop(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost() {
    through(1, |clusters, round| {
        let actions = [FaultAction::ApplyThenDrop, FaultAction::CutMidFrame, FaultAction::Drop];
        let action = actions[round as usize % actions.len()];
        if round % 4 > 0 {
            return;
        }
        clusters.target.fault(Fault::new(ApiKey::Produce, action).topic("source.orders"));
        clusters.source.fault(Fault::new(ApiKey::Fetch, action));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_for_single_partitions() {
    through(1, |clusters, round| {
        let errors = [
            KafkaError::NotLeaderOrFollower,
            KafkaError::RequestTimedOut,
            KafkaError::NotEnoughReplicas,
            KafkaError::UnknownServerError,
        ];
        let error = FaultAction::Error(errors[round as usize % errors.len()]);
        let partition = (round % 3) as i32;
        clusters
            .target
            .fault(Fault::new(ApiKey::Produce, error).topic("source.orders").partition(partition));
        clusters
            .source
            .fault(Fault::new(ApiKey::Fetch, error).topic("orders").partition(partition));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_move() {
    through(3, |clusters, round| {
        clusters.source.move_leader("orders", (round % 3) as i32, (round % 2) as i32);
        clusters.target.move_leader("source.orders", ((round + 1) % 3) as i32, (round % 3) as i32);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_die_and_come_back() {
    through(3, |clusters, round| {
        let node = (round / 4 % 3) as i32;
        match round % 4 {
            0 => clusters.target.kill_node(node),
            1 => clusters.source.kill_node(node),
            2 => clusters.target.restart_node(node, true),
            _ => clusters.source.restart_node(node, false),
        }
    })
    .await;
}
