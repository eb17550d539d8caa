//! DeleteTopics (20), versions 1-6: by name, from version 6 by id too.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    DeleteTopicsRequest, DeleteTopicsResponse, ResponseKind, TopicName,
};
use uuid::Uuid;

use super::super::{Broker, Call, Outcome};
use super::code;

pub(in crate::core) fn handle(
    broker: &mut Broker,
    call: &Call,
    request: DeleteTopicsRequest,
) -> Outcome {
    let asked: Vec<(Option<TopicName>, Uuid)> = if call.version >= 6 {
        request.topics.into_iter().map(|topic| (topic.name, topic.topic_id)).collect()
    } else {
        request.topic_names.into_iter().map(|name| (Some(name), Uuid::nil())).collect()
    };
    let responses = asked.into_iter().map(|(name, id)| {
        let known = name.clone().or_else(|| broker.topics.name_of(id).cloned());
        let id = known.as_ref().and_then(|name| broker.topics.named(name)).map_or(id, |t| t.id);
        let result = match (broker.check_controller(call), &known) {
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(KafkaError::UnknownTopicId),
            (Ok(()), Some(name)) if broker.delete_topic(name) => Ok(()),
            (Ok(()), Some(_)) => Err(KafkaError::UnknownTopicOrPartition),
        };
        DeletableTopicResult::default()
            .with_name(known)
            .with_topic_id(id)
            .with_error_code(code(result))
    });
    let response = DeleteTopicsResponse::default().with_responses(responses.collect());
    Outcome::message(ResponseKind::DeleteTopics(response))
}
