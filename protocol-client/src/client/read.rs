//! Reads a partition from an offset to its present end: for internal topics and for looking back.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::Client;
use super::list_offsets::OffsetSpec;
use crate::batch::{Entry, walk};
use crate::cluster::TopicPartition;
use crate::cluster::metadata::Topics;
use crate::error::{ClientError, Fault};
use crate::net::{Connection, ConnectionOptions};
use crate::wire::error_code::{ErrorCode, RetryClass};
use crate::wire::fetch::{
    AbortedTransaction, FETCH, FetchPartition, FetchTopic, FetchedPartition, Isolation, RawFetch,
};

/// How a partition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// How much is asked for at once, in bytes. A larger batch comes whole.
    pub max_bytes: i32,
    /// How long the broker may wait, in milliseconds.
    pub max_wait_ms: i32,
    /// Which records are wanted.
    pub isolation: Isolation,
}

impl Default for ReadLimits {
    /// 4 MiB at once, everything that is written.
    fn default() -> Self {
        Self { max_bytes: 4 << 20, max_wait_ms: 500, isolation: Isolation::ReadUncommitted }
    }
}

/// What came with one fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadChunk {
    /// The first offset that was asked for; the first entry may start below it.
    pub from: i64,
    /// Whole batches.
    pub entries: Vec<Entry>,
    /// Aborted transactions among them, with [`Isolation::ReadCommitted`].
    pub aborted: Vec<AbortedTransaction>,
}

/// Reads one partition up to where it ended when reading began, over a connection of its own.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    options: Arc<ConnectionOptions>,
    partition: TopicPartition,
    limits: ReadLimits,
    position: i64,
    end: i64,
    lane: Option<Lane>,
}

#[derive(Debug)]
struct Lane {
    connection: Connection,
    topic: FetchTopic,
    generation: u64,
}

impl Client {
    /// Reads `partition` from `from` (or its first offset if that is larger) to its present end.
    pub async fn read(
        &self,
        partition: TopicPartition,
        from: i64,
        limits: ReadLimits,
    ) -> Result<Reader, ClientError> {
        let edge = async |spec| {
            let asked = [partition.clone()];
            let mut listed = self.list_offsets_of(asked, spec, limits.isolation).await;
            listed.remove(&partition).expect("every item has an outcome").map(|one| one.offset)
        };
        let (earliest, end) = (edge(OffsetSpec::Earliest).await?, edge(OffsetSpec::Latest).await?);
        Ok(Reader {
            client: self.clone(),
            options: Arc::clone(&self.0.connection_options),
            partition,
            limits,
            position: from.max(earliest),
            end,
            lane: None,
        })
    }
}

impl Reader {
    /// The next offset to come.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Where reading ends.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// The next batches, or `None` at the end. Errors that pass are retried for as long as a call
    /// may take, counted anew with each chunk.
    pub async fn next_chunk(&mut self) -> Result<Option<ReadChunk>, ClientError> {
        let client = self.client.clone();
        let deadline = Instant::now() + client.options().call_timeout;
        let mut failures = 0;
        while self.position < self.end {
            let error = match self.fetch().await {
                Ok(Some(chunk)) => return Ok(Some(chunk)),
                // A throttled broker answers with nothing, which is not the end.
                Ok(None) => {
                    ClientError::new(Fault::Timeout { after: client.options().call_timeout })
                        .during(FETCH.name)
                }
                Err(error) if error.retryable() => {
                    self.lane = None;
                    failures += 1;
                    error
                }
                Err(error) => return Err(error),
            };
            let pause = client.options().backoff.pause(failures, fastrand::f64());
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            if failures > 0 {
                sleep(pause).await;
            }
        }
        Ok(None)
    }

    async fn fetch(&mut self) -> Result<Option<ReadChunk>, ClientError> {
        let lane = match self.lane.take() {
            Some(lane) if !lane.connection.is_closed() => lane,
            _ => self.open_lane().await?,
        };
        let mut topic = lane.topic.clone();
        topic.partitions = vec![FetchPartition {
            index: self.partition.partition,
            offset: self.position,
            leader_epoch: -1,
            last_fetched_epoch: -1,
            max_bytes: self.limits.max_bytes,
        }];
        let request = RawFetch {
            max_wait_ms: self.limits.max_wait_ms,
            min_bytes: 1,
            max_bytes: self.limits.max_bytes,
            isolation: self.limits.isolation,
            session_epoch: -1,
            topics: vec![topic],
            ..RawFetch::default()
        };
        let answer = lane.connection.start_fetch(&request).await?;
        let broker = Arc::clone(lane.connection.broker());
        let refused = |code| ClientError::refused(code, None).at(&broker).during(FETCH.name);
        answer.error.ok().map_err(refused)?;
        let fetched = answer.partitions.into_iter().next();
        let fetched = fetched.ok_or_else(|| {
            ClientError::unexpected("the answer leaves out the partition").at(&broker)
        })?;
        if let Err(code) = fetched.error.ok() {
            self.refresh_if_stale(code, lane.generation).await;
            return Err(refused(code));
        }
        self.lane = Some(lane);
        self.take(fetched).map_err(|error| error.at(&broker).during(FETCH.name))
    }

    async fn open_lane(&self) -> Result<Lane, ClientError> {
        let topic = Arc::clone(&self.partition.topic);
        let view = self.client.topics(&[Arc::clone(&topic)]).await?;
        let leader = view.leader_or_why(&self.partition)?;
        let connection = self.client.connect_to(leader, &self.options).await?;
        let id = view.topics.get(&topic).map(|topic| topic.id).unwrap_or_default();
        let topic = FetchTopic { name: topic, id, partitions: Vec::new() };
        Ok(Lane { connection, topic, generation: view.generation })
    }

    async fn refresh_if_stale(&self, code: ErrorCode, generation: u64) {
        if code.class() == RetryClass::RefreshMetadata {
            let topics = Topics::Named([Arc::clone(&self.partition.topic)].into());
            // The next attempt finds out by itself if this fails.
            let _ = self.client.refresh(topics, generation).await;
        }
    }

    fn take(&mut self, fetched: FetchedPartition) -> Result<Option<ReadChunk>, ClientError> {
        let entries: Result<Vec<Entry>, _> = walk(&fetched.records).collect();
        let entries = entries.map_err(|error| ClientError::unexpected(error.to_string()))?;
        let Some(last) = entries.last() else { return Ok(None) };
        let from = self.position;
        if last.next_offset() <= from {
            return Err(ClientError::unexpected(format!("nothing at or behind offset {from}")));
        }
        self.position = last.next_offset();
        Ok(Some(ReadChunk { from, entries, aborted: fetched.aborted }))
    }
}
