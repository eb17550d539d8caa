//! Transactions that their coordinator takes for ended while partitions hold them open.
//!
//! A coordinator of Kafka 4.1 to 4.3 passes over partitions that have no leader at the moment when their markers are to be
//! written (KAFKA-20734), so also over its own when it starts again. What was committed would be invisible until the next
//! transaction of the same producer ends there, and share its fate. So it is looked for whenever brokers may have been
//! away, before anything else is written, and ended again.

use std::collections::{BTreeMap, BTreeSet};

use protocol_client::ClientError;
use protocol_client::client::{Client, ProducerIdentity, TransactionEnd};
use protocol_client::cluster::TopicPartition;
use protocol_client::error::Fault;
use tracing::warn;

/// A transactional id, and who has it.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) transactional_id: String,
    pub(super) identity: ProducerIdentity,
    /// How its last transaction ended; none if that is not known.
    pub(super) ended: Option<TransactionEnd>,
}

/// How the last transaction of each id ends, or has ended, if the coordinator says it.
pub(super) async fn ends(
    client: &Client,
    ids: &[String],
) -> Result<BTreeMap<String, TransactionEnd>, ClientError> {
    let mut ends = BTreeMap::new();
    for (id, state) in client.describe_transactions(ids).await {
        match state.as_deref() {
            Ok("PrepareCommit" | "CompleteCommit") => ends.insert(id, TransactionEnd::Commit),
            // What is going on is aborted when the id is taken over.
            Ok("PrepareAbort" | "CompleteAbort" | "Ongoing" | "PrepareEpochFence") => {
                ends.insert(id, TransactionEnd::Abort)
            }
            Ok(_) => None,
            Err(error) if error.retryable() => return Err(error.clone()),
            Err(_) => None,
        };
    }
    Ok(ends)
}

/// Where these partitions hold transactions of these producers open: from which offset on.
///
/// # Errors
/// One of the partitions cannot be asked at present. Those that cannot be asked at all are left out.
pub(super) async fn held_open(
    client: &Client,
    partitions: impl IntoIterator<Item = TopicPartition>,
    producer_ids: &BTreeSet<i64>,
) -> Result<BTreeMap<(i64, TopicPartition), i64>, ClientError> {
    let mut held = BTreeMap::new();
    for (partition, producers) in client.describe_producers(partitions).await {
        let producers = match producers {
            Ok(producers) => producers,
            // Brokers before 2.8, which write the markers of all partitions.
            Err(error) if matches!(error.fault(), Fault::Unsupported(_)) => continue,
            Err(error) if error.retryable() => return Err(error),
            Err(error) => {
                warn!(%partition, "whether a transaction is open cannot be found out: {error}");
                continue;
            }
        };
        for producer in producers {
            if let Some(from) = producer.transaction_start_offset
                && producer_ids.contains(&producer.producer_id)
            {
                held.insert((producer.producer_id, partition.clone()), from);
            }
        }
    }
    Ok(held)
}

/// Ends what these partitions hold open of their holders, one way or the other.
///
/// # Errors
/// It could not be done for all; what was not done is found again.
pub(super) async fn end(
    client: &Client,
    flow: &str,
    holders: &[Holder],
    held: BTreeMap<(i64, TopicPartition), TransactionEnd>,
) -> Result<(), ClientError> {
    for Holder { transactional_id, identity, .. } in holders {
        for wanted in [TransactionEnd::Commit, TransactionEnd::Abort] {
            let own = held.iter().filter(|((id, _), end)| *id == identity.id && **end == wanted);
            let partitions: Vec<_> = own.map(|((_, partition), _)| partition.clone()).collect();
            if let [first, ..] = &partitions[..] {
                warn!(
                    flow,
                    transactional_id,
                    "a transaction has ended ({wanted:?}) but is open still in {} partitions, the first is {first}; it is ended there too (KAFKA-20734)",
                    partitions.len()
                );
                client.mark(transactional_id, *identity, &partitions, wanted).await?;
            }
        }
    }
    Ok(())
}
