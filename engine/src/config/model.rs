//! A configuration that has been understood: what the engine is told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::values::BrokerAddress;
use crate::flow::bandwidth::Schedule;
use crate::flow::settings::{BatchMode, DivergencePolicy, GapPolicy, RoundSettings};
use crate::model::Side;
use crate::policy::filters::{ConfigPropertyFilter, NameFilter};
use crate::policy::naming::Naming;

/// All that one process replicates.
#[derive(Debug, Clone)]
pub struct Replication {
    /// Clusters that a running flow touches, by alias.
    pub clusters: BTreeMap<String, ClusterConfig>,
    /// The flows that run, ordered by source and target.
    pub flows: Vec<FlowConfig>,
    /// The pairs of clusters that heartbeats are written for, ordered by source and target.
    pub heartbeats: Vec<HeartbeatsConfig>,
    /// What holds for the process as a whole.
    pub process: ProcessConfig,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// What the file calls it.
    pub alias: String,
    /// Where to ask for its brokers; not empty.
    pub bootstrap_servers: Vec<BrokerAddress>,
}

/// One flow that runs.
#[derive(Debug, Clone)]
pub struct FlowConfig {
    /// The cluster that is read.
    pub source: ClusterConfig,
    /// The cluster that is written.
    pub target: ClusterConfig,
    /// The connector's name, under which positions are stored.
    pub connector: String,
    /// What topics are called.
    pub naming: Naming,
    /// Which topics are replicated.
    pub topics: NameFilter,
    /// Whether heartbeats topics are replicated whatever `topics` says.
    pub replicate_heartbeats: bool,
    /// For topics that are created on the target; -1 leaves it to the broker.
    pub replication_factor: i16,
    /// How often new topics and partitions are looked for; none for never.
    pub refresh_topics: Option<Duration>,
    /// Which topic configs are carried over.
    pub config_properties: ConfigPropertyFilter,
    /// Whose defaults hold for configs that the source does not set.
    pub use_defaults_from: DefaultsFrom,
    /// How long an administrative step may take.
    pub admin_timeout: Duration,
    /// Where positions are stored.
    pub positions: PositionsConfig,
    /// The group of the Connect workers that replicated here until now; a group of the target.
    pub worker_group: String,
    /// Where it is kept which offset is which; none if it is not.
    pub offset_syncs: Option<OffsetSyncsConfig>,
    /// How consumer groups are followed; none if they are not.
    pub groups: Option<GroupsConfig>,
    /// How the source is read.
    pub consumer: ConsumerConfig,
    /// How the target is written.
    pub producer: ProducerConfig,
    /// Whether small batches are merged.
    pub batches: BatchMode,
    /// What happens when records are gone before they could be read.
    pub on_gap: GapPolicy,
    /// What happens when the target's log does not go on from what is known of it.
    pub on_divergence: DivergencePolicy,
    /// How much it may carry in a second; none for any amount.
    pub bandwidth: Option<Schedule>,
    /// Records and positions are written in transactions, if this is set.
    pub exactly_once: Option<ExactlyOnceConfig>,
    /// Every setting of the flow that has an effect, and where it comes from.
    pub effective: Vec<EffectiveSetting>,
}

impl FlowConfig {
    /// `A->B`.
    pub fn id(&self) -> String {
        format!("{}->{}", self.source.alias, self.target.alias)
    }

    /// Whether a topic of the source is replicated (`MirrorSourceConnector.shouldReplicateTopic`).
    pub fn replicates(&self, topic: &str) -> Result<bool, crate::policy::java_regex::RegexError> {
        let heartbeats = self.replicate_heartbeats && self.naming.is_heartbeats_topic(topic);
        Ok((heartbeats || self.topics.selects(topic)?)
            && !self.naming.is_internal_topic(topic)
            && !self.naming.is_cycle(topic))
    }
}

/// What holds for the process as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Upper bound of records held in memory, in bytes.
    pub memory_bytes: u64,
    /// Threads that carry records; none is one for every core.
    pub threads: Option<usize>,
    /// How much may be read from and written to clusters in a second, by alias; those that are not here have no limit.
    pub cluster_bandwidth: BTreeMap<String, Schedule>,
    /// Flows start although MirrorMaker 2 seems to run; no file says so, but a command line may.
    pub forced: bool,
    /// What the file says, with origins.
    pub effective: Vec<EffectiveSetting>,
}

/// How a flow is written in transactions (`exactly.once.source.support = enabled`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactlyOnceConfig {
    /// When a transaction ends.
    pub rounds: RoundSettings,
    /// Transactional ids of MirrorMaker 2's tasks, which are shut out.
    pub replaced: Vec<String>,
}

/// Where and how often a flow stores its positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionsConfig {
    /// The topic, on the target.
    pub topic: String,
    /// Its partitions if it has to be created; -1 leaves it to the broker.
    pub partitions: i32,
    /// Its replication factor if it has to be created; -1 leaves it to the broker.
    pub replication_factor: i16,
    /// Its other configs if it has to be created; `cleanup.policy` is always `compact`.
    pub topic_configs: BTreeMap<String, String>,
    /// How often positions are stored.
    pub flush_interval: Duration,
}

/// Where and how often it is kept which offset is which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetSyncsConfig {
    /// The topic.
    pub topic: String,
    /// The cluster that it is on.
    pub location: Side,
    /// Its replication factor if it has to be created; -1 leaves it to the broker.
    pub replication_factor: i16,
    /// Its other configs if it has to be created; `cleanup.policy` is always `compact`.
    pub topic_configs: BTreeMap<String, String>,
    /// So many more records make a partition write soon.
    pub lag_max: u32,
}

/// How the consumer groups of the source are followed.
#[derive(Debug, Clone)]
pub struct GroupsConfig {
    /// Which groups, by their ids.
    pub filter: NameFilter,
    /// How often new groups are looked for; none for never.
    pub refresh: Option<Duration>,
    /// How their positions are written down.
    pub checkpoints: CheckpointsConfig,
    /// How often positions are committed at the target; none for never.
    pub sync_offsets: Option<Duration>,
    /// Whether a group of the target is set back when its group at the source is.
    pub follow_rewinds: bool,
}

/// How the positions of groups are written to the checkpoints topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointsConfig {
    /// How often.
    pub interval: Duration,
    /// The topic's replication factor if it has to be created; -1 leaves it to the broker.
    pub replication_factor: i16,
}

/// Heartbeats of one pair of clusters, whether or not a flow runs between them.
#[derive(Debug, Clone)]
pub struct HeartbeatsConfig {
    /// The alias of the cluster that they speak for.
    pub source: String,
    /// The cluster that they are written to.
    pub target: ClusterConfig,
    /// How often.
    pub interval: Duration,
    /// The topic's replication factor if it has to be created; -1 leaves it to the broker.
    pub replication_factor: i16,
    /// How long an administrative step may take.
    pub admin_timeout: Duration,
    /// Connections to the target.
    pub connection: ConnectionConfig,
    /// Every setting that has an effect, and where it comes from.
    pub effective: Vec<EffectiveSetting>,
}

impl HeartbeatsConfig {
    /// `A->B`.
    pub fn id(&self) -> String {
        format!("{}->{}", self.source, self.target.alias)
    }
}

/// How connections of one side behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// What stands before the flow's name in the client id; none for nothing.
    pub client_id: Option<String>,
    /// How long an answer may take.
    pub request_timeout: Duration,
    /// How long opening a connection may take.
    pub setup_timeout: Duration,
    /// How old metadata may become.
    pub metadata_max_age: Duration,
    /// The first wait before a failed request is sent again.
    pub retry_backoff: Duration,
    /// The longest such wait.
    pub retry_backoff_max: Duration,
    /// The socket's send buffer; none leaves it to the operating system.
    pub send_buffer_bytes: Option<u32>,
    /// The socket's receive buffer; none leaves it to the operating system.
    pub receive_buffer_bytes: Option<u32>,
}

/// How the source is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// Connections to the source.
    pub connection: ConnectionConfig,
    /// Whether records of aborted transactions are copied.
    pub isolation: IsolationLevel,
    /// Where a partition begins that no position is stored for.
    pub start: StartFrom,
    /// Upper bound of one fetch answer; none leaves it to the engine.
    pub fetch_max_bytes: Option<i32>,
    /// Upper bound of one partition's part of a fetch answer; none leaves it to the engine.
    pub fetch_partition_max_bytes: Option<i32>,
    /// How many bytes a broker waits for.
    pub fetch_min_bytes: i32,
    /// How long a broker may wait for them.
    pub fetch_max_wait: Duration,
}

/// How the target is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerConfig {
    /// Connections to the target.
    pub connection: ConnectionConfig,
    /// Upper bound of one produce request; none leaves it to the engine.
    pub max_request_bytes: Option<i32>,
}

/// `isolation.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationLevel {
    /// Everything up to the high watermark.
    ReadUncommitted,
    /// Only what is committed.
    ReadCommitted,
}

/// `auto.offset.reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// With the first record that is still there.
    Earliest,
    /// With the next record that is written.
    Latest,
}

/// `use.defaults.from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultsFrom {
    /// The target's own defaults hold.
    Target,
    /// The source's defaults are written out on the target.
    Source,
}

/// One setting as it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// The key without the prefix of the place it came from.
    pub key: String,
    /// The value.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The file does not say, the default holds.
    Default,
    /// A line of the file.
    Line {
        /// The line, from 1.
        line: u32,
        /// The key as it stands there.
        key: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Line { line, key } => write!(f, "line {line}: {key}"),
        }
    }
}
