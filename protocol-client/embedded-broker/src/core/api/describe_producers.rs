//! DescribeProducers (61), version 0: what a partition remembers of its producers.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, ProducerId, ResponseKind, TopicName,
};

use super::super::topics::Partition;
use super::super::{Broker, Call, Outcome};

pub(in crate::core) fn handle(
    broker: &mut Broker,
    call: &Call,
    request: DescribeProducersRequest,
) -> Outcome {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|&index| {
            let answer = PartitionResponse::default().with_partition_index(index);
            match producers(broker, call, &topic.name, index) {
                Ok(active) => answer.with_active_producers(active),
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        let partitions = partitions.collect();
        TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    let response = DescribeProducersResponse::default().with_topics(topics.collect());
    Outcome::message(ResponseKind::DescribeProducers(response))
}

fn producers(
    broker: &mut Broker,
    call: &Call,
    topic: &TopicName,
    index: i32,
) -> Result<Vec<ProducerState>, KafkaError> {
    let partition: &Partition = broker.led(call, topic, index)?;
    let known = partition.log().into_iter().flat_map(|log| log.producers.iter());
    let states = known.map(|(id, producer)| {
        ProducerState::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(i32::from(producer.epoch))
            .with_last_sequence(producer.last_sequence())
            .with_last_timestamp(producer.last_timestamp)
            .with_coordinator_epoch(producer.coordinator_epoch)
            .with_current_txn_start_offset(producer.transaction_start.unwrap_or(-1))
    });
    Ok(states.collect())
}
