//! What a limit of bandwidth allows, what of it is taken, and who is next: a bucket of tokens with a fair queue.
//!
//! The rates of the schedule allow ever more bytes, and requests take them. What is taken beyond what is allowed is a debt
//! that the next ones wait for; what nobody takes is kept up to one slice.
//!
//! Requests line up by how much their members have had (start-time fair queueing; Goyal, Vin and Cheng, 1996): who asks
//! for little does not wait behind all that others ask for. Nobody has to be woken up by another: a request may go as
//! soon as there is enough for those before it and what is taken already is allowed, whether or not those have gone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::schedule::Schedule;
use crate::model::Moment;

/// The share of a second that is taken at once, and kept for later when nobody takes it: a tenth.
const SLICES_PER_SECOND: u64 = 10;

/// A slice has as many bytes at least, so that small limits do not cost a request for every few kilobytes.
const LEAST_SLICE_BYTES: u64 = 64 << 10;

/// Bytes are counted in billionths, which at a rate of a byte per second come one by one each nanosecond.
const BILLIONTHS: u128 = 1_000_000_000;

/// Somebody with a fair share of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member(usize);

/// The place of a request in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// What its member has had before it, in bytes, counted so that those who come late do not catch up.
    turn: u64,
    /// Tells apart those whose turn is the same: who comes first goes first.
    number: u64,
}

/// The account of one limit.
#[derive(Debug)]
pub(super) struct Account {
    schedule: Schedule,
    /// Wall clock at moment zero, in nanoseconds since 1970.
    wall_start_ns: i128,
    /// Until when it is known what is allowed.
    at: Moment,
    allowed: u128,
    taken: u128,
    /// The turn of the request that went last.
    turn: u64,
    /// The turn of each member's next request, unless the queue has got further by then.
    members: Vec<u64>,
    /// Bytes of those who wait.
    waiting: BTreeMap<Place, u64>,
    last_number: u64,
}

impl Account {
    /// An account in which nothing has been taken yet. The wall clock at moment zero is in milliseconds since 1970.
    pub(super) fn new(schedule: Schedule, wall_start_ms: i64) -> Self {
        Self {
            schedule,
            wall_start_ns: i128::from(wall_start_ms) * 1_000_000,
            at: Moment::default(),
            allowed: 0,
            taken: 0,
            turn: 0,
            members: Vec::new(),
            waiting: BTreeMap::new(),
            last_number: 0,
        }
    }

    /// One more who gets a fair share.
    pub(super) fn join(&mut self) -> Member {
        self.members.push(0);
        Member(self.members.len() - 1)
    }

    /// What the wall clock says now, in milliseconds since 1970: it may have been set, or have gone on while the machine
    /// was asleep.
    pub(super) fn set_wall(&mut self, now: Moment, wall_ms: i64) {
        self.advance(now);
        self.wall_start_ns = i128::from(wall_ms) * 1_000_000 - nanos(now);
    }

    /// What a request may take at once, in bytes.
    pub(super) fn slice_bytes(&self, now: Moment) -> u64 {
        let (rate, _) = self.schedule.at(self.wall_ns(now));
        (rate.bytes_per_second() / SLICES_PER_SECOND).max(LEAST_SLICE_BYTES)
    }

    /// A request of a member lines up.
    pub(super) fn line_up(&mut self, member: Member, bytes: u64) -> Place {
        self.last_number += 1;
        let mut place = Place { turn: self.turn, number: self.last_number };
        if let Some(next) = self.members.get_mut(member.0) {
            place.turn = place.turn.max(*next);
            *next = place.turn.saturating_add(bytes);
        }
        self.waiting.insert(place, bytes);
        place
    }

    /// When a request may go, if not yet.
    pub(super) fn due(&mut self, now: Moment, place: Place) -> Option<Moment> {
        self.advance(now);
        let ahead: u64 = self.waiting.range(..place).map(|(_, bytes)| *bytes).sum();
        let taken = self.taken.saturating_add(billionths(ahead));
        let mut missing = taken.checked_sub(self.allowed).filter(|missing| *missing > 0)?;
        let mut at = self.at;
        loop {
            let (rate, holds_ns) = self.schedule.at(self.wall_ns(at));
            let rate = u128::from(rate.bytes_per_second());
            let comes = rate * u128::from(holds_ns);
            if missing <= comes {
                let wait_ns = u64::try_from(missing.div_ceil(rate)).unwrap_or(holds_ns);
                return Some(at + Duration::from_nanos(wait_ns));
            }
            missing -= comes;
            at = at + Duration::from_nanos(holds_ns);
        }
    }

    /// A request goes; its bytes are taken.
    pub(super) fn go(&mut self, place: Place) {
        if let Some(bytes) = self.waiting.remove(&place) {
            self.taken = self.taken.saturating_add(billionths(bytes));
            self.turn = self.turn.max(place.turn);
        }
    }

    /// A request of a member leaves the queue.
    pub(super) fn leave(&mut self, member: Member, place: Place) {
        if let Some(bytes) = self.waiting.remove(&place)
            && let Some(next) = self.members.get_mut(member.0)
        {
            *next = next.saturating_sub(bytes);
        }
    }

    /// A member has taken other than it has said, in bytes.
    pub(super) fn correct(&mut self, member: Member, said: u64, taken: u64) {
        let add = |to: u64| to.saturating_add(taken).saturating_sub(said);
        self.taken =
            (self.taken.saturating_add(billionths(taken))).saturating_sub(billionths(said));
        self.members.get_mut(member.0).into_iter().for_each(|next| *next = add(*next));
    }

    fn advance(&mut self, now: Moment) {
        // Threads that look at their clocks at the same time do not come here in that order.
        while self.at < now {
            let (rate, holds_ns) = self.schedule.at(self.wall_ns(self.at));
            let passed = (now - self.at).min(Duration::from_nanos(holds_ns));
            let comes = u128::from(rate.bytes_per_second()) * passed.as_nanos();
            self.allowed = self.allowed.saturating_add(comes);
            self.at = self.at + passed;
        }
        // Who waits for another limit keeps what has come for it here.
        let waiting: u64 = self.waiting.values().sum();
        let kept = billionths(self.slice_bytes(self.at).saturating_add(waiting));
        self.taken = self.taken.max(self.allowed.saturating_sub(kept));
    }

    fn wall_ns(&self, at: Moment) -> i128 {
        self.wall_start_ns + nanos(at)
    }
}

fn billionths(bytes: u64) -> u128 {
    u128::from(bytes) * BILLIONTHS
}

fn nanos(at: Moment) -> i128 {
    i128::try_from(at.since_start().as_nanos()).unwrap_or(i128::MAX / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::schedule::{Rate, Window};
    use super::*;

    const MB: u64 = 1_000_000;

    fn ms(ms: u64) -> Moment {
        Moment::new(Duration::from_millis(ms))
    }

    fn account(bytes_per_second: u64) -> Account {
        let schedule = Schedule::always(Rate::new(bytes_per_second).unwrap());
        let mut account = Account::new(schedule, 0);
        account.join();
        account
    }

    /// One MB/s, but `rate` for an hour from eight o'clock on; moment zero is so many milliseconds before that.
    fn before_eight(rate: Rate, early_ms: i64) -> Account {
        let window = Window { start_minute: 8 * 60, minutes: 60, rate };
        let schedule = Schedule::new(Rate::new(MB).unwrap(), &[window]).unwrap();
        let eight_ms = 20_000 * 86_400_000 + 8 * 3_600_000;
        let mut account = Account::new(schedule, eight_ms - early_ms);
        account.join();
        account
    }

    const ONE: Member = Member(0);

    fn line_up<const COUNT: usize>(account: &mut Account, bytes: u64) -> [Place; COUNT] {
        [(); COUNT].map(|()| account.line_up(ONE, bytes))
    }

    fn dues<const COUNT: usize>(
        account: &mut Account,
        now: Moment,
        places: [Place; COUNT],
    ) -> [Option<Moment>; COUNT] {
        places.map(|place| account.due(now, place))
    }

    #[test]
    fn who_comes_first_goes_first() {
        let mut account = account(MB);
        let places = line_up::<3>(&mut account, 100_000);
        assert_eq!(dues(&mut account, ms(0), places), [None, Some(ms(100)), Some(ms(200))]);
        account.go(places[0]);
        assert_eq!(account.due(ms(99), places[1]), Some(ms(100)));
        assert_eq!(account.due(ms(100), places[1]), None);
        account.leave(ONE, places[1]);
        assert_eq!(account.due(ms(100), places[2]), None, "nobody is before it any more");
        account.go(places[2]);
        account.correct(ONE, 100_000, 30_000);
        let [place] = line_up(&mut account, 1);
        assert_eq!(account.due(ms(100), place), Some(ms(130)));
    }

    #[test]
    fn who_asks_for_little_does_not_wait_behind_all_that_others_want() {
        let mut account = account(MB);
        let other = account.join();
        let wide = line_up::<3>(&mut account, 300_000);
        account.go(wide[0]);
        let narrow = account.line_up(other, 10_000);
        assert_eq!(account.due(ms(0), narrow), Some(ms(300)));
        assert_eq!(account.due(ms(0), wide[1]), Some(ms(310)));
        account.go(narrow);
        let narrow = account.line_up(other, 10_000);
        assert_eq!(account.due(ms(0), narrow), Some(ms(310)), "it has had less still");
        // A request brought much more than it said: others come first for a while.
        account.go(narrow);
        account.correct(other, 10_000, 1_000_000);
        let narrow = account.line_up(other, 10_000);
        assert_eq!(account.due(ms(0), wide[2]), Some(ms(1_610)));
        assert_eq!(account.due(ms(0), narrow), Some(ms(1_910)));
    }

    #[test]
    fn debt_is_paid_off() {
        let mut account = account(64 << 10);
        let [place] = line_up(&mut account, 64 << 10);
        assert_eq!(account.due(ms(0), place), None);
        account.go(place);
        // The broker sent a whole batch, sixteen times as much.
        account.correct(ONE, 64 << 10, 1 << 20);
        let [place] = line_up(&mut account, 64 << 10);
        assert_eq!(account.due(ms(5), place), Some(ms(16_000)));
    }

    #[test]
    fn what_nobody_takes_is_kept_up_to_one_slice() {
        let mut account = account(MB);
        let later = ms(3_600_000);
        account.advance(later);
        let slice = account.slice_bytes(later);
        let places = line_up::<3>(&mut account, slice);
        let last = later + Duration::from_millis(100);
        assert_eq!(dues(&mut account, later, places), [None, None, Some(last)]);
    }

    #[test]
    fn a_change_of_rate_while_waiting_counts() {
        let mut account = before_eight(Rate::new(10 * MB).unwrap(), 1_000);
        account.correct(ONE, 0, 6 * MB);
        let [place] = line_up(&mut account, 1);
        // One second for the first megabyte, half a second for the others.
        assert_eq!(account.due(ms(0), place), Some(ms(1_500)));
        assert_eq!(account.due(ms(1_400), place), Some(ms(1_500)));
        assert_eq!(account.due(ms(1_500), place), None);

        let mut account = before_eight(Rate::new(MB / 10).unwrap(), 1_000);
        account.correct(ONE, 0, 2 * MB);
        let [place] = line_up(&mut account, 1);
        assert_eq!(account.due(ms(0), place), Some(ms(11_000)));
    }

    #[test]
    fn a_time_without_limit_ends_all_waiting() {
        let mut account = before_eight(Rate::UNLIMITED, 1_000);
        account.correct(ONE, 0, 1_000_000 * MB);
        let [place] = line_up(&mut account, 1);
        let due = account.due(ms(0), place).unwrap();
        assert!(due > ms(1_000) && due <= ms(1_001), "{due:?}");
        assert_eq!(account.due(due, place), None);
        account.go(place);
        assert!(account.slice_bytes(due) > 1 << 50);
        // An hour later the limit holds again, and what was left over is worth a slice.
        let end = ms(3_601_000);
        account.advance(end);
        let places = line_up::<3>(&mut account, 100_000);
        let last = end + Duration::from_millis(100);
        assert_eq!(dues(&mut account, end, places), [None, None, Some(last)]);
    }

    #[test]
    fn the_wall_clock_may_be_set_while_something_waits() {
        let mut account = before_eight(Rate::new(10 * MB).unwrap(), 3_600_000);
        account.correct(ONE, 0, 10 * MB);
        let [place] = line_up(&mut account, 1);
        assert_eq!(account.due(ms(0), place), Some(ms(10_000)));
        let eight_ms = account.wall_start_ns as i64 / 1_000_000 + 3_600_000;
        account.set_wall(ms(5_000), eight_ms);
        assert_eq!(account.due(ms(5_000), place), Some(ms(5_500)));
        account.set_wall(ms(5_000), 0);
        assert_eq!(account.due(ms(5_000), place), Some(ms(10_000)), "what was allowed stays");
    }

    proptest! {
        /// However it is taken, given back and overdrawn: what goes out in any time stays within what the rate allows
        /// then, a slice that was kept, and what one request may bring; and nobody waits longer than that takes.
        #[test]
        fn no_more_than_allowed_and_no_later(
            rate in 1_000u64..100_000_000,
            steps in proptest::collection::vec((0u64..400, 1u64..=100, 0u64..150), 1..60),
        ) {
            let mut account = account(rate);
            let slice = account.slice_bytes(ms(0));
            let most = slice * 150 / 100;
            let mut now = ms(0);
            let mut sent = 0;
            for (wait_ms, percent, brought_percent) in steps {
                now = now + Duration::from_millis(wait_ms);
                let asked = slice * percent / 100;
                let [place] = line_up(&mut account, asked);
                if let Some(due) = account.due(now, place) {
                    let just_before = due.since_start() - Duration::from_nanos(1);
                    let still = account.due(Moment::new(just_before), place);
                    prop_assert!(due > now && still == Some(due));
                    now = due;
                }
                prop_assert_eq!(account.due(now, place), None);
                account.go(place);
                let brought = asked * brought_percent / 100;
                account.correct(ONE, asked, brought);
                sent += brought;
                let allowed = u128::from(rate) * now.since_start().as_nanos() / BILLIONTHS;
                prop_assert!(u128::from(sent) <= allowed + u128::from(slice + most));
            }
        }
    }
}
