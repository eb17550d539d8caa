//! Starts all flows of a configuration, answers how far they are, and stops them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::clock::Clock;
use super::flow_task::{self, FlowSetup};
use super::groups_task;
use super::heartbeats_task;
use super::indexes::ask_all;
use super::limits::ClusterLimits;
use super::memory::Memory;
use super::shard_task::Command;
use super::threads::Threads;
use crate::config::Replication;
use crate::error::EngineError;
use crate::flow::shard::Progress;

/// The running engine. Dropping it stops everything at once; [`Engine::stop`] drains first.
#[derive(Debug)]
pub struct Engine {
    flows: Vec<FlowHandle>,
    /// Answered when the groups of a flow are not followed any more.
    groups: Vec<oneshot::Receiver<()>>,
    failures: mpsc::UnboundedReceiver<EngineError>,
    /// How long answers may still take, once it is time to stop.
    stop: watch::Sender<Option<Duration>>,
    /// The same for groups, which come last.
    stop_groups: watch::Sender<Option<Duration>>,
    // The last fields: shards and flows end when nobody can talk to them any more.
    _control: Threads,
    _data: Threads,
}

#[derive(Debug)]
struct FlowHandle {
    name: Arc<str>,
    shards: Vec<mpsc::UnboundedSender<Command>>,
    /// Answered when the flow has ended: whether its positions are stored.
    ended: oneshot::Receiver<bool>,
}

/// How far one flow is.
#[derive(Debug, Clone)]
pub struct FlowProgress {
    /// `source->target`.
    pub flow: Arc<str>,
    /// Its partitions, in no order.
    pub partitions: Vec<Progress>,
}

impl Engine {
    /// Starts every enabled flow. Call it inside a tokio runtime; data runs on threads of its own.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start(replication: Replication) -> Result<Self, EngineError> {
        let data = threads("shard", replication.process.threads.unwrap_or_else(cores))?;
        let control = threads("control", 1)?;
        let (stop, stopped) = watch::channel(None);
        let (stop_groups, groups_stopped) = watch::channel(None);
        let mut followed = Vec::new();
        let (failed, failures) = mpsc::unbounded_channel();
        let clock = Clock::new();
        let count = replication.flows.len();
        let mut flows = Vec::with_capacity(count);
        let process = &replication.process;
        let memory = Memory::new(process.memory_bytes, count * data.len());
        let limits = ClusterLimits::new(process, clock);
        let flow = |config| FlowSetup::new(config, process.forced, &memory, &limits, clock, &data);
        let setups: Vec<FlowSetup> = replication.flows.into_iter().map(flow).collect();
        control.spawn_on(0, move || memory.tidy());
        for setup in &setups {
            let back = setups.iter().find(|other| other.is_back_of(setup)).map(FlowSetup::indexes);
            if let Some(groups) = setup.groups(back) {
                let stopped = groups_stopped.clone();
                let (end, ended) = oneshot::channel();
                control.spawn_on(0, move || async move {
                    groups_task::run(groups, stopped).await;
                    let _ = end.send(());
                });
                followed.push(ended);
            }
        }
        for setup in setups {
            let (name, shards) = (setup.name(), setup.shards());
            let failed = failed.clone();
            let stopped = stopped.clone();
            let (end, ended) = oneshot::channel();
            control.spawn_on(0, move || async move {
                let stored = flow_task::run(setup, stopped).await.unwrap_or_else(|error| {
                    // Nobody listens any more only when the engine is being dropped.
                    let _ = failed.send(error);
                    false
                });
                let _ = end.send(stored);
            });
            flows.push(FlowHandle { name, shards, ended });
        }
        for pair in replication.heartbeats {
            let stopped = stopped.clone();
            control.spawn_on(0, move || heartbeats_task::run(pair, clock, stopped));
        }
        let groups = followed;
        Ok(Self { flows, groups, failures, stop, stop_groups, _control: control, _data: data })
    }

    /// Waits for an error that ends a flow for good.
    pub async fn failed(&mut self) -> EngineError {
        match self.failures.recv().await {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// How far every partition is, at this moment.
    pub async fn progress(&self) -> Vec<FlowProgress> {
        let mut all = Vec::with_capacity(self.flows.len());
        for flow in &self.flows {
            all.push(FlowProgress {
                flow: flow.name.clone(),
                partitions: progress(&flow.shards).await,
            });
        }
        all
    }

    /// Lets what is under way arrive, stores the positions and stops; `false` when they could not be stored within `grace`.
    /// Two thirds of it are for what is under way, so that positions are stored also when a target does not answer. What
    /// is left then is for the positions of consumer groups.
    pub async fn stop(self, grace: Duration) -> bool {
        let deadline = Instant::now() + grace;
        // Flows that ended by themselves do not listen any more.
        let _ = self.stop.send(Some(grace * 2 / 3));
        let done = async {
            let mut stored = true;
            for flow in self.flows {
                stored &= flow.ended.await.unwrap_or_else(|_| {
                    tracing::error!(flow = %flow.name, "the flow ended by a defect");
                    false
                });
            }
            stored
        };
        let stored = timeout_at(deadline, done).await.unwrap_or(false);
        let _ = self.stop_groups.send(Some(deadline - Instant::now()));
        for ended in self.groups {
            let _ = timeout_at(deadline, ended).await;
        }
        stored
    }
}

fn threads(name: &str, count: usize) -> Result<Threads, EngineError> {
    Threads::start(name, count).map_err(|error| EngineError::System {
        what: "threads could not be started",
        error: error.to_string(),
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Asks all shards of a flow for their progress.
pub(super) async fn progress(shards: &[mpsc::UnboundedSender<Command>]) -> Vec<Progress> {
    ask_all(shards, Command::Progress).await
}
