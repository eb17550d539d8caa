//! What came over the line: as a table, as a picture, and beside what was aimed at.

use super::{DistanceArgs, Far};
use crate::compare::contender::Contender;
use crate::goal::Goal;
use crate::section::{Plot, Section};
use crate::svg::Bars;
use crate::table::{row, table};

/// The line that the goal is about.
const AIMED_AT_RTT_MS: u64 = 100;
const AIMED_AT_MBIT_PER_S: f64 = 1000.0;

/// What a contender carried over one line with one topic.
pub(super) struct Rate {
    pub(super) contender: Contender,
    pub(super) far: Far,
    pub(super) rtt_ms: u64,
    pub(super) partitions: i32,
    pub(super) mbit_per_s: f64,
}

/// Which cluster is far, how far, and how many partitions are copied.
type Case = (Far, u64, i32);

impl Rate {
    fn case(&self) -> Case {
        (self.far, self.rtt_ms, self.partitions)
    }
}

/// All of it.
pub(super) fn section(rates: &[Rate], contenders: &[Contender], args: &DistanceArgs) -> Section {
    let mut cases: Vec<Case> = rates.iter().map(Rate::case).collect();
    cases.dedup();
    let at = |case: &Case, contender| {
        let mut rates = rates.iter();
        let is_it = |rate: &&Rate| rate.case() == *case && rate.contender == contender;
        rates.find(is_it).map(|rate| rate.mbit_per_s)
    };
    let mut head = row(["far away", "round trip", "partitions"]);
    head.extend(contenders.iter().map(|one| format!("{}, Mbit/s", one.name())));
    let mut rows = vec![head];
    rows.extend(cases.iter().map(|case| {
        let cell =
            |one: &Contender| at(case, *one).map_or_else(String::new, |rate| format!("{rate:.0}"));
        let (far, rtt_ms, partitions) = case;
        let mut row = row([word(*far), &format!("{rtt_ms} ms"), &partitions.to_string()]);
        row.extend(contenders.iter().map(cell));
        row
    }));
    let values = |one: &Contender| cases.iter().map(|case| at(case, *one)).collect();
    let bars = Bars {
        title: "Over a long line".to_owned(),
        unit: format!("megabits per second, by round trip; the line has {}", args.rate),
        groups: cases.iter().map(group).collect(),
        series: contenders.iter().map(|one| (one.name().to_owned(), values(one))).collect(),
        logarithmic: false,
    };
    let hot = at(&(Far::Source, AIMED_AT_RTT_MS, 1), Contender::Kmirror);
    let hot = hot.filter(|_| args.rate == AIMED_AT_MBIT_PER_S);
    Section {
        text: describe(args) + &table(&rows),
        plots: vec![Plot { file: "distance.svg", bars }],
        goals: hot.map(|rate| (Goal::HotPartition, rate)).into_iter().collect(),
        is_measured: true,
    }
}

fn word(far: Far) -> &'static str {
    match far {
        Far::Source => "source",
        Far::Target => "target",
    }
}

fn group((far, rtt_ms, partitions): &Case) -> String {
    let plural = if *partitions == 1 { "" } else { "s" };
    format!("{}, {rtt_ms} ms, {partitions} partition{plural}", word(*far))
}

fn describe(args: &DistanceArgs) -> String {
    format!(
        "A line of {} Mbit/s with packets of {} bytes between one of the clusters and everything else, laid with TUN devices \
         between two network namespaces. Megabits of batches that are written to the target each second, once a contender \
         is at speed; topics of {} MiB. Brokers have the sockets that are Kafka's default.\n\n",
        args.rate, args.mtu, args.mib
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: DistanceArgs,
    }

    #[test]
    fn each_case_has_a_row_and_the_hot_partition_is_beside_its_goal() {
        let rate = |contender, rtt_ms, mbit_per_s| {
            let far = if mbit_per_s == 7.0 { Far::Target } else { Far::Source };
            Rate { contender, far, rtt_ms, partitions: 1, mbit_per_s }
        };
        let both = [Contender::Kmirror, Contender::Tuned];
        let [ours, theirs] = both;
        let rates = [
            rate(ours, 20, 950.0),
            rate(theirs, 20, 30.0),
            rate(ours, 100, 901.0),
            rate(theirs, 100, 5.0),
            rate(ours, 100, 7.0),
        ];
        let args = Alone::parse_from(["distance"]).args;
        let section = section(&rates, &both, &args);
        assert_eq!(section.goals, [(Goal::HotPartition, 901.0)]);
        let rows = section.text.lines().filter(|line| line.starts_with("| source"));
        assert_eq!(rows.count(), 2, "{}", section.text);
        let groups = &section.plots[0].bars.groups;
        assert_eq!(groups[1..], ["source, 100 ms, 1 partition", "target, 100 ms, 1 partition"]);
    }
}
