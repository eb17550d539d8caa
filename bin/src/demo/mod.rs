//! The demo: two embedded clusters, a producer, the mirror and a verified result, all in this process.
//!
//! Nothing is acted: the mirror is the engine that `kmirror run` starts, from a configuration of the same kind, over
//! real sockets on the loopback.

mod producer;
mod table;
mod verify;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use embedded_broker::{Cluster, ClusterOptions, TopicSpec};
use engine::config::{Input, Replication, Surroundings, resolve};
use engine::flow::shard::Progress;
use engine::runtime::Engine;
use serde_json::json;

pub(crate) use verify::Verdict;

/// What is produced to: name and number of partitions.
const TOPICS: [(&str, i32); 2] = [("orders", 3), ("payments", 2)];
/// How often the table is drawn.
const REDRAW: Duration = Duration::from_millis(500);
/// How long the mirror may take to catch up at the end.
const CATCH_UP: Duration = Duration::from_secs(20);

/// What the demo does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DemoOptions {
    /// How long it produces.
    pub(crate) seconds: u64,
    /// Records per second, over all partitions.
    pub(crate) rate: u32,
    /// Whether to draw a table or only the result.
    pub(crate) table: bool,
}

/// What the demo found.
#[derive(Debug, Clone)]
pub(crate) struct DemoResult {
    /// What comparing both clusters showed.
    pub(crate) verdict: Verdict,
    /// From the start of the mirror to its first delivered record.
    pub(crate) first_record: Option<Duration>,
    /// Time from a record's timestamp to its acknowledgement, in milliseconds: median and 99th percentile of what was
    /// seen at each look.
    pub(crate) latency_ms: (i64, i64),
}

impl DemoResult {
    /// The result for programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let verdict = &self.verdict;
        json!({
            "verified": verdict.is_good(),
            "source_records": verdict.source_records,
            "target_records": verdict.target_records,
            "first_difference": verdict.first_difference,
            "first_record_ms": self.first_record.map(|first| first.as_secs_f64() * 1000.0),
            "latency_p50_ms": self.latency_ms.0,
            "latency_p99_ms": self.latency_ms.1,
        })
    }
}

/// Runs the demo from start to verdict.
pub(crate) async fn run(options: DemoOptions) -> Result<DemoResult> {
    let source = Cluster::start(ClusterOptions::default()).await.context("the source cluster")?;
    let target = Cluster::start(ClusterOptions::default()).await.context("the target cluster")?;
    for (name, partitions) in TOPICS {
        let created = source.create_topic(TopicSpec::new(name, partitions));
        created.map_err(|(error, what)| anyhow::anyhow!("topic {name}: {error}: {what}"))?;
    }
    let config = config(&source.bootstrap(), &target.bootstrap());
    let replication = replication(&config)?;
    if options.table {
        println!(
            "source {}   target {}   configuration:\n\n{config}",
            source.bootstrap(),
            target.bootstrap()
        );
    }
    let producer = producer::start(&source.bootstrap(), options)?;
    let started = now();
    let engine = Engine::start(replication)?;
    let watched = watch(&engine, started, options).await;
    producer.finish().await?;
    let caught_up = catch_up(&engine, &source).await;
    if options.table {
        table::print(&progress(&engine).await, None);
    }
    ensure!(engine.stop(Duration::from_secs(30)).await, "the engine did not stop in time");
    caught_up?;
    Ok(DemoResult {
        verdict: verify::verify(&source, &target, &TOPICS)?,
        first_record: watched.first_record,
        latency_ms: watched.latency_ms(),
    })
}

/// The file that a person would write for these clusters.
fn config(source: &str, target: &str) -> String {
    format!(
        "clusters = source, target\n\
         source.bootstrap.servers = {source}\n\
         target.bootstrap.servers = {target}\n\
         source->target.enabled = true\n\
         source->target.topics = orders, payments\n\
         replication.factor = 1\n\
         heartbeats.topic.replication.factor = 1\n\
         checkpoints.topic.replication.factor = 1\n\
         offset-syncs.topic.replication.factor = 1\n\
         target.offset.storage.replication.factor = 1\n"
    )
}

fn replication(config: &str) -> Result<Replication> {
    let input = Input { file: "demo.properties", bytes: config.as_bytes(), clusters: None };
    let resolution = resolve(input, &Nothing);
    match resolution.replication {
        Some(replication) => Ok(replication),
        None => bail!("the demo's configuration: {:?}", resolution.findings),
    }
}

/// The demo's configuration refers to nothing.
struct Nothing;

impl Surroundings for Nothing {
    fn read_file(&self, _: &std::path::Path) -> Result<Vec<u8>, String> {
        Err("the demo reads no files".to_owned())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

#[derive(Debug, Default)]
struct Watched {
    first_record: Option<Duration>,
    latencies_ms: Vec<i64>,
}

impl Watched {
    fn look(&mut self, since_start: Duration, partitions: &[Progress]) {
        if self.first_record.is_none() && partitions.iter().any(|at| at.delivered.records > 0) {
            self.first_record = Some(since_start);
        }
        self.latencies_ms.extend(partitions.iter().filter_map(|at| at.latency_ms));
    }

    fn latency_ms(&self) -> (i64, i64) {
        let mut sorted = self.latencies_ms.clone();
        sorted.sort_unstable();
        let at = |share: f64| {
            sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len().wrapping_sub(1)))
        };
        (at(0.5).copied().unwrap_or(0), at(0.99).copied().unwrap_or(0))
    }
}

/// Looks at the mirror until the time is over.
async fn watch(engine: &Engine, started: Instant, options: DemoOptions) -> Watched {
    let mut watched = Watched::default();
    let mut drawn: Option<(Instant, Vec<Progress>)> = None;
    while started.elapsed() < Duration::from_secs(options.seconds) {
        // The first record is waited for closely, the table only as often as a person looks.
        let pause = if watched.first_record.is_none() {
            Duration::from_millis(2)
        } else {
            Duration::from_millis(20)
        };
        tokio::time::sleep(pause).await;
        let partitions = progress(engine).await;
        watched.look(started.elapsed(), &partitions);
        let due = drawn.as_ref().is_none_or(|(at, _)| at.elapsed() >= REDRAW);
        if options.table && due && watched.first_record.is_some() {
            table::print(
                &partitions,
                drawn.as_ref().map(|(at, before)| (at.elapsed(), before.as_slice())),
            );
            drawn = Some((now(), partitions));
        }
    }
    watched
}

async fn catch_up(engine: &Engine, source: &Cluster) -> Result<()> {
    let end = now() + CATCH_UP;
    let all: usize = TOPICS.iter().map(|(_, partitions)| *partitions as usize).sum();
    loop {
        let partitions = progress(engine).await;
        let behind = partitions
            .iter()
            .find(|at| at.position < source.end_offset(&at.source.topic, at.source.index));
        match behind {
            None if partitions.len() == all => return Ok(()),
            _ if now() > end => {
                bail!("the mirror did not catch up within {CATCH_UP:?}: {behind:?}")
            }
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// The partitions in the order of their names.
async fn progress(engine: &Engine) -> Vec<Progress> {
    let mut partitions: Vec<Progress> =
        engine.progress().await.into_iter().flat_map(|flow| flow.partitions).collect();
    partitions.sort_by(|one, other| one.source.cmp(&other.source));
    partitions
}

#[expect(clippy::disallowed_methods, reason = "the demo measures what a person would")]
fn now() -> Instant {
    Instant::now()
}
