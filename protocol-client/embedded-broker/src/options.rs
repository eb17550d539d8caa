//! What a cluster can be started with.

use crate::core::versions::Profile;

/// What happens when the memory limit is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFull {
    /// The oldest batches of the largest partitions whose `cleanup.policy` names `delete` are dropped, until a
    /// sixteenth of the limit is free; where none is left, produce is refused as below.
    #[default]
    DropOldest,
    /// Produce is refused with KAFKA_STORAGE_ERROR.
    Refuse,
}

/// What the cluster is.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Number of nodes.
    pub nodes: usize,
    /// The release that it passes for.
    pub profile: Profile,
    /// Limit of all logs together, in bytes.
    pub memory_limit_bytes: u64,
    /// What happens at that limit.
    pub on_full: OnFull,
    /// Topic configs that take the place of Kafka's defaults.
    pub default_configs: Vec<(String, String)>,
    /// Whether asking for an unknown topic creates it.
    pub auto_create_topics: bool,
    /// Partitions of a topic that is created without a number.
    pub default_partitions: i32,
    /// Replicas of a topic that is created without a number.
    pub default_replication_factor: i16,
    /// Largest fetch answer, in bytes (`fetch.max.bytes`).
    pub fetch_max_bytes: usize,
    /// Fetch sessions of each node.
    pub session_slots: usize,
    /// Whether compressed batches are opened and checked when they are produced, as brokers do.
    pub open_compressed: bool,
    /// How long a new group waits for more members, in milliseconds (`group.initial.rebalance.delay.ms`).
    pub group_initial_rebalance_delay_ms: i64,
    /// Shortest session timeout of a member, in milliseconds; Kafka's is 6000, too long for tests.
    pub group_min_session_timeout_ms: i32,
    /// Where topic ids, session ids and the cluster id come from; equal seeds give equal ids.
    pub seed: u64,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            profile: Profile::default(),
            memory_limit_bytes: 1 << 30,
            on_full: OnFull::default(),
            default_configs: Vec::new(),
            auto_create_topics: false,
            default_partitions: 1,
            default_replication_factor: 1,
            fetch_max_bytes: 55 << 20,
            session_slots: 1000,
            open_compressed: true,
            group_initial_rebalance_delay_ms: 0,
            group_min_session_timeout_ms: 10,
            seed: 0,
        }
    }
}

/// What a cluster with sockets is.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The cluster itself.
    pub broker: BrokerOptions,
    /// Ports on 127.0.0.1, one per node; missing ones and 0 are chosen by the system.
    pub ports: Vec<u16>,
    /// Largest request, in bytes (`socket.request.max.bytes`).
    pub max_request_bytes: usize,
    /// Send and receive buffer of each connection, in bytes; `None` leaves them to the system, brokers have
    /// 102400 (`socket.send.buffer.bytes`, `socket.receive.buffer.bytes`).
    pub socket_buffer_bytes: Option<u32>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            broker: BrokerOptions::default(),
            ports: Vec::new(),
            max_request_bytes: 100 << 20,
            socket_buffer_bytes: None,
        }
    }
}

impl ClusterOptions {
    /// Defaults with so many nodes.
    pub fn nodes(nodes: usize) -> Self {
        let broker = BrokerOptions { nodes, ..BrokerOptions::default() };
        Self { broker, ..Self::default() }
    }
}
