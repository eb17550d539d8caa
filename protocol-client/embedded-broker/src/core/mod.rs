//! The cluster without sockets and without a clock: `Broker` holds all nodes, topics, groups and transactions,
//! takes one typed request at a time and says what to do with the connection.
//!
//! Kinds of methods:
//! - the connections' side: [`Broker::handle`], then, after [`Outcome::Park`], [`Broker::resume`] when the
//!   connection is among [`Broker::take_woken`] or its time has come; [`Broker::disconnected`] at its end;
//! - time's side: [`Broker::tick`] every now and then (timeouts of groups and transactions);
//! - the operator's side (`operate`): what a test or a demo does to the cluster.

pub mod batch;
pub mod configs;
pub mod faults;
pub mod groups;
pub mod log;
pub mod null_log;
pub mod producers;
pub mod records;
pub mod sessions;
pub mod topics;
pub mod transactions;
pub mod versions;

mod api;
mod call;
mod compact;
mod coordinate;
mod ids;
mod operate;
#[cfg(test)]
mod testing;

pub use call::{
    Call, FetchPartitionReply, FetchReply, FetchTopicReply, LeaderHint, Outcome, Response,
};

pub use operate::{Refused, TopicSpec};

pub(crate) use api::api_versions::unsupported as unsupported_api_versions;

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::{GroupId, RequestKind, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;

use self::api::fetch::FetchPlan;
use self::faults::{FaultAction, Faults, Injected};
use self::groups::Group;
use self::ids::Ids;
use self::sessions::Sessions;
use self::topics::{Partition, Topics};
use self::transactions::Transaction;
use crate::options::BrokerOptions;

/// Number of a node: 0, 1, ...
pub type NodeId = i32;
/// Number that the shell gives a connection, never used twice.
pub type ConnectionId = u64;

/// A node of the cluster.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where clients find it.
    pub host: String,
    /// Where clients find it.
    pub port: u16,
    /// Whether it runs.
    pub alive: bool,
    /// Its fetch sessions.
    pub(crate) sessions: Sessions,
}

/// A request that waits.
#[derive(Debug)]
enum Parked {
    /// Held back by a fault; handled when its time has come.
    Delayed { call: Call, request: Box<RequestKind>, until_ms: i64 },
    /// A fetch that has too little to answer with.
    Fetch { call: Call, plan: FetchPlan, until_ms: i64 },
    /// A member that waits for the end of a rebalance.
    Join { call: Call, group: GroupId, member_id: StrBytes },
    /// A member that waits for its assignment.
    Sync { group: GroupId, member_id: StrBytes, until_ms: i64 },
}

/// The whole cluster.
#[derive(Debug)]
pub struct Broker {
    options: BrokerOptions,
    defaults: BTreeMap<String, String>,
    nodes: BTreeMap<NodeId, Node>,
    topics: Topics,
    groups: BTreeMap<GroupId, Group>,
    transactions: BTreeMap<TransactionalId, Transaction>,
    markers: transactions::Markers,
    dynamic_configs: BTreeMap<String, String>,
    faults: Faults,
    ids: Ids,
    cluster_id: String,
    next_producer_id: i64,
    used_bytes: u64,
    dropped_bytes: u64,
    requests: BTreeMap<i16, u64>,
    parked: BTreeMap<ConnectionId, Parked>,
    woken: BTreeSet<ConnectionId>,
}

impl Broker {
    /// A cluster of `options.nodes` nodes that listen nowhere yet.
    pub fn new(options: BrokerOptions) -> Self {
        let mut ids = Ids::new(options.seed);
        let cluster_id = format!("embedded-{:016x}", ids.next_u64());
        let node = || Node {
            host: "127.0.0.1".to_owned(),
            port: 0,
            alive: true,
            sessions: Sessions::new(options.session_slots),
        };
        let count = NodeId::try_from(options.nodes.max(1)).unwrap_or(NodeId::MAX);
        Self {
            defaults: options.default_configs.iter().cloned().collect(),
            nodes: (0..count).map(|id| (id, node())).collect(),
            topics: Topics::default(),
            groups: BTreeMap::new(),
            transactions: BTreeMap::new(),
            markers: transactions::Markers::default(),
            dynamic_configs: BTreeMap::new(),
            faults: Faults::default(),
            ids,
            cluster_id,
            next_producer_id: 1000,
            used_bytes: 0,
            dropped_bytes: 0,
            requests: BTreeMap::new(),
            parked: BTreeMap::new(),
            woken: BTreeSet::new(),
            options,
        }
    }

    /// Handles a request that came on a connection which has no other under way.
    pub fn handle(&mut self, now_ms: i64, mut call: Call, request: RequestKind) -> Outcome {
        *self.requests.entry(call.api as i16).or_default() += 1;
        let touched = || self.touched(&call, &request);
        let fault = self.faults.matching(call.api, call.node, touched);
        let Some(fault) = fault.and_then(|at| self.faults.take(at)) else {
            return self.dispatch(now_ms, call, request);
        };
        match fault.action {
            FaultAction::Error(error) => {
                call.injected = Some(Injected::new(error, &fault));
                self.dispatch(now_ms, call, request)
            }
            FaultAction::Delay { ms } => {
                let until_ms = now_ms + ms;
                let connection = call.connection;
                let parked = Parked::Delayed { call, request: Box::new(request), until_ms };
                self.parked.insert(connection, parked);
                Outcome::Park { until_ms }
            }
            FaultAction::Drop => Outcome::Close,
            FaultAction::Silence => Outcome::Silent,
            FaultAction::CutMidFrame => {
                call.never_wait = true;
                match self.dispatch(now_ms, call, request) {
                    Outcome::Reply(response) => Outcome::CutMidFrame(response),
                    other => other,
                }
            }
            FaultAction::ApplyThenDrop => {
                call.never_wait = true;
                self.dispatch(now_ms, call, request);
                Outcome::Close
            }
        }
    }

    /// Goes on with a parked request: call it when the connection was woken or its time has come.
    pub fn resume(&mut self, now_ms: i64, connection: ConnectionId) -> Outcome {
        match self.parked.remove(&connection) {
            None => Outcome::Close,
            Some(Parked::Delayed { until_ms, call, request }) if now_ms < until_ms => {
                self.parked.insert(connection, Parked::Delayed { until_ms, call, request });
                Outcome::Park { until_ms }
            }
            Some(Parked::Delayed { call, request, .. }) => self.dispatch(now_ms, call, *request),
            Some(Parked::Fetch { call, plan, until_ms }) => {
                api::fetch::evaluate(self, now_ms, call, plan, until_ms)
            }
            Some(Parked::Join { call, group, member_id }) => {
                api::join_group::resume(self, now_ms, call, group, member_id)
            }
            Some(Parked::Sync { group, member_id, until_ms }) => {
                let assigning = self.groups.get(&group).is_some_and(Group::is_assigning);
                if assigning && now_ms < until_ms {
                    self.parked.insert(connection, Parked::Sync { group, member_id, until_ms });
                    return Outcome::Park { until_ms };
                }
                api::sync_group::answer(self, &group, &member_id)
            }
        }
    }

    /// Forgets what a connection waited for.
    pub fn disconnected(&mut self, connection: ConnectionId) {
        self.parked.remove(&connection);
        self.woken.remove(&connection);
    }

    /// The connections whose parked request can go on now.
    pub fn take_woken(&mut self) -> BTreeSet<ConnectionId> {
        std::mem::take(&mut self.woken)
    }

    fn dispatch(&mut self, now_ms: i64, call: Call, request: RequestKind) -> Outcome {
        use RequestKind as R;
        use api::{alter_configs, txn};
        match request {
            R::ApiVersions(r) => api::api_versions::handle(self, &call, &r),
            R::Metadata(r) => api::metadata::handle(self, &call, r),
            R::Produce(r) => api::produce::handle(self, now_ms, &call, r),
            R::Fetch(r) => api::fetch::handle(self, now_ms, call, r),
            R::ListOffsets(r) => api::list_offsets::handle(self, &call, r),
            R::OffsetForLeaderEpoch(r) => api::offset_for_leader_epoch::handle(self, &call, r),
            R::CreateTopics(r) => api::create_topics::handle(self, &call, r),
            R::DeleteTopics(r) => api::delete_topics::handle(self, &call, r),
            R::CreatePartitions(r) => api::create_partitions::handle(self, &call, r),
            R::DeleteRecords(r) => api::delete_records::handle(self, &call, r),
            R::DescribeConfigs(r) => api::describe_configs::handle(self, &call, r),
            R::AlterConfigs(r) => alter_configs::replace(self, &call, r),
            R::IncrementalAlterConfigs(r) => alter_configs::incremental(self, &call, r),
            R::DescribeCluster(r) => api::describe_cluster::handle(self, &call, &r),
            R::DescribeTopicPartitions(r) => api::describe_topic_partitions::handle(self, &call, r),
            R::DescribeProducers(r) => api::describe_producers::handle(self, &call, r),
            R::DescribeAcls(_) => api::describe_acls::handle(&call),
            R::FindCoordinator(r) => api::find_coordinator::handle(self, &call, r),
            R::JoinGroup(r) => api::join_group::handle(self, now_ms, call, r),
            R::SyncGroup(r) => api::sync_group::handle(self, now_ms, call, r),
            R::Heartbeat(r) => api::heartbeat::handle(self, now_ms, &call, r),
            R::LeaveGroup(r) => api::leave_group::handle(self, now_ms, &call, r),
            R::OffsetCommit(r) => api::offset_commit::handle(self, now_ms, &call, r),
            R::OffsetFetch(r) => api::offset_fetch::handle(self, &call, r),
            R::OffsetDelete(r) => api::offset_delete::handle(self, &call, r),
            R::ListGroups(r) => api::list_groups::handle(self, &call, r),
            R::DescribeGroups(r) => api::describe_groups::handle(self, &call, r),
            R::DeleteGroups(r) => api::delete_groups::handle(self, &call, r),
            R::InitProducerId(r) => api::init_producer_id::handle(self, now_ms, &call, &r),
            R::AddPartitionsToTxn(r) => txn::add_partitions(self, now_ms, &call, r),
            R::AddOffsetsToTxn(r) => txn::add_offsets(self, now_ms, &call, r),
            R::TxnOffsetCommit(r) => txn::commit_offsets(self, now_ms, &call, r),
            R::EndTxn(r) => txn::end(self, now_ms, &call, r),
            _ => Outcome::Close,
        }
    }

    /// Topics and partitions that a request names, for faults that are meant for some of them.
    fn touched(&self, call: &Call, request: &RequestKind) -> Vec<(TopicName, i32)> {
        match request {
            RequestKind::Produce(request) => api::produce::touched(self, request),
            RequestKind::Fetch(request) => api::fetch::touched(self, call, request),
            RequestKind::ListOffsets(request) => api::list_offsets::touched(request),
            _ => Vec::new(),
        }
    }

    /// The partition, if this node leads it.
    fn led(
        &mut self,
        call: &Call,
        topic: &TopicName,
        index: i32,
    ) -> Result<&mut Partition, KafkaError> {
        call.injected_for(topic, index)?;
        let found = self.topics.named_mut(topic).and_then(|topic| topic.partition_mut(index));
        let partition = found.ok_or(KafkaError::UnknownTopicOrPartition)?;
        match partition.leader {
            Some(leader) if leader == call.node => Ok(partition),
            Some(_) => Err(KafkaError::NotLeaderOrFollower),
            None => Err(KafkaError::LeaderNotAvailable),
        }
    }

    /// The in-sync replicas of a partition: those that run.
    fn in_sync(&self, partition: &Partition) -> Vec<NodeId> {
        let runs = |id: &&NodeId| self.nodes.get(id).is_some_and(|node| node.alive);
        partition.replicas.iter().filter(runs).copied().collect()
    }

    /// The node that admin requests go to: the first that runs.
    fn controller(&self) -> NodeId {
        self.nodes.iter().find(|(_, node)| node.alive).map_or(-1, |(&id, _)| id)
    }

    /// Before KRaft admin requests were taken by the controller only.
    fn check_controller(&self, call: &Call) -> Result<(), KafkaError> {
        call.injected_any()?;
        let zookeeper = self.options.profile == versions::Profile::V2_8;
        if zookeeper && call.node != self.controller() {
            return Err(KafkaError::NotController);
        }
        Ok(())
    }

    fn wake(&mut self, waiters: BTreeSet<ConnectionId>) {
        self.woken.extend(waiters);
    }

    /// How often each API was called, by its key.
    pub fn requests(&self) -> &BTreeMap<i16, u64> {
        &self.requests
    }

    /// The release that the cluster passes for.
    pub fn profile(&self) -> versions::Profile {
        self.options.profile
    }

    /// Whether a node runs.
    pub fn is_alive(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.alive)
    }
}
