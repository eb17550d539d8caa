//! One file per API. Each header names the versions, the behavior, and what is left out.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::protocol::StrBytes;

pub(super) mod api_versions;
pub(super) mod create_topics;
pub(super) mod describe_configs;
pub(super) mod fetch;
pub(super) mod init_producer_id;
pub(super) mod list_offsets;
pub(super) mod metadata;
pub(super) mod produce;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn code(result: Result<(), KafkaError>) -> i16 {
    result.err().map_or(0, |error| error.code())
}
