//! The same figures as pictures.

use super::Measured;
use super::contender::{self, Contender};
use super::copy::{Idle, Outcome};
use super::latency::Latency;
use super::tables::cpu;
use crate::figure::mib;
use crate::section::Plot;
use crate::svg::Bars;

const CPU: &str = "CPU-seconds per GiB, of tiny batches per 400 000 records; logarithmic";
const WHOLE: &str = "CPU-seconds for the whole set";

/// All of them that something was measured for.
pub(super) fn all(measured: &Measured) -> Vec<Plot> {
    let set = |file, title, unit, value: fn(&Outcome) -> f64| Plot {
        file,
        bars: copies(measured, title, unit, value),
    };
    let mut plots =
        vec![
            set("cpu.svg", "CPU", CPU, cpu),
            set(
                "speed.svg",
                "Speed",
                "records per second; the brokers share the machine",
                Outcome::records_per_second,
            ),
            set("memory.svg", "Memory", "peak resident memory, MiB", |one| {
                mib(one.peak_resident_bytes)
            }),
            set("start.svg", "Start", "seconds from the start to the first record", |one| {
                one.first_record_seconds
            }),
            set("source.svg", "Load of the source's broker", WHOLE, |one| one.source_cpu_seconds),
            set("target.svg", "Load of the target's broker", WHOLE, |one| one.target_cpu_seconds),
        ];
    if measured.outcomes.iter().any(|outcome| outcome.idle.is_some()) {
        let share = "percent of a core; logarithmic";
        let cpu = idle(measured, "CPU when idle", share, |idle| idle.cpu * 100.0);
        let held = "resident memory, MiB; logarithmic";
        let memory = idle(measured, "Memory when idle", held, |idle| mib(idle.resident_bytes));
        plots.push(Plot { file: "idle-cpu.svg", bars: cpu });
        plots.push(Plot { file: "idle-memory.svg", bars: memory });
    }
    if !measured.latencies.all.is_empty() {
        plots.push(Plot { file: "latency.svg", bars: latency(measured) });
    }
    plots
}

fn copies(measured: &Measured, title: &str, unit: &str, value: impl Fn(&Outcome) -> f64) -> Bars {
    let groups: Vec<String> = measured.sets.iter().map(|set| set.name.to_owned()).collect();
    let values = |contender| {
        let sets = groups.iter();
        sets.map(|set| measured.outcome(contender, set).map(&value)).collect()
    };
    bars(title, unit, groups.clone(), values)
}

fn idle(measured: &Measured, title: &str, unit: &str, value: impl Fn(Idle) -> f64) -> Bars {
    let values = |contender| {
        let mut outcomes = measured.outcomes.iter().filter(|one| one.contender == contender);
        vec![outcomes.find_map(|outcome| outcome.idle).map(&value)]
    };
    bars(title, unit, vec![String::new()], values)
}

type Kind = fn(&Latency) -> f64;

/// Median, 99th percentile and maximum at every rate.
fn latency(measured: &Measured) -> Bars {
    let all = &measured.latencies.all;
    let mut rates: Vec<f64> = all.iter().map(|latency| latency.rate).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let kinds: [(&str, Kind); 3] =
        [("p50", |one| one.p50), ("p99", |one| one.p99), ("max", |one| one.max)];
    let cases = || rates.iter().flat_map(|rate| kinds.iter().map(move |kind| (*rate, kind)));
    let values = |contender: Contender| {
        let at = |rate| all.iter().find(|one| one.contender == contender && one.rate == rate);
        cases().map(|(rate, (_, value))| at(rate).map(value)).collect()
    };
    let groups = cases().map(|(rate, (kind, _))| format!("{rate:.0} records/s, {kind}")).collect();
    bars("Added latency", "milliseconds, by records per second; logarithmic", groups, values)
}

/// What says in its unit that it is logarithmic is.
fn bars(
    title: &str,
    unit: &str,
    groups: Vec<String>,
    values: impl Fn(Contender) -> Vec<Option<f64>>,
) -> Bars {
    Bars {
        title: title.to_owned(),
        unit: unit.to_owned(),
        groups,
        series: contender::ALL.map(|one| (one.name().to_owned(), values(one))).to_vec(),
        logarithmic: unit.ends_with("logarithmic"),
    }
}
