//! DescribeConfigs, versions 1-4: topics and groups from any broker, a broker's own from itself.

use std::collections::BTreeMap;

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;

use kafka_protocol::protocol::StrBytes;

use super::Client;
use super::convert::text;
use super::routing::{Outcome, Outcomes, each_of, outcome};
use crate::error::ClientError;
use crate::net::Connection;

/// Topics have some forty settings each, so an answer about many grows large.
const RESOURCES_PER_REQUEST: usize = 250;

/// Something that has settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic.
    Topic(String),
    /// A broker.
    Broker(i32),
    /// A consumer group (Kafka 4).
    Group(String),
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its value; `None` if it is a secret, or not set at all.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it is a secret.
    pub is_sensitive: bool,
    /// Whether it can only be changed in the broker's file.
    pub is_read_only: bool,
}

/// Where the value of a setting comes from (Kafka's `ConfigSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    DynamicTopic,
    /// Set on the one broker while it runs.
    DynamicBroker,
    /// Set on all brokers while they run.
    DynamicDefaultBroker,
    /// Set in the broker's file.
    StaticBroker,
    /// Kafka's default.
    Default,
    /// The level of a logger.
    DynamicBrokerLogger,
    /// Set for client metrics.
    ClientMetrics,
    /// Set on the group.
    Group,
    /// Something newer than this client.
    Unknown,
}

impl ConfigSource {
    fn from_wire(number: i8) -> Self {
        match number {
            1 => Self::DynamicTopic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            6 => Self::DynamicBrokerLogger,
            7 => Self::ClientMetrics,
            8 => Self::Group,
            _ => Self::Unknown,
        }
    }
}

impl ConfigResource {
    pub(super) fn to_wire(&self) -> (i8, String) {
        match self {
            Self::Topic(name) => (2, name.clone()),
            Self::Broker(node) => (4, node.to_string()),
            Self::Group(id) => (32, id.clone()),
        }
    }

    pub(super) fn from_wire(kind: i8, name: &str) -> Option<Self> {
        match kind {
            2 => Some(Self::Topic(name.to_owned())),
            4 => name.parse().ok().map(Self::Broker),
            32 => Some(Self::Group(name.to_owned())),
            _ => None,
        }
    }
}

impl Client {
    /// The settings of each resource by name; all of them, or those in `keys`.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
        keys: Option<&[&str]>,
    ) -> BTreeMap<ConfigResource, Result<BTreeMap<String, ConfigEntry>, ClientError>> {
        let keys: Option<Vec<StrBytes>> =
            keys.map(|keys| keys.iter().map(|key| text(key)).collect());
        let mut attempts = self.attempts(resources.to_vec());
        while let Some(pending) = attempts.next().await {
            let mut outcomes = Outcomes::new();
            for (owner, share) in by_owner(&pending) {
                let described = self.describe_configs_once(owner, &share, keys.as_deref()).await;
                outcomes.extend(each_of(&share, described));
            }
            attempts.settle(pending, Ok(outcomes));
        }
        attempts.finish()
    }

    /// The shared connection to whom the settings of an `owner` are asked from.
    pub(super) async fn config_owner(&self, owner: Option<i32>) -> Outcome<Connection> {
        match owner {
            Some(node) => self.node(node).await,
            None => self.any().await,
        }
    }

    async fn describe_configs_once(
        &self,
        owner: Option<i32>,
        resources: &[ConfigResource],
        keys: Option<&[StrBytes]>,
    ) -> Outcome<Outcomes<ConfigResource, BTreeMap<String, ConfigEntry>>> {
        let connection = self.config_owner(owner).await?;
        let mut outcomes = Outcomes::new();
        for chunk in resources.chunks(RESOURCES_PER_REQUEST) {
            outcomes.extend(describe(&connection, chunk, keys).await?);
        }
        Ok(outcomes)
    }
}

/// Each broker is asked about itself, and any broker (`None`) about everything else.
pub(super) fn by_owner(resources: &[ConfigResource]) -> BTreeMap<Option<i32>, Vec<ConfigResource>> {
    let mut shares: BTreeMap<Option<i32>, Vec<ConfigResource>> = BTreeMap::new();
    for resource in resources {
        let owner = match resource {
            ConfigResource::Broker(node) => Some(*node),
            ConfigResource::Topic(_) | ConfigResource::Group(_) => None,
        };
        shares.entry(owner).or_default().push(resource.clone());
    }
    shares
}

async fn describe(
    connection: &Connection,
    resources: &[ConfigResource],
    keys: Option<&[StrBytes]>,
) -> Outcome<Outcomes<ConfigResource, BTreeMap<String, ConfigEntry>>> {
    let wanted = resources.iter().map(|resource| {
        let (kind, name) = resource.to_wire();
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(&name))
            .with_configuration_keys(keys.map(<[StrBytes]>::to_vec))
    });
    let request = DescribeConfigsRequest::default().with_resources(wanted.collect());
    let answer = connection.call(request).await?;
    let described = answer.results.iter().filter_map(|result| {
        let resource = ConfigResource::from_wire(result.resource_type, &result.resource_name)?;
        let entries = result.configs.iter().map(entry).collect();
        let message = result.error_message.as_deref();
        let code = result.error_code;
        Some((resource, outcome::<DescribeConfigsRequest, _>(connection, code, message, entries)))
    });
    Ok(described.collect())
}

fn entry(config: &DescribeConfigsResourceResult) -> (String, ConfigEntry) {
    let entry = ConfigEntry {
        value: config.value.as_ref().map(ToString::to_string),
        source: ConfigSource::from_wire(config.config_source),
        is_sensitive: config.is_sensitive,
        is_read_only: config.read_only,
    };
    (config.name.to_string(), entry)
}
