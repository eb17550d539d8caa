//! Under which leader epochs the source's records were read, as far back as the position.
//!
//! A broker that is told the epoch of what was read last finds out whether its log is still the same (KIP-595): also
//! after an election that was not clean, when the log has grown beyond the position again.

use std::collections::VecDeque;

use protocol_client::wire::fetch::Diverging;

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

    /// The batch that was read from an offset on has this epoch; -1 if its format knows none.
    pub(super) fn read(&mut self, from: i64, epoch: i32) {
        self.forget_from(from);
        if epoch >= 0 && self.spans.back().is_none_or(|(_, last)| *last != epoch) {
            self.spans.push_back((from, epoch));
        }
    }

    /// The epoch of the last record before an offset, or -1.
    pub(super) fn before(&self, next: i64) -> i32 {
        let span = self.spans.iter().rev().find(|(from, _)| *from < next);
        span.map_or(-1, |(_, epoch)| *epoch)
    }

    /// Up to where a log is still what was read of it, once its leader has said that the epoch before `next` did not
    /// reach that far, or that it has none such. If another leader's log has taken its place it may be the longer one:
    /// what was read under epochs that it does not know is gone all the same (KIP-595). `None` if nothing is.
    pub(super) fn kept(&self, diverging: Diverging, next: i64) -> Option<i64> {
        let unknown = self.spans.iter().find(|(_, epoch)| *epoch > diverging.epoch);
        let kept = unknown.map_or(next, |(from, _)| *from).min(diverging.end_offset);
        (kept < next).then_some(kept)
    }

    /// The log ends here now, in this epoch if nothing better is known of it.
    pub(super) fn cut(&mut self, end: i64, epoch: i32) {
        self.forget_from(end);
        if self.spans.is_empty() {
            self.begin(end, epoch);
        }
    }

    /// What was read from this offset on counts no more.
    fn forget_from(&mut self, offset: i64) {
        while self.spans.pop_back_if(|(from, _)| *from >= offset).is_some() {}
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
        epochs.cut(26, 2);
        assert_eq!(epochs.before(26), 4, "what was read is known better than what the leader has");
        epochs.cut(25, 2);
        assert_eq!([24, 25].map(|at| epochs.before(at)), [3, 3]);
        epochs.cut(10, 2);
        assert_eq!([9, 10].map(|at| epochs.before(at)), [-1, 2]);
        epochs.begin(40, -1);
        assert_eq!(epochs.before(40), -1);
        epochs.read(40, -1);
        assert_eq!(epochs.before(50), -1, "old formats know no epochs");
    }

    #[test]
    fn what_another_leader_has_not_is_not_kept_however_long_its_log_is() {
        let mut epochs = Epochs::default();
        epochs.begin(10, 2);
        epochs.read(20, 3);
        epochs.read(30, 5);
        let kept = |epoch, end_offset| epochs.kept(Diverging { epoch, end_offset }, 40);
        assert_eq!(kept(5, 35), Some(35));
        assert_eq!([kept(4, 25), kept(4, 35), kept(4, 99)], [Some(25), Some(30), Some(30)]);
        assert_eq!([kept(2, 15), kept(2, 99), kept(1, 99)], [Some(15), Some(20), Some(9)]);
        assert_eq!(kept(5, 40), None, "it has all of it");
    }
}
