//! Limits of bandwidth on real sockets: they hold, and everything arrives all the same.

use std::time::{Duration, Instant};

use crate::setup::{Clusters, stop};

#[expect(clippy::disallowed_methods, reason = "tests on sockets wait in real time")]
fn now() -> Instant {
    Instant::now()
}

/// How long it takes to carry some 700 kB, under these limits.
async fn mirrored(limits: &str) -> Duration {
    let mut clusters = Clusters::start(2).await;
    clusters.create("orders", 4);
    for partition in 0..4 {
        clusters.write("orders", partition, 24, 100);
    }
    let start = now();
    let engine = clusters.mirror(limits);
    for partition in 0..4 {
        clusters.assert_mirrored("orders", partition).await;
    }
    stop(engine).await;
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_is_no_faster_than_its_limit() {
    let took = mirrored("source->target.kmirror.bandwidth.limit = 300kB/s").await;
    assert!(took > Duration::from_millis(1_500), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_written_to_no_faster_than_its_limit() {
    let limits = "kmirror.bandwidth.limit = 1GB/s, 00:00-12:00 2GB/s\n\
                  target.kmirror.bandwidth.limit = 300kB/s";
    let took = mirrored(limits).await;
    assert!(took > Duration::from_millis(1_500), "{took:?}");
}
