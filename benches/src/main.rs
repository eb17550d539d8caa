//! `benches`: what kmirror costs beside a raw TCP relay, and what it does between real brokers.

mod child;
mod compare;
#[cfg(not(target_env = "musl"))]
mod distance;
mod fill;
mod idle;
mod many;
mod mirror;
mod relay;
mod report;
mod roles;
mod stall;
mod svg;
mod sweep;
mod syncs;
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
  benches relay                        about two minutes
  benches relay --seconds 1 --rounds 1 a first look
  benches compare --only none,tiny --latency 0
  benches distance --rtt 100 --alone
  benches volume --kmirror target/release/kmirror --json
  benches syncs --records 500000
  benches verify --mib 256";

#[derive(Debug, Subcommand)]
enum Command {
    /// CPU per GiB of kmirror between null brokers and of a raw TCP relay, in turns
    Relay(relay::RelayArgs),
    /// kmirror and MirrorMaker 2 in turn between two real Kafka clusters: cost, speed, memory, latency
    Compare(compare::CompareArgs),
    /// The source behind a long line, laid with TUN devices: how much of it is filled; needs root
    #[cfg(not(target_env = "musl"))]
    Distance(distance::DistanceArgs),
    /// kmirror between two real Kafka clusters: 1 GiB of large batches, then 400 000 batches of one record
    Volume(volume::VolumeArgs),
    /// How kmirror's cost grows with partitions, smaller batches and codecs, between null brokers
    Sweep(sweep::SweepArgs),
    /// A hundred thousand partitions between embedded brokers: memory, CPU and start, idle and with a trickle
    Many(many::ManyArgs),
    /// The target stands still while large batches flow, between null brokers: memory, and time to full speed again
    Stall(stall::StallArgs),
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
        Command::Relay(args) => relay::run(&args),
        Command::Compare(args) => compare::run(&args),
        #[cfg(not(target_env = "musl"))]
        Command::Distance(args) => distance::run(&args),
        Command::Volume(args) => volume::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Many(args) => many::run(&args),
        Command::Stall(args) => stall::run(&args),
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
