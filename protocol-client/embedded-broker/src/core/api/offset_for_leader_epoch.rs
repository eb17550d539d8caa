//! OffsetForLeaderEpoch (23), versions 2-4.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, ResponseKind, TopicName,
};

use super::super::{Broker, Call, Outcome};

pub(in crate::core) fn handle(
    broker: &mut Broker,
    call: &Call,
    request: OffsetForLeaderEpochRequest,
) -> Outcome {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            match lookup(broker, call, &topic.topic, asked) {
                Ok((epoch, end)) => answer.with_leader_epoch(epoch).with_end_offset(end),
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        let partitions = partitions.collect();
        let result = OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone());
        result.with_partitions(partitions)
    });
    let response = OffsetForLeaderEpochResponse::default().with_topics(topics.collect());
    Outcome::message(ResponseKind::OffsetForLeaderEpoch(response))
}

fn lookup(
    broker: &mut Broker,
    call: &Call,
    topic: &TopicName,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), KafkaError> {
    let partition = broker.led(call, topic, asked.partition)?;
    partition.check_epoch(asked.current_leader_epoch)?;
    Ok(match partition.log() {
        Some(log) => log.end_of_epoch(asked.leader_epoch),
        None => (partition.leader_epoch, partition.end_offset()),
    })
}
