//! DescribeConfigs (32), versions 1-4: topics and brokers.
//!
//! Left out: documentation texts, broker loggers, client metrics, groups.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, ResponseKind, TopicName,
};

use super::super::configs::{BROKER_CONFIGS, ConfigRow, ConfigSource, TOPIC_CONFIGS};
use super::super::{Broker, Call, NodeId, Outcome};
use super::text;

/// Resource type of a topic (`ConfigResource.Type`).
pub(super) const TOPIC: i8 = 2;
/// Resource type of a broker.
pub(super) const BROKER: i8 = 4;

pub(in crate::core) fn handle(
    broker: &Broker,
    call: &Call,
    request: DescribeConfigsRequest,
) -> Outcome {
    let synonyms = request.include_synonyms;
    let results = request.resources.into_iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match describe(broker, call, &resource, synonyms) {
            Ok(configs) => result.with_configs(configs),
            Err(error) => result
                .with_error_code(error.code())
                .with_error_message(Some(text(&error.to_string()))),
        }
    });
    let response = DescribeConfigsResponse::default().with_results(results.collect());
    Outcome::message(ResponseKind::DescribeConfigs(response))
}

fn describe(
    broker: &Broker,
    call: &Call,
    resource: &DescribeConfigsResource,
    synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, KafkaError> {
    call.injected_any()?;
    let asked = |row: &&ConfigRow| {
        let keys = resource.configuration_keys.as_ref();
        keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == row.0))
    };
    match resource.resource_type {
        TOPIC => {
            let name = TopicName(resource.resource_name.clone());
            let found = broker.topics.named(&name).ok_or(KafkaError::UnknownTopicOrPartition)?;
            let rows = TOPIC_CONFIGS.iter().filter(asked);
            Ok(rows
                .map(|&row| {
                    let (value, source) = found.configs.value(&broker.defaults, row);
                    shown(row, value, source, synonyms)
                })
                .collect())
        }
        BROKER => {
            let name = resource.resource_name.as_str();
            let known = |id: NodeId| broker.nodes.contains_key(&id);
            if !name.is_empty() && !name.parse().is_ok_and(known) {
                return Err(KafkaError::InvalidRequest);
            }
            let rows = BROKER_CONFIGS.iter().filter(asked);
            Ok(rows
                .map(|&row| {
                    let (value, source) = broker.broker_config(row);
                    shown(row, &value, source, synonyms)
                })
                .collect())
        }
        _ => Err(KafkaError::InvalidRequest),
    }
}

fn shown(
    (name, kind, default): ConfigRow,
    value: &str,
    source: ConfigSource,
    synonyms: bool,
) -> DescribeConfigsResourceResult {
    let synonym = |value: &str, source: ConfigSource| {
        DescribeConfigsSynonym::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_source(source as i8)
    };
    let mut all = Vec::new();
    if synonyms {
        all.push(synonym(value, source));
        if source != ConfigSource::Default {
            all.push(synonym(default, ConfigSource::Default));
        }
    }
    DescribeConfigsResourceResult::default()
        .with_name(text(name))
        .with_value(Some(text(value)))
        .with_config_source(source as i8)
        .with_config_type(kind as i8)
        .with_synonyms(all)
}
