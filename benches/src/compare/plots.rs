//! The same figures as pictures.

use super::Measured;
use super::contender::{self, Contender};
use super::copy::Outcome;
use super::tables::cpu;
use crate::report::mib;
use crate::svg::Bars;

/// File names and pictures.
pub(crate) fn all(measured: &Measured) -> Vec<(&'static str, String)> {
    let mut plots = vec![
        (
            "cpu.svg",
            copies(
                measured,
                "CPU",
                "CPU-seconds per GiB, of tiny batches per 400 000 records; logarithmic",
                true,
                cpu,
            ),
        ),
        (
            "speed.svg",
            copies(
                measured,
                "Speed",
                "records per second; the brokers share the machine",
                false,
                Outcome::records_per_second,
            ),
        ),
        (
            "memory.svg",
            copies(measured, "Memory", "peak resident memory, MiB", false, |outcome| {
                mib(outcome.peak_resident_bytes)
            }),
        ),
        (
            "start.svg",
            copies(
                measured,
                "Start",
                "seconds from the start to the first replicated record",
                false,
                |outcome| outcome.first_record_seconds,
            ),
        ),
        (
            "target.svg",
            copies(
                measured,
                "Load of the target's broker",
                "CPU-seconds for the whole set",
                false,
                |outcome| outcome.target_cpu_seconds,
            ),
        ),
    ];
    if !measured.latencies.all.is_empty() {
        plots.push(("latency.svg", latency(measured)));
    }
    plots
}

fn copies(
    measured: &Measured,
    title: &str,
    unit: &str,
    logarithmic: bool,
    value: impl Fn(&Outcome) -> f64,
) -> String {
    let groups: Vec<String> = measured.sets.iter().map(|set| set.name.to_owned()).collect();
    let values = |contender| {
        let sets = groups.iter();
        sets.map(|set| measured.outcome(contender, set).map(&value)).collect()
    };
    let series = contender::ALL.map(|one| (one.name().to_owned(), values(one))).to_vec();
    let (title, unit) = (title.to_owned(), unit.to_owned());
    Bars { title, unit, groups: groups.clone(), series, logarithmic }.svg()
}

fn latency(measured: &Measured) -> String {
    let all = &measured.latencies.all;
    let mut rates: Vec<f64> = all.iter().map(|latency| latency.rate).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let values = |contender: Contender| {
        let at =
            |rate: &f64| all.iter().find(|one| one.contender == contender && one.rate == *rate);
        rates.iter().map(|rate| at(rate).map(|latency| latency.p99)).collect()
    };
    Bars {
        title: "Added latency".to_owned(),
        unit: "milliseconds at the 99th percentile, by records per second; logarithmic".to_owned(),
        groups: rates.iter().map(|rate| format!("{rate:.0}/s")).collect(),
        series: contender::ALL.map(|one| (one.name().to_owned(), values(one))).to_vec(),
        logarithmic: true,
    }
    .svg()
}
