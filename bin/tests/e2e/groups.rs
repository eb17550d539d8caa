//! Consumer groups across a mirror with transactions and compaction, read back by Kafka's own tools.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kafka_lab::{Isolation, KafkaCluster, Load, Mirrored, Positions, available};

use crate::support::{Clusters, Mirror, PATIENCE};

/// Groups at evenly spread positions of each topic.
const GROUPS: u64 = 12;

/// Looks at what came of it, half a second apart.
const ROUNDS: u32 = 40;

type Truth = BTreeMap<(u32, u64), RangeInclusive<u64>>;

#[test]
fn positions_lead_to_the_very_next_record() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let source = clusters.source.bootstrap();
    let target = clusters.target.bootstrap();
    with_markers(&clusters, "seats-txn")?;
    let sparse = Load { records: 1200, keys: 400, ..Load::of("seats-sparse") };
    clusters.create_with_holes(&sparse, 1, 600)?;
    let flow = clusters.flow("seats", "seats-target", "seats-.*");
    let mut mirror = Mirror::start(&format!(
        "{flow}groups = seats-.*\n\
         seats.consumer.isolation.level = read_committed\n\
         config.properties.exclude = cleanup\\\\.policy, segment\\\\.ms\n\
         emit.checkpoints.interval.seconds = 1\n\
         sync.group.offsets.enabled = true\n\
         sync.group.offsets.interval.seconds = 1\n\
         refresh.groups.interval.seconds = 1\n"
    ))?;
    let topics = ["seats-txn", "seats-sparse"];
    let mut wanted = BTreeMap::new();
    for topic in topics {
        wanted.extend(spread(&clusters, topic)?);
    }
    clusters.peer.commit(&source, &wanted)?;
    let of_new_protocol = "seats-new-protocol";
    read(&clusters.source, "seats-txn", of_new_protocol, 333)?;
    wanted.extend(clusters.peer.committed(&source, &[of_new_protocol])?);
    ensure!(!wanted[of_new_protocol].is_empty(), "the group of the new protocol has positions");
    let truth = truths(&clusters, &topics, &wanted)?;
    assert_exact(&clusters, "seats", &wanted, &truth)?;
    let group = wanted.keys().next().context("there are groups")?;
    let args = ["--bootstrap-server", &target, "--describe", "--group", group];
    let told = clusters
        .target
        .tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &args)?;
    let position = clusters.peer.committed(&target, &[group])?[group].values().next().copied();
    let position = position.context("the group has a position")?.to_string();
    let line = told.lines().find(|line| line.contains(group.as_str()) && line.contains("seats."));
    ensure!(
        line.is_some_and(|line| line.split_whitespace().any(|word| word == position)),
        "{told}"
    );

    mirror.terminate()?;
    mirror.restart()?;
    let more = Load { records: 100, seed: 77, ..Load::of("seats-txn") };
    clusters.peer.produce(&source, &more)?.assert_complete();
    // Groups at positions from before the restart, and at the end.
    let fresh = |(group, positions)| (format!("{group}-later"), positions);
    let later: BTreeMap<String, Positions> =
        spread(&clusters, "seats-txn")?.into_iter().map(fresh).collect();
    clusters.peer.commit(&source, &later)?;
    let later_truth = truths(&clusters, &["seats-txn"], &later)?;
    assert_exact(&clusters, "seats", &later, &later_truth)?;
    // Nothing of what was exact before has moved.
    assert_exact(&clusters, "seats", &wanted, &truth)?;
    mirror.terminate()
}

/// Transactions of 25 records, markers behind each.
fn with_markers(clusters: &Clusters, topic: &str) -> Result<()> {
    clusters.create(topic, 2, &[])?;
    let load = Load { records: 1500, transaction_records: 25, codec: "lz4", ..Load::of(topic) };
    clusters.peer.produce(&clusters.source.bootstrap(), &load)?.assert_complete();
    Ok(())
}

/// Reads some records with a group of the protocol of KIP-848, which commits its position and leaves.
fn read(cluster: &KafkaCluster, topic: &str, group: &str, records: u64) -> Result<()> {
    let (bootstrap, records) = (cluster.bootstrap(), records.to_string());
    let args = [
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        topic,
        "--group",
        group,
        "--from-beginning",
        "--max-messages",
        &records,
        "--isolation-level",
        "read_committed",
        "--consumer-property",
        "group.protocol=consumer",
    ];
    cluster.tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &args).map(drop)
}

/// Groups from the beginning of a topic to its end, each at the same share of all partitions.
fn spread(clusters: &Clusters, topic: &str) -> Result<BTreeMap<String, Positions>> {
    let ends = clusters.peer.end_offsets(&clusters.source.bootstrap(), topic)?;
    let groups = (0..=GROUPS).map(|number| {
        let at = ends
            .iter()
            .map(|(partition, end)| ((topic.to_owned(), *partition), end * number / GROUPS));
        (format!("{topic}-{number}"), at.collect())
    });
    Ok(groups.collect())
}

/// Where each position has to lead, by topic.
fn truths(
    clusters: &Clusters,
    topics: &[&str],
    groups: &BTreeMap<String, Positions>,
) -> Result<BTreeMap<String, Truth>> {
    let (source, target) = (clusters.source.bootstrap(), clusters.target.bootstrap());
    let mut all = BTreeMap::new();
    for topic in topics {
        let positions: Vec<(u32, u64)> = groups
            .values()
            .flatten()
            .filter(|((of, _), _)| of == topic)
            .map(|((_, partition), offset)| (*partition, *offset))
            .collect();
        let mirrored = Mirrored {
            source: (&source, topic),
            isolation: Isolation::ReadCommitted,
            target: (&target, &format!("seats.{topic}")),
            target_isolation: Isolation::ReadCommitted,
        };
        let truth = clusters.peer.next_records(&mirrored, &positions, PATIENCE)?;
        all.insert((*topic).to_owned(), truth);
    }
    Ok(all)
}

/// Java translates every position to the very next record, and that is where the group of the target stands.
fn assert_exact(
    clusters: &Clusters,
    alias: &str,
    wanted: &BTreeMap<String, Positions>,
    truth: &BTreeMap<String, Truth>,
) -> Result<()> {
    let target = clusters.target.bootstrap();
    let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
    let mut wrong = Vec::new();
    for _ in 0..ROUNDS {
        let translated = clusters.peer.translated(&target, alias, "seats-.*")?;
        let committed = clusters.peer.committed(&target, &names)?;
        wrong.clear();
        for (group, ((topic, partition), offset)) in
            wanted.iter().flat_map(|(group, at)| at.iter().map(move |at| (group, at)))
        {
            let at = (format!("{alias}.{topic}"), *partition);
            let range = &truth[topic][&(*partition, *offset)];
            for (who, told) in [("Java", &translated), ("the group", &committed)] {
                let told = told.get(group).and_then(|positions| positions.get(&at));
                if !told.is_some_and(|told| range.contains(told)) {
                    let from = format!("{topic}-{partition} {offset}");
                    wrong.push(format!("{who}: {group} {from}: {told:?} of {range:?}"));
                }
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(500));
    }
    bail!("{} positions are wrong: {wrong:#?}", wrong.len())
}
