//! A produce lane: one connection to one target broker, the partitions that have something for it, and the requests
//! under way. A partition stays on one lane; a request takes all that waits, one batch per partition.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::event::PartitionKey;
use super::link::Link;
use crate::model::Moment;

/// Requests that may be under way on one connection. The broker handles them one by one; the next ones wait in the
/// kernel's buffers and spare the round trip.
const REQUESTS_UNDER_WAY: usize = 5;

/// How long an answer may take before the lane's partitions stop pinning memory for it.
const STALL: Duration = Duration::from_secs(5);

/// Produce lane towards one broker.
#[derive(Debug)]
pub(super) struct ProduceLane {
    pub(super) link: Link,
    ready: VecDeque<PartitionKey>,
    under_way: BTreeMap<u64, Request>,
    stalled: bool,
}

#[derive(Debug)]
struct Request {
    sent_at: Moment,
    /// The partitions that have a batch in it, one each.
    carried: Vec<PartitionKey>,
}

impl ProduceLane {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            link: Link::new(now),
            ready: VecDeque::new(),
            under_way: BTreeMap::new(),
            // Nothing is fetched for a connection that is not there yet.
            stalled: true,
        }
    }

    /// A partition has something to send; call once until [`ProduceLane::take_ready`] has given it out.
    pub(super) fn push_ready(&mut self, key: PartitionKey) {
        self.ready.push_back(key);
    }

    /// Takes a partition out of the list.
    pub(super) fn drop_ready(&mut self, key: PartitionKey) {
        self.ready.retain(|waiting| *waiting != key);
    }

    /// Whether a request may be built now.
    pub(super) fn can_send(&self) -> bool {
        self.link.is_up() && self.under_way.len() < REQUESTS_UNDER_WAY && !self.ready.is_empty()
    }

    /// How many partitions wait at present.
    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The partition that has waited longest.
    pub(super) fn take_ready(&mut self) -> Option<PartitionKey> {
        self.ready.pop_front()
    }

    /// A request went out.
    pub(super) fn sent(&mut self, now: Moment, request: u64, carried: Vec<PartitionKey>) {
        self.under_way.insert(request, Request { sent_at: now, carried });
    }

    /// A request was answered: what it carried.
    pub(super) fn answered(&mut self, request: u64) -> Option<Vec<PartitionKey>> {
        self.under_way.remove(&request).map(|request| request.carried)
    }

    /// The connection is gone: everything that was under way.
    pub(super) fn lose(&mut self) -> Vec<(u64, PartitionKey)> {
        let under_way = std::mem::take(&mut self.under_way).into_iter();
        under_way
            .flat_map(|(number, request)| request.carried.into_iter().map(move |key| (number, key)))
            .collect()
    }

    /// When the oldest request has waited too long, unless the lane is stalled already.
    pub(super) fn stall_at(&self) -> Option<Moment> {
        let oldest = self.under_way.first_key_value()?.1.sent_at;
        (!self.stalled).then(|| oldest + STALL)
    }

    /// Whether the lane's partitions hold back.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Sets whether the lane's partitions hold back; `true` when that is new.
    pub(super) fn set_stalled(&mut self, stalled: bool) -> bool {
        std::mem::replace(&mut self.stalled, stalled) != stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_named_with_its_request() {
        let start = Moment::default();
        let mut lane = ProduceLane::new(start);
        lane.sent(start, 4, vec![1, 2]);
        lane.sent(start, 5, vec![1]);
        assert_eq!(lane.answered(4), Some(vec![1, 2]));
        assert_eq!(lane.lose(), [(5, 1)]);
        assert_eq!(lane.answered(5), None);
    }

    #[test]
    fn a_lane_stalls_when_its_oldest_request_is_late() {
        let start = Moment::default();
        let mut lane = ProduceLane::new(start);
        assert!(lane.is_stalled(), "it is not there yet");
        lane.set_stalled(false);
        assert_eq!(lane.stall_at(), None);
        lane.sent(start, 1, vec![1]);
        lane.sent(start + STALL, 2, vec![1]);
        assert_eq!(lane.stall_at(), Some(start + STALL));
        assert!(lane.set_stalled(true) && !lane.set_stalled(true));
        assert_eq!(lane.stall_at(), None);
    }

    #[test]
    fn a_connection_carries_a_bounded_number_of_requests() {
        let start = Moment::default();
        let mut lane = ProduceLane::new(start);
        let incarnation = lane.link.try_connect(start, &mut 0).unwrap();
        lane.link.up(incarnation);
        assert!(!lane.can_send(), "nobody waits");
        lane.push_ready(1);
        for request in 0..REQUESTS_UNDER_WAY as u64 {
            assert!(lane.can_send());
            lane.sent(start, request, vec![1]);
        }
        assert!(!lane.can_send());
    }
}
