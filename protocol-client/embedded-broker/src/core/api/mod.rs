//! One file per API. Each header names the versions, the behavior, and what is left out.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::protocol::StrBytes;

pub(super) mod alter_configs;
pub(super) mod api_versions;
pub(super) mod create_partitions;
pub(super) mod create_topics;
pub(super) mod delete_groups;
pub(super) mod delete_records;
pub(super) mod delete_topics;
pub(super) mod describe_acls;
pub(super) mod describe_cluster;
pub(super) mod describe_configs;
pub(super) mod describe_groups;
pub(super) mod describe_producers;
pub(super) mod describe_topic_partitions;
pub(super) mod fetch;
pub(super) mod find_coordinator;
pub(super) mod heartbeat;
pub(super) mod init_producer_id;
pub(super) mod join_group;
pub(super) mod leave_group;
pub(super) mod list_groups;
pub(super) mod list_offsets;
pub(super) mod metadata;
pub(super) mod offset_commit;
pub(super) mod offset_delete;
pub(super) mod offset_fetch;
pub(super) mod offset_for_leader_epoch;
pub(super) mod produce;
pub(super) mod sync_group;
pub(super) mod txn;

#[cfg(test)]
mod tests;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn code(result: Result<(), KafkaError>) -> i16 {
    result.err().map_or(0, |error| error.code())
}

/// PRODUCER_FENCED for versions that know it, INVALID_PRODUCER_EPOCH for those before.
fn fencing(error: KafkaError, known: bool) -> i16 {
    match error {
        KafkaError::ProducerFenced if !known => KafkaError::InvalidProducerEpoch.code(),
        error => error.code(),
    }
}
