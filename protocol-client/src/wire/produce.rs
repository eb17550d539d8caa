//! Produce, versions 9 to 13, encoded by hand: payloads go out as they came in.
//!
//! Topics go by name up to version 12 and by id from version 13 on (KIP-516).

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::error::ClientError;
use crate::wire::api::{ApiId, Capabilities, VersionSpan};
use crate::wire::error_code::ErrorCode;
use crate::wire::fetch::{
    CurrentLeader, TopicRef, put_topic, read_current_leader, read_throttle, read_topic, twins,
};
use crate::wire::message::set_frame_size;
use crate::wire::primitives::{
    Cursor, WireError, put_compact_length, put_compact_str, put_no_tags,
};

/// Key and name of the API.
pub const PRODUCE: ApiId = ApiId { key: 0, name: "Produce" };
/// The fixed part of a batch of message format 2.
pub const BATCH_HEADER_BYTES: usize = 61;
const BY_NAME: VersionSpan = VersionSpan { min: 9, max: 12 };
const BY_ID: VersionSpan = VersionSpan { min: 13, max: 13 };
const BY_EITHER: VersionSpan = VersionSpan { min: BY_NAME.min, max: BY_ID.max };
/// From version 12 on a transactional produce adds its partitions to the transaction by itself,
/// but only on clusters with transaction version 2 (KIP-890); up to 11 the caller adds them, which
/// every broker takes.
const TRANSACTIONAL: VersionSpan = VersionSpan { min: 9, max: 11 };

/// What a request takes in most cases, its partitions aside, and what each of those takes without its payload.
const USUAL_HEAD_BYTES: usize = 128;
const PARTITION_BYTES: usize = BATCH_HEADER_BYTES + 10;

/// Who acknowledges a produce request. There is no way to ask for no answer at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// All replicas in sync.
    #[default]
    All,
    /// The leader alone: acknowledged records may still be lost.
    Leader,
}

/// A produce request. Each partition gets one batch; brokers take no more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawProduce {
    /// Who acknowledges.
    pub acks: Acks,
    /// How long the broker may wait for its followers, in milliseconds.
    pub timeout_ms: i32,
    /// The transactional id, if the batches belong to a transaction. Their partitions must have
    /// been added to it with AddPartitionsToTxn.
    pub transactional_id: Option<Arc<str>>,
    /// The batches.
    pub partitions: Vec<ProducePartition>,
}

/// One batch for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's id; nil if unknown.
    pub topic_id: Uuid,
    /// The partition's number.
    pub index: i32,
    /// The batch's header, ready to send.
    pub header: [u8; BATCH_HEADER_BYTES],
    /// The batch's records, compressed or not; never copied.
    pub payload: Bytes,
}

/// The answer to a produce request, in the order of the request's partitions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawProduceAnswer {
    /// How long the broker wants to be left alone.
    pub throttle: Duration,
    /// One entry for each partition of the request, in its order.
    pub partitions: Vec<ProducedPartition>,
}

/// What became of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducedPartition {
    /// The topic's name, as in the request.
    pub topic: Arc<str>,
    /// The partition's number.
    pub index: i32,
    /// The partition's error.
    pub error: ErrorCode,
    /// The offset of the batch's first record.
    pub base_offset: i64,
    /// The time of the append in milliseconds, -1 unless the topic uses it.
    pub log_append_time_ms: i64,
    /// The first offset of the log, -1 if not told.
    pub log_start_offset: i64,
    /// The broker's own words about the error.
    pub message: Option<String>,
    /// Records the broker complains about: index in the batch, and why.
    pub record_errors: Vec<(i32, Option<String>)>,
    /// Who leads now, if the broker told with an error.
    pub current_leader: Option<CurrentLeader>,
}

/// What an answer is matched against.
#[derive(Debug)]
pub struct Asked {
    version: i16,
    /// In the order of the request.
    partitions: Vec<(Arc<str>, Uuid, i32)>,
    /// Positions in `partitions`, ordered by how the answer names them.
    sorted: Vec<usize>,
}

impl RawProduce {
    /// The version to send this request in: by id where the broker offers it and every topic has one.
    pub fn version(&self, capabilities: &Capabilities) -> Result<i16, ClientError> {
        if self.transactional_id.is_some() {
            return Ok(capabilities.version_of(PRODUCE, TRANSACTIONAL)?);
        }
        let nil = self.partitions.iter().any(|partition| partition.topic_id.is_nil());
        if !nil && let Ok(version) = capabilities.version_of(PRODUCE, BY_ID) {
            return Ok(version);
        }
        let by_name = capabilities.version_of(PRODUCE, BY_NAME);
        by_name.map_err(|_| match capabilities.version_of(PRODUCE, BY_EITHER) {
            Ok(_) => ClientError::invalid("the broker writes by topic id, and a topic has none"),
            Err(gap) => gap.into(),
        })
    }

    /// What to match the answer to this request in `version` against.
    ///
    /// # Errors
    /// A request without partitions, or one that names a partition twice: the broker would silently
    /// drop one of the batches.
    pub fn asked(&self, version: i16) -> Result<Asked, ClientError> {
        if self.partitions.is_empty() {
            return Err(ClientError::invalid("a produce request without partitions"));
        }
        let all = self.partitions.iter();
        let mut asked = Asked {
            version,
            partitions: all.map(|one| (Arc::clone(&one.topic), one.topic_id, one.index)).collect(),
            sorted: (0..self.partitions.len()).collect(),
        };
        let Asked { partitions, sorted, .. } = &mut asked;
        let order = |a: &usize, b: &usize| {
            let (a, b) = (&partitions[*a], &partitions[*b]);
            let by_topic = if version >= BY_ID.min { a.1.cmp(&b.1) } else { a.0.cmp(&b.0) };
            by_topic.then(a.2.cmp(&b.2))
        };
        sorted.sort_unstable_by(order);
        match sorted.windows(2).find(|pair| order(&pair[0], &pair[1]).is_eq()) {
            Some(pair) => Err(twins(&partitions[pair[0]].0, partitions[pair[0]].2)),
            None => Ok(asked),
        }
    }

    /// Encodes the body behind `head` (which holds the frame's size and header) as pieces for a
    /// vectored write: what is written here, then a payload, and so on.
    ///
    /// # Errors
    /// If the frame would be larger than the protocol can say.
    pub fn encode(&self, version: i16, mut head: BytesMut) -> Result<Vec<Bytes>, ClientError> {
        let by_id = version >= BY_ID.min;
        let mut order: Vec<&ProducePartition> = self.partitions.iter().collect();
        order.sort_by(|a, b| a.topic.cmp(&b.topic));
        let topics = || order.chunk_by(|a, b| a.topic == b.topic);
        head.reserve(USUAL_HEAD_BYTES + self.partitions.len() * PARTITION_BYTES);

        put_transactional_id(&mut head, self.transactional_id.as_deref());
        head.put_i16(match self.acks {
            Acks::All => -1,
            Acks::Leader => 1,
        });
        head.put_i32(self.timeout_ms);
        put_compact_length(&mut head, topics().count());
        // Everything but payloads is written into one buffer and cut where the payloads go.
        let mut cuts = Vec::with_capacity(self.partitions.len());
        for partitions in topics() {
            put_topic(&mut head, by_id, &partitions[0].topic, partitions[0].topic_id);
            put_compact_length(&mut head, partitions.len());
            for partition in partitions {
                head.put_i32(partition.index);
                put_compact_length(&mut head, BATCH_HEADER_BYTES + partition.payload.len());
                head.put_slice(&partition.header);
                cuts.push((head.len(), &partition.payload));
                put_no_tags(&mut head);
            }
            put_no_tags(&mut head);
        }
        put_no_tags(&mut head);
        set_frame_size(&mut head, self.partitions.iter().map(|one| one.payload.len()).sum())?;
        Ok(interleave(head.freeze(), &cuts))
    }
}

fn put_transactional_id(out: &mut BytesMut, id: Option<&str>) {
    match id {
        Some(id) => put_compact_str(out, id),
        None => out.put_u8(0),
    }
}

fn interleave(written: Bytes, cuts: &[(usize, &Bytes)]) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(cuts.len() * 2 + 1);
    let mut from = 0;
    for (at, payload) in cuts {
        pieces.push(written.slice(from..*at));
        if !payload.is_empty() {
            pieces.push((*payload).clone());
        }
        from = *at;
    }
    pieces.push(written.slice(from..));
    pieces
}

impl RawProduceAnswer {
    /// Reads the body of an answer and brings it into the order of the request. An answer that
    /// leaves out a partition, or holds one that was not asked for, is refused.
    pub fn decode(body: &Bytes, asked: &Asked) -> Result<Self, ClientError> {
        let by_id = asked.version >= BY_ID.min;
        let mut cursor = Cursor::new(body);
        let mut slots: Vec<Option<ProducedPartition>> = vec![None; asked.partitions.len()];
        for _ in 0..cursor.compact_count()?.unwrap_or(0) {
            let topic = read_topic(&mut cursor, by_id)?;
            for _ in 0..cursor.compact_count()?.unwrap_or(0) {
                let index = cursor.i32()?;
                let slot = asked.slot(&topic, index);
                let vacant = slot.filter(|at| slots[*at].is_none()).ok_or_else(|| {
                    ClientError::unexpected(format!(
                        "{topic:?} partition {index} was not asked for"
                    ))
                })?;
                let name = &asked.partitions[vacant].0;
                slots[vacant] = Some(read_partition(&mut cursor, name, index)?);
            }
            cursor.skip_tagged()?;
        }
        let throttle = read_throttle(&mut cursor)?;
        cursor.skip_tagged()?;
        cursor.finish()?;
        let partitions: Option<Vec<ProducedPartition>> = slots.into_iter().collect();
        let partitions = partitions
            .ok_or_else(|| ClientError::unexpected("the answer leaves out a partition"))?;
        Ok(Self { throttle, partitions })
    }
}

impl Asked {
    fn slot(&self, topic: &TopicRef, index: i32) -> Option<usize> {
        let found = self.sorted.binary_search_by(|at| {
            let (name, id, asked) = &self.partitions[*at];
            let by_topic = match topic {
                TopicRef::Name(answered) => name.cmp(answered),
                TopicRef::Id(answered) => id.cmp(answered),
            };
            by_topic.then(asked.cmp(&index))
        });
        found.ok().map(|at| self.sorted[at])
    }
}

fn read_partition(
    cursor: &mut Cursor<'_>,
    topic: &Arc<str>,
    index: i32,
) -> Result<ProducedPartition, WireError> {
    let mut partition = ProducedPartition {
        topic: Arc::clone(topic),
        index,
        error: ErrorCode(cursor.i16()?),
        base_offset: cursor.i64()?,
        log_append_time_ms: cursor.i64()?,
        log_start_offset: cursor.i64()?,
        message: None,
        record_errors: Vec::new(),
        current_leader: None,
    };
    for _ in 0..cursor.compact_count()?.unwrap_or(0) {
        let record = cursor.i32()?;
        let message = cursor.compact_str()?.map(str::to_owned);
        partition.record_errors.push((record, message));
        cursor.skip_tagged()?;
    }
    partition.message = cursor.compact_str()?.map(str::to_owned);
    cursor.tagged::<WireError>(|tag, content| {
        if tag == 0 {
            partition.current_leader = read_current_leader(content)?;
        }
        Ok(tag == 0)
    })?;
    Ok(partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf;
    use kafka_protocol::messages::produce_response::{
        BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse,
    };
    use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
    use proptest::prelude::*;

    fn id(topic: &str) -> Uuid {
        Uuid::from_bytes([topic.len() as u8; 16])
    }

    fn batch(topic: &str, index: i32, payload: &'static [u8]) -> ProducePartition {
        ProducePartition {
            topic: Arc::from(topic),
            topic_id: id(topic),
            index,
            header: [index as u8; BATCH_HEADER_BYTES],
            payload: Bytes::from_static(payload),
        }
    }

    fn request() -> RawProduce {
        RawProduce {
            acks: Acks::All,
            timeout_ms: 30_000,
            transactional_id: None,
            partitions: vec![
                batch("orders", 1, b"one"),
                batch("bills", 0, b""),
                batch("orders", 0, b"two"),
            ],
        }
    }

    fn partition(index: i32, base_offset: i64) -> PartitionProduceResponse {
        PartitionProduceResponse::default().with_index(index).with_base_offset(base_offset)
    }

    fn answer(version: i16) -> ProduceResponse {
        let mut failed = partition(0, -1)
            .with_error_code(87)
            .with_error_message(Some(StrBytes::from_static_str("bad")))
            .with_record_errors(vec![BatchIndexAndErrorMessage::default().with_batch_index(2)]);
        if version >= 10 {
            failed.current_leader =
                LeaderIdAndEpoch::default().with_leader_id(3.into()).with_leader_epoch(7);
        }
        let topic = |name: &'static str, partitions| {
            let topic = TopicProduceResponse::default().with_partition_responses(partitions);
            match version {
                13 => topic.with_topic_id(id(name)),
                _ => topic.with_name(TopicName(StrBytes::from_static_str(name))),
            }
        };
        ProduceResponse::default().with_throttle_time_ms(20).with_responses(vec![
            topic("bills", vec![partition(0, 40)]),
            topic("orders", vec![failed, partition(1, 50)]),
        ])
    }

    fn encoded(version: i16) -> Bytes {
        let mut out = BytesMut::new();
        answer(version).encode(&mut out, version).expect("the test's answer encodes");
        out.freeze()
    }

    #[test]
    fn requests_read_back_and_payloads_are_not_copied() {
        for version in 9..=13 {
            let request = request();
            let pieces = request.encode(version, BytesMut::from(&[0; 4][..])).expect("small");
            for partition in request.partitions.iter().filter(|p| !p.payload.is_empty()) {
                let sent = pieces.iter().any(|piece| piece.as_ptr() == partition.payload.as_ptr());
                assert!(sent, "payload was copied");
            }
            let mut rest = Bytes::from(pieces.concat());
            let size = rest.get_i32();
            assert_eq!(rest.len(), size as usize);

            let theirs = ProduceRequest::decode(&mut rest, version).expect("decodes");
            assert!(rest.is_empty());
            assert_eq!((theirs.acks, theirs.timeout_ms), (-1, 30_000));
            assert_eq!(theirs.transactional_id, None);
            let [bills, orders] = &theirs.topic_data[..] else { panic!("two topics") };
            match version {
                13 => assert_eq!(orders.topic_id, id("orders")),
                _ => assert_eq!(bills.name.as_str(), "bills"),
            }
            let [first, second] = &orders.partition_data[..] else { panic!("two partitions") };
            assert_eq!((first.index, second.index), (1, 0));
            let records = first.records.as_ref().expect("records");
            assert_eq!(&records[..61], &[1; 61]);
            assert_eq!(&records[61..], b"one");
        }
    }

    #[test]
    fn answers_come_in_the_order_of_the_request() {
        for version in 9..=13 {
            let ours =
                RawProduceAnswer::decode(&encoded(version), &request().asked(version).unwrap());
            let ours = ours.expect("decodes");
            assert_eq!(ours.throttle, Duration::from_millis(20));
            let offsets: Vec<i64> = ours.partitions.iter().map(|one| one.base_offset).collect();
            assert_eq!(offsets, [50, 40, -1]);
            let failed = &ours.partitions[2];
            assert_eq!((failed.error, failed.message.as_deref()), (ErrorCode(87), Some("bad")));
            assert_eq!(failed.record_errors, [(2, None)]);
            let leader = (version >= 10).then_some(CurrentLeader { node: 3, epoch: 7 });
            assert_eq!(failed.current_leader, leader);
        }
    }

    #[test]
    fn answers_that_do_not_match_the_request_are_refused() {
        let mut fewer = request();
        fewer.partitions.pop();
        let extra = RawProduceAnswer::decode(&encoded(12), &fewer.asked(12).unwrap());
        assert!(extra.expect_err("not asked").to_string().contains("not asked for"));
        let mut more = request();
        more.partitions.push(batch("orders", 9, b""));
        let missing = RawProduceAnswer::decode(&encoded(12), &more.asked(12).unwrap());
        assert!(missing.expect_err("left out").to_string().contains("leaves out"));
    }

    #[test]
    fn twins_and_empty_requests_are_refused() {
        let mut twice = request();
        twice.partitions.push(batch("orders", 1, b"again"));
        for version in [12, 13] {
            assert!(twice.asked(version).expect_err("twice").to_string().contains("orders-"));
            assert!(RawProduce::default().asked(version).is_err());
        }
    }

    proptest! {
        #[test]
        fn damaged_answers_never_panic(
            version in 9i16..=13, cut in 0usize..100, at in 0usize..200, byte: u8,
        ) {
            let mut bytes = encoded(version).to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = RawProduceAnswer::decode(&Bytes::from(bytes), &request().asked(version).unwrap());
        }
    }
}
