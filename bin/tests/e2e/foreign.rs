//! Somebody else writes to a mirrored topic, as happens in a failover: while kmirror runs, while it is down,
//! and when it is killed in between. Nothing of the mirror is lost or comes twice, and groups stay exact.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use kafka_lab::{Comparison, Load, available};

use crate::groups_exact::{Exact, PROMPT};
use crate::support::{Clusters, Mirror};

const TOPIC: &str = "foreign-written";
const MIRRORED: &str = "shared.foreign-written";

#[test]
fn records_of_others_are_stepped_over() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let (source, target) = (clusters.source.bootstrap(), clusters.target.bootstrap());
    clusters.create(TOPIC, 2, &[])?;
    let flow = clusters.flow("shared", "shared-target", TOPIC);
    let mirror = Mirror::start(&format!("{flow}groups = shared-.*\n{PROMPT}"))?;
    let ours = Load { records: 0, codec: "lz4", ..Load::of(TOPIC) };
    let mut exact = Exact::new(&clusters, mirror, "shared", vec![ours.clone()], 5);
    let peer = &clusters.peer;

    // Side by side, with a kill in the middle; each round adds 300 records.
    exact.round()?;
    let ours = Load { records: 6000, rate: 1500, seed: 50, ..ours };
    let theirs = Load { topic: MIRRORED.to_owned(), records: 600, seed: 70, ..ours.clone() };
    let producing = peer.produce_beside(&source, &ours)?;
    clusters.await_progress(MIRRORED, 6300)?;
    let meddling = peer.produce_beside(&target, &Load { rate: 250, ..theirs.clone() })?;
    thread::sleep(Duration::from_millis(800));
    exact.mirror.kill()?;
    thread::sleep(Duration::from_millis(300));
    exact.mirror.restart()?;
    producing.wait()?.assert_complete();
    meddling.wait()?.assert_complete();
    judge(&clusters.compare(TOPIC, MIRRORED)?, 6300, 600);
    exact.round()?;

    // While it is down after a clean end, and after a crash.
    exact.mirror.terminate()?;
    peer.produce(&target, &Load { records: 40, seed: 71, ..theirs.clone() })?.assert_complete();
    peer.produce(&source, &Load { records: 500, seed: 51, ..ours.clone() })?.assert_complete();
    exact.mirror.restart()?;
    exact.round()?;
    exact.mirror.kill()?;
    peer.produce(&target, &Load { records: 40, seed: 72, ..theirs })?.assert_complete();
    exact.mirror.restart()?;
    exact.round()?;
    judge(&clusters.compare(TOPIC, MIRRORED)?, 7700, 680);
    exact.mirror.wait_for_line(&[MIRRORED, "not of this flow"])?;
    exact.mirror.terminate()
}

#[track_caller]
fn judge(seen: &Comparison, ours: u64, theirs: u64) {
    assert_eq!((seen.source_records, seen.missing, seen.repeated), (ours, 0, 0), "{seen:#?}");
    assert_eq!((seen.extra, &*seen.first_difference_in_ours), (theirs, ""), "{seen:#?}");
}
