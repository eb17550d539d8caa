//! Heartbeat (12), versions 0-4.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse, ResponseKind};

use super::super::groups::Speaker;
use super::super::{Broker, Call, Outcome};
use super::code;

pub(in crate::core) fn handle(
    broker: &mut Broker,
    now_ms: i64,
    call: &Call,
    request: HeartbeatRequest,
) -> Outcome {
    let id = request.group_id;
    let speaker = Speaker {
        member_id: request.member_id,
        instance: request.group_instance_id,
        generation: request.generation_id,
    };
    let result = match broker.check_group(call, &id) {
        Ok(()) if !broker.groups.contains_key(&id) => Err(KafkaError::UnknownMemberId),
        Ok(()) => broker.with_group(&id, |group| group.heartbeat(now_ms, &speaker)),
        Err(error) => Err(error),
    };
    let response = HeartbeatResponse::default().with_error_code(code(result));
    Outcome::message(ResponseKind::Heartbeat(response))
}
