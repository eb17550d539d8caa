//! Between the engine's raw requests and the broker's typed ones.

use bytes::BytesMut;
use embedded_broker::core::FetchReply;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    FetchRequest, ProduceRequest, ProduceResponse, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use protocol_client::batch::AbortedTransaction;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::{
    CurrentLeader, Diverging, FetchedPartition, Isolation, RawFetch, RawFetchAnswer, TopicRef,
};
use protocol_client::wire::produce::{ProducedPartition, RawProduce, RawProduceAnswer};

/// Which versions are spoken with the brokers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Versions {
    pub(crate) metadata: i16,
    pub(crate) fetch: i16,
    pub(crate) produce: i16,
}

impl Versions {
    /// Topics by name and without ids.
    const OLD: Self = Self { metadata: 9, fetch: 12, produce: 9 };
    /// Topics by id.
    const NEW: Self = Self { metadata: 12, fetch: 16, produce: 13 };

    pub(crate) fn drawn(rng: &mut fastrand::Rng) -> Self {
        if rng.u8(0..4) == 0 { Self::OLD } else { Self::NEW }
    }

    pub(crate) fn have_ids(self) -> bool {
        self.metadata >= 10
    }
}

pub(crate) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

pub(crate) fn fetch(request: &RawFetch, versions: Versions) -> FetchRequest {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|at| {
            FetchPartition::default()
                .with_partition(at.index)
                .with_current_leader_epoch(at.leader_epoch)
                .with_fetch_offset(at.offset)
                .with_last_fetched_epoch(at.last_fetched_epoch)
                .with_partition_max_bytes(at.max_bytes)
        });
        let asked = FetchTopic::default().with_partitions(partitions.collect());
        match versions.have_ids() {
            true => asked.with_topic_id(topic.id),
            false => asked.with_topic(name(&topic.name)),
        }
    });
    let forgotten = request.forgotten.iter().map(|topic| {
        let forgotten = ForgottenTopic::default().with_partitions(topic.partitions.clone());
        match versions.have_ids() {
            true => forgotten.with_topic_id(topic.id),
            false => forgotten.with_topic(name(&topic.name)),
        }
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
                topic: match topic.id.is_nil() {
                    true => TopicRef::Name(topic.name.0.to_string().into()),
                    false => TopicRef::Id(topic.id),
                },
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
                diverging: part
                    .diverging
                    .map(|(epoch, end_offset)| Diverging { epoch, end_offset }),
                preferred_replica: None,
                current_leader: part
                    .current_leader
                    .map(|(node, epoch)| CurrentLeader { node, epoch }),
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
        waited: None,
    }
}

pub(crate) fn produce(request: &RawProduce, versions: Versions) -> ProduceRequest {
    let topics = request.partitions.iter().map(|at| {
        let mut records = BytesMut::from(&at.header[..]);
        records.extend_from_slice(&at.payload);
        let data = PartitionProduceData::default()
            .with_index(at.index)
            .with_records(Some(records.freeze()));
        let topic = TopicProduceData::default().with_partition_data(vec![data]);
        match versions.have_ids() {
            true => topic.with_topic_id(at.topic_id),
            false => topic.with_name(name(&at.topic)),
        }
    });
    let transactional_id = request.transactional_id.as_deref();
    ProduceRequest::default()
        .with_acks(-1)
        .with_transactional_id(
            transactional_id.map(|id| TransactionalId(StrBytes::from_string(id.to_owned()))),
        )
        .with_timeout_ms(request.timeout_ms)
        .with_topic_data(topics.collect())
}

/// The answer by names, as the client gives it.
pub(crate) fn produced(response: &ProduceResponse, topic: &str) -> RawProduceAnswer {
    let parts = response.responses.iter().flat_map(|answer| {
        answer.partition_responses.iter().map(|part| ProducedPartition {
            topic: topic.into(),
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
