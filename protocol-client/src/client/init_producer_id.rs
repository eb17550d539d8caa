//! InitProducerId, versions 0-5: from any broker, or from the coordinator of a transactional id.

use std::collections::BTreeMap;

use kafka_protocol::messages::{InitProducerIdRequest, ProducerId, TransactionalId};

use super::Client;
use super::convert::text;
use super::coordinators::CoordinatorKind;
use super::routing::{Outcome, outcome};
use crate::error::ClientError;
use crate::net::Connection;

/// Who a producer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// What a transactional producer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerRequest {
    /// The transactional id. Whoever held it before is fenced.
    pub transactional_id: String,
    /// After how long the broker aborts a transaction that is left alone, in milliseconds.
    pub transaction_timeout_ms: i32,
    /// Who the producer believes to be: the call fails if somebody else has taken over
    /// (KIP-360). `None` to take over.
    pub current: Option<ProducerIdentity>,
}

impl Client {
    /// A fresh producer id with epoch 0, without transactions.
    pub async fn init_idempotent_producer(&self) -> Result<ProducerIdentity, ClientError> {
        // The timeout is not looked at without a transactional id.
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX);
        let mut attempts = self.attempts(vec![()]);
        while attempts.next().await.is_some() {
            let asked = async { init(&self.any().await?, request.clone()).await };
            attempts.settle_one(asked.await);
        }
        attempts.finish_one()
    }

    /// The producer id of a transactional id, with the next epoch.
    pub async fn init_transactional_producer(
        &self,
        wanted: ProducerRequest,
    ) -> Result<ProducerIdentity, ClientError> {
        let key = wanted.transactional_id.clone();
        let ask = move |connection: Connection, keys: Vec<String>| {
            let wanted = wanted.clone();
            async move {
                let id = TransactionalId(text(&wanted.transactional_id));
                let mut request = InitProducerIdRequest::default()
                    .with_transactional_id(Some(id))
                    .with_transaction_timeout_ms(wanted.transaction_timeout_ms);
                if let Some(current) = wanted.current {
                    request.producer_id = ProducerId(current.id);
                    request.producer_epoch = current.epoch;
                }
                let outcome = init(&connection, request).await;
                Ok(keys.into_iter().map(|key| (key, outcome.clone())).collect::<BTreeMap<_, _>>())
            }
        };
        let kind = CoordinatorKind::Transaction;
        let mut outcomes = self.ask_coordinators(kind, vec![key.clone()], ask).await;
        outcomes.remove(&key).expect("every key has an outcome")
    }
}

async fn init(
    connection: &Connection,
    request: InitProducerIdRequest,
) -> Outcome<ProducerIdentity> {
    let answer = connection.call(request).await?;
    let identity = ProducerIdentity { id: answer.producer_id.0, epoch: answer.producer_epoch };
    outcome::<InitProducerIdRequest, _>(connection, answer.error_code, None, identity)
}
