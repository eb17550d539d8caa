//! Between the engine's raw requests and the broker's typed ones.

use bytes::{Bytes, BytesMut};
use embedded_broker::core::FetchReply;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{FetchRequest, ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol_client::batch::AbortedTransaction;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::{
    FetchedPartition, Isolation, RawFetch, RawFetchAnswer, TopicRef,
};
use protocol_client::wire::produce::{ProducedPartition, RawProduce, RawProduceAnswer};

/// Fetch by topic names.
pub(crate) const FETCH_VERSION: i16 = 12;
/// Produce by topic names.
pub(crate) const PRODUCE_VERSION: i16 = 9;

pub(crate) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

pub(crate) fn fetch(request: &RawFetch) -> FetchRequest {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|at| {
            FetchPartition::default()
                .with_partition(at.index)
                .with_current_leader_epoch(at.leader_epoch)
                .with_fetch_offset(at.offset)
                .with_last_fetched_epoch(at.last_fetched_epoch)
                .with_partition_max_bytes(at.max_bytes)
        });
        FetchTopic::default().with_topic(name(&topic.name)).with_partitions(partitions.collect())
    });
    let forgotten = request.forgotten.iter().map(|topic| {
        ForgottenTopic::default()
            .with_topic(name(&topic.name))
            .with_partitions(topic.partitions.clone())
    });
    FetchRequest::default()
        .with_max_wait_ms(request.max_wait_ms)
        .with_min_bytes(request.min_bytes)
        .with_max_bytes(request.max_bytes)
        .with_isolation_level(i8::from(request.isolation == Isolation::ReadCommitted))
        .with_session_id(request.session_id)
        .with_session_epoch(request.session_epoch)
        .with_topics(topics.collect())
        .with_forgotten_topics_data(forgotten.collect())
}

pub(crate) fn fetched(reply: FetchReply) -> RawFetchAnswer {
    let mut frame_bytes = 100;
    let mut partitions = Vec::new();
    for topic in reply.topics {
        for part in topic.partitions {
            let mut records = BytesMut::new();
            part.pieces.iter().for_each(|piece| records.extend_from_slice(piece));
            frame_bytes += records.len();
            let aborted = part.aborted.unwrap_or_default().into_iter();
            partitions.push(FetchedPartition {
                topic: TopicRef::Name(topic.name.0.to_string().into()),
                index: part.index,
                error: ErrorCode(part.error_code),
                high_watermark: part.high_watermark,
                last_stable_offset: part.last_stable_offset,
                log_start_offset: part.log_start_offset,
                aborted: aborted
                    .map(|(producer_id, first_offset)| AbortedTransaction {
                        producer_id,
                        first_offset,
                    })
                    .collect(),
                diverging: None,
                preferred_replica: None,
                current_leader: None,
                records: records.freeze(),
            });
        }
    }
    RawFetchAnswer {
        throttle: std::time::Duration::ZERO,
        error: ErrorCode(reply.error_code),
        session_id: reply.session_id,
        partitions,
        frame_bytes,
    }
}

pub(crate) fn produce(request: &RawProduce) -> ProduceRequest {
    let topics = request.partitions.iter().map(|at| {
        let mut records = BytesMut::from(&at.header[..]);
        records.extend_from_slice(&at.payload);
        produce_topic(&at.topic, at.index, records.freeze())
    });
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(request.timeout_ms)
        .with_topic_data(topics.collect())
}

pub(crate) fn produce_topic(topic: &str, index: i32, records: Bytes) -> TopicProduceData {
    let data = PartitionProduceData::default().with_index(index).with_records(Some(records));
    TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data])
}

pub(crate) fn produced(response: &ProduceResponse) -> RawProduceAnswer {
    let parts = response.responses.iter().flat_map(|topic| {
        topic.partition_responses.iter().map(|part| ProducedPartition {
            topic: topic.name.0.to_string().into(),
            index: part.index,
            error: ErrorCode(part.error_code),
            base_offset: part.base_offset,
            log_append_time_ms: part.log_append_time_ms,
            log_start_offset: part.log_start_offset,
            message: None,
            record_errors: Vec::new(),
            current_leader: None,
        })
    });
    RawProduceAnswer { throttle: std::time::Duration::ZERO, partitions: parts.collect() }
}
