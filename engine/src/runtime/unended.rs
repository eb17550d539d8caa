//! Transactions that their coordinator takes for ended while partitions hold them open.
//!
//! A coordinator of Kafka 4.1 to 4.3 passes over partitions that have no leader at the moment when their markers are to be
//! written (KAFKA-20734), so also over its own when it starts again. What was committed would be invisible until the next
//! transaction of the same producer ends there, and share its fate. So it is looked for whenever brokers may have been
//! away, before anything else is written, and ended again.

use std::collections::BTreeMap;

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

/// Ends what these partitions hold open of the holders, each the way that `end` says of its holder, the partition and the
/// offset from which on it is open.
///
/// # Errors
/// One of the partitions cannot be asked at present, or not all could be ended; what was not done is found again. Partitions
/// that cannot be asked at all are told of and left alone.
pub(super) async fn settle(
    client: &Client,
    flow: &str,
    holders: &[Holder],
    partitions: impl IntoIterator<Item = TopicPartition>,
    end: impl Fn(&Holder, &TopicPartition, i64) -> TransactionEnd,
) -> Result<(), ClientError> {
    let mut open = vec![(Vec::new(), Vec::new()); holders.len()];
    let mut unasked = Vec::new();
    for (partition, producers) in client.describe_producers(partitions).await {
        let producers = match producers {
            Ok(producers) => producers,
            // Brokers before 2.8, which write the markers of all partitions.
            Err(error) if matches!(error.fault(), Fault::Unsupported(_)) => continue,
            Err(error) if error.retryable() => return Err(error),
            Err(error) => {
                unasked.push((partition, error));
                continue;
            }
        };
        for producer in producers {
            let Some(from) = producer.transaction_start_offset else { continue };
            let of = |holder: &Holder| holder.identity.id == producer.producer_id;
            if let Some(at) = holders.iter().position(of) {
                match end(&holders[at], &partition, from) {
                    TransactionEnd::Commit => open[at].0.push(partition.clone()),
                    TransactionEnd::Abort => open[at].1.push(partition.clone()),
                }
            }
        }
    }
    if let [(first, error), ..] = &unasked[..] {
        warn!(
            flow,
            "whether a transaction is open cannot be found out of {} partitions, the first is {first}: {error}; it wants the ACL `READ` on the topic",
            unasked.len()
        );
    }
    for (holder, (committed, aborted)) in holders.iter().zip(open) {
        end_in(client, flow, holder, &committed, TransactionEnd::Commit).await?;
        end_in(client, flow, holder, &aborted, TransactionEnd::Abort).await?;
    }
    Ok(())
}

async fn end_in(
    client: &Client,
    flow: &str,
    Holder { transactional_id, identity, .. }: &Holder,
    partitions: &[TopicPartition],
    end: TransactionEnd,
) -> Result<(), ClientError> {
    let [first, ..] = partitions else { return Ok(()) };
    warn!(
        flow,
        transactional_id,
        "a transaction has ended ({end:?}) but is open still in {} partitions, the first is {first}; it is ended there too (KAFKA-20734)",
        partitions.len()
    );
    client.mark(transactional_id, *identity, partitions, end).await
}
