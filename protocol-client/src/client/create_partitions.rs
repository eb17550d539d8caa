//! CreatePartitions, versions 0-3, to the controller. Brokers choose the replicas.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::CreatePartitionsRequest;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;

use super::Client;
use super::convert::topic_name;
use super::routing::outcome;
use crate::error::ClientError;

impl Client {
    /// Raises the number of partitions of each topic to the given total.
    pub async fn create_partitions(
        &self,
        totals: &BTreeMap<Arc<str>, i32>,
    ) -> BTreeMap<Arc<str>, Result<(), ClientError>> {
        let names = totals.keys().cloned().collect();
        self.ask_controller(names, async |connection, pending: &[Arc<str>]| {
            let topics = pending.iter().map(|name| {
                CreatePartitionsTopic::default()
                    .with_name(topic_name(name))
                    .with_count(totals[name])
                    .with_assignments(None)
            });
            let request = CreatePartitionsRequest::default()
                .with_topics(topics.collect())
                .with_timeout_ms(self.timeout_ms());
            let version = connection.version::<CreatePartitionsRequest>()?;
            let answer = connection.call_for(request, version, self.patience()).await?;
            let results = answer.results.iter().map(|topic| {
                let message = topic.error_message.as_deref();
                let result = outcome::<CreatePartitionsRequest, _>(
                    connection,
                    topic.error_code,
                    message,
                    (),
                );
                (Arc::from(topic.name.as_str()), result)
            });
            Ok(results.collect())
        })
        .await
    }
}
