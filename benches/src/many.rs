//! `benches many`: a great number of partitions between embedded brokers, idle and with a trickle of records.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::child::Child;
use crate::report::{Place, mib, row, table};
use crate::{usage, volume};

const START_LIMIT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(50);
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

/// Measures and prints.
pub(crate) fn run(args: &ManyArgs) -> Result<()> {
    let program = volume::program(args.kmirror.as_ref())?;
    println!("{}\n", Place::here().text());
    let head =
        ["", "all partitions replicated after, s", "CPU, % of a core", "RSS, MiB", "peak RSS, MiB"];
    let mut rows = vec![row(head)];
    for (name, trickle) in [("idle", 0), ("trickle", args.trickle)] {
        eprintln!("{name}: {} partitions", args.topics * args.partitions);
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
        let mut mirror = Mirror::start(&program, &source.greeting, &target.greeting)?;
        let started = mirror.await_partitions(args.topics * args.partitions)?;
        sleep(SETTLE);
        let (from, cpu) = (usage::now(), usage::cpu_time(mirror.process.id())?);
        sleep(Duration::from_secs(args.seconds));
        let used = usage::cpu_time(mirror.process.id())? - cpu;
        let percent = used.as_secs_f64() / from.elapsed().as_secs_f64() * 100.0;
        rows.push(vec![
            name.to_owned(),
            format!("{:.1}", started.as_secs_f64()),
            format!("{percent:.1}"),
            format!("{:.0}", mib(usage::resident_bytes(mirror.process.id())?)),
            format!("{:.0}", mib(usage::peak_resident_bytes(mirror.process.id())?)),
        ]);
    }
    println!("{}", table(&rows));
    Ok(())
}

/// The program while it runs. It is killed when this is dropped.
struct Mirror {
    process: Process,
    log: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mirror {
    fn start(program: &Path, source: &str, target: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let properties = dir.path().join("many.properties");
        fs::write(
            &properties,
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
            ),
        )?;
        let log = dir.path().join("log");
        let process = Command::new(program)
            .arg("run")
            .arg(&properties)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Self { process, log, _dir: dir })
    }

    /// Waits until so many partitions are replicated; answers how long that took.
    fn await_partitions(&mut self, wanted: u32) -> Result<Duration> {
        let begin = usage::now();
        loop {
            let log = fs::read_to_string(&self.log)?;
            let ended = self.process.try_wait()?;
            ensure!(ended.is_none() && begin.elapsed() < START_LIMIT, "not replicated:\n{log}");
            let counts = log.lines().filter_map(|line| {
                let (before, _) = line.split_once(" more partitions are replicated")?;
                before.rsplit(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u32>().ok()
            });
            if counts.sum::<u32>() >= wanted {
                return Ok(begin.elapsed());
            }
            sleep(POLL);
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
