//! Brokers that die, clusters that are away at the start, records that the target refuses.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use kafka_lab::{Load, Version, available};

use crate::support::{Clusters, Mirror, eventually};

/// Long enough for several retries of whatever was in flight.
const OUTAGE: Duration = Duration::from_secs(2);
const RECORDS: u64 = 30_000;

#[test]
fn either_broker_may_die_under_load() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let mut clusters = Clusters::start(Version::V4_3_1, Version::V4_3_1)?;
    let source = clusters.source.bootstrap();
    clusters.create("t", 3, &[])?;
    let mut mirror = Mirror::start(&clusters.flow("a", "b", "t"))?;
    let load = Load { records: RECORDS, rate: 2000, codec: "lz4", ..Load::of("t") };
    let producing = clusters.peer.produce_beside(&source, &load)?;
    clusters.await_progress("a.t", RECORDS)?;

    clusters.target.kill(1)?;
    thread::sleep(OUTAGE);
    clusters.target.restart(1)?;
    clusters.await_progress("a.t", RECORDS)?;

    clusters.source.kill(1)?;
    thread::sleep(OUTAGE);
    clusters.source.restart(1)?;
    clusters.await_progress("a.t", RECORDS)?;

    producing.wait()?.assert_complete();
    clusters.compare("t", "a.t")?.assert_equal(RECORDS);
    mirror.terminate()
}

#[test]
fn a_target_that_is_away_at_the_start_is_waited_for_and_named_once() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let mut clusters = Clusters::start(Version::V4_3_1, Version::V4_3_1)?;
    clusters.create("t", 1, &[])?;
    clusters.peer.produce(&clusters.source.bootstrap(), &Load::of("t"))?.assert_complete();
    clusters.target.kill(1)?;
    let mut mirror = Mirror::start(&clusters.flow("here", "away", "t"))?;
    let target = clusters.target.bootstrap();
    mirror.wait_for_line(&["away", &target])?;
    thread::sleep(OUTAGE);
    mirror.ensure_running()?;
    let said = mirror.log().lines().filter(|line| line.contains(&target)).count();
    assert_eq!(said, 1, "{}", mirror.log());

    clusters.target.restart(1)?;
    clusters.compare("t", "here.t")?.assert_equal(1000);
    mirror.terminate()
}

#[test]
fn a_record_that_the_target_refuses_stops_its_partition_only() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let (source, target) = (clusters.source.bootstrap(), clusters.target.bootstrap());
    clusters.create("limited", 2, &[])?;
    let limit = [("max.message.bytes", "100000")];
    clusters.peer.create_topic(&target, "refused.limited", 2, &limit)?;
    let small = Load { records: 100, partition: Some(0), ..Load::of("limited") };
    clusters.peer.produce(&source, &small)?.assert_complete();
    let too_large = Load { records: 1, value_bytes: 200_000, ..Load::of("limited") };
    clusters.peer.produce(&source, &Load { partition: Some(1), ..too_large })?.assert_complete();

    let flow = clusters.flow("refused", "refused-target", "limited");
    let mut mirror = Mirror::start(&format!("{flow}sync.topic.configs.enabled = false\n"))?;
    mirror.wait_for_line(&["limited-1", "max.message.bytes"])?;
    clusters.peer.produce(&source, &Load { seed: 2, ..small.clone() })?.assert_complete();
    eventually("the other partition goes on", || {
        let ends = clusters.peer.end_offsets(&target, "refused.limited")?;
        Ok(ends == [(0, 200), (1, 0)].into())
    })?;
    mirror.ensure_running()?;

    let raised = [("max.message.bytes", "1048588")];
    clusters.peer.configure_topic(&target, "refused.limited", &raised)?;
    mirror.terminate()?;
    mirror.restart()?;
    clusters.compare("limited", "refused.limited")?.assert_equal(201);
    mirror.terminate()
}

#[test]
fn records_that_are_gone_before_they_were_read_are_reported() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let (source, target) = (clusters.source.bootstrap(), clusters.target.bootstrap());
    clusters.create("gone", 1, &[])?;
    clusters.peer.produce(&source, &Load::of("gone"))?.assert_complete();
    let mut mirror = Mirror::start(&clusters.flow("retained", "retained-target", "gone"))?;
    clusters.compare("gone", "retained.gone")?.assert_equal(1000);
    mirror.terminate()?;

    let later = Load { records: 500, seed: 2, ..Load::of("gone") };
    clusters.peer.produce(&source, &later)?.assert_complete();
    clusters.peer.delete_records(&source, "gone", 0, 1200)?;
    mirror.restart()?;
    mirror.wait_for_line(&["gone-0", "1000 to 1199"])?;
    eventually("what still exists is mirrored", || {
        Ok(clusters.peer.end_offsets(&target, "retained.gone")? == [(0, 1300)].into())
    })?;
    mirror.terminate()
}
