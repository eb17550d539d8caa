//! ListGroups, versions 0-5, from every broker: each lists only the groups it coordinates.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::ListGroupsRequest;

use super::Client;
use super::convert::text;
use super::routing::{Outcome, Outcomes, accepted};
use crate::cluster::metadata::Topics;
use crate::error::ClientError;
use crate::net::Connection;

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its id.
    pub id: String,
    /// `consumer` for consumers, `connect` for Connect workers; empty for groups that only commit.
    pub protocol_type: String,
    /// `Empty`, `Stable`, ..; `None` from brokers before version 4 of the API.
    pub state: Option<String>,
    /// `classic`, `consumer`, `share`, `streams`; `None` from brokers before version 5 of the API.
    pub kind: Option<String>,
}

impl Client {
    /// The groups that each broker coordinates, for every broker of the cluster. A broker that
    /// fails is in the result with its error, because its groups are missing.
    ///
    /// `states` and `kinds` choose groups where they are not empty; a broker that cannot filter
    /// lists all.
    pub async fn list_groups(
        &self,
        states: &[&str],
        kinds: &[&str],
    ) -> Result<BTreeMap<i32, Result<Vec<ListedGroup>, ClientError>>, ClientError> {
        let view = self.refresh(Topics::Named(BTreeSet::new()), self.view().generation).await?;
        let filters = ListGroupsRequest::default()
            .with_states_filter(states.iter().map(|state| text(state)).collect())
            .with_types_filter(kinds.iter().map(|kind| text(kind)).collect());
        let mut attempts = self.attempts(view.nodes.keys().copied().collect());
        while let Some(pending) = attempts.next().await {
            let shares = pending.iter().map(|node| (*node, vec![*node])).collect();
            let ask = |connection, node| list(connection, node, filters.clone());
            let listed = self.ask_nodes(shares, ask).await;
            attempts.settle(pending, Ok(listed));
        }
        Ok(attempts.finish())
    }
}

async fn list(
    connection: Connection,
    node: Vec<i32>,
    mut request: ListGroupsRequest,
) -> Outcome<Outcomes<i32, Vec<ListedGroup>>> {
    let version = connection.version::<ListGroupsRequest>()?;
    if version < 5 {
        request.types_filter.clear();
    }
    if version < 4 {
        request.states_filter.clear();
    }
    let answer = connection.call_version(request, version).await?;
    accepted::<ListGroupsRequest>(&connection, answer.error_code, None)?;
    let groups = answer.groups.iter().map(|group| ListedGroup {
        id: group.group_id.to_string(),
        protocol_type: group.protocol_type.to_string(),
        state: (version >= 4).then(|| group.group_state.to_string()),
        kind: (version >= 5).then(|| group.group_type.to_string()),
    });
    let groups: Vec<ListedGroup> = groups.collect();
    Ok(node.into_iter().map(|node| (node, Ok(groups.clone()))).collect())
}
