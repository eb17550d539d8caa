//! The fetch sessions of a node.
//!
//! Rules: KIP-227 and Kafka's `FetchSession.scala`.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::TopicName;
use uuid::Uuid;

/// A session that nobody used for so long may be replaced by a new one, in milliseconds.
const EVICTION_MS: i64 = 120_000;

/// A topic as the request named it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    /// By name, up to version 12.
    Name(TopicName),
    /// By id, from version 13.
    Id(Uuid),
}

/// A partition as the request named it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FetchKey {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: i32,
}

/// What the client wants of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// From this offset.
    pub offset: i64,
    /// Of a leader with this epoch, or -1.
    pub leader_epoch: i32,
    /// Epoch of the last batch that it has, or -1.
    pub last_fetched_epoch: i32,
    /// At most so many bytes.
    pub max_bytes: usize,
}

/// What a session remembers of a partition.
#[derive(Debug, Clone, Copy)]
pub struct Cached {
    /// What the client wants.
    pub wanted: Wanted,
    /// What it was told last; -1 makes the next answer tell again.
    pub high_watermark: i64,
    /// What it was told last.
    pub log_start_offset: i64,
    order: u64,
}

/// A fetch session, or the partitions of a fetch without one.
#[derive(Debug, Clone, Default)]
pub struct Session {
    partitions: BTreeMap<FetchKey, Cached>,
    order: BTreeMap<u64, FetchKey>,
    next_order: u64,
    next_epoch: i32,
    by_id: bool,
    last_used_ms: i64,
}

impl Session {
    /// Wants a partition, from now on or from elsewhere.
    pub fn want(&mut self, key: FetchKey, wanted: Wanted) {
        if let Some(cached) = self.partitions.get_mut(&key) {
            cached.wanted = wanted;
            return;
        }
        let order = self.next_order;
        self.next_order += 1;
        self.order.insert(order, key.clone());
        let cached = Cached { wanted, high_watermark: -1, log_start_offset: -1, order };
        self.partitions.insert(key, cached);
    }

    /// Does not want a partition any longer.
    pub fn forget(&mut self, key: &FetchKey) {
        if let Some(cached) = self.partitions.remove(key) {
            self.order.remove(&cached.order);
        }
    }

    /// The partitions in the order in which they are served.
    pub fn keys(&self) -> impl Iterator<Item = &FetchKey> {
        self.order.values()
    }

    /// Number of partitions.
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Whether it holds no partition.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// What it remembers of a partition.
    pub fn cached(&self, key: &FetchKey) -> Option<&Cached> {
        self.partitions.get(key)
    }

    /// Takes note of what the client is told; a partition that gave data moves to the end.
    pub fn told(&mut self, key: &FetchKey, high_watermark: i64, log_start: i64, gave_data: bool) {
        let Some(cached) = self.partitions.get_mut(key) else { return };
        cached.high_watermark = high_watermark;
        cached.log_start_offset = log_start;
        if gave_data {
            self.order.remove(&cached.order);
            cached.order = self.next_order;
            self.order.insert(self.next_order, key.clone());
            self.next_order += 1;
        }
    }
}

/// All sessions of a node.
#[derive(Debug, Clone)]
pub struct Sessions {
    slots: usize,
    by_id: BTreeMap<i32, Session>,
}

impl Sessions {
    /// Room for `slots` sessions.
    pub fn new(slots: usize) -> Self {
        Self { slots, by_id: BTreeMap::new() }
    }

    /// A session by its id.
    pub fn get(&self, id: i32) -> Option<&Session> {
        self.by_id.get(&id)
    }

    /// A session by its id.
    pub fn get_mut(&mut self, id: i32) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    /// Ends a session.
    pub fn close(&mut self, id: i32) {
        self.by_id.remove(&id);
    }

    /// Ends all sessions.
    pub fn clear(&mut self) {
        self.by_id.clear();
    }

    /// Keeps a session under `id` if there is room, or if one is idle for two minutes or smaller.
    pub fn keep(&mut self, id: i32, mut session: Session, by_id: bool, now_ms: i64) -> bool {
        if self.by_id.len() >= self.slots {
            let evictable = self
                .by_id
                .iter()
                .filter(|(_, old)| {
                    now_ms - old.last_used_ms > EVICTION_MS || old.len() < session.len()
                })
                .min_by_key(|(_, old)| (old.last_used_ms, old.len()))
                .map(|(&id, _)| id);
            let Some(evicted) = evictable else { return false };
            self.by_id.remove(&evicted);
        }
        session.next_epoch = 1;
        session.by_id = by_id;
        session.last_used_ms = now_ms;
        self.by_id.insert(id, session);
        true
    }

    /// The session of an incremental fetch.
    ///
    /// # Errors
    /// FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH or FETCH_SESSION_TOPIC_ID_ERROR.
    pub fn step(
        &mut self,
        id: i32,
        epoch: i32,
        by_id: bool,
        now_ms: i64,
    ) -> Result<&mut Session, KafkaError> {
        let session = self.by_id.get_mut(&id).ok_or(KafkaError::FetchSessionIdNotFound)?;
        if session.next_epoch != epoch {
            return Err(KafkaError::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(KafkaError::FetchSessionTopicIdError);
        }
        session.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.last_used_ms = now_ms;
        Ok(session)
    }
}
