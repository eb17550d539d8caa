//! What pairing two logs has shown.

use std::collections::BTreeSet;

/// So many deviations are kept one by one; the rest is counted.
const MAX_KEPT: usize = 1_000;
/// So many producers are remembered as ours.
const MAX_PRODUCERS: usize = 64;
/// So many source records are read again to find out what was copied twice.
pub(super) const LOOK_BACK_RECORDS: i64 = 1 << 15;
/// Buckets of the memory of records seen before, a power of two: four times what a look back fills.
const RECENT_BUCKETS: usize = 1 << 14;
/// Records of one bucket.
const BUCKET_RECORDS: usize = 8;

/// Consecutive source records that stand at consecutive target offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Source offset of the first record.
    pub source_first: i64,
    /// Its target offset.
    pub target_first: i64,
    /// How many records.
    pub count: u64,
    /// Whether copies may stand before it whose source records are gone.
    pub is_behind_vanished: bool,
}

/// Where records at the target come from that do not continue the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StrayKind {
    /// Somebody else wrote them.
    Foreign,
    /// They were copied before: an at-least-once mirror or a second instance repeated them.
    Repeated,
}

/// Consecutive target records that do not continue the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stray {
    /// Where they come from.
    pub kind: StrayKind,
    /// Target offset of the first.
    pub target_first: i64,
    /// How many.
    pub count: u64,
    /// The producer that wrote them, or -1.
    pub producer_id: i64,
    /// The source offset that was expected there.
    pub source_next: i64,
}

/// Source records that the target does not have, with nothing to explain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Source offset of the first.
    pub source_first: i64,
    /// How many.
    pub count: u64,
    /// Target offset at which they should have come.
    pub target_next: i64,
}

/// The target's log is not the one that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divergence {
    /// It ends before what was acknowledged.
    Truncated {
        /// Where it should go on.
        expected: i64,
        /// Where it ends.
        end: i64,
    },
    /// A record that should be a copy is none.
    Different {
        /// Source offset of the record that was expected.
        source: i64,
        /// Target offset of what stands there.
        target: i64,
    },
    /// The source ends before the record that the target has a copy of.
    SourceEnds {
        /// Where the source ends.
        source_end: i64,
        /// Target offset of the first copy of what is gone.
        target: i64,
    },
}

/// How much was paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records that stand on both sides.
    pub matched: u64,
    /// Those of them that were compared by the headers of their batches alone.
    pub sealed: u64,
    /// Batches of the target compared so.
    pub sealed_batches: u64,
    /// Source records without a copy, explained by holes in the target's log.
    pub skipped: u64,
    /// Source records without a copy and without an explanation.
    pub missing: u64,
    /// Copies whose source record is gone by compaction or retention.
    pub vanished: u64,
    /// Records of others.
    pub foreign: u64,
    /// Records copied again.
    pub repeated: u64,
}

/// Collects what is found, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) runs: Vec<Run>,
    pub(super) strays: Vec<Stray>,
    pub(super) missing: Vec<Missing>,
    pub(super) divergence: Option<Divergence>,
    pub(super) counts: Counts,
}

impl Findings {
    pub(super) fn run(&mut self, run: Run) {
        let Run { source_first, target_first, count, .. } = run;
        self.counts.matched += count;
        match self.runs.last_mut() {
            Some(last)
                if source_first - last.source_first == last.count as i64
                    && target_first - last.target_first == last.count as i64 =>
            {
                last.count += count;
            }
            _ => self.runs.push(run),
        }
    }

    pub(super) fn stray(&mut self, kind: StrayKind, target: i64, producer_id: i64, source: i64) {
        match kind {
            StrayKind::Foreign => self.counts.foreign += 1,
            StrayKind::Repeated => self.counts.repeated += 1,
        }
        let kept = self.strays.len();
        match self.strays.last_mut() {
            Some(last)
                if last.kind == kind
                    && last.producer_id == producer_id
                    && last.target_first + last.count as i64 == target =>
            {
                last.count += 1;
            }
            _ if kept < MAX_KEPT => self.strays.push(Stray {
                kind,
                target_first: target,
                count: 1,
                producer_id,
                source_next: source,
            }),
            _ => {}
        }
    }

    pub(super) fn missing(&mut self, missing: Missing) {
        self.counts.missing += missing.count;
        if self.missing.len() < MAX_KEPT {
            self.missing.push(missing);
        }
    }
}

/// Whose batches those are.
#[derive(Debug)]
pub(super) struct Writers {
    own: BTreeSet<i64>,
    /// Producers of batches that were copies.
    learned: BTreeSet<i64>,
}

impl Writers {
    pub(super) fn new(own: BTreeSet<i64>) -> Self {
        Self { own, learned: BTreeSet::new() }
    }

    pub(super) fn learn(&mut self, producer_id: i64) {
        if producer_id >= 0 && self.learned.len() < MAX_PRODUCERS {
            self.learned.insert(producer_id);
        }
    }

    /// Certainly this mirror.
    pub(super) fn is_own(&self, producer_id: i64) -> bool {
        self.own.contains(&producer_id)
    }

    /// Whether a mirror may have written it: nothing says who wrote what has no producer id.
    pub(super) fn may_be_own(&self, producer_id: i64) -> bool {
        let known = !self.own.is_empty() || !self.learned.is_empty();
        producer_id < 0
            || !known
            || self.own.contains(&producer_id)
            || self.learned.contains(&producer_id)
    }
}

/// A bounded memory of what was paired last; it forgets, it never makes anything up beyond what
/// 64-bit hashes do.
#[derive(Debug)]
pub(super) struct Recent {
    buckets: Vec<[u64; BUCKET_RECORDS]>,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { buckets: vec![[0; BUCKET_RECORDS]; RECENT_BUCKETS] }
    }

    fn bucket(key: u64) -> usize {
        (key ^ (key >> 32)) as usize & (RECENT_BUCKETS - 1)
    }

    pub(super) fn insert(&mut self, key: u64) {
        let bucket = &mut self.buckets[Self::bucket(key)];
        if !bucket.contains(&key) {
            bucket.rotate_right(1);
            bucket[0] = key;
        }
    }

    pub(super) fn contains(&self, key: u64) -> bool {
        key != 0 && self.buckets[Self::bucket(key)].contains(&key)
    }
}
