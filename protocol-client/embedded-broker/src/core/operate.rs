//! What an operator does to the cluster: topics, leaders, nodes, data, faults.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol_client::batch::{BatchError, BatchHeader};
use uuid::Uuid;

use super::batch::StoredBatch;
use super::call::{Call, LeaderHint};
use super::compact;
use super::configs::{
    self, BROKER_CONFIGS, ConfigRow, ConfigSource, TOPIC_CONFIGS, TopicConfigs, TopicRules,
};
use super::faults::Fault;
use super::groups::{Committed, Group};
use super::null_log::{NullLog, Prepared};
use super::records::{self, Record};
use super::topics::{Partition, Store, Topic, is_legal_name, topic_name};
use super::{Broker, NodeId};
use crate::options::OnFull;

/// An error of the cluster and one line about it.
pub type Refused = (KafkaError, String);

/// A topic to be.
#[derive(Debug, Clone, Default)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Number of partitions; -1 takes the cluster's default.
    pub partitions: i32,
    /// Number of replicas; -1 takes the cluster's default.
    pub replication_factor: i16,
    /// Replicas by partition, in place of the two numbers.
    pub assignments: BTreeMap<i32, Vec<NodeId>>,
    /// Configs; without a value the default stays.
    pub configs: Vec<(String, Option<String>)>,
}

impl TopicSpec {
    /// So many partitions, the cluster's defaults otherwise.
    pub fn new(name: &str, partitions: i32) -> Self {
        Self { name: name.to_owned(), partitions, replication_factor: -1, ..Self::default() }
    }

    /// With so many replicas.
    #[must_use]
    pub fn replicas(self, replication_factor: i16) -> Self {
        Self { replication_factor, ..self }
    }

    /// With a config.
    #[must_use]
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.configs.push((name.to_owned(), Some(value.to_owned())));
        self
    }
}

impl Call {
    /// Whether an admin request is taken here.
    pub(super) fn check_admin(&self, broker: &Broker) -> Result<(), Refused> {
        broker.check_controller(self).map_err(|error| (error, error.to_string()))
    }
}

impl Broker {
    /// Creates a topic and returns its id.
    ///
    /// # Errors
    /// The error that CreateTopics answers.
    pub fn create_topic(&mut self, spec: TopicSpec) -> Result<Uuid, Refused> {
        let topic = self.plan_topic(&spec)?;
        let id = topic.id;
        self.topics.insert(topic_name(&spec.name), topic);
        Ok(id)
    }

    /// Deletes a topic; false when there is none.
    pub fn delete_topic(&mut self, name: &TopicName) -> bool {
        let Some(mut topic) = self.topics.remove(name) else { return false };
        for partition in &mut topic.partitions {
            self.woken.append(&mut partition.waiters);
        }
        for group in self.groups.values_mut() {
            group.offsets.retain(|(topic, _), _| topic != name);
        }
        self.count_bytes();
        true
    }

    /// Gives a topic these configs in place of those it had.
    pub(super) fn configure(&mut self, name: &TopicName, own: BTreeMap<String, String>) {
        let (defaults, options) = (&self.defaults, &self.options);
        if let Some(topic) = self.topics.named_mut(name) {
            topic.configs.own = own;
            topic.rules = TopicRules::of(&topic.configs, defaults, options);
        }
    }

    /// The topic as it would be created.
    pub(super) fn plan_topic(&mut self, spec: &TopicSpec) -> Result<Topic, Refused> {
        let refuse = |error, what: String| Err((error, what));
        if !is_legal_name(&spec.name) {
            return refuse(KafkaError::InvalidTopicException, "illegal topic name".to_owned());
        }
        if self.topics.named(&topic_name(&spec.name)).is_some() {
            let what = format!("Topic '{}' already exists.", spec.name);
            return refuse(KafkaError::TopicAlreadyExists, what);
        }
        let partitions = if spec.assignments.is_empty() {
            self.place(0, self.partition_count(spec)?, self.replica_count(spec)?)
        } else {
            self.assigned(spec)?
        };
        let mut configs = TopicConfigs::default();
        for (name, value) in &spec.configs {
            let Some(value) = value else {
                return refuse(KafkaError::InvalidConfig, format!("null value for {name}"));
            };
            configs::check(TOPIC_CONFIGS, name, value)
                .map_err(|what| (KafkaError::InvalidConfig, what))?;
            configs.own.insert(name.clone(), value.clone());
        }
        let rules = TopicRules::of(&configs, &self.defaults, &self.options);
        Ok(Topic { id: self.ids.next_uuid(), configs, rules, partitions })
    }

    fn partition_count(&self, spec: &TopicSpec) -> Result<i32, Refused> {
        let default = self.options.default_partitions;
        let count = if spec.partitions == -1 { default } else { spec.partitions };
        if (1..=1_000_000).contains(&count) {
            return Ok(count);
        }
        Err((KafkaError::InvalidPartitions, format!("{count} partitions cannot be")))
    }

    fn replica_count(&self, spec: &TopicSpec) -> Result<usize, Refused> {
        let default = self.options.default_replication_factor;
        let count = if spec.replication_factor == -1 { default } else { spec.replication_factor };
        let alive = self.nodes.values().filter(|node| node.alive).count();
        match usize::try_from(count) {
            Ok(count) if count >= 1 && count <= alive => Ok(count),
            _ => {
                let what = format!("replication factor {count} with {alive} brokers available");
                Err((KafkaError::InvalidReplicationFactor, what))
            }
        }
    }

    /// Partitions `from..to`, replicas spread over the nodes in turn.
    pub(super) fn place(&self, from: i32, to: i32, replicas: usize) -> Vec<Partition> {
        let alive = self.nodes.iter().filter(|(_, node)| node.alive);
        let alive: Vec<NodeId> = alive.map(|(&id, _)| id).collect();
        let partition = |index: i32| {
            let first = index as usize;
            let nodes = (0..replicas).map(|nth| alive[(first + nth) % alive.len()]);
            Partition::new(nodes.collect())
        };
        (from..to).map(partition).collect()
    }

    fn assigned(&self, spec: &TopicSpec) -> Result<Vec<Partition>, Refused> {
        let refuse = |what: &str| Err((KafkaError::InvalidReplicaAssignment, what.to_owned()));
        if spec.partitions != -1 || spec.replication_factor != -1 {
            let what = "give either numbers or assignments".to_owned();
            return Err((KafkaError::InvalidRequest, what));
        }
        if !spec.assignments.keys().copied().eq(0..spec.assignments.len() as i32) {
            return refuse("the assigned partitions are not 0, 1, ...");
        }
        let width = spec.assignments.values().next().map_or(0, Vec::len);
        for nodes in spec.assignments.values() {
            let distinct: BTreeSet<_> = nodes.iter().collect();
            let known = nodes.iter().all(|id| self.nodes.contains_key(id));
            if nodes.is_empty() || nodes.len() != width || distinct.len() != width || !known {
                return refuse("replicas are unknown, repeated, or not equally many");
            }
        }
        Ok(spec.assignments.values().cloned().map(Partition::new).collect())
    }

    /// A topic's partition by name.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topics.named(&topic_name(topic))?.partition(partition)
    }

    /// A topic's partition by name.
    pub fn partition_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        self.topics.named_mut(&topic_name(topic))?.partition_mut(partition)
    }

    /// A topic by name.
    pub fn topic(&self, topic: &str) -> Option<&Topic> {
        self.topics.named(&topic_name(topic))
    }

    /// Names of all topics.
    pub fn topic_names(&self) -> Vec<TopicName> {
        self.topics.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Where a node listens.
    pub fn hint(&self, id: NodeId) -> Option<LeaderHint> {
        let node = self.nodes.get(&id)?;
        Some(LeaderHint { node: id, host: node.host.clone(), port: node.port })
    }

    /// Notes where a node listens.
    pub fn listens(&mut self, id: NodeId, host: &str, port: u16) {
        if let Some(node) = self.nodes.get_mut(&id) {
            host.clone_into(&mut node.host);
            node.port = port;
        }
    }

    /// A broker config and where it comes from.
    pub(super) fn broker_config(&self, row: ConfigRow) -> (String, ConfigSource) {
        if let Some(value) = self.dynamic_configs.get(row.0) {
            return (value.clone(), ConfigSource::DynamicBroker);
        }
        match row.0 {
            "auto.create.topics.enable" => {
                (self.options.auto_create_topics.to_string(), ConfigSource::StaticBroker)
            }
            "num.partitions" => {
                (self.options.default_partitions.to_string(), ConfigSource::StaticBroker)
            }
            "default.replication.factor" => {
                (self.options.default_replication_factor.to_string(), ConfigSource::StaticBroker)
            }
            "fetch.max.bytes" => {
                (self.options.fetch_max_bytes.to_string(), ConfigSource::StaticBroker)
            }
            _ => (row.2.to_owned(), ConfigSource::Default),
        }
    }

    /// All broker configs that there are.
    pub fn broker_config_names() -> impl Iterator<Item = &'static str> {
        BROKER_CONFIGS.iter().map(|row| row.0)
    }

    pub(super) fn fresh_producer_id(&mut self) -> i64 {
        let id = self.next_producer_id;
        self.next_producer_id += 1;
        id
    }

    /// Gives a partition to another node: a clean election.
    pub fn move_leader(&mut self, topic: &str, partition: i32, leader: NodeId) -> bool {
        let alive = self.nodes.get(&leader).is_some_and(|node| node.alive);
        let Some(found) = self.partition_mut(topic, partition).filter(|_| alive) else {
            return false;
        };
        if !found.replicas.contains(&leader) {
            found.replicas.push(leader);
        }
        found.lead(Some(leader));
        self.wake_partition(topic, partition);
        true
    }

    fn wake_partition(&mut self, topic: &str, partition: i32) {
        if let Some(found) = self.partition_mut(topic, partition) {
            let waiters = std::mem::take(&mut found.waiters);
            self.wake(waiters);
        }
    }

    /// Stops a node: what it led goes to the next replica that runs, its sessions are gone.
    pub fn kill_node(&mut self, id: NodeId) {
        let coordinated = self.groups.keys().filter(|group| self.coordinator(group) == Some(id));
        let coordinated: Vec<GroupId> = coordinated.cloned().collect();
        for group in &coordinated {
            self.with_group(group, Group::lose_connections);
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.alive = false;
            node.sessions.clear();
        }
        self.elect(|leader| leader == Some(id));
    }

    /// Starts a node again; with `short_memory` the partitions that it then leads know only the last batch of
    /// each producer, as after loading a producer snapshot.
    pub fn restart_node(&mut self, id: NodeId, short_memory: bool) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.alive = true;
        }
        self.elect(|leader| leader.is_none());
        let led = self.topics.iter_mut().flat_map(|(_, topic)| topic.partitions.iter_mut());
        for log in led.filter(|found| found.leader == Some(id)).filter_map(Partition::log_mut) {
            if short_memory {
                log.producers.keep_last_batch_only();
            }
        }
    }

    /// Finds a leader for the partitions whose leader is as said.
    fn elect(&mut self, concerned: impl Fn(Option<NodeId>) -> bool) {
        let alive: BTreeSet<NodeId> =
            self.nodes.iter().filter(|(_, node)| node.alive).map(|(&id, _)| id).collect();
        let partitions = self.topics.iter_mut().flat_map(|(_, topic)| topic.partitions.iter_mut());
        let mut waiters = BTreeSet::new();
        for partition in partitions.filter(|found| concerned(found.leader)) {
            let next = partition.replicas.iter().find(|id| alive.contains(id)).copied();
            if next != partition.leader {
                partition.lead(next);
            }
            waiters.append(&mut partition.waiters);
        }
        self.wake(waiters);
    }

    /// Cuts a partition's log at `offset` and begins a new leader epoch: an unclean election.
    pub fn truncate(&mut self, topic: &str, partition: i32, offset: i64) -> bool {
        let Some(found) = self.partition_mut(topic, partition) else { return false };
        let Some(log) = found.log_mut() else { return false };
        log.truncate(offset);
        let leader = found.leader;
        found.lead(leader);
        self.count_bytes();
        self.wake_partition(topic, partition);
        true
    }

    /// Compacts all partitions of a topic, whatever its `cleanup.policy`; false when there is no such topic.
    pub fn compact(&mut self, topic: &str, now_ms: i64) -> bool {
        let Some(found) = self.topics.named_mut(&topic_name(topic)) else { return false };
        let retention_ms = found.rules.delete_retention_ms;
        for log in found.partitions.iter_mut().filter_map(Partition::log_mut) {
            compact::compact(log, now_ms, retention_ms);
        }
        self.count_bytes();
        true
    }

    /// Deletes the records below `offset`; returns the new log start.
    ///
    /// # Errors
    /// The error that DeleteRecords answers.
    pub fn delete_records(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<i64, KafkaError> {
        let found = self.partition_mut(topic, partition);
        let log = found.and_then(Partition::log_mut).ok_or(KafkaError::UnknownTopicOrPartition)?;
        let start = log.delete_below(offset)?;
        self.count_bytes();
        self.wake_partition(topic, partition);
        Ok(start)
    }

    /// Appends whole batches past all checks, with or without their own offsets; returns the new log end.
    pub fn append_prepared(
        &mut self,
        topic: &str,
        partition: i32,
        batches: &Bytes,
        keep_offsets: bool,
    ) -> Option<i64> {
        let found = self.partition_mut(topic, partition)?;
        let epoch = found.leader_epoch;
        let log = found.log_mut()?;
        let mut rest = batches.clone();
        while !rest.is_empty() {
            let total = BatchHeader::parse(&rest).ok()?.total_bytes();
            log.append_prepared(&rest.split_to(total), epoch, keep_offsets);
        }
        let end = log.end_offset();
        self.count_bytes();
        self.wake_partition(topic, partition);
        Some(end)
    }

    /// Ends a producer's transaction in one partition, past the coordinator; returns the marker's offset.
    pub fn append_marker(
        &mut self,
        topic: &str,
        partition: i32,
        (producer_id, epoch): (i64, i16),
        committed: bool,
        now_ms: i64,
    ) -> Option<i64> {
        let found = self.partition_mut(topic, partition)?;
        let leader_epoch = found.leader_epoch;
        let log = found.log_mut()?;
        let offset = log.append_marker(producer_id, epoch, committed, leader_epoch, now_ms);
        self.count_bytes();
        self.wake_partition(topic, partition);
        Some(offset)
    }

    /// Makes all partitions of a topic null partitions: see [`NullLog`]. Without `prepared` nothing is served.
    pub fn make_null(&mut self, topic: &str, prepared: Option<(&Bytes, i64)>) -> bool {
        let parsed = match prepared {
            None => None,
            Some((blob, end)) => match Prepared::parse(blob) {
                None => return false,
                Some(prepared) => Some((prepared, end)),
            },
        };
        let Some(found) = self.topics.named_mut(&topic_name(topic)) else { return false };
        let mut waiters = BTreeSet::new();
        for partition in &mut found.partitions {
            let mut null = NullLog::default();
            if let Some((prepared, end)) = &parsed {
                null.serve(prepared.clone(), *end);
            }
            partition.store = Store::Null(null);
            waiters.append(&mut partition.waiters);
        }
        self.wake(waiters);
        self.count_bytes();
        true
    }

    /// The batches of a partition, as they are stored.
    pub fn read_batches(&self, topic: &str, partition: i32) -> Vec<Bytes> {
        let log = self.partition(topic, partition).and_then(Partition::log);
        log.map_or_else(Vec::new, |log| log.batches().map(StoredBatch::to_bytes).collect())
    }

    /// The records of a partition, committed or not, each behind its offset.
    ///
    /// # Errors
    /// A batch that was appended past all checks is none.
    pub fn read_records(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<Vec<(i64, Record)>, BatchError> {
        let mut records = Vec::new();
        for batch in self.read_batches(topic, partition) {
            records.append(&mut records::decoded(batch)?);
        }
        let found = self.partition(topic, partition);
        let start = found.map_or(0, Partition::start_offset);
        records.retain(|(offset, _)| *offset >= start);
        Ok(records)
    }

    /// What a group has committed.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<&Committed> {
        let id = GroupId(StrBytes::from_string(group.to_owned()));
        self.groups.get(&id)?.offsets.get(&(topic_name(topic), partition))
    }

    /// Gives a group so many members who never speak, in place of those that it has; none make it empty.
    pub fn populate_group(&mut self, now_ms: i64, id: &str, protocol_type: &str, members: usize) {
        let id = GroupId(StrBytes::from_string(id.to_owned()));
        let protocol_type = StrBytes::from_string(protocol_type.to_owned());
        self.with_group(&id, |group| group.populate(now_ms, &protocol_type, members));
    }

    /// Forgets producers whose last record is `expiration_ms` or more old, as brokers do every ten minutes.
    pub fn expire_producers(&mut self, now_ms: i64, expiration_ms: i64) {
        let partitions = self.topics.iter_mut().flat_map(|(_, topic)| topic.partitions.iter_mut());
        for log in partitions.filter_map(Partition::log_mut) {
            log.producers.expire(now_ms, expiration_ms);
        }
    }

    /// Holds the high watermark of a partition back at an offset, or lets it go. Meanwhile what is produced with all
    /// acknowledgements is appended, and answered with NOT_ENOUGH_REPLICAS_AFTER_APPEND.
    pub fn hold_high_watermark(&mut self, topic: &str, partition: i32, offset: Option<i64>) {
        if let Some(log) = self.partition_mut(topic, partition).and_then(Partition::log_mut) {
            log.held_high_watermark = offset;
        }
        self.wake_partition(topic, partition);
    }

    /// Orders a fault.
    pub fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Takes back all faults that have not happened.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Number of faults that are still to happen.
    pub fn pending_faults(&self) -> usize {
        self.faults.len()
    }

    /// Length of all logs together, in bytes.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// How much was dropped because of the memory limit, in bytes.
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    pub(super) fn count_bytes(&mut self) {
        let partitions = self.topics.iter().flat_map(|(_, topic)| &topic.partitions);
        self.used_bytes = partitions.filter_map(Partition::log).map(|log| log.len_bytes()).sum();
    }

    /// Sees to it that `bytes` more fit under the memory limit.
    pub(super) fn make_room(&mut self, bytes: u64) -> bool {
        let limit = self.options.memory_limit_bytes;
        if self.used_bytes + bytes <= limit {
            return true;
        }
        if self.options.on_full == OnFull::Refuse {
            return false;
        }
        let wanted = limit.saturating_sub(limit / 16);
        while self.used_bytes + bytes > wanted {
            let deletable = self.topics.iter_mut().filter(|(_, topic)| topic.rules.deletable);
            let logs = deletable
                .flat_map(|(_, topic)| topic.partitions.iter_mut())
                .filter_map(Partition::log_mut);
            let largest = logs.filter(|log| log.batches().next().is_some());
            let Some(dropped) =
                largest.max_by_key(|log| log.len_bytes()).and_then(|log| log.drop_oldest())
            else {
                break;
            };
            self.used_bytes -= dropped;
            self.dropped_bytes += dropped;
        }
        self.used_bytes + bytes <= limit
    }
}
