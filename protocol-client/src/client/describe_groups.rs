//! ConsumerGroupDescribe (KIP-848), versions 0-1, and DescribeGroups, versions 0-6, from the
//! coordinators. Assignments are left out: nobody here needs them.

use std::collections::BTreeMap;

use kafka_protocol::messages::{ConsumerGroupDescribeRequest, DescribeGroupsRequest};

use super::Client;
use super::convert::group_id;
use super::coordinators::CoordinatorKind;
use super::routing::{Outcome, Outcomes, outcome};
use crate::error::ClientError;
use crate::net::Connection;
use crate::wire::error_code::ErrorCode;

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// `Empty`, `Stable`, .., and `Dead` if there is no such group.
    pub state: String,
    /// Whether it uses the protocol of KIP-848.
    pub is_new_protocol: bool,
    /// `consumer` for consumers.
    pub protocol_type: String,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id within the group.
    pub id: String,
    /// The client id it connects with.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
}

impl Client {
    /// Describes groups of both protocols. A group that does not exist is `Dead`, whatever the
    /// broker's version.
    pub async fn describe_groups(
        &self,
        ids: &[String],
    ) -> BTreeMap<String, Result<GroupDescription, ClientError>> {
        self.ask_coordinators(CoordinatorKind::Group, ids.to_vec(), describe).await
    }
}

async fn describe(
    connection: Connection,
    ids: Vec<String>,
) -> Outcome<Outcomes<String, GroupDescription>> {
    let mut outcomes = Outcomes::new();
    if connection.version::<ConsumerGroupDescribeRequest>().is_ok() {
        outcomes = describe_new(&connection, &ids).await?;
        // Groups of the classic protocol are "not found" there; some versions do not serve it.
        outcomes.retain(|_, described| {
            let code = described.as_ref().err().and_then(ClientError::code);
            code != Some(ErrorCode::GROUP_ID_NOT_FOUND)
                && code != Some(ErrorCode::UNSUPPORTED_VERSION)
        });
    }
    let classic: Vec<String> = ids.into_iter().filter(|id| !outcomes.contains_key(id)).collect();
    if !classic.is_empty() {
        outcomes.extend(describe_classic(&connection, &classic).await?);
    }
    Ok(outcomes)
}

async fn describe_new(
    connection: &Connection,
    ids: &[String],
) -> Outcome<Outcomes<String, GroupDescription>> {
    let request = ConsumerGroupDescribeRequest::default()
        .with_group_ids(ids.iter().map(|id| group_id(id)).collect());
    let answer = connection.call(request).await?;
    let described = answer.groups.iter().map(|group| {
        let members = group.members.iter().map(|member| GroupMember {
            id: member.member_id.to_string(),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
        });
        let description = GroupDescription {
            state: group.group_state.to_string(),
            is_new_protocol: true,
            protocol_type: "consumer".to_owned(),
            members: members.collect(),
        };
        let message = group.error_message.as_deref();
        let code = group.error_code;
        let result =
            outcome::<ConsumerGroupDescribeRequest, _>(connection, code, message, description);
        (group.group_id.to_string(), result)
    });
    Ok(described.collect())
}

async fn describe_classic(
    connection: &Connection,
    ids: &[String],
) -> Outcome<Outcomes<String, GroupDescription>> {
    let request =
        DescribeGroupsRequest::default().with_groups(ids.iter().map(|id| group_id(id)).collect());
    let answer = connection.call(request).await?;
    let described = answer.groups.iter().map(|group| {
        let members = group.members.iter().map(|member| GroupMember {
            id: member.member_id.to_string(),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
        });
        let mut description = GroupDescription {
            state: group.group_state.to_string(),
            is_new_protocol: false,
            protocol_type: group.protocol_type.to_string(),
            members: members.collect(),
        };
        let mut code = group.error_code;
        if ErrorCode(code) == ErrorCode::GROUP_ID_NOT_FOUND {
            description.state = "Dead".to_owned();
            code = 0;
        }
        let message = group.error_message.as_deref();
        let result = outcome::<DescribeGroupsRequest, _>(connection, code, message, description);
        (group.group_id.to_string(), result)
    });
    Ok(described.collect())
}
