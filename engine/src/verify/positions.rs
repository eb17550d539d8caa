//! Judges checkpoints by the logs themselves: where at the target a consumer group goes on, and where it should.

use crate::matching::Run;
use crate::records::checkpoint::Checkpoint;

/// A group's position as the last checkpoint has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPosition {
    /// The group.
    pub group: String,
    /// Next offset at the source.
    pub upstream: i64,
    /// Next offset at the target, as the checkpoint says.
    pub downstream: i64,
    /// Next offset at the target, as the logs say.
    pub expected: i64,
}

/// What came of the positions in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PositionsVerdict {
    /// So many skip nothing and repeat nothing.
    pub exact: u64,
    /// These would read records again: MirrorMaker 2 is often content with that.
    pub behind: Vec<GroupPosition>,
    /// These would skip records.
    pub ahead: Vec<GroupPosition>,
}

/// The checkpoints of a partition, judged while its logs are paired.
#[derive(Debug, Default)]
pub struct PositionCheck {
    /// The last by its source offset first.
    asked: Vec<GroupPosition>,
    /// Behind the last copy so far.
    behind: i64,
    verdict: PositionsVerdict,
}

impl PositionCheck {
    /// Checkpoints of one partition, the last one of each group.
    pub fn new(checkpoints: impl IntoIterator<Item = Checkpoint>) -> Self {
        let position = |one: Checkpoint| GroupPosition {
            group: one.group,
            upstream: one.upstream_offset,
            downstream: one.downstream_offset,
            expected: 0,
        };
        let mut asked: Vec<GroupPosition> = checkpoints.into_iter().map(position).collect();
        asked.sort_by(|a, b| (b.upstream, &b.group).cmp(&(a.upstream, &a.group)));
        Self { asked, ..Self::default() }
    }

    /// Judges those that lie before or in what was paired; it comes in order.
    pub fn paired(&mut self, run: &Run) {
        let end = run.source_first + run.count as i64;
        while let Some(asked) = self.asked.pop_if(|asked| asked.upstream < end) {
            let inside = (asked.upstream - run.source_first).max(0);
            // Before a run lie holes and records of others: wherever the group starts there, it comes to the run.
            let low = if inside > 0 { run.target_first + inside } else { self.behind };
            self.judge(asked, low, run.target_first + inside);
        }
        self.behind = run.target_first + run.count as i64;
    }

    /// Judges the rest, which lies behind everything that was copied, by the end of the target.
    pub fn finish(mut self, target_end: i64) -> PositionsVerdict {
        while let Some(asked) = self.asked.pop() {
            self.judge(asked, self.behind, target_end.max(self.behind));
        }
        self.verdict
    }

    fn judge(&mut self, mut asked: GroupPosition, low: i64, high: i64) {
        asked.expected = high;
        if asked.downstream > high {
            self.verdict.ahead.push(asked);
        } else if asked.downstream < low {
            asked.expected = low;
            self.verdict.behind.push(asked);
        } else {
            self.verdict.exact += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(upstream: i64, downstream: i64) -> Checkpoint {
        Checkpoint {
            group: format!("{upstream} at {downstream}"),
            topic: "A.orders".to_owned(),
            partition: 0,
            upstream_offset: upstream,
            downstream_offset: downstream,
            metadata: String::new(),
        }
    }

    #[test]
    fn holes_are_exact_wherever_in_them_a_group_starts() {
        let run = |source_first, target_first, count| Run {
            source_first,
            target_first,
            count,
            is_behind_vanished: false,
        };
        let runs = [run(10, 0, 10), run(25, 14, 5)];
        let exact =
            [(0, 0), (10, 0), (15, 5), (20, 10), (22, 12), (25, 14), (29, 18), (30, 19), (99, 20)];
        let behind = [(15, 4), (20, 9), (29, 14), (30, 18)];
        let ahead = [(0, 1), (15, 6), (20, 15), (25, 15), (30, 21)];
        let all = exact.iter().chain(&behind).chain(&ahead);
        let mut check = PositionCheck::new(all.map(|(up, down)| checkpoint(*up, *down)));
        runs.iter().for_each(|run| check.paired(run));
        let verdict = check.finish(20);
        let places = |positions: &[GroupPosition]| {
            positions.iter().map(|one| (one.upstream, one.downstream)).collect::<Vec<_>>()
        };
        assert_eq!(verdict.exact, exact.len() as u64);
        assert_eq!(places(&verdict.behind), behind);
        assert_eq!(places(&verdict.ahead), ahead);
    }
}
