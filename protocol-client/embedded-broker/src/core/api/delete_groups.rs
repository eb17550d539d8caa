//! DeleteGroups (42), versions 0-2: groups without members.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId, ResponseKind};

use super::super::{Broker, Call, Outcome};
use super::code;

pub(in crate::core) fn handle(
    broker: &mut Broker,
    call: &Call,
    request: DeleteGroupsRequest,
) -> Outcome {
    let results = request.groups_names.into_iter().map(|id| {
        let result = delete(broker, call, &id);
        DeletableGroupResult::default().with_group_id(id).with_error_code(code(result))
    });
    let response = DeleteGroupsResponse::default().with_results(results.collect());
    Outcome::message(ResponseKind::DeleteGroups(response))
}

fn delete(broker: &mut Broker, call: &Call, id: &GroupId) -> Result<(), KafkaError> {
    broker.check_group(call, id)?;
    let group = broker.groups.get(id).ok_or(KafkaError::GroupIdNotFound)?;
    if !group.members.is_empty() {
        return Err(KafkaError::NonEmptyGroup);
    }
    broker.groups.remove(id);
    Ok(())
}
