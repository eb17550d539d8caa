//! Everything that can happen to a shard, and everything that it can ask for.

use std::fmt;
use std::sync::Arc;

use protocol_client::client::ReadChunk;
use protocol_client::cluster::ClusterView;
use protocol_client::conn::fetch_session::SessionError;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::{Isolation, RawFetch, RawFetchAnswer};
use protocol_client::wire::produce::{RawProduce, RawProduceAnswer};

use super::settings::TargetLimits;
use crate::index::OffsetIndex;
use crate::model::{Pair, Side, TopicPartition};

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
    /// Which of the lanes towards it.
    pub number: u16,
    /// Counts connections; events of an earlier one are ignored.
    pub incarnation: u64,
}

/// Where a partition starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At a stored place on both sides: what the target has behind it is compared with the source.
    Pair(Pair),
    /// At this source offset, whose place at the target is not known: the end of the target's log is looked for in the
    /// source.
    At(i64),
    /// Not at all.
    Refused(Failure),
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
    /// An earlier instance was shut out with a marker, which stands behind what is stored.
    pub is_marked: bool,
    /// What the target topic demands.
    pub limits: TargetLimits,
    /// Which offset is which, as far as that is known from before.
    pub index: OffsetIndex,
}

/// Who writes at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// The producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// It has a transactional id, so that a later epoch is another instance's.
    pub is_named: bool,
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
    Add(Box<PartitionSpec>),
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
    /// Who writes at the target from now on: partitions that have written go on as they did, until they ask.
    Producer(Producer),
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
    /// A piece of a partition's log, for comparison.
    LogRead(PartitionKey, Side, Result<Box<ReadChunk>, ErrorCode>),
    /// What [`Effect::StorePosition`] asked for is done: of the partition that the source calls so, this is stored.
    Stored(TopicPartition, Pair),
    /// What was asked of the coordinator is done; or not, then with the code if it answered.
    Coordinated(Result<(), Option<ErrorCode>>),
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
    /// Read a piece of a partition's log from this offset on, for comparison. One at a time for each partition.
    ReadLog(PartitionKey, Side, i64, Isolation),
    /// Ask the coordinator of transactions; answered with [`Event::Coordinated`]. One at a time.
    Coordinate(Coordinate),
    /// A partition has gone back and stands still: store where it stands, and say so with [`Event::Stored`]. Only then
    /// it writes on.
    StorePosition,
    /// Get the next epoch of the producer, or another producer: what a partition knows of this one is of no use any more.
    RenewProducer,
    /// Another instance writes in our place: stop for good.
    Fenced,
    /// Get a newer view of a cluster.
    RefreshMetadata(Side),
    /// Tell people.
    Report(Report),
    /// Nothing is in flight any more.
    Drained,
}

/// What the coordinator of transactions is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coordinate {
    /// Make these partitions, and those that hold their positions, part of the transaction.
    Add(Vec<PartitionKey>),
    /// Write these positions in the transaction: where each partition stands, as the source calls it.
    Positions(Vec<(TopicPartition, Pair)>),
    /// End the transaction: everything counts.
    Commit,
    /// End the transaction: nothing counts.
    Abort,
    /// Look whether these partitions, and those that hold their positions, have ended the last transaction, and end it there
    /// if not. Nothing has been sent since.
    Settle {
        /// Who took part in it.
        members: Vec<PartitionKey>,
        /// Whether it counts.
        counts: bool,
    },
    /// Give the producer its next epoch, told with [`Event::Producer`] before the answer.
    Renew {
        /// Whoever has the transactional id now, or nobody.
        anew: bool,
    },
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
    /// The source's log was cut (unclean election): what it held from `from` to `to` was read and is at the target, or is
    /// lost; what it holds there now is copied.
    SourceTruncated {
        /// Where it was cut.
        from: i64,
        /// The offset behind the last that was read.
        to: i64,
    },
    /// Offsets of the target that hold nothing of this flow: others write to the topic. They are stepped over.
    Foreign {
        /// First such target offset.
        from: i64,
        /// The offset behind the last.
        to: i64,
        /// How many there are in between.
        offsets: u64,
    },
    /// What a former run left behind its last stored position was found at the target.
    Matched {
        /// Records that need not be copied again.
        records: u64,
        /// Records of others between them.
        foreign: u64,
        /// Records that are there more than once: another mirror or another instance wrote too.
        repeated: u64,
        /// Where copying goes on.
        source_offset: i64,
    },
    /// The place of a stored position was not found at the target: what was copied behind it comes again.
    NotMatched {
        /// Where copying goes on.
        source_offset: i64,
    },
    /// The target does not hold what was copied, and copying goes on behind what it holds.
    Diverged(Divergence),
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
    /// The source's log was cut before what was already read, and the policy says stop.
    SourceTruncated {
        /// Where it was cut.
        from: i64,
        /// Next offset to read.
        to: i64,
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
    /// The target does not hold what was copied, and the policy says stop.
    Diverged(Divergence),
}

/// What the target lacks of what was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divergence {
    /// Its log ends before what was acknowledged (unclean election, deleted records).
    Truncated {
        /// Offset behind the last acknowledged record.
        expected: i64,
        /// The end it has now.
        end: i64,
    },
    /// A record of the source is missing, or another stands in its place.
    Differs {
        /// First such source offset.
        source_offset: i64,
        /// Where it should be.
        target_offset: i64,
    },
    /// The source's log ends before what was copied of it.
    SourceEnds {
        /// Where it ends.
        source_end: i64,
        /// Target offset of the first record whose original is gone.
        target_offset: i64,
    },
}

impl Divergence {
    /// The setting that says what to do about it.
    fn policy(&self) -> &'static str {
        match self {
            Self::SourceEnds { .. } => "kmirror.on.gap",
            _ => "kmirror.on.divergence",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::SourceEnds { .. } => "kmirror.on.gap = continue",
            _ => "kmirror.on.divergence = resume",
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { expected, end } => write!(
                f,
                "the target's log ends at offset {end} but {expected} was acknowledged: it was truncated"
            ),
            Self::Differs { source_offset, target_offset } => write!(
                f,
                "target offset {target_offset} does not hold source offset {source_offset}, which was copied there"
            ),
            Self::SourceEnds { source_end, target_offset } => write!(
                f,
                "the source ends at offset {source_end}, but records from behind it stand at the target from offset \
                 {target_offset} on: the source was truncated"
            ),
        }
    }
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
            Self::SourceTruncated { from, to } => write!(
                f,
                "the source lost its offsets {from} to {} after they were read (unclean election); what it holds there \
                 now is copied too",
                to - 1
            ),
            Self::Foreign { from, to, offsets } => write!(
                f,
                "{offsets} target offsets between {from} and {to} are not of this flow: something else writes to the \
                 topic; they are stepped over"
            ),
            Self::Matched { records, foreign, repeated, source_offset } => write!(
                f,
                "{records} records behind the stored position are at the target already ({foreign} of others between \
                 them, {repeated} repeated); going on at source offset {source_offset}"
            ),
            Self::NotMatched { source_offset } => write!(
                f,
                "the stored position, source offset {source_offset}, was not found at the target; what was copied \
                 behind it comes again"
            ),
            Self::Diverged(divergence) => {
                write!(f, "{divergence}; going on, as {} says", divergence.policy())
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
            Self::SourceTruncated { from, to } => write!(
                f,
                "stopped: the source's log was cut at offset {from} after it was read up to {to} (unclean election, or the \
                 topic was recreated); set kmirror.on.gap = continue to copy what follows",
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
                "stopped: the topic was deleted and created again at the source; set kmirror.on.gap = continue to copy \
                 the new one behind the records of the old one, or delete the target topic to have it alone",
            ),
            Self::Recreated(Side::Target) => f.write_str(
                "stopped: the topic was deleted and created again at the target; set kmirror.on.divergence = resume to \
                 fill it from the beginning of the source",
            ),
            Self::Diverged(divergence) => write!(
                f,
                "stopped: {divergence}; set {} to go on with what is there",
                divergence.remedy(),
            ),
        }
    }
}
