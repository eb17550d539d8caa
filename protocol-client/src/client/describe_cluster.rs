//! DescribeCluster, versions 0-2 (KIP-700, brokers from 2.8 on), from any broker.

use std::collections::BTreeMap;

use kafka_protocol::messages::DescribeClusterRequest;

use super::Client;
use super::routing::{Outcome, accepted};
use crate::address::BrokerAddress;
use crate::cluster::Node;
use crate::error::ClientError;

/// A cluster as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub cluster_id: String,
    /// Where administrative requests go.
    pub controller: Option<i32>,
    /// Its live brokers.
    pub nodes: BTreeMap<i32, Node>,
}

impl Client {
    /// Asks the cluster who it is.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        let mut attempts = self.attempts(vec![()]);
        while attempts.next().await.is_some() {
            attempts.settle_one(self.describe_cluster_once().await);
        }
        attempts.finish_one()
    }

    async fn describe_cluster_once(&self) -> Outcome<ClusterDescription> {
        let connection = self.any().await?;
        let answer = connection.call(DescribeClusterRequest::default()).await?;
        let message = answer.error_message.as_deref();
        accepted::<DescribeClusterRequest>(&connection, answer.error_code, message)?;
        let nodes = answer.brokers.iter().filter_map(|broker| {
            let port = u16::try_from(broker.port).ok()?;
            let address = BrokerAddress { host: broker.host.to_string(), port };
            let rack = broker.rack.as_ref().map(ToString::to_string);
            Some((broker.broker_id.0, Node { id: broker.broker_id.0, address, rack }))
        });
        Ok(ClusterDescription {
            cluster_id: answer.cluster_id.to_string(),
            controller: Some(answer.controller_id.0).filter(|id| *id >= 0),
            nodes: nodes.collect(),
        })
    }
}
