//! How much a fetch asks for: little as long as the broker is near, because bytes that stay within the processor's caches
//! are carried faster; more when a full answer takes hardly longer than the way there and back.

use std::time::Duration;

use crate::model::Moment;

/// What is asked for at first, and near: some hundred microseconds of copying, beside which the cost of a request is small.
const NEAR_BYTES: usize = 1 << 20;

/// Nearer than this, one connection and little at a time are enough: 100 KiB for each round trip are 50 MB/s.
pub(super) const NEAR: Duration = Duration::from_millis(2);

/// A full answer that takes less than so many round trips leaves the line idle for too much of the time.
const FEW_ROUND_TRIPS: u32 = 3;

/// One that takes more than so many would do with half the size.
const MANY_ROUND_TRIPS: u32 = 4 * FEW_ROUND_TRIPS;

/// The measurements of one connection.
#[derive(Debug)]
pub(super) struct Pace {
    wish_bytes: usize,
    /// The shortest that anything took: opening the connection, or until an answer began.
    round_trip: Option<Duration>,
    /// When the connection was begun.
    since: Moment,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { wish_bytes: NEAR_BYTES, round_trip: None, since: Moment::default() }
    }

    /// Bytes to ask for.
    pub(super) fn wish_bytes(&self) -> usize {
        self.wish_bytes
    }

    /// A connection is being opened; what was measured belongs to another.
    pub(super) fn connecting(&mut self, now: Moment) {
        *self = Self { since: now, ..Self::new() };
    }

    /// It is open: that took two round trips at least, TCP's and that of the first question.
    pub(super) fn connected(&mut self, now: Moment) {
        self.round_trip = Some((now - self.since) / 2);
    }

    /// The shortest time there and back, as far as it is known.
    pub(super) fn round_trip(&self) -> Duration {
        self.round_trip.unwrap_or_default()
    }

    /// An answer began so long after its request was sent.
    pub(super) fn began(&mut self, waited: Duration) {
        // A machine that is busy makes a near broker look far for a while.
        self.round_trip = Some(self.round_trip.map_or(waited, |shortest| shortest.min(waited)));
    }

    /// A request was answered after so long with so many bytes of the `limit_bytes` that it asked for, and nothing else was
    /// under way.
    pub(super) fn answered(&mut self, took: Duration, bytes: usize, limit_bytes: usize) {
        let round_trip = self.round_trip();
        let is_full = bytes >= limit_bytes / 4 * 3;
        if !is_full || bytes == 0 {
            return;
        }
        // What the budget leaves is no measure of what the line takes.
        if round_trip < NEAR {
            self.wish_bytes = NEAR_BYTES;
        } else if took < round_trip * FEW_ROUND_TRIPS && limit_bytes >= self.wish_bytes {
            self.wish_bytes = self.wish_bytes.saturating_mul(2);
        } else if took > round_trip * MANY_ROUND_TRIPS {
            self.wish_bytes = (self.wish_bytes / 2).max(NEAR_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for in the end over a line with this round trip that carries so many bytes in a millisecond.
    fn settled(round_trip_us: u64, bytes_per_ms: usize) -> usize {
        let now = Moment::default();
        let mut pace = Pace::new();
        let round_trip = Duration::from_micros(round_trip_us);
        pace.connecting(now);
        pace.connected(now + round_trip * 2);
        for _ in 0..100 {
            let bytes = pace.wish_bytes().min(64 << 20);
            let took = round_trip + Duration::from_micros((bytes * 1000 / bytes_per_ms) as u64);
            pace.began(round_trip);
            pace.answered(took, bytes, bytes);
        }
        pace.wish_bytes().min(64 << 20)
    }

    #[test]
    fn a_long_line_is_asked_for_more() {
        assert_eq!(settled(100, 2_000_000), NEAR_BYTES, "loopback");
        assert_eq!(
            settled(100_000, 1_000),
            NEAR_BYTES,
            "far, and the broker's socket is the limit"
        );
        // 1 Gbit/s and 100 ms: 12.5 MB are under way at a time.
        let far = settled(100_000, 125_000);
        assert!((25_000_000..=64 << 20).contains(&far), "{far}");
    }

    #[test]
    fn a_near_broker_that_looks_far_at_first_is_asked_for_little() {
        let mut pace = Pace::new();
        pace.connecting(Moment::default());
        pace.connected(Moment::default() + Duration::from_millis(60));
        let mut answer = |took_us| {
            let (bytes, took) = (pace.wish_bytes(), Duration::from_micros(took_us));
            pace.began(took);
            pace.answered(took, bytes, bytes);
            pace.wish_bytes()
        };
        assert_eq!(answer(10_000), 2 * NEAR_BYTES);
        assert_eq!([600, 700, 5000].map(&mut answer), [NEAR_BYTES; 3]);
    }

    #[test]
    fn a_broker_is_as_near_as_its_answers_begin_early() {
        let mut pace = Pace::new();
        pace.connecting(Moment::default());
        pace.connected(Moment::default() + Duration::from_millis(60));
        pace.began(Duration::from_micros(700));
        pace.began(Duration::from_micros(9000));
        assert_eq!(pace.round_trip(), Duration::from_micros(700));
    }

    #[test]
    fn what_is_not_full_tells_nothing() {
        let mut pace = Pace::new();
        pace.connecting(Moment::default());
        pace.connected(Moment::default() + Duration::from_millis(200));
        for _ in 0..9 {
            pace.answered(Duration::from_millis(150), 1000, NEAR_BYTES);
        }
        assert_eq!(pace.wish_bytes(), NEAR_BYTES);
    }
}
