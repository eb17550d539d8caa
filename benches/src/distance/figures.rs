//! What came over the line: as a table, as a picture, and beside what was aimed at.

use super::DistanceArgs;
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
    pub(super) rtt_ms: u64,
    pub(super) partitions: i32,
    pub(super) mbit_per_s: f64,
}

/// All of it.
pub(super) fn section(rates: &[Rate], contenders: &[Contender], args: &DistanceArgs) -> Section {
    let mut cases: Vec<_> = rates.iter().map(|rate| (rate.rtt_ms, rate.partitions)).collect();
    cases.dedup();
    let at = |case: &(u64, i32), contender| {
        let mut rates = rates.iter();
        let is_it =
            |rate: &&Rate| (rate.rtt_ms, rate.partitions) == *case && rate.contender == contender;
        rates.find(is_it).map(|rate| rate.mbit_per_s)
    };
    let mut head = row(["round trip", "partitions"]);
    head.extend(contenders.iter().map(|one| format!("{}, Mbit/s", one.name())));
    let mut rows = vec![head];
    rows.extend(cases.iter().map(|case| {
        let cell =
            |one: &Contender| at(case, *one).map_or_else(String::new, |rate| format!("{rate:.0}"));
        let mut row = row([&format!("{} ms", case.0), &case.1.to_string()]);
        row.extend(contenders.iter().map(cell));
        row
    }));
    let values = |one: &Contender| cases.iter().map(|case| at(case, *one)).collect();
    let bars = Bars {
        title: "Over a long line".to_owned(),
        unit: format!("megabits per second, by round trip; the line has {}", args.rate),
        groups: cases.iter().map(|(rtt, partitions)| group(*rtt, *partitions)).collect(),
        series: contenders.iter().map(|one| (one.name().to_owned(), values(one))).collect(),
        logarithmic: false,
    };
    let hot = at(&(AIMED_AT_RTT_MS, 1), Contender::Kmirror);
    let hot = hot.filter(|_| args.rate == AIMED_AT_MBIT_PER_S);
    Section {
        text: describe(args) + &table(&rows),
        plots: vec![Plot { file: "distance.svg", bars }],
        goals: hot.map(|rate| (Goal::HotPartition, rate)).into_iter().collect(),
        is_measured: true,
    }
}

fn group(rtt_ms: u64, partitions: i32) -> String {
    format!("{rtt_ms} ms, {partitions} partition{}", if partitions == 1 { "" } else { "s" })
}

fn describe(args: &DistanceArgs) -> String {
    format!(
        "A line of {} Mbit/s with packets of {} bytes between the source's cluster and everything else, laid with TUN devices \
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
        let rate =
            |contender, rtt_ms, mbit_per_s| Rate { contender, rtt_ms, partitions: 1, mbit_per_s };
        let both = [Contender::Kmirror, Contender::Tuned];
        let [ours, theirs] = both;
        let rates = [
            rate(ours, 20, 950.0),
            rate(theirs, 20, 30.0),
            rate(ours, 100, 901.0),
            rate(theirs, 100, 5.0),
        ];
        let args = Alone::parse_from(["distance"]).args;
        let section = section(&rates, &both, &args);
        assert_eq!(section.goals, [(Goal::HotPartition, 901.0)]);
        let rows = section.text.lines().filter(|line| line.starts_with("| 1"));
        assert_eq!(rows.count(), 1, "{}", section.text);
        assert_eq!(section.plots[0].bars.groups, ["20 ms, 1 partition", "100 ms, 1 partition"]);
    }
}
