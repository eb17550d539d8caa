//! The state of one connection as the machines see it: away, being opened, or up, with backoff between attempts.

use std::time::Duration;

use crate::model::Moment;

const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Kafka's own `reconnect.backoff.max.ms`.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A connection's state. Events of an earlier connection carry its number and are ignored.
#[derive(Debug)]
pub(super) struct Link {
    state: LinkState,
    incarnation: u64,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkState {
    Down { retry_at: Moment },
    Connecting,
    Up,
}

impl Link {
    pub(super) fn new(now: Moment) -> Self {
        Self { state: LinkState::Down { retry_at: now }, incarnation: 0, failures: 0 }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == LinkState::Up
    }

    /// The number of the present connection or attempt.
    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Starts an attempt when one is due; answers its number.
    pub(super) fn try_connect(&mut self, now: Moment) -> Option<u64> {
        match self.state {
            LinkState::Down { retry_at } if retry_at <= now => {
                self.state = LinkState::Connecting;
                self.incarnation += 1;
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
    pub(super) fn up(&mut self, incarnation: u64) -> bool {
        let present = incarnation == self.incarnation && self.state == LinkState::Connecting;
        if present {
            self.state = LinkState::Up;
        }
        present
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
        let first = link.try_connect(start).expect("due at once");
        assert!(link.up(first));
        assert!(link.down(start, first, &mut rng));
        assert!(!link.down(start, first, &mut rng));
        let retry_at = link.retry_at().expect("down");
        assert!(retry_at > start);
        assert_eq!(link.try_connect(start), None);
        let second = link.try_connect(retry_at).expect("due");
        assert!(!link.up(first));
        assert!(link.up(second));
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
