//! What a cluster looks like: brokers, topics, leaders; and how news is merged into it.
//!
//! Brokers learn of changes at different times, so an answer may be older than what is known. Like
//! Kafka's own `Metadata`, a partition keeps its leader if the answer names an older leader epoch
//! for the same topic id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use uuid::Uuid;

use super::TopicPartition;
use crate::address::BrokerAddress;
use crate::error::ClientError;
use crate::wire::error_code::ErrorCode;

/// A snapshot of a cluster. Each refresh makes a new one with the next generation.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    /// Counts refreshes; 0 before the first one.
    pub generation: u64,
    /// The cluster's id, if it has one.
    pub cluster_id: Option<Arc<str>>,
    /// Where administrative requests go. In KRaft clusters any live broker, which forwards them.
    pub controller: Option<i32>,
    /// The live brokers.
    pub nodes: BTreeMap<i32, Node>,
    /// The topics that were asked for so far, or all of them.
    pub topics: BTreeMap<Arc<str>, TopicView>,
    /// The last refresh.
    last: Option<Stamp>,
    /// The last refresh that covered all topics.
    complete: Option<Stamp>,
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: i32,
    /// Where it listens, as it says itself.
    pub address: BrokerAddress,
    /// Its rack.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Debug, Clone)]
pub struct TopicView {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; nil on clusters without topic ids.
    pub id: Uuid,
    /// Whether Kafka keeps it for itself.
    pub internal: bool,
    /// Why nothing can be said about it, for example that it does not exist.
    pub error: ErrorCode,
    /// Its partitions by number.
    pub partitions: BTreeMap<i32, PartitionView>,
    stamp: Stamp,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// Its error, for example that it has no leader.
    pub error: ErrorCode,
    /// The node that leads it.
    pub leader: Option<i32>,
    /// The leader's epoch, -1 if unknown.
    pub leader_epoch: i32,
    /// How many replicas it should have.
    pub replicas: usize,
    /// How many of them are in sync.
    pub in_sync: usize,
}

#[derive(Debug, Clone, Copy)]
struct Stamp {
    generation: u64,
    at: Instant,
}

/// Which topics a refresh is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topics {
    /// All of them.
    All,
    /// These. Without any name the brokers alone.
    Named(BTreeSet<Arc<str>>),
}

impl Topics {
    /// Both.
    pub fn union(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Named(mut ours), Self::Named(theirs)) => {
                ours.extend(theirs.iter().cloned());
                Self::Named(ours)
            }
            _ => Self::All,
        }
    }
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Made by a refresh behind this generation.
    NewerThan(u64),
    /// At most this old.
    WithinAge(Duration),
}

impl ClusterView {
    /// The leader of a partition and its epoch.
    pub fn leader(&self, partition: &TopicPartition) -> Option<(i32, i32)> {
        let view = self.topics.get(&partition.topic)?.partitions.get(&partition.partition)?;
        view.leader.map(|leader| (leader, view.leader_epoch))
    }

    /// The leader of a partition, or why it has none.
    pub fn leader_or_why(&self, partition: &TopicPartition) -> Result<i32, ClientError> {
        if let Some((leader, _)) = self.leader(partition) {
            return Ok(leader);
        }
        let topic = self.topics.get(&partition.topic);
        let known = topic.and_then(|topic| topic.partitions.get(&partition.partition));
        let code = match (topic, known) {
            (Some(topic), _) if !topic.error.is_ok() => topic.error,
            (_, Some(known)) if !known.error.is_ok() => known.error,
            (_, Some(_)) => ErrorCode::LEADER_NOT_AVAILABLE,
            (_, None) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        };
        Err(ClientError::refused(code, Some(partition.to_string())))
    }

    /// Whether this snapshot answers for `topics` as freshly as demanded.
    pub fn covers(&self, topics: &Topics, freshness: Freshness, now: Instant) -> bool {
        let fresh = |stamp: &Stamp| match freshness {
            Freshness::NewerThan(generation) => stamp.generation > generation,
            Freshness::WithinAge(age) => now.saturating_duration_since(stamp.at) <= age,
        };
        let complete = self.complete.as_ref().is_some_and(fresh);
        match topics {
            Topics::All => complete,
            Topics::Named(names) if names.is_empty() => self.last.as_ref().is_some_and(fresh),
            Topics::Named(names) => {
                complete
                    || names
                        .iter()
                        .all(|name| self.topics.get(name).is_some_and(|topic| fresh(&topic.stamp)))
            }
        }
    }

    /// The next snapshot, from the answers to a refresh of `topics`. The brokers, the controller
    /// and the cluster's id come from the last answer.
    #[must_use]
    pub fn merged(&self, topics: &Topics, answers: &[MetadataResponse], now: Instant) -> Self {
        let stamp = Stamp { generation: self.generation + 1, at: now };
        let mut next = Self { generation: stamp.generation, last: Some(stamp), ..self.clone() };
        if *topics == Topics::All {
            next.topics.clear();
            next.complete = Some(stamp);
        }
        for answer in answers {
            next.cluster_id = answer.cluster_id.as_ref().map(|id| Arc::from(id.as_str()));
            next.controller = Some(answer.controller_id.0).filter(|id| *id >= 0);
            next.nodes = answer.brokers.iter().filter_map(node).collect();
            for topic in &answer.topics {
                let Some(name) = &topic.name else { continue };
                let known = self.topics.get_key_value(name.as_str());
                let name =
                    known.map_or_else(|| Arc::from(name.as_str()), |(name, _)| Arc::clone(name));
                let view = topic_view(&name, topic, known.map(|(_, view)| view), stamp);
                next.topics.insert(name, view);
            }
        }
        next
    }
}

fn node(
    broker: &kafka_protocol::messages::metadata_response::MetadataResponseBroker,
) -> Option<(i32, Node)> {
    let port = u16::try_from(broker.port).ok()?;
    let address = BrokerAddress { host: broker.host.to_string(), port };
    let rack = broker.rack.as_ref().map(ToString::to_string);
    Some((broker.node_id.0, Node { id: broker.node_id.0, address, rack }))
}

fn topic_view(
    name: &Arc<str>,
    topic: &MetadataResponseTopic,
    known: Option<&TopicView>,
    stamp: Stamp,
) -> TopicView {
    let same = known.filter(|known| known.id == topic.topic_id);
    let partitions = topic.partitions.iter().map(|partition| {
        let known = same.and_then(|topic| topic.partitions.get(&partition.partition_index));
        (partition.partition_index, partition_view(partition, known))
    });
    TopicView {
        name: Arc::clone(name),
        id: topic.topic_id,
        internal: topic.is_internal,
        error: ErrorCode(topic.error_code),
        partitions: partitions.collect(),
        stamp,
    }
}

fn partition_view(
    partition: &MetadataResponsePartition,
    known: Option<&PartitionView>,
) -> PartitionView {
    // -1: the broker does not tell the epoch, so it cannot be compared.
    let epochs = 0..known.map_or(0, |known| known.leader_epoch);
    match known {
        Some(known) if epochs.contains(&partition.leader_epoch) => known.clone(),
        _ => PartitionView {
            error: ErrorCode(partition.error_code),
            leader: Some(partition.leader_id.0).filter(|id| *id >= 0),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.len(),
            in_sync: partition.isr_nodes.len(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
    use kafka_protocol::messages::{BrokerId, TopicName};
    use kafka_protocol::protocol::StrBytes;

    fn answer(topics: &[(&'static str, u8, i32, i32)]) -> MetadataResponse {
        let broker = MetadataResponseBroker::default()
            .with_node_id(BrokerId(1))
            .with_host(StrBytes::from_static_str("b1"))
            .with_port(9092);
        let topics = topics.iter().map(|(name, id, leader, epoch)| {
            let partition = MetadataResponsePartition::default()
                .with_leader_id(BrokerId(*leader))
                .with_leader_epoch(*epoch)
                .with_replica_nodes(vec![BrokerId(1), BrokerId(2)])
                .with_isr_nodes(vec![BrokerId(1)]);
            MetadataResponseTopic::default()
                .with_name(Some(TopicName(StrBytes::from_static_str(name))))
                .with_topic_id(Uuid::from_bytes([*id; 16]))
                .with_partitions(vec![partition])
        });
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_controller_id(BrokerId(1))
            .with_topics(topics.collect())
    }

    fn named(names: &[&str]) -> Topics {
        Topics::Named(names.iter().map(|name| Arc::from(*name)).collect())
    }

    #[expect(clippy::disallowed_methods, reason = "a point to count from; the test never waits")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn older_epochs_do_not_displace_newer_ones_unless_the_topic_is_another() {
        let now = start();
        let partition = TopicPartition::new("a", 0);
        let view = ClusterView::default().merged(&Topics::All, &[answer(&[("a", 1, 2, 5)])], now);
        assert_eq!(view.leader(&partition), Some((2, 5)));
        let view = view.merged(&Topics::All, &[answer(&[("a", 1, 1, 4)])], now);
        assert_eq!(view.leader(&partition), Some((2, 5)));
        let view = view.merged(&Topics::All, &[answer(&[("a", 1, 3, 6)])], now);
        assert_eq!(view.leader(&partition), Some((3, 6)));
        let view = view.merged(&Topics::All, &[answer(&[("a", 9, 1, 0)])], now);
        assert_eq!(view.leader(&partition), Some((1, 0)));
        let view = view.merged(&Topics::All, &[answer(&[("a", 9, -1, 1)])], now);
        assert_eq!(view.leader(&partition), None);
        assert_eq!(view.generation, 5);
    }

    #[test]
    fn named_refreshes_keep_the_rest_and_full_ones_forget_what_is_gone() {
        let now = start();
        let view = ClusterView::default();
        let view = view.merged(&Topics::All, &[answer(&[("a", 1, 1, 1), ("b", 2, 1, 1)])], now);
        let view = view.merged(&named(&["b"]), &[answer(&[("b", 2, 2, 2)])], now);
        assert_eq!(view.topics.len(), 2);
        assert_eq!(view.nodes[&1].address.to_string(), "b1:9092");
        let view = view.merged(&Topics::All, &[answer(&[("b", 2, 2, 2)])], now);
        assert!(view.topics.keys().eq([&Arc::from("b")]));
    }

    #[test]
    fn coverage_follows_generation_and_age() {
        let now = start();
        let view = ClusterView::default().merged(&named(&["a"]), &[answer(&[("a", 1, 1, 1)])], now);
        let newer = Freshness::NewerThan;
        assert!(view.covers(&named(&["a"]), newer(0), now));
        assert!(!view.covers(&named(&["a"]), newer(1), now));
        assert!(!view.covers(&named(&["a", "b"]), newer(0), now));
        assert!(!view.covers(&Topics::All, newer(0), now));
        let aged = Freshness::WithinAge(Duration::from_secs(60));
        assert!(view.covers(&named(&["a"]), aged, now + Duration::from_secs(60)));
        assert!(!view.covers(&named(&["a"]), aged, now + Duration::from_secs(61)));
        let view = view.merged(&Topics::All, &[answer(&[])], now);
        assert!(
            view.covers(&named(&["gone"]), newer(1), now),
            "a full answer covers absent topics"
        );
    }

    #[test]
    fn unions_widen() {
        assert_eq!(named(&["a"]).union(&named(&["b"])), named(&["a", "b"]));
        assert_eq!(named(&["a"]).union(&Topics::All), Topics::All);
    }
}
