//! DescribeProducers, version 0 (KIP-664, brokers from 2.8 on), to the leaders.

use std::collections::BTreeMap;

use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_request::TopicRequest;

use super::Client;
use super::convert::{by_topic, topic_name};
use super::routing::{Outcome, Outcomes, outcome};
use crate::cluster::TopicPartition;
use crate::error::ClientError;
use crate::net::Connection;

/// A producer that a partition's leader remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i32,
    /// The sequence number of its last record, -1 for none.
    pub last_sequence: i32,
    /// The time of its last write in milliseconds.
    pub last_timestamp_ms: i64,
    /// Where its open transaction begins, if it has one.
    pub transaction_start_offset: Option<i64>,
}

impl Client {
    /// The producers that wrote to each partition lately.
    pub async fn describe_producers(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> BTreeMap<TopicPartition, Result<Vec<ActiveProducer>, ClientError>> {
        let questions = partitions.into_iter().map(|partition| (partition, ())).collect();
        self.ask_leaders(questions, ask).await
    }
}

async fn ask(
    connection: Connection,
    share: Vec<(TopicPartition, ())>,
) -> Outcome<Outcomes<TopicPartition, Vec<ActiveProducer>>> {
    let topics = by_topic(share).into_iter().map(|(name, partitions)| {
        let indexes = partitions.into_iter().map(|(index, ())| index);
        TopicRequest::default()
            .with_name(topic_name(&name))
            .with_partition_indexes(indexes.collect())
    });
    let request = DescribeProducersRequest::default().with_topics(topics.collect());
    let answer = connection.call(request).await?;
    let mut outcomes = Outcomes::new();
    for topic in &answer.topics {
        for one in &topic.partitions {
            let producers = one.active_producers.iter().map(|producer| ActiveProducer {
                producer_id: producer.producer_id.0,
                epoch: producer.producer_epoch,
                last_sequence: producer.last_sequence,
                last_timestamp_ms: producer.last_timestamp,
                transaction_start_offset: Some(producer.current_txn_start_offset)
                    .filter(|offset| *offset >= 0),
            });
            let producers = producers.collect();
            let place = TopicPartition::new(topic.name.as_str(), one.partition_index);
            let message = one.error_message.as_deref();
            let code = one.error_code;
            let result =
                outcome::<DescribeProducersRequest, _>(&connection, code, message, producers);
            outcomes.insert(place, result);
        }
    }
    Ok(outcomes)
}
