//! The parts of the report, each a subcommand of its own that comes to the same section.

use anyhow::Result;
use clap::Subcommand;

#[cfg(not(target_env = "musl"))]
use crate::distance;
use crate::section::Section;
use crate::{compare, many, relay, stall, sweep};

/// Something that is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// kmirror and MirrorMaker 2 in turn between two real Kafka clusters: cost, speed, memory, latency
    Compare(compare::CompareArgs),
    /// CPU per GiB of kmirror between null brokers and of a raw TCP relay, in turns
    Relay(relay::RelayArgs),
    /// How kmirror's cost grows with partitions, smaller batches and codecs, between null brokers
    Sweep(sweep::SweepArgs),
    /// The source behind a long line, laid with TUN devices: how much of it is filled; needs root
    #[cfg(not(target_env = "musl"))]
    Distance(distance::DistanceArgs),
    /// A hundred thousand partitions between embedded brokers: memory, CPU and start, idle and with a trickle
    Many(many::ManyArgs),
    /// The target stands still while large batches flow, between null brokers: memory, and time to full speed again
    Stall(stall::StallArgs),
}

impl Part {
    /// Measures.
    pub(crate) fn section(&self) -> Result<Section> {
        match self {
            Self::Compare(args) => compare::section(args),
            Self::Relay(args) => relay::section(args),
            Self::Sweep(args) => sweep::section(args),
            #[cfg(not(target_env = "musl"))]
            Self::Distance(args) => distance::section(args),
            Self::Many(args) => many::section(args),
            Self::Stall(args) => stall::section(args),
        }
    }

    /// Measures and prints.
    pub(crate) fn run(&self) -> Result<()> {
        if let Self::Relay(args) = self
            && relay::print_json(args)?
        {
            return Ok(());
        }
        self.section()?.show();
        Ok(())
    }
}
