//! Older brokers, as source and as target.

use anyhow::Result;
use kafka_lab::{Isolation, Load, Shape, Version, available};

use crate::support::{COMMON, Clusters, Mirror, PATIENCE};

#[test]
fn kafka_2_8_and_3_9_mirror_each_other() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::start(Version::V2_8_2, Version::V3_9_2)?;
    let (old, newer) = (clusters.source.bootstrap(), clusters.target.bootstrap());
    for (bootstrap, topic) in [(&old, "from-old"), (&newer, "from-newer")] {
        clusters.peer.create_topic(bootstrap, topic, 2, &[])?;
        let load = Load { shape: Shape::Mixed, codec: "zstd", ..Load::of(topic) };
        clusters.peer.produce(bootstrap, &load)?.assert_complete();
    }
    let mut mirror = Mirror::start(&format!(
        "clusters = old, newer\n\
         old.bootstrap.servers = {old}\n\
         newer.bootstrap.servers = {newer}\n\
         old->newer.enabled = true\n\
         newer->old.enabled = true\n\
         topics = .*from-.*\n\
         refresh.topics.interval.seconds = 1\n\
         {COMMON}"
    ))?;
    let isolation = Isolation::ReadCommitted;
    let there = ((old.as_str(), "from-old"), (newer.as_str(), "old.from-old"));
    let back = ((newer.as_str(), "from-newer"), (old.as_str(), "newer.from-newer"));
    for (source, target) in [there, back] {
        clusters.peer.compare(source, target, isolation, PATIENCE)?.assert_equal(1000);
    }
    mirror.terminate()?;

    // Neither mirror was mirrored back.
    for bootstrap in [&old, &newer] {
        let topics = clusters.peer.topics(bootstrap)?;
        let circular = topics
            .iter()
            .find(|topic| topic.starts_with("old.newer.") || topic.starts_with("newer.old."));
        assert_eq!(circular, None, "{topics:?}");
    }
    Ok(())
}
