//! The figures in Markdown: what was copied, what it took, and with which settings.

use std::fmt::Write;

use super::Measured;
use super::contender::{self, MIRROR_MAKER_HEAP_MIB};
use super::copy::Outcome;
use super::latency::{Latency, SHARE};
use crate::figure::{mib, short};
use crate::relay::TINY_RECORDS;
use crate::table::{row, table};

/// Everything that is told in words and tables.
pub(crate) fn text(measured: &Measured) -> String {
    let mut text = String::new();
    for set in &measured.sets {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {}: {}", set.name, set.text());
    }
    let _ = write!(text, "\n{}\n{}\n", table(&copies(measured)), NOTES);
    if !measured.latencies.all.is_empty() {
        let _ = write!(text, "\n{}\n{}\n", table(&latencies(measured)), flood(measured));
    }
    text + "\n" + &settings()
}

const NOTES: &str = "\
CPU is user and system time of the replicator's process: of MirrorMaker 2 from its first replicated record to the last, \
its start (second figure) not counted; of kmirror from its start to the last record. \"Warm\" is twice what the second \
half of the records took. All are medians of the rounds, idleness was measured once; the CPU's least and most stand \
beside it. Each round begins with another one. For tiny batches it is given per 400 000 records instead of per GiB. Brokers' CPU is from the \
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
            with_range(outcome),
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

/// The CPU figure that is compared, with the least and the most of all rounds.
fn with_range(outcome: &Outcome) -> String {
    let [least, most] = outcome.cpu_seconds_range.map(|seconds| short(weigh(outcome, seconds)));
    format!("{} ({least}-{most})", short(cpu(outcome)))
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
         written as fast as it takes on the same machine (records/s: {}); there the figures are medians of as many stretches \
         as there are rounds.",
        SHARE * 100.0,
        maxima.collect::<Vec<_>>().join(", ")
    )
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
