//! DescribeTransactions, version 0 (KIP-664, brokers from 3.0 on), to the coordinators of the transactional ids.

use std::collections::BTreeMap;

use kafka_protocol::messages::{DescribeTransactionsRequest, TransactionalId};

use super::Client;
use super::convert::text;
use super::coordinators::CoordinatorKind;
use super::routing::{Outcome, Outcomes, outcome};
use crate::error::ClientError;
use crate::net::Connection;

impl Client {
    /// The state of each transactional id's transaction, as Kafka's `TransactionState` spells it: `Empty`, `Ongoing`,
    /// `PrepareCommit`, `CompleteCommit`, ..
    pub async fn describe_transactions(
        &self,
        transactional_ids: &[String],
    ) -> BTreeMap<String, Result<String, ClientError>> {
        self.ask_coordinators(CoordinatorKind::Transaction, transactional_ids.to_vec(), ask).await
    }
}

async fn ask(connection: Connection, ids: Vec<String>) -> Outcome<Outcomes<String, String>> {
    let ids = ids.iter().map(|id| TransactionalId(text(id))).collect();
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    let answer = connection.call(request).await?;
    let states = answer.transaction_states.iter().map(|one| {
        let state = one.transaction_state.to_string();
        let found =
            outcome::<DescribeTransactionsRequest, _>(&connection, one.error_code, None, state);
        (one.transactional_id.to_string(), found)
    });
    Ok(states.collect())
}
