//! What people read in the log about clusters, brokers and partitions: each trouble once, and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use protocol_client::ClientError;
use protocol_client::error::Fault;
use protocol_client::wire::error_code::ErrorCode;
use tracing::{debug, error, info, warn};

use crate::flow::event::{Failure, Happening, LaneId, NodeId, PartitionSpec, Report};
use crate::flow::shard::{Delivered, PartitionState, Progress};
use crate::model::Side;
use crate::positions::beginning::Surprise;

/// What to say of a request that failed: if an ACL is missing, which one.
pub(super) fn refusal(error: &ClientError, operation: &str, resource: &str) -> String {
    match error.code().is_some_and(ErrorCode::is_authorization) {
        true => format!("{error}; the ACL to add for kmirror's user: {operation} on {resource}"),
        false => error.to_string(),
    }
}

/// Distinct troubles that are remembered; a cluster that finds more words than this repeats itself.
const MAX_TROUBLES: usize = 64;

/// Troubles of one kind that people have heard of and that last.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeSet<String>);

impl Troubles {
    /// Whether people have to hear of this one.
    pub(super) fn is_new(&mut self, trouble: &str) -> bool {
        if self.0.len() >= MAX_TROUBLES {
            self.0.clear();
        }
        self.0.insert(trouble.to_owned())
    }

    /// It works; `true` if people have heard that it does not.
    pub(super) fn are_over(&mut self) -> bool {
        !std::mem::take(&mut self.0).is_empty()
    }
}

/// The shards that cannot reach a broker.
type Away = BTreeMap<(Side, NodeId), BTreeSet<usize>>;

/// Brokers that cannot be reached, over all shards of a flow.
#[derive(Debug, Clone)]
pub(super) struct Brokers {
    flow: Arc<str>,
    away: Arc<Mutex<Away>>,
}

impl Brokers {
    pub(super) fn new(flow: Arc<str>) -> Self {
        Self { flow, away: Arc::default() }
    }

    /// A data connection could not be opened, or is of no use; it is opened again with backoff.
    pub(super) fn unreachable(&self, shard: usize, lane: LaneId, error: &impl Display) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let shards = away.entry((lane.side, lane.node)).or_default();
        let is_news = shards.is_empty();
        shards.insert(shard);
        drop(away);
        let (flow, side, broker) = (&*self.flow, lane.side, lane.node);
        if is_news {
            warn!(flow, %side, broker, "the broker cannot be reached: {error}; tried again until it can");
        } else {
            debug!(flow, %side, broker, attempt = lane.incarnation, "not reached: {error}");
        }
    }

    /// A data connection is lost; it is opened again. Brokers close what is idle, so that alone is no news.
    pub(super) fn lost(&self, shard: usize, lane: LaneId, error: &ClientError) {
        match error.fault() {
            Fault::Disconnected { .. } | Fault::Closed => {
                let (flow, side, broker) = (&*self.flow, lane.side, lane.node);
                debug!(flow, %side, broker, attempt = lane.incarnation, "connection lost: {error}");
            }
            _ => self.unreachable(shard, lane, error),
        }
    }

    /// A data connection is open.
    pub(super) fn reached(&self, shard: usize, lane: LaneId) {
        if self.forget(shard, lane) {
            let (flow, side, broker) = (&*self.flow, lane.side, lane.node);
            info!(flow, %side, broker, "the broker is reached again");
        }
    }

    /// Nothing is wanted of the broker any more; `true` when no shard misses it now.
    pub(super) fn forget(&self, shard: usize, lane: LaneId) -> bool {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let broker = (lane.side, lane.node);
        let missed = away.get_mut(&broker).is_some_and(|shards| shards.remove(&shard));
        let is_over = missed && away.get(&broker).is_some_and(BTreeSet::is_empty);
        if is_over {
            away.remove(&broker);
        }
        is_over
    }
}

/// Something happened to a partition.
pub(super) fn report(flow: &str, report: &Report) {
    let (source, target, what) = (&report.source, &report.target, &report.what);
    match what {
        Happening::Started { .. } => debug!(flow, %source, %target, "{what}"),
        Happening::Recovered => info!(flow, %source, %target, "{what}"),
        Happening::TargetAway(_) | Happening::SourceAway(_) => {
            warn!(flow, %source, %target, "{what}")
        }
        // Only the marker that shut out a former run, or ended its transaction.
        Happening::Matched { records: 0, foreign: 0, repeated: 0, .. } => {
            debug!(flow, %source, %target, "{what}");
        }
        Happening::Matched { .. } => info!(flow, %source, %target, "{what}"),
        Happening::Foreign { .. } | Happening::NotMatched { .. } => {
            warn!(flow, %source, %target, "{what}");
        }
        Happening::Gap { .. } | Happening::SourceTruncated { .. } | Happening::Diverged(_) => {
            error!(flow, %source, %target, "{what}");
        }
        Happening::Failed(Failure::Recreated(_)) => error!(flow, %source, %target, "{what}"),
        Happening::Failed(_) => {
            error!(flow, %source, %target, "{what}; the other partitions go on; SIGHUP or a restart tries this one again");
        }
    }
}

/// A topic that was made anew has fewer partitions than the one before.
pub(super) fn shrunk(flow: &str, topic: &str, before: i32, now: i32) {
    error!(flow, %topic, "the topic has {now} partitions now, and {before} of the one before were copied: what partitions {now} to {} held behind their positions is lost; what they have at the target stays", before - 1);
}

/// A partition begins anew that was copied before; what is the same for all partitions of a topic is `told` once.
pub(super) fn surprise(flow: &str, spec: &PartitionSpec, surprise: Surprise, told: &mut bool) {
    let (source, target) = (&spec.source, &spec.target);
    match surprise {
        Surprise::SourceRecreated { lost_from, .. } => {
            error!(flow, %source, %target, "the topic was deleted and created again at the source: what the old one held from offset {lost_from} on is lost; the new one is copied from its beginning, behind the records of the old one");
        }
        Surprise::CopyGone if !std::mem::replace(told, true) => {
            let (source, target) = (&source.topic, &target.topic);
            warn!(flow, %source, %target, "the copy is gone from the target and was made anew; it is filled from the beginning of the source");
        }
        Surprise::CopyGone => {}
    }
}

/// A partition begins anew behind the copy of a topic that is gone, and the target does not hold all of that any more.
pub(super) fn lost_copy(flow: &str, spec: &PartitionSpec, (from, to): (i64, i64)) {
    let (source, target) = (&spec.source, &spec.target);
    error!(flow, %source, %target, "the target's log was cut: its offsets {from} to {} held copies of the topic that was deleted at the source; they are lost", to - 1);
}

/// A cluster's metadata could not be had; it is asked for again.
pub(super) fn refresh_failed(flow: &str, side: Side, error: &ClientError) {
    debug!(flow, %side, "metadata could not be refreshed: {error}");
}

/// What was done since the start, and what was not.
pub(super) fn end(flow: &str, progress: &[Progress], all_arrived: bool) {
    let mut all = Delivered::default();
    let mut of_state: BTreeMap<PartitionState, u64> = BTreeMap::new();
    for at in progress {
        all.add(&at.delivered);
        *of_state.entry(at.state).or_default() += 1;
    }
    let of_state = |state| of_state.get(&state).copied().unwrap_or(0);
    let (failed, retrying) = (of_state(PartitionState::Failed), of_state(PartitionState::Retrying));
    if !all_arrived || retrying > 0 {
        warn!(
            flow,
            "{retrying} partitions are in trouble: what they had under way is read again at the next start"
        );
    }
    if failed > 0 {
        warn!(
            flow,
            "{failed} partitions were stopped by errors; they are tried again at the next start"
        );
    }
    info!(
        flow,
        records = all.records,
        bytes = all.bytes,
        sealed_batches = all.sealed_batches,
        merged_batches = all.merged_batches,
        rewritten_batches = all.rewritten_batches,
        "ended"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: LaneId = LaneId { side: Side::Target, node: 7, number: 0, incarnation: 1 };

    #[test]
    fn a_trouble_is_news_once() {
        let mut troubles = Troubles::default();
        assert!(!troubles.are_over());
        assert!(troubles.is_new("refused"));
        assert!(troubles.is_new("timed out"));
        assert!(!troubles.is_new("refused"));
        assert!(troubles.are_over());
        assert!(troubles.is_new("refused"));
    }

    #[test]
    fn a_broker_is_back_when_every_shard_has_it_back() {
        let brokers = Brokers::new("A->B".into());
        let error = ClientError::new(Fault::Connect { reason: "refused".to_owned() });
        brokers.unreachable(0, LANE, &error);
        brokers.unreachable(1, LANE, &error);
        assert!(!brokers.forget(2, LANE), "it never missed the broker");
        assert!(!brokers.forget(0, LANE));
        assert!(brokers.forget(1, LANE));
        assert!(!brokers.forget(1, LANE));
    }

    #[test]
    fn a_connection_that_a_broker_closes_is_no_trouble() {
        let brokers = Brokers::new("A->B".into());
        let closed = ClientError::new(Fault::Disconnected { reason: "end of stream".to_owned() });
        brokers.lost(0, LANE, &closed);
        assert!(!brokers.forget(0, LANE));
        let silent = ClientError::new(Fault::Timeout { after: std::time::Duration::from_secs(1) });
        brokers.lost(0, LANE, &silent);
        assert!(brokers.forget(0, LANE));
    }
}
