//! DeleteTopics by name, versions 1-6, to the controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;

use super::Client;
use super::convert::topic_name;
use super::routing::{Outcome, Outcomes, outcome};
use crate::error::ClientError;

impl Client {
    /// Deletes topics with all their records.
    pub async fn delete_topics(
        &self,
        names: &[Arc<str>],
    ) -> BTreeMap<Arc<str>, Result<(), ClientError>> {
        let mut attempts = self.attempts(names.to_vec());
        while let Some(pending) = attempts.next().await {
            let deleted = self.delete_topics_once(&pending).await;
            attempts.settle(pending, deleted);
        }
        attempts.finish()
    }

    async fn delete_topics_once(&self, names: &[Arc<str>]) -> Outcome<Outcomes<Arc<str>, ()>> {
        let connection = self.controller().await?;
        let version = connection.version::<DeleteTopicsRequest>()?;
        let names = names.iter().map(|name| topic_name(name));
        let request = DeleteTopicsRequest::default().with_timeout_ms(self.timeout_ms());
        let request = if version >= 6 {
            let states = names.map(|name| DeleteTopicState::default().with_name(Some(name)));
            request.with_topics(states.collect())
        } else {
            request.with_topic_names(names.collect())
        };
        let answer = connection.call_for(request, version, self.patience()).await?;
        let results = answer.responses.iter().filter_map(|topic| {
            let (code, message) = (topic.error_code, topic.error_message.as_deref());
            let result = outcome::<DeleteTopicsRequest, _>(&connection, code, message, ());
            Some((Arc::from(topic.name.as_ref()?.as_str()), result))
        });
        Ok(results.collect())
    }
}
