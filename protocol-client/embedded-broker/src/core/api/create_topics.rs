//! CreateTopics (19), versions 2-7: counts or assignments, configs, validate_only.
//!
//! Left out: the time limit (creation is immediate).

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, ResponseKind, TopicName,
};

use super::super::configs::{ConfigSource, TOPIC_CONFIGS};
use super::super::operate::TopicSpec;
use super::super::{Broker, Call, Outcome};
use super::text;

pub(in crate::core) fn handle(
    broker: &mut Broker,
    call: &Call,
    request: CreateTopicsRequest,
) -> Outcome {
    let validate_only = request.validate_only;
    let topics = request.topics.into_iter().map(|topic| create(broker, call, topic, validate_only));
    let response = CreateTopicsResponse::default().with_topics(topics.collect());
    Outcome::message(ResponseKind::CreateTopics(response))
}

fn create(
    broker: &mut Broker,
    call: &Call,
    topic: CreatableTopic,
    validate_only: bool,
) -> CreatableTopicResult {
    let result = CreatableTopicResult::default().with_name(topic.name.clone());
    let spec = TopicSpec {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .iter()
            .map(|row| (row.partition_index, row.broker_ids.iter().map(|id| id.0).collect()))
            .collect(),
        configs: topic
            .configs
            .iter()
            .map(|row| (row.name.to_string(), row.value.as_ref().map(|value| value.to_string())))
            .collect(),
    };
    let checked = call.check_admin(broker).and_then(|()| broker.plan_topic(&spec));
    match checked {
        Err((error, what)) => {
            result.with_error_code(error.code()).with_error_message(Some(text(&what)))
        }
        Ok(planned) => {
            let count = planned.partitions.len() as i32;
            let replicas = planned.partitions.first().map_or(0, |first| first.replicas.len());
            let configs = TOPIC_CONFIGS.iter().map(|&row| {
                let (value, source) = planned.configs.value(&broker.defaults, row);
                shown(row.0, value, source)
            });
            let result = result
                .with_num_partitions(count)
                .with_replication_factor(replicas as i16)
                .with_configs(Some(configs.collect()));
            if validate_only {
                return result;
            }
            let id = planned.id;
            broker.topics.insert(TopicName(text(&spec.name)), planned);
            result.with_topic_id(id)
        }
    }
}

fn shown(name: &str, value: &str, source: ConfigSource) -> CreatableTopicConfigs {
    CreatableTopicConfigs::default()
        .with_name(text(name))
        .with_value(Some(text(value)))
        .with_config_source(source as i8)
}
