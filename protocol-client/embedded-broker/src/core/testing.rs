//! Batches and calls for the tests of this crate.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};

use super::topics::topic_name;
use super::{Broker, Call, FetchReply, NodeId, Outcome, Response, TopicSpec};
use crate::options::BrokerOptions;

/// 2026-01-01, in milliseconds.
pub(crate) const NOW: i64 = 1_767_225_600_000;

/// An uncompressed batch to be.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) records: Vec<(Option<Vec<u8>>, Vec<u8>)>,
    pub(crate) attributes: i16,
    pub(crate) base_timestamp: i64,
    pub(crate) producer: (i64, i16, i32),
}

impl Batch {
    pub(crate) fn of(count: usize) -> Self {
        let record = |nth: usize| (Some(vec![nth as u8]), format!("value {nth}").into_bytes());
        Self {
            records: (0..count).map(record).collect(),
            attributes: 0,
            base_timestamp: NOW,
            producer: (-1, -1, -1),
        }
    }

    pub(crate) fn from_producer(count: usize, id: i64, epoch: i16, sequence: i32) -> Self {
        Self { producer: (id, epoch, sequence), ..Self::of(count) }
    }

    pub(crate) fn transactional(count: usize, id: i64, epoch: i16, sequence: i32) -> Self {
        Self { attributes: 0x10, ..Self::from_producer(count, id, epoch, sequence) }
    }

    pub(crate) fn bytes(&self) -> Bytes {
        let mut payload = BytesMut::new();
        for (nth, (key, value)) in self.records.iter().enumerate() {
            put_record(&mut payload, nth as i64, key.as_deref(), value);
        }
        let count = self.records.len() as i32;
        let mut batch = BytesMut::new();
        batch.put_i64(0);
        batch.put_i32(payload.len() as i32 + 49);
        batch.put_i32(-1);
        batch.put_i8(2);
        batch.put_u32(0);
        batch.put_i16(self.attributes);
        batch.put_i32(count - 1);
        batch.put_i64(self.base_timestamp);
        batch.put_i64(self.base_timestamp + i64::from(count) - 1);
        batch.put_i64(self.producer.0);
        batch.put_i16(self.producer.1);
        batch.put_i32(self.producer.2);
        batch.put_i32(count);
        batch.put_slice(&payload);
        seal(batch)
    }
}

/// Sets the checksum.
pub(crate) fn seal(mut batch: BytesMut) -> Bytes {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

fn put_record(payload: &mut BytesMut, delta: i64, key: Option<&[u8]>, value: &[u8]) {
    let mut body = BytesMut::new();
    body.put_u8(0);
    put_varint(&mut body, delta);
    put_varint(&mut body, delta);
    put_varint(&mut body, key.map_or(-1, |key| key.len() as i64));
    body.put_slice(key.unwrap_or_default());
    put_varint(&mut body, value.len() as i64);
    body.put_slice(value);
    put_varint(&mut body, 0);
    put_varint(payload, body.len() as i64);
    payload.put_slice(&body);
}

fn put_varint(bytes: &mut BytesMut, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        bytes.put_u8(raw as u8 | 0x80);
        raw >>= 7;
    }
    bytes.put_u8(raw as u8);
}

/// A cluster with one topic `t` of as many partitions as nodes.
pub(crate) fn cluster(nodes: usize) -> Broker {
    let mut broker = Broker::new(BrokerOptions { nodes, ..BrokerOptions::default() });
    let spec = TopicSpec::new("t", nodes as i32).replicas(nodes as i16);
    broker.create_topic(spec).expect("a new topic");
    broker
}

/// Makes a call and takes the message that is answered.
pub(crate) fn ask(
    broker: &mut Broker,
    node: NodeId,
    api: ApiKey,
    version: i16,
    request: RequestKind,
) -> ResponseKind {
    match broker.handle(NOW, Call::new(node, 1, api, version), request) {
        Outcome::Reply(Response::Message(message)) => *message,
        other => panic!("no message but {other:?}"),
    }
}

/// A produce request for one partition of `t`.
pub(crate) fn produce_request(partition: i32, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic =
        TopicProduceData::default().with_name(topic_name("t")).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic])
}

/// Produces to partition 0 of `t` at node 0: error and base offset.
pub(crate) fn produce(broker: &mut Broker, records: Bytes) -> (i16, i64) {
    let request = RequestKind::Produce(produce_request(0, records));
    let ResponseKind::Produce(response) = ask(broker, 0, ApiKey::Produce, 9, request) else {
        panic!("not a produce answer");
    };
    let answer = &response.responses[0].partition_responses[0];
    (answer.error_code, answer.base_offset)
}

/// A fetch request for one partition of `t`, without waiting.
pub(crate) fn fetch_request(partition: i32, offset: i64, max_bytes: i32) -> FetchRequest {
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(max_bytes);
    let topic = FetchTopic::default().with_topic(topic_name("t")).with_partitions(vec![asked]);
    FetchRequest::default().with_max_bytes(i32::MAX).with_session_epoch(-1).with_topics(vec![topic])
}

/// Fetches at node 0.
pub(crate) fn fetch(broker: &mut Broker, request: FetchRequest) -> FetchReply {
    match broker.handle(NOW, Call::new(0, 1, ApiKey::Fetch, 12), RequestKind::Fetch(request)) {
        Outcome::Reply(Response::Fetch(reply)) => reply,
        other => panic!("no fetch answer but {other:?}"),
    }
}

/// Pieces put together.
pub(crate) fn joined(pieces: &[Bytes]) -> Vec<u8> {
    pieces.concat()
}
