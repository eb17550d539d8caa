//! Carries out what a shard asks of the coordinator of transactions.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use protocol_client::ClientError;
use protocol_client::batch::{
    BatchError, BatchHeader, HEADER_BYTES, ProducerStamp, Rebuilt, patch_in_transaction,
};
use protocol_client::client::{Client, ProducerIdentity, ProducerRequest, TransactionEnd};
use protocol_client::cluster;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::clock::Clock;
use super::tell::Troubles;
use super::unended::{self, Holder};
use crate::flow::event::{Coordinate, Producer};
use crate::model::{Pair, TopicPartition};
use crate::positions::ledger;
use crate::records::connect_offset::SourcePartition;

/// Who a shard's transactions are of, and where their positions go.
#[derive(Debug, Clone)]
pub(super) struct TransactionsSetup {
    pub(super) flow: Arc<str>,
    pub(super) client: Client,
    pub(super) clock: Clock,
    pub(super) transactional_id: Arc<str>,
    pub(super) timeout_ms: i32,
    pub(super) identity: ProducerIdentity,
    pub(super) connector: String,
    /// The source's alias.
    pub(super) cluster: String,
    pub(super) offsets_topic: Arc<str>,
    pub(super) offsets_partitions: i32,
}

/// The transactions of one shard.
#[derive(Debug)]
pub(super) struct Transactions {
    setup: TransactionsSetup,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    identity: ProducerIdentity,
    /// The next sequence number in each partition of the offsets topic.
    sequences: BTreeMap<i32, i32>,
    troubles: Troubles,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// What was asked, with names instead of keys.
#[derive(Debug)]
pub(super) enum Request {
    /// Source and target of what is to be added.
    Add(Vec<(TopicPartition, TopicPartition)>),
    /// Source and target of what took part, and how it ended.
    Settle(Vec<(TopicPartition, TopicPartition)>, TransactionEnd),
    Other(Coordinate),
}

/// What was done: a new producer, if there is one.
pub(super) type Done = Result<Option<Producer>, ClientError>;

impl Transactions {
    pub(super) fn new(setup: TransactionsSetup) -> Self {
        let identity = setup.identity;
        let state = State { identity, sequences: BTreeMap::new(), troubles: Troubles::default() };
        Self { setup, state: RefCell::new(state) }
    }

    /// Does what was asked; tells troubles, and their end.
    pub(super) async fn carry_out(&self, request: Request) -> Done {
        let done = self.try_to(request).await;
        let flow = &*self.setup.flow;
        let mut state = self.state.borrow_mut();
        match &done {
            Ok(_) if state.troubles.are_over() => info!(flow, "transactions work again"),
            Ok(_) => {}
            Err(error) if state.troubles.is_new(&error.to_string()) => {
                warn!(flow, "a transaction: {error}; tried again");
            }
            Err(_) => {}
        }
        done.map_err(|failure| match failure {
            Failure::Client(error) => error,
            Failure::Batch(error) => ClientError::invalid(error.to_string()),
        })
    }

    async fn try_to(&self, request: Request) -> Result<Option<Producer>, Failure> {
        let TransactionsSetup { client, transactional_id: id, .. } = &self.setup;
        let identity = self.state.borrow().identity;
        match request {
            Request::Add(partitions) => {
                client.add_partitions_to_txn(id, identity, &self.added(&partitions)).await?;
            }
            Request::Settle(partitions, end) => self.settle(&partitions, end).await?,
            Request::Other(Coordinate::Positions(positions)) => self.write(&positions).await?,
            Request::Other(Coordinate::Commit) => {
                debug!(flow = &*self.setup.flow, transactional_id = &**id, "commits");
                client.end_txn(id, identity, TransactionEnd::Commit).await?;
            }
            Request::Other(Coordinate::Abort) => {
                client.end_txn(id, identity, TransactionEnd::Abort).await?;
            }
            Request::Other(Coordinate::Renew { anew }) => {
                let wanted = ProducerRequest {
                    transactional_id: id.to_string(),
                    transaction_timeout_ms: self.setup.timeout_ms,
                    current: (!anew).then_some(identity),
                };
                let identity = client.init_transactional_producer(wanted).await?;
                let mut state = self.state.borrow_mut();
                state.identity = identity;
                state.sequences.clear();
                return Ok(Some(named(identity)));
            }
            Request::Other(Coordinate::Add(_) | Coordinate::Settle { .. }) => {}
        }
        Ok(None)
    }

    /// Ends the transaction where it has not ended.
    async fn settle(
        &self,
        partitions: &[(TopicPartition, TopicPartition)],
        end: TransactionEnd,
    ) -> Result<(), ClientError> {
        let TransactionsSetup { flow, client, transactional_id, .. } = &self.setup;
        let identity = self.state.borrow().identity;
        let transactional_id = transactional_id.to_string();
        let holders = [Holder { transactional_id, identity, ended: Some(end) }];
        unended::settle(client, flow, &holders, self.added(partitions), |_, _, _| end).await
    }

    /// The partitions of the copies, and those that hold the positions.
    fn added(
        &self,
        partitions: &[(TopicPartition, TopicPartition)],
    ) -> Vec<cluster::TopicPartition> {
        let TransactionsSetup { connector, cluster, offsets_topic, offsets_partitions, .. } =
            &self.setup;
        let mut places = BTreeSet::new();
        let mut added = Vec::with_capacity(partitions.len() + 2);
        for (source, target) in partitions {
            added.push(cluster::TopicPartition::new(target.topic.clone(), target.index));
            let at = SourcePartition { cluster, topic: &source.topic, partition: source.index };
            places.extend(ledger::place(connector, at, *offsets_partitions));
        }
        let place = |index| cluster::TopicPartition::new(offsets_topic.clone(), index);
        added.extend(places.into_iter().map(place));
        added
    }

    async fn write(&self, positions: &[(TopicPartition, Pair)]) -> Result<(), Failure> {
        let setup = &self.setup;
        let encoded = ledger::encode_all(
            &setup.connector,
            &setup.cluster,
            positions,
            setup.offsets_partitions,
            setup.clock.wall_ms(),
        )?;
        let mut batches: BTreeMap<i32, Vec<Rebuilt>> = BTreeMap::new();
        for (index, batch) in encoded {
            batches.entry(index).or_default().push(batch);
        }
        let mut writes = JoinSet::new();
        for (index, batches) in batches {
            let stamped = batches.iter().filter_map(|batch| self.stamp(index, &batch.bytes));
            let stamped: Vec<_> = stamped.collect();
            let (client, id) = (setup.client.clone(), setup.transactional_id.clone());
            let place = cluster::TopicPartition::new(setup.offsets_topic.clone(), index);
            writes.spawn(async move {
                for (header, payload) in stamped {
                    client.produce_in(&id, &place, header, payload).await?;
                }
                Ok::<(), ClientError>(())
            });
        }
        let mut outcome = Ok(());
        while let Some(written) = writes.join_next().await {
            // A task that is gone says nothing about what it wrote.
            let written = written.unwrap_or_else(|error| {
                Err(ClientError::invalid(format!("positions were not written: {error}")))
            });
            outcome = outcome.and(written);
        }
        outcome.map_err(Failure::from)
    }

    /// Gives a batch its place in the producer's sequence.
    fn stamp(&self, index: i32, bytes: &Bytes) -> Option<([u8; HEADER_BYTES], Bytes)> {
        let header = BatchHeader::of(bytes.first_chunk()?);
        let mut state = self.state.borrow_mut();
        let ProducerIdentity { id, epoch } = state.identity;
        let next = state.sequences.entry(index).or_default();
        let stamp = ProducerStamp { producer_id: id, epoch, base_sequence: *next };
        *next = next.wrapping_add(header.record_count()) & i32::MAX;
        Some((patch_in_transaction(&header, stamp), bytes.slice(HEADER_BYTES..)))
    }
}

/// A producer with a transactional id.
pub(super) fn named(identity: ProducerIdentity) -> Producer {
    Producer { id: identity.id, epoch: identity.epoch, is_named: true }
}
