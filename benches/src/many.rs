//! `benches many`: a great number of partitions between embedded brokers, idle and with a trickle of records.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::child::Child;
use crate::figure::mib;
use crate::goal::Goal;
use crate::mirror::Mirror;
use crate::section::Section;
use crate::table::{row, table};
use crate::{idle, usage, volume};

const START_LIMIT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(50);
/// The number of partitions that the goals are about.
const AIMED_AT: u32 = 100_000;
/// Until what the start has left behind is done.
const SETTLE: Duration = Duration::from_secs(15);

/// How many there are, and what happens in them.
#[derive(Debug, Args)]
pub(crate) struct ManyArgs {
    /// The program; without it, the one beside this
    #[arg(long, value_name = "PATH")]
    kmirror: Option<PathBuf>,
    /// Topics at the source
    #[arg(long, default_value_t = 1000)]
    topics: u32,
    /// Partitions of each topic
    #[arg(long, default_value_t = 100)]
    partitions: u32,
    /// Records that are written in a second while the trickle is measured
    #[arg(long, default_value_t = 100)]
    trickle: u32,
    /// How long each state is measured
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// Measures.
pub(crate) fn section(args: &ManyArgs) -> Result<Section> {
    let program = volume::program(args.kmirror.as_ref())?;
    let all = args.topics * args.partitions;
    let mut goals = Vec::new();
    let head =
        ["", "all partitions replicated after, s", "CPU, % of a core", "RSS, MiB", "peak RSS, MiB"];
    let mut rows = vec![row(head)];
    for (name, trickle) in [("idle", 0), ("trickle", args.trickle)] {
        eprintln!("{name}: {all} partitions");
        let (topics, partitions, trickle) =
            (args.topics.to_string(), args.partitions.to_string(), trickle.to_string());
        let source = Child::start(&[
            "broker",
            "--topics",
            &topics,
            "--partitions",
            &partitions,
            "--trickle",
            &trickle,
        ])?;
        let target = Child::start(&["broker"])?;
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("many.properties");
        fs::write(&file, properties(&source.greeting, &target.greeting))?;
        let mut mirror = Mirror::start(&program, &file)?;
        let started = await_partitions(&mut mirror, all)?;
        sleep(SETTLE);
        let percent = idle::cpu_share(mirror.id(), Duration::from_secs(args.seconds))? * 100.0;
        let resident = usage::resident_bytes(mirror.id())?;
        if name == "idle" && all == AIMED_AT {
            goals.extend([(Goal::ManyMemory, resident as f64 / 1e6), (Goal::ManyCpu, percent)]);
        }
        rows.push(vec![
            name.to_owned(),
            format!("{:.1}", started.as_secs_f64()),
            format!("{percent:.2}"),
            format!("{:.0}", mib(resident)),
            format!("{:.0}", mib(usage::peak_resident_bytes(mirror.id())?)),
        ]);
    }
    let text = describe(args) + &table(&rows);
    Ok(Section { text, goals, is_measured: true, ..Section::default() })
}

fn describe(args: &ManyArgs) -> String {
    let ManyArgs { topics, partitions, trickle, seconds, .. } = args;
    format!(
        "{topics} topics of {partitions} partitions between two embedded brokers. \"Replicated\" is when kmirror's log says so \
         of all of them; CPU is measured for {seconds} s, from {} s after that on. The trickle is {trickle} records a second, \
         each to another partition.\n\n",
        SETTLE.as_secs()
    )
}

/// What kmirror is given.
fn properties(source: &str, target: &str) -> String {
    format!(
        "clusters = source, target\n\
         source.bootstrap.servers = {source}\n\
         target.bootstrap.servers = {target}\n\
         source->target.enabled = true\n\
         source->target.topics = many.*\n\
         replication.factor = 1\n\
         offset-syncs.topic.replication.factor = 1\n\
         offset.storage.replication.factor = 1\n\
         checkpoints.topic.replication.factor = 1\n\
         heartbeats.topic.replication.factor = 1\n\
         listeners =\n"
    )
}

/// Waits until so many partitions are replicated; answers how long that took.
fn await_partitions(mirror: &mut Mirror, wanted: u32) -> Result<Duration> {
    let begin = usage::now();
    loop {
        mirror.check()?;
        let said = mirror.said()?;
        let counts = said.lines().filter_map(|line| {
            let (before, _) = line.split_once(" more partitions are replicated")?;
            before.rsplit(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u32>().ok()
        });
        if counts.sum::<u32>() >= wanted {
            return Ok(begin.elapsed());
        }
        ensure!(begin.elapsed() < START_LIMIT, "not replicated:\n{said}");
        sleep(POLL);
    }
}
