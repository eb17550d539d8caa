//! Two instances of one flow: the later one shuts out the earlier, and neither loses or repeats a record.

use std::time::Duration;

use embedded_broker::{ApiKey, Fault, FaultAction, KafkaError};
use engine::error::EngineError;
use engine::flow::shard::PartitionState;

use crate::setup::{Clusters, stop, until};

const TOPIC: &str = "orders";
const COPY: &str = "source.orders";

async fn mirrored(clusters: &Clusters) {
    for partition in 0..2 {
        clusters.assert_mirrored(TOPIC, partition).await;
    }
}

fn write(clusters: &mut Clusters) {
    for partition in 0..2 {
        clusters.write(TOPIC, partition, 5, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_instance_shuts_out_the_first() {
    let mut clusters = Clusters::start(1).await;
    clusters.create(TOPIC, 2);
    write(&mut clusters);
    let mut first = clusters.mirror("");
    mirrored(&clusters).await;
    // Positions are stored meanwhile.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let second = clusters.mirror("");
    until(&second, "both partitions", |all| {
        let mut ours = all.iter().filter(|at| &*at.source.topic == TOPIC);
        ours.clone().count() == 2 && ours.all(|at| at.state == PartitionState::Running)
    })
    .await;
    // Both have the records now; the partitions know the second.
    let fenced = loop {
        write(&mut clusters);
        match tokio::time::timeout(Duration::from_millis(100), first.failed()).await {
            Ok(error) => break error,
            Err(_) => continue,
        }
    };
    assert!(matches!(fenced, EngineError::Fenced { .. }), "{fenced}");
    drop(first);
    write(&mut clusters);
    mirrored(&clusters).await;
    stop(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_costs_no_offset_and_a_kill_costs_one() {
    let mut clusters = Clusters::start(1).await;
    clusters.create(TOPIC, 2);
    for (round, markers) in [0, 0, 1].into_iter().enumerate() {
        write(&mut clusters);
        let engine = clusters.mirror("");
        mirrored(&clusters).await;
        // Positions are stored meanwhile.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let ends = (clusters.source.end_offset(TOPIC, 0), clusters.target.end_offset(COPY, 0));
        assert_eq!(ends.0.map(|end| end + markers), ends.1, "round {round}");
        if round == 0 {
            stop(engine).await;
        } else {
            // As a kill, it leaves no note that it ended.
            let lost = Fault::new(ApiKey::Produce, FaultAction::Drop);
            clusters.target.fault(lost.topic("mm2-offsets.source.internal").times(u32::MAX));
            drop(engine);
            clusters.target.clear_faults();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_an_id_records_flow_all_the_same() {
    let mut clusters = Clusters::start(1).await;
    clusters.create(TOPIC, 2);
    write(&mut clusters);
    let denied = FaultAction::Error(KafkaError::TransactionalIdAuthorizationFailed);
    clusters.target.fault(Fault::new(ApiKey::InitProducerId, denied));
    let engine = clusters.mirror("");
    mirrored(&clusters).await;
    stop(engine).await;
}
