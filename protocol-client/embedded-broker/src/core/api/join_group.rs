//! JoinGroup (11), versions 0-9: waits until the rebalance is over.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{GroupId, JoinGroupRequest, JoinGroupResponse, ResponseKind};
use kafka_protocol::protocol::StrBytes;

use super::super::groups::{Group, Join, Joined};
use super::super::{Broker, Call, Outcome, Parked};
use super::text;

/// Longest silence that a member may ask for (`group.max.session.timeout.ms`).
const MAX_SESSION_MS: i32 = 1_800_000;

pub(in crate::core) fn handle(
    broker: &mut Broker,
    now_ms: i64,
    call: Call,
    request: JoinGroupRequest,
) -> Outcome {
    let (group, member_id) = (request.group_id.clone(), request.member_id.clone());
    if let Err(error) = broker.check_group(&call, &group) {
        return refused(error, member_id);
    }
    let allowed = broker.options.group_min_session_timeout_ms..=MAX_SESSION_MS;
    if !allowed.contains(&request.session_timeout_ms) {
        return refused(KafkaError::InvalidSessionTimeout, member_id);
    }
    if !member_id.is_empty() && !broker.groups.contains_key(&group) {
        return refused(KafkaError::UnknownMemberId, member_id);
    }
    let rebalance_ms = match request.rebalance_timeout_ms {
        ms if ms < 0 => request.session_timeout_ms,
        ms => ms,
    };
    let join = Join {
        connection: call.connection,
        client_id: call.client_id.clone(),
        member_id: member_id.clone(),
        instance: request.group_instance_id,
        session_timeout_ms: i64::from(request.session_timeout_ms),
        rebalance_timeout_ms: i64::from(rebalance_ms),
        protocol_type: request.protocol_type,
        protocols: request.protocols.into_iter().map(|p| (p.name, p.metadata)).collect(),
        fresh_id: text(&format!("{}-{}", call.client_id.as_str(), broker.ids.next_uuid())),
        id_required: call.version >= 4,
        initial_delay_ms: broker.options.group_initial_rebalance_delay_ms,
    };
    match broker.with_group(&group, |group| group.join(now_ms, join)) {
        Err(error) => refused(error, member_id),
        Ok(Joined::IdRequired(id)) => refused(KafkaError::MemberIdRequired, id),
        Ok(Joined::Current(id)) => answer(broker, &call, &group, id),
        Ok(Joined::Wait(id)) => resume(broker, now_ms, call, group, id),
    }
}

/// Answers when the rebalance is over; waits otherwise.
pub(in crate::core) fn resume(
    broker: &mut Broker,
    now_ms: i64,
    call: Call,
    id: GroupId,
    member_id: StrBytes,
) -> Outcome {
    let joining = broker.with_group(&id, |group| {
        group.complete_if_ready(now_ms);
        group.is_joining(&member_id).map(|joining| joining.then(|| group.deadline_ms()))
    });
    match joining {
        Err(error) => refused(error, member_id),
        Ok(None) => {
            broker.woken.remove(&call.connection);
            answer(broker, &call, &id, member_id)
        }
        Ok(Some(until_ms)) => {
            let connection = call.connection;
            broker.parked.insert(connection, Parked::Join { call, group: id, member_id });
            Outcome::Park { until_ms }
        }
    }
}

fn answer(broker: &Broker, call: &Call, id: &GroupId, member_id: StrBytes) -> Outcome {
    let Some(group) = broker.groups.get(id) else {
        return refused(KafkaError::UnknownMemberId, member_id);
    };
    let members = if group.leader == member_id { members(group) } else { Vec::new() };
    let protocol = group.protocol.clone();
    let response = JoinGroupResponse::default()
        .with_generation_id(group.generation)
        .with_protocol_type(Some(group.protocol_type.clone()))
        .with_protocol_name(Some(protocol.unwrap_or_default()))
        .with_leader(group.leader.clone())
        .with_member_id(member_id)
        .with_members(members);
    let response = if call.version < 7 { response.with_protocol_type(None) } else { response };
    Outcome::message(ResponseKind::JoinGroup(response))
}

fn members(group: &Group) -> Vec<JoinGroupResponseMember> {
    let members = group.members.iter().map(|(id, member)| {
        JoinGroupResponseMember::default()
            .with_member_id(id.clone())
            .with_group_instance_id(member.instance.clone())
            .with_metadata(member.metadata(group.protocol.as_ref()))
    });
    members.collect()
}

fn refused(error: KafkaError, member_id: StrBytes) -> Outcome {
    let response = JoinGroupResponse::default()
        .with_error_code(error.code())
        .with_generation_id(-1)
        .with_protocol_name(Some(StrBytes::default()))
        .with_member_id(member_id);
    Outcome::message(ResponseKind::JoinGroup(response))
}
