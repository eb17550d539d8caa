//! Reads the checkpoints of a flow: the last one of each group and partition.

use std::collections::BTreeMap;

use protocol_client::ClientError;
use protocol_client::batch::record::RecordBody;
use protocol_client::batch::{BatchError, Entry, OpenBatch};
use protocol_client::client::{Client, ReadLimits};
use protocol_client::cluster::TopicPartition;
use protocol_client::wire::fetch::Isolation;

use crate::records::checkpoint::Checkpoint;

/// Most that a batch of checkpoints may have when decompressed, in bytes.
const MAX_OPEN_BYTES: usize = 64 << 20;

/// The last checkpoints by the partitions that they are about, as the target calls them.
pub(super) type Checkpoints = BTreeMap<TopicPartition, Vec<Checkpoint>>;

/// Reads the whole topic. Records that are no checkpoints are left out; others may write to the topic.
pub(super) async fn read(
    client: &Client,
    topic: &str,
    partitions: i32,
) -> Result<Checkpoints, ClientError> {
    let mut last: BTreeMap<Vec<u8>, Checkpoint> = BTreeMap::new();
    let limits = ReadLimits { isolation: Isolation::ReadCommitted, ..ReadLimits::default() };
    for index in 0..partitions {
        let mut reader = client.read(TopicPartition::new(topic, index), 0, limits).await?;
        while let Some(chunk) = reader.next_chunk().await? {
            for entry in chunk.entries.iter().filter(|entry| !entry.is_control()) {
                take(&mut last, entry).map_err(|error| {
                    ClientError::unexpected(format!("{topic}-{index}: {error}"))
                })?;
            }
        }
    }
    let mut checkpoints = Checkpoints::new();
    for one in last.into_values() {
        let at = TopicPartition::new(one.topic.as_str(), one.partition);
        checkpoints.entry(at).or_default().push(one);
    }
    Ok(checkpoints)
}

fn take(last: &mut BTreeMap<Vec<u8>, Checkpoint>, entry: &Entry) -> Result<(), BatchError> {
    let open = OpenBatch::open(entry, MAX_OPEN_BYTES)?;
    for record in open.records() {
        let record = record?;
        let body = RecordBody::decode(record.body, record.offset)?;
        let Some(key) = body.key else { continue };
        match body.value.map(|value| Checkpoint::decode(key, value)) {
            Some(Ok(checkpoint)) => {
                last.insert(key.to_vec(), checkpoint);
            }
            Some(Err(_)) => {}
            None => {
                last.remove(key);
            }
        }
    }
    Ok(())
}
