//! What happens to topics while kmirror does not look: records deleted, topics made anew on either side. Each
//! is found and said, and the policy of the flow decides.

use anyhow::Result;
use kafka_lab::{Load, available};

use crate::support::{Clusters, Mirror, eventually};

#[test]
fn a_gap_stops_its_partition_where_the_policy_says_so() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let (source, target) = (clusters.source.bootstrap(), clusters.target.bootstrap());
    clusters.create("gap", 2, &[])?;
    produce(&clusters, "gap", 1, 1000)?;
    let flow = clusters.flow("gaps", "gaps-target", "gap");
    let mut mirror = Mirror::start(&format!("{flow}kmirror.on.gap = fail\n"))?;
    clusters.compare("gap", "gaps.gap")?.assert_equal(1000);
    mirror.terminate()?;

    produce(&clusters, "gap", 2, 1000)?;
    clusters.peer.delete_records(&source, "gap", 0, 700)?;
    mirror.restart()?;
    mirror.wait_for_line(&["gap-0", "500 to 699", "kmirror.on.gap"])?;
    eventually("the other partition goes on, this one stands still", || {
        Ok(clusters.peer.end_offsets(&target, "gaps.gap")? == [(0, 500), (1, 1000)].into())
    })?;
    mirror.ensure_running()
}

#[test]
fn a_source_topic_made_anew_is_not_taken_for_the_old_one() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let (source, target) = (clusters.source.bootstrap(), clusters.target.bootstrap());
    clusters.create("anew", 1, &[])?;
    produce(&clusters, "anew", 1, 1000)?;
    let mut mirror = Mirror::start(&clusters.flow("renewed", "renewed-target", "anew"))?;
    clusters.compare("anew", "renewed.anew")?.assert_equal(1000);
    mirror.terminate()?;

    // The new one has grown past the old position: only its id tells the two apart.
    clusters.peer.delete_topic(&source, "anew")?;
    clusters.create("anew", 1, &[])?;
    produce(&clusters, "anew", 2, 1500)?;
    mirror.restart()?;
    mirror.wait_for_line(&["anew", "created again"])?;
    eventually("the new topic follows the old one, whole", || {
        Ok(clusters.peer.end_offsets(&target, "renewed.anew")? == [(0, 2500)].into())
    })?;
    let seen = clusters.compare("anew", "renewed.anew")?;
    assert_eq!((seen.missing, seen.extra, seen.repeated), (0, 1000, 0), "{seen:#?}");
    mirror.terminate()
}

#[test]
fn a_target_topic_made_anew_is_a_matter_of_policy() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let target = clusters.target.bootstrap();
    clusters.create("emptied", 1, &[])?;
    produce(&clusters, "emptied", 1, 1000)?;
    let flow = clusters.flow("refilled", "refilled-target", "emptied");
    let mut mirror = Mirror::start(&flow)?;
    clusters.compare("emptied", "refilled.emptied")?.assert_equal(1000);
    mirror.terminate()?;

    clusters.peer.delete_topic(&target, "refilled.emptied")?;
    clusters.peer.create_topic(&target, "refilled.emptied", 1, &[])?;
    produce(&clusters, "emptied", 2, 500)?;
    mirror.restart()?;
    mirror.wait_for_line(&["emptied-0", "kmirror.on.divergence"])?;
    assert_eq!(clusters.peer.end_offsets(&target, "refilled.emptied")?, [(0, 0)].into());
    mirror.terminate()?;

    // With the other policy the copy is filled anew.
    mirror.reconfigure(&format!("{flow}kmirror.on.divergence = resume\n"))?;
    mirror.restart()?;
    clusters.compare("emptied", "refilled.emptied")?.assert_equal(1500);
    mirror.terminate()
}

fn produce(clusters: &Clusters, topic: &str, seed: u64, records: u64) -> Result<()> {
    let load = Load { records, seed, codec: "lz4", ..Load::of(topic) };
    clusters.peer.produce(&clusters.source.bootstrap(), &load)?.assert_complete();
    Ok(())
}
