//! ListGroups (16), versions 0-5: the groups that this node coordinates, by state and type.

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse, ResponseKind};

use super::super::{Broker, Call, Outcome};
use super::{code, text};

pub(in crate::core) fn handle(broker: &Broker, call: &Call, request: ListGroupsRequest) -> Outcome {
    let wanted = |filter: &[kafka_protocol::protocol::StrBytes], name: &str| {
        filter.is_empty() || filter.iter().any(|own| own.as_str().eq_ignore_ascii_case(name))
    };
    let groups = broker
        .groups
        .iter()
        .filter(|(id, _)| broker.coordinator(id) == Some(call.node))
        .filter(|(_, group)| wanted(&request.states_filter, group.state.name()))
        .filter(|_| wanted(&request.types_filter, "classic"))
        .map(|(id, group)| {
            ListedGroup::default()
                .with_group_id(id.clone())
                .with_protocol_type(group.protocol_type.clone())
                .with_group_state(text(group.state.name()))
                .with_group_type(text("classic"))
        });
    let result = call.injected_any();
    let groups = if result.is_ok() { groups.collect() } else { Vec::new() };
    let response = ListGroupsResponse::default().with_error_code(code(result)).with_groups(groups);
    Outcome::message(ResponseKind::ListGroups(response))
}
