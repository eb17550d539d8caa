//! SyncGroup (14), versions 0-5: waits until the leader has assigned.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::{GroupId, ResponseKind, SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::super::groups::{Group, GroupState, Speaker};
use super::super::{Broker, Call, Outcome, Parked};

pub(in crate::core) fn handle(
    broker: &mut Broker,
    now_ms: i64,
    call: Call,
    request: SyncGroupRequest,
) -> Outcome {
    let id = request.group_id.clone();
    if let Err(error) = broker.check_group(&call, &id) {
        return refused(error);
    }
    if !broker.groups.contains_key(&id) {
        return refused(KafkaError::UnknownMemberId);
    }
    let speaker = Speaker {
        member_id: request.member_id,
        instance: request.group_instance_id,
        generation: request.generation_id,
    };
    let claims = (request.protocol_type, request.protocol_name);
    let rows = request.assignments.into_iter().map(|row| (row.member_id, row.assignment));
    let assignments = rows.collect();
    let synced = broker.with_group(&id, |group| {
        if !agrees(group, &claims) {
            return Err(KafkaError::InconsistentGroupProtocol);
        }
        let wait = group.sync(now_ms, &speaker, call.connection, assignments)?;
        let deadline_ms = group.members.get(&speaker.member_id).map_or(0, |member| {
            now_ms + member.rebalance_timeout_ms.max(member.session_timeout_ms)
        });
        Ok(wait.then_some(deadline_ms))
    });
    match synced {
        Err(error) => refused(error),
        Ok(None) => answer(broker, &id, &speaker.member_id),
        Ok(Some(until_ms)) => {
            let parked = Parked::Sync { group: id, member_id: speaker.member_id, until_ms };
            broker.parked.insert(call.connection, parked);
            Outcome::Park { until_ms }
        }
    }
}

/// From version 5 a member says what it believes the group's protocol to be.
fn agrees(group: &Group, (kind, name): &(Option<StrBytes>, Option<StrBytes>)) -> bool {
    kind.as_ref().is_none_or(|kind| *kind == group.protocol_type)
        && name.as_ref().is_none_or(|name| Some(name) == group.protocol.as_ref())
}

/// Answers a member that waited: with its assignment, or to join again.
pub(in crate::core) fn answer(broker: &Broker, id: &GroupId, member_id: &StrBytes) -> Outcome {
    let Some(group) = broker.groups.get(id) else {
        return refused(KafkaError::UnknownMemberId);
    };
    let Some(member) = group.members.get(member_id) else {
        return refused(KafkaError::UnknownMemberId);
    };
    if group.state != GroupState::Stable {
        return refused(KafkaError::RebalanceInProgress);
    }
    let response = SyncGroupResponse::default()
        .with_protocol_type(Some(group.protocol_type.clone()))
        .with_protocol_name(group.protocol.clone())
        .with_assignment(member.assignment.clone());
    Outcome::message(ResponseKind::SyncGroup(response))
}

fn refused(error: KafkaError) -> Outcome {
    let response = SyncGroupResponse::default().with_error_code(error.code());
    Outcome::message(ResponseKind::SyncGroup(response))
}
