//! What is tried until it works, and what is done again and again.

use std::time::Duration;

use protocol_client::ClientError;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tracing::{info, warn};

use super::tell::Troubles;
use crate::error::EngineError;
use crate::positions::store::StoreError;

/// Wait between attempts to reach a cluster, at first and at most.
pub(super) const RETRY: (Duration, Duration) =
    (Duration::from_millis(250), Duration::from_secs(10));

/// How often a cluster is asked until it shows what was just created.
pub(super) const LOOKS: u32 = 40;

/// How long to wait before the next look, after so many: what is created shows within milliseconds or takes longer.
pub(super) fn look_pause(looks: u32) -> Duration {
    Duration::from_millis(5 << looks.min(4)).min(Duration::from_millis(60))
}

/// Whether trying again helps.
pub(super) trait Retryable: std::fmt::Display {
    fn is_retryable(&self) -> bool;
}

impl Retryable for ClientError {
    fn is_retryable(&self) -> bool {
        self.retryable()
    }
}

impl Retryable for StoreError {
    fn is_retryable(&self) -> bool {
        !self.is_final()
    }
}

/// Tries until it works; tells each trouble once, and its end.
pub(super) async fn until_works<T, E: Retryable>(
    flow: &str,
    alias: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, EngineError> {
    let mut troubles = Troubles::default();
    let mut wait = RETRY.0;
    loop {
        match attempt().await {
            Ok(value) => {
                if troubles.are_over() {
                    info!(flow, "cluster {alias} answers now");
                }
                return Ok(value);
            }
            Err(error) if !error.is_retryable() => return Err(refused(alias, &error)),
            Err(error) if troubles.is_new(&error.to_string()) => {
                warn!(flow, "cluster {alias}: {error}; tried again until it answers");
            }
            Err(_) => {}
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

/// A cluster says no, and no retry can mend it.
pub(super) fn refused(alias: &str, error: &impl std::fmt::Display) -> EngineError {
    EngineError::Refused { cluster: alias.to_owned(), what: error.to_string() }
}

/// Ticks this often, for the first time after one period; what was missed is not made up for.
pub(super) fn every(period: Duration) -> Interval {
    let period = period.max(Duration::from_millis(1));
    let mut ticker = interval_at(Instant::now() + period, period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
