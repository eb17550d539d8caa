//! Commits translated positions for the groups of the target that have no members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol_client::ClientError;
use protocol_client::client::{Client, GroupDescription, OffsetToCommit};
use protocol_client::cluster::TopicPartition;
use protocol_client::wire::error_code::ErrorCode;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::groups_task::{GroupsSetup, Tally};
use super::tell::{Troubles, refusal};
use crate::groups::checkpoints::{Checkpoints, Standing};
use crate::groups::sync::{self, TargetGroup};

/// Groups that one call asks about.
const GROUPS_AT_ONCE: usize = 500;
/// Commits under way at a time.
const COMMITS_AT_ONCE: usize = 16;

/// The groups of a flow's target.
#[derive(Debug)]
pub(super) struct GroupSync {
    flow: Arc<str>,
    cluster: String,
    client: Client,
    follow_rewinds: bool,
    /// Groups with members, of which people have heard.
    active: BTreeSet<Arc<str>>,
    troubles: Troubles,
}

type Due = BTreeMap<TopicPartition, Standing>;
type Committed =
    (Arc<str>, Due, Result<BTreeMap<TopicPartition, Result<(), ClientError>>, ClientError>);

impl GroupSync {
    pub(super) fn new(setup: &GroupsSetup) -> Self {
        Self {
            flow: setup.flow.clone(),
            cluster: setup.config.target.alias.clone(),
            client: setup.clients.target.clone(),
            follow_rewinds: setup.groups.follow_rewinds,
            active: BTreeSet::new(),
            troubles: Troubles::default(),
        }
    }

    /// Groups that are not followed any more are forgotten.
    pub(super) fn forget_others(&mut self, followed: &BTreeSet<String>) {
        self.active.retain(|group| followed.contains(&**group));
    }

    /// One round over all groups.
    pub(super) async fn run(&mut self, checkpoints: &mut Checkpoints) {
        let groups: Vec<Arc<str>> = checkpoints.current().map(|(group, _)| group.clone()).collect();
        let mut tally = Tally::default();
        for some in groups.chunks(GROUPS_AT_ONCE) {
            let idle = self.idle(some, checkpoints, &mut tally).await;
            let due = self.due(&idle, checkpoints, &mut tally).await;
            self.commit_all(due, checkpoints, &mut tally).await;
        }
        let (flow, cluster) = (&*self.flow, &self.cluster);
        match tally.first {
            None if self.troubles.are_over() => {
                info!(flow, "positions of consumer groups are committed again")
            }
            None => {}
            Some(first) if self.troubles.is_new(&first) => {
                let count = tally.count;
                warn!(
                    flow,
                    "cluster {cluster}: {count} positions of consumer groups could not be committed, the first: {first}"
                );
            }
            Some(_) => {}
        }
    }

    /// Of these groups, those without members.
    async fn idle(
        &mut self,
        groups: &[Arc<str>],
        checkpoints: &mut Checkpoints,
        tally: &mut Tally,
    ) -> Vec<Arc<str>> {
        let ids: Vec<String> = groups.iter().map(ToString::to_string).collect();
        let mut described = self.client.describe_groups(&ids).await;
        let mut idle = Vec::new();
        for group in groups {
            match described.remove(&**group) {
                Some(Ok(GroupDescription { state, members, .. })) => {
                    match TargetGroup::new(&state, members.len()) {
                        TargetGroup::Active { members } => {
                            self.leave_alone(group, members, checkpoints);
                        }
                        TargetGroup::Absent | TargetGroup::Empty => {
                            self.active.remove(group);
                            idle.push(group.clone());
                        }
                    }
                }
                Some(Err(error)) => {
                    let resource = format!("group {group} of cluster {}", self.cluster);
                    tally.add(format!("{group}: {}", refusal(&error, "DESCRIBE", &resource)));
                }
                None => {}
            }
        }
        idle
    }

    /// What has to be committed for these groups.
    async fn due(
        &self,
        groups: &[Arc<str>],
        checkpoints: &mut Checkpoints,
        tally: &mut Tally,
    ) -> BTreeMap<Arc<str>, Due> {
        let wanted = groups.iter().map(|group| {
            let partitions = checkpoints.of(group).map(|(partition, _)| partition.clone());
            (group.to_string(), Some(partitions.collect()))
        });
        let mut all = BTreeMap::new();
        for (group, fetched) in self.client.fetch_group_offsets(&wanted.collect(), true).await {
            let group: Arc<str> = group.into();
            let fetched = match fetched {
                Ok(fetched) => fetched,
                Err(error) => {
                    let resource = format!("group {group} of cluster {}", self.cluster);
                    tally.add(format!("{group}: {}", refusal(&error, "DESCRIBE", &resource)));
                    continue;
                }
            };
            let mut committed = BTreeMap::new();
            // What is not known, or hangs on an open transaction, waits for the next round.
            let mut unknown = BTreeSet::new();
            for (partition, fetched) in fetched {
                match fetched {
                    Ok(fetched) => drop(committed.insert(partition, fetched.offset)),
                    Err(_) => drop(unknown.insert(partition)),
                }
            }
            let known =
                checkpoints.of(&group).filter(|(partition, _)| !unknown.contains(*partition));
            let due = sync::commits(known, &committed, self.follow_rewinds);
            for partition in committed.keys().filter(|partition| !due.contains_key(*partition)) {
                checkpoints.settled(&group, partition);
            }
            if !due.is_empty() {
                all.insert(group, due);
            }
        }
        all
    }

    async fn commit_all(
        &mut self,
        due: BTreeMap<Arc<str>, Due>,
        checkpoints: &mut Checkpoints,
        tally: &mut Tally,
    ) {
        let mut commits: JoinSet<Committed> = JoinSet::new();
        for (group, due) in due {
            if commits.len() >= COMMITS_AT_ONCE {
                self.take(commits.join_next().await, checkpoints, tally);
            }
            let client = self.client.clone();
            commits.spawn(async move {
                let offsets = due.iter().map(|(partition, standing)| {
                    let commit = OffsetToCommit {
                        offset: standing.downstream,
                        leader_epoch: -1,
                        metadata: standing.metadata.clone(),
                    };
                    (partition.clone(), commit)
                });
                let committed = client.commit_group_offsets(&group, offsets.collect()).await;
                (group, due, committed)
            });
        }
        while !commits.is_empty() {
            self.take(commits.join_next().await, checkpoints, tally);
        }
    }

    /// What a commit came to.
    fn take(
        &mut self,
        committed: Option<Result<Committed, tokio::task::JoinError>>,
        checkpoints: &mut Checkpoints,
        tally: &mut Tally,
    ) {
        let Some(Ok((group, due, outcomes))) = committed else { return };
        let flow = &*self.flow;
        let outcomes = outcomes.unwrap_or_else(|error| {
            due.keys().map(|partition| (partition.clone(), Err(error.clone()))).collect()
        });
        let mut has_members = false;
        for (partition, outcome) in outcomes {
            match outcome {
                Ok(()) => {
                    let position = due.get(&partition).map(|standing| standing.downstream);
                    debug!(flow, %group, %partition, position, "committed");
                    checkpoints.settled(&group, &partition);
                }
                Err(error) if error.code().is_some_and(is_of_members) => has_members = true,
                Err(error) => {
                    let (topic, cluster) = (&partition.topic, &self.cluster);
                    let resource = format!("group {group} and topic {topic} of cluster {cluster}");
                    tally.add(format!(
                        "{group} in {partition}: {}",
                        refusal(&error, "READ", &resource)
                    ));
                }
            }
        }
        if has_members {
            self.leave_alone(&group, 1, checkpoints);
        }
    }

    /// A group whose members go their own way.
    fn leave_alone(&mut self, group: &Arc<str>, members: usize, checkpoints: &mut Checkpoints) {
        if self.active.insert(group.clone()) {
            let (flow, cluster) = (&*self.flow, &self.cluster);
            info!(flow, %group, members, "cluster {cluster}: the group is active there; its positions are left alone");
        }
        let partitions: Vec<TopicPartition> =
            checkpoints.of(group).map(|(partition, _)| partition.clone()).collect();
        for partition in partitions {
            checkpoints.settled(group, &partition);
        }
    }
}

/// What brokers answer to a commit from outside while a group has members.
fn is_of_members(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::REBALANCE_IN_PROGRESS
    )
}
