//! The report in Markdown: what was measured and how, the figures, and what was aimed at.

use std::fmt::Write;

use super::Measured;
use super::contender::{self, Contender, MIRROR_MAKER_HEAP_MIB};
use super::copy::Outcome;
use super::latency::{Latency, SHARE};
use crate::relay::TINY_RECORDS;
use crate::report::{mib, row};
use crate::svg::short;

/// Everything.
pub(crate) fn report(measured: &Measured) -> String {
    let mut text = format!("{}\n\n", measured.place.text());
    for set in &measured.sets {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {}: {}", set.name, set.text());
    }
    let _ = write!(text, "\n{}\n{}\n", markdown(&copies(measured)), NOTES);
    if !measured.latencies.all.is_empty() {
        let _ = write!(text, "\n{}\n{}\n", markdown(&latencies(measured)), flood(measured));
    }
    let _ = write!(text, "\n{}\n{}", markdown(&goals(measured)), settings());
    text
}

const NOTES: &str = "\
CPU is user and system time of the replicator's process: of MirrorMaker 2 from its first replicated record to the last, \
its start (second figure) not counted; of kmirror from its start to the last record. \"Warm\" is twice what the second \
half of the records took. For tiny batches it is given per 400 000 records instead of per GiB. Brokers' CPU is from the \
first record to the last. Idle CPU is a share of one core.";

fn copies(measured: &Measured) -> Vec<Vec<String>> {
    let mut rows = vec![row([
        "data",
        "",
        "CPU-s per GiB",
        "warm",
        "start, CPU-s",
        "records/s",
        "peak RSS, MiB",
        "start to first record, s",
        "source broker, CPU-s",
        "target broker, CPU-s",
        "idle CPU",
        "idle RSS, MiB",
    ])];
    for outcome in &measured.outcomes {
        let idle = outcome.idle;
        rows.push(vec![
            outcome.set.to_owned(),
            outcome.contender.name().to_owned(),
            short(cpu(outcome)),
            short(weigh(outcome, outcome.cpu_seconds_warm)),
            short(outcome.start_cpu_seconds),
            format!("{:.0}", outcome.records_per_second()),
            format!("{:.0}", mib(outcome.peak_resident_bytes)),
            format!("{:.2}", outcome.first_record_seconds),
            short(outcome.source_cpu_seconds),
            short(outcome.target_cpu_seconds),
            idle.map_or_else(String::new, |idle| format!("{:.2} %", idle.cpu * 100.0)),
            idle.map_or_else(String::new, |idle| format!("{:.0}", mib(idle.resident_bytes))),
        ]);
    }
    rows
}

/// The CPU figure that is compared.
pub(super) fn cpu(outcome: &Outcome) -> f64 {
    weigh(outcome, outcome.cpu_seconds)
}

fn weigh(outcome: &Outcome, cpu_seconds: f64) -> f64 {
    if outcome.is_tiny {
        cpu_seconds * TINY_RECORDS / outcome.records as f64
    } else {
        outcome.per_gib(cpu_seconds)
    }
}

fn latencies(measured: &Measured) -> Vec<Vec<String>> {
    let head =
        ["records/s", "", "records", "added p50, ms", "added p99, ms", "added max, ms", "keeps up"];
    let mut rows = vec![row(head)];
    let mut all: Vec<&Latency> = measured.latencies.all.iter().collect();
    let place = |latency: &Latency| contender::ALL.iter().position(|one| *one == latency.contender);
    all.sort_by(|a, b| a.rate.total_cmp(&b.rate).then(place(a).cmp(&place(b))));
    for latency in all {
        rows.push(vec![
            format!("{:.0}", latency.rate),
            latency.contender.name().to_owned(),
            latency.records.to_string(),
            short(latency.p50),
            short(latency.p99),
            short(latency.max),
            if latency.keeps_up { "yes" } else { "no" }.to_owned(),
        ]);
    }
    rows
}

fn flood(measured: &Measured) -> String {
    let maxima = measured.latencies.maxima.iter();
    let maxima = maxima.map(|(who, most)| format!("{} {most:.0}", who.name()));
    format!(
        "Added latency of a record: from when a reader at the end of the source sees it to when one at the end of the \
         target does. Records of 903 bytes, to 10 partitions in turn, written one by one up to 2 000 records/s and with \
         a linger of 5 ms above. The highest rate is {:.0} % of what the tuned MirrorMaker 2 carries while the source is \
         written as fast as it takes on the same machine (records/s: {}).",
        SHARE * 100.0,
        maxima.collect::<Vec<_>>().join(", ")
    )
}

/// A row of what was aimed at: the figure, its limit, and which way it may differ.
struct Goal {
    name: String,
    at_most: bool,
    limit: f64,
    value: f64,
}

fn goals(measured: &Measured) -> Vec<Vec<String>> {
    let mut goals = Vec::new();
    let at_most =
        |name: &str, limit, value| Goal { name: name.to_owned(), at_most: true, limit, value };
    let at_least = |name: String, limit, value| Goal { name, at_most: false, limit, value };
    for (set, limit) in [("none", 20.0), ("lz4", 30.0), ("zstd", 50.0)] {
        if let Some((ours, theirs)) = pair(measured, set) {
            let name = format!("{set}: CPU of tuned MirrorMaker 2 over kmirror's");
            goals.push(at_least(name, limit, cpu(theirs) / cpu(ours)));
        }
    }
    if let Some((ours, theirs)) = pair(measured, "tiny") {
        let name = "tiny: records/s of kmirror over tuned MirrorMaker 2's".to_owned();
        goals.push(at_least(name, 1.0, ours.records_per_second() / theirs.records_per_second()));
        let name = "tiny: CPU of tuned MirrorMaker 2 over kmirror's".to_owned();
        goals.push(at_least(name, 4.0, cpu(theirs) / cpu(ours)));
        let brokers = ours.target_cpu_seconds / theirs.target_cpu_seconds;
        goals.push(at_most("tiny: target broker's CPU under kmirror over tuned", 1.2, brokers));
    }
    if let Some((ours, theirs)) = pair(measured, "none") {
        let peaks = theirs.peak_resident_bytes as f64 / ours.peak_resident_bytes as f64;
        let name = "none: peak memory of tuned MirrorMaker 2 over kmirror's".to_owned();
        goals.push(at_least(name, 15.0, peaks));
        let mibs = mib(ours.peak_resident_bytes);
        // 64 MiB and the default of kmirror.memory.bytes.
        goals.push(at_most("none: peak memory of kmirror, MiB", 128.0, mibs));
        let name = "none: start to first record, s";
        goals.push(at_most(name, 0.3, ours.first_record_seconds));
        if let (Some(ours), Some(theirs)) = (ours.idle, theirs.idle) {
            let name = "idle memory of tuned MirrorMaker 2 over kmirror's".to_owned();
            let memory = theirs.resident_bytes as f64 / ours.resident_bytes as f64;
            goals.push(at_least(name, 20.0, memory));
            goals.push(at_most("idle CPU of kmirror, % of a core", 0.2, ours.cpu * 100.0));
        }
    }
    if let Some(top) = measured.latencies.top_rate() {
        let at_top = |wanted| {
            let mut all = measured.latencies.all.iter();
            all.find(|one| one.contender == wanted && one.rate == top).map(|one| one.p99)
        };
        if let (Some(ours), Some(theirs)) = (at_top(Contender::Kmirror), at_top(Contender::Tuned)) {
            let name = "p99 added latency at the highest rate, tuned over kmirror's".to_owned();
            goals.push(at_least(name, 10.0, theirs / ours));
        }
    }
    let mut rows = vec![row(["goal", "limit", "measured", "reached"])];
    rows.extend(goals.iter().map(Goal::row));
    rows
}

impl Goal {
    fn row(&self) -> Vec<String> {
        let reached =
            if self.at_most { self.value <= self.limit } else { self.value >= self.limit };
        let sign = if self.at_most { "<=" } else { ">=" };
        vec![
            self.name.clone(),
            format!("{sign} {}", self.limit),
            short(self.value),
            if reached { "yes" } else { "**no**" }.to_owned(),
        ]
    }
}

fn pair<'a>(measured: &'a Measured, set: &str) -> Option<(&'a Outcome, &'a Outcome)> {
    let ours = measured.outcome(Contender::Kmirror, set)?;
    Some((ours, measured.outcome(Contender::Tuned, set)?))
}

fn settings() -> String {
    let mut text = format!(
        "Kafka and MirrorMaker 2 4.3.1, one broker on each side; MirrorMaker 2 in dedicated mode with a heap of \
         {MIRROR_MAKER_HEAP_MIB} MiB. All get the clusters, the topic and replication factors of 1, and besides (A is the \
         source, B the target):\n"
    );
    for contender in contender::ALL {
        let settings = contender.settings("CODEC OF THE SOURCE");
        let _ = write!(text, "\n{}:\n\n```properties\n{settings}```\n", contender.name());
    }
    text
}

fn markdown(rows: &[Vec<String>]) -> String {
    let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
    let Some((head, body)) = rows.split_first() else { return String::new() };
    let rule = "|---".repeat(head.len()) + "|\n";
    line(head) + &rule + &body.iter().map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_knows_which_way_is_good() {
        let goal = |at_most| Goal { name: "x".to_owned(), at_most, limit: 2.0, value: 3.0 };
        assert_eq!(goal(true).row()[3], "**no**");
        assert_eq!(goal(false).row(), ["x", ">= 2", "3.00", "yes"]);
    }

    #[test]
    fn tables_have_a_rule_below_their_head() {
        let text = markdown(&[row(["a", "b"]), row(["1", "2"])]);
        assert_eq!(text, "| a | b |\n|---|---|\n| 1 | 2 |\n");
    }
}
