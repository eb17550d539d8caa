//! CreatePartitions (37), versions 0-3: counts, assignments, validate_only.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, ResponseKind};

use super::super::operate::Refused;
use super::super::topics::Partition;
use super::super::{Broker, Call, NodeId, Outcome};
use super::text;

pub(in crate::core) fn handle(
    broker: &mut Broker,
    call: &Call,
    request: CreatePartitionsRequest,
) -> Outcome {
    let validate_only = request.validate_only;
    let results = request.topics.into_iter().map(|topic| {
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        match extend(broker, call, &topic, validate_only) {
            Ok(()) => result,
            Err((error, what)) => {
                result.with_error_code(error.code()).with_error_message(Some(text(&what)))
            }
        }
    });
    let response = CreatePartitionsResponse::default().with_results(results.collect());
    Outcome::message(ResponseKind::CreatePartitions(response))
}

fn extend(
    broker: &mut Broker,
    call: &Call,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refused> {
    call.check_admin(broker)?;
    let unknown = || (KafkaError::UnknownTopicOrPartition, "no such topic".to_owned());
    let topic = broker.topics.named(&asked.name).ok_or_else(unknown)?;
    let present = topic.partitions.len() as i32;
    if asked.count <= present || asked.count > 1_000_000 {
        let what = format!("the topic has {present} partitions, {} cannot be", asked.count);
        return Err((KafkaError::InvalidPartitions, what));
    }
    let replicas = topic.partitions.first().map_or(1, |first| first.replicas.len());
    let new = match &asked.assignments {
        None => {
            let alive = broker.nodes.values().filter(|node| node.alive).count();
            broker.place(present, asked.count, replicas.min(alive).max(1))
        }
        Some(rows) => {
            let rows: Vec<Vec<NodeId>> =
                rows.iter().map(|row| row.broker_ids.iter().map(|id| id.0).collect()).collect();
            let known = |id: &NodeId| broker.nodes.contains_key(id);
            let fine = rows.iter().all(|row| !row.is_empty() && row.iter().all(known));
            if !fine || rows.len() as i32 != asked.count - present {
                let what = "replicas are unknown or not as many as new partitions".to_owned();
                return Err((KafkaError::InvalidReplicaAssignment, what));
            }
            rows.into_iter().map(Partition::new).collect()
        }
    };
    if !validate_only && let Some(topic) = broker.topics.named_mut(&asked.name) {
        topic.partitions.extend(new);
    }
    Ok(())
}
