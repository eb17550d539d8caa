//! Reads and writes the offset-syncs topic, on whichever side it lies.

use std::sync::Arc;

use protocol_client::ClientError;
use protocol_client::batch::{HEADER_BYTES, Rebuilt, TxnFilter, Verdict};
use protocol_client::client::{Client, ReadLimits};
use protocol_client::cluster::TopicPartition;
use protocol_client::wire::fetch::Isolation;

use super::ledger::Ledger;

/// Attempts to write one batch whose fate is unclear. What is repeated does no harm: the last of a key counts.
const ATTEMPTS: u32 = 5;

/// The only partition that is read and written, as in MirrorMaker 2.
pub fn partition(topic: &str) -> TopicPartition {
    TopicPartition::new(Arc::from(topic), 0)
}

/// Reads the whole topic, committed records only. What is damaged is skipped and counted.
///
/// # Errors
/// The topic could not be read.
pub async fn read(client: &Client, topic: &str) -> Result<Ledger, ClientError> {
    let partition = partition(topic);
    let isolation = Isolation::ReadCommitted;
    let mut ledger = Ledger::default();
    let limits = ReadLimits { isolation, ..ReadLimits::default() };
    let mut reader = client.read(partition, 0, limits).await?;
    while let Some(chunk) = reader.next_chunk().await? {
        let mut filter = TxnFilter::new(chunk.aborted);
        for entry in &chunk.entries {
            let absorbed = filter.judge(entry).and_then(|verdict| match verdict {
                Verdict::Keep => ledger.absorb(entry),
                _ => Ok(()),
            });
            if let Err(error) = absorbed {
                ledger.skip(entry.base_offset(), &error);
            }
        }
    }
    Ok(ledger)
}

/// Writes batches, one behind the other.
///
/// # Errors
/// A batch could not be written.
pub async fn write(client: &Client, topic: &str, batches: &[Rebuilt]) -> Result<(), ClientError> {
    let partition = partition(topic);
    for batch in batches {
        let Some(header) = batch.bytes.first_chunk::<HEADER_BYTES>() else { continue };
        let payload = batch.bytes.slice(HEADER_BYTES..);
        let mut attempt = 1;
        while let Err(error) = client.produce(&partition, *header, payload.clone()).await {
            if attempt == ATTEMPTS || !error.retryable() {
                return Err(error);
            }
            attempt += 1;
        }
    }
    Ok(())
}
