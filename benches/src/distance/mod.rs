//! `benches distance`: one of the clusters at the far end of a long line, kmirror and MirrorMaker 2 at the near end.

mod figures;
mod line;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use kafka_lab::{ClusterBuilder, Jvm, KafkaCluster, Version};
use protocol_client::client::Client;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::compare::contender::{Contender, Job, Running};
use crate::compare::copy::await_records;
use crate::fill::{self, Filling};
use crate::section::Section;
use crate::{usage, volume};
use figures::Rate;
use line::{Line, Shape};

const HEAP_MIB: u32 = 1024;
/// Until windows and lanes have grown and a virtual machine is warm, unless half of the data is through before.
const RAMP: Duration = Duration::from_secs(25);
const POLL: Duration = Duration::from_millis(20);
/// Who has brought nothing by then brings nothing.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Copies over no distance before anything counts: the compilers of young brokers take whole processors.
const WARM_UPS: u32 = 2;
const CONTENDERS: [Contender; 2] = [Contender::Kmirror, Contender::Tuned];

/// Which cluster is at the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Far {
    /// Records are fetched over the line.
    Source,
    /// Records are written over the line.
    Target,
}

impl Far {
    /// How many partitions topics have: one of them can be read over many connections, but is written over one.
    fn partitions(self) -> &'static [i32] {
        match self {
            Self::Source => &[1, 10],
            Self::Target => &[100],
        }
    }
}

/// What is run over which line.
#[derive(Debug, Args)]
pub(crate) struct DistanceArgs {
    /// The program; without it, the one beside this
    #[arg(long, value_name = "PATH")]
    kmirror: Option<PathBuf>,
    /// Round trip times in milliseconds
    #[arg(long, value_delimiter = ',', value_name = "MS", default_values_t = [0, 20, 100, 200])]
    rtt: Vec<u64>,
    /// Which cluster is at the far end
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Far::Source, Far::Target])]
    far: Vec<Far>,
    /// Rate of the line
    #[arg(long, value_name = "MBIT", default_value_t = 1000.0)]
    rate: f64,
    /// Largest packet of the line
    #[arg(long, value_name = "BYTES", default_value_t = 9000)]
    mtu: u16,
    /// Data of each topic
    #[arg(long, default_value_t = 1024)]
    mib: u32,
    /// How long the rate is measured, in seconds, unless the topic is through before
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Only kmirror
    #[arg(long)]
    alone: bool,
}

/// Measures.
pub(crate) fn section(args: &DistanceArgs) -> Result<Section> {
    let program = volume::program(args.kmirror.as_ref())?;
    let line = match Line::lay(Shape { mbit_per_s: args.rate, mtu: args.mtu }) {
        Ok(line) => line,
        Err(why) => {
            return Ok(Section::skipped(&format!("the line cannot be laid here: {why:#}")));
        }
    };
    let contenders = if args.alone { &CONTENDERS[..1] } else { &CONTENDERS };
    let mut rates = Vec::new();
    for far in &args.far {
        rates.extend(Bench::new(*far, &line, &program)?.run(contenders, args)?);
    }
    Ok(figures::section(&rates, contenders, args))
}

fn topic(partitions: i32, mib: u32) -> Filling {
    Filling {
        topic: match partitions {
            1 => "one",
            10 => "ten",
            _ => "many",
        },
        partitions,
        batches_per_partition: mib * 16 / partitions.unsigned_abs(),
        batch_records: 64,
        record_bytes: 1014,
    }
}

/// The clusters and the line between them.
struct Bench<'a> {
    far: Far,
    line: &'a Line,
    program: &'a Path,
    source: KafkaCluster,
    target: KafkaCluster,
    dir: TempDir,
    runtime: Runtime,
}

impl<'a> Bench<'a> {
    fn new(far: Far, line: &'a Line, program: &'a Path) -> Result<Self> {
        line.set_round_trip(Duration::ZERO);
        let near = Jvm::server(HEAP_MIB);
        let there = Jvm { place: line.far(), ..near.clone() };
        let (source, target) = match far {
            Far::Source => (there, near),
            Far::Target => (near, there),
        };
        let cluster = |jvm| ClusterBuilder::new(Version::V4_3_1).jvm(jvm).start();
        Ok(Self {
            far,
            line,
            program,
            source: cluster(source)?,
            target: cluster(target)?,
            dir: tempfile::tempdir()?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }

    fn run(&self, contenders: &[Contender], args: &DistanceArgs) -> Result<Vec<Rate>> {
        let topics = self.far.partitions().iter().map(|partitions| topic(*partitions, args.mib));
        let topics: Vec<Filling> = topics.collect();
        for filling in &topics {
            eprintln!("filling {}", filling.topic);
            let source = self.source.bootstrap();
            self.runtime.block_on(async { fill::fill(&fill::client(&source)?, filling).await })?;
        }
        eprintln!("warming the brokers up");
        for turn in 0..WARM_UPS {
            self.measure(Contender::Kmirror, &topics[0], &format!("warm-up-{turn}"), args)?;
        }
        let mut rates = Vec::new();
        for rtt in &args.rtt {
            self.line.set_round_trip(Duration::from_millis(*rtt));
            for (filling, contender) in
                topics.iter().flat_map(|one| contenders.iter().map(move |who| (one, who)))
            {
                eprintln!("{rtt} ms, {}: {}", filling.topic, contender.name());
                rates.push(Rate {
                    contender: *contender,
                    far: self.far,
                    rtt_ms: *rtt,
                    partitions: filling.partitions,
                    mbit_per_s: self.measure(*contender, filling, &rtt.to_string(), args)?,
                });
            }
        }
        Ok(rates)
    }

    /// Megabits of batches per second once a contender is at speed.
    fn measure(
        &self,
        contender: Contender,
        filling: &Filling,
        run: &str,
        args: &DistanceArgs,
    ) -> Result<f64> {
        let run = format!("{}-{}-{run}", contender.word(), filling.topic);
        let (source, target) = (self.source.bootstrap(), self.target.bootstrap());
        let (topic, codec) = (filling.topic, "none");
        let job = Job { run: &run, topic, codec, source: &source, target: &target };
        let distribution = self.target.distribution();
        let mut running = contender.start(self.program, distribution, self.dir.path(), &job)?;
        let copy: Arc<str> = job.copy().into();
        let bits = filling.batch_bytes()? as f64 * 8.0 / f64::from(filling.batch_records);
        self.runtime.block_on(async {
            let client = fill::client(&target)?;
            let first = await_records(&client, &copy, 1, &mut running);
            match tokio::time::timeout(START_LIMIT, first).await {
                Ok(first) => first?,
                // As with MirrorMaker 2, where an answer takes longer than its timeout for requests, again and again.
                Err(_) => return Ok(0.0),
            }
            let stretch = Duration::from_secs(args.seconds);
            let rate = rate(&client, &copy, filling.records(), stretch, &mut running).await;
            client.delete_topics(&[copy]).await;
            Ok(rate? * bits / 1e6)
        })
    }
}

/// Records per second that arrive from the end of the ramp until so much time has passed, or all are there.
async fn rate(
    client: &Client,
    topic: &Arc<str>,
    all: u64,
    stretch: Duration,
    running: &mut Running,
) -> Result<f64> {
    let begin = usage::now();
    let mut from = (begin, 0);
    loop {
        let held = volume::held(client, topic).await?;
        let now = usage::now();
        running.check()?;
        // On a short line the second half of the data is what is measured. A stretch in which nothing arrives is slow, not
        // a failure: over a long line MirrorMaker 2 may wait that long for an answer.
        if now - begin < RAMP && held < all / 2 {
            from = (now, held);
        } else if held >= all || now - from.0 >= stretch {
            return Ok(held.saturating_sub(from.1) as f64 / (now - from.0).as_secs_f64());
        }
        tokio::time::sleep(POLL).await;
    }
}
