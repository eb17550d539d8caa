//! FindCoordinator (10), versions 0-6: groups and transactional ids, one or many.
//!
//! Left out: share groups.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, ResponseKind,
};
use kafka_protocol::protocol::StrBytes;

use super::super::{Broker, Call, LeaderHint, Outcome};
use super::text;

pub(in crate::core) fn handle(
    broker: &Broker,
    call: &Call,
    request: FindCoordinatorRequest,
) -> Outcome {
    let find = |key: &StrBytes| -> Result<LeaderHint, KafkaError> {
        call.injected_any()?;
        if !(0..=1).contains(&request.key_type) {
            return Err(KafkaError::InvalidRequest);
        }
        let node = broker.coordinator(key).and_then(|id| broker.hint(id));
        node.ok_or(KafkaError::CoordinatorNotAvailable)
    };
    let none = || LeaderHint { node: -1, host: String::new(), port: 0 };
    let response = FindCoordinatorResponse::default();
    if call.version >= 4 {
        let found = request.coordinator_keys.iter().map(|key| {
            let found = find(key);
            let error = found.as_ref().err().map_or(0, |error| error.code());
            let hint = found.unwrap_or_else(|_| none());
            Coordinator::default()
                .with_key(key.clone())
                .with_error_code(error)
                .with_node_id(BrokerId(hint.node))
                .with_host(text(&hint.host))
                .with_port(if error == 0 { i32::from(hint.port) } else { -1 })
        });
        let response = response.with_coordinators(found.collect());
        return Outcome::message(ResponseKind::FindCoordinator(response));
    }
    let found = find(&request.key);
    let error = found.as_ref().err().map_or(0, |error| error.code());
    let hint = found.unwrap_or_else(|_| none());
    let response = response
        .with_error_code(error)
        .with_node_id(BrokerId(hint.node))
        .with_host(text(&hint.host))
        .with_port(if error == 0 { i32::from(hint.port) } else { -1 });
    Outcome::message(ResponseKind::FindCoordinator(response))
}
