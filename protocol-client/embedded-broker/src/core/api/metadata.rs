//! Metadata (3), versions 0-13: nodes that run, topics by name or id, leaders with epochs.
//!
//! Unknown topics are created when both the request and the cluster allow it.
//! Left out: authorized operations.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, MetadataRequest, MetadataResponse, ResponseKind, TopicName,
};

use super::super::operate::TopicSpec;
use super::super::topics::{Partition, Topic};
use super::super::{Broker, Call, NodeId, Outcome};
use super::{code, text};

pub(in crate::core) fn handle(
    broker: &mut Broker,
    call: &Call,
    request: MetadataRequest,
) -> Outcome {
    let create = request.allow_auto_topic_creation && broker.options.auto_create_topics;
    let topics = match request.topics {
        Some(topics) if call.version > 0 || !topics.is_empty() => {
            topics.into_iter().map(|topic| asked(broker, call, topic, create)).collect()
        }
        _ => {
            broker.topics.iter().map(|(name, topic)| described(broker, call, name, topic)).collect()
        }
    };
    let brokers = broker.nodes.iter().filter(|(_, node)| node.alive).map(|(&id, node)| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(id))
            .with_host(text(&node.host))
            .with_port(i32::from(node.port))
    });
    let response = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text(&broker.cluster_id)))
        .with_controller_id(BrokerId(broker.controller()))
        .with_topics(topics);
    Outcome::message(ResponseKind::Metadata(response))
}

fn asked(
    broker: &mut Broker,
    call: &Call,
    asked: MetadataRequestTopic,
    create: bool,
) -> MetadataResponseTopic {
    let by_id = asked.name.is_none();
    let name = asked.name.or_else(|| broker.topics.name_of(asked.topic_id).cloned());
    let Some(name) = name else {
        return MetadataResponseTopic::default()
            .with_error_code(KafkaError::UnknownTopicId.code())
            .with_topic_id(asked.topic_id);
    };
    let mut error = call.injected_for(&name, -1).err();
    if error.is_none() && broker.topics.named(&name).is_none() {
        error = match create && !by_id {
            true => broker.create_topic(TopicSpec::new(&name, -1)).err().map(|(error, _)| error),
            false if super::super::topics::is_legal_name(&name) => {
                Some(KafkaError::UnknownTopicOrPartition)
            }
            false => Some(KafkaError::InvalidTopicException),
        };
    }
    match (error, broker.topics.named(&name)) {
        (None, Some(topic)) => described(broker, call, &name, topic),
        (error, _) => MetadataResponseTopic::default()
            .with_error_code(error.unwrap_or(KafkaError::UnknownServerError).code())
            .with_name(Some(name)),
    }
}

fn described(
    broker: &Broker,
    call: &Call,
    name: &TopicName,
    topic: &Topic,
) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().enumerate().map(|(index, partition)| {
        let index = index as i32;
        let injected = call.injected_for(name, index);
        described_partition(broker, index, partition, injected)
    });
    MetadataResponseTopic::default()
        .with_name(Some(name.clone()))
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect())
}

fn described_partition(
    broker: &Broker,
    index: i32,
    partition: &Partition,
    injected: Result<(), KafkaError>,
) -> MetadataResponsePartition {
    let ids = |nodes: Vec<NodeId>| nodes.into_iter().map(BrokerId).collect();
    let in_sync = broker.in_sync(partition);
    let offline = partition.replicas.iter().filter(|id| !in_sync.contains(id)).copied().collect();
    let leaderless = match partition.leader {
        Some(_) => Ok(()),
        None => Err(KafkaError::LeaderNotAvailable),
    };
    MetadataResponsePartition::default()
        .with_error_code(code(injected.and(leaderless)))
        .with_partition_index(index)
        .with_leader_id(BrokerId(partition.leader.unwrap_or(-1)))
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(ids(partition.replicas.clone()))
        .with_isr_nodes(ids(in_sync))
        .with_offline_replicas(ids(offline))
}
