//! Who writes for a flow: it takes over from who wrote before, and stops when somebody takes over from it.

use std::collections::BTreeMap;

use protocol_client::ClientError;
use protocol_client::client::{ProducerIdentity, TransactionEnd};
use protocol_client::cluster;
use protocol_client::wire::error_code::ErrorCode;
use tracing::{info, warn};

use super::super::producers::{self, FlowProducer};
use super::super::shard_task::Command;
use super::super::transactions::{self, TransactionsSetup};
use super::super::unended::{self, Holder};
use super::{Flow, FlowSetup, RETRY, Work, until_works};
use crate::error::EngineError;
use crate::flow::event::{PartitionSpec, Producer, Start};
use crate::records::pair::EndedProducer;

impl Flow {
    /// With transactions each shard has a producer; theirs are shut out that wrote before, and those of MirrorMaker 2.
    pub(super) async fn take_over(&mut self) -> Result<Option<Vec<ProducerIdentity>>, EngineError> {
        let FlowSetup { config, shards, .. } = &self.setup;
        let Some(exactly_once) = &config.exactly_once else { return Ok(None) };
        let own = (0..shards.len()).map(|index| producers::transactional_id(config, index));
        let ids: Vec<String> = own.chain(exactly_once.replaced.iter().cloned()).collect();
        self.holders = self.setup.take_over(&ids).await?;
        Ok(Some(self.holders.iter().map(|holder| holder.identity).collect()))
    }

    pub(super) async fn start_transactions(
        &mut self,
        identities: Vec<ProducerIdentity>,
    ) -> Result<(), EngineError> {
        let count = self.setup.shards.len();
        self.shut_out_others(count).await?;
        let FlowSetup { name, config, clients, clock, shards, .. } = &self.setup;
        let Some(store) = &self.store else { return Ok(()) };
        let id_of = |index| producers::transactional_id(config, index);
        // Whoever comes next has to know whom to shut out; that they ended in good order is not said.
        let known = EndedProducer { id: -1, epoch: -1 };
        let known = (0..count).map(|index| (id_of(index), known)).collect();
        let note = async || store.write_ends(&known, clock.wall_ms()).await;
        until_works(name, &config.target.alias, note).await?;
        for (index, (shard, identity)) in shards.iter().zip(identities).enumerate() {
            let setup = TransactionsSetup {
                flow: name.clone(),
                client: clients.target.clone(),
                clock: *clock,
                transactional_id: id_of(index).into(),
                timeout_ms: producers::timeout_ms(config),
                identity,
                connector: config.connector.clone(),
                cluster: config.source.alias.clone(),
                offsets_topic: config.positions.topic.as_str().into(),
                offsets_partitions: store.topic_partitions(),
            };
            let _ = shard.send(Command::Transactions(Box::new(setup)));
            let _ = shard.send(Command::Producer(transactions::named(identity)));
        }
        Ok(())
    }

    /// An earlier instance may have had more producers than the `count` that this one has: those are shut out too, and
    /// positions are read again.
    pub(super) async fn shut_out_others(&mut self, count: usize) -> Result<(), EngineError> {
        let FlowSetup { config, .. } = &self.setup;
        let Some(store) = &self.store else { return Ok(()) };
        let own: Vec<String> =
            (0..count).map(|index| producers::transactional_id(config, index)).collect();
        let others = store.transactional_ids().filter(|id| !own.iter().any(|one| one == id));
        let others: Vec<String> = others.map(str::to_owned).collect();
        if others.is_empty() {
            return Ok(());
        }
        self.holders.extend(self.setup.take_over(&others).await?);
        self.store = Some(self.setup.open_positions(&self.holders).await?);
        Ok(())
    }

    /// The flow's shards share a producer, their partitions are apart.
    pub(super) async fn use_producers(
        &mut self,
        producer: Option<FlowProducer>,
    ) -> Result<(), EngineError> {
        self.shut_out_others(1).await?;
        if let Some(producer) = producer {
            self.use_producer(producer.producer());
            self.producer = Some(producer);
        }
        Ok(())
    }

    /// From now on, for partitions that have not written yet, or ask.
    pub(super) fn use_producer(&self, producer: Producer) {
        for shard in &self.setup.shards {
            // Shards live as long as the flow.
            let _ = shard.send(Command::Producer(producer));
        }
    }

    pub(super) async fn try_renew(&mut self) -> Result<(), ClientError> {
        let Some(producer) = &mut self.producer else { return Ok(()) };
        let renewed = producer.renew().await;
        self.tell_guard(renewed.as_ref().map(drop));
        self.use_producer(renewed?);
        Ok(())
    }

    pub(super) async fn renew(&mut self) {
        if self.try_renew().await.is_err() {
            tokio::time::sleep(RETRY.0).await;
            self.setup.news.renew.notify_one();
        }
    }

    /// Finds out whether another instance has taken over, and keeps the transactional id alive.
    pub(super) async fn guard(&mut self) {
        let Some(producer) = &self.producer else { return };
        let topic = self.setup.config.positions.topic.as_str();
        let marked = producer.mark(&[cluster::TopicPartition::new(topic, 0)]).await;
        self.tell_guard(marked.as_ref().copied());
    }

    pub(super) fn tell_guard(&mut self, outcome: Result<(), &ClientError>) {
        let troubles = self.troubles.entry(Work::Producer).or_default();
        let flow = &*self.setup.name;
        match outcome {
            Ok(()) if troubles.are_over() => {
                info!(flow, "the producer is known to the target again")
            }
            Ok(()) => {}
            Err(error) if error.code().is_some_and(ErrorCode::is_fenced) => {
                self.setup.news.fenced.notify_one();
            }
            Err(error) if troubles.is_new(&error.to_string()) => {
                warn!(flow, "the producer's epoch: {error}; tried again until it works");
            }
            Err(_) => {}
        }
    }

    pub(super) fn fenced(&self) -> EngineError {
        let transactional_id = producers::transactional_id(&self.setup.config, 0);
        EngineError::Fenced { flow: self.setup.name.to_string(), transactional_id }
    }

    /// Partitions that an earlier instance may write get to know our epoch, and go on then: nothing of the earlier one can
    /// arrive there any more. If it ended in good order or there was none, there is nothing to arrive.
    pub(super) async fn mark(&mut self) {
        let mut specs = std::mem::take(&mut self.unmarked);
        let (Some(producer), Some(store)) = (&self.producer, &self.store) else {
            // What is part of a transaction needs no mark.
            match self.end_what_is_open(&specs).await {
                Err(error) if error.retryable() => self.unmarked = specs,
                Err(_) | Ok(()) => self.hand_out(specs),
            }
            return;
        };
        let is_written = |spec: &&PartitionSpec| matches!(spec.start, Start::Pair(_));
        let mut targets: Vec<_> = specs.iter().filter(is_written).map(target_of).collect();
        if producer.follows(|id| store.ended(id)) {
            targets.clear();
        }
        let marked = producer.mark(&targets).await;
        if marked.is_ok() && !targets.is_empty() && producer.producer().is_named {
            specs.iter_mut().for_each(|spec| spec.is_marked = true);
        }
        self.tell_guard(marked.as_ref().copied());
        match marked {
            Err(error) if error.retryable() => self.unmarked = specs,
            Err(error) if error.code().is_some_and(ErrorCode::is_fenced) => {}
            // One of them cannot be written; each will find out by itself.
            Err(_) | Ok(()) => self.hand_out(specs),
        }
    }

    /// Before anything is written: what partitions hold open of an earlier instance counts if its positions do, and never
    /// was if they do not.
    async fn end_what_is_open(&mut self, specs: &[PartitionSpec]) -> Result<(), ClientError> {
        let pair = |spec: &PartitionSpec| match spec.start {
            Start::Pair(pair) => Some((target_of(spec), pair.target_next)),
            _ => None,
        };
        if self.holders.is_empty() || specs.is_empty() {
            return Ok(());
        }
        let ends: BTreeMap<_, _> = specs.iter().filter_map(pair).collect();
        let end = |_: &Holder, partition: &cluster::TopicPartition, from| match ends.get(partition)
        {
            Some(target_next) if *target_next > from => TransactionEnd::Commit,
            _ => TransactionEnd::Abort,
        };
        let FlowSetup { name, clients, .. } = &self.setup;
        let targets = ends.keys().cloned();
        let ended = unended::settle(&clients.target, name, &self.holders, targets, end).await;
        self.tell_guard(ended.as_ref().copied());
        // From now on the shards have transactions of their own open.
        if !ended.as_ref().is_err_and(ClientError::retryable) {
            self.holders.clear();
        }
        ended
    }

    /// Nothing that was sent can still arrive: the next instance need not shut it out.
    pub(super) async fn note_end(&self) {
        let (Some(store), Some(producer)) = (&self.store, &self.producer) else { return };
        let ended = producer.ended().into_iter().collect();
        if let Err(error) = store.write_ends(&ended, self.setup.clock.wall_ms()).await {
            warn!(flow = &*self.setup.name, "the end of the producer could not be noted: {error}");
        }
    }
}

fn target_of(spec: &PartitionSpec) -> cluster::TopicPartition {
    cluster::TopicPartition::new(spec.target.topic.clone(), spec.target.index)
}
