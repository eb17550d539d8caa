//! FindCoordinator, versions 0-6: many keys at once from version 4 on (KIP-699).

use std::collections::BTreeMap;
use std::sync::PoisonError;

use kafka_protocol::messages::FindCoordinatorRequest;
use kafka_protocol::protocol::StrBytes;

use super::Client;
use super::routing::{Outcome, Outcomes, each_of, outcome};
use crate::error::ClientError;
use crate::net::Connection;
use crate::wire::error_code::{ErrorCode, RetryClass};

/// What a coordinator coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CoordinatorKind {
    /// Consumer groups.
    Group = 0,
    /// Transactional producers.
    Transaction = 1,
}

impl Client {
    /// The node that coordinates each of `keys` (group ids or transactional ids).
    pub async fn find_coordinators(
        &self,
        kind: CoordinatorKind,
        keys: &[String],
    ) -> BTreeMap<String, Result<i32, ClientError>> {
        let mut attempts = self.attempts(keys.to_vec());
        while let Some(pending) = attempts.next().await {
            let found = self.find_coordinators_once(kind, &pending).await;
            attempts.settle(pending, Ok(found));
        }
        attempts.finish()
    }

    /// Answers from memory where possible.
    async fn find_coordinators_once(
        &self,
        kind: CoordinatorKind,
        keys: &[String],
    ) -> Outcomes<String, i32> {
        let mut outcomes = Outcomes::new();
        let mut unknown = Vec::new();
        {
            let known = self.0.coordinators.lock().unwrap_or_else(PoisonError::into_inner);
            for key in keys {
                match known.get(&(kind, key.clone())) {
                    Some(node) => drop(outcomes.insert(key.clone(), Ok(*node))),
                    None => unknown.push(key.clone()),
                }
            }
        }
        if unknown.is_empty() {
            return outcomes;
        }
        let found = each_of(&unknown, self.look_up_coordinators(kind, &unknown).await);
        let mut known = self.0.coordinators.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, node) in found.iter().filter_map(|(key, node)| Some((key, node.as_ref().ok()?))) {
            known.insert((kind, key.clone()), *node);
        }
        drop(known);
        outcomes.extend(found);
        outcomes
    }

    async fn look_up_coordinators(
        &self,
        kind: CoordinatorKind,
        keys: &[String],
    ) -> Outcome<Outcomes<String, i32>> {
        let connection = self.any().await?;
        if connection.version::<FindCoordinatorRequest>()? >= 4 {
            find_many(&connection, kind, keys).await
        } else {
            find_one_by_one(&connection, kind, keys).await
        }
    }

    fn forget_coordinator(&self, kind: CoordinatorKind, key: &str) {
        let mut known = self.0.coordinators.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&(kind, key.to_owned()));
    }

    /// Asks the coordinator of each key, all coordinators at once, and tries failed ones again.
    ///
    /// `ask` gets a coordinator's connection and its share of the keys.
    pub(super) async fn ask_coordinators<T, F, Fut>(
        &self,
        kind: CoordinatorKind,
        keys: Vec<String>,
        ask: F,
    ) -> Outcomes<String, T>
    where
        T: Send + 'static,
        F: Fn(Connection, Vec<String>) -> Fut,
        Fut: Future<Output = Outcome<Outcomes<String, T>>> + Send + 'static,
    {
        let mut attempts = self.attempts(keys);
        while let Some(pending) = attempts.next().await {
            let mut outcomes = Outcomes::new();
            let mut shares: BTreeMap<i32, Vec<String>> = BTreeMap::new();
            for (key, found) in self.find_coordinators_once(kind, &pending).await {
                match found {
                    Ok(node) => shares.entry(node).or_default().push(key),
                    Err(error) => drop(outcomes.insert(key, Err(error))),
                }
            }
            outcomes.extend(self.ask_nodes(shares, &ask).await);
            for (key, outcome) in &outcomes {
                // Nobody answered, or somebody said that it is another.
                let Err(error) = outcome else { continue };
                let class = error.code().map(ErrorCode::class);
                if class.is_none_or(|class| class == RetryClass::RefreshCoordinator) {
                    self.forget_coordinator(kind, key);
                }
            }
            attempts.settle(pending, Ok(outcomes));
        }
        attempts.finish()
    }
}

async fn find_many(
    connection: &Connection,
    kind: CoordinatorKind,
    keys: &[String],
) -> Outcome<Outcomes<String, i32>> {
    let wire_keys = keys.iter().map(|key| StrBytes::from_string(key.clone())).collect();
    let request = FindCoordinatorRequest::default()
        .with_key_type(kind as i8)
        .with_coordinator_keys(wire_keys);
    let answer = connection.call(request).await?;
    let found = answer.coordinators.iter().map(|one| {
        let message = one.error_message.as_deref();
        let node = one.node_id.0;
        let found = outcome::<FindCoordinatorRequest, _>(connection, one.error_code, message, node);
        (one.key.to_string(), found)
    });
    Ok(found.collect())
}

async fn find_one_by_one(
    connection: &Connection,
    kind: CoordinatorKind,
    keys: &[String],
) -> Outcome<Outcomes<String, i32>> {
    let mut outcomes = Outcomes::new();
    for key in keys {
        let request = FindCoordinatorRequest::default()
            .with_key_type(kind as i8)
            .with_key(StrBytes::from_string(key.clone()));
        let one = connection.call(request).await?;
        let message = one.error_message.as_deref();
        let node = one.node_id.0;
        let found = outcome::<FindCoordinatorRequest, _>(connection, one.error_code, message, node);
        outcomes.insert(key.clone(), found);
    }
    Ok(outcomes)
}
