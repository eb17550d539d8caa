//! Committed offsets of consumer groups, at their coordinators: OffsetFetch 1-9, OffsetCommit 2-9,
//! OffsetDelete 0, DeleteGroups 0-2.
//!
//! All by topic name; version 10 of fetch and commit would need topic ids. Fetching works for
//! groups of both protocols; a group that does not exist has no offsets and is no error.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::Client;
use super::convert::{by_topic, group_id, text, topic_name};
use super::coordinators::CoordinatorKind;
use super::routing::{Outcome, Outcomes, accepted, outcome};
use crate::cluster::TopicPartition;
use crate::error::ClientError;
use crate::net::Connection;
use crate::wire::api::Api;
use crate::wire::error_code::{ErrorCode, RetryClass};

/// An offset that a group has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset the group will read.
    pub offset: i64,
    /// The leader epoch of the record before it; -1 if not told.
    pub leader_epoch: i32,
    /// What the group wrote beside it.
    pub metadata: String,
}

/// An offset to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The next offset the group shall read.
    pub offset: i64,
    /// The leader epoch of the record before it; -1 to say nothing.
    pub leader_epoch: i32,
    /// Written beside it.
    pub metadata: String,
}

/// The offsets of one group.
pub type GroupOffsets = BTreeMap<TopicPartition, Result<CommittedOffset, ClientError>>;

impl Client {
    /// What each group has committed: for all its partitions, or for those given. Partitions
    /// without a commit are left out.
    ///
    /// With `require_stable` a partition whose commit hangs on an open transaction fails with
    /// UNSTABLE_OFFSET_COMMIT; it is not waited for.
    pub async fn fetch_group_offsets(
        &self,
        groups: &BTreeMap<String, Option<Vec<TopicPartition>>>,
        require_stable: bool,
    ) -> BTreeMap<String, Result<GroupOffsets, ClientError>> {
        let wanted = Arc::new(groups.clone());
        let ask = move |connection: Connection, ids: Vec<String>| {
            let wanted = Arc::clone(&wanted);
            async move {
                let version = connection.version::<OffsetFetchRequest>()?;
                if version >= 8 {
                    return fetch_many(&connection, version, &ids, &wanted, require_stable).await;
                }
                let mut outcomes = Outcomes::new();
                for id in ids {
                    let partitions = wanted[&id].as_deref();
                    let fetched =
                        fetch_one(&connection, version, &id, partitions, require_stable).await?;
                    outcomes.insert(id, fetched);
                }
                Ok(outcomes)
            }
        };
        let ids = groups.keys().cloned().collect();
        self.ask_coordinators(CoordinatorKind::Group, ids, ask).await
    }

    /// Commits offsets for a group from outside. Brokers accept that only while the group has no
    /// members, and answer UNKNOWN_MEMBER_ID otherwise. A group that does not exist comes to be.
    pub async fn commit_group_offsets(
        &self,
        group: &str,
        offsets: BTreeMap<TopicPartition, OffsetToCommit>,
    ) -> Result<BTreeMap<TopicPartition, Result<(), ClientError>>, ClientError> {
        let id = group_id(group);
        self.ask_group(group, move |connection| {
            let topics = by_topic(offsets.clone()).into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(index, commit)| {
                    OffsetCommitRequestPartition::default()
                        .with_partition_index(index)
                        .with_committed_offset(commit.offset)
                        .with_committed_leader_epoch(commit.leader_epoch)
                        .with_committed_metadata(Some(text(&commit.metadata)))
                });
                OffsetCommitRequestTopic::default()
                    .with_name(topic_name(&name))
                    .with_partitions(partitions.collect())
            });
            let request = OffsetCommitRequest::default()
                .with_group_id(id.clone())
                .with_generation_id_or_member_epoch(-1)
                .with_topics(topics.collect());
            async move {
                let answer = connection.call(request).await?;
                let codes = answer.topics.iter().flat_map(|topic| {
                    let codes = topic.partitions.iter();
                    codes.map(|one| (topic.name.as_str(), one.partition_index, one.error_code))
                });
                by_partition::<OffsetCommitRequest>(&connection, codes)
            }
        })
        .await
    }

    /// Forgets what a group has committed for some partitions. Refused with
    /// GROUP_SUBSCRIBED_TO_TOPIC while the group reads the topic.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: Vec<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Result<(), ClientError>>, ClientError> {
        let id = group_id(group);
        self.ask_group(group, move |connection| {
            let all = partitions.iter().map(|partition| (partition.clone(), ()));
            let topics = by_topic(all).into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(index, ())| {
                    OffsetDeleteRequestPartition::default().with_partition_index(index)
                });
                OffsetDeleteRequestTopic::default()
                    .with_name(topic_name(&name))
                    .with_partitions(partitions.collect())
            });
            let request = OffsetDeleteRequest::default()
                .with_group_id(id.clone())
                .with_topics(topics.collect());
            async move {
                let answer = connection.call(request).await?;
                accepted::<OffsetDeleteRequest>(&connection, answer.error_code, None)?;
                let codes = answer.topics.iter().flat_map(|topic| {
                    let codes = topic.partitions.iter();
                    codes.map(|one| (topic.name.as_str(), one.partition_index, one.error_code))
                });
                by_partition::<OffsetDeleteRequest>(&connection, codes)
            }
        })
        .await
    }

    /// Deletes groups with everything they have committed.
    pub async fn delete_groups(&self, ids: &[String]) -> BTreeMap<String, Result<(), ClientError>> {
        let ask = |connection: Connection, ids: Vec<String>| async move {
            let request = DeleteGroupsRequest::default()
                .with_groups_names(ids.iter().map(|id| group_id(id)).collect());
            let answer = connection.call(request).await?;
            let deleted = answer.results.iter().map(|one| {
                let code = one.error_code;
                let result = outcome::<DeleteGroupsRequest, _>(&connection, code, None, ());
                (one.group_id.to_string(), result)
            });
            Ok(deleted.collect())
        };
        self.ask_coordinators(CoordinatorKind::Group, ids.to_vec(), ask).await
    }

    async fn ask_group<T, F, Fut>(&self, group: &str, ask: F) -> Outcome<T>
    where
        T: Clone + Send + 'static,
        F: Fn(Connection) -> Fut,
        Fut: Future<Output = Outcome<T>> + Send + 'static,
    {
        let ask = |connection, ids: Vec<String>| {
            let answer = ask(connection);
            async move {
                let outcome = answer.await;
                Ok(ids.into_iter().map(|id| (id, outcome.clone())).collect::<Outcomes<_, _>>())
            }
        };
        let ids = vec![group.to_owned()];
        let mut outcomes = self.ask_coordinators(CoordinatorKind::Group, ids, ask).await;
        outcomes.remove(group).expect("every key has an outcome")
    }
}

/// Results by partition. Trouble with the coordinator is told for each partition but is about all.
fn by_partition<'a, R: Api>(
    connection: &Connection,
    codes: impl Iterator<Item = (&'a str, i32, i16)>,
) -> Outcome<BTreeMap<TopicPartition, Outcome<()>>> {
    let mut outcomes = BTreeMap::new();
    for (topic, index, code) in codes {
        let result = outcome::<R, _>(connection, code, None, ());
        if matches!(ErrorCode(code).class(), RetryClass::RefreshCoordinator | RetryClass::Retry) {
            result.clone()?;
        }
        outcomes.insert(TopicPartition::new(topic, index), result);
    }
    Ok(outcomes)
}

/// Offset -1: nothing is committed.
fn committed(
    connection: &Connection,
    place: (&str, i32),
    commit: (i64, i32, Option<&StrBytes>),
    code: i16,
) -> Option<(TopicPartition, Outcome<CommittedOffset>)> {
    let (offset, leader_epoch, metadata) = commit;
    if code == 0 && offset < 0 {
        return None;
    }
    let metadata = metadata.map(ToString::to_string).unwrap_or_default();
    let committed = CommittedOffset { offset, leader_epoch, metadata };
    let result = outcome::<OffsetFetchRequest, _>(connection, code, None, committed);
    Some((TopicPartition::new(place.0, place.1), result))
}

async fn fetch_many(
    connection: &Connection,
    version: i16,
    ids: &[String],
    wanted: &BTreeMap<String, Option<Vec<TopicPartition>>>,
    require_stable: bool,
) -> Outcome<Outcomes<String, GroupOffsets>> {
    let groups = ids.iter().map(|id| {
        let topics = wanted[id].as_ref().map(|partitions| {
            let topics = by_topic(partitions.iter().map(|one| (one.clone(), ())));
            let topics = topics.into_iter().map(|(name, partitions)| {
                let indexes = partitions.into_iter().map(|(index, ())| index);
                OffsetFetchRequestTopics::default()
                    .with_name(topic_name(&name))
                    .with_partition_indexes(indexes.collect())
            });
            topics.collect()
        });
        OffsetFetchRequestGroup::default().with_group_id(group_id(id)).with_topics(topics)
    });
    let request = OffsetFetchRequest::default()
        .with_groups(groups.collect())
        .with_require_stable(require_stable);
    let answer = connection.call_version(request, version).await?;
    let fetched = answer.groups.iter().map(|group| {
        let offsets = group.topics.iter().flat_map(|topic| {
            topic.partitions.iter().filter_map(|one| {
                let commit =
                    (one.committed_offset, one.committed_leader_epoch, one.metadata.as_ref());
                let place = (topic.name.as_str(), one.partition_index);
                committed(connection, place, commit, one.error_code)
            })
        });
        let code = group.error_code;
        let result = outcome::<OffsetFetchRequest, _>(connection, code, None, offsets.collect());
        (group.group_id.to_string(), result)
    });
    Ok(fetched.collect())
}

async fn fetch_one(
    connection: &Connection,
    version: i16,
    id: &str,
    partitions: Option<&[TopicPartition]>,
    require_stable: bool,
) -> Outcome<Outcome<GroupOffsets>> {
    let topics = partitions.map(|partitions| {
        let topics = by_topic(partitions.iter().map(|one| (one.clone(), ())));
        let topics = topics.into_iter().map(|(name, partitions)| {
            let indexes = partitions.into_iter().map(|(index, ())| index);
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(&name))
                .with_partition_indexes(indexes.collect())
        });
        topics.collect()
    });
    let request = OffsetFetchRequest::default()
        .with_group_id(group_id(id))
        .with_topics(topics)
        .with_require_stable(require_stable);
    let answer = connection.call_version(request, version).await?;
    let offsets = answer.topics.iter().flat_map(|topic| {
        topic.partitions.iter().filter_map(|one| {
            let commit = (one.committed_offset, one.committed_leader_epoch, one.metadata.as_ref());
            committed(
                connection,
                (topic.name.as_str(), one.partition_index),
                commit,
                one.error_code,
            )
        })
    });
    Ok(outcome::<OffsetFetchRequest, _>(connection, answer.error_code, None, offsets.collect()))
}
