//! ListOffsets, versions 1-10, to the leaders.

use std::collections::BTreeMap;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};

use super::Client;
use super::convert::{by_topic, topic_name};
use super::routing::{Outcome, Outcomes, outcome};
use crate::cluster::TopicPartition;
use crate::error::ClientError;
use crate::net::Connection;
use crate::wire::api::{Api, Gap, VersionSpan};
use crate::wire::fetch::Isolation;

/// Which offset is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first one of the log.
    Earliest,
    /// The one behind the last visible record: the high watermark, or the last stable offset for
    /// [`Isolation::ReadCommitted`].
    Latest,
    /// That of the record with the largest timestamp (KIP-734, brokers from 3.0 on).
    MaxTimestamp,
    /// The first one whose record is not older than this time in milliseconds.
    Timestamp(i64),
}

/// An offset that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; -1 if no record has what was asked for.
    pub offset: i64,
    /// Its record's timestamp in milliseconds; -1 where only an end of the log was asked for.
    pub timestamp_ms: i64,
    /// The leader epoch of its batch; -1 if not told.
    pub leader_epoch: i32,
}

impl OffsetSpec {
    fn wire(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            Self::MaxTimestamp => -3,
            Self::Timestamp(milliseconds) => milliseconds.max(0),
        }
    }
}

impl Client {
    /// The offset that each partition is asked for.
    pub async fn list_offsets(
        &self,
        specs: BTreeMap<TopicPartition, OffsetSpec>,
        isolation: Isolation,
    ) -> BTreeMap<TopicPartition, Result<ListedOffset, ClientError>> {
        self.ask_leaders(specs, move |connection, share| ask(connection, share, isolation)).await
    }

    /// The same for partitions that are all asked for the same.
    pub async fn list_offsets_of(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> BTreeMap<TopicPartition, Result<ListedOffset, ClientError>> {
        let specs = partitions.into_iter().map(|partition| (partition, spec)).collect();
        self.list_offsets(specs, isolation).await
    }
}

async fn ask(
    connection: Connection,
    share: Vec<(TopicPartition, OffsetSpec)>,
    isolation: Isolation,
) -> Outcome<Outcomes<TopicPartition, ListedOffset>> {
    let version = connection.version::<ListOffsetsRequest>()?;
    if version < 7 && share.iter().any(|(_, spec)| *spec == OffsetSpec::MaxTimestamp) {
        // An older broker would take -3 for a point in time.
        let offered = connection.capabilities().offered(ListOffsetsRequest::ID.key);
        let spoken = VersionSpan { min: 7, max: 10 };
        let gap = Gap { api: ListOffsetsRequest::ID.name, offered, spoken };
        return Err(ClientError::new(gap).at(connection.broker()));
    }
    let topics = by_topic(share).into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, spec)| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_current_leader_epoch(-1)
                .with_timestamp(spec.wire())
        });
        ListOffsetsTopic::default()
            .with_name(topic_name(&name))
            .with_partitions(partitions.collect())
    });
    let mut request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect());
    if version >= 2 {
        request.isolation_level = isolation.wire();
    }
    if version >= 10 {
        request.timeout_ms = connection.request_timeout_ms();
    }
    let answer = connection.call_version(request, version).await?;
    let mut outcomes = Outcomes::new();
    for topic in &answer.topics {
        for one in &topic.partitions {
            let listed = ListedOffset {
                offset: one.offset,
                timestamp_ms: one.timestamp,
                leader_epoch: one.leader_epoch,
            };
            let place = TopicPartition::new(topic.name.as_str(), one.partition_index);
            let code = one.error_code;
            let result = outcome::<ListOffsetsRequest, _>(&connection, code, None, listed);
            outcomes.insert(place, result);
        }
    }
    Ok(outcomes)
}
