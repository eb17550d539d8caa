//! The control side of one flow: reaches both clusters, finds topics, creates what is missing, hands partitions to
//! shards, stores positions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol_client::ClientError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::clock::Clock;
use super::clusters::{self, FlowClients};
use super::shard_task::{self, Command, ShardSetup};
use super::supervisor::progress;
use super::tell::Troubles;
use super::threads::Threads;
use super::topics::{self, Found};
use crate::config::{FlowConfig, ProcessConfig, StartFrom};
use crate::error::EngineError;
use crate::flow::event::{PartitionSpec, Start};
use crate::flow::shard::Delivered;
use crate::positions::ledger::{Ledger, Position};
use crate::positions::store::PositionStore;

/// Wait between attempts to reach a cluster, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// What a flow is made of; its shards run already.
#[derive(Debug)]
pub(super) struct FlowSetup {
    name: Arc<str>,
    config: FlowConfig,
    clock: Clock,
    clients: FlowClients,
    shards: Vec<mpsc::UnboundedSender<Command>>,
}

impl FlowSetup {
    /// Starts the flow's shards, one on each thread; `flows` of them share the memory.
    pub(super) fn new(
        config: FlowConfig,
        process: &ProcessConfig,
        flows: usize,
        clock: Clock,
        threads: &Threads,
    ) -> Self {
        let name: Arc<str> = config.id().into();
        let clients = clusters::clients(&config);
        let shares = (threads.len() * flows.max(1)) as u64;
        let budget_bytes = usize::try_from(process.memory_bytes / shares).unwrap_or(usize::MAX);
        let settings = clusters::shard_settings(&config, budget_bytes, clock);
        let troubles = Troubles::default();
        let shards = (0..threads.len()).map(|index| {
            let (commands, receiver) = mpsc::unbounded_channel();
            let setup = ShardSetup {
                flow: name.clone(),
                settings: settings.clone(),
                clock,
                seed: fastrand::u64(..),
                troubles: troubles.clone(),
                source: clients.source.clone(),
                target: clients.target.clone(),
                source_options: clients.source_options.clone(),
                target_options: clients.target_options.clone(),
            };
            threads.spawn_on(index, move || shard_task::run(setup, receiver));
            commands
        });
        let shards = shards.collect();
        Self { name, config, clock, clients, shards }
    }

    pub(super) fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    pub(super) fn shards(&self) -> Vec<mpsc::UnboundedSender<Command>> {
        self.shards.clone()
    }
}

/// Runs a flow until it is told to stop, and how long what is under way may take to arrive.
///
/// # Errors
/// What no retry can mend.
pub(super) async fn run(
    setup: FlowSetup,
    mut stop: watch::Receiver<Option<Duration>>,
) -> Result<(), EngineError> {
    let mut flow = Flow {
        setup,
        store: None,
        placed: BTreeMap::new(),
        ids: BTreeMap::new(),
        next_shard: 0,
        told: BTreeMap::new(),
    };
    let patience = tokio::select! {
        biased;
        stopped = stop.wait_for(Option::is_some) => stopped.ok().and_then(|patience| *patience),
        result = flow.work() => return result,
    };
    flow.drain(patience.unwrap_or_default()).await;
    Ok(())
}

struct Flow {
    setup: FlowSetup,
    store: Option<PositionStore>,
    /// How many partitions of each source topic the shards have.
    placed: BTreeMap<Arc<str>, i32>,
    /// The id under which each source topic was first seen, also of topics that are gone.
    ids: BTreeMap<Arc<str>, Uuid>,
    next_shard: usize,
    /// The trouble that was last told of each cluster.
    told: BTreeMap<&'static str, String>,
}

impl Flow {
    async fn work(&mut self) -> Result<(), EngineError> {
        self.reach().await?;
        self.open_positions().await?;
        self.start_producers().await?;
        self.discover_until_done().await?;
        let config = &self.setup.config;
        let never = Duration::from_secs(365 * 24 * 3600);
        let mut refresh = ticker(config.refresh_topics.unwrap_or(never));
        let mut flush = ticker(config.positions.flush_interval);
        refresh.tick().await;
        flush.tick().await;
        loop {
            tokio::select! {
                _ = refresh.tick() => if let Err(error) = self.discover().await {
                    warn!(flow = %self.setup.name, "topics could not be looked for: {error}; next attempt at the next refresh");
                },
                _ = flush.tick() => self.flush().await,
            }
        }
    }

    /// Waits until both clusters answer.
    async fn reach(&mut self) -> Result<(), EngineError> {
        let clients = self.setup.clients.clone();
        let (source, target) =
            (self.setup.config.source.alias.clone(), self.setup.config.target.alias.clone());
        self.until_works("source", &source, async || clients.source.all_topics().await.map(drop))
            .await?;
        self.until_works("target", &target, async || clients.target.all_topics().await.map(drop))
            .await?;
        info!(flow = %self.setup.name, "both clusters are reached");
        Ok(())
    }

    async fn open_positions(&mut self) -> Result<(), EngineError> {
        let config = self.setup.config.clone();
        let client = self.setup.clients.target.clone();
        let topic: Arc<str> = config.positions.topic.as_str().into();
        let partitions = self
            .until_works("target", &config.target.alias, async || {
                topics::ensure_positions_topic(&client, &config).await
            })
            .await
            .map_err(|error| error.about(&format!(
                "topic {topic}, where positions are kept (created with {}.offset.storage.replication.factor = {})",
                config.target.alias, config.positions.replication_factor
            )))?;
        let mut wait = RETRY.0;
        loop {
            let ledger = Ledger::new(&config.connector, &config.source.alias);
            match PositionStore::open(client.clone(), topic.clone(), partitions, ledger).await {
                Ok(store) => {
                    if store.skipped() > 0 {
                        warn!(flow = %self.setup.name, %topic, "{} records are no positions and were skipped", store.skipped());
                    }
                    self.store = Some(store);
                    return Ok(());
                }
                Err(error) if error.is_final() => {
                    return Err(refused(&config.target.alias, &error));
                }
                Err(error) => self.tell("positions", &config.target.alias, &error.to_string()),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }

    /// Idempotent producers need an id; the flow's shards share it, their partitions are apart.
    async fn start_producers(&mut self) -> Result<(), EngineError> {
        let client = self.setup.clients.target.clone();
        let alias = self.setup.config.target.alias.clone();
        let producer = self
            .until_works("target", &alias, async || client.init_idempotent_producer().await)
            .await?;
        for shard in &self.setup.shards {
            // Shards live as long as the flow.
            let _ = shard.send(Command::Producer(producer.id, producer.epoch));
        }
        Ok(())
    }

    async fn discover_until_done(&mut self) -> Result<(), EngineError> {
        let mut wait = RETRY.0;
        while let Err(error) = self.discover().await {
            if error.is_final() {
                return Err(refused(error.cluster(&self.setup.config), &error));
            }
            self.tell(
                "topics",
                error.cluster(&self.setup.config).to_owned().as_str(),
                &error.to_string(),
            );
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
        Ok(())
    }

    /// One round: what is new at the source is created at the target and handed to shards.
    async fn discover(&mut self) -> Result<(), topics::DiscoverError> {
        let name = self.setup.name.clone();
        let found =
            topics::discover(&name, &self.setup.clients, &self.setup.config, &self.placed).await?;
        self.remove_gone(&found).await;
        let mut specs: Vec<Vec<PartitionSpec>> = vec![Vec::new(); self.setup.shards.len()];
        for mut topic in found.topics {
            let known = self.placed.get(&topic.source).copied().unwrap_or(0);
            if known >= topic.partitions {
                continue;
            }
            // A topic that was created again is another one; its partitions will notice, and say so.
            topic.source_id = *self.ids.entry(topic.source.clone()).or_insert(topic.source_id);
            for index in known..topic.partitions {
                let start = self.start_of(&topic.source, index);
                specs[self.next_shard % self.setup.shards.len()].push(topic.spec(index, start));
                self.next_shard += 1;
            }
            self.placed.insert(topic.source.clone(), topic.partitions);
        }
        let count: usize = specs.iter().map(Vec::len).sum();
        if count > 0 {
            info!(flow = %name, "{count} more partitions are replicated, {} topics in all", self.placed.len());
        }
        for (shard, specs) in self.setup.shards.iter().zip(specs) {
            if !specs.is_empty() {
                let _ = shard
                    .send(Command::Views(found.source_view.clone(), found.target_view.clone()));
                let _ = shard.send(Command::Add(specs));
            }
        }
        Ok(())
    }

    /// Topics that are gone from the source leave the assignment; what they left at the target stays.
    async fn remove_gone(&mut self, found: &Found) {
        let gone: Vec<Arc<str>> = self
            .placed
            .keys()
            .filter(|topic| !found.source_view.topics.contains_key(*topic))
            .cloned()
            .collect();
        if !gone.is_empty() {
            // If they come back, they go on from here.
            self.flush().await;
        }
        for topic in gone {
            warn!(flow = %self.setup.name, %topic, "the topic is gone from the source; its copy stays as it is");
            self.placed.remove(&topic);
            for shard in &self.setup.shards {
                let _ = shard.send(Command::Remove(topic.clone()));
            }
        }
    }

    fn start_of(&self, topic: &str, index: i32) -> Start {
        let stored = self.store.as_ref().and_then(|store| store.position(topic, index));
        match (stored, self.setup.config.consumer.start) {
            (Some(offset), _) => Start::At(offset),
            (None, StartFrom::Earliest) => Start::Earliest,
            (None, StartFrom::Latest) => Start::Latest,
        }
    }

    async fn flush(&mut self) {
        let Some(store) = &mut self.store else { return };
        let progress = progress(&self.setup.shards).await;
        let positions = progress.into_iter().filter_map(|at| {
            Some(Position { topic: at.source.topic, index: at.source.index, next: at.position? })
        });
        if let Err(error) = store.write(positions, self.setup.clock.wall_ms()).await {
            error!(flow = %self.setup.name, "positions could not be stored: {error}; tried again at the next flush");
        }
    }

    /// Lets what is under way arrive, but not for ever, then stores the positions.
    async fn drain(&mut self, patience: Duration) {
        let mut waits = Vec::new();
        for shard in &self.setup.shards {
            let (answer, drained) = oneshot::channel();
            if shard.send(Command::Drain(answer)).is_ok() {
                waits.push(drained);
            }
        }
        let arrival = async {
            for drained in waits {
                // A shard that is gone has nothing under way.
                let _ = drained.await;
            }
        };
        let outcome = match tokio::time::timeout(patience, arrival).await {
            Ok(()) => "everything that was under way has arrived",
            Err(_) => {
                "not everything arrived in time; what did not is read again at the next start"
            }
        };
        self.flush().await;
        let mut all = Delivered::default();
        for at in progress(&self.setup.shards).await {
            all.add(&at.delivered);
        }
        info!(
            flow = %self.setup.name,
            records = all.records,
            bytes = all.bytes,
            sealed_batches = all.sealed_batches,
            merged_batches = all.merged_batches,
            rewritten_batches = all.rewritten_batches,
            "{outcome}"
        );
    }

    /// Tries until it works; tells each new trouble once.
    async fn until_works<T>(
        &mut self,
        role: &'static str,
        alias: &str,
        mut attempt: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Result<T, EngineError> {
        let mut wait = RETRY.0;
        loop {
            match attempt().await {
                Ok(value) => {
                    if self.told.remove(role).is_some() {
                        info!(flow = %self.setup.name, "cluster {alias} answers now");
                    }
                    return Ok(value);
                }
                Err(error) if !error.retryable() => return Err(refused(alias, &error)),
                Err(error) => self.tell(role, alias, &error.to_string()),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }

    fn tell(&mut self, role: &'static str, alias: &str, trouble: &str) {
        if self.told.get(role).is_none_or(|told| told != trouble) {
            warn!(flow = %self.setup.name, "cluster {alias}: {trouble}; retrying");
            self.told.insert(role, trouble.to_owned());
        }
    }
}

fn refused(alias: &str, error: &impl std::fmt::Display) -> EngineError {
    EngineError::Refused { cluster: alias.to_owned(), what: error.to_string() }
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = interval(period.max(Duration::from_millis(1)));
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
