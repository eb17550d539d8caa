//! Compares what a flow has copied with what it copied from: what is compared, and what counts as a difference. Pure;
//! `runtime::verify` reads the logs.

pub mod configs;
pub mod positions;

use std::sync::atomic::AtomicU64;

use crate::matching::{Counts, MatchError, MatchSettings, Outcome, StrayKind};
use crate::model::Side;

pub use configs::ConfigDifference;
pub use positions::{GroupPosition, PositionsVerdict};

/// So many source records may be missing in one place before the copy is taken to go on elsewhere.
const SLACK_RECORDS: u64 = 10_000;
/// Records of one range of a sample.
pub const RANGE_RECORDS: i64 = 1_000;
/// So many differences of a partition are listed one by one.
const MAX_LISTED: usize = 100;

/// What of a flow is compared.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VerifyOptions {
    /// Only this topic, by its name on either side.
    pub topic: Option<String>,
    /// How much of each partition.
    pub scope: Scope,
}

/// How much of each partition is compared.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Scope {
    /// All that is there.
    #[default]
    All,
    /// From the first record on that is not older than this, in milliseconds since 1970.
    Since(i64),
    /// Ranges of [`RANGE_RECORDS`], so many for each partition.
    Ranges(u32),
    /// Ranges that make up this share of each partition, in percent.
    Percent(f64),
}

/// How far a comparison is; updated while it runs.
#[derive(Debug, Default)]
pub struct VerifyProgress {
    /// Target offsets to go through.
    pub total: AtomicU64,
    /// Target offsets gone through.
    pub done: AtomicU64,
    /// Read from the target, in bytes.
    pub bytes: AtomicU64,
}

/// What came of a flow.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FlowVerdict {
    /// `source->target`.
    pub flow: String,
    /// Every partition that is there on both sides.
    pub partitions: Vec<PartitionVerdict>,
    /// Topics and partitions that the target lacks.
    pub absent: Vec<Absent>,
    /// Topic configs that are carried over and differ.
    pub configs: Vec<ConfigDifference>,
}

impl FlowVerdict {
    /// How many differences were found.
    pub fn differences(&self) -> u64 {
        let of = |one: &PartitionVerdict| one.difference_count + one.positions.ahead.len() as u64;
        let partitions: u64 = self.partitions.iter().map(of).sum();
        partitions + self.absent.len() as u64 + self.configs.len() as u64
    }
}

/// Partitions that the target lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// The topic's name at the source.
    pub source: String,
    /// The name that it should have at the target.
    pub target: String,
    /// The first partition that is not there.
    pub from_partition: i32,
    /// How many it has at the source.
    pub partitions: i32,
}

/// What came of a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionVerdict {
    /// The topic at the source.
    pub source: String,
    /// The topic at the target.
    pub target: String,
    /// The partition.
    pub partition: i32,
    /// First offset and end of the source's log.
    pub source_span: (i64, i64),
    /// First offset and end of the target's log.
    pub target_span: (i64, i64),
    /// How much was compared.
    pub counts: Counts,
    /// Source offsets behind the copy: still on their way, or markers. `None` where only a sample was compared.
    pub lag: Option<i64>,
    /// How many differences there are.
    pub difference_count: u64,
    /// The first of them, in the target's order.
    pub differences: Vec<Difference>,
    /// Where consumer groups would go on, where all was compared.
    pub positions: PositionsVerdict,
    /// What kept the partition from being compared to its end.
    pub trouble: Option<String>,
}

/// A place at which the logs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// How.
    pub kind: DifferenceKind,
    /// Source offset of the first record concerned, or the one expected next.
    pub source: i64,
    /// Target offset of the first record concerned, or the one where it should be.
    pub target: i64,
    /// How many records in a row.
    pub count: u64,
}

/// How the logs differ at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The source has records that the target lacks.
    Missing,
    /// In their place stand others.
    Changed,
    /// The target has records a second time.
    Repeated,
    /// The target has records that the source has not, written by this producer id (-1: none).
    Foreign(i64),
    /// A batch cannot be read.
    Damaged(Side, String),
}

impl DifferenceKind {
    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Repeated => "repeated",
            Self::Foreign(_) => "foreign",
            Self::Damaged(..) => "damaged",
        }
    }
}

/// How logs are paired for a comparison; before the first match so much of the source may be passed over.
pub fn match_settings(start_slack_records: u64) -> MatchSettings {
    MatchSettings {
        slack_records: SLACK_RECORDS,
        start_slack_records,
        checksums: crate::matching::Checksums::Verify,
        ..MatchSettings::default()
    }
}

impl PartitionVerdict {
    /// A verdict about nothing so far.
    pub fn new(
        (source, target, partition): (&str, &str, i32),
        source_span: (i64, i64),
        target_span: (i64, i64),
    ) -> Self {
        Self {
            source: source.to_owned(),
            target: target.to_owned(),
            partition,
            source_span,
            target_span,
            counts: Counts::default(),
            lag: None,
            difference_count: 0,
            differences: Vec::new(),
            positions: PositionsVerdict::default(),
            trouble: None,
        }
    }

    /// Adds what came of pairing from `start` on; records before the first match do not count as missing where the
    /// start was only near.
    pub fn add(&mut self, outcome: &Outcome, start: i64, is_near: bool) {
        let mut missing = outcome.missing.clone();
        let mut counts = outcome.counts;
        if is_near && let Some(first) = missing.first().filter(|one| one.source_first == start) {
            counts.missing -= first.count;
            missing.remove(0);
        }
        let mut found = Vec::new();
        for stray in &outcome.strays {
            let in_place = |one: &&mut crate::matching::Missing| {
                one.source_first == stray.source_next && one.count == stray.count
            };
            let replaced = missing.iter_mut().find(in_place).map(|one| one.count = 0);
            let kind = match (stray.kind, replaced) {
                (_, Some(())) => DifferenceKind::Changed,
                (StrayKind::Repeated, None) => DifferenceKind::Repeated,
                (StrayKind::Foreign, None) => DifferenceKind::Foreign(stray.producer_id),
            };
            let (source, target, count) = (stray.source_next, stray.target_first, stray.count);
            found.push(Difference { kind, source, target, count });
        }
        found.extend(missing.iter().filter(|one| one.count > 0).map(|one| Difference {
            kind: DifferenceKind::Missing,
            source: one.source_first,
            target: one.target_next,
            count: one.count,
        }));
        found.sort_by_key(|one| (one.target, one.source));
        // The lists are bounded, the counts are not.
        let rest = (counts.foreign + counts.repeated)
            .saturating_sub(outcome.strays.iter().map(|one| one.count).sum())
            + counts.missing.saturating_sub(outcome.missing.iter().map(|one| one.count).sum());
        self.difference_count += found.len() as u64 + rest;
        let room = MAX_LISTED.saturating_sub(self.differences.len());
        self.differences.extend(found.into_iter().take(room));
        add(&mut self.counts, &counts);
    }

    /// Adds that a batch cannot be read; what was compared before it counts.
    pub fn damaged(&mut self, error: &MatchError, source: i64, target: i64) {
        let (side, what) = match error {
            MatchError::Source(error) => (Side::Source, error.to_string()),
            MatchError::Target(error) => (Side::Target, error.to_string()),
        };
        self.difference_count += 1;
        let kind = DifferenceKind::Damaged(side, what);
        self.differences.push(Difference { kind, source, target, count: 1 });
    }
}

fn add(sum: &mut Counts, more: &Counts) {
    sum.matched += more.matched;
    sum.sealed += more.sealed;
    sum.sealed_batches += more.sealed_batches;
    sum.skipped += more.skipped;
    sum.missing += more.missing;
    sum.vanished += more.vanished;
    sum.foreign += more.foreign;
    sum.repeated += more.repeated;
}

/// The ranges of a sample of the offsets from `first` to `end`: one in each of as many equal parts, at a place that
/// `random` (0 up to 1) chooses. Everything, where that is not more.
pub fn ranges(
    scope: Scope,
    (first, end): (i64, i64),
    mut random: impl FnMut() -> f64,
) -> Vec<(i64, i64)> {
    let length = (end - first).max(0);
    let count = match scope {
        Scope::All | Scope::Since(_) => return vec![(first, end)],
        Scope::Ranges(count) => i64::from(count),
        Scope::Percent(share) => {
            (length as f64 * share / 100.0 / RANGE_RECORDS as f64).ceil() as i64
        }
    };
    if count.saturating_mul(RANGE_RECORDS) >= length {
        return vec![(first, end)];
    }
    let part = length / count.max(1);
    let from = |i: i64| first + i * part + ((part - RANGE_RECORDS) as f64 * random()) as i64;
    (0..count).map(from).map(|from| (from, from + RANGE_RECORDS)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::{Missing, Stray};

    fn outcome(strays: Vec<Stray>, missing: Vec<Missing>) -> Outcome {
        let sum = |kind| strays.iter().filter(|s| s.kind == kind).map(|s| s.count).sum();
        let counts = Counts {
            foreign: sum(StrayKind::Foreign),
            repeated: sum(StrayKind::Repeated),
            missing: missing.iter().map(|one| one.count).sum(),
            matched: 10,
            ..Counts::default()
        };
        Outcome {
            resume_source: 0,
            source_head: 0,
            target_is_empty: false,
            source_epoch: -1,
            target_next: 0,
            runs: vec![],
            strays,
            missing,
            divergence: None,
            start_found: true,
            ends_vanished: false,
            trailing_hole: 0,
            counts,
        }
    }

    fn stray(target_first: i64, source_next: i64, count: u64) -> Stray {
        Stray { kind: StrayKind::Foreign, target_first, count, producer_id: 4, source_next }
    }

    fn verdict() -> PartitionVerdict {
        PartitionVerdict::new(("orders", "A.orders", 0), (0, 10), (0, 10))
    }

    #[test]
    fn what_stands_in_the_place_of_a_missing_record_is_changed() {
        let missing = Missing { source_first: 5, count: 1, target_next: 6 };
        let lost = Missing { source_first: 8, count: 2, target_next: 8 };
        let mut verdict = verdict();
        let strays = vec![stray(5, 5, 1), stray(9, 12, 3)];
        verdict.add(&outcome(strays, vec![missing, lost]), 0, false);
        let found: Vec<_> = verdict
            .differences
            .iter()
            .map(|d| (d.kind.name(), d.source, d.target, d.count))
            .collect();
        assert_eq!(found, [("changed", 5, 5, 1), ("missing", 8, 8, 2), ("foreign", 12, 9, 3)]);
        assert_eq!((verdict.difference_count, verdict.counts.matched), (3, 10));
    }

    #[test]
    fn a_start_that_is_only_near_is_no_difference() {
        let missing = Missing { source_first: 40, count: 7, target_next: 90 };
        let mut near = verdict();
        near.add(&outcome(vec![], vec![missing]), 40, true);
        assert_eq!((near.difference_count, near.counts.missing), (0, 0));
        let mut exact = verdict();
        exact.add(&outcome(vec![], vec![missing]), 40, false);
        assert_eq!((exact.difference_count, exact.counts.missing), (1, 7));
    }

    #[test]
    fn samples_lie_within_and_apart() {
        let mut seed = 0.0;
        let mut random = || {
            seed = (seed + 0.37) % 1.0;
            seed
        };
        for scope in [Scope::Ranges(5), Scope::Percent(10.0)] {
            let ranges = ranges(scope, (1_000, 51_000), &mut random);
            assert_eq!(ranges.len(), 5);
            assert!(ranges.windows(2).all(|two| two[0].1 <= two[1].0), "{ranges:?}");
            assert!(ranges[0].0 >= 1_000 && ranges[4].1 <= 51_000, "{ranges:?}");
            assert!(ranges.iter().all(|(from, to)| to - from == RANGE_RECORDS));
        }
        assert_eq!(ranges(Scope::Ranges(9), (5, 8_000), &mut random), [(5, 8_000)]);
        assert_eq!(ranges(Scope::All, (5, 8), &mut random), [(5, 8)]);
        assert_eq!(ranges(Scope::Percent(1.0), (5, 5), &mut random), [(5, 5)]);
    }
}
