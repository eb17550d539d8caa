//! The control side of one flow: reaches both clusters, finds topics, creates what is missing, hands partitions to
//! shards, stores positions.

mod opening;
mod producing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::attempts::{RETRY, every, refused, until_works};
use super::begin::{self, Anew};
use super::clock::Clock;
use super::clusters::{self, FlowClients};
use super::groups_task::GroupsSetup;
use super::indexes::Indexes;
use super::limits::ClusterLimits;
use super::memory::Memory;
use super::placement::{Placement, Seen};
use super::producers::{self, FlowProducer};
use super::shard_task::{self, Command, News, ShardSetup};
use super::supervisor::progress;
use super::syncs_task::{Syncs, SyncsSetup};
use super::takeover;
use super::tell::{self, Brokers, Troubles};
use super::threads::Threads;
use super::topics::{self, Found, FoundTopic};
use super::unended::Holder;
use crate::config::FlowConfig;
use crate::error::EngineError;
use crate::flow::bandwidth::Bandwidth;
use crate::flow::event::{PartitionSpec, Start};
use crate::flow::settings::ShardSettings;
use crate::flow::shard::Progress;
use crate::model::Side;
use crate::positions::beginning::{Beginning, Origin, Situation, with_index};
use crate::positions::ledger::{Position, Stored};
use crate::positions::store::{PositionStore, StoreError};

/// How often leaders that did not say where their logs begin and end are asked again.
const BEGIN: Duration = Duration::from_secs(1);

/// How often it is looked whether another instance has taken over, when nothing else shows it: often enough that the
/// target does not forget the transactional id (`transactional.id.expiration.ms`, 7 days).
const GUARD: Duration = Duration::from_secs(3600);

/// What a flow is made of; its shards run already.
#[derive(Debug)]
pub(super) struct FlowSetup {
    name: Arc<str>,
    config: FlowConfig,
    clock: Clock,
    clients: FlowClients,
    shards: Vec<mpsc::UnboundedSender<Command>>,
    /// What shards have seen.
    news: Arc<News>,
    /// The limits that its shards are under.
    bandwidth: Option<Bandwidth>,
    /// It starts whoever else replicates.
    forced: bool,
}

impl FlowSetup {
    /// Starts the flow's shards, one on each thread.
    pub(super) fn new(
        config: FlowConfig,
        forced: bool,
        memory: &Memory,
        limits: &ClusterLimits,
        clock: Clock,
        threads: &Threads,
    ) -> Self {
        let name: Arc<str> = config.id().into();
        let clients = clusters::clients(&config).read_into(memory.frames.clone());
        let bandwidth = limits.of(&config, clock);
        let settings =
            clusters::shard_settings(&config, memory.budget.clone(), bandwidth.clone(), clock);
        let brokers = Brokers::new(name.clone());
        let news = Arc::new(News::default());
        let shards = (0..threads.len()).map(|index| {
            let (commands, receiver) = mpsc::unbounded_channel();
            let transactional_id = config
                .exactly_once
                .as_ref()
                .map(|_| producers::transactional_id(&config, index).into());
            let setup = ShardSetup {
                flow: name.clone(),
                index,
                brokers: brokers.clone(),
                settings: ShardSettings { transactional_id, ..settings.clone() },
                clock,
                news: news.clone(),
                seed: fastrand::u64(..),
                source: clients.source.clone(),
                target: clients.target.clone(),
                source_options: clients.source_options.clone(),
                target_options: clients.target_options.clone(),
            };
            threads.spawn_on(index, move || shard_task::run(setup, receiver));
            commands
        });
        let shards = shards.collect();
        Self { name, config, clock, clients, shards, news, bandwidth, forced }
    }

    pub(super) fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    pub(super) fn shards(&self) -> Vec<mpsc::UnboundedSender<Command>> {
        self.shards.clone()
    }

    pub(super) fn indexes(&self) -> Indexes {
        Indexes::new(self.shards.clone())
    }

    /// Limits that change by the time of the day have to know it, also if the clock was set since.
    fn look_at_the_clock(&self) {
        if let Some(bandwidth) = &self.bandwidth {
            bandwidth.set_wall(self.clock.now(), Clock::read_wall_ms());
        }
    }

    /// Whether it goes from the other's target to the other's source.
    pub(super) fn is_back_of(&self, other: &Self) -> bool {
        let (here, there) = (&self.config, &other.config);
        here.source.alias == there.target.alias && here.target.alias == there.source.alias
    }

    /// What its offset syncs are kept with, if they are.
    fn syncs(&self) -> Option<SyncsSetup> {
        let syncs = self.config.offset_syncs.clone()?;
        let (cluster, client) = match syncs.location {
            Side::Source => (&self.config.source, &self.clients.source),
            Side::Target => (&self.config.target, &self.clients.target),
        };
        Some(SyncsSetup {
            flow: self.name.clone(),
            config: syncs,
            alias: cluster.alias.clone(),
            client: client.clone(),
            clock: self.clock,
            shards: self.shards.clone(),
        })
    }

    /// What its consumer groups are followed with, if they are; `back` are the indexes of the flow from its target to
    /// its source.
    pub(super) fn groups(&self, back: Option<Indexes>) -> Option<GroupsSetup> {
        Some(GroupsSetup {
            flow: self.name.clone(),
            groups: self.config.groups.clone()?,
            config: self.config.clone(),
            clients: self.clients.clone(),
            indexes: self.indexes(),
            indexes_back: back,
            clock: self.clock,
        })
    }
}

/// Runs a flow until it is told to stop; answers whether its positions are stored then.
///
/// # Errors
/// What no retry can mend.
pub(super) async fn run(
    setup: FlowSetup,
    mut stop: watch::Receiver<Option<Duration>>,
) -> Result<bool, EngineError> {
    let mut flow = Flow {
        setup,
        store: None,
        syncs: Syncs::default(),
        placement: Placement::default(),
        created: BTreeSet::new(),
        anew: Vec::new(),
        producer: None,
        holders: Vec::new(),
        unmarked: Vec::new(),
        next_shard: 0,
        troubles: BTreeMap::new(),
    };
    let patience = tokio::select! {
        biased;
        stop = stop.wait_for(Option::is_some) => stop.ok().and_then(|patience| *patience),
        result = flow.work() => return result.map(|()| true),
    };
    Ok(flow.drain(patience.unwrap_or_default()).await)
}

/// What a flow may be in trouble with for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Producer,
    Topics,
    Wider,
    Positions,
}

struct Flow {
    setup: FlowSetup,
    store: Option<PositionStore>,
    syncs: Syncs,
    placement: Placement,
    /// Topics that were created at the target and are not placed yet.
    created: BTreeSet<Arc<str>>,
    /// Partitions of which it is still to be found out where they begin.
    anew: Vec<Anew>,
    producer: Option<FlowProducer>,
    /// Whose transactions partitions may hold open though they have ended; nobody when records are sent.
    holders: Vec<Holder>,
    /// Partitions that go on where an earlier instance stopped; it may still have something on its way there.
    unmarked: Vec<PartitionSpec>,
    next_shard: usize,
    troubles: BTreeMap<Work, Troubles>,
}

impl Flow {
    async fn work(&mut self) -> Result<(), EngineError> {
        self.reach().await?;
        // A cluster that never had a transaction makes a topic for them first, which takes a while.
        let ((), (), is_first) = tokio::try_join!(
            self.ensure_alone(),
            self.setup.warm_up(),
            self.setup.is_first_start(),
        )?;
        // What an earlier instance left open is undone before its positions are read.
        let identities = self.take_over().await?;
        let has_transactions = identities.is_some();
        let Self { setup, placement, created, holders, .. } = self;
        let (store, syncs, producer, ()) = tokio::try_join!(
            setup.open_positions(holders),
            setup.open_syncs(),
            setup.start_producer(has_transactions),
            async {
                // Copies are made meanwhile. Later on positions are read before: who ends between making a copy anew and
                // saying so would leave one that looks like somebody else's.
                if is_first {
                    // What is wrong is found again, and told, when topics are looked for.
                    let FlowSetup { name, clients, config, .. } = &*setup;
                    drop(topics::discover(name, clients, config, placement, created).await);
                }
                Ok(())
            },
        )?;
        self.store = Some(store);
        self.syncs = syncs;
        match identities {
            Some(identities) => self.start_transactions(identities).await?,
            None => self.use_producers(producer).await?,
        }
        self.discover_until_done().await?;
        let config = &self.setup.config;
        let never = Duration::from_secs(365 * 24 * 3600);
        let mut refresh = every(config.refresh_topics.unwrap_or(never));
        let mut flush = every(config.positions.flush_interval);
        let mut begin = every(BEGIN);
        let mut guard = every(GUARD);
        let news = self.setup.news.clone();
        loop {
            tokio::select! {
                _ = refresh.tick() => self.refresh().await,
                () = news.topics.notified() => self.refresh().await,
                () = news.renew.notified() => self.renew().await,
                () = news.positions.notified() => self.confirm().await,
                () = news.fenced.notified() => return Err(self.fenced()),
                _ = guard.tick() => self.guard().await,
                _ = flush.tick() => {
                    self.setup.look_at_the_clock();
                    self.flush().await;
                }
                _ = begin.tick(), if self.is_behind() => {
                    self.mark().await;
                    self.begin().await;
                }
            }
        }
    }

    /// Waits until both clusters answer.
    async fn reach(&self) -> Result<(), EngineError> {
        let FlowClients { source, target, .. } = &self.setup.clients;
        let FlowConfig { source: from, target: to, .. } = &self.setup.config;
        let name = &self.setup.name;
        tokio::try_join!(
            until_works(name, &from.alias, async || source.try_all_topics().await),
            until_works(name, &to.alias, async || target.try_all_topics().await),
        )?;
        info!(flow = %name, "both clusters are reached");
        Ok(())
    }

    /// MirrorMaker 2 must have stopped.
    async fn ensure_alone(&self) -> Result<(), EngineError> {
        let FlowSetup { name, config, clients, forced, .. } = &self.setup;
        let ask = async || takeover::workers(name, config, &clients.target).await;
        let members = until_works(name, &config.target.alias, ask).await?;
        takeover::judge(name, config, members, *forced)
    }

    async fn discover_until_done(&mut self) -> Result<(), EngineError> {
        let mut wait = RETRY.0;
        while let Err(error) = self.discover().await {
            if error.is_final() {
                return Err(refused(error.cluster(&self.setup.config), &error));
            }
            self.topics_trouble(&error);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
        Ok(())
    }

    async fn refresh(&mut self) {
        match self.discover().await {
            Ok(()) if self.troubles.entry(Work::Topics).or_default().are_over() => {
                info!(flow = %self.setup.name, "both clusters list their topics again");
            }
            Ok(()) => {}
            Err(error) => self.topics_trouble(&error),
        }
    }

    fn topics_trouble(&mut self, error: &topics::DiscoverError) {
        if self.troubles.entry(Work::Topics).or_default().is_new(&error.to_string()) {
            let cluster = error.cluster(&self.setup.config);
            warn!(flow = %self.setup.name, "cluster {cluster}: topics could not be looked for: {error}; tried again until they can");
        }
    }

    /// One round: what is new at the source is created at the target and handed to shards.
    async fn discover(&mut self) -> Result<(), topics::DiscoverError> {
        let FlowSetup { name, clients, config, .. } = &self.setup;
        let name = name.clone();
        let found =
            topics::discover(&name, clients, config, &self.placement, &mut self.created).await?;
        self.tell_wider(&found);
        self.remove_gone(&found).await;
        if found.topics.iter().any(|topic| self.placement.comes_back(&topic.source, topic.ids)) {
            // The target remembers the sequence numbers of the old one: a partition that starts again under its name
            // would have its first batches taken for repeated ones.
            self.try_renew().await.map_err(topics::DiscoverError::at(Side::Target))?;
        }
        let mut ready = Vec::new();
        for topic in &found.topics {
            self.place(topic, &mut ready).await;
        }
        self.unmarked.extend(ready);
        self.mark().await;
        self.begin().await;
        Ok(())
    }

    /// Gives partitions to the shards.
    fn hand_out(&mut self, ready: Vec<PartitionSpec>) {
        let FlowSetup { name, clients, shards, .. } = &self.setup;
        if ready.is_empty() {
            return;
        }
        info!(flow = %name, "{} more partitions are replicated, {} topics in all", ready.len(), self.placement.len());
        let mut specs: Vec<Vec<PartitionSpec>> = vec![Vec::new(); shards.len()];
        for spec in ready {
            specs[self.next_shard % shards.len()].push(spec);
            self.next_shard += 1;
        }
        for (shard, specs) in shards.iter().zip(specs) {
            if !specs.is_empty() {
                let _ = shard.send(Command::Views(clients.source.view(), clients.target.view()));
                let _ = shard.send(Command::Add(specs));
            }
        }
    }

    /// Finds out where the partitions of a topic begin that are not placed yet.
    async fn place(&mut self, topic: &FoundTopic, ready: &mut Vec<PartitionSpec>) {
        let seen = self.placement.see(&topic.source, topic.partitions, topic.ids);
        let is_created = self.created.remove(&topic.target);
        let from = match seen {
            Seen::From(from) => from,
            Seen::Other => {
                // What the old one reached has to be known, to say what of it is lost.
                self.flush().await;
                self.remove(&topic.source);
                0
            }
        };
        let stored = self.store.as_ref().map_or(0, |store| store.partitions(&topic.source));
        if from == 0 && stored > topic.partitions {
            tell::shrunk(&self.setup.name, &topic.source, stored, topic.partitions);
        }
        let mut told = false;
        for index in from..topic.partitions {
            let mut spec = topic.spec(index);
            let config = &self.setup.config;
            let stored = self.store.as_ref().map(|store| store.stored(&topic.source, index));
            let situation = Situation {
                stored: stored.unwrap_or(Stored::Nothing),
                ids: topic.ids,
                is_created,
                reset: config.consumer.start,
                on_gap: config.on_gap,
                on_divergence: config.on_divergence,
            };
            match situation.beginning() {
                Beginning::Stored(start) => {
                    spec.index = self.syncs.take(&topic.source, index, topic.ids);
                    spec.start = with_index(start, &mut spec.index);
                    ready.push(spec);
                }
                Beginning::Refused(failure) => {
                    spec.start = Start::Refused(failure);
                    ready.push(spec);
                }
                Beginning::Anew { from, surprise } => {
                    if let Some(surprise) = surprise {
                        tell::surprise(&self.setup.name, &spec, surprise, &mut told);
                    }
                    if let Origin::Offset(_) = from {
                        spec.index = self.syncs.take(&topic.source, index, topic.ids);
                    }
                    self.anew.push(Anew { spec, from, surprise });
                }
            }
        }
    }

    /// Whether partitions wait that could not begin at once.
    fn is_behind(&self) -> bool {
        !self.anew.is_empty() || !self.unmarked.is_empty()
    }

    /// Partitions that begin anew get to know where, and may begin when that is stored.
    async fn begin(&mut self) {
        let anew = std::mem::take(&mut self.anew);
        if anew.is_empty() {
            return;
        }
        let FlowSetup { clients, config, clock, .. } = &self.setup;
        let begun = begin::begin(clients, clusters::isolation(config), &anew).await;
        let stored = match &mut self.store {
            Some(store) => store.write(begun.positions(), clock.wall_ms()).await.map(drop),
            None => Ok(()),
        };
        if stored.is_ok() {
            self.anew = begun.waiting;
            let flow = &self.setup.name;
            begun.lost.iter().for_each(|(spec, range)| tell::lost_copy(flow, spec, *range));
            // Who was replaced may have begun them too, and may write between their pair and our first record.
            self.unmarked.extend(begun.ready);
            self.mark().await;
        } else {
            self.anew = anew;
        }
        self.tell_stored(stored);
    }

    /// A topic with more partitions at the target than at the source is told of once.
    fn tell_wider(&mut self, found: &Found) {
        let troubles = self.troubles.entry(Work::Wider).or_default();
        for wider in &found.wider {
            let (name, from, to) = (&wider.name, wider.from, wider.to);
            if troubles.is_new(&format!("{name} {from} {to}")) {
                warn!(flow = %self.setup.name, topic = name, "the target has {from} partitions, the source {to}; the others stay as they are");
            }
        }
    }

    /// Topics that are gone from the source leave the assignment; what they left at the target stays.
    async fn remove_gone(&mut self, found: &Found) {
        let gone = self.placement.placed(|topic| !found.source_view.topics.contains_key(topic));
        if gone.is_empty() {
            return;
        }
        // Should a topic come back, it goes on where it stopped.
        self.flush().await;
        for topic in gone {
            warn!(flow = %self.setup.name, %topic, "the topic is gone from the source; its copy stays as it is");
            self.placement.gone(&topic);
            self.remove(&topic);
        }
    }

    fn remove(&mut self, topic: &Arc<str>) {
        self.anew.retain(|one| one.spec.source.topic != *topic);
        self.unmarked.retain(|spec| spec.source.topic != *topic);
        for shard in &self.setup.shards {
            let _ = shard.send(Command::Remove(topic.clone()));
        }
    }

    /// Stores positions; answers whether that worked.
    async fn flush(&mut self) -> bool {
        let progress = progress(&self.setup.shards).await;
        let stored = self.store_positions(&progress).await;
        if stored.is_ok() {
            self.tell_waiting(&progress);
        }
        let is_stored = stored.is_ok();
        self.tell_stored(stored);
        is_stored
    }

    /// Partitions that stand still until it is stored where they stand may go on.
    fn tell_waiting(&self, progress: &[Progress]) {
        let waiting = progress.iter().filter(|at| at.awaits_store);
        let stored = |at: &Progress| Some((at.source.clone(), at.pair()?));
        let stored: Vec<_> = waiting.filter_map(stored).collect();
        if !stored.is_empty() {
            for shard in &self.setup.shards {
                // Each knows its own.
                let _ = shard.send(Command::Stored(stored.clone()));
            }
        }
    }

    /// Stores positions because a partition waits for it, however often that takes.
    async fn confirm(&mut self) {
        if !self.flush().await {
            tokio::time::sleep(RETRY.0).await;
            self.setup.news.positions.notify_one();
        }
    }

    fn tell_stored(&mut self, stored: Result<(), StoreError>) {
        let troubles = self.troubles.entry(Work::Positions).or_default();
        let flow = &*self.setup.name;
        match stored {
            Ok(()) if troubles.are_over() => info!(flow, "positions are stored again"),
            Ok(()) => {}
            Err(error) if troubles.is_new(&error.to_string()) => {
                error!(flow, "positions could not be stored: {error}; tried again until they can");
            }
            Err(_) => {}
        }
    }

    async fn store_positions(&mut self, progress: &[Progress]) -> Result<(), StoreError> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let positions = progress.iter().filter_map(Position::of);
        if self.setup.config.exactly_once.is_some() {
            store.note(positions);
            return Ok(());
        }
        store.write(positions, self.setup.clock.wall_ms()).await.map(drop)
    }

    /// Lets what is under way arrive, then stores the positions; answers whether that worked. A partition that is in
    /// trouble is waited for no longer than `patience`, which leaves time for the positions of the others.
    async fn drain(&mut self, patience: Duration) -> bool {
        let mut waits = Vec::new();
        for shard in &self.setup.shards {
            let (answer, drained) = oneshot::channel();
            if shard.send(Command::Drain(answer)).is_ok() {
                waits.push(drained);
            }
        }
        let drained = async {
            for drained in waits {
                // A shard that is gone has nothing under way.
                let _ = drained.await;
            }
        };
        let all_arrived = timeout(patience, drained).await.is_ok();
        let progress = progress(&self.setup.shards).await;
        let stored = self.store_positions(&progress).await;
        // What is not written is found again by comparing the logs.
        let _ = timeout(patience / 4, self.syncs.finish()).await;
        let flow = &*self.setup.name;
        if let Err(error) = &stored {
            error!(flow, "positions could not be stored: {error}");
        }
        tell::end(flow, &progress, all_arrived);
        if all_arrived && stored.is_ok() && progress.iter().all(|at| at.is_settled) {
            self.note_end().await;
        }
        stored.is_ok()
    }
}
