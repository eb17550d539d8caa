//! DescribeGroups (15), versions 0-6. An unknown group is `Dead`, from version 6 GROUP_ID_NOT_FOUND.
//!
//! Left out: authorized operations.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, GroupId, ResponseKind,
};

use super::super::groups::{Group, GroupState};
use super::super::{Broker, Call, Outcome};
use super::text;

pub(in crate::core) fn handle(
    broker: &Broker,
    call: &Call,
    request: DescribeGroupsRequest,
) -> Outcome {
    let groups = request.groups.into_iter().map(|id| describe(broker, call, id));
    let response = DescribeGroupsResponse::default().with_groups(groups.collect());
    Outcome::message(ResponseKind::DescribeGroups(response))
}

fn describe(broker: &Broker, call: &Call, id: GroupId) -> DescribedGroup {
    let answer = DescribedGroup::default().with_group_id(id.clone());
    if let Err(error) = broker.check_group(call, &id) {
        return answer.with_error_code(error.code());
    }
    let Some(group) = broker.groups.get(&id) else {
        let dead = answer.with_group_state(text("Dead"));
        if call.version < 6 {
            return dead;
        }
        let what = format!("Group {} not found.", id.as_str());
        let error = KafkaError::GroupIdNotFound.code();
        return dead.with_error_code(error).with_error_message(Some(text(&what)));
    };
    answer
        .with_group_state(text(group.state.name()))
        .with_protocol_type(group.protocol_type.clone())
        .with_protocol_data(group.protocol.clone().unwrap_or_default())
        .with_members(members(group, call.version))
}

fn members(group: &Group, version: i16) -> Vec<DescribedGroupMember> {
    let stable = group.state == GroupState::Stable;
    let members = group.members.iter().map(|(id, member)| {
        let described = DescribedGroupMember::default()
            .with_member_id(id.clone())
            .with_client_id(member.client_id.clone())
            .with_client_host(text("/127.0.0.1"));
        let described = if version >= 4 {
            described.with_group_instance_id(member.instance.clone())
        } else {
            described
        };
        if !stable {
            return described;
        }
        described
            .with_member_metadata(member.metadata(group.protocol.as_ref()))
            .with_member_assignment(member.assignment.clone())
    });
    members.collect()
}
