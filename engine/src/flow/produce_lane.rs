//! A produce lane: one connection to one target broker, the partitions that have something for it, and the requests
//! under way. What is under way of a partition is on one lane; a request takes all that waits, one batch per partition.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::event::PartitionKey;
use super::fleet::Answered;
use super::link::Link;
use super::pace::{self, Pace};
use crate::model::Moment;

/// Requests that may be under way on one connection. The broker handles them one by one; the next ones wait in the
/// kernel's buffers and spare the round trip.
const REQUESTS_UNDER_WAY: usize = 5;

/// The same over distance, where answers are long under way themselves; then bytes are what is measured out.
const FAR_REQUESTS_UNDER_WAY: usize = 32;

/// A broker that is farther than this is served with several lanes, if they pay. It answers when its followers have what it
/// was sent, so what looks like distance may be work up to here.
pub(super) const FAR: Duration = Duration::from_millis(10);

/// How long an answer may take before the lane's partitions stop pinning memory for it.
const STALL: Duration = Duration::from_secs(5);

/// Produce lane towards one broker.
#[derive(Debug)]
pub(super) struct ProduceLane {
    pub(super) link: Link,
    ready: VecDeque<PartitionKey>,
    under_way: BTreeMap<u64, Request>,
    bytes_under_way: usize,
    /// How many bytes those may be over distance: more would only wait in the kernel's buffers.
    pace: Pace,
    /// How many partitions are on it.
    members: usize,
    stalled: bool,
}

#[derive(Debug)]
struct Request {
    sent_at: Moment,
    bytes: usize,
    /// With what was under way then.
    all_bytes: usize,
    /// The partitions that have a batch in it, one each.
    carried: Vec<PartitionKey>,
}

impl ProduceLane {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            link: Link::new(now),
            ready: VecDeque::new(),
            under_way: BTreeMap::new(),
            bytes_under_way: 0,
            pace: Pace::new(pace::PRODUCE_BYTES),
            members: 0,
            // Nothing is fetched for a connection that is not there yet.
            stalled: true,
        }
    }

    /// A partition has something to send; call once until [`ProduceLane::take_ready`] has given it out.
    pub(super) fn push_ready(&mut self, key: PartitionKey) {
        self.ready.push_back(key);
    }

    /// One more partition is on it.
    pub(super) fn join(&mut self) {
        self.members += 1;
    }

    /// A partition is on it no longer; `waits` if it is in the list of those that have something to send.
    pub(super) fn leave(&mut self, key: PartitionKey, waits: bool) {
        self.members = self.members.saturating_sub(1);
        if waits {
            self.ready.retain(|waiting| *waiting != key);
        }
    }

    /// Whether a partition is on it.
    pub(super) fn has_members(&self) -> bool {
        self.members > 0
    }

    /// Whether no partition is on it, and nobody's answer is awaited: a partition that has let go of what it had sent may be
    /// gone before that is answered.
    pub(super) fn is_deserted(&self) -> bool {
        self.members == 0 && self.under_way.is_empty()
    }

    /// Whether a request may be built now.
    pub(super) fn can_send(&self) -> bool {
        self.link.is_up() && !self.is_full() && !self.ready.is_empty()
    }

    /// Whether as much is under way as may be.
    fn is_full(&self) -> bool {
        let requests = self.under_way.len();
        if self.link.round_trip() < FAR {
            return requests >= REQUESTS_UNDER_WAY;
        }
        let is_heavy = requests > 0 && self.bytes_under_way >= self.pace.wish_bytes();
        requests >= FAR_REQUESTS_UNDER_WAY || is_heavy
    }

    /// How many partitions wait at present.
    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The partition that has waited longest.
    pub(super) fn take_ready(&mut self) -> Option<PartitionKey> {
        self.ready.pop_front()
    }

    /// A request of so many bytes went out.
    pub(super) fn sent(
        &mut self,
        now: Moment,
        request: u64,
        bytes: usize,
        carried: Vec<PartitionKey>,
    ) {
        self.bytes_under_way += bytes;
        let all_bytes = self.bytes_under_way;
        self.under_way.insert(request, Request { sent_at: now, bytes, all_bytes, carried });
    }

    /// A request was answered: what it carried, and what that says about the line.
    pub(super) fn answered(
        &mut self,
        now: Moment,
        request: u64,
    ) -> Option<(Vec<PartitionKey>, Answered)> {
        let is_full = self.is_full();
        let request = self.under_way.remove(&request)?;
        let Request { sent_at, bytes, all_bytes, carried } = request;
        self.bytes_under_way -= bytes;
        let took = now - sent_at;
        self.link.began(took);
        let round_trip = self.link.round_trip();
        self.pace.answered(round_trip, took, all_bytes, self.pace.wish_bytes());
        Some((carried, Answered { bytes, is_full, is_aside: false, took, round_trip }))
    }

    /// The connection is gone: everything that was under way.
    pub(super) fn lose(&mut self) -> Vec<(u64, PartitionKey)> {
        self.bytes_under_way = 0;
        self.pace = Pace::new(pace::PRODUCE_BYTES);
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

    /// A lane that took so long to connect.
    fn lane(took: Duration) -> ProduceLane {
        let start = Moment::default();
        let mut lane = ProduceLane::new(start);
        let incarnation = lane.link.try_connect(start, &mut 0).unwrap();
        lane.link.up(start + took, incarnation);
        lane
    }

    #[test]
    fn what_is_lost_is_named_with_its_request() {
        let start = Moment::default();
        let mut lane = ProduceLane::new(start);
        lane.sent(start, 4, 100, vec![1, 2]);
        lane.sent(start, 5, 100, vec![1]);
        let answered = lane.answered(start, 4);
        assert_eq!(answered.map(|(carried, _)| carried), Some(vec![1, 2]));
        assert_eq!(lane.lose(), [(5, 1)]);
        assert!(lane.answered(start, 5).is_none());
        assert_eq!(lane.bytes_under_way, 0);
    }

    #[test]
    fn a_lane_stalls_when_its_oldest_request_is_late() {
        let start = Moment::default();
        let mut lane = ProduceLane::new(start);
        assert!(lane.is_stalled(), "it is not there yet");
        lane.set_stalled(false);
        assert_eq!(lane.stall_at(), None);
        lane.sent(start, 1, 100, vec![1]);
        lane.sent(start + STALL, 2, 100, vec![1]);
        assert_eq!(lane.stall_at(), Some(start + STALL));
        assert!(lane.set_stalled(true) && !lane.set_stalled(true));
        assert_eq!(lane.stall_at(), None);
    }

    /// How many requests of so many bytes go out before one is answered.
    fn requests(lane: &mut ProduceLane, bytes: usize) -> u64 {
        lane.push_ready(1);
        let mut requests = 0;
        while lane.can_send() && requests < 100 {
            lane.sent(Moment::default(), requests, bytes, vec![1]);
            requests += 1;
        }
        requests
    }

    #[test]
    fn a_connection_carries_a_bounded_number_of_requests() {
        let mut near = lane(Duration::from_millis(1));
        assert!(!near.can_send(), "nobody waits");
        assert_eq!(requests(&mut near, 1 << 20), 5);
        let (_, answered) = near.answered(Moment::default(), 0).unwrap();
        assert!(answered.is_full, "it could not take more");
        let (_, answered) = near.answered(Moment::default(), 1).unwrap();
        assert!(!answered.is_full);
    }

    #[test]
    fn over_distance_many_small_requests_are_under_way_or_few_large_ones() {
        let far = Duration::from_millis(200);
        assert_eq!(requests(&mut lane(far), 1000), 32);
        assert_eq!(requests(&mut lane(far), 100_000), 3);
        assert_eq!(requests(&mut lane(far), 5 << 20), 1);
    }
}
