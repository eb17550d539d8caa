//! ListOffsets (2), versions 1-10: latest, earliest, largest timestamp, by timestamp.
//!
//! Earliest local (-4) is the log start, latest tiered (-5) is unknown: nothing is tiered here.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, ResponseKind, TopicName};

use super::super::log::{Isolation, Timed};
use super::super::topics::Partition;
use super::super::{Broker, Call, Outcome};

pub(in crate::core) fn handle(
    broker: &mut Broker,
    call: &Call,
    request: ListOffsetsRequest,
) -> Outcome {
    let isolation = Isolation::from_code(request.isolation_level);
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer =
                ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            match lookup(broker, call, &topic.name, asked, isolation) {
                Err(error) => answer.with_error_code(error.code()),
                Ok(None) => answer,
                Ok(Some(found)) => answer
                    .with_offset(found.offset)
                    .with_timestamp(found.timestamp)
                    .with_leader_epoch(if call.version >= 4 { found.leader_epoch } else { -1 }),
            }
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    let response = ListOffsetsResponse::default().with_topics(topics.collect());
    Outcome::message(ResponseKind::ListOffsets(response))
}

pub(in crate::core) fn touched(request: &ListOffsetsRequest) -> Vec<(TopicName, i32)> {
    let partitions = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|asked| (topic.name.clone(), asked.partition_index))
    });
    partitions.collect()
}

fn lookup(
    broker: &mut Broker,
    call: &Call,
    topic: &TopicName,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<Option<Timed>, KafkaError> {
    let partition = broker.led(call, topic, asked.partition_index)?;
    partition.check_epoch(asked.current_leader_epoch)?;
    let end = partition.visible_end(isolation);
    let edge =
        |offset| Some(Timed { offset, timestamp: -1, leader_epoch: epoch(partition, offset) });
    Ok(match (asked.timestamp, partition.log()) {
        (-1, _) => edge(end),
        (-2 | -4, _) => edge(partition.start_offset()),
        (-3, Some(log)) if call.version >= 7 => log.find_max_time(end),
        (timestamp, Some(log)) if timestamp >= 0 => log.find_time(timestamp, end),
        (-5, _) => None,
        (timestamp, None) if timestamp >= 0 => None,
        _ => return Err(KafkaError::UnsupportedVersion),
    })
}

/// The epoch at an offset; at the end of the log that of the leader.
fn epoch(partition: &Partition, offset: i64) -> i32 {
    partition.log().map_or(partition.leader_epoch, |log| log.epoch_at(offset))
}
