//! Reads and writes the offsets topic at the target.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use protocol_client::ClientError;
use protocol_client::batch::{BatchError, HEADER_BYTES, Rebuilt, TxnFilter, Verdict};
use protocol_client::client::{Client, OffsetSpec, ReadChunk, ReadLimits, Reader};
use protocol_client::cluster::TopicPartition;
use protocol_client::wire::fetch::Isolation;
use thiserror::Error;

use super::ledger::{Ledger, Position, Stored};
use crate::records::pair::EndedProducer;

/// Attempts to write one batch whose fate is unclear. Writing a position twice does no harm: the last one counts.
const ATTEMPTS: u32 = 5;

/// Partitions whose first piece is asked for at once; most hold no more than that. They are taken in one after the other,
/// always in the same order.
const READS_AT_ONCE: usize = 4;

/// Partitions that are written at once.
const WRITES_AT_ONCE: usize = 16;

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
        let all = (0..partitions).map(|index| store.partition(index));
        let isolation = Isolation::ReadCommitted;
        let ends = store.client.list_offsets_of(all, OffsetSpec::Latest, isolation).await;
        let mut filled = Vec::new();
        for (partition, end) in ends {
            match end {
                Ok(end) if end.offset == 0 => {}
                Ok(_) => filled.push(partition),
                Err(error) => return Err(StoreError::Client { partition, error }),
            }
        }
        let client = store.client.clone();
        let opened = filled.into_iter().map(|partition| Opened::open(&client, partition));
        let mut opened = stream::iter(opened).buffered(READS_AT_ONCE);
        while let Some(one) = opened.next().await {
            store.read(one?).await?;
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
        let mut by_partition: BTreeMap<i32, Vec<Rebuilt>> = BTreeMap::new();
        for (index, batch) in encoded.map_err(unbuilt)? {
            by_partition.entry(index).or_default().push(batch);
        }
        let writes = by_partition.into_iter().map(|(index, batches)| self.write_to(index, batches));
        // All are waited for: nothing of this write may arrive behind a later one.
        let written = stream::iter(writes).buffer_unordered(WRITES_AT_ONCE);
        written.fold(Ok(()), |all, one| std::future::ready(all.and(one))).await
    }

    async fn write_to(&self, index: i32, batches: Vec<Rebuilt>) -> Result<(), StoreError> {
        let partition = self.partition(index);
        for batch in batches {
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

    async fn read(&mut self, opened: Opened) -> Result<(), StoreError> {
        let Opened { partition, mut reader, first } = opened;
        let failed = |error| StoreError::Client { partition: partition.clone(), error };
        let damaged = |error| StoreError::Batch { partition: partition.clone(), error };
        let mut next = first;
        while let Some(chunk) = next {
            let mut filter = TxnFilter::new(chunk.aborted);
            for entry in &chunk.entries {
                if filter.judge(entry).map_err(damaged)? == Verdict::Keep {
                    self.ledger.absorb(entry).map_err(damaged)?;
                }
            }
            next = reader.next_chunk().await.map_err(failed)?;
        }
        Ok(())
    }

    fn partition(&self, index: i32) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), index)
    }
}

/// A partition of the topic that is being read, and what came first of it.
struct Opened {
    partition: TopicPartition,
    reader: Reader,
    first: Option<ReadChunk>,
}

impl Opened {
    async fn open(client: &Client, partition: TopicPartition) -> Result<Self, StoreError> {
        let open = async {
            let limits =
                ReadLimits { isolation: Isolation::ReadCommitted, ..ReadLimits::default() };
            let mut reader = client.read(partition.clone(), 0, limits).await?;
            let first = reader.next_chunk().await?;
            Ok((reader, first))
        };
        match open.await {
            Ok((reader, first)) => Ok(Self { partition, reader, first }),
            Err(error) => Err(StoreError::Client { partition, error }),
        }
    }
}
