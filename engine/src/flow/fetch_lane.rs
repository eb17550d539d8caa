//! A fetch lane: one connection to one source broker, its fetch session, and what is under way. One request is of the session,
//! the others are for spans of partitions that several lanes read.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use protocol_client::conn::fetch_session::{
    FetchLimits, FetchSession, Fetched, SessionError, SessionTopic, Want,
};
use protocol_client::wire::error_code::RetryClass;
use protocol_client::wire::fetch::{
    FetchPartition, FetchTopic, FetchedPartition, RawFetch, RawFetchAnswer, TopicRef,
};

use super::bandwidth::{Fare, Gate, LEAST_ASK_BYTES};
use super::event::PartitionKey;
use super::fleet::Answered;
use super::frames::Frames;
use super::link::Link;
use super::pace::{self, Pace};
use super::settings::ShardSettings;
use super::split::Asked;
use crate::model::Moment;

/// How long a broker may hold an empty fetch while the queues of some partitions are full, in milliseconds: they come back
/// as soon as the target has taken half of what waits, and a waiting fetch would keep them out. It would keep spans out too.
const SHORT_WAIT_MS: i32 = 5;

/// What a lane asks for at least, in bytes, however many lanes share a small budget. A broker that has records sends one
/// whole batch at least (KIP-74), so this costs round trips but stops nobody.
const LEAST_BYTES: usize = 1 << 10;

/// What a partition's part of an answer may be at least, in bytes, however many share it: less would be more requests
/// than the target takes batches.
const LEAST_PART_BYTES: usize = 256 << 10;

/// The epoch of a request that is of no session (KIP-227, `FetchMetadata.FINAL_EPOCH`).
const NO_SESSION: i32 = -1;

/// Whether a request may wait for room in the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    WhenThereIsRoom,
    Now,
}

/// Among how many requests the budget is shared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sharing {
    pub(super) lanes: usize,
    /// How many spans each may have under way; none if no partition is split.
    pub(super) spans: usize,
    /// Whether there are partitions that are not split.
    pub(super) has_others: bool,
}

impl Sharing {
    fn requests(self) -> usize {
        (self.lanes * (self.spans + usize::from(self.has_others))).max(1)
    }
}

/// A part of a partition that this lane is to read, while others read other parts.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) key: PartitionKey,
    pub(super) asked: Asked,
    pub(super) topic: SessionTopic,
    pub(super) partition: FetchPartition,
}

/// A request that is not answered.
#[derive(Debug, Default)]
struct UnderWay {
    since: Moment,
    reserved_bytes: usize,
    /// What the answer may hold, in bytes, if there is enough of everything.
    full_bytes: usize,
    /// What it has taken of the limits of bandwidth.
    fare: Option<Fare>,
    /// Nothing else was under way.
    is_first: bool,
    /// The broker may hold it until there are records.
    may_wait: bool,
    /// What it is for, if not for the session.
    span: Option<Box<Span>>,
}

/// What an answer brought.
#[derive(Debug)]
pub(super) enum Brought {
    /// The parts of the session's answer.
    Parts(Vec<Fetched>),
    /// A span, or nothing of it.
    Span(PartitionKey, Asked, Option<Box<FetchedPartition>>),
}

/// Fetch lane towards one broker.
#[derive(Debug)]
pub(super) struct FetchLane {
    link: Link,
    pace: Pace,
    session: FetchSession,
    /// Partitions that will want records again as soon as some of theirs have left.
    held_back: BTreeSet<PartitionKey>,
    /// To be asked for at once, or taken back.
    next_span: Option<Box<Span>>,
    /// In the order of their answers.
    under_way: VecDeque<UnderWay>,
    /// What the next request may ask for under limits of bandwidth, in bytes.
    allowance: usize,
}

impl FetchLane {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            link: Link::new(now),
            pace: Pace::new(pace::FETCH_BYTES),
            session: FetchSession::default(),
            held_back: BTreeSet::new(),
            next_span: None,
            under_way: VecDeque::new(),
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
        self.pace = Pace::new(pace::FETCH_BYTES);
        Some(attempt)
    }

    /// The attempt with this number succeeded; `false` when it is not the present one.
    pub(super) fn up(&mut self, now: Moment, incarnation: u64) -> bool {
        self.link.up(now, incarnation)
    }

    /// The connection with this number is lost, and with it the session; answers the spans that will not come, or `None`
    /// when it is not the present one.
    pub(super) fn down(
        &mut self,
        now: Moment,
        incarnation: u64,
        rng: &mut fastrand::Rng,
        frames: &mut Frames,
    ) -> Option<Vec<(PartitionKey, Asked)>> {
        let is_present = self.link.down(now, incarnation, rng);
        is_present.then(|| self.lose(frames))
    }

    /// A partition wants records.
    pub(super) fn want(&mut self, key: PartitionKey, topic: &SessionTopic, index: i32, want: Want) {
        self.held_back.remove(&key);
        // In steps, so that partitions that come and go do not change what is asked for the others.
        let sharing = self.session.len().max(1).next_power_of_two();
        let part = (self.pace.wish_bytes() / sharing).max(LEAST_PART_BYTES);
        let max_bytes = want.max_bytes.min(i32::try_from(part).unwrap_or(i32::MAX));
        self.session.set(key, topic, index, Want { max_bytes, ..want });
    }

    /// A partition wants none at present; `soon` if it may want some again at any moment.
    pub(super) fn leave(&mut self, key: PartitionKey, soon: bool) {
        self.session.remove(key);
        if soon {
            self.held_back.insert(key);
        } else {
            self.held_back.remove(&key);
        }
    }

    /// Whether it can take a span, if it may have so many under way.
    pub(super) fn takes_span(&self, most: usize) -> bool {
        let under_way = self.under_way.iter().filter(|one| one.span.is_some()).count();
        self.link.is_up() && under_way < most && !self.under_way.iter().any(|one| one.may_wait)
    }

    /// Fetches a span with the next request.
    pub(super) fn give_span(&mut self, span: Span) {
        self.next_span = Some(Box::new(span));
    }

    /// The span that it is to fetch.
    pub(super) fn next_span(&self) -> Option<(PartitionKey, Asked)> {
        self.next_span.as_ref().map(|span| (span.key, span.asked))
    }

    /// The span that it was to fetch, if it could not be asked for.
    pub(super) fn take_back_span(&mut self) -> Option<(PartitionKey, Asked)> {
        self.next_span.take().map(|span| (span.key, span.asked))
    }

    /// Whether a span is asked for and not answered.
    pub(super) fn awaits_span(&self) -> bool {
        self.under_way.iter().any(|one| one.span.is_some())
    }

    /// Whether the connection is free for the session and somebody in it wants records.
    pub(super) fn wants_request(&self) -> bool {
        self.link.is_up() && !self.session.is_in_flight() && !self.session.is_empty()
    }

    /// How much the next request asks for, in bytes.
    pub(super) fn wish_bytes(&self, sharing: Sharing, settings: &ShardSettings) -> usize {
        let share = (settings.under_way_bytes() / sharing.requests()).max(LEAST_BYTES);
        let wish = share.min(settings.fetch_max_bytes.unsigned_abs() as usize);
        let wish = wish.min(self.pace.wish_bytes());
        if settings.bandwidth.is_some() { wish.min(self.allowance) } else { wish }
    }

    /// The next request of the session, if the budget has room and the gate is open; call only when the lane wants one.
    pub(super) fn next_request(
        &mut self,
        now: Moment,
        sharing: Sharing,
        settings: &ShardSettings,
        frames: &mut Frames,
        gate: Option<&mut Gate>,
    ) -> Option<RawFetch> {
        let wish = self.wish_bytes(sharing, settings);
        let (wish, fare) = admit(now, wish, Urgency::WhenThereIsRoom, frames, gate)?;
        let max_wait_ms = if self.next_span.is_some() || self.awaits_span() {
            0
        } else if sharing.spans > 0 || !self.held_back.is_empty() {
            SHORT_WAIT_MS.min(settings.fetch_max_wait_ms)
        } else {
            settings.fetch_max_wait_ms
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
        let part_bytes = settings.fetch_partition_max_bytes.unsigned_abs() as usize;
        let full_bytes = self.session.len().saturating_mul(part_bytes).min(wish);
        self.send(
            now,
            wish,
            frames,
            UnderWay {
                full_bytes,
                fare,
                may_wait: max_wait_ms > SHORT_WAIT_MS,
                ..UnderWay::default()
            },
        );
        Some(request)
    }

    /// The request for the span that is next, as above. It is of no session: it says itself what is wanted, so it may follow
    /// another that is not answered.
    pub(super) fn span_request(
        &mut self,
        now: Moment,
        urgency: Urgency,
        settings: &ShardSettings,
        frames: &mut Frames,
        gate: Option<&mut Gate>,
    ) -> Option<RawFetch> {
        let asked = self.next_span.as_ref()?.asked;
        let (wish, fare) = admit(now, asked.max_bytes, urgency, frames, gate)?;
        let span = self.next_span.take()?;
        let SessionTopic { name, id } = span.topic.clone();
        let request = RawFetch {
            max_wait_ms: 0,
            min_bytes: 1,
            max_bytes: i32::try_from(wish).unwrap_or(i32::MAX),
            isolation: settings.isolation,
            session_epoch: NO_SESSION,
            topics: vec![FetchTopic { name, id, partitions: vec![span.partition] }],
            ..RawFetch::default()
        };
        self.send(
            now,
            wish,
            frames,
            UnderWay {
                full_bytes: asked.max_bytes.min(wish),
                fare,
                span: Some(span),
                ..UnderWay::default()
            },
        );
        Some(request)
    }

    fn send(&mut self, now: Moment, wish: usize, frames: &mut Frames, request: UnderWay) {
        frames.reserve(wish);
        self.under_way.push_back(UnderWay {
            since: now,
            reserved_bytes: wish,
            is_first: self.under_way.is_empty(),
            ..request
        });
    }

    /// An answer came: what that says about the line, and what it brought. A session that the broker forgot starts anew with
    /// the next request.
    ///
    /// # Errors
    /// The broker does not do what it should; asking again at once would not change that.
    pub(super) fn accept(
        &mut self,
        now: Moment,
        answer: RawFetchAnswer,
        frames: &mut Frames,
    ) -> Result<(Answered, Brought), SessionError> {
        let request = self.under_way.pop_front().ok_or(SessionError::NotAsked)?;
        frames.unreserve(request.reserved_bytes);
        let measured = self.measure(now, &request, answer.frame_bytes, answer.waited);
        if let Some(fare) = request.fare {
            self.allowance = fare.settle(answer.frame_bytes);
        }
        let brought = match request.span {
            Some(span) => {
                answer.error.ok().map_err(SessionError::Refused)?;
                let of_span = |part: &FetchedPartition| {
                    part.index == span.partition.index && is_of(&part.topic, &span.topic)
                };
                let part = answer.partitions.into_iter().find(of_span);
                Brought::Span(span.key, span.asked, part.map(Box::new))
            }
            None => match self.session.accept(answer) {
                Err(SessionError::Refused(code)) if code.class() == RetryClass::Session => {
                    return Ok((measured, Brought::Parts(Vec::new())));
                }
                fetched => Brought::Parts(fetched?),
            },
        };
        self.link.worked();
        Ok((measured, brought))
    }

    fn measure(
        &mut self,
        now: Moment,
        request: &UnderWay,
        bytes: usize,
        waited: Option<Duration>,
    ) -> Answered {
        let took = now - request.since;
        self.link.began(waited.unwrap_or(took).min(took));
        let round_trip = self.link.round_trip();
        // What had to wait for others tells nothing about sizes.
        if request.is_first && request.span.is_none() {
            self.pace.answered(round_trip, took, bytes, request.full_bytes);
        }
        Answered {
            bytes,
            is_full: bytes > 0 && bytes >= request.full_bytes / 2,
            is_aside: request.span.is_none() && (!request.is_first || self.awaits_span()),
            took,
            round_trip,
        }
    }

    /// The connection is gone or not wanted any more; the next session starts anew. Answers the spans that will not come.
    pub(super) fn lose(&mut self, frames: &mut Frames) -> Vec<(PartitionKey, Asked)> {
        self.session.abort();
        let under_way = std::mem::take(&mut self.under_way);
        under_way.iter().for_each(|one| frames.unreserve(one.reserved_bytes));
        let spans = under_way.into_iter().filter_map(|one| one.span);
        spans.map(|span| (span.key, span.asked)).collect()
    }

    /// What the requests under way may bring, in bytes.
    pub(super) fn promised_bytes(&self) -> usize {
        self.under_way.iter().map(|one| one.reserved_bytes).sum()
    }
}

/// How much may be asked for, and what that takes of the limits of bandwidth; `None` if the budget has no room or the gate
/// is closed.
fn admit(
    now: Moment,
    wish: usize,
    urgency: Urgency,
    frames: &Frames,
    gate: Option<&mut Gate>,
) -> Option<(usize, Option<Fare>)> {
    // However small the budget, somebody may always ask.
    let has_room = frames.free_bytes() >= wish || frames.used_bytes() == 0;
    if !has_room && urgency == Urgency::WhenThereIsRoom {
        return None;
    }
    let Some(gate) = gate else { return Some((wish, None)) };
    let fare = gate.pass(now, wish)?;
    Some((fare.bytes(), Some(fare)))
}

fn is_of(named: &TopicRef, topic: &SessionTopic) -> bool {
    match named {
        TopicRef::Name(name) => *name == topic.name,
        TopicRef::Id(id) => *id == topic.id,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use protocol_client::wire::error_code::ErrorCode;
    use uuid::Uuid;

    use super::*;
    use crate::flow::budget::Budget;

    const NOW: Moment = Moment::new(Duration::ZERO);

    fn among(lanes: usize) -> Sharing {
        Sharing { lanes, spans: 0, has_others: true }
    }

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
        let request = lane.next_request(NOW, among(2), &settings, &mut frames, None).unwrap();
        assert_eq!(request.max_bytes as usize, (1 << 20) / 8 * 3);
        assert_eq!(lane.promised_bytes(), frames.used_bytes());
        assert!(!lane.wants_request(), "one request at a time");
        lane.lose(&mut frames);
        assert_eq!(frames.used_bytes(), 0);
        frames.reserve(1 << 20);
        assert_eq!(lane.next_request(NOW, among(2), &settings, &mut frames, None), None);
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
            lane.next_request(NOW, among(1), &settings, &mut frames, None).unwrap().max_wait_ms
        };
        assert_eq!(wait_ms(&mut lane), settings.fetch_max_wait_ms);
        lane.leave(2, true);
        assert_eq!(wait_ms(&mut lane), SHORT_WAIT_MS);
        lane.leave(2, false);
        assert_eq!(wait_ms(&mut lane), settings.fetch_max_wait_ms);
    }

    fn span(first: i64) -> Span {
        let asked = Asked { ticket: first as u64, start: first, max_bytes: 1000 };
        let partition = FetchPartition {
            index: 7,
            offset: first,
            leader_epoch: 3,
            last_fetched_epoch: -1,
            max_bytes: 1000,
        };
        let topic = SessionTopic { name: Arc::from("hot"), id: Uuid::nil() };
        Span { key: 7, asked, topic, partition }
    }

    fn of_hot(index: i32) -> FetchedPartition {
        FetchedPartition {
            topic: TopicRef::Name(Arc::from("hot")),
            index,
            error: ErrorCode::NONE,
            high_watermark: 90,
            last_stable_offset: 90,
            log_start_offset: 0,
            diverging: None,
            current_leader: None,
            aborted: Vec::new(),
            preferred_replica: None,
            records: Bytes::new(),
        }
    }

    #[test]
    fn spans_follow_each_other_and_the_session_does_not_keep_them_waiting() {
        let settings = ShardSettings::default();
        let mut frames = Frames::new(settings.budget.clone());
        let mut lane = lane();
        want(&mut lane, 1);
        let sharing = Sharing { lanes: 1, spans: 2, has_others: true };
        for first in [10, 20] {
            assert!(lane.takes_span(2));
            lane.give_span(span(first));
            let urgency = Urgency::WhenThereIsRoom;
            let request = lane.span_request(NOW, urgency, &settings, &mut frames, None).unwrap();
            assert_eq!((request.session_epoch, request.max_bytes), (NO_SESSION, 1000));
            assert_eq!(request.topics[0].partitions[0].offset, first);
        }
        assert!(!lane.takes_span(2), "two are under way");
        let request = lane.next_request(NOW, sharing, &settings, &mut frames, None).unwrap();
        assert_eq!((request.session_epoch, request.max_wait_ms), (0, 0));
        assert_eq!(lane.promised_bytes(), frames.used_bytes());

        let mut accept = |partitions| {
            let answer = RawFetchAnswer { partitions, ..RawFetchAnswer::default() };
            lane.accept(NOW, answer, &mut frames).unwrap().1
        };
        assert!(matches!(
            accept(vec![of_hot(6), of_hot(7)]),
            Brought::Span(7, Asked { ticket: 10, .. }, Some(part)) if part.index == 7
        ));
        assert!(matches!(accept(Vec::new()), Brought::Span(7, Asked { ticket: 20, .. }, None)));
        assert!(matches!(accept(Vec::new()), Brought::Parts(parts) if parts.is_empty()));
        assert_eq!(frames.used_bytes(), 0);
        let nobody_asked = lane.accept(NOW, RawFetchAnswer::default(), &mut frames);
        assert_eq!(nobody_asked.unwrap_err(), SessionError::NotAsked);
    }

    #[test]
    fn spans_wait_neither_for_records_nor_for_room() {
        let settings = ShardSettings::default();
        let mut frames = Frames::new(settings.budget.clone());
        let mut lane = lane();
        want(&mut lane, 1);
        assert!(lane.next_request(NOW, among(1), &settings, &mut frames, None).is_some());
        assert!(!lane.takes_span(2));
        assert!(lane.lose(&mut frames).is_empty());
        assert!(lane.takes_span(2));
        lane.give_span(span(10));
        frames.reserve(settings.budget.most_bytes());
        let request =
            lane.span_request(NOW, Urgency::WhenThereIsRoom, &settings, &mut frames, None);
        assert_eq!(request, None, "there is no room");
        assert_eq!(lane.take_back_span().map(|(_, asked)| asked.start), Some(10));
        lane.give_span(span(10));
        let request = lane.span_request(NOW, Urgency::Now, &settings, &mut frames, None);
        assert!(request.is_some(), "everything waits for it");
        let lost = lane.lose(&mut frames);
        assert_eq!(lost.iter().map(|(_, asked)| asked.start).collect::<Vec<_>>(), [10]);
    }
}
