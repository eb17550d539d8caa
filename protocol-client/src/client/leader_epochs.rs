//! OffsetForLeaderEpoch, versions 2-4 (KIP-320), to the leaders.

use std::collections::BTreeMap;

use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{BrokerId, OffsetForLeaderEpochRequest};

use super::Client;
use super::convert::{by_topic, topic_name};
use super::routing::{Outcome, Outcomes, outcome};
use crate::cluster::TopicPartition;
use crate::error::ClientError;
use crate::net::Connection;

/// What is asked about one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochQuestion {
    /// The leader epoch whose end is wanted.
    pub epoch: i32,
    /// The leader epoch the reader believes in; -1 switches the check off.
    pub current_leader_epoch: i32,
}

/// Where an epoch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch of the log that is not larger than the one asked for; -1 for none.
    pub epoch: i32,
    /// The offset behind its last record; -1 for none.
    pub end_offset: i64,
}

impl Client {
    /// Where the given epoch ends in each partition.
    pub async fn leader_epoch_ends(
        &self,
        questions: BTreeMap<TopicPartition, EpochQuestion>,
    ) -> BTreeMap<TopicPartition, Result<EpochEnd, ClientError>> {
        self.ask_leaders(questions, ask).await
    }
}

async fn ask(
    connection: Connection,
    share: Vec<(TopicPartition, EpochQuestion)>,
) -> Outcome<Outcomes<TopicPartition, EpochEnd>> {
    let version = connection.version::<OffsetForLeaderEpochRequest>()?;
    let topics = by_topic(share).into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, question)| {
            OffsetForLeaderPartition::default()
                .with_partition(index)
                .with_current_leader_epoch(question.current_leader_epoch)
                .with_leader_epoch(question.epoch)
        });
        OffsetForLeaderTopic::default()
            .with_topic(topic_name(&name))
            .with_partitions(partitions.collect())
    });
    let mut request = OffsetForLeaderEpochRequest::default().with_topics(topics.collect());
    if version >= 3 {
        request.replica_id = BrokerId(-1);
    }
    let answer = connection.call_version(request, version).await?;
    let mut outcomes = Outcomes::new();
    for topic in &answer.topics {
        for one in &topic.partitions {
            let end = EpochEnd { epoch: one.leader_epoch, end_offset: one.end_offset };
            let place = TopicPartition::new(topic.topic.as_str(), one.partition);
            let code = one.error_code;
            let result = outcome::<OffsetForLeaderEpochRequest, _>(&connection, code, None, end);
            outcomes.insert(place, result);
        }
    }
    Ok(outcomes)
}
