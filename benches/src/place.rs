//! Where and when something was measured, and with which versions.

use std::fs;
use std::process::Command;

use kafka_lab::Version;
use serde_json::{Value, json};

/// Machine, versions and date of a run.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) date: String,
    pub(crate) system: String,
    processor: String,
    cores: usize,
    pub(crate) version: String,
}

impl Place {
    pub(crate) fn here() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
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
        let Self { date, system, version, .. } = self;
        format!("{version}; {}; {system}; {date}", self.processors())
    }

    pub(crate) fn processors(&self) -> String {
        format!("{} cores of {}", self.cores, self.processor)
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

/// What kmirror is compared with, and what that runs on.
pub(crate) fn peers() -> String {
    let java = said("java", &["--version"]);
    let java = java.lines().next().unwrap_or_default();
    format!("Apache Kafka and MirrorMaker 2 {} on {java}", Version::V4_3_1.name())
}

/// Memory of the machine, and how busy it has been in the last minute (proc(5), `meminfo` and `loadavg`).
pub(crate) fn memory_and_load() -> String {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = memory.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
    let gib = kib.map_or_else(|| "?".to_owned(), |kib| format!("{:.0}", kib / f64::from(1 << 20)));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?");
    format!("{gib} GiB of memory, load {load} before it began")
}

/// What a command prints, or a question mark.
fn said(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "?".to_owned())
}
