//! DeleteRecords, versions 0-2, to the leaders.

use std::collections::BTreeMap;

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};

use super::Client;
use super::convert::{by_topic, topic_name};
use super::routing::{Outcome, Outcomes, outcome};
use crate::cluster::TopicPartition;
use crate::error::ClientError;
use crate::net::Connection;

impl Client {
    /// Deletes everything below the given offset (-1: everything) and returns the new first offset.
    pub async fn delete_records(
        &self,
        below: BTreeMap<TopicPartition, i64>,
    ) -> BTreeMap<TopicPartition, Result<i64, ClientError>> {
        self.ask_leaders(below, ask).await
    }
}

async fn ask(
    connection: Connection,
    share: Vec<(TopicPartition, i64)>,
) -> Outcome<Outcomes<TopicPartition, i64>> {
    let topics = by_topic(share).into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, offset)| {
            DeleteRecordsPartition::default().with_partition_index(index).with_offset(offset)
        });
        DeleteRecordsTopic::default()
            .with_name(topic_name(&name))
            .with_partitions(partitions.collect())
    });
    let request = DeleteRecordsRequest::default()
        .with_topics(topics.collect())
        .with_timeout_ms(connection.request_timeout_ms());
    let answer = connection.call(request).await?;
    let mut outcomes = Outcomes::new();
    for topic in &answer.topics {
        for one in &topic.partitions {
            let place = TopicPartition::new(topic.name.as_str(), one.partition_index);
            let (code, first) = (one.error_code, one.low_watermark);
            let result = outcome::<DeleteRecordsRequest, _>(&connection, code, None, first);
            outcomes.insert(place, result);
        }
    }
    Ok(outcomes)
}
