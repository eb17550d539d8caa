//! AlterConfigs (33), versions 0-2, which replaces all; IncrementalAlterConfigs (44), versions 0-1.
//!
//! Topics and brokers; what is set on a broker is shown and has no effect.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as Replaced;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, ResponseKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::super::configs::{self, BROKER_CONFIGS, ConfigKind, ConfigRow, TOPIC_CONFIGS};
use super::super::operate::Refused;
use super::super::{Broker, Call, Outcome};
use super::describe_configs::{BROKER, TOPIC};
use super::text;

/// One change: name, operation (`AlterConfigOp.OpType`), value.
type Change = (StrBytes, i8, Option<StrBytes>);

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// What to change, and how.
struct Alteration<'a> {
    resource_type: i8,
    resource_name: &'a StrBytes,
    replace: bool,
    changes: Vec<Change>,
    validate_only: bool,
}

pub(in crate::core) fn replace(
    broker: &mut Broker,
    call: &Call,
    request: AlterConfigsRequest,
) -> Outcome {
    let responses = request.resources.into_iter().map(|resource| {
        let changes = resource.configs.into_iter().map(|row| (row.name, SET, row.value));
        let alteration = Alteration {
            resource_type: resource.resource_type,
            resource_name: &resource.resource_name,
            replace: true,
            changes: changes.collect(),
            validate_only: request.validate_only,
        };
        let (error, message) = outcome(alter(broker, call, alteration));
        Replaced::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_error_code(error)
            .with_error_message(message)
    });
    let response = AlterConfigsResponse::default().with_responses(responses.collect());
    Outcome::message(ResponseKind::AlterConfigs(response))
}

pub(in crate::core) fn incremental(
    broker: &mut Broker,
    call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> Outcome {
    let responses = request.resources.into_iter().map(|resource| {
        let rows = resource.configs.into_iter();
        let alteration = Alteration {
            resource_type: resource.resource_type,
            resource_name: &resource.resource_name,
            replace: false,
            changes: rows.map(|row| (row.name, row.config_operation, row.value)).collect(),
            validate_only: request.validate_only,
        };
        let (error, message) = outcome(alter(broker, call, alteration));
        AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_error_code(error)
            .with_error_message(message)
    });
    let response = IncrementalAlterConfigsResponse::default().with_responses(responses.collect());
    Outcome::message(ResponseKind::IncrementalAlterConfigs(response))
}

fn outcome(result: Result<(), Refused>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(()) => (0, None),
        Err((error, what)) => (error.code(), Some(text(&what))),
    }
}

fn alter(broker: &mut Broker, call: &Call, alteration: Alteration<'_>) -> Result<(), Refused> {
    call.injected_any().map_err(|error| (error, error.to_string()))?;
    let topic = TopicName(alteration.resource_name.clone());
    let (table, own) = match alteration.resource_type {
        TOPIC => {
            let unknown = || (KafkaError::UnknownTopicOrPartition, "no such topic".to_owned());
            let found = broker.topics.named(&topic).ok_or_else(unknown)?;
            (TOPIC_CONFIGS, found.configs.own.clone())
        }
        BROKER => (BROKER_CONFIGS, broker.dynamic_configs.clone()),
        other => return Err((KafkaError::InvalidRequest, format!("resource type {other}"))),
    };
    let defaults = &broker.defaults;
    let mut next = if alteration.replace { Default::default() } else { own };
    for (name, operation, value) in alteration.changes {
        let invalid = |what: String| (KafkaError::InvalidConfig, what);
        let unknown = || invalid(format!("Unknown config name: {}", name.as_str()));
        let row = configs::find(table, &name).ok_or_else(unknown)?;
        if operation == DELETE {
            next.remove(row.0);
            continue;
        }
        let value = value.ok_or_else(|| invalid(format!("null value for {}", name.as_str())))?;
        let present = next.get(row.0).or_else(|| defaults.get(row.0));
        let present = present.map_or(row.2, String::as_str);
        let value = combined(row, operation, present, &value)?;
        configs::check(table, row.0, &value).map_err(invalid)?;
        next.insert(row.0.to_owned(), value);
    }
    if alteration.validate_only {
        return Ok(());
    }
    match alteration.resource_type {
        TOPIC => broker.configure(&topic, next),
        _ => broker.dynamic_configs = next,
    }
    Ok(())
}

fn combined(row: ConfigRow, operation: i8, present: &str, value: &str) -> Result<String, Refused> {
    let mut parts: Vec<&str> = present.split(',').filter(|part| !part.is_empty()).collect();
    match (operation, row.1) {
        (SET, _) => return Ok(value.to_owned()),
        (APPEND, ConfigKind::List) => {
            let new: Vec<&str> = value.split(',').filter(|part| !parts.contains(part)).collect();
            parts.extend(new);
        }
        (SUBTRACT, ConfigKind::List) => {
            parts.retain(|part| value.split(',').all(|gone| gone != *part));
        }
        _ => {
            let what = format!("operation {operation} is not for {}", row.0);
            return Err((KafkaError::InvalidConfig, what));
        }
    }
    Ok(parts.join(","))
}
