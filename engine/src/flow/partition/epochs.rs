//! Under which leader epochs the source's records were read, as far back as the position.
//!
//! A broker that is told the epoch of what was read last finds out whether its log is still the same (KIP-595): also
//! after an election that was not clean, when the log has grown beyond the position again.

use std::collections::VecDeque;

/// Epochs by the offsets that they were read from.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// From each offset on, up to the next one's.
    spans: VecDeque<(i64, i32)>,
}

impl Epochs {
    /// Everything below an offset counts as read under this epoch; -1 if that is not known.
    pub(super) fn begin(&mut self, next: i64, epoch: i32) {
        self.spans.clear();
        if epoch >= 0 {
            self.spans.push_back((next - 1, epoch));
        }
    }

    /// What was read from an offset on ended with this epoch. If it held several, the last counts for all: a broker
    /// takes no log for shortened because of an epoch that is too late.
    pub(super) fn read(&mut self, from: i64, epoch: i32) {
        while self.spans.pop_back_if(|(at, _)| *at >= from).is_some() {}
        if epoch >= 0 && self.spans.back().is_none_or(|(_, last)| *last != epoch) {
            self.spans.push_back((from, epoch));
        }
    }

    /// The epoch of the last record before an offset, or -1.
    pub(super) fn before(&self, next: i64) -> i32 {
        let span = self.spans.iter().rev().find(|(from, _)| *from < next);
        span.map_or(-1, |(_, epoch)| *epoch)
    }

    /// Nobody goes back before this offset.
    pub(super) fn forget_before(&mut self, position: i64) {
        while self.spans.get(1).is_some_and(|(from, _)| *from < position) {
            self.spans.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offset_has_the_epoch_that_it_was_read_under() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.before(10), -1);
        epochs.begin(10, 2);
        assert_eq!([epochs.before(9), epochs.before(10)], [-1, 2]);
        epochs.read(10, 2);
        epochs.read(20, 3);
        epochs.read(30, 5);
        assert_eq!([10, 20, 21, 30, 31].map(|at| epochs.before(at)), [2, 2, 3, 3, 5]);
        epochs.forget_before(25);
        assert_eq!([25, 30, 31].map(|at| epochs.before(at)), [3, 3, 5]);
        epochs.read(25, 4);
        assert_eq!([25, 26, 31].map(|at| epochs.before(at)), [3, 4, 4], "it was read again");
        epochs.begin(40, -1);
        assert_eq!(epochs.before(40), -1);
        epochs.read(40, -1);
        assert_eq!(epochs.before(50), -1, "old formats know no epochs");
    }
}
