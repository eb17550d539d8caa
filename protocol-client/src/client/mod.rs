//! The control plane of one cluster: finding brokers, routing requests, trying again.
//!
//! [`Client`] keeps one shared connection per broker and never fetches or produces bulk data over
//! it, since a waiting fetch or produce would block what comes behind. Lanes of the data plane
//! open their own with [`Client::connect_to`].
//!
//! Calls are tried again by the [`RetryClass`](crate::wire::error_code::RetryClass) of what went
//! wrong, until [`ClientOptions::call_timeout`] is over; then the last error is returned. Calls
//! about many items return a result for each item.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, watch};
use tokio::time::Instant;

use crate::address::BrokerAddress;
use crate::cluster::metadata::Topics;
use crate::cluster::{Backoff, ClusterView};
use crate::error::{ClientError, Fault};
use crate::net::{Connection, ConnectionOptions};

mod alter_configs;
mod convert;
mod coordinators;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_producers;
mod describe_transactions;
mod group_offsets;
mod init_producer_id;
mod leader_epochs;
mod list_groups;
mod list_offsets;
mod metadata;
mod produce;
mod read;
mod routing;
mod transactions;

pub use alter_configs::{ConfigChange, ConfigOperation};
pub use coordinators::CoordinatorKind;
pub use create_topics::{CreatedTopic, NewTopic};
pub use describe_cluster::ClusterDescription;
pub use describe_configs::{ConfigEntry, ConfigResource, ConfigSource};
pub use describe_groups::{GroupDescription, GroupMember};
pub use describe_producers::ActiveProducer;
pub use group_offsets::{CommittedOffset, GroupOffsets, OffsetToCommit};
pub use init_producer_id::{ProducerIdentity, ProducerRequest};
pub use leader_epochs::{EpochEnd, EpochQuestion};
pub use list_groups::ListedGroup;
pub use list_offsets::{ListedOffset, OffsetSpec};
pub use produce::Produced;
pub use read::{ReadChunk, ReadLimits, Reader};
pub use transactions::TransactionEnd;

/// Pieces read at once by [`Client::read_at`], over all callers.
const LOOK_BACKS_AT_ONCE: usize = 8;

/// Settings of a [`Client`].
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Brokers to begin with; asked again when all others are gone.
    pub bootstrap: Vec<BrokerAddress>,
    /// How shared connections are opened.
    pub connection: ConnectionOptions,
    /// Metadata older than this is asked for again before it is used.
    pub metadata_max_age: Duration,
    /// The pauses between attempts.
    pub backoff: Backoff,
    /// How long a call is tried again before its last error is returned.
    pub call_timeout: Duration,
    /// How long a topic or partition that the brokers do not know is asked for again: one that was
    /// just created takes a moment to reach all of them.
    pub unknown_topic_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            connection: ConnectionOptions::default(),
            metadata_max_age: Duration::from_secs(300),
            backoff: Backoff::default(),
            call_timeout: Duration::from_secs(60),
            unknown_topic_timeout: Duration::from_secs(3),
        }
    }
}

/// A cluster. Clones share everything.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: ClientOptions,
    connection_options: Arc<ConnectionOptions>,
    /// Shared connections live here, whoever first needs them.
    runtime: Handle,
    view: watch::Sender<Arc<ClusterView>>,
    /// What the next refresh has to cover, gathered from everybody who waits for one.
    wanted: Mutex<Option<Topics>>,
    refreshing: AsyncMutex<()>,
    shared: Mutex<BTreeMap<(Purpose, BrokerAddress), Slot>>,
    coordinators: Mutex<BTreeMap<(CoordinatorKind, String), i32>>,
    look_backs: Semaphore,
}

type Slot = Arc<AsyncMutex<Shared>>;

/// What a shared connection is for: requests that block those behind them have one of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Control,
    Produce,
    LookBack,
}

/// The shared connection to one address.
#[derive(Debug, Default)]
struct Shared {
    connection: Option<Connection>,
    /// Whoever queued up behind a failing attempt shares its failure.
    failed: Option<(Instant, ClientError)>,
}

impl Client {
    /// A client that has not talked to anybody yet. Shared connections run on the current runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(options: ClientOptions) -> Self {
        let connection_options = Arc::new(options.connection.clone());
        Self(Arc::new(Inner {
            options,
            connection_options,
            runtime: Handle::current(),
            view: watch::Sender::new(Arc::default()),
            wanted: Mutex::default(),
            refreshing: AsyncMutex::default(),
            shared: Mutex::default(),
            coordinators: Mutex::default(),
            look_backs: Semaphore::new(LOOK_BACKS_AT_ONCE),
        }))
    }

    /// The settings.
    pub fn options(&self) -> &ClientOptions {
        &self.0.options
    }

    /// Opens a connection of the caller's own to a node, on the caller's runtime.
    pub async fn connect_to(
        &self,
        node: i32,
        options: &Arc<ConnectionOptions>,
    ) -> Result<Connection, ClientError> {
        let address = self.address_of(node).await?;
        Connection::open(&address, options).await
    }

    /// The shared connection to a node, opened if need be.
    async fn node(&self, node: i32) -> Result<Connection, ClientError> {
        self.node_for(Purpose::Control, node).await
    }

    async fn node_for(&self, purpose: Purpose, node: i32) -> Result<Connection, ClientError> {
        let address = self.address_of(node).await?;
        self.shared_connection(purpose, &address).await
    }

    /// How long brokers may take for administrative work, in milliseconds.
    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.patience().as_millis()).unwrap_or(i32::MAX)
    }

    fn patience(&self) -> Duration {
        self.0.connection_options.request_timeout
    }

    /// The shared connection to some broker: one that is open, else the first that opens, known
    /// ones before those of the bootstrap list.
    async fn any(&self) -> Result<Connection, ClientError> {
        let candidates = self.candidates();
        if let Some(open) = candidates.iter().find_map(|address| self.open_connection(address)) {
            return Ok(open);
        }
        let mut last = ClientError::invalid("no bootstrap server is configured");
        for address in &candidates {
            match self.shared_connection(Purpose::Control, address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        // An error that needs a person must not hide behind "not reachable".
        if !last.retryable() {
            return Err(last);
        }
        Err(Fault::NoBroker { last: last.to_string() }.into())
    }

    fn candidates(&self) -> Vec<BrokerAddress> {
        let view = self.view();
        let mut known: Vec<&BrokerAddress> =
            view.nodes.values().map(|node| &node.address).collect();
        fastrand::shuffle(&mut known);
        let bootstrap = self.0.options.bootstrap.iter();
        let bootstrap = bootstrap.filter(|address| !known.contains(address)).collect::<Vec<_>>();
        known.into_iter().chain(bootstrap).cloned().collect()
    }

    async fn address_of(&self, node: i32) -> Result<BrokerAddress, ClientError> {
        let known = |view: &ClusterView| view.nodes.get(&node).map(|node| node.address.clone());
        if let Some(address) = known(&self.view()) {
            return Ok(address);
        }
        let view = self.refresh_nodes().await?;
        known(&view).ok_or_else(|| ClientError::unknown(format!("node {node}")))
    }

    fn slot(&self, purpose: Purpose, address: &BrokerAddress) -> Slot {
        let mut slots = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry((purpose, address.clone())).or_default())
    }

    fn open_connection(&self, address: &BrokerAddress) -> Option<Connection> {
        let slot = self.slot(Purpose::Control, address);
        let shared = slot.try_lock().ok()?;
        shared.connection.clone().filter(|connection| !connection.is_closed())
    }

    async fn shared_connection(
        &self,
        purpose: Purpose,
        address: &BrokerAddress,
    ) -> Result<Connection, ClientError> {
        let asked = Instant::now();
        let slot = self.slot(purpose, address);
        let mut shared = slot.lock().await;
        if let Some(open) = shared.connection.clone().filter(|open| !open.is_closed()) {
            return Ok(open);
        }
        if let Some((_, error)) = shared.failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        let opening = self.0.runtime.spawn({
            let (address, options) = (address.clone(), Arc::clone(&self.0.connection_options));
            async move { Connection::open(&address, &options).await }
        });
        let opened = opening.await.unwrap_or_else(|_| Err(Fault::Closed.into()));
        shared.connection = opened.as_ref().ok().cloned();
        shared.failed = opened.as_ref().err().map(|error| (Instant::now(), error.clone()));
        opened
    }

    /// Closes the shared connections. Calls still under way fail, later ones connect again.
    pub async fn close(&self) {
        let slots: Vec<_> = {
            let mut slots = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *slots).into_values().collect()
        };
        for slot in slots {
            if let Some(connection) = slot.lock().await.connection.take() {
                connection.close();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::TopicPartition;
    use crate::wire::fetch::Isolation;

    fn sendable<T: Send>(_: &T) {}

    /// Every call must be fit for a task of a multi-threaded runtime.
    #[tokio::test]
    async fn calls_can_be_spawned() {
        let client = Client::new(ClientOptions::default());
        let partition = TopicPartition::new("t", 0);
        sendable(&client.all_topics());
        sendable(&client.create_topics(&[], false));
        sendable(&client.create_partitions(&BTreeMap::new()));
        sendable(&client.delete_topics(&[]));
        sendable(&client.describe_configs(&[], None));
        sendable(&client.alter_configs(&BTreeMap::new(), false));
        sendable(&client.list_offsets(BTreeMap::new(), Isolation::ReadUncommitted));
        sendable(&client.describe_producers([partition.clone()]));
        sendable(&client.init_idempotent_producer());
        sendable(&client.leader_epoch_ends(BTreeMap::new()));
        sendable(&client.fetch_group_offsets(&BTreeMap::new(), true));
        sendable(&client.commit_group_offsets("g", BTreeMap::new()));
        sendable(&client.list_groups(&[], &[]));
        sendable(&client.describe_groups(&[]));
        sendable(&client.describe_cluster());
        sendable(&client.produce(&partition, [0; 61], bytes::Bytes::new()));
        let producer = ProducerIdentity { id: 1, epoch: 0 };
        sendable(&client.produce_in("x", &partition, [0; 61], bytes::Bytes::new()));
        sendable(&client.add_partitions_to_txn("x", producer, &[]));
        sendable(&client.end_txn("x", producer, TransactionEnd::Commit));
        sendable(&client.fence("x", 1000, &[]));
        sendable(&client.read_at(&partition, 0, ReadLimits::default()));
        sendable(&async {
            let mut reader = client.read(partition.clone(), 0, ReadLimits::default()).await?;
            reader.next_chunk().await
        });
    }

    #[tokio::test]
    async fn without_bootstrap_servers_the_caller_is_told() {
        let client = Client::new(ClientOptions::default());
        let error = client.describe_cluster().await.expect_err("nobody to ask");
        assert!(error.to_string().contains("bootstrap"), "{error}");
        assert!(!error.retryable());
    }
}
