//! The program kmirror: replicates topics between Kafka clusters by forwarding record batches as
//! they are.

mod cli;
mod demo;
mod logging;

use std::process::ExitCode;

use clap::Parser;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    if let Err(problem) = logging::init(&cli.logging) {
        return cli::output::complain(&problem, cli::Exit::Usage).into();
    }
    cli.command.run().into()
}
