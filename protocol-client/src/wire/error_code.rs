//! THE table of Kafka error codes: name, what kind of retry helps, and what a person can do.
//!
//! Source: Kafka's `org.apache.kafka.common.protocol.Errors`, up to 4.3.

use std::fmt;

use RetryClass::{
    Caller, None as Fine, Operator, Reauthenticate, RefreshController, RefreshCoordinator,
    RefreshMetadata, Retry, Session, Unclear,
};

/// An error code as a broker sent it. 0 means success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ErrorCode(pub i16);

/// What has to happen before trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryClass {
    /// There was no error.
    None,
    /// Wait and send the same again.
    Retry,
    /// Ask for fresh metadata, then send to the leader found there.
    RefreshMetadata,
    /// Find the coordinator again, then send to it.
    RefreshCoordinator,
    /// Find the controller again, then send to it.
    RefreshController,
    /// Open the connection anew, so that it authenticates again.
    Reauthenticate,
    /// The operation may have been carried out: look before repeating it.
    Unclear,
    /// The fetch or share session is gone: start one anew. Nothing is lost.
    Session,
    /// A person must change rights, configuration or software.
    Operator,
    /// The request was wrong, or its sender was replaced by another. Repeating it is useless.
    Caller,
}

impl RetryClass {
    /// Whether the same operation may succeed later without anybody acting.
    pub fn retryable(self) -> bool {
        !matches!(self, Self::None | Self::Operator | Self::Caller)
    }
}

impl ErrorCode {
    /// Success.
    pub const NONE: Self = Self(0);
    /// UNKNOWN_SERVER_ERROR.
    pub const UNKNOWN_SERVER_ERROR: Self = Self(-1);
    /// OFFSET_OUT_OF_RANGE.
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    /// CORRUPT_MESSAGE.
    pub const CORRUPT_MESSAGE: Self = Self(2);
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    /// LEADER_NOT_AVAILABLE.
    pub const LEADER_NOT_AVAILABLE: Self = Self(5);
    /// NOT_LEADER_OR_FOLLOWER.
    pub const NOT_LEADER_OR_FOLLOWER: Self = Self(6);
    /// REQUEST_TIMED_OUT.
    pub const REQUEST_TIMED_OUT: Self = Self(7);
    /// NETWORK_EXCEPTION: what a client says for a broker that cannot be reached.
    pub const NETWORK_EXCEPTION: Self = Self(13);
    /// A coordinator has just become one, and reads what it has to know.
    pub const COORDINATOR_LOAD_IN_PROGRESS: Self = Self(14);
    /// ILLEGAL_GENERATION.
    pub const ILLEGAL_GENERATION: Self = Self(22);
    /// UNKNOWN_MEMBER_ID.
    pub const UNKNOWN_MEMBER_ID: Self = Self(25);
    /// REBALANCE_IN_PROGRESS.
    pub const REBALANCE_IN_PROGRESS: Self = Self(27);
    /// TOPIC_AUTHORIZATION_FAILED.
    pub const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    /// UNSUPPORTED_VERSION.
    pub const UNSUPPORTED_VERSION: Self = Self(35);
    /// TOPIC_ALREADY_EXISTS.
    pub const TOPIC_ALREADY_EXISTS: Self = Self(36);
    /// OUT_OF_ORDER_SEQUENCE_NUMBER.
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: Self = Self(45);
    /// INVALID_PRODUCER_EPOCH.
    pub const INVALID_PRODUCER_EPOCH: Self = Self(47);
    /// INVALID_TXN_STATE.
    pub const INVALID_TXN_STATE: Self = Self(48);
    /// INVALID_PRODUCER_ID_MAPPING.
    pub const INVALID_PRODUCER_ID_MAPPING: Self = Self(49);
    /// CONCURRENT_TRANSACTIONS.
    pub const CONCURRENT_TRANSACTIONS: Self = Self(51);
    /// TRANSACTIONAL_ID_AUTHORIZATION_FAILED.
    pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Self = Self(53);
    /// OPERATION_NOT_ATTEMPTED.
    pub const OPERATION_NOT_ATTEMPTED: Self = Self(55);
    /// UNKNOWN_PRODUCER_ID.
    pub const UNKNOWN_PRODUCER_ID: Self = Self(59);
    /// GROUP_ID_NOT_FOUND.
    pub const GROUP_ID_NOT_FOUND: Self = Self(69);
    /// FETCH_SESSION_ID_NOT_FOUND.
    pub const FETCH_SESSION_ID_NOT_FOUND: Self = Self(70);
    /// OFFSET_NOT_AVAILABLE.
    pub const OFFSET_NOT_AVAILABLE: Self = Self(78);
    /// UNSTABLE_OFFSET_COMMIT.
    pub const UNSTABLE_OFFSET_COMMIT: Self = Self(88);
    /// PRODUCER_FENCED.
    pub const PRODUCER_FENCED: Self = Self(90);
    /// UNKNOWN_TOPIC_ID.
    pub const UNKNOWN_TOPIC_ID: Self = Self(100);
    /// TRANSACTION_ABORTABLE.
    pub const TRANSACTION_ABORTABLE: Self = Self(120);

    /// Whether the broker reported success.
    pub fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// `Err` with the code unless the broker reported success.
    pub fn ok(self) -> Result<(), Self> {
        if self.is_ok() { Ok(()) } else { Err(self) }
    }

    /// Whether the user lacks an ACL: on a topic, a group, the cluster or a transactional id.
    pub fn is_authorization(self) -> bool {
        matches!(self.0, 29 | 30 | 31 | 53)
    }

    /// Kafka's name of the code.
    pub fn name(self) -> &'static str {
        row(self).map_or("UNKNOWN_CODE", |row| row.1)
    }

    /// What kind of retry helps. Codes newer than the table count as the broker's final word.
    pub fn class(self) -> RetryClass {
        row(self).map_or(Operator, |row| row.2)
    }

    /// What a person can do about it, in one line; empty where time is all it takes.
    pub fn remedy(self) -> &'static str {
        row(self)
            .map_or("the broker is newer than this client; see Kafka's list of errors", |r| r.3)
    }

    /// Whether another producer has taken over the transactional id that a producer came from. The coordinator takes it
    /// over too, when a transaction lasts longer than its timeout.
    pub fn is_fenced(self) -> bool {
        matches!(self, Self::INVALID_PRODUCER_EPOCH | Self::PRODUCER_FENCED)
    }

    /// Whether a produce request that got this answer may nevertheless have been appended.
    ///
    /// Codes 3, 6 and 56 belong here too: a leader that loses the partition while it waits for its
    /// followers answers them for data that is in the log (`DelayedProduce`).
    pub fn may_have_appended(self) -> bool {
        self.class() == Unclear || matches!(self.0, 3 | 6 | 56)
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self(code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl std::error::Error for ErrorCode {}

type Row = (i16, &'static str, RetryClass, &'static str);

fn row(code: ErrorCode) -> Option<&'static Row> {
    TABLE.get(usize::try_from(i32::from(code.0) + 1).ok()?)
}

const READ_LOG: &str = "look at the broker's log for the cause";
const TOKENS: &str = "check the delegation token settings";
const INTERNAL: &str = "a code between brokers; report it as a bug";
const SHARE: &str = "a code of share groups; this client does not consume through them";
const STREAMS: &str = "a code of Kafka Streams; report it as a bug";
const GROUP_CODE: &str = "a code for group members; the group changed, try again";

/// One row per code, from -1 on without a gap.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    (-1, "UNKNOWN_SERVER_ERROR", Unclear, READ_LOG),
    (0, "NONE", Fine, ""),
    (1, "OFFSET_OUT_OF_RANGE", Caller, "the offset was deleted or never existed; choose where to go on"),
    (2, "CORRUPT_MESSAGE", Caller, "the records do not match their checksum, or a compacted topic got a record without key"),
    (3, "UNKNOWN_TOPIC_OR_PARTITION", RefreshMetadata, "create the topic, or grant DESCRIBE on it"),
    (4, "INVALID_FETCH_SIZE", Caller, "ask for more than zero bytes"),
    (5, "LEADER_NOT_AVAILABLE", RefreshMetadata, ""),
    (6, "NOT_LEADER_OR_FOLLOWER", RefreshMetadata, ""),
    (7, "REQUEST_TIMED_OUT", Unclear, "the followers of the partition are slow or away"),
    (8, "BROKER_NOT_AVAILABLE", RefreshMetadata, ""),
    (9, "REPLICA_NOT_AVAILABLE", RefreshMetadata, ""),
    (10, "MESSAGE_TOO_LARGE", Operator, "raise max.message.bytes of the topic"),
    (11, "STALE_CONTROLLER_EPOCH", RefreshController, ""),
    (12, "OFFSET_METADATA_TOO_LARGE", Operator, "raise offset.metadata.max.bytes of the broker"),
    (13, "NETWORK_EXCEPTION", Unclear, ""),
    (14, "COORDINATOR_LOAD_IN_PROGRESS", Retry, ""),
    (15, "COORDINATOR_NOT_AVAILABLE", RefreshCoordinator, "check that __consumer_offsets and __transaction_state have leaders"),
    (16, "NOT_COORDINATOR", RefreshCoordinator, ""),
    (17, "INVALID_TOPIC_EXCEPTION", Caller, "the topic name is not legal, or the topic is internal to Kafka"),
    (18, "RECORD_LIST_TOO_LARGE", Operator, "raise segment.bytes of the topic"),
    (19, "NOT_ENOUGH_REPLICAS", Retry, "bring followers back, or lower min.insync.replicas"),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Unclear, "bring followers back, or lower min.insync.replicas"),
    (21, "INVALID_REQUIRED_ACKS", Caller, "acks must be -1 or 1"),
    (22, "ILLEGAL_GENERATION", Caller, GROUP_CODE),
    (23, "INCONSISTENT_GROUP_PROTOCOL", Operator, "another application uses this group id"),
    (24, "INVALID_GROUP_ID", Caller, "the group id is empty or not legal"),
    (25, "UNKNOWN_MEMBER_ID", Caller, "the group has active members; stop them before its offsets are changed"),
    (26, "INVALID_SESSION_TIMEOUT", Operator, "choose a session timeout within the broker's group.*.session.timeout.ms"),
    (27, "REBALANCE_IN_PROGRESS", Retry, ""),
    (28, "INVALID_COMMIT_OFFSET_SIZE", Caller, "the commit is larger than the offsets topic takes"),
    (29, "TOPIC_AUTHORIZATION_FAILED", Operator, "grant this user the operation on the topic"),
    (30, "GROUP_AUTHORIZATION_FAILED", Operator, "grant this user the operation on the group"),
    (31, "CLUSTER_AUTHORIZATION_FAILED", Operator, "grant this user the operation on the cluster"),
    (32, "INVALID_TIMESTAMP", Operator, "widen message.timestamp.before.max.ms / after.max.ms of the topic"),
    (33, "UNSUPPORTED_SASL_MECHANISM", Operator, "use a mechanism listed in the broker's sasl.enabled.mechanisms"),
    (34, "ILLEGAL_SASL_STATE", Reauthenticate, "the listener wants SASL; check the security protocol"),
    (35, "UNSUPPORTED_VERSION", Operator, "upgrade the broker"),
    (36, "TOPIC_ALREADY_EXISTS", Caller, "the topic is there already"),
    (37, "INVALID_PARTITIONS", Caller, "the number of partitions must be positive and may only grow"),
    (38, "INVALID_REPLICATION_FACTOR", Operator, "the cluster has fewer brokers than replicas are asked for"),
    (39, "INVALID_REPLICA_ASSIGNMENT", Caller, "the replica assignment names unknown brokers"),
    (40, "INVALID_CONFIG", Operator, "the broker does not accept this setting or value"),
    (41, "NOT_CONTROLLER", RefreshController, ""),
    (42, "INVALID_REQUEST", Caller, "report it as a bug"),
    (43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Operator, "raise message.format.version of the topic or broker"),
    (44, "POLICY_VIOLATION", Operator, "a policy class of the cluster refuses this"),
    (45, "OUT_OF_ORDER_SEQUENCE_NUMBER", Unclear, "compare the end of the log with what was sent"),
    (46, "DUPLICATE_SEQUENCE_NUMBER", Unclear, "the batch was appended earlier; its offset is no longer known to the broker"),
    (47, "INVALID_PRODUCER_EPOCH", Caller, "another instance has taken over this producer"),
    (48, "INVALID_TXN_STATE", Caller, "report it as a bug"),
    (49, "INVALID_PRODUCER_ID_MAPPING", Caller, "the transactional id expired or moved to another producer; start it anew"),
    (50, "INVALID_TRANSACTION_TIMEOUT", Operator, "raise transaction.max.timeout.ms of the broker, or ask for less"),
    (51, "CONCURRENT_TRANSACTIONS", Retry, ""),
    (52, "TRANSACTION_COORDINATOR_FENCED", RefreshCoordinator, ""),
    (53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Operator, "grant this user WRITE on the transactional id"),
    (54, "SECURITY_DISABLED", Operator, "the cluster has no authorizer, so it has no ACLs"),
    (55, "OPERATION_NOT_ATTEMPTED", Retry, ""),
    (56, "KAFKA_STORAGE_ERROR", RefreshMetadata, "a disk of the broker failed"),
    (57, "LOG_DIR_NOT_FOUND", Operator, "the log directory is not one of the broker's"),
    (58, "SASL_AUTHENTICATION_FAILED", Operator, "check user name and password"),
    (59, "UNKNOWN_PRODUCER_ID", Unclear, "the broker forgot the producer; compare the end of the log with what was sent"),
    (60, "REASSIGNMENT_IN_PROGRESS", Retry, "wait until the partition reassignment is done"),
    (61, "DELEGATION_TOKEN_AUTH_DISABLED", Operator, TOKENS),
    (62, "DELEGATION_TOKEN_NOT_FOUND", Operator, TOKENS),
    (63, "DELEGATION_TOKEN_OWNER_MISMATCH", Operator, TOKENS),
    (64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", Operator, TOKENS),
    (65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", Operator, TOKENS),
    (66, "DELEGATION_TOKEN_EXPIRED", Operator, TOKENS),
    (67, "INVALID_PRINCIPAL_TYPE", Operator, TOKENS),
    (68, "NON_EMPTY_GROUP", Operator, "stop the members of the group first"),
    (69, "GROUP_ID_NOT_FOUND", Caller, "there is no such group"),
    (70, "FETCH_SESSION_ID_NOT_FOUND", Session, "raise max.incremental.fetch.session.cache.slots if it happens often"),
    (71, "INVALID_FETCH_SESSION_EPOCH", Session, ""),
    (72, "LISTENER_NOT_FOUND", RefreshMetadata, "the leader lacks the listener this client came in by"),
    (73, "TOPIC_DELETION_DISABLED", Operator, "set delete.topic.enable=true on the brokers"),
    (74, "FENCED_LEADER_EPOCH", RefreshMetadata, ""),
    (75, "UNKNOWN_LEADER_EPOCH", Retry, ""),
    (76, "UNSUPPORTED_COMPRESSION_TYPE", Caller, "the request version is too old for zstd"),
    (77, "STALE_BROKER_EPOCH", Caller, INTERNAL),
    (78, "OFFSET_NOT_AVAILABLE", Retry, ""),
    (79, "MEMBER_ID_REQUIRED", Retry, ""),
    (80, "PREFERRED_LEADER_NOT_AVAILABLE", RefreshMetadata, ""),
    (81, "GROUP_MAX_SIZE_REACHED", Operator, "raise group.max.size of the broker"),
    (82, "FENCED_INSTANCE_ID", Caller, "another member uses the same group.instance.id"),
    (83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", RefreshMetadata, ""),
    (84, "ELECTION_NOT_NEEDED", Caller, ""),
    (85, "NO_REASSIGNMENT_IN_PROGRESS", Caller, ""),
    (86, "GROUP_SUBSCRIBED_TO_TOPIC", Operator, "stop the consumers of the topic first"),
    (87, "INVALID_RECORD", Operator, "the topic's settings refuse these records"),
    (88, "UNSTABLE_OFFSET_COMMIT", Retry, "a transaction of the group is still open"),
    (89, "THROTTLING_QUOTA_EXCEEDED", Retry, "raise the quota of this user"),
    (90, "PRODUCER_FENCED", Caller, "another instance has taken over this producer"),
    (91, "RESOURCE_NOT_FOUND", Caller, "there is no such resource"),
    (92, "DUPLICATE_RESOURCE", Caller, "the request names the same thing twice"),
    (93, "UNACCEPTABLE_CREDENTIAL", Operator, "the credential does not meet the broker's rules"),
    (94, "INCONSISTENT_VOTER_SET", Caller, INTERNAL),
    (95, "INVALID_UPDATE_VERSION", Caller, INTERNAL),
    (96, "FEATURE_UPDATE_FAILED", Operator, READ_LOG),
    (97, "PRINCIPAL_DESERIALIZATION_FAILURE", Operator, READ_LOG),
    (98, "SNAPSHOT_NOT_FOUND", Caller, INTERNAL),
    (99, "POSITION_OUT_OF_RANGE", Caller, INTERNAL),
    (100, "UNKNOWN_TOPIC_ID", RefreshMetadata, "the topic was deleted, or deleted and created again"),
    (101, "DUPLICATE_BROKER_REGISTRATION", Caller, INTERNAL),
    (102, "BROKER_ID_NOT_REGISTERED", Caller, INTERNAL),
    (103, "INCONSISTENT_TOPIC_ID", RefreshMetadata, "the topic was deleted and created again"),
    (104, "INCONSISTENT_CLUSTER_ID", Operator, "the address leads to another cluster than before"),
    (105, "TRANSACTIONAL_ID_NOT_FOUND", Caller, "there is no such transactional id"),
    (106, "FETCH_SESSION_TOPIC_ID_ERROR", Session, ""),
    (107, "INELIGIBLE_REPLICA", Caller, INTERNAL),
    (108, "NEW_LEADER_ELECTED", RefreshMetadata, ""),
    (109, "OFFSET_MOVED_TO_TIERED_STORAGE", Retry, ""),
    (110, "FENCED_MEMBER_EPOCH", Caller, GROUP_CODE),
    (111, "UNRELEASED_INSTANCE_ID", Operator, "another member uses the same group.instance.id"),
    (112, "UNSUPPORTED_ASSIGNOR", Operator, "the broker lacks this group assignor"),
    (113, "STALE_MEMBER_EPOCH", Retry, GROUP_CODE),
    (114, "MISMATCHED_ENDPOINT_TYPE", Operator, "this address is a controller, not a broker"),
    (115, "UNSUPPORTED_ENDPOINT_TYPE", Operator, "this address is a controller, not a broker"),
    (116, "UNKNOWN_CONTROLLER_ID", RefreshController, ""),
    (117, "UNKNOWN_SUBSCRIPTION_ID", Caller, "a code of client telemetry; report it as a bug"),
    (118, "TELEMETRY_TOO_LARGE", Caller, "a code of client telemetry; report it as a bug"),
    (119, "INVALID_REGISTRATION", Caller, INTERNAL),
    (120, "TRANSACTION_ABORTABLE", Caller, "abort the transaction and begin it again"),
    (121, "INVALID_RECORD_STATE", Caller, SHARE),
    (122, "SHARE_SESSION_NOT_FOUND", Session, SHARE),
    (123, "INVALID_SHARE_SESSION_EPOCH", Session, SHARE),
    (124, "FENCED_STATE_EPOCH", Caller, SHARE),
    (125, "INVALID_VOTER_KEY", Caller, INTERNAL),
    (126, "DUPLICATE_VOTER", Caller, INTERNAL),
    (127, "VOTER_NOT_FOUND", Caller, INTERNAL),
    (128, "INVALID_REGULAR_EXPRESSION", Caller, "the broker cannot read the regular expression"),
    (129, "REBOOTSTRAP_REQUIRED", RefreshMetadata, ""),
    (130, "STREAMS_INVALID_TOPOLOGY", Caller, STREAMS),
    (131, "STREAMS_INVALID_TOPOLOGY_EPOCH", Caller, STREAMS),
    (132, "STREAMS_TOPOLOGY_FENCED", Caller, STREAMS),
    (133, "SHARE_SESSION_LIMIT_REACHED", Retry, SHARE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_every_code_in_order() {
        let codes: Vec<i16> = TABLE.iter().map(|row| row.0).collect();
        assert_eq!(codes, (-1..=133).collect::<Vec<i16>>());
    }

    #[test]
    fn names_follow_kafka_protocol() {
        for row in TABLE.iter().filter(|row| row.0 != 0) {
            let theirs = kafka_protocol::ResponseError::try_from_code(row.0).expect("not success");
            let squeezed = row.1.replace('_', "").to_lowercase();
            assert_eq!(squeezed, format!("{theirs:?}").to_lowercase());
        }
    }

    #[test]
    fn final_words_come_with_a_remedy() {
        for row in TABLE.iter().filter(|row| matches!(row.2, Operator)) {
            assert!(!row.3.is_empty(), "{} leaves the operator without help", row.1);
        }
    }

    #[test]
    fn unknown_codes_are_final_and_say_so() {
        let code = ErrorCode(999);
        assert_eq!(code.to_string(), "UNKNOWN_CODE (999)");
        assert!(!code.class().retryable());
        assert_eq!(ErrorCode(6).to_string(), "NOT_LEADER_OR_FOLLOWER (6)");
        assert!(ErrorCode(6).may_have_appended());
        assert!(!ErrorCode(19).may_have_appended());
    }
}
