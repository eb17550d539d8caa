//! CreatePartitions, versions 0-3, to the controller. Brokers choose the replicas.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::CreatePartitionsRequest;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;

use super::Client;
use super::convert::topic_name;
use super::routing::{Outcome, Outcomes, outcome};
use crate::error::ClientError;

impl Client {
    /// Raises the number of partitions of each topic to the given total.
    pub async fn create_partitions(
        &self,
        totals: &BTreeMap<Arc<str>, i32>,
    ) -> BTreeMap<Arc<str>, Result<(), ClientError>> {
        let mut attempts = self.attempts(totals.keys().cloned().collect());
        while let Some(pending) = attempts.next().await {
            let topics = pending.iter().map(|name| {
                CreatePartitionsTopic::default()
                    .with_name(topic_name(name))
                    .with_count(totals[name])
                    .with_assignments(None)
            });
            let created = self.create_partitions_once(topics.collect()).await;
            attempts.settle(pending, created);
        }
        attempts.finish()
    }

    async fn create_partitions_once(
        &self,
        topics: Vec<CreatePartitionsTopic>,
    ) -> Outcome<Outcomes<Arc<str>, ()>> {
        let connection = self.controller().await?;
        let request = CreatePartitionsRequest::default()
            .with_topics(topics)
            .with_timeout_ms(self.timeout_ms());
        let version = connection.version::<CreatePartitionsRequest>()?;
        let answer = connection.call_for(request, version, self.patience()).await?;
        let results = answer.results.iter().map(|topic| {
            let (code, message) = (topic.error_code, topic.error_message.as_deref());
            let result = outcome::<CreatePartitionsRequest, _>(&connection, code, message, ());
            (Arc::from(topic.name.as_str()), result)
        });
        Ok(results.collect())
    }
}
