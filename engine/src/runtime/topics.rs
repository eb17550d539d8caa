//! One round of discovery on real clusters: look at both sides, plan, create what is missing, look again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol_client::ClientError;
use protocol_client::client::{
    Client, ConfigEntry, ConfigResource, ConfigSource as EntrySource, NewTopic,
};
use protocol_client::cluster::ClusterView;
use protocol_client::cluster::metadata::Topics as Asked;
use protocol_client::wire::error_code::ErrorCode;
use thiserror::Error;
use tracing::{info, warn};

use super::attempts::{LOOKS, look_pause};
use super::clusters::FlowClients;
use super::placement::Placement;
use crate::config::FlowConfig;
use crate::discovery::plan::{
    self, Changes, ConfigSource, ConfigView, Growth, Pair, TopicView, Topics,
};
use crate::flow::event::{PartitionSpec, Start};
use crate::flow::settings::TargetLimits;
use crate::index::OffsetIndex;
use crate::model::{self, Side, TopicIds, TopicPartition};
use crate::policy::java_regex::RegexError;

/// Why a round of discovery failed.
#[derive(Debug, Error)]
pub(super) enum DiscoverError {
    /// A cluster did not do what was asked.
    #[error("{error}")]
    Cluster { side: Side, error: ClientError },
    /// A topic name cannot be judged.
    #[error(transparent)]
    Pattern(#[from] RegexError),
}

impl DiscoverError {
    /// Whether trying again is useless until somebody acts.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Cluster { error, .. } => !error.retryable(),
            Self::Pattern(_) => true,
        }
    }

    /// The alias of the cluster concerned.
    pub(super) fn cluster<'a>(&self, config: &'a FlowConfig) -> &'a str {
        match self {
            Self::Cluster { side: Side::Target, .. } => &config.target.alias,
            _ => &config.source.alias,
        }
    }

    /// An error of one side.
    pub(super) fn at(side: Side) -> impl Fn(ClientError) -> Self {
        move |error| Self::Cluster { side, error }
    }
}

/// What a round found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) source_view: Arc<ClusterView>,
    pub(super) topics: Vec<FoundTopic>,
    /// Topics that have more partitions at the target: name there, partitions there, at the source.
    pub(super) wider: Vec<Growth>,
}

/// A topic that is there on both sides.
#[derive(Debug)]
pub(super) struct FoundTopic {
    pub(super) source: Arc<str>,
    pub(super) partitions: i32,
    pub(super) target: Arc<str>,
    pub(super) ids: TopicIds,
    limits: TargetLimits,
}

impl FoundTopic {
    /// One of its partitions, as if it had never been copied.
    pub(super) fn spec(&self, index: i32) -> PartitionSpec {
        let at =
            |topic: &Arc<str>, topic_id| TopicPartition { topic: topic.clone(), topic_id, index };
        PartitionSpec {
            source: at(&self.source, self.ids.source),
            target: at(&self.target, self.ids.target),
            start: Start::Pair(model::Pair::NOWHERE),
            is_marked: false,
            limits: self.limits,
            index: OffsetIndex::default(),
        }
    }
}

/// Looks at both clusters and creates what the target lacks; what it has created goes into `created`, even if the round
/// fails later on.
pub(super) async fn discover(
    flow: &str,
    clients: &FlowClients,
    config: &FlowConfig,
    placement: &Placement,
    created: &mut BTreeSet<Arc<str>>,
) -> Result<Found, DiscoverError> {
    let (source_view, mut target_view) =
        tokio::try_join!(look(&clients.source, Side::Source), look(&clients.target, Side::Target))?;
    let mut source = topics_of(&source_view);
    let first = plan::plan(config, &source, &topics_of(&target_view))?;
    describe_created(clients, config, &first, &mut source).await?;
    let mut changes = plan::plan(config, &source, &topics_of(&target_view))?;
    if !changes.create.is_empty() || !changes.grow.is_empty() {
        let expected = apply(flow, &clients.target, &changes, created).await;
        for looks in 0..LOOKS {
            target_view = look(&clients.target, Side::Target).await?;
            changes = plan::plan(config, &source, &topics_of(&target_view))?;
            let mut missing = changes.create.iter().map(|topic| &topic.name);
            let mut short = changes.grow.iter().map(|topic| &topic.name);
            if !missing.any(|name| expected.contains(&**name))
                && !short.any(|name| expected.contains(&**name))
            {
                break;
            }
            tokio::time::sleep(look_pause(looks)).await;
        }
    }
    let is_new = |pair: &&Pair| {
        let ids = TopicIds { source: pair.source_id, target: pair.target_id };
        placement.lacks(&pair.source, pair.partitions, ids)
    };
    let new: Vec<&str> = changes.pairs.iter().filter(is_new).map(|pair| &*pair.target).collect();
    let limits = target_limits(flow, &clients.target, &new).await;
    let topics = changes.pairs.into_iter().map(|pair| FoundTopic {
        limits: limits.get(&pair.target).copied().unwrap_or_default(),
        source: pair.source.into(),
        partitions: pair.partitions,
        target: pair.target.into(),
        ids: TopicIds { source: pair.source_id, target: pair.target_id },
    });
    Ok(Found { topics: topics.collect(), wider: changes.wider, source_view })
}

pub(super) async fn look(client: &Client, side: Side) -> Result<Arc<ClusterView>, DiscoverError> {
    client.refresh(Asked::All, client.view().generation).await.map_err(DiscoverError::at(side))
}

pub(super) fn topics_of(view: &ClusterView) -> Topics {
    let there =
        view.topics.values().filter(|topic| topic.error == ErrorCode::NONE && !topic.internal);
    let named = there.map(|topic| {
        let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        (topic.name.to_string(), TopicView { id: topic.id, partitions, configs: Vec::new() })
    });
    named.collect()
}

/// Asks for the configs of the source topics that have to be created.
async fn describe_created(
    clients: &FlowClients,
    config: &FlowConfig,
    changes: &Changes,
    source: &mut Topics,
) -> Result<(), DiscoverError> {
    let created: Vec<&str> = changes.create.iter().map(|topic| topic.name.as_str()).collect();
    let selected = plan::selected(config, source.keys().map(String::as_str))?;
    let names: Vec<String> = selected
        .into_iter()
        .filter(|(_, remote)| created.contains(&remote.as_str()))
        .map(|(name, _)| name.to_owned())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let resources: Vec<ConfigResource> =
        names.iter().map(|name| ConfigResource::Topic(name.clone())).collect();
    for (resource, described) in clients.source.describe_configs(&resources, None).await {
        let described = described.map_err(DiscoverError::at(Side::Source))?;
        if let ConfigResource::Topic(name) = resource
            && let Some(topic) = source.get_mut(&name)
        {
            topic.configs =
                described.into_iter().map(|(name, entry)| config_view(name, entry)).collect();
        }
    }
    Ok(())
}

pub(super) fn config_view(name: String, entry: ConfigEntry) -> ConfigView {
    ConfigView {
        name,
        value: entry.value,
        source: match entry.source {
            EntrySource::DynamicTopic => ConfigSource::Topic,
            EntrySource::DynamicBroker | EntrySource::DynamicDefaultBroker => {
                ConfigSource::DynamicBroker
            }
            EntrySource::StaticBroker => ConfigSource::StaticBroker,
            EntrySource::Default => ConfigSource::Default,
            _ => ConfigSource::Other,
        },
        read_only: entry.is_read_only,
        sensitive: entry.is_sensitive,
    }
}

/// Carries out a plan; what fails is told, the rest goes on. Answers the topics that will show the change.
async fn apply(
    flow: &str,
    target: &Client,
    changes: &Changes,
    new: &mut BTreeSet<Arc<str>>,
) -> BTreeSet<Arc<str>> {
    let mut expected = BTreeSet::new();
    let create: Vec<NewTopic> = changes
        .create
        .iter()
        .map(|topic| NewTopic {
            name: topic.name.as_str().into(),
            partitions: Some(topic.partitions),
            replication_factor: Some(topic.replication_factor).filter(|factor| *factor > 0),
            configs: topic.configs.clone(),
        })
        .collect();
    for (topic, created) in target.create_topics(&create, false).await {
        match created {
            Ok(_) => {
                info!(flow, %topic, "created on the target");
                new.insert(topic.clone());
            }
            Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {}
            Err(error) => {
                warn!(flow, %topic, "could not be created on the target: {error}; tried again at the next refresh");
                continue;
            }
        }
        expected.insert(topic);
    }
    let grow: BTreeMap<Arc<str>, i32> =
        changes.grow.iter().map(|topic| (topic.name.as_str().into(), topic.to)).collect();
    for (topic, grown) in target.create_partitions(&grow).await {
        match grown {
            Ok(()) => {
                info!(flow, %topic, "has got more partitions on the target");
                expected.insert(topic);
            }
            Err(error) => {
                warn!(flow, %topic, "could not get more partitions on the target: {error}; tried again at the next refresh");
            }
        }
    }
    expected
}

/// What the target topics demand of batches; Kafka's defaults where that is not told.
async fn target_limits(
    flow: &str,
    target: &Client,
    topics: &[&str],
) -> BTreeMap<String, TargetLimits> {
    let resources: Vec<ConfigResource> =
        topics.iter().map(|topic| ConfigResource::Topic((*topic).to_owned())).collect();
    let keys = ["max.message.bytes", "message.timestamp.type"];
    let mut limits = BTreeMap::new();
    for (resource, described) in target.describe_configs(&resources, Some(&keys)).await {
        let ConfigResource::Topic(topic) = resource else { continue };
        let described = match described {
            Ok(described) => described,
            Err(error) => {
                warn!(flow, %topic, "the target topic's limits are not told: {error}; Kafka's defaults are assumed");
                continue;
            }
        };
        let value = |key: &str| described.get(key).and_then(|entry| entry.value.as_deref());
        let defaults = TargetLimits::default();
        let max_message_bytes = value("max.message.bytes").and_then(|bytes| bytes.parse().ok());
        limits.insert(
            topic,
            TargetLimits {
                max_message_bytes: max_message_bytes.unwrap_or(defaults.max_message_bytes),
                log_append_time: value("message.timestamp.type") == Some("LogAppendTime"),
            },
        );
    }
    limits
}
