//! AddPartitionsToTxn and EndTxn, versions 0-3, to the coordinator of the transactional id.
//!
//! These are the transactions of version 1 (KIP-98), which clusters with version 2 (KIP-890) take as well, as long as
//! records are produced in versions up to 11. Later versions of AddPartitionsToTxn are for brokers.

use std::collections::BTreeMap;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, ProducerId, TransactionalId,
};

use super::Client;
use super::convert::{by_topic, text, topic_name};
use super::coordinators::CoordinatorKind;
use super::init_producer_id::{ProducerIdentity, ProducerRequest};
use super::routing::{Outcome, outcome, refused};
use crate::cluster::TopicPartition;
use crate::error::ClientError;
use crate::net::Connection;
use crate::wire::api::{Api, VersionSpan};
use crate::wire::error_code::ErrorCode;

const VERSION_1: VersionSpan = VersionSpan { min: 0, max: 3 };

/// Partitions that one empty transaction marks: the coordinator keeps them in one record.
const PARTITIONS_AT_ONCE: usize = 1000;

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionEnd {
    /// Its records count.
    Commit,
    /// Its records never were.
    Abort,
}

impl Client {
    /// Makes partitions part of the producer's transaction, all or none; the first ones begin it. Adding a partition
    /// twice does no harm.
    ///
    /// # Errors
    /// The first partition that cannot be added is named. [`ErrorCode::is_fenced`] if another producer has the
    /// transactional id now, or the coordinator aborted the transaction because it took too long.
    pub async fn add_partitions_to_txn(
        &self,
        transactional_id: &str,
        producer: ProducerIdentity,
        partitions: &[TopicPartition],
    ) -> Result<(), ClientError> {
        if partitions.is_empty() {
            return Ok(());
        }
        let topics = by_topic(partitions.iter().map(|partition| (partition.clone(), ())));
        let topics = topics.into_iter().map(|(name, indexes)| {
            AddPartitionsToTxnTopic::default()
                .with_name(topic_name(&name))
                .with_partitions(indexes.into_iter().map(|(index, ())| index).collect())
        });
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text(transactional_id)))
            .with_v3_and_below_producer_id(ProducerId(producer.id))
            .with_v3_and_below_producer_epoch(producer.epoch)
            .with_v3_and_below_topics(topics.collect());
        self.ask_coordinator(transactional_id, request, add).await
    }

    /// Ends the producer's transaction. What is decided is decided when this returns; readers see it when the markers
    /// are written, soon after. Asking for the same end again answers the same, once they are.
    ///
    /// # Errors
    /// As above. INVALID_TXN_STATE if nothing was begun, or it ended the other way.
    pub async fn end_txn(
        &self,
        transactional_id: &str,
        producer: ProducerIdentity,
        end: TransactionEnd,
    ) -> Result<(), ClientError> {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text(transactional_id)))
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_committed(end == TransactionEnd::Commit);
        self.ask_coordinator(transactional_id, request, self::end).await
    }

    /// Takes over a transactional id, and makes each of `partitions` know it: [`mark`](Self::mark) behind
    /// [`init_transactional_producer`](Self::init_transactional_producer).
    ///
    /// # Errors
    /// Those of the two.
    pub async fn fence(
        &self,
        transactional_id: &str,
        transaction_timeout_ms: i32,
        partitions: &[TopicPartition],
    ) -> Result<ProducerIdentity, ClientError> {
        let request = ProducerRequest {
            transactional_id: transactional_id.to_owned(),
            transaction_timeout_ms,
            current: None,
        };
        let producer = self.init_transactional_producer(request).await?;
        self.mark(transactional_id, producer, partitions, TransactionEnd::Commit).await?;
        Ok(producer)
    }

    /// Makes each of `partitions` know the producer's epoch: whoever had an earlier one can write there no more when this
    /// returns, with or without transactions. Costs one offset of each partition, for the marker of an empty transaction.
    ///
    /// A transaction of the producer that a partition holds open, though the coordinator knows nothing of it, ends with it.
    ///
    /// The producer has no transaction open. Its first batch in each partition has sequence number 0.
    ///
    /// # Errors
    /// Those of [`add_partitions_to_txn`](Self::add_partitions_to_txn) and [`end_txn`](Self::end_txn).
    pub async fn mark(
        &self,
        transactional_id: &str,
        producer: ProducerIdentity,
        partitions: &[TopicPartition],
        end: TransactionEnd,
    ) -> Result<(), ClientError> {
        for some in partitions.chunks(PARTITIONS_AT_ONCE) {
            self.add_partitions_to_txn(transactional_id, producer, some).await?;
            self.end_txn(transactional_id, producer, end).await?;
            // The second answer comes when the markers are written.
            self.end_txn(transactional_id, producer, end).await?;
        }
        Ok(())
    }

    async fn ask_coordinator<R, F>(
        &self,
        transactional_id: &str,
        request: R,
        understand: F,
    ) -> Outcome<()>
    where
        R: Api + Clone + Send + 'static,
        F: Fn(&Connection, R::Response) -> Outcome<()> + Copy + Send + 'static,
    {
        let ask = move |connection: Connection, keys: Vec<String>| {
            let request = request.clone();
            async move {
                let version = connection.capabilities().version_of(R::ID, VERSION_1);
                let version = version.map_err(|gap| {
                    ClientError::new(gap).at(connection.broker()).during(R::ID.name)
                })?;
                let answer = connection.call_version(request, version).await?;
                let outcome = understand(&connection, answer);
                Ok(keys.into_iter().map(|key| (key, outcome.clone())).collect::<BTreeMap<_, _>>())
            }
        };
        let key = transactional_id.to_owned();
        let kind = CoordinatorKind::Transaction;
        let mut outcomes = self.ask_coordinators(kind, vec![key.clone()], ask).await;
        outcomes.remove(&key).expect("every key has an outcome")
    }
}

/// One partition that cannot be added keeps out all others: those say OPERATION_NOT_ATTEMPTED.
fn add(
    connection: &Connection,
    answer: <AddPartitionsToTxnRequest as Api>::Response,
) -> Outcome<()> {
    let mut failure = None;
    for topic in &answer.results_by_topic_v3_and_below {
        for one in &topic.results_by_partition {
            let code = ErrorCode(one.partition_error_code);
            let is_own = code != ErrorCode::OPERATION_NOT_ATTEMPTED;
            if !code.is_ok() && (failure.is_none() || is_own) {
                let place = TopicPartition::new(topic.name.as_str(), one.partition_index);
                failure = Some((code, place));
            }
        }
    }
    match failure {
        None => Ok(()),
        Some((code, place)) => {
            Err(refused::<AddPartitionsToTxnRequest>(connection, code, Some(&place.to_string())))
        }
    }
}

fn end(connection: &Connection, answer: <EndTxnRequest as Api>::Response) -> Outcome<()> {
    outcome::<EndTxnRequest, _>(connection, answer.error_code, None, ())
}
