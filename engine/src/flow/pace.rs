//! How much a connection is to have under way: little as long as the broker is near, because bytes that stay within the
//! processor's caches are carried faster; more when as much takes hardly longer than the way there and back.

use std::time::Duration;

/// What a fetch asks for at first, and near: some hundred microseconds of copying, beside which the cost of a request is small.
pub(super) const FETCH_BYTES: usize = 1 << 20;

/// What is under way to a target that is far, at first: about what connections with brokers' usual sockets carry in two round
/// trips. Many lanes share the memory.
pub(super) const PRODUCE_BYTES: usize = 256 << 10;

/// Nearer than this, one connection and little at a time are enough: 100 KiB for each round trip are 50 MB/s.
pub(super) const NEAR: Duration = Duration::from_millis(2);

/// So much that takes less than so many round trips leaves the line idle for too much of the time.
const FEW_ROUND_TRIPS: u32 = 3;

/// One that takes more than so many would do with half the size.
const MANY_ROUND_TRIPS: u32 = 4 * FEW_ROUND_TRIPS;

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Pace {
    least_bytes: usize,
    wish_bytes: usize,
}

impl Pace {
    pub(super) fn new(least_bytes: usize) -> Self {
        Self { least_bytes, wish_bytes: least_bytes }
    }

    /// Bytes to have under way.
    pub(super) fn wish_bytes(&self) -> usize {
        self.wish_bytes
    }

    /// A request to a broker at this distance was answered after so long with so many bytes of the `limit_bytes` that it asked
    /// for, and nothing else was under way.
    pub(super) fn answered(
        &mut self,
        round_trip: Duration,
        took: Duration,
        bytes: usize,
        limit_bytes: usize,
    ) {
        let is_full = bytes >= limit_bytes / 4 * 3;
        if !is_full || bytes == 0 {
            return;
        }
        // What the budget leaves is no measure of what the line takes.
        if round_trip < NEAR {
            self.wish_bytes = self.least_bytes;
        } else if took < round_trip * FEW_ROUND_TRIPS && limit_bytes >= self.wish_bytes {
            self.wish_bytes = self.wish_bytes.saturating_mul(2);
        } else if took > round_trip * MANY_ROUND_TRIPS {
            self.wish_bytes = (self.wish_bytes / 2).max(self.least_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for in the end over a line with this round trip that carries so many bytes in a millisecond.
    fn settled(round_trip_us: u64, bytes_per_ms: usize) -> usize {
        let mut pace = Pace::new(FETCH_BYTES);
        let round_trip = Duration::from_micros(round_trip_us);
        for _ in 0..100 {
            let bytes = pace.wish_bytes().min(64 << 20);
            let took = round_trip + Duration::from_micros((bytes * 1000 / bytes_per_ms) as u64);
            pace.answered(round_trip, took, bytes, bytes);
        }
        pace.wish_bytes().min(64 << 20)
    }

    #[test]
    fn a_long_line_is_asked_for_more() {
        assert_eq!(settled(100, 2_000_000), FETCH_BYTES, "loopback");
        assert_eq!(
            settled(100_000, 1_000),
            FETCH_BYTES,
            "far, and the broker's socket is the limit"
        );
        // 1 Gbit/s and 100 ms: 12.5 MB are under way at a time.
        let far = settled(100_000, 125_000);
        assert!((25_000_000..=64 << 20).contains(&far), "{far}");
    }

    #[test]
    fn a_near_broker_that_looks_far_at_first_is_asked_for_little() {
        let mut pace = Pace::new(FETCH_BYTES);
        let mut answer = |round_trip_us, took_us| {
            let (round_trip, took) =
                (Duration::from_micros(round_trip_us), Duration::from_micros(took_us));
            let bytes = pace.wish_bytes();
            pace.answered(round_trip, took, bytes, bytes);
            pace.wish_bytes()
        };
        assert_eq!(answer(10_000, 10_000), 2 * FETCH_BYTES);
        assert_eq!([600, 700, 5000].map(|took_us| answer(600, took_us)), [FETCH_BYTES; 3]);
    }

    #[test]
    fn what_is_not_full_tells_nothing() {
        let mut pace = Pace::new(FETCH_BYTES);
        for _ in 0..9 {
            let (round_trip, took) = (Duration::from_millis(100), Duration::from_millis(150));
            pace.answered(round_trip, took, 1000, FETCH_BYTES);
        }
        assert_eq!(pace.wish_bytes(), FETCH_BYTES);
    }
}
