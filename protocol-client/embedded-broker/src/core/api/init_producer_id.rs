//! InitProducerId (22), versions 0-5, without a transactional id: a fresh id, epoch 0.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProducerId, ResponseKind,
};

use super::super::{Broker, Call, Outcome};

pub(in crate::core) fn handle(
    broker: &mut Broker,
    call: &Call,
    request: &InitProducerIdRequest,
) -> Outcome {
    let granted = call.injected_any().and_then(|()| match request.transactional_id {
        None => Ok((broker.fresh_producer_id(), 0)),
        Some(_) => Err(KafkaError::CoordinatorNotAvailable),
    });
    let response = InitProducerIdResponse::default();
    Outcome::message(ResponseKind::InitProducerId(match granted {
        Ok((id, epoch)) => response.with_producer_id(ProducerId(id)).with_producer_epoch(epoch),
        Err(error) => response
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }))
}
