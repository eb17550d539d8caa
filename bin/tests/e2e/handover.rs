//! From MirrorMaker 2 to kmirror and back, on the same file: each goes on where the other stopped.

use std::time::Duration;

use anyhow::Result;
use kafka_lab::{JavaProcess, Load, available, start_mirror_maker};
use tempfile::TempDir;

use crate::support::{Clusters, Mirror};

const MM2_HEAP_MB: u32 = 320;
pub(crate) const MM2_STOP: Duration = Duration::from_secs(30);

#[test]
fn positions_are_handed_over_in_both_directions() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    clusters.create("handover", 3, &[])?;
    let flow = clusters.flow("before", "after", "handover");
    let file = format!(
        "{flow}emit.heartbeats.enabled = false\n\
         emit.checkpoints.enabled = false\n\
         offset.flush.interval.ms = 1000\n"
    );

    produce(&clusters, 1)?;
    let (mut mm2, _dir) = mirror_maker(&clusters, &file)?;
    clusters.compare("handover", "before.handover")?.assert_equal(500);
    mm2.terminate(MM2_STOP)?;

    produce(&clusters, 2)?;
    let mut mirror = Mirror::start(&file)?;
    clusters.compare("handover", "before.handover")?.assert_equal(1000);
    mirror.terminate()?;

    produce(&clusters, 3)?;
    let (mut mm2, _dir) = mirror_maker(&clusters, &file)?;
    clusters.compare("handover", "before.handover")?.assert_equal(1500);
    mm2.terminate(MM2_STOP)?;
    // Once more when nothing is on its way any longer: MirrorMaker 2 has repeated nothing either.
    clusters.compare("handover", "before.handover")?.assert_equal(1500);
    // Two thirds of it are what MirrorMaker 2 has made.
    mirror.verify()
}

fn produce(clusters: &Clusters, seed: u64) -> Result<()> {
    let load = Load { records: 500, seed, codec: "lz4", ..Load::of("handover") };
    clusters.peer.produce(&clusters.source.bootstrap(), &load)?.assert_complete();
    Ok(())
}

pub(crate) fn mirror_maker(clusters: &Clusters, file: &str) -> Result<(JavaProcess, TempDir)> {
    let dir = tempfile::tempdir()?;
    // MirrorMaker 2 does not read an empty list of listeners as none.
    let file = file.replace("listeners =\n", "");
    let distribution = clusters.target.distribution();
    Ok((start_mirror_maker(distribution, dir.path(), &file, MM2_HEAP_MB)?, dir))
}
