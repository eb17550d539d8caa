//! What the data plane may be told: sizes, limits, policies.

use std::sync::Arc;
use std::time::Duration;

use protocol_client::batch::AppendTime;
use protocol_client::wire::fetch::Isolation;

use super::bandwidth::Bandwidth;
use super::budget::Budget;

/// Whether small neighbors are merged into larger batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchMode {
    /// Large batches are forwarded sealed, runs of small ones are merged.
    #[default]
    Auto,
    /// Every batch that a broker accepts as it is goes as it is.
    Sealed,
}

/// What happens when records are gone at the source before they could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GapPolicy {
    /// Report the lost range and go on behind it.
    #[default]
    Continue,
    /// Report the lost range and stop the partition.
    Fail,
}

/// What happens when the end of the target's log is missing or is not what was written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DivergencePolicy {
    /// Report it and stop the partition.
    #[default]
    Fail,
    /// Report it and go on, with repeats rather than losses.
    Resume,
}

/// When a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// When nothing more waits, and before it grows large.
    Poll,
    /// When it is this old.
    Interval(Duration),
}

/// How records and positions are written in transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundSettings {
    /// When a transaction ends.
    pub boundary: Boundary,
    /// After how long the target aborts a transaction that is left alone.
    pub transaction_timeout: Duration,
}

/// Settings of one shard, the same for all its partitions.
#[derive(Debug, Clone)]
pub struct ShardSettings {
    /// Sealed only, or merging.
    pub batches: BatchMode,
    /// What to do about records that the source no longer has.
    pub on_gap: GapPolicy,
    /// What to do about a target that lacks what was written to it.
    pub on_divergence: DivergencePolicy,
    /// How records and positions are written in transactions, if they are.
    pub rounds: Option<RoundSettings>,
    /// The transactional id that those are of.
    pub transactional_id: Option<Arc<str>>,
    /// Whether the source is read with `read_committed`.
    pub isolation: Isolation,
    /// The memory for records.
    pub budget: Budget,
    /// Upper bound of one fetch answer, in bytes.
    pub fetch_max_bytes: i32,
    /// Upper bound of one partition's part of a fetch answer, in bytes.
    pub fetch_partition_max_bytes: i32,
    /// How few lanes there may be to one source broker.
    pub least_fetch_lanes: u16,
    /// How many, if they pay.
    pub most_fetch_lanes: u16,
    /// How few lanes there may be to one target broker.
    pub least_produce_lanes: u16,
    /// How many, if they pay.
    pub most_produce_lanes: u16,
    /// How long a broker may hold an empty fetch, in milliseconds.
    pub fetch_max_wait_ms: i32,
    /// How many bytes end that wait.
    pub fetch_min_bytes: i32,
    /// Upper bound of one produce request, in bytes.
    pub produce_max_bytes: usize,
    /// How long the target may take to replicate a batch, in milliseconds.
    pub produce_timeout_ms: i32,
    /// How much may be read in a second, if there is a limit.
    pub bandwidth: Option<Bandwidth>,
    /// Wall clock at moment zero, in milliseconds since 1970.
    pub wall_start_ms: i64,
}

impl Default for ShardSettings {
    fn default() -> Self {
        Self {
            batches: BatchMode::Auto,
            on_gap: GapPolicy::Continue,
            on_divergence: DivergencePolicy::Fail,
            rounds: None,
            transactional_id: None,
            isolation: Isolation::ReadUncommitted,
            budget: Budget::alone(64 << 20),
            fetch_max_bytes: 8 << 20,
            fetch_partition_max_bytes: 1 << 20,
            least_fetch_lanes: 1,
            most_fetch_lanes: 256,
            least_produce_lanes: 1,
            most_produce_lanes: 256,
            fetch_max_wait_ms: 500,
            fetch_min_bytes: 1,
            produce_max_bytes: 1 << 20,
            produce_timeout_ms: 30_000,
            bandwidth: None,
            wall_start_ms: 0,
        }
    }
}

impl ShardSettings {
    /// How many bytes of the budget may be promised to answers under way; the rest is for what waits.
    pub(super) fn under_way_bytes(&self) -> usize {
        self.budget.most_bytes() / 4 * 3
    }

    /// How many bytes may be read ahead of their turn, asked for or held.
    pub(super) fn ahead_bytes(&self) -> usize {
        self.budget.most_bytes() / 16 * 15
    }

    /// How many bytes of one partition may wait before it is no longer fetched: enough to fill the next request to the
    /// target. More would not carry a byte earlier, and leave the processor's caches before its turn comes.
    pub(super) fn queue_limit_bytes(&self) -> usize {
        (self.budget.most_bytes() / 16).clamp(64 << 10, 1 << 20)
    }
}

/// What the target topic demands of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetLimits {
    /// The topic's `max.message.bytes`.
    pub max_message_bytes: usize,
    /// Whether the topic stamps its own time (`message.timestamp.type=LogAppendTime`).
    pub log_append_time: bool,
}

impl Default for TargetLimits {
    fn default() -> Self {
        // Kafka's default of max.message.bytes.
        Self { max_message_bytes: 1_048_588, log_append_time: false }
    }
}

impl TargetLimits {
    /// Whether append times of the source must survive: a topic that stamps its own time has no use for them.
    pub(super) fn append_time(&self) -> AppendTime {
        if self.log_append_time { AppendTime::Release } else { AppendTime::Keep }
    }
}
