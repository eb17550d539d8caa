//! InitProducerId (22), versions 0-5: fresh ids, and ids with epochs for transactional ids.
//!
//! With the id and epoch given it is a compare-and-swap (KIP-360). Left out: two-phase commit (version 6).

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProducerId, ResponseKind,
};

use super::super::transactions::Producer;
use super::super::{Broker, Call, Outcome};
use super::fencing;

pub(in crate::core) fn handle(
    broker: &mut Broker,
    now_ms: i64,
    call: &Call,
    request: &InitProducerIdRequest,
) -> Outcome {
    let response = InitProducerIdResponse::default();
    Outcome::message(ResponseKind::InitProducerId(match grant(broker, now_ms, call, request) {
        Ok(producer) => {
            response.with_producer_id(ProducerId(producer.id)).with_producer_epoch(producer.epoch)
        }
        Err(error) => response
            .with_error_code(fencing(error, call.version >= 4))
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }))
}

fn grant(
    broker: &mut Broker,
    now_ms: i64,
    call: &Call,
    request: &InitProducerIdRequest,
) -> Result<Producer, KafkaError> {
    let Some(id) = &request.transactional_id else {
        call.injected_any()?;
        return Ok(Producer { id: broker.fresh_producer_id(), epoch: 0 });
    };
    broker.check_txn(call, id)?;
    let given = Producer { id: request.producer_id.0, epoch: request.producer_epoch };
    let expected = match (given.id, given.epoch) {
        (-1, -1) => None,
        (id, epoch) if id >= 0 && epoch >= 0 => Some(given),
        _ => return Err(KafkaError::InvalidRequest),
    };
    let expected = expected.filter(|_| call.version >= 3);
    broker.init_transactional(now_ms, id, request.transaction_timeout_ms, expected)
}
