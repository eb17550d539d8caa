//! The process ends from one moment to the next: what is at the target already is found there by the next one.

use std::time::Duration;

use crate::setup::{Clusters, stop, until};

const SELDOM: &str = "target.offset.flush.interval.ms = 600000";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_by_a_crash() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 3);
    for round in 0..12u64 {
        let engine = clusters.mirror(SELDOM);
        for partition in 0..3 {
            clusters.write("orders", partition, 5 + round, 1 + round % 4);
        }
        if round % 3 == 0 {
            until(&engine, "some records", |all| all.iter().any(|at| at.delivered.records > 0))
                .await;
        } else {
            tokio::time::sleep(Duration::from_millis(40 * (round % 5))).await;
        }
        drop(engine);
    }
    let engine = clusters.mirror(SELDOM);
    for partition in 0..3 {
        clusters.assert_mirrored("orders", partition).await;
    }
    stop(engine).await;
}
