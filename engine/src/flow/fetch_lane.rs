//! A fetch lane: one connection to one source broker, its fetch session, and one request under way at most.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol_client::conn::fetch_session::{
    FetchLimits, FetchSession, Fetched, SessionError, SessionTopic, Want,
};
use protocol_client::wire::error_code::RetryClass;
use protocol_client::wire::fetch::{RawFetch, RawFetchAnswer};

use super::bandwidth::{Fare, Gate, LEAST_ASK_BYTES};
use super::event::PartitionKey;
use super::fleet::Answered;
use super::frames::Frames;
use super::link::Link;
use super::pace::Pace;
use super::settings::ShardSettings;
use super::split::Asked;
use crate::model::Moment;

/// How long a broker may hold an empty fetch while the queues of some partitions are full, in milliseconds: they come back
/// as soon as the target has taken half of what waits, and a waiting fetch would keep them out.
const SHORT_WAIT_MS: i32 = 5;

/// What a lane asks for at least, in bytes, however many lanes share a small budget. A broker that has records sends one
/// whole batch at least (KIP-74), so this costs round trips but stops nobody.
const LEAST_BYTES: usize = 1 << 10;

/// What a partition's part of an answer may be at least, in bytes, however many share it: less would be more requests
/// than the target takes batches.
const LEAST_PART_BYTES: usize = 256 << 10;

/// Whether a request may wait for room in the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    WhenThereIsRoom,
    Now,
}

/// Fetch lane towards one broker.
#[derive(Debug)]
pub(super) struct FetchLane {
    link: Link,
    pace: Pace,
    session: FetchSession,
    /// Partitions that will want records again as soon as some of theirs have left.
    held_back: BTreeSet<PartitionKey>,
    /// A span of a partition that several lanes read, asked for with the next request or the one under way.
    span: Option<(PartitionKey, Asked)>,
    reserved: Option<usize>,
    /// What the answer under way may hold, in bytes, if there is enough of everything.
    full_bytes: usize,
    /// What the request under way has taken of the limits of bandwidth.
    fare: Option<Fare>,
    /// What the next one may ask for under such limits, in bytes.
    allowance: usize,
}

impl FetchLane {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            link: Link::new(now),
            pace: Pace::new(),
            session: FetchSession::default(),
            held_back: BTreeSet::new(),
            span: None,
            reserved: None,
            full_bytes: 0,
            fare: None,
            allowance: LEAST_ASK_BYTES,
        }
    }

    /// Its connection.
    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Starts to connect if that is due; answers the number of the attempt.
    pub(super) fn try_connect(&mut self, now: Moment, last: &mut u64) -> Option<u64> {
        let attempt = self.link.try_connect(now, last)?;
        self.pace.connecting(now);
        Some(attempt)
    }

    /// The attempt with this number succeeded; `false` when it is not the present one.
    pub(super) fn up(&mut self, now: Moment, incarnation: u64) -> bool {
        let is_present = self.link.up(incarnation);
        if is_present {
            self.pace.connected(now);
        }
        is_present
    }

    /// The connection with this number is lost, and with it the session; `false` when it is not the present one.
    pub(super) fn down(
        &mut self,
        now: Moment,
        incarnation: u64,
        rng: &mut fastrand::Rng,
        frames: &mut Frames,
    ) -> bool {
        let is_present = self.link.down(now, incarnation, rng);
        if is_present {
            self.lose(frames);
        }
        is_present
    }

    /// A partition wants records.
    pub(super) fn want(&mut self, key: PartitionKey, topic: &SessionTopic, index: i32, want: Want) {
        self.held_back.remove(&key);
        self.span.take_if(|(other, _)| *other == key);
        // In steps, so that partitions that come and go do not change what is asked for the others.
        let sharing = self.session.len().max(1).next_power_of_two();
        let part = (self.pace.wish_bytes() / sharing).max(LEAST_PART_BYTES);
        let max_bytes = want.max_bytes.min(i32::try_from(part).unwrap_or(i32::MAX));
        self.session.set(key, topic, index, Want { max_bytes, ..want });
    }

    /// A partition wants none at present; `soon` if it may want some again at any moment.
    pub(super) fn leave(&mut self, key: PartitionKey, soon: bool) {
        self.session.remove(key);
        self.span.take_if(|(other, _)| *other == key);
        if soon {
            self.held_back.insert(key);
        } else {
            self.held_back.remove(&key);
        }
    }

    /// The span that it is to fetch, or fetches.
    pub(super) fn span(&self) -> Option<(PartitionKey, Asked)> {
        self.span
    }

    /// Whether it can take a span.
    pub(super) fn takes_span(&self) -> bool {
        self.link.is_up() && self.reserved.is_none() && self.span.is_none()
    }

    /// Whether a span is asked for and not answered.
    pub(super) fn awaits_span(&self) -> bool {
        self.span.is_some() && self.reserved.is_some()
    }

    /// Fetches a span of a partition, which wants nothing else of this lane.
    pub(super) fn give_span(
        &mut self,
        (key, asked): (PartitionKey, Asked),
        topic: &SessionTopic,
        index: i32,
        leader_epoch: i32,
    ) {
        self.span = Some((key, asked));
        let max_bytes = i32::try_from(asked.max_bytes).unwrap_or(i32::MAX);
        // Which epoch comes before the span is not known; a log that was cut shows where it is read in order.
        let want = Want { offset: asked.start, leader_epoch, last_fetched_epoch: -1, max_bytes };
        self.session.set(key, topic, index, want);
    }

    /// The span is no longer fetched.
    pub(super) fn end_span(&mut self) -> Option<(PartitionKey, Asked)> {
        let span = self.span.take();
        span.iter().for_each(|(key, _)| self.session.remove(*key));
        span
    }

    /// Whether the connection is free and somebody wants records.
    pub(super) fn wants_request(&self) -> bool {
        self.link.is_up() && self.reserved.is_none() && !self.session.is_empty()
    }

    /// How much the next request asks for, as one of so many lanes, in bytes.
    pub(super) fn wish_bytes(&self, lanes: usize, settings: &ShardSettings) -> usize {
        let share = (settings.under_way_bytes() / lanes.max(1)).max(LEAST_BYTES);
        let wish = share.min(settings.fetch_max_bytes.unsigned_abs() as usize);
        let wish = wish.min(self.pace.wish_bytes());
        if settings.bandwidth.is_some() { wish.min(self.allowance) } else { wish }
    }

    /// The next request, if the budget has room and the gate is open; call only when the lane wants one.
    pub(super) fn next_request(
        &mut self,
        now: Moment,
        lanes: usize,
        urgency: Urgency,
        settings: &ShardSettings,
        frames: &mut Frames,
        gate: Option<&mut Gate>,
    ) -> Option<RawFetch> {
        let mut wish = self.wish_bytes(lanes, settings);
        if let Some((_, asked)) = self.span {
            wish = wish.min(asked.max_bytes);
        }
        // However small the budget, somebody may always ask.
        let has_room = frames.free_bytes() >= wish || frames.used_bytes() == 0;
        if !has_room && urgency == Urgency::WhenThereIsRoom {
            return None;
        }
        let fare = match gate {
            Some(gate) => Some(gate.pass(now, wish)?),
            None => None,
        };
        let wish = fare.as_ref().map_or(wish, Fare::bytes);
        let all_in = self.held_back.is_empty();
        let max_wait_ms = if all_in {
            settings.fetch_max_wait_ms
        } else {
            SHORT_WAIT_MS.min(settings.fetch_max_wait_ms)
        };
        let max_bytes = i32::try_from(wish).unwrap_or(i32::MAX);
        let request = self.session.next_request(&FetchLimits {
            max_wait_ms,
            // A broker would wait in vain for more than it may send.
            min_bytes: settings.fetch_min_bytes.min(max_bytes),
            max_bytes,
            isolation: settings.isolation,
            rack: String::new(),
        })?;
        frames.reserve(wish);
        self.reserved = Some(wish);
        let part_bytes = settings.fetch_partition_max_bytes.unsigned_abs() as usize;
        self.full_bytes = match self.span {
            Some((_, asked)) => asked.max_bytes,
            None => self.session.len().saturating_mul(part_bytes),
        };
        self.full_bytes = self.full_bytes.min(wish);
        self.fare = fare;
        self.pace.asked(now);
        Some(request)
    }

    /// An answer came with so many bytes, the first of them after `waited`; what that says about the line.
    pub(super) fn measure(
        &mut self,
        now: Moment,
        bytes: usize,
        waited: Option<Duration>,
    ) -> Answered {
        if let Some(fare) = self.fare.take() {
            self.allowance = fare.settle(bytes);
        }
        let took = self.pace.answered(now, bytes, self.full_bytes, waited);
        let is_full = bytes > 0 && bytes >= self.full_bytes / 2;
        Answered { bytes, is_full, took, round_trip: self.pace.round_trip() }
    }

    /// The parts of an answer, each with its partition. A session that the broker forgot starts anew with the next request.
    ///
    /// # Errors
    /// The broker does not do what it should; asking again at once would not change that.
    pub(super) fn accept(
        &mut self,
        answer: RawFetchAnswer,
        frames: &mut Frames,
    ) -> Result<Vec<Fetched>, SessionError> {
        self.settle(frames);
        match self.session.accept(answer) {
            Err(SessionError::Refused(code)) if code.class() == RetryClass::Session => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
            Ok(fetched) => {
                self.link.worked();
                Ok(fetched)
            }
        }
    }

    /// The connection is gone; the next session starts anew.
    fn lose(&mut self, frames: &mut Frames) {
        self.settle(frames);
        self.session.abort();
    }

    /// What the request under way may bring, in bytes.
    pub(super) fn promised_bytes(&self) -> usize {
        self.reserved.unwrap_or(0)
    }

    /// The request under way is answered or lost.
    pub(super) fn settle(&mut self, frames: &mut Frames) {
        if let Some(bytes) = self.reserved.take() {
            frames.unreserve(bytes);
        }
        self.fare = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::flow::budget::Budget;

    const SOME_TIME: Urgency = Urgency::WhenThereIsRoom;

    fn lane() -> FetchLane {
        let start = Moment::default();
        let mut lane = FetchLane::new(start);
        let incarnation = lane.try_connect(start, &mut 0).unwrap();
        assert!(lane.up(start, incarnation));
        lane
    }

    fn want(lane: &mut FetchLane, key: PartitionKey) {
        let topic = SessionTopic { name: Arc::from("t"), id: Uuid::nil() };
        let want = Want { offset: 0, leader_epoch: -1, last_fetched_epoch: -1, max_bytes: 1 << 20 };
        lane.want(key, &topic, key as i32, want);
    }

    #[test]
    fn requests_stay_within_the_budget() {
        let settings = ShardSettings { budget: Budget::alone(1 << 20), ..ShardSettings::default() };
        let mut frames = Frames::new(settings.budget.clone());
        let mut lane = lane();
        assert!(!lane.wants_request(), "nobody wants records");
        want(&mut lane, 1);
        let request = lane
            .next_request(Moment::default(), 2, SOME_TIME, &settings, &mut frames, None)
            .unwrap();
        assert_eq!(request.max_bytes as usize, (1 << 20) / 8 * 3);
        assert_eq!(lane.promised_bytes(), frames.used_bytes());
        assert!(!lane.wants_request(), "one request at a time");
        lane.lose(&mut frames);
        assert_eq!(frames.used_bytes(), 0);
        frames.reserve(1 << 20);
        assert_eq!(
            lane.next_request(Moment::default(), 2, SOME_TIME, &settings, &mut frames, None),
            None
        );
    }

    #[test]
    fn only_full_partitions_keep_the_broker_from_waiting() {
        let settings = ShardSettings::default();
        let mut frames = Frames::new(settings.budget.clone());
        let mut lane = lane();
        want(&mut lane, 1);
        want(&mut lane, 2);
        let mut wait_ms = |lane: &mut FetchLane| {
            lane.lose(&mut frames);
            lane.next_request(Moment::default(), 1, SOME_TIME, &settings, &mut frames, None)
                .unwrap()
                .max_wait_ms
        };
        assert_eq!(wait_ms(&mut lane), settings.fetch_max_wait_ms);
        lane.leave(2, true);
        assert_eq!(wait_ms(&mut lane), SHORT_WAIT_MS);
        lane.leave(2, false);
        assert_eq!(wait_ms(&mut lane), settings.fetch_max_wait_ms);
    }
}
