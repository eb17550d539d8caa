//! Reads what a partition holds: from an offset to its present end, for internal topics, or a piece at a time,
//! for looking back at many partitions at once.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::list_offsets::OffsetSpec;
use super::{Client, Purpose};
use crate::batch::{Entry, walk};
use crate::cluster::TopicPartition;
use crate::cluster::metadata::{Freshness, Topics};
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
    /// How long the broker may wait for records, in milliseconds. Only for [`Client::read`].
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
    /// The offset to ask for next; `from` if nothing came.
    pub next: i64,
    /// Whole batches.
    pub entries: Vec<Entry>,
    /// Aborted transactions among them, with [`Isolation::ReadCommitted`].
    pub aborted: Vec<AbortedTransaction>,
    /// The offset behind the last record that all replicas in sync have.
    pub high_watermark: i64,
    /// The offset before which every transaction is decided; -1 if not told.
    pub last_stable_offset: i64,
    /// The first offset of the log; -1 if not told.
    pub log_start: i64,
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
        let (earliest, end) =
            tokio::try_join!(edge(OffsetSpec::Earliest), edge(OffsetSpec::Latest))?;
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

    /// Reads one piece of `partition` at `from`, over connections that all such calls share. The broker does not wait:
    /// at the end of the log, and where a broker is throttled, the chunk is empty.
    ///
    /// # Errors
    /// Also OFFSET_OUT_OF_RANGE, if the log does not hold `from`.
    pub async fn read_at(
        &self,
        partition: &TopicPartition,
        from: i64,
        limits: ReadLimits,
    ) -> Result<ReadChunk, ClientError> {
        let mut generation = None;
        let mut attempts = self.attempts(vec![()]);
        while attempts.next().await.is_some() {
            // Bounds the memory of answers under way, and the queues of the connections.
            let _turn = self.0.look_backs.acquire().await;
            attempts.settle_one(self.read_once(partition, from, limits, &mut generation).await);
        }
        attempts.finish_one()
    }

    async fn read_once(
        &self,
        partition: &TopicPartition,
        from: i64,
        limits: ReadLimits,
        generation: &mut Option<u64>,
    ) -> Result<ReadChunk, ClientError> {
        let topics = Topics::Named([Arc::clone(&partition.topic)].into());
        let freshness = match *generation {
            Some(used) => Freshness::NewerThan(used),
            None => Freshness::WithinAge(self.options().metadata_max_age),
        };
        let view = self.refresh_once(&topics, freshness).await?;
        *generation = Some(view.generation);
        let leader = view.leader_or_why(partition)?;
        let connection = self.node_for(Purpose::LookBack, leader).await?;
        let id = view.topics.get(&partition.topic).map(|topic| topic.id).unwrap_or_default();
        let topic = FetchTopic { name: Arc::clone(&partition.topic), id, partitions: Vec::new() };
        let limits = ReadLimits { max_wait_ms: 0, ..limits };
        fetch(&connection, topic, partition.partition, from, limits).await
    }
}

/// Fetches once, without a session. Nothing may come.
async fn fetch(
    connection: &Connection,
    mut topic: FetchTopic,
    index: i32,
    from: i64,
    limits: ReadLimits,
) -> Result<ReadChunk, ClientError> {
    topic.partitions = vec![FetchPartition {
        index,
        offset: from,
        leader_epoch: -1,
        last_fetched_epoch: -1,
        max_bytes: limits.max_bytes,
    }];
    let request = RawFetch {
        max_wait_ms: limits.max_wait_ms,
        min_bytes: 1,
        max_bytes: limits.max_bytes,
        isolation: limits.isolation,
        session_epoch: -1,
        topics: vec![topic],
        ..RawFetch::default()
    };
    let answer = connection.start_fetch(&request).await?;
    let in_context = |error: ClientError| error.at(connection.broker()).during(FETCH.name);
    let refused = |code| in_context(ClientError::refused(code, None));
    answer.error.ok().map_err(refused)?;
    let fetched = answer.partitions.into_iter().next().ok_or_else(|| {
        in_context(ClientError::unexpected("the answer leaves out the partition"))
    })?;
    fetched.error.ok().map_err(refused)?;
    chunk(from, fetched).map_err(in_context)
}

fn chunk(from: i64, fetched: FetchedPartition) -> Result<ReadChunk, ClientError> {
    let entries: Result<Vec<Entry>, _> = walk(&fetched.records).collect();
    let entries = entries.map_err(|error| ClientError::unexpected(error.to_string()))?;
    let next = entries.last().map_or(from, Entry::next_offset);
    if !entries.is_empty() && next <= from {
        return Err(ClientError::unexpected(format!("nothing at or behind offset {from}")));
    }
    Ok(ReadChunk {
        from,
        next,
        entries,
        aborted: fetched.aborted,
        high_watermark: fetched.high_watermark,
        last_stable_offset: fetched.last_stable_offset,
        log_start: fetched.log_start_offset,
    })
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
        let (topic, index) = (lane.topic.clone(), self.partition.partition);
        match fetch(&lane.connection, topic, index, self.position, self.limits).await {
            Ok(chunk) => {
                self.lane = Some(lane);
                self.position = chunk.next;
                Ok(Some(chunk).filter(|chunk| !chunk.entries.is_empty()))
            }
            Err(error) => {
                if let Some(code) = error.code() {
                    self.refresh_if_stale(code, lane.generation).await;
                }
                Err(error)
            }
        }
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
}
