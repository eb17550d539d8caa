//! Consumer groups at any position, on topics where the offsets of the two clusters drift apart: with
//! transactions, holes of compaction and batches that were merged. At the target each continues at exactly
//! the record that comes next at the source, as Kafka's own tools and client library read it there.
//!
//! `KMIRROR_POSITIONS` says how many positions per round, `KMIRROR_SEED` which.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use kafka_lab::{Isolation, Load, Mirrored, Positions, available};

use crate::support::{Clusters, Dice, Mirror, PATIENCE, count, within_patience};

const PARTITIONS: u32 = 2;
/// A flow that tells where groups are as soon as it knows.
pub(crate) const PROMPT: &str = "\
sync.group.offsets.enabled = true
sync.group.offsets.interval.seconds = 1
emit.checkpoints.interval.seconds = 1
refresh.groups.interval.seconds = 1
";

const SETTINGS: &str = "\
exact.consumer.isolation.level = read_committed
groups = exact-.*
config.properties.exclude = cleanup\\.policy, segment\\.ms
";

#[test]
fn every_position_becomes_that_of_the_next_record() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let loads = loads();
    produce(&clusters, &loads)?;
    let flow = clusters.flow("exact", "exact-target", "exact-.*");
    let mirror = Mirror::start(&format!("{flow}{SETTINGS}{PROMPT}"))?;
    let mut exact = Exact::new(&clusters, mirror, "exact", loads, 1);
    exact.round()?;
    // What is stored is all that is known after a clean end, and after a crash.
    exact.mirror.terminate()?;
    exact.mirror.restart()?;
    exact.round()?;
    exact.mirror.kill()?;
    exact.mirror.restart()?;
    exact.round()?;
    exact.mirror.terminate()
}

/// A flow that is asked for positions.
pub(crate) struct Exact {
    clusters: Arc<Clusters>,
    pub(crate) mirror: Mirror,
    /// Of the source; the names of its groups start with it.
    alias: &'static str,
    /// One for each topic that the groups read.
    loads: Vec<Load>,
    dice: Dice,
    round: u64,
    groups: BTreeMap<String, Positions>,
}

impl Exact {
    pub(crate) fn new(
        clusters: &Arc<Clusters>,
        mirror: Mirror,
        alias: &'static str,
        loads: Vec<Load>,
        seed: u64,
    ) -> Self {
        let (clusters, dice) = (Arc::clone(clusters), Dice::seeded(seed));
        Self { clusters, mirror, alias, loads, dice, round: 0, groups: BTreeMap::new() }
    }

    /// Some more records, and groups of their own at positions of all ages.
    pub(crate) fn round(&mut self) -> Result<()> {
        self.round += 1;
        for load in &mut self.loads {
            *load = Load { records: 300, seed: load.seed + 1, ..load.clone() };
            let source = self.clusters.source.bootstrap();
            self.clusters.peer.produce(&source, load)?.assert_complete();
        }
        let groups = self.new_groups()?;
        self.clusters.peer.commit(&self.clusters.source.bootstrap(), &groups)?;
        let one = groups.keys().next().context("there are groups")?.clone();
        // Those of earlier rounds have to stay where they are.
        self.groups.extend(groups);
        let expected = self.expected()?;
        let target = self.clusters.target.bootstrap();
        let names: Vec<&str> = self.groups.keys().map(String::as_str).collect();
        let pattern = format!("{}-.*", self.alias);
        self.await_exact("RemoteClusterUtils", &expected, |peer| {
            peer.translated(&target, self.alias, &pattern)
        })?;
        self.await_exact("the Admin client", &expected, |peer| peer.committed(&target, &names))?;
        self.described(&one, &expected[&one])
    }

    fn new_groups(&mut self) -> Result<BTreeMap<String, Positions>> {
        let mut ends = Vec::new();
        for load in &self.loads {
            let source = self.clusters.source.bootstrap();
            for (partition, end) in self.clusters.peer.end_offsets(&source, &load.topic)? {
                ends.push(((load.topic.clone(), partition), end));
            }
        }
        let groups = count("KMIRROR_POSITIONS", 100).div_ceil(ends.len() as u64);
        let mut at_random =
            || ends.iter().map(|(place, end)| (place.clone(), self.dice.below(end + 1))).collect();
        Ok((0..groups)
            .map(|i| (format!("{}-{}-{i}", self.alias, self.round), at_random()))
            .collect())
    }

    /// Per group and partition of the target, where it must continue: behind the record before, and not
    /// behind the next.
    fn expected(&self) -> Result<BTreeMap<String, Ranges>> {
        let (source, target) = (self.clusters.source.bootstrap(), self.clusters.target.bootstrap());
        let mut expected = BTreeMap::<String, Ranges>::new();
        for Load { topic, .. } in &self.loads {
            let mirrored = format!("{}.{topic}", self.alias);
            let pair = Mirrored {
                source: (&source, topic),
                isolation: Isolation::ReadCommitted,
                target: (&target, &mirrored),
                target_isolation: Isolation::ReadUncommitted,
            };
            let asked: Vec<(&String, u32, u64)> = self
                .groups
                .iter()
                .flat_map(|(group, at)| at.iter().map(move |place| (group, place)))
                .filter(|(_, ((name, _), _))| name == topic)
                .map(|(group, ((_, partition), position))| (group, *partition, *position))
                .collect();
            let positions: Vec<_> = asked.iter().map(|(_, p, position)| (*p, *position)).collect();
            let next = self.clusters.peer.next_records(&pair, &positions, PATIENCE)?;
            for (group, partition, position) in asked {
                let range = next[&(partition, position)].clone();
                let ranges = expected.entry(group.clone()).or_default();
                ranges.insert((mirrored.clone(), partition), (position, range));
            }
        }
        Ok(expected)
    }

    fn await_exact(
        &self,
        who: &str,
        expected: &BTreeMap<String, Ranges>,
        read: impl Fn(&kafka_lab::Peer) -> Result<BTreeMap<String, Positions>>,
    ) -> Result<()> {
        let mut wrong = Vec::new();
        let all_exact = within_patience(|| {
            let read = read(&self.clusters.peer)?;
            wrong = expected
                .iter()
                .flat_map(|(group, ranges)| ranges.iter().map(move |range| (group, range)))
                .filter_map(|(group, (place, (position, range)))| {
                    let found = read.get(group).and_then(|positions| positions.get(place)).copied();
                    let exact = found.is_some_and(|offset| range.contains(&offset));
                    let fault =
                        || format!("{group} {place:?} at {position}: {found:?}, not {range:?}");
                    (!exact).then(fault)
                })
                .collect();
            Ok(wrong.is_empty())
        })?;
        let all: usize = expected.values().map(BTreeMap::len).sum();
        let log = self.mirror.log();
        ensure!(
            all_exact,
            "{who}, round {}: {} of {all} positions are wrong:\n{}\n{log}",
            self.round,
            wrong.len(),
            wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
        );
        println!("{who}, round {}: {all} positions are exact", self.round);
        Ok(())
    }

    /// What `kafka-consumer-groups.sh --describe` shows of a group.
    fn described(&self, group: &str, ranges: &Ranges) -> Result<()> {
        let bootstrap = self.clusters.target.bootstrap();
        let class = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
        let args = ["--bootstrap-server", &bootstrap, "--describe", "--offsets", "--group", group];
        let shown = self.clusters.target.tool(class, &args)?;
        for ((topic, partition), (_, range)) in ranges {
            let partition = partition.to_string();
            let offset = shown.lines().find_map(|line| {
                let columns: Vec<_> = line.split_whitespace().collect();
                let at = columns.iter().position(|column| column == topic)?;
                (columns.get(at + 1) == Some(&&*partition)).then(|| columns.get(at + 2))?.copied()
            });
            let offset: u64 = offset.with_context(|| shown.clone())?.parse()?;
            ensure!(range.contains(&offset), "{topic}-{partition} not in {range:?}:\n{shown}");
        }
        Ok(())
    }
}

/// Per partition of the target: the position at the source, and the positions that are exact.
type Ranges = BTreeMap<(String, u32), (u64, RangeInclusive<u64>)>;

fn loads() -> Vec<Load> {
    let load = |topic: &str| Load { records: 900, codec: "lz4", ..Load::of(topic) };
    vec![
        Load { transaction_records: 7, ..load("exact-transactions") },
        Load { keys: 200, ..load("exact-sparse") },
        Load { linger_ms: 0, batch_bytes: 1, codec: "none", ..load("exact-tiny") },
    ]
}

/// The first records of all topics; the cleaner has left holes in one of them.
fn produce(clusters: &Clusters, loads: &[Load]) -> Result<()> {
    let source = clusters.source.bootstrap();
    for load in loads {
        if load.keys > 0 {
            clusters.create_with_holes(load, PARTITIONS, 600)?;
        } else {
            clusters.create(&load.topic, PARTITIONS, &[])?;
            clusters.peer.produce(&source, load)?.assert_complete();
        }
    }
    Ok(())
}
