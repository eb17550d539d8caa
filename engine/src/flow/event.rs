//! Everything that can happen to a shard, and everything that it can ask for.

use std::fmt;
use std::sync::Arc;

use protocol_client::cluster::ClusterView;
use protocol_client::conn::fetch_session::SessionError;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::{RawFetch, RawFetchAnswer};
use protocol_client::wire::produce::{RawProduce, RawProduceAnswer};

use super::settings::TargetLimits;
use crate::model::{Side, TopicPartition};

/// A partition's name inside its shard.
pub type PartitionKey = u32;

/// A broker's id.
pub type NodeId = i32;

/// One connection for data: towards which cluster, which broker, and which attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    /// Source: fetches. Target: produces.
    pub side: Side,
    /// The broker.
    pub node: NodeId,
    /// Counts connections; events of an earlier one are ignored.
    pub incarnation: u64,
}

/// Where a partition starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this source offset: a stored position.
    At(i64),
    /// At the oldest record.
    Earliest,
    /// Behind the newest record.
    Latest,
}

/// A partition to replicate.
#[derive(Debug, Clone)]
pub struct PartitionSpec {
    /// Where it is read.
    pub source: TopicPartition,
    /// Where it is written.
    pub target: TopicPartition,
    /// Where it starts.
    pub start: Start,
    /// What the target topic demands.
    pub limits: TargetLimits,
}

/// The first offset of a log and the one behind its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// Oldest offset that can be read.
    pub earliest: i64,
    /// Offset behind the newest record.
    pub latest: i64,
}

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// Replicate this partition from now on.
    Add(PartitionSpec),
    /// Stop replicating the partition; what is in flight is forgotten.
    Remove(PartitionKey),
    /// Stop fetching a partition until it is resumed; what it holds is still delivered.
    Pause(PartitionKey),
    /// Go on with a paused or failed partition.
    Resume(PartitionKey),
    /// A newer view of a cluster.
    Metadata(Side, Arc<ClusterView>),
    /// A view could not be had; ask again later.
    MetadataFailed(Side),
    /// The target's producer id, for idempotence.
    Producer {
        /// The id.
        producer_id: i64,
        /// Its epoch.
        epoch: i16,
    },
    /// A connection is ready.
    LaneUp(LaneId),
    /// A connection could not be opened, or is lost.
    LaneDown(LaneId),
    /// A fetch was answered.
    Fetched(LaneId, RawFetchAnswer),
    /// A produce request was answered.
    Produced(LaneId, u64, RawProduceAnswer),
    /// What the source's log holds of a partition.
    SourceRange(PartitionKey, Result<LogRange, ErrorCode>),
    /// The end of a partition's log at the target.
    TargetEnd(PartitionKey, Result<i64, ErrorCode>),
    /// Finish what is in flight, then say [`Effect::Drained`].
    Drain,
    /// A deadline has come.
    Tick,
}

/// What a shard asks of its shell.
#[derive(Debug)]
pub enum Effect {
    /// Open a connection.
    Connect(LaneId),
    /// Close a connection; nobody waits for it any longer. With an error, because its broker does not do what it should.
    Close(LaneId, Option<SessionError>),
    /// Send a fetch.
    Fetch(LaneId, RawFetch),
    /// Send a produce request; requests of a lane go out in this order.
    Produce(LaneId, u64, RawProduce),
    /// Ask the source's leader for a log's range.
    AskSourceRange(PartitionKey),
    /// Ask the target's leader for a log's end.
    AskTargetEnd(PartitionKey),
    /// Get a newer view of a cluster.
    RefreshMetadata(Side),
    /// Tell people.
    Report(Report),
    /// Nothing is in flight any more.
    Drained,
}

/// Something that people should hear about a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The partition, as the source names it.
    pub source: TopicPartition,
    /// Where it goes.
    pub target: TopicPartition,
    /// What happened.
    pub what: Happening,
}

/// What can happen to a partition that people should hear about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Replication of the partition began.
    Started {
        /// First source offset that will be read.
        source_offset: i64,
        /// End of the target's log at that time.
        target_end: i64,
    },
    /// The target does not take records at present; retried until it does.
    TargetAway(ErrorCode),
    /// The source cannot be read at present; retried until it can.
    SourceAway(ErrorCode),
    /// The partition works again.
    Recovered,
    /// Records were gone from the source before they were read: `from..to` is lost.
    Gap {
        /// First lost offset.
        from: i64,
        /// First offset that still exists.
        to: i64,
    },
    /// An unclear outcome could not be told apart from a foreign write: some records may be there twice.
    MayRepeat {
        /// Number of records sent again.
        records: u64,
    },
    /// The partition stopped; the others go on.
    Failed(Failure),
}

/// Why a partition stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The target refuses a batch for good.
    Refused {
        /// First source offset of the batch.
        source_offset: i64,
        /// What it said.
        error: ErrorCode,
        /// Its words, if it had any.
        message: Option<String>,
    },
    /// A batch cannot be forwarded.
    Batch(String),
    /// The source's log is shorter than what was already copied.
    SourceShrank {
        /// Next offset to read.
        position: i64,
        /// What the source has.
        range: LogRange,
    },
    /// Records are gone and the policy says stop.
    Gap {
        /// First lost offset.
        from: i64,
        /// First offset that still exists.
        to: i64,
    },
    /// The cluster does not let us.
    Denied(Side, ErrorCode),
    /// The topic was deleted and created again: it is another one now.
    Recreated(Side),
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { source_offset, target_end } => {
                write!(
                    f,
                    "replication starts at source offset {source_offset}, target end {target_end}"
                )
            }
            Self::TargetAway(error) => {
                write!(f, "the target does not take records: {error}; retrying")
            }
            Self::SourceAway(error) => write!(f, "the source cannot be read: {error}; retrying"),
            Self::Recovered => f.write_str("works again"),
            Self::Gap { from, to } => {
                write!(f, "source offsets {from} to {} are gone before they could be read", to - 1)
            }
            Self::MayRepeat { records } => {
                write!(
                    f,
                    "up to {records} records may be at the target twice: another writer hid what was appended"
                )
            }
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { source_offset, error, message } => {
                write!(
                    f,
                    "stopped: the target refuses the batch at source offset {source_offset}: {error}"
                )?;
                if let Some(message) = message {
                    write!(f, " ({message})")?;
                }
                write!(f, "; {}", error.remedy())
            }
            Self::Batch(what) => write!(f, "stopped: {what}"),
            Self::SourceShrank { position, range } => write!(
                f,
                "stopped: the source holds offsets {} to {} but offset {position} is next; the topic was recreated or \
                 truncated; delete the target topic or the stored position to start anew",
                range.earliest, range.latest
            ),
            Self::Gap { from, to } => write!(
                f,
                "stopped: source offsets {from} to {} are gone; set kmirror.on.gap = continue to go on behind them",
                to - 1
            ),
            Self::Denied(side, error) => {
                write!(f, "stopped: the {side} cluster says {error}; {}", error.remedy())
            }
            Self::Recreated(Side::Source) => f.write_str(
                "stopped: the topic was deleted and created again at the source; delete the target topic to have the new \
                 one copied alone; a restart copies it behind the records of the old one",
            ),
            Self::Recreated(Side::Target) => f.write_str(
                "stopped: the topic was deleted and created again at the target; it is filled from the beginning of the \
                 source at the next refresh of topics",
            ),
        }
    }
}
