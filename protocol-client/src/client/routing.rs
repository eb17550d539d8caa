//! Whom to ask, and when to ask again.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Client;
use crate::cluster::TopicPartition;
use crate::cluster::metadata::{Freshness, Topics};
use crate::error::ClientError;
use crate::net::Connection;
use crate::wire::api::Api;
use crate::wire::error_code::{ErrorCode, RetryClass};

/// The pause before a transaction is asked about whose predecessor has not ended yet, as in Kafka's
/// `TransactionManager` (`ADD_PARTITIONS_RETRY_BACKOFF_MS`).
const MARKERS_PAUSE: Duration = Duration::from_millis(20);

/// The first pause for a leader or a coordinator that is about to be one; each is half as long again as the one before,
/// until it is as long as any other. A topic shows before its leaders lead, mostly some ten milliseconds.
const LEADER_PAUSE: Duration = Duration::from_millis(10);

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

/// A failed request is a failure of every item it was about.
pub(super) fn each_of<K: Ord + Clone, T>(
    items: &[K],
    answered: Outcome<Outcomes<K, T>>,
) -> Outcomes<K, T> {
    answered.unwrap_or_else(|error| {
        items.iter().map(|item| (item.clone(), Err(error.clone()))).collect()
    })
}

/// A call about some items, and its attempts: what fails for a reason that passes is tried again,
/// together, until time is up.
///
/// ```text
/// let mut attempts = client.attempts(items);
/// while let Some(pending) = attempts.next().await {
///     attempts.settle(pending, ask(..).await);
/// }
/// attempts.finish()
/// ```
pub(super) struct Attempts<'a, K, T> {
    client: &'a Client,
    started: Instant,
    failures: u32,
    /// Some failure says that the view of the cluster is out of date.
    is_view_stale: bool,
    /// What all failures come from, if it is the same.
    cause: Option<Cause>,
    pending: Vec<K>,
    outcomes: Outcomes<K, T>,
}

impl<K: Ord + Clone, T> Attempts<'_, K, T> {
    /// What to ask for now; `None` when everything has its final outcome.
    pub(super) async fn next(&mut self) -> Option<Vec<K>> {
        if self.pending.is_empty() {
            return None;
        }
        if self.failures > 0 {
            let backoff = self.client.0.options.backoff;
            let usual = backoff.pause(self.failures, fastrand::f64());
            let pause = pause(self.cause.take(), self.failures, usual);
            if Instant::now() + pause >= self.started + self.client.0.options.call_timeout {
                return None;
            }
            sleep(pause).await;
        }
        if std::mem::take(&mut self.is_view_stale) {
            // If this fails, the attempt itself finds out.
            let _ = self.client.refresh_nodes().await;
        }
        Some(std::mem::take(&mut self.pending))
    }

    /// Takes what came of an attempt about `asked`. An item that is left out has failed; so have
    /// all if the request itself failed.
    pub(super) fn settle(&mut self, asked: Vec<K>, answered: Outcome<Outcomes<K, T>>) {
        let (mut outcomes, missing) = match answered {
            Ok(outcomes) => {
                (outcomes, ClientError::unexpected("the answer leaves out what was asked for"))
            }
            Err(error) => (Outcomes::new(), error),
        };
        let mut causes = BTreeSet::new();
        for item in asked {
            let outcome = outcomes.remove(&item).unwrap_or_else(|| Err(missing.clone()));
            if let Err(error) = outcome.as_ref()
                && self.is_worth_another(error)
            {
                self.is_view_stale |= makes_view_stale(error);
                causes.insert(Cause::of(error));
                self.pending.push(item.clone());
            }
            self.outcomes.insert(item, outcome);
        }
        self.cause = causes.pop_last().filter(|_| causes.is_empty());
        self.failures += 1;
    }

    fn is_worth_another(&self, error: &ClientError) -> bool {
        let is_unknown = matches!(
            error.code(),
            Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID)
        );
        let patience = self.client.0.options.unknown_topic_timeout;
        error.retryable() && (!is_unknown || self.started.elapsed() < patience)
    }

    pub(super) fn finish(self) -> Outcomes<K, T> {
        self.outcomes
    }
}

impl<T> Attempts<'_, (), T> {
    /// Takes what came of an attempt at a call that is not about items.
    pub(super) fn settle_one(&mut self, outcome: Outcome<T>) {
        self.settle(vec![()], Ok(Outcomes::from([((), outcome)])));
    }

    pub(super) fn finish_one(mut self) -> Outcome<T> {
        self.outcomes.remove(&()).expect("the first attempt is always made")
    }
}

impl Client {
    pub(super) fn attempts<K: Ord + Clone, T>(&self, items: Vec<K>) -> Attempts<'_, K, T> {
        Attempts {
            client: self,
            started: Instant::now(),
            failures: 0,
            is_view_stale: false,
            cause: None,
            pending: items,
            outcomes: Outcomes::new(),
        }
    }

    /// The shared connection to the controller, or to any broker where none is known.
    pub(super) async fn controller(&self) -> Outcome<Connection> {
        match self.controller_id().await? {
            Some(controller) => self.node(controller).await,
            None => self.any().await,
        }
    }

    /// The same over a connection of the caller's own. What controllers write waits to be written together
    /// (`controller.quorum.append.linger.ms`, 25 ms), and a broker answers the requests of one connection one after the
    /// other: calls side by side share that wait, and nothing else waits for them.
    pub(super) async fn controller_alone(&self) -> Outcome<Connection> {
        match self.controller_id().await? {
            Some(node) => self.connect_to(node, &self.0.connection_options).await,
            None => self.any().await,
        }
    }

    async fn controller_id(&self) -> Outcome<Option<i32>> {
        let view = match self.view() {
            view if view.generation == 0 => self.refresh_nodes().await?,
            view => view,
        };
        Ok(view.controller)
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
        let mut attempts = self.attempts(questions.keys().cloned().collect());
        let mut generation = None;
        while let Some(pending) = attempts.next().await {
            let (shares, mut outcomes) = self.leaders(&pending, &mut generation).await;
            let ask = |connection, share: Vec<TopicPartition>| {
                let with_question = |item: TopicPartition| (item.clone(), questions[&item].clone());
                ask(connection, share.into_iter().map(with_question).collect())
            };
            outcomes.extend(self.ask_nodes(shares, ask).await);
            attempts.settle(pending, Ok(outcomes));
        }
        attempts.finish()
    }

    /// Asks several nodes at once, each about its share; a failed request fails its share.
    pub(super) async fn ask_nodes<K, T, F, Fut>(
        &self,
        shares: BTreeMap<i32, Vec<K>>,
        ask: F,
    ) -> Outcomes<K, T>
    where
        K: Ord + Clone + Send + 'static,
        T: Send + 'static,
        F: Fn(Connection, Vec<K>) -> Fut,
        Fut: Future<Output = Outcome<Outcomes<K, T>>> + Send + 'static,
    {
        let mut outcomes = Outcomes::new();
        let mut asking = JoinSet::new();
        for (node, share) in shares {
            match self.node(node).await {
                Ok(connection) => {
                    let answer = ask(connection, share.clone());
                    asking.spawn(async move { (share, answer.await) });
                }
                Err(error) => outcomes.extend(each_of(&share, Err(error))),
            }
        }
        while let Some(answered) = asking.join_next().await {
            // A task only fails when the runtime shuts down; its items count as left out.
            if let Ok((share, answered)) = answered {
                outcomes.extend(each_of(&share, answered));
            }
        }
        outcomes
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

/// What a failure comes from, as far as it says how soon another attempt is worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// An earlier transaction has not ended yet, a matter of milliseconds.
    Markers,
    /// The broker is up, but whoever is to answer does not lead or coordinate yet, or no more.
    Leader,
    /// Anything else.
    Other,
}

impl Cause {
    fn of(error: &ClientError) -> Self {
        let Some(code) = error.code() else { return Self::Other };
        match code.class() {
            _ if code == ErrorCode::CONCURRENT_TRANSACTIONS => Self::Markers,
            _ if code == ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => Self::Leader,
            RetryClass::RefreshMetadata | RetryClass::RefreshCoordinator => Self::Leader,
            _ => Self::Other,
        }
    }
}

/// The pause after so many failures in a row that have this cause, where it would be `usual` else.
fn pause(cause: Option<Cause>, failures: u32, usual: Duration) -> Duration {
    match cause {
        Some(Cause::Markers) => MARKERS_PAUSE,
        Some(Cause::Leader) => {
            let growth = 1.5f64.powi(failures.saturating_sub(1).min(20).cast_signed());
            LEADER_PAUSE.mul_f64(growth).min(usual)
        }
        Some(Cause::Other) | None => usual,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientOptions;

    fn error(code: ErrorCode) -> ClientError {
        ClientError::refused(code, None)
    }

    #[test]
    fn a_leader_that_is_about_to_lead_is_asked_soon_and_then_less_and_less() {
        let usual = [80, 200, 400, 800, 1000].map(Duration::from_millis);
        let pauses = |cause| -> Vec<u128> {
            let pauses = usual.iter().zip(1..).map(|(usual, n)| pause(cause, n, *usual));
            pauses.map(|pause| pause.as_millis()).collect()
        };
        assert_eq!(pauses(Some(Cause::Leader)), [10, 15, 22, 33, 50]);
        assert_eq!(pauses(Some(Cause::Markers)), [20; 5]);
        assert_eq!(pauses(Some(Cause::Other)), [80, 200, 400, 800, 1000]);
        assert_eq!(pauses(None), [80, 200, 400, 800, 1000]);
        let short = Duration::from_millis(1);
        assert_eq!(pause(Some(Cause::Leader), u32::MAX, short), short, "as short as asked for");
    }

    #[tokio::test]
    async fn one_failure_of_another_kind_makes_the_pause_the_usual_one() {
        let client = Client::new(ClientOptions::default());
        let cause_of = |codes: &[ErrorCode]| {
            let items: Vec<usize> = (0..codes.len()).collect();
            let mut attempts: Attempts<'_, usize, ()> = client.attempts(items.clone());
            let outcomes = codes.iter().map(|code| Err(error(*code))).enumerate().collect();
            attempts.settle(items, Ok(outcomes));
            attempts.cause
        };
        let (moved, unknown) =
            (ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(cause_of(&[moved, unknown]), Some(Cause::Leader));
        assert_eq!(cause_of(&[ErrorCode::COORDINATOR_LOAD_IN_PROGRESS]), Some(Cause::Leader));
        assert_eq!(cause_of(&[ErrorCode::CONCURRENT_TRANSACTIONS]), Some(Cause::Markers));
        assert_eq!(cause_of(&[moved, ErrorCode::REQUEST_TIMED_OUT]), None);
        assert_eq!(cause_of(&[moved, ErrorCode::CONCURRENT_TRANSACTIONS]), None);
        assert_eq!(cause_of(&[ErrorCode::REQUEST_TIMED_OUT]), Some(Cause::Other));
        // What is not asked again has no say.
        assert_eq!(cause_of(&[moved, ErrorCode::TOPIC_ALREADY_EXISTS]), Some(Cause::Leader));
    }
}
