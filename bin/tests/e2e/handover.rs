//! From MirrorMaker 2 to kmirror and back, on the same file: each goes on where the other stopped.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use kafka_lab::{JavaProcess, Load, available, start_mirror_maker};
use tempfile::TempDir;

use crate::support::{Clusters, Mirror, eventually};

const MM2_HEAP_MB: u32 = 320;
pub(crate) const MM2_STOP: Duration = Duration::from_secs(30);
const REFUSAL: Duration = Duration::from_secs(5);

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

/// Records keep coming while one hands over to the other. MirrorMaker 2 takes over once more at the end, and
/// repeats what its own restart repeats: nothing after a clean end of ours.
#[test]
fn a_flow_is_handed_over_while_it_flows() -> Result<()> {
    relay("flowing", "flowing-before", "", |mm2| mm2.terminate(MM2_STOP).map(|_| false))
}

/// MirrorMaker 2 dies with positions that are seconds old: what it wrote since is recognized in the target's log,
/// once the broker has noticed that its workers are gone. The topic of the positions has a name of its own, as in
/// a Connect cluster.
#[test]
fn what_a_dead_mirror_maker_wrote_is_not_repeated() -> Result<()> {
    let settings = "died-before-after.offset.storage.topic = connect-offsets\n\
                    died-before-after.offset.flush.interval.ms = 5000\n";
    relay("died", "died-before", settings, |mm2| mm2.kill().map(|()| true))
}

/// `end` ends MirrorMaker 2 and says whether its workers still count as members of their group.
fn relay(
    topic: &str,
    alias: &str,
    settings: &str,
    end: impl FnOnce(&mut JavaProcess) -> Result<bool>,
) -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    clusters.create(topic, 3, &[])?;
    let flow = clusters.flow(alias, &format!("{alias}-after"), topic);
    let file = format!(
        "{flow}emit.heartbeats.enabled = false\n\
         emit.checkpoints.enabled = false\n{settings}"
    );
    let mirrored = format!("{alias}.{topic}");
    let endless = Load { records: u64::MAX / 2, rate: 500, codec: "lz4", ..Load::of(topic) };
    let load = clusters.peer.produce_beside(&clusters.source.bootstrap(), &endless)?;

    let (mut mm2, _dir) = mirror_maker(&clusters, &file)?;
    clusters.await_progress(&mirrored, u64::MAX)?;
    // Positions are stored at least once.
    thread::sleep(Duration::from_secs(7));
    let members_left = end(&mut mm2)?;
    let mut mirror = Mirror::start(&file)?;
    if members_left {
        assert_eq!(mirror.wait(REFUSAL)?.code(), Some(3));
        assert!(mirror.log().contains("MirrorMaker 2 still replicates"), "{}", mirror.log());
        eventually("a dead worker is no member any more", || {
            mirror.restart()?;
            Ok(mirror.wait(REFUSAL).is_err())
        })?;
    }
    clusters.await_progress(&mirrored, u64::MAX)?;
    mirror.kill()?;
    mirror.restart()?;
    clusters.await_progress(&mirrored, u64::MAX)?;
    mirror.terminate()?;
    let (mut mm2, _dir) = mirror_maker(&clusters, &file)?;
    clusters.await_progress(&mirrored, u64::MAX)?;
    let produced = clusters.peer.stop(load)?;
    produced.assert_complete();
    clusters.compare(topic, &mirrored)?.assert_equal(produced.acknowledged);
    mm2.terminate(MM2_STOP).map(drop)
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
