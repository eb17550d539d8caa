//! OffsetFetch (9), versions 1-9: one group, from version 8 many; some topics or all.
//!
//! An unknown group answers as one without offsets. Left out: member epochs of KIP-848 groups.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    GroupId, OffsetFetchRequest, OffsetFetchResponse, ResponseKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::super::{Broker, Call, Outcome};

/// One partition's answer.
struct Found {
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: StrBytes,
    error_code: i16,
}

type Asked = Option<Vec<(TopicName, Vec<i32>)>>;

pub(in crate::core) fn handle(
    broker: &Broker,
    call: &Call,
    request: OffsetFetchRequest,
) -> Outcome {
    let stable = request.require_stable;
    let response = OffsetFetchResponse::default();
    if call.version >= 8 {
        let groups = request.groups.into_iter().map(|group| {
            let topics = group.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
            });
            let answer = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
            match fetch(broker, call, &group.group_id, topics, stable) {
                Err(error) => answer.with_error_code(error.code()),
                Ok(found) => answer.with_topics(found.into_iter().map(many).collect()),
            }
        });
        let response = response.with_groups(groups.collect());
        return Outcome::message(ResponseKind::OffsetFetch(response));
    }
    let topics = request.topics.map(|topics| {
        topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
    });
    let topics = if call.version < 2 { Some(topics.unwrap_or_default()) } else { topics };
    let response = match fetch(broker, call, &request.group_id, topics, stable) {
        Err(error) => response.with_error_code(error.code()),
        Ok(found) => response.with_topics(found.into_iter().map(one).collect()),
    };
    Outcome::message(ResponseKind::OffsetFetch(response))
}

fn fetch(
    broker: &Broker,
    call: &Call,
    id: &GroupId,
    asked: Asked,
    stable: bool,
) -> Result<Vec<(TopicName, Vec<Found>)>, KafkaError> {
    broker.check_group(call, id)?;
    let group = broker.groups.get(id);
    let asked = asked.unwrap_or_else(|| {
        let mut all: Vec<(TopicName, Vec<i32>)> = Vec::new();
        for (topic, partition) in group.iter().flat_map(|group| group.offsets.keys()) {
            match all.last_mut() {
                Some((last, partitions)) if last == topic => partitions.push(*partition),
                _ => all.push((topic.clone(), vec![*partition])),
            }
        }
        all
    });
    let found = asked.into_iter().map(|(topic, partitions)| {
        let found = partitions.into_iter().map(|partition| {
            let none = Found {
                partition,
                offset: -1,
                leader_epoch: -1,
                metadata: StrBytes::default(),
                error_code: 0,
            };
            let Some(group) = group else { return none };
            if stable && group.is_unstable(&topic, partition) {
                let error_code = KafkaError::UnstableOffsetCommit.code();
                return Found { error_code, ..none };
            }
            match group.offsets.get(&(topic.clone(), partition)) {
                None => none,
                Some(committed) => Found {
                    offset: committed.offset,
                    leader_epoch: committed.leader_epoch,
                    metadata: committed.metadata.clone(),
                    ..none
                },
            }
        });
        let found = found.collect();
        (topic, found)
    });
    Ok(found.collect())
}

fn one((name, found): (TopicName, Vec<Found>)) -> OffsetFetchResponseTopic {
    let partitions = found.into_iter().map(|found| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(found.partition)
            .with_committed_offset(found.offset)
            .with_committed_leader_epoch(found.leader_epoch)
            .with_metadata(Some(found.metadata))
            .with_error_code(found.error_code)
    });
    OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
}

fn many((name, found): (TopicName, Vec<Found>)) -> OffsetFetchResponseTopics {
    let partitions = found.into_iter().map(|found| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(found.partition)
            .with_committed_offset(found.offset)
            .with_committed_leader_epoch(found.leader_epoch)
            .with_metadata(Some(found.metadata))
            .with_error_code(found.error_code)
    });
    OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
}
