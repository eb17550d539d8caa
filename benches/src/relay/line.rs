//! One kmirror or relay over all rounds, and the tables that lines of them make.

use serde_json::{Value, json};

use crate::child::Stretch;
use crate::figure::{Series, mib};
use crate::relay::TINY_RECORDS;
use crate::svg::Bars;
use crate::table::{row, table};

const GIB: f64 = (1u64 << 30) as f64;

/// One kmirror or relay over all rounds.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) tiny: bool,
    cpu_per_gib: Series,
    cpu_per_tiny: Series,
    pub(super) ratio: Series,
    /// CPU over that of this build, in the same round.
    pub(super) to_own: Series,
    mib_per_s: Series,
    records_per_s: Series,
    peak_resident_bytes: u64,
}

impl Line {
    pub(super) fn new(name: &'static str, tiny: bool) -> Self {
        let none = Series::default;
        Self {
            name,
            tiny,
            cpu_per_gib: none(),
            cpu_per_tiny: none(),
            ratio: none(),
            to_own: none(),
            mib_per_s: none(),
            records_per_s: none(),
            peak_resident_bytes: 0,
        }
    }

    /// Takes a measurement down; returns its CPU-seconds per GiB.
    pub(super) fn add(&mut self, stretch: &Stretch) -> f64 {
        let Stretch { seconds, cpu_seconds, done, peak_resident_bytes } = *stretch;
        let cpu_per_gib = cpu_seconds * GIB / done.bytes as f64;
        self.cpu_per_gib.push(cpu_per_gib);
        self.mib_per_s.push(mib(done.bytes) / seconds);
        self.records_per_s.push(done.records as f64 / seconds);
        if done.records > 0 {
            self.cpu_per_tiny.push(cpu_seconds * TINY_RECORDS / done.records as f64);
        }
        self.peak_resident_bytes = self.peak_resident_bytes.max(peak_resident_bytes);
        cpu_per_gib
    }

    pub(super) fn json(&self) -> Value {
        let mut value =
            json!({ "name": self.name, "peak_resident_bytes": self.peak_resident_bytes });
        if self.tiny {
            value["cpu_seconds_per_400000_records"] = self.cpu_per_tiny.json();
        } else {
            value["cpu_seconds_per_gib"] = self.cpu_per_gib.json();
            value["mib_per_second"] = self.mib_per_s.json();
        }
        if self.ratio.max() > 0.0 {
            value["ratio_to_cheapest_relay"] = self.ratio.json();
        }
        if self.to_own.max() > 0.0 {
            value["cpu_to_this_build"] = self.to_own.json();
        }
        if self.records_per_s.max() > 0.0 {
            value["records_per_second"] = self.records_per_s.json();
        }
        value
    }
}

/// A table of the large batches and the relays, one of the tiny batches, and how another build compares.
pub(super) fn tables(lines: &[Line]) -> String {
    let peak = |line: &Line| format!("{:.0}", mib(line.peak_resident_bytes));
    let mut large =
        vec![row(["", "CPU-s per GiB", "ratio to cheapest relay", "MiB/s", "peak RSS, MiB"])];
    let mut tiny = vec![row(["", "records/s", "CPU-s per 400 000 records", "peak RSS, MiB"])];
    let mut other = vec![row(["", "CPU over this build's"])];
    for line in lines {
        let name = line.name.to_owned();
        if line.to_own.max() > 0.0 {
            other.push(vec![name.clone(), line.to_own.text(3)]);
        }
        if line.tiny {
            let (records, cpu) = (line.records_per_s.text(0), line.cpu_per_tiny.text(2));
            tiny.push(vec![name, records, cpu, peak(line)]);
        } else {
            let has_ratio = line.ratio.max() > 0.0;
            let ratio = if has_ratio { line.ratio.text(2) } else { String::new() };
            let (cpu, speed) = (line.cpu_per_gib.text(3), line.mib_per_s.text(0));
            large.push(vec![name, cpu, ratio, speed, peak(line)]);
        }
    }
    let tables = [large, tiny, other].into_iter().filter(|rows| rows.len() > 1);
    tables.map(|rows| table(&rows)).collect::<Vec<_>>().join("\n")
}

/// What a GiB costs each.
pub(super) fn plot(lines: &[Line]) -> Bars {
    let lines: Vec<&Line> = lines.iter().filter(|line| !line.tiny).collect();
    let values = lines.iter().map(|line| Some(line.cpu_per_gib.median())).collect();
    Bars {
        title: "Beside a raw TCP relay".to_owned(),
        unit: "CPU-seconds per GiB, the median over all rounds".to_owned(),
        groups: lines.iter().map(|line| line.name.to_owned()).collect(),
        series: vec![(String::new(), values)],
        logarithmic: false,
    }
}
