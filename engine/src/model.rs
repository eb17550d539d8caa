//! Words that every room uses: sides, partitions, points in time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

/// One of the two clusters of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The cluster that is read.
    Source,
    /// The cluster that is written.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// A topic partition with the id that tells a recreated topic from the one that was there before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's id (KIP-516); nil where the cluster has none.
    pub topic_id: Uuid,
    /// The partition's number.
    pub index: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

/// Ids of a topic at the source and of its copy (KIP-516); nil where a cluster has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicIds {
    /// The topic's.
    pub source: Uuid,
    /// Its copy's.
    pub target: Uuid,
}

/// Where a partition stands on both sides: of the source everything below `source_next` is done with, and what was copied
/// of it lies below `target_next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The next source offset to read.
    pub source_next: i64,
    /// The leader epoch of the source's last record before it, or -1 where that is not known.
    pub source_epoch: i32,
    /// The target offset behind what was copied.
    pub target_next: i64,
    /// The id of the topic at the source; nil where the cluster has none.
    pub source_id: Uuid,
    /// The id of its copy.
    pub target_id: Uuid,
}

impl Pair {
    /// The beginning of both logs, of topics without ids.
    pub const NOWHERE: Self = Self {
        source_next: 0,
        source_epoch: -1,
        target_next: 0,
        source_id: Uuid::nil(),
        target_id: Uuid::nil(),
    };
}

/// A point in time, counted from a start that the shell chooses. Pure code never reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(Duration);

impl Moment {
    /// The point that lies `since_start` behind the start.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// How far the point lies behind the start.
    pub fn since_start(self) -> Duration {
        self.0
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0 + wait)
    }
}

impl std::ops::Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
