//! The offset-syncs topic that kmirror writes, as MirrorMaker 2 reads it.

use std::collections::BTreeMap;

use anyhow::Result;
use kafka_lab::{Isolation, Load, Mirrored, available};

use crate::handover::{MM2_STOP, mirror_maker};
use crate::support::{Clusters, Mirror, PATIENCE, eventually};

const TOPIC: &str = "ledger";
const COPY: &str = "ledger-source.ledger";
const SYNCS: &str = "mm2-offset-syncs.ledger-target.internal";

/// Its own class decodes them, and its checkpoints are right on top of them.
#[test]
fn mirror_maker_reads_them() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let (source, target) = (clusters.source.bootstrap(), clusters.target.bootstrap());
    clusters.create(TOPIC, 2, &[])?;
    let flow = clusters.flow("ledger-source", "ledger-target", TOPIC);
    let file = format!(
        "{flow}emit.heartbeats.enabled = false\n\
         groups = ledger-.*\n\
         ledger-source.consumer.isolation.level = read_committed\n\
         emit.checkpoints.interval.seconds = 1\n\
         refresh.groups.interval.seconds = 1\n"
    );
    let load = Load { records: 1000, transaction_records: 10, ..Load::of(TOPIC) };
    clusters.peer.produce(&source, &load)?.assert_complete();
    let mut mirror = Mirror::start(&file)?;
    let seen = clusters.compare(TOPIC, COPY)?;
    seen.assert_equal(seen.source_records);
    mirror.terminate()?;

    let syncs = clusters.peer.offset_syncs(&source, SYNCS)?;
    assert_eq!(syncs.len(), 2);
    let positions: Vec<(u32, u64)> =
        syncs.iter().map(|((_, partition), (upstream, _))| (*partition, *upstream)).collect();
    let mirrored = Mirrored {
        source: (&source, TOPIC),
        isolation: Isolation::ReadCommitted,
        target: (&target, COPY),
        target_isolation: Isolation::ReadCommitted,
    };
    let truth = clusters.peer.next_records(&mirrored, &positions, PATIENCE)?;
    let ends = clusters.peer.end_offsets(&target, COPY)?;
    for ((_, partition), (upstream, downstream)) in &syncs {
        assert!(truth[&(*partition, *upstream)].contains(downstream), "{truth:?}: {syncs:?}");
        assert_eq!(ends[partition], downstream + 1, "the last record");
    }

    let group = "ledger-readers";
    let at_end = syncs.iter().map(|(at, (upstream, _))| (at.clone(), upstream + 1)).collect();
    clusters.peer.commit(&source, &[(group.to_owned(), at_end)].into())?;
    let (mut mm2, _dir) = mirror_maker(&clusters, &file)?;
    let translated: BTreeMap<(String, u32), u64> = syncs
        .iter()
        .map(|((_, partition), (_, downstream))| ((COPY.to_owned(), *partition), downstream + 1))
        .collect();
    eventually("MirrorMaker 2 writes checkpoints from kmirror's offset syncs", || {
        let answers = clusters.peer.translated(&target, "ledger-source", group);
        Ok(answers.is_ok_and(|groups| groups.get(group) == Some(&translated)))
    })?;
    mm2.terminate(MM2_STOP).map(drop)
}
