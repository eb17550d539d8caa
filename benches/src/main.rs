//! `benches`: what kmirror costs beside a raw TCP relay, and what it does between real brokers.

mod child;
mod compare;
#[cfg(not(target_env = "musl"))]
mod distance;
mod figure;
mod fill;
mod goal;
mod idle;
mod many;
mod mirror;
mod null;
mod part;
mod place;
mod relay;
mod report;
mod roles;
mod section;
mod stall;
mod svg;
mod sweep;
mod syncs;
mod table;
mod usage;
mod verify;
mod volume;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

// The allocator that the program itself runs with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures kmirror; compile it with --release.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  benches report --quick               a first look at everything
  benches report --into docs/benchmarks.md
  benches relay                        about two minutes
  benches relay --seconds 1 --rounds 1 a first look
  benches compare --only none,tiny --latency 0
  benches distance --rtt 100 --alone
  benches volume --kmirror target/release/kmirror --json
  benches syncs --records 500000
  benches verify --mib 256";

#[derive(Debug, Subcommand)]
enum Command {
    /// All parts in turn in one run: a page, its plots, and one table of what was aimed at
    Report(report::ReportArgs),
    #[command(flatten)]
    Part(part::Part),
    /// kmirror between two real Kafka clusters: 1 GiB of large batches, then 400 000 batches of one record
    Volume(volume::VolumeArgs),
    /// What the offset syncs of a topic with many transactions take, of kmirror and of MirrorMaker 2
    Syncs(syncs::SyncsArgs),
    /// `kmirror verify` on copies of 1 GiB between two real Kafka clusters: good ones, and one with three faults
    Verify(verify::VerifyArgs),
    /// Part of a run; ends with its standard input
    #[command(subcommand, hide = true)]
    Role(roles::Role),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Report(args) => report::run(&args),
        Command::Part(part) => part.run(),
        Command::Volume(args) => volume::run(&args),
        Command::Syncs(args) => syncs::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Role(role) => roles::run(role),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}
