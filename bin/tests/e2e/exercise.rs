//! The course exercise that many learn MirrorMaker 2 with: its clusters, its topics, its file.

use anyhow::Result;
use kafka_lab::{Load, Shape, available};

use crate::support::{Clusters, Mirror};

const OF_THE_EXERCISE: &str = "\
source->destination.groups = .*
sync.group.offsets.enabled = true
sync.group.offsets.interval.seconds = 60
emit.heartbeats.enabled = true
emit.checkpoints.enabled = true
tasks.max = 2
";

#[test]
fn orders_and_payments_arrive_and_survive_restarts() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let (peer, source) = (&clusters.peer, clusters.source.bootstrap());
    clusters.create("orders", 3, &[])?;
    clusters.create("payments", 2, &[])?;
    let orders = Load { shape: Shape::Mixed, records: 500, ..Load::of("orders") };
    peer.produce(&source, &orders)?.assert_complete();
    peer.produce(&source, &Load { records: 300, ..Load::of("payments") })?.assert_complete();

    let flow = clusters.flow("source", "destination", "orders, payments, refunds.*");
    let mut mirror = Mirror::start(&format!("{flow}{OF_THE_EXERCISE}"))?;
    clusters.compare("orders", "source.orders")?.assert_equal(500);
    clusters.compare("payments", "source.payments")?.assert_equal(300);
    let target = clusters.target.bootstrap();
    assert_eq!(peer.end_offsets(&target, "source.orders")?.len(), 3);
    assert_eq!(peer.end_offsets(&target, "source.payments")?.len(), 2);

    clusters.create("refunds-2024", 1, &[])?;
    clusters.peer.grow_topic(&source, "orders", 5)?;
    peer.produce(&source, &Load::of("refunds-2024"))?.assert_complete();
    peer.produce(&source, &Load { records: 250, seed: 2, ..orders.clone() })?.assert_complete();
    clusters.compare("refunds-2024", "source.refunds-2024")?.assert_equal(1000);
    clusters.compare("orders", "source.orders")?.assert_equal(750);
    assert_eq!(peer.end_offsets(&target, "source.orders")?.len(), 5);

    mirror.terminate()?;
    peer.produce(&source, &Load { records: 100, seed: 3, ..orders.clone() })?.assert_complete();
    mirror.restart()?;
    clusters.compare("orders", "source.orders")?.assert_equal(850);
    mirror.terminate()
}

#[test]
fn a_restart_under_load_loses_and_repeats_nothing() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let source = clusters.source.bootstrap();
    clusters.create("busy", 3, &[])?;
    let mut mirror = Mirror::start(&clusters.flow("busy-source", "busy-target", "busy"))?;
    let load = Load { records: 20_000, rate: 2500, linger_ms: 2, ..Load::of("busy") };
    let producing = clusters.peer.produce_beside(&source, &load)?;
    for _ in 0..3 {
        clusters.await_progress("busy-source.busy", 20_000)?;
        mirror.terminate()?;
        mirror.restart()?;
    }
    producing.wait()?.assert_complete();
    clusters.compare("busy", "busy-source.busy")?.assert_equal(20_000);
    mirror.terminate()
}
