//! OffsetDelete (47), version 0: of groups without members.
//!
//! Left out: a group with members refuses everything; Kafka allows topics that nobody subscribes to.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse, ResponseKind};

use super::super::{Broker, Call, Outcome};

pub(in crate::core) fn handle(
    broker: &mut Broker,
    call: &Call,
    request: OffsetDeleteRequest,
) -> Outcome {
    let id = request.group_id;
    let checked = broker.check_group(call, &id).and_then(|()| match broker.groups.get(&id) {
        None => Err(KafkaError::GroupIdNotFound),
        Some(group) if !group.members.is_empty() => Err(KafkaError::NonEmptyGroup),
        Some(_) => Ok(()),
    });
    let response = OffsetDeleteResponse::default();
    if let Err(error) = checked {
        let response = response.with_error_code(error.code());
        return Outcome::message(ResponseKind::OffsetDelete(response));
    }
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|asked| {
            let key = (topic.name.clone(), asked.partition_index);
            broker.with_group(&id, |group| group.offsets.remove(&key));
            OffsetDeleteResponsePartition::default().with_partition_index(asked.partition_index)
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    let response = response.with_topics(topics.collect());
    Outcome::message(ResponseKind::OffsetDelete(response))
}
