//! The command line: one file per command, one row per command in the table below.
//!
//! A new command is a module, a variant of [`Command`] and a line in [`Command::run`].

mod check;
mod demo;
pub(crate) mod file;
mod moment;
pub(crate) mod output;
mod run;
mod translate;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::logging::LoggingArgs;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// A check found something.
    Found = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// The configuration cannot be used, or the start failed.
    Configuration = 3,
    /// Something went wrong for good while running.
    Fatal = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Replicates topics between Kafka clusters from the mm2.properties that MirrorMaker 2 runs with.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "\
Examples:
  kmirror run mm2.properties                  replicate until told to stop
  kmirror demo                                see it work, without any Kafka at hand
  kmirror check mm2.properties                what the file comes to, and what is wrong with it
  kmirror check mm2.properties --clusters B   the same for the flows into B
  kmirror translate mm2.properties --group G  where a consumer group goes on at the target
  kmirror verify mm2.properties               compare source and target record by record

Exit codes: 0 done; 1 a check found something; 2 usage; 3 configuration or start failure;
4 fatal while running."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) logging: LoggingArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(check::CheckArgs),
    Demo(demo::DemoArgs),
    Run(run::RunArgs),
    Translate(translate::TranslateArgs),
    Verify(verify::VerifyArgs),
}

impl Command {
    /// Does what was asked for.
    pub(crate) fn run(self) -> Exit {
        match self {
            Self::Check(args) => check::run(&args),
            Self::Demo(args) => demo::run(&args),
            Self::Run(args) => run::run(&args),
            Self::Translate(args) => translate::run(&args),
            Self::Verify(args) => verify::run(&args),
        }
    }
}
