//! The memory that the shards of a process may fill with records.
//!
//! A part is each shard's own, so that nobody starves; the rest is for whoever needs it, because one hot partition over a
//! long line needs more than its shard's even share.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

/// What each shard has for itself of a shared budget: its even share of one part in so many.
const OWN_PART: usize = 4;

/// One shard's view of the budget. Clones have the same own part and draw on the same common one.
#[derive(Debug, Clone)]
pub struct Budget {
    own_bytes: usize,
    common_bytes: usize,
    common_free: Arc<AtomicIsize>,
}

impl Budget {
    /// A budget for one shard, in bytes.
    #[must_use]
    pub fn alone(bytes: usize) -> Self {
        Self { own_bytes: bytes, common_bytes: 0, common_free: Arc::default() }
    }

    /// A budget for so many shards together, in bytes.
    #[must_use]
    pub fn shared(bytes: usize, shards: usize) -> Self {
        if shards <= 1 {
            return Self::alone(bytes);
        }
        let own_bytes = bytes / OWN_PART / shards;
        let common_bytes = bytes - own_bytes * shards;
        let free = isize::try_from(common_bytes).unwrap_or(isize::MAX);
        Self { own_bytes, common_bytes, common_free: Arc::new(AtomicIsize::new(free)) }
    }

    /// What one shard comes to if no other needs anything.
    pub(super) fn most_bytes(&self) -> usize {
        self.own_bytes + self.common_bytes
    }

    /// What a shard that has taken so many bytes may still take.
    ///
    /// Two shards that ask at the same moment may both be told of the same bytes: then the budget is exceeded by one
    /// answer.
    pub(super) fn free_bytes(&self, used_bytes: usize) -> usize {
        let common = self.common_free.load(Ordering::Relaxed);
        self.own_bytes.saturating_sub(used_bytes) + usize::try_from(common).unwrap_or(0)
    }

    /// A shard that had taken `before` bytes has taken `after` now.
    pub(super) fn moved(&self, before: usize, after: usize) {
        let drawn = |used: usize| used.saturating_sub(self.own_bytes) as isize;
        let change = drawn(after) - drawn(before);
        if change != 0 && self.common_bytes > 0 {
            self.common_free.fetch_sub(change, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_may_take_what_others_leave_but_not_their_own() {
        let busy = Budget::shared(1600, 4);
        let other = busy.clone();
        assert_eq!((busy.most_bytes(), busy.free_bytes(0)), (1300, 1300));
        busy.moved(0, 1300);
        assert_eq!((busy.free_bytes(1300), other.free_bytes(0)), (0, 100));
        other.moved(0, 150);
        assert_eq!(other.free_bytes(150), 0, "a batch that had to be taken");
        busy.moved(1300, 40);
        assert_eq!((busy.free_bytes(40), other.free_bytes(150)), (1210, 1150));
        other.moved(150, 0);
        assert_eq!(other.free_bytes(0), 1300);
    }

    #[test]
    fn a_lone_shard_has_all() {
        let budget = Budget::shared(1000, 1);
        budget.moved(0, 600);
        assert_eq!((budget.most_bytes(), budget.free_bytes(600)), (1000, 400));
    }
}
