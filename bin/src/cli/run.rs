//! `kmirror run`: replicates until it is told to stop.

use std::time::Duration;

use clap::Args;
use engine::config::{Replication, Severity};
use engine::error::EngineError;
use engine::runtime::Engine;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::file::FileArgs;
use super::{Exit, output};

/// How long records under way and positions may take to arrive when the program is told to stop.
const GRACE: Duration = Duration::from_secs(30);

/// Replicate, in the foreground, until SIGTERM or SIGINT
///
/// Takes the mm2.properties that MirrorMaker 2 runs with, and goes on where it stopped; it does not start while that
/// still runs. Clusters that cannot be reached are tried again until they can. SIGHUP reads the file again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kmirror run mm2.properties
  kmirror run mm2.properties --clusters backup     only the flows into this cluster
  kmirror run mm2.properties --log-format json --log-level debug
  kmirror run mm2.properties --force               although the group of MirrorMaker 2 has members

Exit codes: 0 told to stop, positions are stored; 2 usage; 3 the file has errors, or a cluster refuses us;
4 positions could not be stored in time.")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    file: FileArgs,

    /// Start although the group of MirrorMaker 2's workers has members
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &RunArgs) -> Exit {
    let complain = |problem: &str| {
        output::complain(problem, Exit::Configuration);
    };
    let Some(replication) = load(args, complain) else { return Exit::Configuration };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve(args, replication)),
        Err(error) => output::complain(&format!("no runtime: {error}"), Exit::Configuration),
    }
}

/// Reads the file; its errors go to `complain` one by one, its warnings are logged.
fn load(args: &RunArgs, complain: impl Fn(&str)) -> Option<Replication> {
    let resolution = args.file.resolve().map_err(|problem| complain(&problem)).ok()?;
    for finding in &resolution.findings {
        match finding.severity {
            Severity::Error => complain(&finding.to_string()),
            Severity::Warning => warn!("{finding}"),
        }
    }
    let mut replication = resolution.replication?;
    replication.process.forced = args.force;
    Some(replication)
}

/// What a person or the system asks of the running program.
enum Asked {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }
}

async fn serve(args: &RunArgs, mut replication: Replication) -> Exit {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            return output::complain(&format!("no signals: {error}"), Exit::Configuration);
        }
    };
    loop {
        let flows: Vec<String> =
            replication.flows.iter().map(engine::config::FlowConfig::id).collect();
        info!("kmirror {} starts with {}", env!("CARGO_PKG_VERSION"), flows.join(", "));
        let mut engine = match Engine::start(replication) {
            Ok(engine) => engine,
            Err(error) => return output::complain(&error.to_string(), Exit::Configuration),
        };
        let next = loop {
            tokio::select! {
                error = engine.failed() => {
                    engine.stop(GRACE).await;
                    let exit = match error {
                        EngineError::Fenced { .. } => Exit::Fatal,
                        _ => Exit::Configuration,
                    };
                    return output::complain(&error.to_string(), exit);
                }
                asked = signals.next() => match asked {
                    Asked::Stop => break None,
                    Asked::Reload => match load(args, |problem| error!("{problem}")) {
                        Some(replication) => break Some(replication),
                        None => error!("the file has errors; what runs goes on as it was"),
                    },
                },
            }
        };
        info!("stopping: what is under way arrives, then positions are stored");
        if !engine.stop(GRACE).await {
            error!(
                "positions could not be stored within {GRACE:?}: what was replicated since they were stored last will be \
                 repeated at the next start"
            );
            return Exit::Fatal;
        }
        match next {
            Some(reloaded) => replication = reloaded,
            None => break,
        }
    }
    info!("stopped");
    Exit::Done
}
