//! LeaveGroup (13), versions 0-5: one member, from version 3 many.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse, ResponseKind};

use super::super::{Broker, Call, Outcome};
use super::code;

pub(in crate::core) fn handle(
    broker: &mut Broker,
    now_ms: i64,
    call: &Call,
    request: LeaveGroupRequest,
) -> Outcome {
    let id = request.group_id;
    let response = LeaveGroupResponse::default();
    let checked = match broker.check_group(call, &id) {
        Ok(()) if !broker.groups.contains_key(&id) => Err(KafkaError::UnknownMemberId),
        checked => checked,
    };
    let response = match checked {
        Err(error) => response.with_error_code(error.code()),
        Ok(()) if call.version < 3 => {
            let left =
                broker.with_group(&id, |group| group.leave(now_ms, &request.member_id, &None));
            response.with_error_code(code(left))
        }
        Ok(()) => {
            let members = request.members.into_iter().map(|member| {
                let (member_id, instance) = (member.member_id, member.group_instance_id);
                let left =
                    broker.with_group(&id, |group| group.leave(now_ms, &member_id, &instance));
                MemberResponse::default()
                    .with_member_id(member_id)
                    .with_group_instance_id(instance)
                    .with_error_code(code(left))
            });
            response.with_members(members.collect())
        }
    };
    Outcome::message(ResponseKind::LeaveGroup(response))
}
