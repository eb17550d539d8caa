//! Where and when something was measured, figures over several rounds, and how both are printed.

use std::process::Command;

use serde_json::{Value, json};

/// Machine, versions and date of a run.
#[derive(Debug)]
pub(crate) struct Place {
    date: String,
    system: String,
    processor: String,
    cores: usize,
    version: String,
}

impl Place {
    pub(crate) fn here() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name"));
        Self {
            date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            system: said("uname", &["-srm"]),
            processor: model.map_or("unknown", |model| model.trim_matches([' ', '\t', ':'])).into(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            version: format!(
                "kmirror {} ({}{})",
                env!("CARGO_PKG_VERSION"),
                said("git", &["describe", "--always", "--dirty"]),
                if cfg!(debug_assertions) { ", NOT OPTIMIZED" } else { "" },
            ),
        }
    }

    pub(crate) fn text(&self) -> String {
        let Self { date, system, processor, cores, version } = self;
        format!("{version}; {cores} cores of {processor}; {system}; {date}")
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "date": self.date,
            "system": self.system,
            "processor": self.processor,
            "cores": self.cores,
            "version": self.version,
        })
    }
}

/// What a command prints, or a question mark.
fn said(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "?".to_owned())
}

/// One figure, measured once a round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }

    /// The middle value; of an even number the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let upper = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[upper],
            _ => f64::midpoint(sorted[upper - 1], sorted[upper]),
        }
    }

    /// `median (min-max)`.
    pub(crate) fn text(&self, decimals: usize) -> String {
        let (median, min, max) = (self.median(), self.min(), self.max());
        format!("{median:.decimals$} ({min:.decimals$}-{max:.decimals$})")
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "median": self.median(), "min": self.min(), "max": self.max(), "all": self.0 })
    }
}

/// Lines up columns; the first is flush left, the others right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(String::len).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A row of a table.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let mut series = Series::default();
        [4.0, 1.0, 2.0].iter().for_each(|value| series.push(*value));
        assert_eq!(series.text(1), "2.0 (1.0-4.0)");
        series.push(3.0);
        assert_eq!(series.median(), 2.5);
    }

    #[test]
    fn columns_line_up() {
        let rows = [row(["name", "n"]), row(["a", "1234"])];
        assert_eq!(table(&rows), "name     n\na     1234\n");
    }
}
