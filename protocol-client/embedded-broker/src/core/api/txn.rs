//! AddPartitionsToTxn (24), versions 0-3; AddOffsetsToTxn (25), versions 0-4; EndTxn (26), versions 0-4;
//! TxnOffsetCommit (28), versions 0-4.
//!
//! Left out: the later versions, which are for brokers or for transactions of version 2 (KIP-890).

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, ResponseKind, TopicName,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

use super::super::groups::Speaker;
use super::super::transactions::Producer;
use super::super::{Broker, Call, Outcome};
use super::offset_commit::committed;
use super::{code, fencing};

pub(in crate::core) fn add_partitions(
    broker: &mut Broker,
    now_ms: i64,
    call: &Call,
    request: AddPartitionsToTxnRequest,
) -> Outcome {
    let id = request.v3_and_below_transactional_id;
    let producer = Producer {
        id: request.v3_and_below_producer_id.0,
        epoch: request.v3_and_below_producer_epoch,
    };
    let topics = request.v3_and_below_topics;
    let all: Vec<(TopicName, i32)> = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|&index| (topic.name.clone(), index)))
        .collect();
    let exists = |broker: &Broker, (topic, index): &(TopicName, i32)| {
        broker.topics.named(topic).is_some_and(|topic| topic.partition(*index).is_some())
    };
    let checked = broker.check_txn(call, &id);
    let all_exist = all.iter().all(|partition| exists(broker, partition));
    let added = match checked {
        Ok(()) if all_exist => {
            let add = all.clone();
            broker.add_to_transaction(now_ms, &id, producer, |txn| txn.partitions.extend(add))
        }
        Ok(()) => Err(KafkaError::OperationNotAttempted),
        Err(error) => Err(error),
    };
    let results = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|&index| {
            let error = match added {
                Err(KafkaError::OperationNotAttempted)
                    if !exists(broker, &(topic.name.clone(), index)) =>
                {
                    KafkaError::UnknownTopicOrPartition.code()
                }
                Err(error) => fencing(error, call.version >= 2),
                Ok(()) => 0,
            };
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(index)
                .with_partition_error_code(error)
        });
        let partitions = partitions.collect();
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions)
    });
    let response = AddPartitionsToTxnResponse::default();
    let response = response.with_results_by_topic_v3_and_below(results.collect());
    Outcome::message(ResponseKind::AddPartitionsToTxn(response))
}

pub(in crate::core) fn add_offsets(
    broker: &mut Broker,
    now_ms: i64,
    call: &Call,
    request: AddOffsetsToTxnRequest,
) -> Outcome {
    let id = request.transactional_id;
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let group = request.group_id;
    let added = broker.check_txn(call, &id).and_then(|()| {
        broker.add_to_transaction(now_ms, &id, producer, |txn| {
            txn.groups.insert(group);
        })
    });
    let error = added.err().map_or(0, |error| fencing(error, call.version >= 2));
    let response = AddOffsetsToTxnResponse::default().with_error_code(error);
    Outcome::message(ResponseKind::AddOffsetsToTxn(response))
}

pub(in crate::core) fn end(
    broker: &mut Broker,
    now_ms: i64,
    call: &Call,
    request: EndTxnRequest,
) -> Outcome {
    let id = request.transactional_id;
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let ended = broker
        .check_txn(call, &id)
        .and_then(|()| broker.finish_transaction(now_ms, &id, producer, request.committed));
    let error = ended.err().map_or(0, |error| fencing(error, call.version >= 2));
    let response = EndTxnResponse::default().with_error_code(error);
    Outcome::message(ResponseKind::EndTxn(response))
}

pub(in crate::core) fn commit_offsets(
    broker: &mut Broker,
    now_ms: i64,
    call: &Call,
    request: TxnOffsetCommitRequest,
) -> Outcome {
    let producer = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let group = request.group_id;
    let speaker = Speaker {
        member_id: request.member_id,
        instance: request.group_instance_id,
        generation: request.generation_id,
    };
    let anonymous = speaker.member_id.is_empty() && speaker.generation < 0;
    let allowed = broker.check_group(call, &group).and_then(|()| {
        broker.transaction(&request.transactional_id, producer)?;
        match anonymous {
            true => Ok(()),
            false => broker.with_group(&group, |group| group.check_commit(now_ms, &speaker)),
        }
    });
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|asked| {
            let index = asked.partition_index;
            let (offset, epoch) = (asked.committed_offset, asked.committed_leader_epoch);
            let known = broker.topics.named(&topic.name).and_then(|t| t.partition(index)).is_some();
            let result = match (allowed, known) {
                (Err(error), _) => Err(error),
                (Ok(()), false) => Err(KafkaError::UnknownTopicOrPartition),
                (Ok(()), true) => committed(offset, epoch, asked.committed_metadata),
            };
            let result = result.map(|committed| {
                let key = (topic.name.clone(), index);
                broker.with_group(&group, |group| {
                    let pending = group.pending_offsets.entry(producer.id).or_default();
                    pending.insert(key, committed);
                });
            });
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code(result))
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions)
    });
    let response = TxnOffsetCommitResponse::default().with_topics(topics.collect());
    Outcome::message(ResponseKind::TxnOffsetCommit(response))
}
