//! What comes with a request, and what comes out of handling it.

use bytes::Bytes;
use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::{ApiKey, ResponseKind, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::faults::Injected;
use super::{ConnectionId, NodeId};

/// Everything about a request but its body.
#[derive(Debug, Clone)]
pub struct Call {
    /// The node that it came to.
    pub node: NodeId,
    /// The connection that it came on.
    pub connection: ConnectionId,
    /// Its API.
    pub api: ApiKey,
    /// Its version.
    pub version: i16,
    /// The client's name for itself.
    pub client_id: StrBytes,
    /// An error that a fault wants answered.
    pub injected: Option<Injected>,
    /// Answer at once, whatever there is.
    pub never_wait: bool,
}

impl Call {
    /// A call as a client makes it.
    pub fn new(node: NodeId, connection: ConnectionId, api: ApiKey, version: i16) -> Self {
        Self {
            node,
            connection,
            api,
            version,
            client_id: StrBytes::default(),
            injected: None,
            never_wait: false,
        }
    }

    /// The error that a fault wants answered for this partition.
    ///
    /// # Errors
    /// That error.
    pub fn injected_for(&self, topic: &TopicName, partition: i32) -> Result<(), KafkaError> {
        match &self.injected {
            Some(injected) if injected.covers(topic, partition) => Err(injected.error),
            _ => Ok(()),
        }
    }

    /// The error that a fault wants answered.
    ///
    /// # Errors
    /// That error.
    pub fn injected_any(&self) -> Result<(), KafkaError> {
        self.injected.as_ref().map_or(Ok(()), |injected| Err(injected.error))
    }
}

/// What to do with the connection after a request.
#[derive(Debug)]
pub enum Outcome {
    /// Send this answer.
    Reply(Response),
    /// Send nothing and go on: a produce without acknowledgement.
    NoReply,
    /// Wait until woken, at most until this time, then call `resume`.
    Park {
        /// The latest time, in milliseconds.
        until_ms: i64,
    },
    /// Never answer, keep the connection open.
    Silent,
    /// Close the connection.
    Close,
    /// Send half of this answer, then close the connection.
    CutMidFrame(Response),
}

impl Outcome {
    /// Answers with a message.
    pub fn message(response: ResponseKind) -> Self {
        Self::Reply(Response::Message(Box::new(response)))
    }
}

/// An answer.
#[derive(Debug)]
pub enum Response {
    /// A message that `kafka-protocol` encodes.
    Message(Box<ResponseKind>),
    /// A fetch answer, encoded here so that records are not copied.
    Fetch(FetchReply),
}

/// A fetch answer.
#[derive(Debug, Default)]
pub struct FetchReply {
    /// Error of the whole answer, or 0.
    pub error_code: i16,
    /// The session, or 0.
    pub session_id: i32,
    /// Answers by topic.
    pub topics: Vec<FetchTopicReply>,
    /// Where the leaders named in the answer listen: node, host, port.
    pub endpoints: Vec<LeaderHint>,
}

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderHint {
    /// The node.
    pub node: NodeId,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The part of a fetch answer about one topic.
#[derive(Debug, Default)]
pub struct FetchTopicReply {
    /// Name, for versions up to 12.
    pub name: TopicName,
    /// Id, from version 13.
    pub id: Uuid,
    /// Answers by partition.
    pub partitions: Vec<FetchPartitionReply>,
}

/// The part of a fetch answer about one partition.
#[derive(Debug, Default)]
pub struct FetchPartitionReply {
    /// The partition.
    pub index: i32,
    /// Its error, or 0.
    pub error_code: i16,
    /// End of what all replicas have, or -1.
    pub high_watermark: i64,
    /// End of what read_committed may see, or -1.
    pub last_stable_offset: i64,
    /// First offset that may be read, or -1.
    pub log_start_offset: i64,
    /// Epoch and end offset at which the client's log went apart.
    pub diverging: Option<(i32, i64)>,
    /// The leader and its epoch, for errors 6 and 74.
    pub current_leader: Option<(NodeId, i32)>,
    /// Aborted transactions: producer and first offset; `None` for read_uncommitted.
    pub aborted: Option<Vec<(i64, i64)>>,
    /// The records, in pieces.
    pub pieces: Vec<Bytes>,
}
