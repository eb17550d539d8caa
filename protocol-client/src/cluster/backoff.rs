//! How long to wait before the next attempt.

use std::time::Duration;

/// Exponential backoff with jitter. Values are plain settings; the state is the number of the
/// attempt, which the caller counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause before the second attempt.
    pub initial: Duration,
    /// The longest pause.
    pub max: Duration,
}

impl Default for Backoff {
    /// 100 ms doubling up to 5 s.
    fn default() -> Self {
        Self { initial: Duration::from_millis(100), max: Duration::from_secs(5) }
    }
}

impl Backoff {
    /// The pause after `failures` (from 1 on) failures in a row. `jitter` between 0 and 1 moves it
    /// by up to a fifth either way, so that many clients do not come back at once.
    pub fn pause(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let pause = self.initial.saturating_mul(1 << doublings).min(self.max);
        pause.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let backoff = Backoff::default();
        let pauses: Vec<u128> = (1..9).map(|n| backoff.pause(n, 0.5).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    proptest! {
        #[test]
        fn jitter_moves_a_pause_by_a_fifth_at_most(failures: u32, jitter in -1.0f64..2.0) {
            let backoff = Backoff::default();
            let middle = backoff.pause(failures, 0.5);
            let pause = backoff.pause(failures, jitter);
            prop_assert!(pause >= middle.mul_f64(0.79) && pause <= middle.mul_f64(1.21));
        }
    }
}
