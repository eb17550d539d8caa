//! CreateTopics, versions 2-7, to the controller. Configurations of the answer are not read.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use uuid::Uuid;

use super::Client;
use super::convert::{text, topic_name};
use super::routing::{Outcome, Outcomes, outcome};
use crate::error::ClientError;

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: Arc<str>,
    /// How many partitions; `None` for the broker's default.
    pub partitions: Option<i32>,
    /// How many replicas; `None` for the broker's default.
    pub replication_factor: Option<i16>,
    /// Settings that differ from the broker's.
    pub configs: BTreeMap<String, String>,
}

/// A topic that was created, or would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; nil where the broker does not tell.
    pub id: Uuid,
    /// Its partitions; `None` where the broker does not tell.
    pub partitions: Option<i32>,
    /// Its replicas; `None` where the broker does not tell.
    pub replication_factor: Option<i16>,
}

impl Client {
    /// Creates topics, or with `validate_only` checks whether they could be created. A topic that
    /// exists already fails with TOPIC_ALREADY_EXISTS, also if a lost first attempt made it.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> BTreeMap<Arc<str>, Result<CreatedTopic, ClientError>> {
        let by_name: BTreeMap<&Arc<str>, &NewTopic> =
            topics.iter().map(|topic| (&topic.name, topic)).collect();
        let mut attempts = self.attempts(by_name.keys().map(|name| Arc::clone(name)).collect());
        while let Some(pending) = attempts.next().await {
            let wanted = pending.iter().map(|name| creatable(by_name[name])).collect();
            let created = self.create_topics_once(wanted, validate_only).await;
            attempts.settle(pending, created);
        }
        attempts.finish()
    }

    async fn create_topics_once(
        &self,
        wanted: Vec<CreatableTopic>,
        validate_only: bool,
    ) -> Outcome<Outcomes<Arc<str>, CreatedTopic>> {
        let connection = self.controller_alone().await?;
        let request = CreateTopicsRequest::default()
            .with_topics(wanted)
            .with_timeout_ms(self.timeout_ms())
            .with_validate_only(validate_only);
        let version = connection.version::<CreateTopicsRequest>()?;
        let answer = connection.call_for(request, version, self.patience()).await?;
        let created = answer.topics.iter().map(|topic| {
            let created = CreatedTopic {
                id: topic.topic_id,
                partitions: Some(topic.num_partitions).filter(|count| *count >= 0),
                replication_factor: Some(topic.replication_factor).filter(|count| *count >= 0),
            };
            let (code, message) = (topic.error_code, topic.error_message.as_deref());
            let result = outcome::<CreateTopicsRequest, _>(&connection, code, message, created);
            (Arc::from(topic.name.as_str()), result)
        });
        Ok(created.collect())
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let configs = topic.configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    });
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(topic.partitions.unwrap_or(-1))
        .with_replication_factor(topic.replication_factor.unwrap_or(-1))
        .with_configs(configs.collect())
}
