//! `benches volume`: kmirror as a program, between two real Kafka clusters.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use kafka_lab::{ClusterBuilder, Jvm, KafkaCluster, Version};
use protocol_client::client::{Client, OffsetSpec};
use protocol_client::cluster::TopicPartition;
use protocol_client::cluster::metadata::Topics;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::Isolation;
use serde_json::{Value, json};

use crate::figure::mib;
use crate::fill::{self, Filling};
use crate::mirror::Mirror;
use crate::place::Place;
use crate::relay::TINY_RECORDS;
use crate::table::{row, table};
use crate::usage;

const PARTITIONS: i32 = 10;
const BROKER_HEAP_MIB: u32 = 1024;
const START_LIMIT: Duration = Duration::from_secs(30);
const COPY_LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(10);

/// What stands for MirrorMaker 2 in the report: its tuned figures for the same kinds of data.
struct Baseline {
    cpu_seconds: &'static str,
    records_per_second: &'static str,
    peak: &'static str,
    first: &'static str,
}

/// Measured for MirrorMaker 2 of Kafka 4.3.1 on a like machine: 2 cores, brokers and replicator on it, producer
/// and consumer tuned for throughput, start-up not counted.
const MIRROR_MAKER: [Baseline; 2] = [
    Baseline { cpu_seconds: "6.8", records_per_second: "251000", peak: "1313", first: "6.6 s" },
    Baseline { cpu_seconds: "2.2", records_per_second: "310000", peak: "1008", first: "6.6 s" },
];

/// What is run, on how much.
#[derive(Debug, Args)]
pub(crate) struct VolumeArgs {
    /// The program; without it, the one beside this
    #[arg(long, value_name = "PATH")]
    kmirror: Option<PathBuf>,
    /// Data of the first run
    #[arg(long, default_value_t = 1024)]
    mib: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What one run of the program came to.
struct Outcome {
    name: &'static str,
    records: u64,
    bytes: u64,
    cpu_seconds: f64,
    target_cpu_seconds: f64,
    copy_seconds: f64,
    first_record_seconds: f64,
    peak_resident_bytes: u64,
}

impl Outcome {
    fn cpu_per_gib(&self) -> f64 {
        self.cpu_seconds * 1024.0 / mib(self.bytes)
    }

    fn cpu_per_tiny(&self) -> f64 {
        self.cpu_seconds * TINY_RECORDS / self.records as f64
    }

    fn records_per_second(&self) -> f64 {
        self.records as f64 / self.copy_seconds
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "records": self.records,
            "bytes": self.bytes,
            "cpu_seconds": self.cpu_seconds,
            "cpu_seconds_per_gib": self.cpu_per_gib(),
            "cpu_seconds_per_400000_records": self.cpu_per_tiny(),
            "target_broker_cpu_seconds": self.target_cpu_seconds,
            "copy_seconds": self.copy_seconds,
            "mib_per_second": mib(self.bytes) / self.copy_seconds,
            "records_per_second": self.records_per_second(),
            "start_to_first_record_seconds": self.first_record_seconds,
            "peak_resident_bytes": self.peak_resident_bytes,
        })
    }
}

/// Measures and prints.
pub(crate) fn run(args: &VolumeArgs) -> Result<()> {
    let place = Place::here();
    let program = program(args.kmirror.as_ref())?;
    let large = Filling {
        topic: "large",
        partitions: PARTITIONS,
        batches_per_partition: args.mib * 16 / PARTITIONS.unsigned_abs(),
        batch_records: 72,
        record_bytes: 903,
    };
    let tiny = Filling {
        topic: "tiny",
        partitions: PARTITIONS,
        batches_per_partition: TINY_RECORDS as u32 / PARTITIONS.unsigned_abs(),
        batch_records: 1,
        record_bytes: 200,
    };
    let mut bench = Bench::start(program)?;
    let outcomes = [bench.run(large, "64 KiB batches")?, bench.run(tiny, "tiny batches")?];
    if args.json {
        let outcomes: Vec<Value> = outcomes.iter().map(Outcome::json).collect();
        println!("{:#}", json!({ "place": place.json(), "runs": outcomes }));
    } else {
        println!("{}\n{}", place.text(), print(&outcomes));
    }
    Ok(())
}

fn print([large, tiny]: &[Outcome; 2]) -> String {
    let [theirs, theirs_tiny] = &MIRROR_MAKER;
    let common = |outcome: &Outcome| {
        let peak = format!("{:.0}", mib(outcome.peak_resident_bytes));
        [peak, format!("{:.2} s", outcome.first_record_seconds)]
    };
    let [peak, first] = common(large);
    let cpu = format!("{:.3}", large.cpu_per_gib());
    let speed = format!("{:.0}", mib(large.bytes) / large.copy_seconds);
    let speed = speed + " MiB/s";
    let mirror_maker = "MirrorMaker 2, tuned (*)";
    let large_rows = [
        row([large.name, "CPU-s per GiB", "speed", "peak RSS, MiB", "start to first record"]),
        row(["kmirror", &cpu, &speed, &peak, &first]),
        row([mirror_maker, theirs.cpu_seconds, "-", theirs.peak, theirs.first]),
    ];
    let [peak, first] = common(tiny);
    let cpu = format!("{:.2}", tiny.cpu_per_tiny());
    let speed = format!("{:.0}", tiny.records_per_second());
    let tiny_rows = [
        row([
            tiny.name,
            "CPU-s per 400 000",
            "records/s",
            "peak RSS, MiB",
            "start to first record",
        ]),
        row(["kmirror", &cpu, &speed, &peak, &first]),
        row([
            mirror_maker,
            theirs_tiny.cpu_seconds,
            theirs_tiny.records_per_second,
            theirs_tiny.peak,
            theirs_tiny.first,
        ]),
    ];
    format!(
        "user+system CPU of the whole process, its start included; one broker each side\n\n\
         {}\n{}\n\
         CPU-seconds of the target's broker: {:.1} and {:.1}\n\
         (*) measured for MirrorMaker 2 of Kafka 4.3.1 on a like machine, its start not counted; another day, another\n\
         load, so only the order of magnitude compares\n",
        table(&large_rows),
        table(&tiny_rows),
        large.target_cpu_seconds,
        tiny.target_cpu_seconds,
    )
}

/// Two clusters of one broker each, started side by side.
pub(crate) fn clusters() -> Result<(KafkaCluster, KafkaCluster)> {
    let cluster = || ClusterBuilder::new(Version::V4_3_1).jvm(Jvm::server(BROKER_HEAP_MIB)).start();
    let source = thread::spawn(cluster);
    let target = cluster()?;
    let source = source.join().map_err(|_| anyhow::anyhow!("starting a cluster panicked"))??;
    Ok((source, target))
}

/// The program that is measured: what was named, or the one beside this.
pub(crate) fn program(named: Option<&PathBuf>) -> Result<PathBuf> {
    let program = match named {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("kmirror"),
    };
    ensure!(program.is_file(), "{} is no file; see --kmirror", program.display());
    Ok(program)
}

/// The clusters and the program.
struct Bench {
    program: PathBuf,
    source: KafkaCluster,
    target: KafkaCluster,
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn start(program: PathBuf) -> Result<Self> {
        let (source, target) = clusters()?;
        Ok(Self {
            program,
            source,
            target,
            dir: tempfile::tempdir()?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }

    fn run(&mut self, filling: Filling, name: &'static str) -> Result<Outcome> {
        eprintln!("{name}: filling the source");
        let source = self.source.bootstrap();
        self.runtime.block_on(async { fill::fill(&fill::client(&source)?, &filling).await })?;
        eprintln!("{name}: kmirror runs");
        let properties = self.dir.path().join(format!("{}.properties", filling.topic));
        std::fs::write(&properties, self.properties(filling.topic))?;
        let broker = self.target.process(1).context("the target is up")?.id();
        let target_cpu = usage::cpu_time(broker)?;
        let start = usage::now();
        let mut mirror = Mirror::start(&self.program, &properties)?;
        let topic: Arc<str> = format!("source.{}", filling.topic).into();
        let target = self.target.bootstrap();
        let (first, last) = self.runtime.block_on(async {
            let client = fill::client(&target)?;
            let first = await_records(&client, &topic, 1, START_LIMIT, &mut mirror).await?;
            let all = filling.records();
            anyhow::Ok((first, await_records(&client, &topic, all, COPY_LIMIT, &mut mirror).await?))
        })?;
        let batches = filling.records() / u64::from(filling.batch_records);
        Ok(Outcome {
            name,
            records: filling.records(),
            bytes: batches * filling.batch_bytes()? as u64,
            cpu_seconds: usage::cpu_time(mirror.id())?.as_secs_f64(),
            target_cpu_seconds: (usage::cpu_time(broker)? - target_cpu).as_secs_f64(),
            copy_seconds: (last - first).as_secs_f64(),
            first_record_seconds: (first - start).as_secs_f64(),
            peak_resident_bytes: usage::peak_resident_bytes(mirror.id())?,
        })
    }

    fn properties(&self, topic: &str) -> String {
        format!(
            "clusters = source, target\n\
             source.bootstrap.servers = {}\n\
             target.bootstrap.servers = {}\n\
             source->target.enabled = true\n\
             source->target.topics = {topic}\n\
             replication.factor = 1\n\
             offset-syncs.topic.replication.factor = 1\n\
             offset.storage.replication.factor = 1\n\
             listeners =\n",
            self.source.bootstrap(),
            self.target.bootstrap()
        )
    }
}

/// Waits until the topic holds `records`; answers when that was seen.
async fn await_records(
    client: &Client,
    topic: &Arc<str>,
    records: u64,
    limit: Duration,
    mirror: &mut Mirror,
) -> Result<std::time::Instant> {
    let begin = usage::now();
    while begin.elapsed() < limit {
        if held(client, topic).await? >= records {
            return Ok(usage::now());
        }
        mirror.check()?;
        tokio::time::sleep(POLL).await;
    }
    let log = mirror.said()?;
    bail!("{topic} does not get {records} records within {limit:?}:\n{log}")
}

/// How many records a topic holds that only appends have touched.
pub(crate) async fn held(client: &Client, topic: &Arc<str>) -> Result<u64> {
    let mut view = client.view();
    let there = |view: &protocol_client::cluster::ClusterView| {
        view.topics.get(topic).is_some_and(|topic| topic.error == ErrorCode::NONE)
    };
    if !there(&view) {
        view = client.refresh(Topics::Named([topic.clone()].into()), view.generation).await?;
    }
    if !there(&view) {
        return Ok(0);
    }
    let indexes = view.topics.get(topic).into_iter().flat_map(|topic| topic.partitions.keys());
    let partitions = indexes.map(|index| TopicPartition::new(topic.clone(), *index));
    let ends = client.list_offsets_of(partitions, OffsetSpec::Latest, Isolation::ReadUncommitted);
    ends.await.into_values().map(|end| Ok(end?.offset.unsigned_abs())).sum()
}
