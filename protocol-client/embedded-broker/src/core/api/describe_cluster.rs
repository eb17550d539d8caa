//! DescribeCluster (60), versions 0-2: the nodes that run.
//!
//! Left out: authorized operations, controllers as endpoints.

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse, ResponseKind,
};

use super::super::{Broker, Call, Outcome};
use super::{code, text};

pub(in crate::core) fn handle(
    broker: &Broker,
    call: &Call,
    _request: &DescribeClusterRequest,
) -> Outcome {
    let nodes = broker.nodes.iter().filter(|(_, node)| node.alive).map(|(&id, node)| {
        DescribeClusterBroker::default()
            .with_broker_id(BrokerId(id))
            .with_host(text(&node.host))
            .with_port(i32::from(node.port))
    });
    let response = DescribeClusterResponse::default()
        .with_error_code(code(call.injected_any()))
        .with_cluster_id(text(&broker.cluster_id))
        .with_controller_id(BrokerId(broker.controller()))
        .with_brokers(nodes.collect());
    Outcome::message(ResponseKind::DescribeCluster(response))
}
