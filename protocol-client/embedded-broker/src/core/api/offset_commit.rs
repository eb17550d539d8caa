//! OffsetCommit (8), versions 2-9: by members, and by nobody into groups without members.
//!
//! Left out: member epochs of KIP-848 groups.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, ResponseKind};
use kafka_protocol::protocol::StrBytes;

use super::super::groups::{Committed, Speaker};
use super::super::{Broker, Call, Outcome};
use super::code;

/// Longest remark (`offset.metadata.max.bytes`).
pub(super) const METADATA_MAX_BYTES: usize = 4096;

pub(in crate::core) fn handle(
    broker: &mut Broker,
    now_ms: i64,
    call: &Call,
    request: OffsetCommitRequest,
) -> Outcome {
    let id = request.group_id;
    let speaker = Speaker {
        member_id: request.member_id,
        instance: request.group_instance_id,
        generation: request.generation_id_or_member_epoch,
    };
    let allowed = match broker.check_group(call, &id) {
        Ok(()) if speaker.generation >= 0 && !broker.groups.contains_key(&id) => {
            Err(KafkaError::IllegalGeneration)
        }
        Ok(()) => broker.with_group(&id, |group| group.check_commit(now_ms, &speaker)),
        Err(error) => Err(error),
    };
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let index = asked.partition_index;
            let found = broker.topics.named(&topic.name).and_then(|t| t.partition(index));
            let result = match (allowed, found) {
                (Err(error), _) => Err(error),
                (Ok(()), None) => Err(KafkaError::UnknownTopicOrPartition),
                (Ok(()), Some(_)) => committed(
                    asked.committed_offset,
                    asked.committed_leader_epoch,
                    asked.committed_metadata,
                ),
            };
            let result = result.map(|committed| {
                let key = (topic.name.clone(), index);
                broker.with_group(&id, |group| group.offsets.insert(key, committed));
            });
            let answer = OffsetCommitResponsePartition::default().with_partition_index(index);
            partitions.push(answer.with_error_code(code(result)));
        }
        let answer = OffsetCommitResponseTopic::default().with_name(topic.name);
        topics.push(answer.with_partitions(partitions));
    }
    let response = OffsetCommitResponse::default().with_topics(topics);
    Outcome::message(ResponseKind::OffsetCommit(response))
}

/// An offset to commit, if its remark is not too long.
pub(super) fn committed(
    offset: i64,
    leader_epoch: i32,
    metadata: Option<StrBytes>,
) -> Result<Committed, KafkaError> {
    let metadata = metadata.unwrap_or_default();
    if metadata.len() > METADATA_MAX_BYTES {
        return Err(KafkaError::OffsetMetadataTooLarge);
    }
    Ok(Committed { offset, leader_epoch, metadata })
}
