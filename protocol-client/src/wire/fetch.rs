//! Fetch, versions 12 to 18, encoded and decoded by hand: records stay slices of their frame.
//!
//! Topics go by name up to version 12 and by id from version 13 on (KIP-516).

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

pub use crate::batch::AbortedTransaction;
use crate::error::ClientError;
use crate::wire::api::{ApiId, Capabilities, VersionSpan};
use crate::wire::error_code::ErrorCode;
use crate::wire::primitives::{
    Cursor, WireError, put_compact_length, put_compact_str, put_no_tags,
};

/// Key and name of the API.
pub const FETCH: ApiId = ApiId { key: 1, name: "Fetch" };
const BY_NAME: VersionSpan = VersionSpan { min: 12, max: 12 };
const BY_ID: VersionSpan = VersionSpan { min: 13, max: 18 };
const BY_EITHER: VersionSpan = VersionSpan { min: BY_NAME.min, max: BY_ID.max };

/// What a request takes in most cases, its partitions aside, and what each of those takes.
const USUAL_HEAD_BYTES: usize = 128;
const PARTITION_BYTES: usize = 33;

/// What an answer may say to hold before it is believed: its partitions are read one by one.
const BELIEVED_PARTITIONS: usize = 16;

/// Which records a reader wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Everything below the high watermark, open and aborted transactions included.
    #[default]
    ReadUncommitted,
    /// Nothing at or above the first open transaction; aborted transactions are listed.
    ReadCommitted,
}

impl Isolation {
    /// The value on the wire.
    pub fn wire(self) -> i8 {
        self as i8
    }
}

/// A fetch request as it goes on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawFetch {
    /// How long the broker may wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// How many bytes the broker should gather before it answers.
    pub min_bytes: i32,
    /// How many bytes the answer should have at most. The first batch of the first non-empty
    /// partition comes whole even if it is larger.
    pub max_bytes: i32,
    /// Which records are wanted.
    pub isolation: Isolation,
    /// The rack of this reader, for reading from a near replica (KIP-392); empty for none.
    pub rack: String,
    /// The fetch session (KIP-227), 0 for none yet.
    pub session_id: i32,
    /// The session's epoch: -1 without session, 0 to open one, then 1, 2, ..
    pub session_epoch: i32,
    /// What to read. Within a session only what changed.
    pub topics: Vec<FetchTopic>,
    /// What to take out of the session.
    pub forgotten: Vec<ForgottenTopic>,
}

/// Partitions of one topic to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopic {
    /// The topic's name.
    pub name: Arc<str>,
    /// The topic's id; nil if unknown.
    pub id: Uuid,
    /// The partitions.
    pub partitions: Vec<FetchPartition>,
}

/// One partition to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPartition {
    /// The partition's number.
    pub index: i32,
    /// The first offset wanted.
    pub offset: i64,
    /// The leader epoch the reader believes in; -1 switches the check off.
    pub leader_epoch: i32,
    /// The leader epoch of the last batch read; lets the broker notice a diverged log. -1 for none.
    pub last_fetched_epoch: i32,
    /// How many bytes of this partition are wanted at most.
    pub max_bytes: i32,
}

/// Partitions of one topic to take out of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenTopic {
    /// The topic's name.
    pub name: Arc<str>,
    /// The topic's id; nil if unknown.
    pub id: Uuid,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// How a broker names a topic in an answer: the way it was named in the request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// By name.
    Name(Arc<str>),
    /// By id.
    Id(Uuid),
}

/// The answer to a fetch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawFetchAnswer {
    /// How long the broker wants to be left alone.
    pub throttle: Duration,
    /// An error of the whole request, for example a lost session.
    pub error: ErrorCode,
    /// The fetch session, 0 if none was granted.
    pub session_id: i32,
    /// What was read.
    pub partitions: Vec<FetchedPartition>,
    /// The size of the answer; its memory is held until the last `records` is dropped.
    pub frame_bytes: usize,
    /// From when the request was sent until the answer began to come, if somebody has measured it:
    /// the way there and back, and what the broker took to find out what it may send.
    pub waited: Option<Duration>,
}

/// What was read of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The topic.
    pub topic: TopicRef,
    /// The partition's number.
    pub index: i32,
    /// The partition's error.
    pub error: ErrorCode,
    /// The end of what is replicated.
    pub high_watermark: i64,
    /// The end of what is decided, -1 if not told.
    pub last_stable_offset: i64,
    /// The first offset of the log, -1 if not told.
    pub log_start_offset: i64,
    /// Aborted transactions that overlap the records, in no order. Only with read_committed.
    pub aborted: Vec<AbortedTransaction>,
    /// Set when the leader's log differs from what the reader has read before.
    pub diverging: Option<Diverging>,
    /// The replica to read from instead (KIP-392).
    pub preferred_replica: Option<i32>,
    /// Who leads now, if the broker told with an error.
    pub current_leader: Option<CurrentLeader>,
    /// Batches back to back, the last one possibly cut off. A slice of the frame.
    pub records: Bytes,
}

/// Where the leader's log and the reader's part ways (KIP-595).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diverging {
    /// The largest epoch both know.
    pub epoch: i32,
    /// The end of that epoch on the leader.
    pub end_offset: i64,
}

/// The leader of a partition as a broker knows it (KIP-951).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentLeader {
    /// Its node id.
    pub node: i32,
    /// Its epoch.
    pub epoch: i32,
}

impl RawFetch {
    /// The version to send this request in: by id where the broker offers it and every topic has one.
    pub fn version(&self, capabilities: &Capabilities) -> Result<i16, ClientError> {
        let nil = self.topics.iter().any(|topic| topic.id.is_nil())
            || self.forgotten.iter().any(|topic| topic.id.is_nil());
        if !nil && let Ok(version) = capabilities.version_of(FETCH, BY_ID) {
            return Ok(version);
        }
        let by_name = capabilities.version_of(FETCH, BY_NAME);
        by_name.map_err(|_| match capabilities.version_of(FETCH, BY_EITHER) {
            Ok(_) => ClientError::invalid("the broker reads by topic id, and a topic has none"),
            Err(gap) => gap.into(),
        })
    }

    /// Refuses a request that names a partition twice: the broker would silently keep one of them.
    pub fn validate(&self) -> Result<(), ClientError> {
        let mut seen: Vec<(&str, i32)> = Vec::new();
        for topic in &self.topics {
            seen.extend(topic.partitions.iter().map(|partition| (&*topic.name, partition.index)));
        }
        seen.sort_unstable();
        match seen.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(twins(pair[0].0, pair[0].1)),
            None => Ok(()),
        }
    }

    /// Appends the body to `out`.
    pub fn encode(&self, version: i16, out: &mut BytesMut) {
        let partitions: usize = self.topics.iter().map(|topic| topic.partitions.len()).sum();
        out.reserve(USUAL_HEAD_BYTES + partitions * PARTITION_BYTES);
        if version <= 14 {
            out.put_i32(-1); // replica id: a consumer
        }
        out.put_i32(self.max_wait_ms);
        out.put_i32(self.min_bytes);
        out.put_i32(self.max_bytes);
        out.put_i8(self.isolation.wire());
        out.put_i32(self.session_id);
        out.put_i32(self.session_epoch);
        put_compact_length(out, self.topics.len());
        for topic in &self.topics {
            put_topic(out, version >= BY_ID.min, &topic.name, topic.id);
            put_compact_length(out, topic.partitions.len());
            for partition in &topic.partitions {
                out.put_i32(partition.index);
                out.put_i32(partition.leader_epoch);
                out.put_i64(partition.offset);
                out.put_i32(partition.last_fetched_epoch);
                out.put_i64(-1); // log start offset: only followers tell
                out.put_i32(partition.max_bytes);
                put_no_tags(out);
            }
            put_no_tags(out);
        }
        put_compact_length(out, self.forgotten.len());
        for topic in &self.forgotten {
            put_topic(out, version >= BY_ID.min, &topic.name, topic.id);
            put_compact_length(out, topic.partitions.len());
            for index in &topic.partitions {
                out.put_i32(*index);
            }
            put_no_tags(out);
        }
        put_compact_str(out, &self.rack);
        put_no_tags(out);
    }
}

pub(crate) fn put_topic(out: &mut BytesMut, by_id: bool, name: &str, id: Uuid) {
    if by_id { out.put_slice(id.as_bytes()) } else { put_compact_str(out, name) }
}

pub(crate) fn twins(topic: &str, index: i32) -> ClientError {
    ClientError::invalid(format!("partition {topic}-{index} is named twice"))
}

pub(crate) fn read_topic(cursor: &mut Cursor<'_>, by_id: bool) -> Result<TopicRef, WireError> {
    if by_id {
        return cursor.uuid().map(TopicRef::Id);
    }
    let at = cursor.at();
    let name = cursor.compact_str()?.ok_or(WireError::Null { at })?;
    Ok(TopicRef::Name(Arc::from(name)))
}

pub(crate) fn read_current_leader(
    cursor: &mut Cursor<'_>,
) -> Result<Option<CurrentLeader>, WireError> {
    let leader = CurrentLeader { node: cursor.i32()?, epoch: cursor.i32()? };
    cursor.skip_tagged()?;
    Ok((leader.node >= 0).then_some(leader))
}

/// Milliseconds from the wire; nonsense counts as none.
pub(crate) fn read_throttle(cursor: &mut Cursor<'_>) -> Result<Duration, WireError> {
    Ok(Duration::from_millis(cursor.i32()?.try_into().unwrap_or(0)))
}

impl RawFetchAnswer {
    /// Reads the body of an answer. The records of the answer are slices of `body`.
    pub fn decode(version: i16, body: &Bytes) -> Result<Self, WireError> {
        let by_id = version >= BY_ID.min;
        let mut cursor = Cursor::new(body);
        let mut answer = Self {
            throttle: read_throttle(&mut cursor)?,
            error: ErrorCode(cursor.i16()?),
            session_id: cursor.i32()?,
            partitions: Vec::new(),
            frame_bytes: body.len(),
            waited: None,
        };
        for _ in 0..cursor.compact_count()?.unwrap_or(0) {
            let topic = read_topic(&mut cursor, by_id)?;
            let count = cursor.compact_count()?.unwrap_or(0);
            answer.partitions.reserve(BELIEVED_PARTITIONS.min(count));
            for _ in 0..count {
                answer.partitions.push(read_partition(&mut cursor, &topic, body)?);
            }
            cursor.skip_tagged()?;
        }
        cursor.skip_tagged()?;
        cursor.finish()?;
        Ok(answer)
    }
}

fn read_partition(
    cursor: &mut Cursor<'_>,
    topic: &TopicRef,
    body: &Bytes,
) -> Result<FetchedPartition, WireError> {
    let mut partition = FetchedPartition {
        topic: topic.clone(),
        index: cursor.i32()?,
        error: ErrorCode(cursor.i16()?),
        high_watermark: cursor.i64()?,
        last_stable_offset: cursor.i64()?,
        log_start_offset: cursor.i64()?,
        aborted: Vec::new(),
        diverging: None,
        preferred_replica: None,
        current_leader: None,
        records: Bytes::new(),
    };
    for _ in 0..cursor.compact_count()?.unwrap_or(0) {
        let aborted =
            AbortedTransaction { producer_id: cursor.i64()?, first_offset: cursor.i64()? };
        partition.aborted.push(aborted);
        cursor.skip_tagged()?;
    }
    partition.preferred_replica = Some(cursor.i32()?).filter(|node| *node >= 0);
    if let Some(records) = cursor.compact_bytes()?.filter(|records| !records.is_empty()) {
        partition.records = body.slice_ref(records);
    }
    cursor.tagged::<WireError>(|tag, content| {
        match tag {
            0 => {
                let at = Diverging { epoch: content.i32()?, end_offset: content.i64()? };
                content.skip_tagged()?;
                partition.diverging = Some(at).filter(|at| at.epoch >= 0 || at.end_offset >= 0);
            }
            1 => partition.current_leader = read_current_leader(content)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::fetch_response::{
        AbortedTransaction as TheirAborted, EpochEndOffset, FetchableTopicResponse,
        LeaderIdAndEpoch, PartitionData,
    };
    use kafka_protocol::messages::{ApiVersionsResponse, FetchRequest, FetchResponse, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
    use proptest::prelude::*;

    const ID: Uuid = Uuid::from_bytes([7; 16]);

    fn offering(min: i16, max: i16) -> Capabilities {
        let api = ApiVersion::default().with_api_key(1).with_min_version(min);
        let api = api.with_max_version(max);
        Capabilities::new(&ApiVersionsResponse::default().with_api_keys(vec![api]))
    }

    fn request(id: Uuid) -> RawFetch {
        let partition = |index| FetchPartition {
            index,
            offset: 1 << 40,
            leader_epoch: 5,
            last_fetched_epoch: 4,
            max_bytes: 1 << 20,
        };
        RawFetch {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 8 << 20,
            isolation: Isolation::ReadCommitted,
            rack: "r1".into(),
            session_id: 9,
            session_epoch: 3,
            topics: vec![FetchTopic {
                name: Arc::from("orders"),
                id,
                partitions: vec![partition(0), partition(3)],
            }],
            forgotten: vec![ForgottenTopic { name: Arc::from("old"), id, partitions: vec![1, 2] }],
        }
    }

    fn answer(version: i16) -> FetchResponse {
        let mut partition = PartitionData::default()
            .with_partition_index(3)
            .with_error_code(6)
            .with_high_watermark(70)
            .with_last_stable_offset(60)
            .with_log_start_offset(5)
            .with_aborted_transactions(Some(vec![
                TheirAborted::default().with_producer_id(11.into()).with_first_offset(55),
            ]))
            .with_preferred_read_replica(2.into())
            .with_diverging_epoch(EpochEndOffset::default().with_epoch(4).with_end_offset(44))
            .with_records(Some(Bytes::from_static(b"sealed")));
        partition.current_leader =
            LeaderIdAndEpoch::default().with_leader_id(8.into()).with_leader_epoch(9);
        let empty = PartitionData::default().with_partition_index(4).with_records(None);
        let topic = FetchableTopicResponse::default().with_partitions(vec![partition, empty]);
        let topic = match version {
            12 => topic.with_topic(TopicName(StrBytes::from_static_str("orders"))),
            _ => topic.with_topic_id(ID),
        };
        FetchResponse::default()
            .with_throttle_time_ms(30)
            .with_session_id(9)
            .with_responses(vec![topic])
    }

    fn encoded(version: i16) -> Bytes {
        let mut out = BytesMut::new();
        answer(version).encode(&mut out, version).expect("the test's answer encodes");
        out.freeze()
    }

    #[test]
    fn requests_read_back_in_every_version() {
        for version in 12..=18 {
            let mut out = BytesMut::new();
            request(ID).encode(version, &mut out);
            let mut rest = out.freeze();
            let theirs = FetchRequest::decode(&mut rest, version).expect("decodes");
            assert!(rest.is_empty());
            assert_eq!(theirs.max_bytes, 8 << 20);
            assert_eq!(theirs.isolation_level, 1);
            assert_eq!((theirs.session_id, theirs.session_epoch), (9, 3));
            assert_eq!(theirs.rack_id.as_str(), "r1");
            let topic = &theirs.topics[0];
            match version {
                12 => assert_eq!(topic.topic.as_str(), "orders"),
                _ => assert_eq!(topic.topic_id, ID),
            }
            let partition = &topic.partitions[1];
            assert_eq!((partition.partition, partition.fetch_offset), (3, 1 << 40));
            assert_eq!((partition.current_leader_epoch, partition.last_fetched_epoch), (5, 4));
            assert_eq!(theirs.forgotten_topics_data[0].partitions, vec![1, 2]);
        }
    }

    #[test]
    fn answers_read_in_every_version_without_copying_records() {
        for version in 12..=18 {
            let body = encoded(version);
            let ours = RawFetchAnswer::decode(version, &body).expect("decodes");
            assert_eq!(ours.throttle, Duration::from_millis(30));
            let [partition, empty] = &ours.partitions[..] else { panic!("two partitions") };
            match version {
                12 => assert_eq!(partition.topic, TopicRef::Name(Arc::from("orders"))),
                _ => assert_eq!(partition.topic, TopicRef::Id(ID)),
            }
            assert_eq!((partition.index, partition.error), (3, ErrorCode(6)));
            assert_eq!(partition.diverging, Some(Diverging { epoch: 4, end_offset: 44 }));
            assert_eq!(partition.current_leader, Some(CurrentLeader { node: 8, epoch: 9 }));
            assert_eq!(partition.preferred_replica, Some(2));
            let aborted = AbortedTransaction { producer_id: 11, first_offset: 55 };
            assert_eq!(partition.aborted, [aborted]);
            assert_eq!(&partition.records[..], b"sealed");
            assert!(body.as_ptr_range().contains(&partition.records.as_ptr()));
            assert_eq!((empty.index, empty.records.len()), (4, 0));
            assert_eq!((empty.diverging, empty.current_leader), (None, None));
        }
    }

    #[test]
    fn the_version_depends_on_broker_and_ids() {
        let version = |id, min, max| request(id).version(&offering(min, max));
        assert_eq!(version(ID, 4, 17).expect("offered"), 17);
        assert_eq!(version(ID, 0, 12).expect("offered"), 12);
        assert_eq!(version(Uuid::nil(), 4, 17).expect("offered"), 12);
        let old = version(ID, 0, 11).expect_err("too old").to_string();
        assert!(old.contains("0-11") && old.contains("12-18"), "{old}");
        assert!(version(Uuid::nil(), 13, 18).is_err());
    }

    #[test]
    fn a_partition_named_twice_is_refused() {
        let mut twice = request(ID);
        twice.topics.push(twice.topics[0].clone());
        assert!(twice.validate().expect_err("twice").to_string().contains("orders-0"));
        assert!(request(ID).validate().is_ok());
    }

    proptest! {
        #[test]
        fn damaged_answers_never_panic(
            version in 12i16..=18, cut in 0usize..200, at in 0usize..200, byte: u8,
        ) {
            let mut bytes = encoded(version).to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = RawFetchAnswer::decode(version, &Bytes::from(bytes));
        }
    }
}
