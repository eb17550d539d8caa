//! DescribeTopicPartitions (75), version 0: topics with partitions, in pages.
//!
//! Left out: eligible leader replicas, authorized operations.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, ResponseKind,
    TopicName,
};

use super::super::topics::Partition;
use super::super::{Broker, Call, NodeId, Outcome};

const MAX_PARTITIONS: usize = 2000;

pub(in crate::core) fn handle(
    broker: &Broker,
    _call: &Call,
    request: DescribeTopicPartitionsRequest,
) -> Outcome {
    let mut names: Vec<TopicName> = request.topics.into_iter().map(|topic| topic.name).collect();
    if names.is_empty() {
        names = broker.topic_names();
    }
    names.sort();
    names.dedup();
    let from = request.cursor.map(|cursor| (cursor.topic_name, cursor.partition_index));
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let mut room = limit.clamp(1, MAX_PARTITIONS);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        let first = match &from {
            Some((start, _)) if name < *start => continue,
            Some((start, partition)) if name == *start => usize::try_from(*partition).unwrap_or(0),
            _ => 0,
        };
        let Some(topic) = broker.topics.named(&name) else {
            let error = KafkaError::UnknownTopicOrPartition.code();
            let unknown = DescribeTopicPartitionsResponseTopic::default();
            response.topics.push(unknown.with_name(Some(name)).with_error_code(error));
            continue;
        };
        let cursor = |partition: usize| {
            let cursor = Cursor::default().with_topic_name(name.clone());
            Some(cursor.with_partition_index(partition as i32))
        };
        if room == 0 {
            response.next_cursor = cursor(0);
            break;
        }
        let page = topic.partitions.iter().enumerate().skip(first).take(room);
        let page: Vec<_> = page.map(|(index, found)| described(broker, index, found)).collect();
        let end = first + page.len();
        room -= page.len();
        response.topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(name.clone()))
                .with_topic_id(topic.id)
                .with_partitions(page),
        );
        if end < topic.partitions.len() {
            response.next_cursor = cursor(end);
            break;
        }
    }
    Outcome::message(ResponseKind::DescribeTopicPartitions(response))
}

fn described(
    broker: &Broker,
    index: usize,
    partition: &Partition,
) -> DescribeTopicPartitionsResponsePartition {
    let ids = |nodes: &[NodeId]| nodes.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let in_sync = broker.in_sync(partition);
    let offline: Vec<NodeId> =
        partition.replicas.iter().filter(|id| !in_sync.contains(id)).copied().collect();
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(index as i32)
        .with_leader_id(BrokerId(partition.leader.unwrap_or(-1)))
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(ids(&partition.replicas))
        .with_isr_nodes(ids(&in_sync))
        // Java's admin client fails on null here.
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
        .with_offline_replicas(ids(&offline))
}
