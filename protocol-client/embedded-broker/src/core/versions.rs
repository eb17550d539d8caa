//! Which APIs and versions are offered: what is built here, cut down to what a Kafka release had.
//!
//! Ranges per release: the `validVersions` of Kafka's message schemas at the tags 2.8.0, 3.9.0, 4.0.0 and 4.2.0.

use kafka_protocol::messages::ApiKey;

/// The release that the broker passes for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Kafka 2.8: topics by name in fetch.
    V2_8,
    /// Kafka 3.9.
    V3_9,
    /// Kafka 4.0.
    V4_0,
    /// Kafka 4.2: produce by topic id.
    #[default]
    V4_2,
}

impl Profile {
    /// From the text of an option: `2.8`, `3.9`, `4.0` or `4.2`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "2.8" => Self::V2_8,
            "3.9" => Self::V3_9,
            "4.0" => Self::V4_0,
            "4.2" => Self::V4_2,
            _ => return None,
        })
    }
}

/// API, lowest version, and highest version as of 2.8, 3.9, 4.0 and 4.2; -1 where the API was not there.
type Row = (ApiKey, i16, [i16; 4]);

const TABLE: &[Row] = &[
    (ApiKey::Produce, 3, [9, 11, 12, 13]),
    (ApiKey::Fetch, 4, [12, 17, 17, 18]),
    (ApiKey::ListOffsets, 1, [6, 9, 10, 10]),
    (ApiKey::Metadata, 0, [11, 12, 13, 13]),
    (ApiKey::OffsetCommit, 2, [8, 9, 9, 9]),
    (ApiKey::OffsetFetch, 1, [7, 9, 9, 9]),
    (ApiKey::FindCoordinator, 0, [3, 6, 6, 6]),
    (ApiKey::JoinGroup, 0, [7, 9, 9, 9]),
    (ApiKey::Heartbeat, 0, [4, 4, 4, 4]),
    (ApiKey::LeaveGroup, 0, [4, 5, 5, 5]),
    (ApiKey::SyncGroup, 0, [5, 5, 5, 5]),
    (ApiKey::DescribeGroups, 0, [5, 5, 6, 6]),
    (ApiKey::ListGroups, 0, [4, 5, 5, 5]),
    (ApiKey::ApiVersions, 0, [3, 4, 4, 4]),
    (ApiKey::CreateTopics, 2, [7, 7, 7, 7]),
    (ApiKey::DeleteTopics, 1, [6, 6, 6, 6]),
    (ApiKey::DeleteRecords, 0, [2, 2, 2, 2]),
    (ApiKey::InitProducerId, 0, [4, 5, 5, 5]),
    (ApiKey::OffsetForLeaderEpoch, 2, [4, 4, 4, 4]),
    (ApiKey::AddPartitionsToTxn, 0, [3, 3, 3, 3]),
    (ApiKey::AddOffsetsToTxn, 0, [3, 4, 4, 4]),
    (ApiKey::EndTxn, 0, [3, 4, 4, 4]),
    (ApiKey::TxnOffsetCommit, 0, [3, 4, 4, 4]),
    (ApiKey::DescribeAcls, 1, [2, 3, 3, 3]),
    (ApiKey::DescribeConfigs, 1, [4, 4, 4, 4]),
    (ApiKey::AlterConfigs, 0, [2, 2, 2, 2]),
    (ApiKey::CreatePartitions, 0, [3, 3, 3, 3]),
    (ApiKey::DeleteGroups, 0, [2, 2, 2, 2]),
    (ApiKey::IncrementalAlterConfigs, 0, [1, 1, 1, 1]),
    (ApiKey::OffsetDelete, 0, [0, 0, 0, 0]),
    (ApiKey::DescribeCluster, 0, [0, 1, 2, 2]),
    (ApiKey::DescribeProducers, 0, [0, 0, 0, 0]),
    (ApiKey::DescribeTopicPartitions, 0, [-1, 0, 0, 0]),
];

/// The versions of an API that requests are taken in.
pub fn accepted(profile: Profile, api: ApiKey) -> Option<(i16, i16)> {
    let &(_, min, max) = TABLE.iter().find(|row| row.0 == api)?;
    let max = max[profile as usize];
    (max >= min).then_some((min, max))
}

/// The ranges that ApiVersions shows.
///
/// Produce is shown from 0, as Kafka does for the sake of old librdkafka, which reads codec support off it
/// (`ApiKeys#PRODUCE_API_VERSIONS_RESPONSE_MIN_VERSION`); versions below 3 are refused all the same.
pub fn advertised(profile: Profile) -> impl Iterator<Item = (ApiKey, i16, i16)> {
    TABLE.iter().filter_map(move |&(api, ..)| {
        let (min, max) = accepted(profile, api)?;
        Some((api, if api == ApiKey::Produce { 0 } else { min }, max))
    })
}
