//! Topics and partitions: who leads, where the data lies.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::configs::{TopicConfigs, TopicRules};
use super::log::{Isolation, Log};
use super::null_log::NullLog;
use super::{ConnectionId, NodeId};

/// A topic.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its id; a topic that is created again gets another.
    pub id: Uuid,
    /// What it is configured with.
    pub configs: TopicConfigs,
    /// The configs that decide about appending, parsed.
    pub rules: TopicRules,
    /// Its partitions by index.
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// A partition by the index of a request.
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// A partition by the index of a request.
    pub fn partition_mut(&mut self, index: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(index).ok()?)
    }
}

/// Where a partition's data lies.
#[derive(Debug, Clone)]
pub enum Store {
    /// In a log.
    Log(Log),
    /// Nowhere: see [`NullLog`].
    Null(NullLog),
}

/// A partition.
#[derive(Debug, Clone)]
pub struct Partition {
    /// The leading node; `None` while all replicas are down.
    pub leader: Option<NodeId>,
    /// Counts the leaders.
    pub leader_epoch: i32,
    /// The nodes that hold it, preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Its data.
    pub store: Store,
    /// Connections whose fetch waits for data here.
    pub waiters: BTreeSet<ConnectionId>,
}

impl Partition {
    /// An empty partition led by its first replica.
    pub fn new(replicas: Vec<NodeId>) -> Self {
        let mut log = Log::default();
        log.start_epoch(0);
        Self {
            leader: replicas.first().copied(),
            leader_epoch: 0,
            replicas,
            store: Store::Log(log),
            waiters: BTreeSet::new(),
        }
    }

    /// The log, where there is one.
    pub fn log(&self) -> Option<&Log> {
        match &self.store {
            Store::Log(log) => Some(log),
            Store::Null(_) => None,
        }
    }

    /// The log, where there is one.
    pub fn log_mut(&mut self) -> Option<&mut Log> {
        match &mut self.store {
            Store::Log(log) => Some(log),
            Store::Null(_) => None,
        }
    }

    /// First offset that may be read.
    pub fn start_offset(&self) -> i64 {
        self.log().map_or(0, Log::start_offset)
    }

    /// Offset that the next record will get.
    pub fn end_offset(&self) -> i64 {
        match &self.store {
            Store::Log(log) => log.end_offset(),
            Store::Null(null) => null.end_offset(),
        }
    }

    /// End of what a reader may see.
    pub fn visible_end(&self, isolation: Isolation) -> i64 {
        match &self.store {
            Store::Log(log) => log.visible_end(isolation),
            Store::Null(null) => null.end_offset(),
        }
    }

    /// Reads as [`Log::read`] does.
    pub fn read(
        &self,
        offset: i64,
        isolation: Isolation,
        max_bytes: usize,
        whole_first: bool,
    ) -> (Vec<Bytes>, usize) {
        match &self.store {
            Store::Log(log) => log.read(offset, log.visible_end(isolation), max_bytes, whole_first),
            Store::Null(null) => null.read(offset, max_bytes, whole_first),
        }
    }

    /// Gives the partition a leader: the next epoch begins.
    pub fn lead(&mut self, leader: Option<NodeId>) {
        self.leader = leader;
        self.leader_epoch += 1;
        let epoch = self.leader_epoch;
        if let Some(log) = self.log_mut() {
            log.start_epoch(epoch);
        }
    }

    /// Compares the epoch that a client believes in; -1 asks for no check.
    ///
    /// # Errors
    /// FENCED_LEADER_EPOCH when the client is behind, UNKNOWN_LEADER_EPOCH when it is ahead.
    pub fn check_epoch(&self, believed: i32) -> Result<(), KafkaError> {
        match believed {
            -1 => Ok(()),
            epoch if epoch < self.leader_epoch => Err(KafkaError::FencedLeaderEpoch),
            epoch if epoch > self.leader_epoch => Err(KafkaError::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }
}

/// All topics of the cluster, by name and by id.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    by_name: BTreeMap<TopicName, Topic>,
    names: BTreeMap<Uuid, TopicName>,
}

impl Topics {
    /// The topic of that name.
    pub fn named(&self, name: &TopicName) -> Option<&Topic> {
        self.by_name.get(name)
    }

    /// The topic of that name.
    pub fn named_mut(&mut self, name: &TopicName) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    /// The name of the topic with that id.
    pub fn name_of(&self, id: Uuid) -> Option<&TopicName> {
        self.names.get(&id)
    }

    /// All topics in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicName, &Topic)> {
        self.by_name.iter()
    }

    /// All topics in order of their names.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&TopicName, &mut Topic)> {
        self.by_name.iter_mut()
    }

    /// Adds a topic whose name is not taken.
    pub fn insert(&mut self, name: TopicName, topic: Topic) {
        self.names.insert(topic.id, name.clone());
        self.by_name.insert(name, topic);
    }

    /// Removes a topic and what it holds.
    pub fn remove(&mut self, name: &TopicName) -> Option<Topic> {
        let topic = self.by_name.remove(name)?;
        self.names.remove(&topic.id);
        Some(topic)
    }
}

/// A topic's name as the messages carry it.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// Whether a topic may be called so (`Topic#validate`).
pub fn is_legal_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.bytes().all(legal)
}
