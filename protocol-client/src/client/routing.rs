//! Whom to ask, and when to ask again.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Client;
use crate::cluster::TopicPartition;
use crate::cluster::metadata::{Freshness, Topics};
use crate::error::ClientError;
use crate::net::Connection;
use crate::wire::api::Api;
use crate::wire::error_code::{ErrorCode, RetryClass};

/// What a call about one item came to.
pub(crate) type Outcome<T> = Result<T, ClientError>;

/// Outcomes by item.
pub(crate) type Outcomes<K, T> = BTreeMap<K, Outcome<T>>;

/// The outcome that a broker's error code for one item means.
pub(super) fn outcome<R: Api, T>(
    connection: &Connection,
    code: i16,
    message: Option<&str>,
    value: T,
) -> Outcome<T> {
    match ErrorCode(code).ok() {
        Ok(()) => Ok(value),
        Err(code) => Err(refused::<R>(connection, code, message)),
    }
}

pub(super) fn refused<R: Api>(
    connection: &Connection,
    code: ErrorCode,
    message: Option<&str>,
) -> ClientError {
    let error = ClientError::refused(code, message.map(str::to_owned));
    error.at(connection.broker()).during(R::ID.name)
}

/// Fails if the whole request was refused.
pub(super) fn accepted<R: Api>(
    connection: &Connection,
    code: i16,
    message: Option<&str>,
) -> Result<(), ClientError> {
    outcome::<R, ()>(connection, code, message, ())
}

impl Client {
    /// Tries until it works, cannot work, or time is up. Brings the view up to date where the
    /// error says that it was out of date.
    pub(super) async fn retry<T>(
        &self,
        mut attempt: impl AsyncFnMut() -> Outcome<T>,
    ) -> Outcome<T> {
        let only = async |_: &[()]| BTreeMap::from([((), attempt().await)]);
        let mut outcomes = self.retry_each(vec![()], only).await;
        outcomes.remove(&()).expect("every item has an outcome")
    }

    /// Like [`retry`](Self::retry) for many items at once: what failed for a reason that passes is
    /// tried again, together. An item that an attempt leaves out has failed.
    pub(super) async fn retry_each<K: Ord + Clone, T>(
        &self,
        items: Vec<K>,
        mut attempt: impl AsyncFnMut(&[K]) -> Outcomes<K, T>,
    ) -> Outcomes<K, T> {
        let deadline = Instant::now() + self.0.options.call_timeout;
        let mut done = Outcomes::new();
        let mut pending = items;
        for failures in 1.. {
            let mut outcomes = attempt(&pending).await;
            let mut again = Vec::new();
            let mut stale = false;
            for item in pending {
                let left_out = || Err(ClientError::unexpected("the answer leaves out an item"));
                let outcome = outcomes.remove(&item).unwrap_or_else(left_out);
                if let Err(error) = outcome.as_ref().map(drop)
                    && error.retryable()
                {
                    stale |= makes_view_stale(error);
                    again.push(item.clone());
                }
                done.insert(item, outcome);
            }
            let pause = self.0.options.backoff.pause(failures, fastrand::f64());
            if again.is_empty() || Instant::now() + pause >= deadline {
                break;
            }
            sleep(pause).await;
            if stale {
                // The next attempt finds out by itself if this fails.
                let _ = self.refresh_nodes().await;
            }
            pending = again;
        }
        done
    }

    /// The shared connection to the controller, or to any broker where none is known.
    async fn controller(&self) -> Outcome<Connection> {
        let view = match self.view() {
            view if view.generation == 0 => self.refresh_nodes().await?,
            view => view,
        };
        match view.controller {
            Some(controller) => self.node(controller).await,
            None => self.any().await,
        }
    }

    /// Asks the controller about many items and tries failed ones again.
    pub(super) async fn ask_controller<K: Ord + Clone, T>(
        &self,
        items: Vec<K>,
        mut ask: impl AsyncFnMut(&Connection, &[K]) -> Outcome<Outcomes<K, T>>,
    ) -> Outcomes<K, T> {
        self.retry_each(items, async |pending: &[K]| {
            let asked = self.ask_for_each(pending, async |pending: &[K]| {
                let connection = self.controller().await?;
                ask(&connection, pending).await
            });
            asked.await
        })
        .await
    }

    /// Sends one request about many items to one broker; a failure of the request is a failure of
    /// each item.
    pub(super) async fn ask_for_each<K: Ord + Clone, T>(
        &self,
        items: &[K],
        ask: impl AsyncFnOnce(&[K]) -> Outcome<Outcomes<K, T>>,
    ) -> Outcomes<K, T> {
        match ask(items).await {
            Ok(outcomes) => outcomes,
            Err(error) => items.iter().map(|item| (item.clone(), Err(error.clone()))).collect(),
        }
    }

    /// Asks the leader of each partition, all leaders at once, and tries failed ones again.
    ///
    /// `ask` gets a leader's connection and its share of the questions.
    pub(super) async fn ask_leaders<Q, T, F, Fut>(
        &self,
        questions: BTreeMap<TopicPartition, Q>,
        ask: F,
    ) -> Outcomes<TopicPartition, T>
    where
        Q: Clone,
        T: Send + 'static,
        F: Fn(Connection, Vec<(TopicPartition, Q)>) -> Fut,
        Fut: Future<Output = Outcome<Outcomes<TopicPartition, T>>> + Send + 'static,
    {
        let items = questions.keys().cloned().collect();
        let mut generation = None;
        self.retry_each(items, async |pending: &[TopicPartition]| {
            let (shares, mut outcomes) = self.leaders(pending, &mut generation).await;
            let mut asking = JoinSet::new();
            for (leader, share) in shares {
                let connection = match self.node(leader).await {
                    Ok(connection) => connection,
                    Err(error) => {
                        outcomes.extend(share.into_iter().map(|item| (item, Err(error.clone()))));
                        continue;
                    }
                };
                let with_questions =
                    share.iter().map(|item| (item.clone(), questions[item].clone()));
                let answer = ask(connection, with_questions.collect());
                asking.spawn(async move {
                    match answer.await {
                        Ok(outcomes) => outcomes,
                        Err(error) => {
                            share.into_iter().map(|item| (item, Err(error.clone()))).collect()
                        }
                    }
                });
            }
            for answered in asking.join_all().await {
                outcomes.extend(answered);
            }
            outcomes
        })
        .await
    }

    /// Groups partitions by leader. In the first attempt the view may be as old as allowed, in
    /// later ones (`generation` is set) it must be newer than what failed.
    async fn leaders<T>(
        &self,
        partitions: &[TopicPartition],
        generation: &mut Option<u64>,
    ) -> (BTreeMap<i32, Vec<TopicPartition>>, Outcomes<TopicPartition, T>) {
        let names = partitions.iter().map(|one| Arc::clone(&one.topic)).collect();
        let freshness = match *generation {
            Some(used) => Freshness::NewerThan(used),
            None => Freshness::WithinAge(self.0.options.metadata_max_age),
        };
        let mut shares: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        let mut outcomes = Outcomes::new();
        let view = match self.refresh_once(&Topics::Named(names), freshness).await {
            Ok(view) => view,
            Err(error) => {
                let all = partitions.iter();
                return (shares, all.map(|one| (one.clone(), Err(error.clone()))).collect());
            }
        };
        *generation = Some(view.generation);
        for partition in partitions {
            match view.leader_or_why(partition) {
                Ok(leader) => shares.entry(leader).or_default().push(partition.clone()),
                Err(error) => drop(outcomes.insert(partition.clone(), Err(error))),
            }
        }
        (shares, outcomes)
    }
}

fn makes_view_stale(error: &ClientError) -> bool {
    match error.code() {
        Some(code) => {
            matches!(code.class(), RetryClass::RefreshController | RetryClass::RefreshMetadata)
        }
        // A broker that cannot be reached may have left the cluster.
        None => true,
    }
}
