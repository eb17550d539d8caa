//! How much may be read in a second: limits that shards and flows share, and what of them a request takes before it is sent.
//!
//! Reading is what is held back, so that nothing piles up behind a limit. What an answer may bring is taken from every
//! limit that the flow is under; what it did not bring is given back, and what it brought beyond that (a broker sends one
//! whole batch at least, KIP-74) is a debt. A shard waits with one request at a time, whatever the number of its lanes.
//!
//! The accounts are behind locks, held for some arithmetic a few times per request; where no limit is set, there are none.

mod account;
mod schedule;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::account::{Account, Member, Place};
pub use self::schedule::{Overlap, Rate, Schedule, Window};
use crate::model::Moment;

/// What a lane under a limit asks for at first, and when its last answer brought nothing, in bytes: lanes that wait for
/// records keep little of the limit from those that have some. As long as answers are full, it asks for ever more.
pub(super) const LEAST_ASK_BYTES: usize = 4 << 10;

/// One limit, shared by all that are under it.
#[derive(Debug, Clone)]
pub struct Limit(Arc<Mutex<Account>>);

impl Limit {
    /// A limit that nothing has been taken from. The wall clock at moment zero is in milliseconds since 1970; all that
    /// share the limit count their moments from the same zero.
    pub fn new(schedule: Schedule, wall_start_ms: i64) -> Self {
        Self(Arc::new(Mutex::new(Account::new(schedule, wall_start_ms))))
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        // Nothing in an account can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limits that a flow is under.
#[derive(Debug, Clone)]
pub struct Bandwidth {
    /// The flow's own, in which each shard has a share.
    own: Option<Limit>,
    /// Those that it shares with other flows, in which each flow has one.
    shared: Arc<[Share]>,
}

impl Bandwidth {
    /// These limits together; none if there are none.
    pub fn new(own: Option<Limit>, shared: Vec<Limit>) -> Option<Self> {
        let is_limited = own.is_some() || !shared.is_empty();
        let shared = shared.into_iter().map(Share::new).collect();
        is_limited.then_some(Self { own, shared })
    }

    /// What the wall clock says now, in milliseconds since 1970.
    pub fn set_wall(&self, now: Moment, wall_ms: i64) {
        let limits = self.own.iter().chain(self.shared.iter().map(|share| &share.limit));
        limits.for_each(|limit| limit.account().set_wall(now, wall_ms));
    }
}

/// A share of a limit.
#[derive(Debug, Clone)]
struct Share {
    limit: Limit,
    member: Member,
}

impl Share {
    fn new(limit: Limit) -> Self {
        let member = limit.account().join();
        Self { limit, member }
    }
}

/// A place in the queue of each limit; it is left when nobody needs it any more.
#[derive(Debug)]
struct Ticket {
    shares: Arc<[Share]>,
    places: Vec<Place>,
    bytes: usize,
}

impl Ticket {
    fn new(shares: Arc<[Share]>, bytes: usize) -> Self {
        let line_up = |share: &Share| share.limit.account().line_up(share.member, bytes as u64);
        let places = shares.iter().map(line_up).collect();
        Self { shares, places, bytes }
    }

    /// When it may go through, if not yet.
    fn due(&self, now: Moment) -> Option<Moment> {
        let places = self.shares.iter().zip(&self.places);
        places.filter_map(|(share, place)| share.limit.account().due(now, *place)).max()
    }

    fn go(mut self) -> Fare {
        for (share, place) in self.shares.iter().zip(self.places.drain(..)) {
            share.limit.account().go(place);
        }
        Fare { shares: self.shares.clone(), bytes: self.bytes, slice_bytes: 0 }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        for (share, place) in self.shares.iter().zip(self.places.drain(..)) {
            share.limit.account().leave(share.member, place);
        }
    }
}

/// What a request has taken of the limits. It goes back when the request is gone without an answer.
#[derive(Debug)]
pub(super) struct Fare {
    shares: Arc<[Share]>,
    bytes: usize,
    slice_bytes: usize,
}

impl Fare {
    /// What the answer may bring, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The answer came with so many bytes; how many the next request of this lane may ask for.
    pub(super) fn settle(mut self, brought: usize) -> usize {
        let asked = self.bytes;
        self.resize(brought);
        // There is nothing to give back.
        self.bytes = 0;
        // Answers end with a whole batch, so that one with some room left may be as full as it gets.
        let is_full = brought >= asked / 4;
        let used = if is_full { brought.max(asked) } else { brought };
        used.saturating_mul(2).min(self.slice_bytes).max(LEAST_ASK_BYTES)
    }

    fn resize(&mut self, bytes: usize) {
        for share in self.shares.iter().filter(|_| bytes != self.bytes) {
            share.limit.account().correct(share.member, self.bytes as u64, bytes as u64);
        }
        self.bytes = bytes;
    }
}

impl Drop for Fare {
    fn drop(&mut self) {
        self.resize(0);
    }
}

/// Where the requests of a shard wait for their turn.
#[derive(Debug)]
pub(super) struct Gate {
    shares: Arc<[Share]>,
    ticket: Option<Ticket>,
    /// Until when a request waits.
    opens_at: Option<Moment>,
}

impl Gate {
    pub(super) fn new(bandwidth: &Bandwidth) -> Self {
        let own = bandwidth.own.iter().cloned().map(Share::new);
        let shares = own.chain(bandwidth.shared.iter().cloned()).collect();
        Self { shares, ticket: None, opens_at: None }
    }

    /// When a request that waits may be sent.
    pub(super) fn opens_at(&self) -> Option<Moment> {
        self.opens_at
    }

    /// All lanes that want records are about to ask.
    pub(super) fn begin(&mut self) {
        self.opens_at = None;
    }

    /// All have asked; a ticket that nobody waits with is given back.
    pub(super) fn end(&mut self) {
        if self.opens_at.is_none() {
            self.ticket = None;
        }
    }

    /// Lets a request through that would like to bring so many bytes, if it is its time; it may bring what the fare says.
    pub(super) fn pass(&mut self, now: Moment, wish_bytes: usize) -> Option<Fare> {
        let slice_bytes = self.slice_bytes(now);
        let bytes = wish_bytes.min(slice_bytes);
        let line_up = || Ticket::new(self.shares.clone(), bytes);
        let ticket = self.ticket.take().unwrap_or_else(line_up);
        self.opens_at = ticket.due(now);
        if self.opens_at.is_some() {
            self.ticket = Some(ticket);
            return None;
        }
        let mut fare = ticket.go();
        fare.resize(bytes);
        fare.slice_bytes = slice_bytes;
        Some(fare)
    }

    fn slice_bytes(&self, now: Moment) -> usize {
        let slices = self.shares.iter().map(|share| share.limit.account().slice_bytes(now));
        usize::try_from(slices.min().unwrap_or(u64::MAX)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MB: u64 = 1_000_000;

    fn ms(ms: u64) -> Moment {
        Moment::new(Duration::from_millis(ms))
    }

    fn limit(bytes_per_second: u64) -> Limit {
        Limit::new(Schedule::always(Rate::new(bytes_per_second).unwrap()), 0)
    }

    fn gate(own: Option<&Limit>, shared: &[&Limit]) -> Gate {
        let shared = shared.iter().map(|&limit| limit.clone()).collect();
        Gate::new(&Bandwidth::new(own.cloned(), shared).unwrap())
    }

    #[test]
    fn the_narrowest_limit_decides() {
        let (flow, cluster) = (limit(MB), limit(10 * MB));
        let mut gate = gate(Some(&flow), &[&cluster]);
        let fare = gate.pass(ms(0), 8 << 20).unwrap();
        assert_eq!(fare.bytes(), 100_000);
        assert!(gate.pass(ms(0), 8 << 20).is_none());
        assert_eq!(gate.opens_at(), Some(ms(100)));
        assert_eq!(fare.settle(300_000), 100_000, "a whole batch came");
        assert!(gate.pass(ms(100), 8 << 20).is_none());
        assert_eq!(gate.opens_at(), Some(ms(300)));
        let fare = gate.pass(ms(300), 50_000);
        assert_eq!(fare.map(|fare| fare.bytes()), Some(50_000), "a lane that asks for less");
        assert!(gate.pass(ms(300), 8 << 20).is_some(), "and whose connection is lost");
    }

    #[test]
    fn no_limits_are_none() {
        assert!(Bandwidth::new(None, Vec::new()).is_none());
    }

    #[test]
    fn a_lane_asks_for_more_as_long_as_answers_are_full() {
        let next = |asked, brought| {
            let fare = gate(Some(&limit(MB)), &[]).pass(ms(0), asked).unwrap();
            fare.settle(brought)
        };
        assert_eq!(next(4_096, 0), LEAST_ASK_BYTES);
        assert_eq!(next(20_000, 5_000), 40_000);
        assert_eq!(next(20_000, 30_000), 60_000);
        assert_eq!(next(80_000, 10_000), 20_000);
        assert_eq!(next(80_000, 80_000), 100_000);
    }

    #[test]
    fn a_ticket_that_nobody_waits_with_is_given_back() {
        let limit = limit(MB);
        // A flow has a share of its own limit for each shard.
        let flow = Bandwidth::new(Some(limit), Vec::new()).unwrap();
        let (mut one, mut other) = (Gate::new(&flow), Gate::new(&flow));
        let under_way = one.pass(ms(0), 100_000).unwrap();
        assert!(other.pass(ms(0), 100_000).is_none());
        other.end();
        assert!(one.pass(ms(0), 100_000).is_none());
        assert_eq!(one.opens_at(), Some(ms(200)), "behind the other's ticket");
        other.begin();
        other.end();
        assert_eq!(other.opens_at(), None);
        assert!(one.pass(ms(0), 100_000).is_none());
        assert_eq!(one.opens_at(), Some(ms(100)));
        drop(under_way);
        assert!(one.pass(ms(0), 100_000).is_some(), "what was under way is lost and given back");
    }
}
