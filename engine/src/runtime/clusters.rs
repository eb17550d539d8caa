//! From a flow's configuration to the clients and settings that its parts use.

use std::sync::Arc;
use std::time::Duration;

use protocol_client::BrokerAddress;
use protocol_client::client::{Client, ClientOptions};
use protocol_client::cluster::Backoff;
use protocol_client::net::ConnectionOptions;
use protocol_client::wire::fetch::Isolation;
use protocol_client::wire::frame::FramePool;

use super::clock::Clock;
use crate::config::{
    ClusterConfig, ConnectionConfig, FlowConfig, HeartbeatsConfig, IsolationLevel,
};
use crate::flow::bandwidth::Bandwidth;
use crate::flow::budget::Budget;
use crate::flow::settings::ShardSettings;

/// The clients of a flow, and how its data connections are opened.
#[derive(Debug, Clone)]
pub(super) struct FlowClients {
    pub(super) source: Client,
    pub(super) target: Client,
    pub(super) source_options: Arc<ConnectionOptions>,
    pub(super) target_options: Arc<ConnectionOptions>,
}

impl FlowClients {
    /// Answers of the source are read into these buffers.
    pub(super) fn read_into(mut self, frames: FramePool) -> Self {
        Arc::make_mut(&mut self.source_options).frame_pool = frames;
        self
    }
}

/// Clients for both clusters; they have not talked to anybody yet.
pub(super) fn clients(config: &FlowConfig) -> FlowClients {
    let source = &config.consumer.connection;
    let target = &config.producer.connection;
    let own = |role: &str| format!("{}|{}|{role}", config.id(), config.connector);
    let timeout = config.admin_timeout;
    FlowClients {
        source: client(&config.source, source, own("replication-source-admin"), timeout),
        target: client(&config.target, target, own("replication-target-admin"), timeout),
        source_options: Arc::new(options(source, own("replication-consumer"))),
        target_options: Arc::new(options(target, own("replication-producer"))),
    }
}

/// A client for the cluster that heartbeats are written to.
pub(super) fn heartbeats_client(config: &HeartbeatsConfig) -> Client {
    let own = format!("{}|MirrorHeartbeatConnector|heartbeats-target-admin", config.id());
    client(&config.target, &config.connection, own, config.admin_timeout)
}

/// The settings of each of the flow's shards.
pub(super) fn shard_settings(
    config: &FlowConfig,
    budget: Budget,
    bandwidth: Option<Bandwidth>,
    clock: Clock,
) -> ShardSettings {
    let defaults = ShardSettings::default();
    let consumer = &config.consumer;
    ShardSettings {
        batches: config.batches,
        on_gap: config.on_gap,
        on_divergence: config.on_divergence,
        rounds: config.exactly_once.as_ref().map(|transactions| transactions.rounds),
        // Each shard has its own.
        transactional_id: None,
        isolation: isolation(config),
        budget,
        fetch_max_bytes: consumer.fetch_max_bytes.unwrap_or(defaults.fetch_max_bytes),
        fetch_partition_max_bytes: consumer
            .fetch_partition_max_bytes
            .unwrap_or(defaults.fetch_partition_max_bytes),
        least_fetch_lanes: defaults.least_fetch_lanes,
        most_fetch_lanes: defaults.most_fetch_lanes,
        least_produce_lanes: defaults.least_produce_lanes,
        most_produce_lanes: defaults.most_produce_lanes,
        fetch_max_wait_ms: i32::try_from(consumer.fetch_max_wait.as_millis()).unwrap_or(i32::MAX),
        fetch_min_bytes: consumer.fetch_min_bytes,
        produce_max_bytes: config
            .producer
            .max_request_bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(defaults.produce_max_bytes),
        produce_timeout_ms: i32::try_from(config.producer.connection.request_timeout.as_millis())
            .unwrap_or(i32::MAX),
        bandwidth,
        wall_start_ms: clock.wall_start_ms(),
    }
}

/// Which records of the source are copied.
pub(super) fn isolation(config: &FlowConfig) -> Isolation {
    match config.consumer.isolation {
        IsolationLevel::ReadUncommitted => Isolation::ReadUncommitted,
        IsolationLevel::ReadCommitted => Isolation::ReadCommitted,
    }
}

fn client(
    cluster: &ClusterConfig,
    connection: &ConnectionConfig,
    own: String,
    admin_timeout: Duration,
) -> Client {
    let bootstrap = cluster
        .bootstrap_servers
        .iter()
        .map(|at| BrokerAddress { host: at.host.clone(), port: at.port });
    Client::new(ClientOptions {
        bootstrap: bootstrap.collect(),
        connection: options(connection, own),
        metadata_max_age: connection.metadata_max_age,
        backoff: Backoff { initial: connection.retry_backoff, max: connection.retry_backoff_max },
        call_timeout: admin_timeout.min(Duration::from_secs(10)),
        ..ClientOptions::default()
    })
}

/// Connections name themselves as MirrorMaker 2's do, so that quotas and logs by client id go on working.
fn options(connection: &ConnectionConfig, own: String) -> ConnectionOptions {
    let client_id = match &connection.client_id {
        Some(prefix) => format!("{prefix}|{own}"),
        None => own,
    };
    ConnectionOptions {
        client_id,
        connect_timeout: connection.setup_timeout,
        // The broker's own timeout comes first, so that its answer is heard.
        request_timeout: connection.request_timeout + Duration::from_secs(5),
        send_buffer_bytes: connection.send_buffer_bytes.map(|bytes| bytes as usize),
        receive_buffer_bytes: connection.receive_buffer_bytes.map(|bytes| bytes as usize),
        ..ConnectionOptions::default()
    }
}
