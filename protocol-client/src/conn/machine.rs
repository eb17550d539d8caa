//! The requests of one connection: order, correlation, deadlines, throttling, first failure.
//!
//! A broker serves the requests of a connection one at a time and answers in their order
//! (`SocketServer`), so answers are matched by position and the correlation id only proves it.
//! For the same reason only the oldest request has a running deadline: the others wait for it.
//!
//! Invariants:
//! - (A) every accepted request leaves exactly once: through [`Machine::receive`] or
//!   [`Machine::poison`].
//! - (B) requests are transmitted in the order of [`Machine::submit`].
//! - (C) after a failure nothing is transmitted or received any more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::{ClientError, Fault};
use crate::wire::api::ApiId;
use crate::wire::primitives::{Cursor, WireError};

/// A broker that asks for more silence than this is not obeyed any further. Kafka's own limit is
/// the quota window, about ten seconds by default.
const MAX_THROTTLE: Duration = Duration::from_secs(60);

/// One encoded request.
#[derive(Debug)]
pub struct Outgoing {
    /// Which API it belongs to.
    pub api: ApiId,
    /// The id in its header, unique among the requests under way.
    pub correlation_id: i32,
    /// Whether the response header carries tagged fields.
    pub tagged_header: bool,
    /// How long the broker may take for the answer, counted from the answer before.
    pub allowance: Duration,
    /// The whole frame, size included.
    pub pieces: Vec<Bytes>,
}

/// An answer and whoever waits for it.
#[derive(Debug)]
pub struct Answered<W> {
    /// Which API was asked.
    pub api: ApiId,
    /// Who waits.
    pub waiter: W,
    /// The message behind the response header.
    pub body: Bytes,
    /// From when the request was transmitted until the answer began to come.
    pub waited: Duration,
}

/// The machine. `W` is whatever the shell needs to hand an answer over.
///
/// Inputs: [`submit`](Self::submit), [`receive`](Self::receive), [`throttle`](Self::throttle),
/// [`handle_timeout`](Self::handle_timeout), [`poison`](Self::poison).
/// Outputs: [`poll_transmit`](Self::poll_transmit), [`next_deadline`](Self::next_deadline).
#[derive(Debug)]
pub struct Machine<W> {
    max_in_flight: usize,
    waiting: VecDeque<(Outgoing, W)>,
    in_flight: VecDeque<InFlight<W>>,
    /// Runs for the oldest request in flight.
    deadline: Option<Instant>,
    held_until: Option<Instant>,
    poisoned: bool,
}

#[derive(Debug)]
struct InFlight<W> {
    api: ApiId,
    correlation_id: i32,
    tagged_header: bool,
    allowance: Duration,
    since: Instant,
    waiter: W,
}

impl<W> Machine<W> {
    /// A machine that keeps at most `max_in_flight` (at least 1) requests unanswered.
    pub fn new(max_in_flight: usize) -> Self {
        Self {
            max_in_flight: max_in_flight.max(1),
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            deadline: None,
            held_until: None,
            poisoned: false,
        }
    }

    /// Whether another request could be transmitted soon. The shell takes no more from its queue
    /// than this allows, so that the queue's bound is the bound.
    pub fn has_room(&self) -> bool {
        !self.poisoned && self.waiting.len() + self.in_flight.len() < self.max_in_flight
    }

    /// Whether nobody waits for anything.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Whether a request is still to be transmitted.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes a request on.
    pub fn submit(&mut self, request: Outgoing, waiter: W) {
        self.waiting.push_back((request, waiter));
    }

    /// The next frame to write, unless the limit of requests in flight is reached or the broker
    /// asked for silence.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<Bytes>> {
        if self.poisoned || self.in_flight.len() >= self.max_in_flight {
            return None;
        }
        if self.held_until.is_some_and(|until| now < until) {
            return None;
        }
        self.held_until = None;
        let (request, waiter) = self.waiting.pop_front()?;
        if self.in_flight.is_empty() {
            self.deadline = Some(now + request.allowance);
        }
        self.in_flight.push_back(InFlight {
            api: request.api,
            correlation_id: request.correlation_id,
            tagged_header: request.tagged_header,
            allowance: request.allowance,
            since: now,
            waiter,
        });
        Some(request.pieces)
    }

    /// Takes a frame from the broker, the first bytes of which came at `began`. An error means the
    /// connection is of no more use; the shell then calls [`poison`](Self::poison) with it.
    pub fn receive(
        &mut self,
        now: Instant,
        began: Instant,
        frame: Bytes,
    ) -> Result<Answered<W>, ClientError> {
        let Some(oldest) = self.in_flight.front().filter(|_| !self.poisoned) else {
            return Err(ClientError::unexpected("an answer that nobody asked for"));
        };
        let api = oldest.api;
        let body = read_header(&frame, oldest.correlation_id, oldest.tagged_header)
            .map_err(|error| error.during(api.name))?;
        let body = frame.slice(body..);
        let oldest = self.in_flight.pop_front().expect("the front was looked at above");
        self.deadline = self.in_flight.front().map(|next| now + next.allowance);
        let waited = began.saturating_duration_since(oldest.since);
        Ok(Answered { api, waiter: oldest.waiter, body, waited })
    }

    /// The broker asked to be left alone for `pause` (KIP-219). Requests already sent are served
    /// after it.
    pub fn throttle(&mut self, now: Instant, pause: Duration) {
        if pause.is_zero() {
            return;
        }
        let pause = pause.min(MAX_THROTTLE);
        let until = now + pause;
        self.held_until = Some(self.held_until.map_or(until, |earlier| earlier.max(until)));
        self.deadline = self.deadline.map(|deadline| deadline + pause);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) or
    /// [`poll_transmit`](Self::poll_transmit) again if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let held = self.held_until.filter(|_| !self.waiting.is_empty());
        match (self.deadline, held) {
            (Some(deadline), Some(held)) => Some(deadline.min(held)),
            (deadline, held) => deadline.or(held),
        }
    }

    /// Fails if the oldest request is out of time. Whether it was carried out is not known.
    pub fn handle_timeout(&self, now: Instant) -> Result<(), ClientError> {
        match (self.deadline, self.in_flight.front()) {
            (Some(deadline), Some(oldest)) if now >= deadline => {
                let fault = Fault::Timeout { after: oldest.allowance };
                Err(ClientError::new(fault).during(oldest.api.name))
            }
            _ => Ok(()),
        }
    }

    /// Ends the connection: hands back everybody who waits, oldest first, with what they asked.
    pub fn poison(&mut self) -> impl Iterator<Item = (ApiId, W)> {
        self.poisoned = true;
        self.deadline = None;
        self.held_until = None;
        let sent = std::mem::take(&mut self.in_flight).into_iter();
        let unsent = std::mem::take(&mut self.waiting).into_iter();
        sent.map(|one| (one.api, one.waiter)).chain(unsent.map(|(one, waiter)| (one.api, waiter)))
    }
}

/// Checks the response header and returns where the message starts.
pub(crate) fn read_header(
    frame: &[u8],
    expected_id: i32,
    tagged: bool,
) -> Result<usize, ClientError> {
    let mut cursor = Cursor::new(frame);
    let id = cursor.i32().map_err(|_| WireError::Truncated { at: 0, wanted: 4 })?;
    if id != expected_id {
        let reason = format!("correlation id {id} where {expected_id} was due");
        return Err(ClientError::unexpected(reason));
    }
    if tagged {
        cursor.skip_tagged()?;
    }
    Ok(cursor.at())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const API: ApiId = ApiId { key: 3, name: "Metadata" };

    fn request(correlation_id: i32) -> Outgoing {
        Outgoing {
            api: API,
            correlation_id,
            tagged_header: correlation_id % 2 == 0,
            allowance: Duration::from_secs(10),
            pieces: vec![Bytes::copy_from_slice(&correlation_id.to_be_bytes())],
        }
    }

    fn answer(correlation_id: i32) -> Bytes {
        let mut frame = correlation_id.to_be_bytes().to_vec();
        if correlation_id % 2 == 0 {
            frame.extend_from_slice(&[1, 9, 2, 0, 0]); // one unknown tagged field
        }
        frame.push(42);
        Bytes::from(frame)
    }

    #[expect(clippy::disallowed_methods, reason = "a point to count from; the test never waits")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn answers_reach_their_waiters_in_order_and_headers_are_stripped() {
        let now = start();
        let mut machine = Machine::new(2);
        for id in 0..3 {
            machine.submit(request(id), id);
        }
        assert!(machine.poll_transmit(now).is_some());
        assert!(machine.poll_transmit(now).is_some());
        assert!(machine.poll_transmit(now).is_none(), "two in flight is the limit");
        for id in 0..3 {
            let answered = machine.receive(now, now, answer(id)).expect("in order");
            assert_eq!((answered.waiter, &answered.body[..]), (id, &[42][..]));
            assert_eq!(machine.poll_transmit(now).is_some(), id == 0);
        }
        assert!(machine.is_idle());
        assert_eq!(machine.next_deadline(), None);
    }

    #[test]
    fn a_wait_ends_with_the_first_bytes_of_the_answer() {
        let now = start();
        let after = |ms| now + Duration::from_millis(ms);
        let mut machine = Machine::new(1);
        machine.submit(request(0), ());
        machine.poll_transmit(after(5));
        let answered = machine.receive(after(90), after(25), answer(0)).expect("in order");
        assert_eq!(answered.waited, Duration::from_millis(20));
    }

    #[test]
    fn the_deadline_belongs_to_the_oldest_request() {
        let now = start();
        let mut machine = Machine::new(5);
        machine.submit(request(0), 'a');
        machine.submit(request(1), 'b');
        while machine.poll_transmit(now).is_some() {}
        assert_eq!(machine.next_deadline(), Some(now + Duration::from_secs(10)));
        let later = now + Duration::from_secs(9);
        machine.receive(later, later, answer(0)).expect("in order");
        assert_eq!(machine.next_deadline(), Some(later + Duration::from_secs(10)));
        assert!(machine.handle_timeout(later).is_ok());
        let failed = machine.handle_timeout(later + Duration::from_secs(10));
        let text = failed.expect_err("out of time").to_string();
        assert_eq!(text, "Metadata: no answer within 10000 ms");
        let waiters: Vec<char> = machine.poison().map(|(_, waiter)| waiter).collect();
        assert_eq!(waiters, ['b']);
    }

    #[test]
    fn throttling_holds_requests_back_and_extends_the_deadline() {
        let now = start();
        let mut machine = Machine::new(5);
        machine.submit(request(0), ());
        machine.submit(request(1), ());
        while machine.poll_transmit(now).is_some() {}
        machine.receive(now, now, answer(0)).expect("in order");
        machine.throttle(now, Duration::from_secs(4));
        assert_eq!(machine.next_deadline(), Some(now + Duration::from_secs(14)));
        machine.submit(request(2), ());
        assert!(machine.poll_transmit(now + Duration::from_secs(3)).is_none());
        assert_eq!(machine.next_deadline(), Some(now + Duration::from_secs(4)));
        assert!(machine.poll_transmit(now + Duration::from_secs(4)).is_some());
        machine.throttle(now, Duration::from_secs(1_000_000));
        machine.submit(request(3), ());
        assert!(machine.poll_transmit(now + MAX_THROTTLE).is_some(), "absurd pauses are capped");
    }

    #[test]
    fn a_wrong_correlation_id_or_an_unasked_answer_is_an_error() {
        let now = start();
        let mut machine = Machine::new(1);
        assert!(machine.receive(now, now, answer(0)).is_err());
        machine.submit(request(4), ());
        machine.poll_transmit(now);
        let error = machine.receive(now, now, answer(5)).expect_err("wrong id");
        assert_eq!(
            error.to_string(),
            "Metadata: unexpected answer: correlation id 5 where 4 was due"
        );
        assert_eq!(machine.poison().count(), 1);
        machine.submit(request(6), ());
        assert!(machine.poll_transmit(now).is_none(), "a poisoned machine is silent");
        assert!(!machine.has_room());
    }

    proptest! {
        /// Random operations: whatever happens, every request leaves exactly once and in order.
        #[test]
        fn every_request_leaves_exactly_once(
            operations in proptest::collection::vec(0u8..6, 0..200),
            max_in_flight in 0usize..4,
        ) {
            let mut now = start();
            let mut machine = Machine::new(max_in_flight);
            let (mut submitted, mut sent, mut done) = (0i32, 0i32, Vec::new());
            for operation in operations {
                now += Duration::from_millis(100);
                match operation {
                    0 | 1 => {
                        machine.submit(request(submitted), submitted);
                        submitted += 1;
                    }
                    2 => {
                        if let Some(pieces) = machine.poll_transmit(now) {
                            prop_assert_eq!(&pieces[0][..], &sent.to_be_bytes()[..]);
                            sent += 1;
                        }
                    }
                    3 if sent > done.len() as i32 => {
                        let next = done.len() as i32;
                        done.push(machine.receive(now, now, answer(next)).expect("due").waiter);
                    }
                    4 => machine.throttle(now, Duration::from_millis(150)),
                    _ => prop_assert!(machine.handle_timeout(now).is_ok() || sent > done.len() as i32),
                }
                prop_assert!(sent as usize - done.len() <= max_in_flight.max(1));
            }
            done.extend(machine.poison().map(|(_, waiter)| waiter));
            prop_assert_eq!(done, (0..submitted).collect::<Vec<i32>>());
        }
    }
}
