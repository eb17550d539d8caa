//! The one place of the engine that reads the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::Moment;

/// Counts from its making.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
    wall_start_ms: i64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the shell's clock")]
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), wall_start_ms: Self::read_wall_ms() }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::new(self.start.elapsed())
    }

    /// The moment as tokio's timers want it.
    pub(super) fn instant(&self, at: Moment) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + at.since_start())
    }

    /// Wall clock at the start, in milliseconds since 1970.
    pub(super) fn wall_start_ms(&self) -> i64 {
        self.wall_start_ms
    }

    /// Wall clock now, in milliseconds since 1970, also if it was set since the start or went on while the machine slept.
    #[expect(clippy::disallowed_methods, reason = "this is the shell's clock")]
    pub(super) fn read_wall_ms() -> i64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    /// Wall clock now, in milliseconds since 1970, as far from the start as time has passed.
    pub(super) fn wall_ms(&self) -> i64 {
        self.wall_start_ms
            .saturating_add(i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}
