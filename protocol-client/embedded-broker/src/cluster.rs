//! A cluster with sockets, and what a test or a demo does to it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::ApiKey;
use protocol_client::batch::BatchError;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::AbortHandle;
use uuid::Uuid;

use crate::core::faults::Fault;
use crate::core::log::Isolation;
use crate::core::records::Record;
use crate::core::transactions::Markers;
use crate::core::{Broker, NodeId, Refused, TopicSpec};
use crate::listen::{self, Shared};
use crate::options::ClusterOptions;

const LISTEN_BACKLOG: u32 = 1024;

/// A running cluster; dropping it closes everything.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    tasks: Vec<AbortHandle>,
}

impl Cluster {
    /// Starts all nodes on 127.0.0.1, on the current tokio runtime.
    ///
    /// # Errors
    /// When a port is taken.
    pub async fn start(options: ClusterOptions) -> io::Result<Self> {
        let nodes = options.broker.nodes.max(1);
        let mut broker = Broker::new(options.broker);
        let mut bound = Vec::with_capacity(nodes);
        for nth in 0..nodes {
            let port = options.ports.get(nth).copied().unwrap_or(0);
            let listener = bind(port, options.socket_buffer_bytes)?;
            let address = listener.local_addr()?;
            broker.listens(nth as NodeId, &address.ip().to_string(), address.port());
            bound.push((listener, address));
        }
        let shared = Arc::new(Shared::new(broker, options.max_request_bytes));
        let addresses = bound.iter().map(|(_, address)| *address).collect();
        let listeners = bound.into_iter().enumerate().map(|(nth, (listener, _))| {
            let accept = listen::accept(shared.clone(), nth as NodeId, listener);
            tokio::spawn(accept).abort_handle()
        });
        let tick = tokio::spawn(listen::tick(shared.clone())).abort_handle();
        let tasks = listeners.chain([tick]).collect();
        Ok(Self { shared, addresses, tasks })
    }

    /// The nodes' addresses, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        addresses.join(",")
    }

    /// The nodes' addresses by their id.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Does anything to the cluster; the time in milliseconds since 1970 comes with it.
    pub fn with<R>(&self, action: impl FnOnce(&mut Broker, i64) -> R) -> R {
        self.shared.with(action)
    }

    /// Creates a topic and returns its id.
    ///
    /// # Errors
    /// The error that CreateTopics answers.
    pub fn create_topic(&self, spec: TopicSpec) -> Result<Uuid, Refused> {
        self.with(|broker, _| broker.create_topic(spec))
    }

    /// Appends whole batches past all checks. With `keep_offsets` they keep their own offsets, holes and all.
    /// Returns the new log end; `None` for an unknown partition or bytes that are no batches.
    pub fn append(
        &self,
        topic: &str,
        partition: i32,
        batches: &Bytes,
        keep_offsets: bool,
    ) -> Option<i64> {
        self.with(|broker, _| broker.append_prepared(topic, partition, batches, keep_offsets))
    }

    /// The batches of a partition, as they are stored.
    pub fn batches(&self, topic: &str, partition: i32) -> Vec<Bytes> {
        self.with(|broker, _| broker.read_batches(topic, partition))
    }

    /// The records of a partition, each behind its offset.
    ///
    /// # Errors
    /// A batch that was appended past all checks is none.
    pub fn records(&self, topic: &str, partition: i32) -> Result<Vec<(i64, Record)>, BatchError> {
        self.with(|broker, _| broker.read_records(topic, partition))
    }

    /// First offset of a partition.
    pub fn start_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.with(|broker, _| Some(broker.partition(topic, partition)?.start_offset()))
    }

    /// Offset that the next record of a partition will get.
    pub fn end_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.with(|broker, _| Some(broker.partition(topic, partition)?.end_offset()))
    }

    /// End of what read_committed may see.
    pub fn last_stable_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.with(|broker, _| {
            Some(broker.partition(topic, partition)?.visible_end(Isolation::ReadCommitted))
        })
    }

    /// The node that leads a partition, and its epoch.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<(NodeId, i32)> {
        self.with(|broker, _| {
            let found = broker.partition(topic, partition)?;
            Some((found.leader?, found.leader_epoch))
        })
    }

    /// Gives a partition to another node that runs; false when that cannot be.
    pub fn move_leader(&self, topic: &str, partition: i32, leader: NodeId) -> bool {
        self.with(|broker, _| broker.move_leader(topic, partition, leader))
    }

    /// Stops a node: connections are closed, new ones too, the port stays taken. What it led moves on.
    pub fn kill_node(&self, node: NodeId) {
        self.with(|broker, _| broker.kill_node(node));
        self.shared.close_connections(Some(node));
    }

    /// Starts a node again; with `short_memory` it knows only the last batch of each producer.
    pub fn restart_node(&self, node: NodeId, short_memory: bool) {
        self.with(|broker, _| broker.restart_node(node, short_memory));
    }

    /// Closes all connections; the nodes go on.
    pub fn close_connections(&self) {
        self.shared.close_connections(None);
    }

    /// Cuts a log at `offset` and begins a new leader epoch: an unclean election.
    pub fn truncate(&self, topic: &str, partition: i32, offset: i64) -> bool {
        self.with(|broker, _| broker.truncate(topic, partition, offset))
    }

    /// Deletes the records below `offset` and returns the new log start.
    ///
    /// # Errors
    /// The error that DeleteRecords answers.
    pub fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<i64, KafkaError> {
        self.with(|broker, _| broker.delete_records(topic, partition, offset))
    }

    /// Compacts all partitions of a topic; false when there is no such topic.
    pub fn compact(&self, topic: &str) -> bool {
        self.with(|broker, now_ms| broker.compact(topic, now_ms))
    }

    /// Makes all partitions of a topic discard what is produced and serve `prepared` batches over and over,
    /// up to an end offset.
    pub fn make_null(&self, topic: &str, prepared: Option<(&Bytes, i64)>) -> bool {
        self.with(|broker, _| broker.make_null(topic, prepared))
    }

    /// The offset that a group has committed.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        self.with(|broker, _| Some(broker.committed(group, topic, partition)?.offset))
    }

    /// Gives a group so many members who never speak, in place of those that it has; none make it empty.
    pub fn populate_group(&self, group: &str, protocol_type: &str, members: usize) {
        self.with(|broker, now_ms| broker.populate_group(now_ms, group, protocol_type, members));
    }

    /// What becomes of the markers of transactions that end from now on.
    pub fn set_markers(&self, markers: Markers) {
        self.with(|broker, now_ms| broker.set_markers(now_ms, markers));
    }

    /// Orders a fault.
    pub fn fault(&self, fault: Fault) {
        self.with(|broker, _| broker.fault(fault));
    }

    /// Takes back all faults that have not happened.
    pub fn clear_faults(&self) {
        self.with(|broker, _| broker.clear_faults());
    }

    /// How often an API was called.
    pub fn requests(&self, api: ApiKey) -> u64 {
        self.with(|broker, _| broker.requests().get(&(api as i16)).copied().unwrap_or(0))
    }
}

/// A listener on the loopback; its connections inherit the buffers.
fn bind(port: u16, buffer_bytes: Option<u32>) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(LISTEN_BACKLOG)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.close_connections(None);
    }
}
