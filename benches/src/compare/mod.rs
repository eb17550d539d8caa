//! `benches compare`: kmirror and MirrorMaker 2 in turn on the same two real clusters, the same data, in one run.

pub(crate) mod contender;
pub(crate) mod copy;
mod data;
mod goals;
mod latency;
mod plots;
mod tables;
mod tail;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::fill;
use crate::section::Section;
use crate::volume::program;
use contender::Contender;
use copy::{Bench, Outcome};
use data::DataSet;
use latency::Latencies;

/// How often. A broker's compilers are at work for the first gigabytes that are written to it.
const WARM_UPS: u32 = 3;

/// What is run, on how much.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The program; without it, the one beside this
    #[arg(long, value_name = "PATH")]
    kmirror: Option<PathBuf>,
    /// Records of each of the three sets of large batches
    #[arg(long, value_name = "RECORDS", default_value_t = 1_200_000)]
    large: u32,
    /// Records of the set of tiny batches
    #[arg(long, value_name = "RECORDS", default_value_t = 400_000)]
    tiny: u32,
    /// How often each copies a set, and is measured at the highest rate
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these sets: none, lz4, zstd, tiny
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// How long idleness is measured, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    idle: u64,
    /// How long latency is measured at each rate, in seconds; 0 leaves it out
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    latency: u64,
}

/// Everything that was measured.
struct Measured {
    sets: Vec<DataSet>,
    outcomes: Vec<Outcome>,
    latencies: Latencies,
}

impl Measured {
    fn outcome(&self, contender: Contender, set: &str) -> Option<&Outcome> {
        let mut all = self.outcomes.iter();
        all.find(|outcome| outcome.contender == contender && outcome.set == set)
    }

    /// kmirror's and that of the tuned MirrorMaker 2.
    fn pair(&self, set: &str) -> Option<(&Outcome, &Outcome)> {
        self.outcome(Contender::Kmirror, set).zip(self.outcome(Contender::Tuned, set))
    }
}

/// Measures.
pub(crate) fn section(args: &CompareArgs) -> Result<Section> {
    ensure!(args.rounds > 0, "--rounds must be at least 1");
    let program = program(args.kmirror.as_ref())?;
    let mut sets = DataSet::all(args.large, args.tiny)?;
    let known: Vec<&str> = sets.iter().map(|set| set.name).collect();
    let unknown = args.only.iter().find(|name| !known.contains(&name.as_str()));
    ensure!(unknown.is_none(), "{unknown:?} is none of {known:?}");
    sets.retain(|set| args.only.is_empty() || args.only.iter().any(|name| name == set.name));
    let mut bench = Bench::start(&program)?;
    warm_up(&mut bench)?;
    let mut outcomes = Vec::new();
    for set in &sets {
        outcomes.extend(copy_all(&mut bench, set, args)?);
    }
    let latencies = match args.latency {
        0 => Latencies::default(),
        seconds => latency::measure(&mut bench, Duration::from_secs(seconds), args.rounds)?,
    };
    let measured = Measured { sets, outcomes, latencies };
    Ok(Section {
        text: tables::text(&measured),
        plots: plots::all(&measured),
        goals: goals::all(&measured),
        is_measured: true,
    })
}

/// Copies that do not count: brokers that have just started are slow, and whoever comes first would pay for it.
fn warm_up(bench: &mut Bench<'_>) -> Result<()> {
    eprintln!("warming up the brokers");
    for set in DataSet::all(400_000, 50_000)? {
        if set.name == "none" || set.is_tiny {
            fill_source(bench, &set)?;
            for _ in 0..WARM_UPS {
                bench.copy(Contender::Kmirror, &set, None)?;
            }
            delete(bench, &set)?;
        }
    }
    Ok(())
}

fn copy_all(bench: &mut Bench<'_>, set: &DataSet, args: &CompareArgs) -> Result<Vec<Outcome>> {
    eprintln!("{}: filling the source with {}", set.name, set.text());
    fill_source(bench, set)?;
    let mut runs = contender::ALL.map(|_| Vec::new());
    for round in 0..args.rounds {
        for turn in 0..contender::ALL.len() {
            // Each is the first once, and the last: clusters that have just been filled are not those of a minute later.
            let nth = (round + turn) % contender::ALL.len();
            let contender = contender::ALL[nth];
            eprintln!("{}: {} copies, round {}", set.name, contender.name(), round + 1);
            // Idleness does not depend on what was copied before.
            let is_measured = set.name == "none" && round == 0 && args.idle > 0;
            let idle = is_measured.then(|| Duration::from_secs(args.idle));
            runs[nth].push(bench.copy(contender, set, idle)?);
        }
    }
    delete(bench, set)?;
    Ok(runs.iter().filter_map(|runs| Outcome::median(runs)).collect())
}

fn fill_source(bench: &Bench<'_>, set: &DataSet) -> Result<()> {
    let source = bench.source.bootstrap();
    bench.runtime.block_on(async { set.fill(&fill::client(&source)?, set.name).await })
}

fn delete(bench: &Bench<'_>, set: &DataSet) -> Result<()> {
    let source = bench.source.bootstrap();
    bench.runtime.block_on(async {
        DataSet::delete(&fill::client(&source)?, &[set.name]).await;
        Ok(())
    })
}
