//! The lab proves itself: two clusters, a mixed load on both, and a comparison that sees every kind of
//! difference.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use kafka_lab::{
    ClusterBuilder, Isolation, KafkaCluster, Load, Mirrored, Peer, Shape, Version, available,
};

const PATIENCE: Duration = Duration::from_secs(10);

fn two_clusters(version: Version) -> Result<(KafkaCluster, KafkaCluster)> {
    let other = thread::spawn(move || ClusterBuilder::new(version).start());
    let one = ClusterBuilder::new(version).start()?;
    Ok((one, other.join().expect("the other cluster's thread does not panic")?))
}

#[test]
fn a_mirror_is_judged_record_by_record() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let (mut source, target) = two_clusters(Version::V4_3_1)?;
    let peer = Peer::start()?;
    let (a, b) = (source.bootstrap(), target.bootstrap());
    let compare = |patience| peer.compare((&a, "t"), (&b, "t"), Isolation::ReadCommitted, patience);
    let mut load = Load { shape: Shape::Mixed, codec: "lz4", ..Load::of("t") };
    load.first_timestamp_ms = 1_700_000_000_000;
    for bootstrap in [&a, &b] {
        peer.create_topic(bootstrap, "t", 3, &[("retention.ms", "-1")])?;
        peer.produce(bootstrap, &load)?.assert_complete();
    }
    compare(PATIENCE)?.assert_equal(1000);

    let later = Load { seed: 2, records: 10, ..load.clone() };
    peer.produce(&a, &later)?.assert_complete();
    let behind = compare(Duration::from_millis(500))?;
    assert_eq!((behind.missing, behind.extra, behind.repeated), (10, 0, 0), "{behind:?}");
    assert!(behind.first_difference.contains("target ends"), "{behind:?}");

    peer.produce(&b, &later)?.assert_complete();
    peer.produce(&b, &later)?.assert_complete();
    let twice = compare(PATIENCE)?;
    assert_eq!((twice.missing, twice.extra, twice.repeated), (0, 0, 10), "{twice:?}");

    source.kill(1)?;
    source.restart(1)?;
    peer.produce(&b, &Load { seed: 3, records: 5, ..load })?.assert_complete();
    assert_eq!(compare(PATIENCE)?.extra, 5);
    source.stop()
}

#[test]
fn aborted_transactions_are_not_part_of_the_source() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let cluster = ClusterBuilder::new(Version::V4_3_1).start()?;
    let peer = Peer::start()?;
    let bootstrap = cluster.bootstrap();
    peer.create_topic(&bootstrap, "t", 2, &[])?;
    let load = Load { records: 90, transaction_records: 10, ..Load::of("t") };
    peer.produce(&bootstrap, &load)?.assert_complete();
    let itself = (bootstrap.as_str(), "t");
    let seen = peer.compare(itself, itself, Isolation::ReadCommitted, PATIENCE)?;
    assert_eq!((seen.source_records, seen.target_records, seen.extra), (60, 90, 30), "{seen:?}");
    assert_eq!(seen.first_difference_in_ours, "");

    // Records 5 to 9 of a partition were aborted, as offset 5 is the marker of the first five.
    let isolation = Isolation::ReadCommitted;
    let pair = Mirrored { source: itself, isolation, target: itself, target_isolation: isolation };
    let next = peer.next_records(&pair, &[(0, 3), (0, 7), (1, 1000)], PATIENCE)?;
    let end = peer.end_offsets(&bootstrap, "t")?[&1];
    assert_eq!(next, [((0, 3), 3..=3), ((0, 7), 5..=12), ((1, 1000), end - 1..=end)].into());
    Ok(())
}

#[test]
fn compacted_topics_are_judged_by_their_keys() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let cluster = ClusterBuilder::new(Version::V4_3_1).start()?;
    let peer = Peer::start()?;
    let bootstrap = cluster.bootstrap();
    let load = Load { keys: 50, first_timestamp_ms: 1_700_000_000_000, ..Load::of("t") };
    for topic in ["t", "same", "newer"] {
        peer.create_topic(&bootstrap, topic, 2, &[("cleanup.policy", "compact")])?;
        peer.produce(&bootstrap, &Load { topic: topic.to_owned(), ..load.clone() })?;
    }
    // The second hundred comes again, with other values: older than what is there.
    let again = Load { topic: "newer".to_owned(), records: 200, seed: 2, ..load.clone() };
    peer.produce(&bootstrap, &again)?.assert_complete();
    let isolation = Isolation::ReadCommitted;
    let compare = |topic| {
        let (source, target) = ((bootstrap.as_str(), "t"), (bootstrap.as_str(), topic));
        let pair = Mirrored { source, isolation, target, target_isolation: isolation };
        peer.compare_compacted(&pair, Duration::from_secs(3))
    };
    assert_eq!(compare("same")?, "");
    let difference = compare("newer")?;
    assert!(difference.contains("comes after"), "{difference}");
    Ok(())
}

#[test]
fn groups_are_moved_and_loads_are_stopped() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let cluster = ClusterBuilder::new(Version::V4_3_1).start()?;
    let peer = Peer::start()?;
    let bootstrap = cluster.bootstrap();
    peer.create_topic(&bootstrap, "t", 2, &[])?;
    let endless = Load { records: u64::MAX / 2, rate: 500, ..Load::of("t") };
    let load = peer.produce_beside(&bootstrap, &endless)?;
    while peer.end_offsets(&bootstrap, "t")?.values().sum::<u64>() < 100 {
        thread::sleep(Duration::from_millis(20));
    }
    let produced = peer.stop(load)?;
    produced.assert_complete();
    let ends = peer.end_offsets(&bootstrap, "t")?;
    assert_eq!(ends.values().sum::<u64>(), produced.acknowledged);

    let positions = |offset| [(("t".to_owned(), 0), offset), (("t".to_owned(), 1), 0)].into();
    let groups = [("one".to_owned(), positions(7)), ("two".to_owned(), positions(9))].into();
    peer.commit(&bootstrap, &groups)?;
    assert_eq!(peer.committed(&bootstrap, &["one", "two"])?, groups);
    Ok(())
}

#[test]
fn three_brokers_survive_the_loss_of_one() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let mut cluster = ClusterBuilder::new(Version::V4_3_1).nodes(3).start()?;
    let peer = Peer::start()?;
    let bootstrap = cluster.bootstrap();
    peer.create_topic(&bootstrap, "t", 3, &[])?;
    cluster.kill(2)?;
    peer.produce(&bootstrap, &Load::of("t"))?.assert_complete();
    cluster.restart(2)?;
    let itself = (bootstrap.as_str(), "t");
    peer.compare(itself, itself, Isolation::ReadCommitted, PATIENCE)?.assert_equal(1000);
    cluster.stop()
}
