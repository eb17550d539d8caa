//! The state of one connection as the machines see it: away, being opened, or up, with backoff between attempts; and how far
//! away its broker is.

use std::time::Duration;

use crate::model::Moment;

const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Kafka's own `reconnect.backoff.max.ms`.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A connection's state. Events of an earlier connection carry its number and are ignored; numbers are never used twice
/// in a shard, so that a lane that is closed and opened again is another one.
#[derive(Debug)]
pub(super) struct Link {
    state: LinkState,
    incarnation: u64,
    failures: u32,
    /// When the attempt was begun.
    since: Moment,
    /// The shortest that anything took there and back: opening the connection, or until an answer began.
    round_trip: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkState {
    Down { retry_at: Moment },
    Connecting,
    Up,
}

impl Link {
    pub(super) fn new(now: Moment) -> Self {
        let state = LinkState::Down { retry_at: now };
        Self { state, incarnation: 0, failures: 0, since: now, round_trip: None }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == LinkState::Up
    }

    /// The number of the present connection or attempt.
    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Whether this is the number of the connection that is up.
    pub(super) fn is_up_as(&self, incarnation: u64) -> bool {
        self.is_up() && self.incarnation == incarnation
    }

    /// Starts an attempt when one is due; answers its number, the next one of the shard.
    pub(super) fn try_connect(&mut self, now: Moment, last: &mut u64) -> Option<u64> {
        match self.state {
            LinkState::Down { retry_at } if retry_at <= now => {
                self.state = LinkState::Connecting;
                *last += 1;
                self.incarnation = *last;
                // What was measured belongs to another connection.
                (self.since, self.round_trip) = (now, None);
                Some(self.incarnation)
            }
            _ => None,
        }
    }

    /// When the next attempt is due, if the connection is away.
    pub(super) fn retry_at(&self) -> Option<Moment> {
        match self.state {
            LinkState::Down { retry_at } => Some(retry_at),
            _ => None,
        }
    }

    /// The attempt with this number succeeded; `false` when it is not the present one.
    pub(super) fn up(&mut self, now: Moment, incarnation: u64) -> bool {
        let present = incarnation == self.incarnation && self.state == LinkState::Connecting;
        if present {
            self.state = LinkState::Up;
            // That took two round trips at least, TCP's and that of the first question.
            self.round_trip = Some((now - self.since) / 2);
        }
        present
    }

    /// An answer began so long after its request was sent.
    pub(super) fn began(&mut self, waited: Duration) {
        // A machine that is busy makes a near broker look far for a while, never a far one near.
        self.round_trip = Some(self.round_trip.map_or(waited, |shortest| shortest.min(waited)));
    }

    /// The shortest time there and back, as far as it is known.
    pub(super) fn round_trip(&self) -> Duration {
        self.round_trip.unwrap_or_default()
    }

    /// An answer came: the connection is good, so the next loss starts with a short wait again.
    pub(super) fn worked(&mut self) {
        self.failures = 0;
    }

    /// The connection with this number is lost; `false` when it is not the present one.
    pub(super) fn down(&mut self, now: Moment, incarnation: u64, rng: &mut fastrand::Rng) -> bool {
        if incarnation != self.incarnation || matches!(self.state, LinkState::Down { .. }) {
            return false;
        }
        let wait = backoff(self.failures, rng);
        self.failures = self.failures.saturating_add(1);
        self.state = LinkState::Down { retry_at: now + wait };
        true
    }
}

/// How long to wait after so many failures in a row: doubling, capped, with a quarter of jitter.
pub(super) fn backoff(failures: u32, rng: &mut fastrand::Rng) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(1 << failures.min(10)).min(LONGEST_WAIT);
    wait.mul_f64(0.75 + 0.5 * rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_an_earlier_connection_are_ignored() {
        let mut rng = fastrand::Rng::with_seed(1);
        let start = Moment::default();
        let mut link = Link::new(start);
        let mut last = 0;
        let first = link.try_connect(start, &mut last).expect("due at once");
        assert!(link.up(start, first));
        assert!(link.down(start, first, &mut rng));
        assert!(!link.down(start, first, &mut rng));
        let retry_at = link.retry_at().expect("down");
        assert!(retry_at > start);
        assert_eq!(link.try_connect(start, &mut last), None);
        let second = link.try_connect(retry_at, &mut last).expect("due");
        assert!(!link.up(retry_at, first) && !link.is_up_as(first));
        assert!(link.up(retry_at, second) && link.is_up_as(second));
    }

    #[test]
    fn a_broker_is_as_near_as_its_answers_begin_early() {
        let (start, ms) = (Moment::default(), Duration::from_millis);
        let mut link = Link::new(start);
        let attempt = link.try_connect(start, &mut 0).expect("due at once");
        assert!(link.up(start + ms(120), attempt));
        assert_eq!(link.round_trip(), ms(60));
        link.began(ms(7));
        link.began(ms(90));
        assert_eq!(link.round_trip(), ms(7));
        assert!(link.down(start, attempt, &mut fastrand::Rng::with_seed(1)));
        let again = link.retry_at().expect("down");
        assert!(link.try_connect(again, &mut 1).is_some());
        assert_eq!(link.round_trip(), ms(0), "the next may be another broker");
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let mut rng = fastrand::Rng::with_seed(7);
        for failures in 0..40 {
            let wait = backoff(failures, &mut rng);
            assert!(wait <= LONGEST_WAIT.mul_f64(1.25) && wait >= FIRST_WAIT.mul_f64(0.75));
        }
    }
}
