//! The topics that hold the state of replication: found or created, written and read.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol_client::ClientError;
use protocol_client::batch::record::RecordBody;
use protocol_client::batch::{
    BatchBuilder, BatchError, Entry, HEADER_BYTES, OpenBatch, TxnFilter, Verdict,
};
use protocol_client::client::{Client, NewTopic, ReadLimits};
use protocol_client::cluster::TopicPartition;
use protocol_client::cluster::metadata::Topics as Asked;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::Isolation;

use super::attempts::{LOOKS, look_pause};

/// Bytes of one batch; far below what any topic takes.
const BATCH_BYTES: usize = 256 << 10;
/// Bytes that one batch may become when it is opened.
const MAX_OPEN_BYTES: usize = 64 << 20;
/// Attempts to write one batch whose fate is unclear. What is repeated does no harm: the last of a key counts.
const ATTEMPTS: u32 = 5;

/// Creates a compacted topic if it is not there; answers how many partitions it has. -1 as the number of partitions or as
/// the replication factor leaves it to the broker, and `cleanup.policy` is `compact` whatever `configs` says.
pub(super) async fn ensure_internal_topic(
    client: &Client,
    name: &str,
    partitions: i32,
    replication_factor: i16,
    configs: &BTreeMap<String, String>,
) -> Result<i32, ClientError> {
    let name: Arc<str> = name.into();
    for looks in 0..LOOKS {
        let view = client.refresh(Asked::All, client.view().generation).await?;
        let there = view.topics.get(&name).filter(|topic| topic.error == ErrorCode::NONE);
        if let Some(count) = there.map(|topic| topic.partitions.len()).filter(|count| *count > 0) {
            return Ok(i32::try_from(count).unwrap_or(i32::MAX));
        }
        let mut configs = configs.clone();
        configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
        let topic = NewTopic {
            name: name.clone(),
            partitions: Some(partitions).filter(|count| *count > 0),
            replication_factor: Some(replication_factor).filter(|factor| *factor > 0),
            configs,
        };
        for (_, created) in client.create_topics(&[topic], false).await {
            match created {
                Err(error) if error.code() != Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        // It mostly shows at once.
        if looks > 0 {
            tokio::time::sleep(look_pause(looks)).await;
        }
    }
    Err(ClientError::unknown(format!("topic {name}, although it was created")))
}

/// Appends records to one partition of a compacted topic, in as few batches as fit.
pub(super) async fn append(
    client: &Client,
    partition: &TopicPartition,
    records: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    now_ms: i64,
) -> Result<(), ClientError> {
    let mut batch = BatchBuilder::new();
    for (key, value) in records {
        batch.push(Some(&key), value.as_deref(), &[], now_ms);
        if batch.size_bytes() >= BATCH_BYTES {
            append_batch(client, partition, std::mem::take(&mut batch)).await?;
        }
    }
    match batch.record_count() {
        0 => Ok(()),
        _ => append_batch(client, partition, batch).await,
    }
}

async fn append_batch(
    client: &Client,
    partition: &TopicPartition,
    batch: BatchBuilder,
) -> Result<(), ClientError> {
    let batch = batch.build().map_err(|error| ClientError::invalid(error.to_string()))?;
    let header = *batch.bytes.first_chunk::<HEADER_BYTES>().expect("a batch has a header");
    let payload: Bytes = batch.bytes.slice(HEADER_BYTES..);
    let mut attempt = 1;
    loop {
        match client.produce(partition, header, payload.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if attempt < ATTEMPTS && error.retryable() => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Reads what is committed in one partition of a compacted topic; each record goes to `absorb` with its offset, and so
/// does what is wrong with a batch that cannot be read.
pub(super) async fn read(
    client: &Client,
    partition: &TopicPartition,
    mut absorb: impl FnMut(i64, Result<RecordBody<'_>, BatchError>),
) -> Result<(), ClientError> {
    let limits = ReadLimits { isolation: Isolation::ReadCommitted, ..ReadLimits::default() };
    let mut reader = client.read(partition.clone(), 0, limits).await?;
    while let Some(chunk) = reader.next_chunk().await? {
        let mut filter = TxnFilter::new(chunk.aborted);
        for entry in &chunk.entries {
            match filter.judge(entry) {
                Ok(Verdict::Keep) if !entry.is_control() => {
                    if let Err(error) = read_batch(entry, &mut absorb) {
                        absorb(entry.base_offset(), Err(error));
                    }
                }
                Ok(_) => {}
                Err(error) => absorb(entry.base_offset(), Err(error)),
            }
        }
    }
    Ok(())
}

fn read_batch(
    entry: &Entry,
    absorb: &mut impl FnMut(i64, Result<RecordBody<'_>, BatchError>),
) -> Result<(), BatchError> {
    for record in OpenBatch::open(entry, MAX_OPEN_BYTES)?.records() {
        let record = record?;
        absorb(record.offset, RecordBody::decode(record.body, record.offset));
    }
    Ok(())
}
