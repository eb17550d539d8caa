//! `benches relay`: kmirror between null brokers, and a raw TCP relay in the same minutes on the same machine.
//!
//! Loads of other programs change from second to second, so both take turns and each round has a ratio of its
//! own: kmirror's CPU per GiB over that of the cheapest relay of the round.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::child::{Child, Stretch};
use crate::report::{Place, Series, mib, row, table};

const WARM_UP: Duration = Duration::from_millis(400);
const GIB: f64 = (1u64 << 30) as f64;
/// Tiny batches are counted, not weighed: CPU is given per so many records.
pub(crate) const TINY_RECORDS: f64 = 400_000.0;

/// What is measured, and for how long.
#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// How long each measurement lasts
    #[arg(long, default_value_t = 2.5)]
    seconds: f64,
    /// How often each is taken
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Partitions of the topic
    #[arg(long, default_value_t = 10)]
    partitions: u32,
    /// Only cases and relays whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// A line for kmirror's mm2.properties; can be given more than once
    #[arg(long = "property", value_name = "KEY=VALUE")]
    properties: Vec<String>,
    /// Another build of this program, whose engine is measured in the same rounds
    #[arg(long, value_name = "PATH")]
    other: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the source's topic is full of.
struct Load {
    name: &'static str,
    other_name: &'static str,
    batch_records: u32,
    record_bytes: u32,
    codec: &'static str,
    tiny: bool,
}

const LOADS: [Load; 4] = [
    Load::large(["kmirror, 64 KiB batches", "other build, 64 KiB batches"], 64, 1014),
    // The largest that a topic takes with Kafka's default of max.message.bytes, 1 MiB and 12 bytes.
    Load::large(["kmirror, 1 MiB batches", "other build, 1 MiB batches"], 1024, 1014),
    Load::tiny(["kmirror, tiny batches, none", "other build, tiny batches, none"], "none"),
    Load::tiny(["kmirror, tiny batches, lz4", "other build, tiny batches, lz4"], "lz4"),
];

const RELAYS: [(&str, usize); 3] = [
    ("relay, 64 KiB buffer", 64 << 10),
    ("relay, 256 KiB buffer", 256 << 10),
    ("relay, 1 MiB buffer", 1 << 20),
];

impl Load {
    const fn large(names: [&'static str; 2], batch_records: u32, record_bytes: u32) -> Self {
        let [name, other_name] = names;
        Self { name, other_name, batch_records, record_bytes, codec: "none", tiny: false }
    }

    const fn tiny(names: [&'static str; 2], codec: &'static str) -> Self {
        let [name, other_name] = names;
        Self { name, other_name, batch_records: 1, record_bytes: 200, codec, tiny: true }
    }
}

/// One kmirror or relay over all rounds.
struct Line {
    name: &'static str,
    tiny: bool,
    cpu_per_gib: Series,
    cpu_per_tiny: Series,
    ratio: Series,
    /// CPU over that of this build, in the same round.
    to_own: Series,
    mib_per_s: Series,
    records_per_s: Series,
    peak_resident_bytes: u64,
}

impl Line {
    fn new(name: &'static str, tiny: bool) -> Self {
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
    fn add(&mut self, stretch: &Stretch) -> f64 {
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

    fn json(&self) -> Value {
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

/// Measures and prints.
pub(crate) fn run(args: &RelayArgs) -> Result<()> {
    let place = Place::here();
    let stretch = Duration::from_secs_f64(args.seconds);
    let wanted = |name: &str| name.contains(&args.only);
    let mut relays = RELAYS.map(|(name, _)| Line::new(name, false));
    let mut mirrors = LOADS.map(|load| Line::new(load.name, load.tiny));
    let mut others = LOADS.map(|load| Line::new(load.other_name, load.tiny));
    let other = args.other.as_deref();
    for round in 0..args.rounds.max(1) {
        let mut costs = [f64::NAN; LOADS.len()];
        let mut floor = f64::INFINITY;
        // In turns, so that what else happens on the machine meets both.
        for at in 0..LOADS.len().max(RELAYS.len()) {
            if let Some((name, buffer_bytes)) = RELAYS.get(at)
                && wanted(name)
            {
                note(round, name);
                floor = floor.min(relays[at].add(&measure_relay(*buffer_bytes, stretch)?));
            }
            if let Some(load) = LOADS.get(at)
                && wanted(load.name)
            {
                note(round, load.name);
                costs[at] = mirrors[at].add(&measure_kmirror(load, args, None, stretch)?);
                if other.is_some() {
                    note(round, load.other_name);
                    let cost = others[at].add(&measure_kmirror(load, args, other, stretch)?);
                    others[at].to_own.push(cost / costs[at]);
                }
            }
        }
        for (line, cost) in mirrors.iter_mut().zip(costs) {
            if !line.tiny && cost.is_finite() && floor.is_finite() {
                line.ratio.push(cost / floor);
            }
        }
    }
    let others = others.into_iter().filter(|_| other.is_some());
    let lines = relays.into_iter().chain(mirrors).chain(others).filter(|line| wanted(line.name));
    let lines: Vec<Line> = lines.collect();
    if args.json {
        let lines: Vec<Value> = lines.iter().map(Line::json).collect();
        let rounds = json!({ "rounds": args.rounds, "seconds": args.seconds });
        println!("{:#}", json!({ "place": place.json(), "measured": rounds, "lines": lines }));
    } else {
        println!("{}\n{}", place.text(), describe(args));
        print(&lines);
    }
    Ok(())
}

fn note(round: usize, name: &str) {
    eprintln!("round {}: {name}", round + 1);
}

fn describe(args: &RelayArgs) -> String {
    let RelayArgs { seconds, rounds, partitions, .. } = args;
    format!(
        "user+system CPU of one process; median (min-max) of {rounds} rounds of {seconds} s; {partitions} partitions\n"
    )
}

fn print(lines: &[Line]) {
    let peak = |line: &Line| format!("{:.0}", mib(line.peak_resident_bytes));
    let mut large =
        vec![row(["", "CPU-s per GiB", "ratio to cheapest relay", "MiB/s", "peak RSS, MiB"])];
    let mut tiny = vec![row(["", "records/s", "CPU-s per 400 000 records", "peak RSS, MiB"])];
    for line in lines {
        let name = line.name.to_owned();
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
    for rows in [large, tiny].iter().filter(|rows| rows.len() > 1) {
        println!("{}", table(rows));
    }
    for line in lines.iter().filter(|line| line.to_own.max() > 0.0) {
        println!("{}: {} of this build's CPU", line.name, line.to_own.text(3));
    }
}

fn measure_relay(buffer_bytes: usize, stretch: Duration) -> Result<Stretch> {
    let sender = Child::start(&["sender"])?;
    let receiver = Child::start(&["receiver"])?;
    let buffer = buffer_bytes.to_string();
    let mut relay = Child::start(&["relay", &sender.greeting, &receiver.greeting, &buffer])?;
    relay.measure(WARM_UP, stretch)
}

/// What the null brokers hold, and the lines that kmirror's file has besides.
pub(crate) struct NullTopic<'a> {
    /// At each end.
    pub(crate) brokers: u32,
    pub(crate) partitions: u32,
    pub(crate) batch_records: u32,
    pub(crate) record_bytes: u32,
    pub(crate) codec: &'a str,
    pub(crate) properties: &'a [String],
}

fn measure_kmirror(
    load: &Load,
    args: &RelayArgs,
    program: Option<&Path>,
    stretch: Duration,
) -> Result<Stretch> {
    let topic = NullTopic {
        brokers: 1,
        partitions: args.partitions,
        batch_records: load.batch_records,
        record_bytes: load.record_bytes,
        codec: load.codec,
        properties: &args.properties,
    };
    measure(&topic, program, stretch)
}

/// kmirror between null brokers, played by this program or by another build of it.
pub(crate) fn measure(
    topic: &NullTopic<'_>,
    program: Option<&Path>,
    stretch: Duration,
) -> Result<Stretch> {
    Played::start(topic, program)?.engine.measure(WARM_UP, stretch)
}

/// kmirror and two null brokers.
pub(crate) struct Played {
    pub(crate) engine: Child,
    pub(crate) target: Child,
    _source: Child,
}

impl Played {
    /// Starts all three; records flow at once.
    pub(crate) fn start(topic: &NullTopic<'_>, program: Option<&Path>) -> Result<Self> {
        let NullTopic { partitions, batch_records, record_bytes, codec, .. } = topic;
        let brokers = topic.brokers.to_string();
        let batches = format!(
            "bench:{partitions}:batch.records={batch_records}:record.bytes={record_bytes}:codec={codec}"
        );
        let source = Child::start(&["broker", "--brokers", &brokers, "--endless", &batches])?;
        let null = format!("source.bench:{partitions}");
        let target = Child::start(&["broker", "--brokers", &brokers, "--null", &null])?;
        let text = properties(&source, &target, topic.properties);
        let engine = Child::start_of(program, &["engine", &text])?;
        Ok(Self { engine, target, _source: source })
    }
}

fn properties(source: &Child, target: &Child, more: &[String]) -> String {
    format!(
        "clusters = source, target\n\
         source.bootstrap.servers = {}\n\
         target.bootstrap.servers = {}\n\
         source->target.enabled = true\n\
         source->target.topics = bench\n\
         replication.factor = 1\n\
         offset-syncs.topic.replication.factor = 1\n\
         offset.storage.replication.factor = 1\n\
         {}\n",
        source.greeting,
        target.greeting,
        more.join("\n")
    )
}
