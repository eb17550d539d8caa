//! Reads and writes the offsets topic at the target.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol_client::ClientError;
use protocol_client::batch::{BatchError, HEADER_BYTES, Rebuilt, TxnFilter, Verdict};
use protocol_client::client::{Client, OffsetSpec, ReadLimits};
use protocol_client::cluster::TopicPartition;
use protocol_client::wire::fetch::Isolation;
use thiserror::Error;

use super::ledger::{Ledger, Position, Stored};
use crate::records::pair::EndedProducer;

/// Attempts to write one batch whose fate is unclear. Writing a position twice does no harm: the last one counts.
const ATTEMPTS: u32 = 5;

/// Why positions could not be read or written.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// A request failed.
    #[error("positions in {partition}: {error}")]
    Client {
        /// The partition of the offsets topic.
        partition: TopicPartition,
        /// What went wrong.
        error: ClientError,
    },
    /// A batch of the topic is damaged, or a new one cannot be built.
    #[error("positions in {partition}: {error}")]
    Batch {
        /// The partition of the offsets topic.
        partition: TopicPartition,
        /// What is wrong.
        error: BatchError,
    },
}

impl StoreError {
    /// Whether trying again is useless until somebody acts.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Client { error, .. } => !error.retryable(),
            Self::Batch { .. } => true,
        }
    }
}

/// The offsets topic of one flow.
#[derive(Debug)]
pub struct PositionStore {
    client: Client,
    topic: Arc<str>,
    partitions: i32,
    ledger: Ledger,
}

impl PositionStore {
    /// Reads the whole topic, committed records only: exactly-once workers write it in transactions.
    ///
    /// # Errors
    /// The topic could not be read.
    pub async fn open(
        client: Client,
        topic: Arc<str>,
        partitions: i32,
        ledger: Ledger,
    ) -> Result<Self, StoreError> {
        let mut store = Self { client, topic, partitions, ledger };
        let isolation = Isolation::ReadCommitted;
        let all = || (0..partitions).map(|index| TopicPartition::new(store.topic.clone(), index));
        let (earliest, latest) = tokio::join!(
            store.client.list_offsets_of(all(), OffsetSpec::Earliest, isolation),
            store.client.list_offsets_of(all(), OffsetSpec::Latest, isolation),
        );
        for (partition, start) in earliest {
            let failed = |error| StoreError::Client { partition: partition.clone(), error };
            let end = latest.get(&partition).cloned().transpose().map_err(failed)?;
            if end.is_some_and(|end| start.clone().is_ok_and(|start| start.offset >= end.offset)) {
                continue;
            }
            let from = start.map_err(failed)?.offset;
            store.read(partition, from).await?;
        }
        Ok(store)
    }

    /// What is stored of a partition.
    pub fn stored(&self, topic: &str, index: i32) -> Stored {
        self.ledger.stored(topic, index)
    }

    /// So many partitions of a topic are known: one more than the largest number.
    pub fn partitions(&self, topic: &str) -> i32 {
        self.ledger.partitions(topic)
    }

    /// The transactional ids that anything is noted of.
    pub fn transactional_ids(&self) -> impl Iterator<Item = &str> {
        self.ledger.transactional_ids()
    }

    /// How many partitions the topic has.
    pub fn topic_partitions(&self) -> i32 {
        self.partitions
    }

    /// The last producer of this transactional id that ended in good order.
    pub fn ended(&self, transactional_id: &str) -> Option<EndedProducer> {
        self.ledger.ended(transactional_id)
    }

    /// Records that were not understood.
    pub fn skipped(&self) -> u64 {
        self.ledger.skipped()
    }

    /// Writes the positions that changed; answers how many.
    ///
    /// # Errors
    /// They could not be written; they count as changed still.
    pub async fn write(
        &mut self,
        positions: impl IntoIterator<Item = Position>,
        now_ms: i64,
    ) -> Result<usize, StoreError> {
        let changes = self.ledger.changes(positions);
        let encoded = self.ledger.encode(&changes, self.partitions, now_ms);
        self.write_batches(encoded).await?;
        let count = changes.len();
        self.ledger.commit(changes);
        Ok(count)
    }

    /// Takes note of positions that somebody else has written.
    pub fn note(&mut self, positions: impl IntoIterator<Item = Position>) {
        let changes = self.ledger.changes(positions);
        self.ledger.commit(changes);
    }

    /// Notes that the producers of these transactional ids ended in good order.
    ///
    /// # Errors
    /// That could not be written.
    pub async fn write_ends(
        &self,
        ended: &BTreeMap<String, EndedProducer>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write_batches(self.ledger.encode_ends(ended, self.partitions, now_ms)).await
    }

    async fn write_batches(
        &self,
        encoded: Result<Vec<(i32, Rebuilt)>, BatchError>,
    ) -> Result<(), StoreError> {
        let unbuilt = |error| StoreError::Batch { partition: self.partition(0), error };
        for (index, batch) in encoded.map_err(unbuilt)? {
            let partition = self.partition(index);
            if let Some(header) = batch.bytes.first_chunk::<HEADER_BYTES>() {
                self.write_batch(&partition, *header, batch.bytes.slice(HEADER_BYTES..)).await?;
            }
        }
        Ok(())
    }

    async fn write_batch(
        &self,
        partition: &TopicPartition,
        header: [u8; HEADER_BYTES],
        payload: bytes::Bytes,
    ) -> Result<(), StoreError> {
        let mut attempt = 1;
        loop {
            match self.client.produce(partition, header, payload.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if attempt < ATTEMPTS && error.retryable() => attempt += 1,
                Err(error) => {
                    return Err(StoreError::Client { partition: partition.clone(), error });
                }
            }
        }
    }

    async fn read(&mut self, partition: TopicPartition, from: i64) -> Result<(), StoreError> {
        let failed = |error| StoreError::Client { partition: partition.clone(), error };
        let damaged = |error| StoreError::Batch { partition: partition.clone(), error };
        let limits = ReadLimits { isolation: Isolation::ReadCommitted, ..ReadLimits::default() };
        let mut reader = self.client.read(partition.clone(), from, limits).await.map_err(failed)?;
        while let Some(chunk) = reader.next_chunk().await.map_err(failed)? {
            let mut filter = TxnFilter::new(chunk.aborted);
            for entry in &chunk.entries {
                if filter.judge(entry).map_err(damaged)? == Verdict::Keep {
                    self.ledger.absorb(entry).map_err(damaged)?;
                }
            }
        }
        Ok(())
    }

    fn partition(&self, index: i32) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), index)
    }
}
