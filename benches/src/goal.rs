//! What is aimed at: every goal with its limit, and how a measured figure stands to it.

use Limit::{AtLeast, AtMost};

use crate::figure::short;
use crate::table::{row, table};

/// Something that is aimed at. The order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    CpuNone,
    CpuLz4,
    CpuZstd,
    TinySpeed,
    TinyCpu,
    TinyTargetCpu,
    PeakMemory,
    PeakMib,
    Start,
    IdleMemory,
    IdleCpu,
    Latency,
    RelaySmall,
    RelayLarge,
    StaticSmall,
    StaticLarge,
    HotPartition,
    ManyMemory,
    ManyCpu,
    StallMemory,
    StallReturn,
}

/// Which way a figure may differ.
#[derive(Debug, Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// All of them. Where MirrorMaker 2 is named, it is the tuned one.
const AIMS: [(Goal, Limit, &str); 21] = [
    (Goal::CpuNone, AtLeast(20.0), "none: CPU per GiB of MirrorMaker 2 over kmirror's"),
    (Goal::CpuLz4, AtLeast(30.0), "lz4: CPU per GiB of MirrorMaker 2 over kmirror's"),
    (Goal::CpuZstd, AtLeast(50.0), "zstd: CPU per GiB of MirrorMaker 2 over kmirror's"),
    (Goal::TinySpeed, AtLeast(1.0), "tiny: records/s of kmirror over MirrorMaker 2's"),
    (Goal::TinyCpu, AtLeast(4.0), "tiny: CPU of MirrorMaker 2 over kmirror's"),
    (
        Goal::TinyTargetCpu,
        AtMost(1.2),
        "tiny: target broker's CPU under kmirror over MirrorMaker 2",
    ),
    (Goal::PeakMemory, AtLeast(15.0), "none: peak memory of MirrorMaker 2 over kmirror's"),
    // 64 MiB and the default of kmirror.memory.bytes.
    (Goal::PeakMib, AtMost(128.0), "none: peak memory of kmirror, MiB"),
    (Goal::Start, AtMost(0.3), "none: start to first record, s"),
    (Goal::IdleMemory, AtLeast(20.0), "idle memory of MirrorMaker 2 over kmirror's"),
    (Goal::IdleCpu, AtMost(0.2), "idle CPU of kmirror, % of a core"),
    (Goal::Latency, AtLeast(10.0), "p99 added latency at the top rate, MirrorMaker 2 over kmirror"),
    (Goal::RelaySmall, AtMost(1.3), "64 KiB batches: CPU per GiB over the cheapest relay's"),
    (Goal::RelayLarge, AtMost(1.3), "1 MiB batches: CPU per GiB over the cheapest relay's"),
    (Goal::StaticSmall, AtMost(1.05), "64 KiB batches: CPU per GiB, static build over this one"),
    (Goal::StaticLarge, AtMost(1.05), "1 MiB batches: CPU per GiB, static build over this one"),
    (Goal::HotPartition, AtLeast(900.0), "one partition over 100 ms and 1 Gbit/s, Mbit/s"),
    (Goal::ManyMemory, AtMost(300.0), "100 000 partitions, idle: memory, MB"),
    (Goal::ManyCpu, AtMost(2.0), "100 000 partitions, idle: CPU, % of a core"),
    // 64 MiB and the default of kmirror.memory.bytes.
    (Goal::StallMemory, AtMost(128.0), "target stands still: largest memory, MiB"),
    (Goal::StallReturn, AtMost(2.0), "target is back: as fast as before after, s"),
];

/// Every goal of every part, with the last figure that `measured` has for it.
pub(crate) fn all(measured: &[(Goal, f64)]) -> impl Iterator<Item = (Goal, Option<f64>)> {
    let value = |wanted| measured.iter().rev().find(|(goal, _)| *goal == wanted);
    AIMS.iter().map(move |(goal, ..)| (*goal, value(*goal).map(|(_, value)| *value)))
}

/// A table of goals, what was measured for each, and whether that reaches it.
pub(crate) fn table_of(goals: impl Iterator<Item = (Goal, Option<f64>)>) -> String {
    let mut rows = vec![row(["goal", "limit", "measured", "reached"])];
    for (goal, value) in goals {
        let (_, limit, what) = AIMS[goal as usize];
        let (measured, reached) = match value {
            Some(value) if limit.allows(value) => (short(value), "yes"),
            Some(value) => (short(value), "**no**"),
            None => (String::new(), "not measured"),
        };
        rows.push(row([what, &limit.text(), &measured, reached]));
    }
    table(&rows)
}

impl Limit {
    fn allows(self, value: f64) -> bool {
        match self {
            AtMost(limit) => value <= limit,
            AtLeast(limit) => value >= limit,
        }
    }

    fn text(self) -> String {
        match self {
            AtMost(limit) => format!("<= {limit}"),
            AtLeast(limit) => format!(">= {limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_goals() {
        assert!(AIMS.iter().enumerate().all(|(at, (goal, ..))| *goal as usize == at));
    }

    #[test]
    fn a_goal_knows_which_way_is_good_and_whether_it_was_measured() {
        let measured = [(Goal::CpuNone, 3.0), (Goal::CpuNone, 20.0), (Goal::Start, 0.31)];
        let text = table_of(all(&measured));
        let cells = |line: &str| {
            line.split('|').skip(2).map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
        };
        let lines: Vec<_> = text.lines().skip(2).map(cells).collect();
        assert_eq!(lines.len(), AIMS.len());
        assert_eq!(lines[0], [">= 20", "20.0", "yes", ""]);
        assert_eq!(lines[1], [">= 30", "", "not measured", ""]);
        assert_eq!(lines[Goal::Start as usize], ["<= 0.3", "0.310", "**no**", ""]);
        assert!(!AtMost(1.0).allows(f64::NAN) && !AtLeast(1.0).allows(f64::NAN));
    }
}
