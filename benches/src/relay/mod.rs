//! `benches relay`: kmirror between null brokers, and a raw TCP relay in the same minutes on the same machine.
//!
//! Loads of other programs change from second to second, so both take turns and each round has a ratio of its
//! own: kmirror's CPU per GiB over that of the cheapest relay of the round.

mod line;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::child::{Child, Stretch};
use crate::figure::Series;
use crate::goal::Goal;
use crate::null::{NullTopic, WARM_UP, measure};
use crate::place::Place;
use crate::section::{Plot, Section};
use line::Line;

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
    /// What the ratio to the cheapest relay is to be, and that of a static build to this one.
    goals: Option<[Goal; 2]>,
}

const LOADS: [Load; 4] = [
    Load::large(
        ["kmirror, 64 KiB batches", "other build, 64 KiB batches"],
        64,
        [Goal::RelaySmall, Goal::StaticSmall],
    ),
    // The largest that a topic takes with Kafka's default of max.message.bytes, 1 MiB and 12 bytes.
    Load::large(
        ["kmirror, 1 MiB batches", "other build, 1 MiB batches"],
        1024,
        [Goal::RelayLarge, Goal::StaticLarge],
    ),
    Load::tiny(["kmirror, tiny batches, none", "other build, tiny batches, none"], "none"),
    Load::tiny(["kmirror, tiny batches, lz4", "other build, tiny batches, lz4"], "lz4"),
];

const RELAYS: [(&str, usize); 3] = [
    ("relay, 64 KiB buffer", 64 << 10),
    ("relay, 256 KiB buffer", 256 << 10),
    ("relay, 1 MiB buffer", 1 << 20),
];

impl Load {
    const fn large(names: [&'static str; 2], batch_records: u32, goals: [Goal; 2]) -> Self {
        let [name, other_name] = names;
        let goals = Some(goals);
        let (record_bytes, codec, tiny) = (1014, "none", false);
        Self { name, other_name, batch_records, record_bytes, codec, tiny, goals }
    }

    const fn tiny(names: [&'static str; 2], codec: &'static str) -> Self {
        let [name, other_name] = names;
        let (batch_records, record_bytes, tiny) = (1, 200, true);
        Self { name, other_name, batch_records, record_bytes, codec, tiny, goals: None }
    }
}

/// Measures.
pub(crate) fn section(args: &RelayArgs) -> Result<Section> {
    let lines = measure_all(args)?;
    // Cargo's directory of a target is named so; what another build is otherwise, nobody can tell from here.
    let is_static = |path: &Path| path.to_string_lossy().contains("-musl");
    Ok(Section {
        text: format!("{}\n{}", describe(args), line::tables(&lines)),
        plots: vec![Plot { file: "relay.svg", bars: line::plot(&lines) }],
        goals: goals(&lines, args.other.as_deref().is_some_and(is_static)),
        is_measured: true,
    })
}

/// Measures and prints JSON, if the arguments say so; answers whether they do.
pub(crate) fn print_json(args: &RelayArgs) -> Result<bool> {
    if args.json {
        let lines: Vec<Value> = measure_all(args)?.iter().map(Line::json).collect();
        let rounds = json!({ "rounds": args.rounds, "seconds": args.seconds });
        let place = Place::here().json();
        println!("{:#}", json!({ "place": place, "measured": rounds, "lines": lines }));
    }
    Ok(args.json)
}

fn measure_all(args: &RelayArgs) -> Result<Vec<Line>> {
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
    let lines = relays.into_iter().chain(mirrors).chain(others);
    Ok(lines.filter(|line| wanted(line.name)).collect())
}

/// The medians of the large batches.
fn goals(lines: &[Line], other_is_static: bool) -> Vec<(Goal, f64)> {
    let median = |name: &str, series: fn(&Line) -> &Series| {
        let series = lines.iter().find(|line| line.name == name).map(series);
        series.filter(|series| series.max() > 0.0).map(Series::median)
    };
    let mut goals = Vec::new();
    for load in &LOADS {
        let Some([to_relay, to_own]) = load.goals else { continue };
        let ratio = median(load.name, |line| &line.ratio);
        goals.extend(ratio.map(|ratio| (to_relay, ratio)));
        let ratio = median(load.other_name, |line| &line.to_own).filter(|_| other_is_static);
        goals.extend(ratio.map(|ratio| (to_own, ratio)));
    }
    goals
}

fn describe(args: &RelayArgs) -> String {
    let RelayArgs { seconds, rounds, partitions, .. } = args;
    let mut text = format!(
        "kmirror's engine between two null brokers, in turns with a raw TCP relay. User and system CPU of that one process; \
         median (min-max) of {rounds} rounds of {seconds} s; {partitions} partitions. The ratio is taken within each round, \
         against the cheapest of its relays.\n"
    );
    if let Some(other) = &args.other {
        text += &format!("\nThe other build is `{}`.\n", other.display());
    }
    text
}

fn note(round: usize, name: &str) {
    eprintln!("round {}: {name}", round + 1);
}

fn measure_relay(buffer_bytes: usize, stretch: Duration) -> Result<Stretch> {
    let sender = Child::start(&["sender"])?;
    let receiver = Child::start(&["receiver"])?;
    let buffer = buffer_bytes.to_string();
    let mut relay = Child::start(&["relay", &sender.greeting, &receiver.greeting, &buffer])?;
    relay.measure(WARM_UP, stretch)
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
