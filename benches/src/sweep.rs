//! `benches sweep`: how the cost of forwarding grows with partitions, with smaller batches, with connections, and with codecs,
//! between null brokers.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::child::Stretch;
use crate::figure::{mib, short};
use crate::null::{self, NullTopic};
use crate::section::{Plot, Section};
use crate::svg::Bars;
use crate::table::{row, table};

const NOTE: &str = "kmirror's engine between null brokers: how its cost grows. User and system CPU of that one process; \
                    batches are those of the source, before any are merged.";
/// Record size wherever a batch has room for several, in bytes.
const RECORD_BYTES: u32 = 1014;

/// What is varied.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// How long each point is measured
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only sweeps whose name contains this: partitions, batch size, connections, codec
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// A line for kmirror's mm2.properties; can be given more than once
    #[arg(long = "property", value_name = "KEY=VALUE")]
    properties: Vec<String>,
}

/// A point of a sweep.
struct Point {
    name: String,
    brokers: u32,
    partitions: u32,
    batch_records: u32,
    record_bytes: u32,
    codec: &'static str,
}

/// Measures.
pub(crate) fn section(args: &SweepArgs) -> Result<Section> {
    let mut section =
        Section { text: format!("{NOTE}\n"), is_measured: true, ..Section::default() };
    for sweep in sweeps().iter().filter(|sweep| sweep.name.contains(&args.only)) {
        let head = [
            sweep.name,
            "CPU-s per GiB",
            "CPU-s per million batches",
            "MiB/s",
            "batches/s",
            "peak RSS, MiB",
        ];
        let mut rows = vec![row(head)];
        let mut costs = Vec::new();
        for point in &sweep.points {
            eprintln!("{}: {}", sweep.name, point.name);
            let stretch = point.measure(args);
            costs.push(stretch.as_ref().ok().map(|stretch| sweep.cost.of(point, stretch)));
            rows.push(match stretch {
                Ok(stretch) => point.row(&stretch),
                // A point that cannot be reached is a result too.
                Err(why) => vec![point.name.clone(), format!("{why:#}")],
            });
        }
        section.text += &format!("\n{}", table(&rows));
        section.plots.push(Plot { file: sweep.file, bars: sweep.plot(costs) });
    }
    Ok(section)
}

/// Points that differ in one thing.
struct Sweep {
    name: &'static str,
    /// Of its picture.
    file: &'static str,
    cost: Cost,
    points: Vec<Point>,
}

/// What a picture shows of the cost.
#[derive(Debug, Clone, Copy)]
enum Cost {
    PerGib,
    /// What compression leaves of tiny batches is next to nothing, so a GiB of it says little.
    PerBatch,
}

impl Cost {
    fn of(self, point: &Point, stretch: &Stretch) -> f64 {
        match self {
            Self::PerGib => cpu_per_gib(stretch),
            Self::PerBatch => point.cpu_per_million_batches(stretch),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::PerGib => "CPU-seconds per GiB; logarithmic",
            Self::PerBatch => "CPU-seconds per million batches; logarithmic",
        }
    }
}

impl Sweep {
    fn plot(&self, costs: Vec<Option<f64>>) -> Bars {
        Bars {
            title: format!("Cost by {}", self.name),
            unit: self.cost.unit().to_owned(),
            groups: self.points.iter().map(|point| point.name.clone()).collect(),
            series: vec![(String::new(), costs)],
            logarithmic: true,
        }
    }
}

fn sweeps() -> [Sweep; 4] {
    let point = |name: String, partitions, batch_records, record_bytes, codec| Point {
        name,
        brokers: 1,
        partitions,
        batch_records,
        record_bytes,
        codec,
    };
    let partitions = [1, 10, 100, 1000, 10_000];
    let partitions =
        partitions.map(|count: u32| point(count.to_string(), count, 16, RECORD_BYTES, "none"));
    let small = [("200 B", 1, 132), ("1 KiB", 1, 950)]
        .map(|(name, records, bytes)| point(name.to_owned(), 10, records, bytes, "none"));
    let large = [4, 16, 64, 256, 1024].map(|kib: u32| {
        let name = if kib < 1024 { format!("{kib} KiB") } else { "1 MiB".to_owned() };
        point(name, 10, kib, RECORD_BYTES, "none")
    });
    let connections = [1, 2, 4, 8, 16, 32].map(|brokers: u32| {
        let name = format!("{brokers} to each side");
        Point { brokers, ..point(name, 64, 64, RECORD_BYTES, "none") }
    });
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"].map(|codec| {
        [
            point(format!("{codec}, 64 records"), 10, 64, RECORD_BYTES, codec),
            point(format!("{codec}, 1 record of 200 B"), 10, 1, 200, codec),
        ]
    });
    let sweep = |name, file, cost, points| Sweep { name, file, cost, points };
    let sizes = small.into_iter().chain(large).collect();
    [
        sweep("partitions", "sweep-partitions.svg", Cost::PerGib, partitions.into()),
        sweep("batch size", "sweep-batch-size.svg", Cost::PerGib, sizes),
        sweep("connections", "sweep-connections.svg", Cost::PerGib, connections.into()),
        sweep("codec", "sweep-codec.svg", Cost::PerBatch, codecs.into_iter().flatten().collect()),
    ]
}

impl Point {
    fn measure(&self, args: &SweepArgs) -> Result<Stretch> {
        let topic = NullTopic {
            brokers: self.brokers,
            partitions: self.partitions,
            batch_records: self.batch_records,
            record_bytes: self.record_bytes,
            codec: self.codec,
            properties: &args.properties,
        };
        null::measure(&topic, None, Duration::from_secs_f64(args.seconds))
    }

    fn batches(&self, stretch: &Stretch) -> f64 {
        stretch.done.records as f64 / f64::from(self.batch_records)
    }

    fn cpu_per_million_batches(&self, stretch: &Stretch) -> f64 {
        stretch.cpu_seconds * 1e6 / self.batches(stretch)
    }

    fn row(&self, stretch: &Stretch) -> Vec<String> {
        let Stretch { seconds, done, peak_resident_bytes, .. } = *stretch;
        let batches = self.batches(stretch);
        vec![
            self.name.clone(),
            short(cpu_per_gib(stretch)),
            short(self.cpu_per_million_batches(stretch)),
            short(mib(done.bytes) / seconds),
            format!("{:.0}", batches / seconds),
            format!("{:.0}", mib(peak_resident_bytes)),
        ]
    }
}

fn cpu_per_gib(stretch: &Stretch) -> f64 {
    stretch.cpu_seconds * 1024.0 / mib(stretch.done.bytes)
}
