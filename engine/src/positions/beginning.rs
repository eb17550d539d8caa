//! Where a partition begins: at what is stored, or anew because something else is there now.

use super::ledger::Stored;
use crate::config::StartFrom;
use crate::flow::event::{Failure, Start};
use crate::flow::settings::{DivergencePolicy, GapPolicy};
use crate::index::OffsetIndex;
use crate::model::{Side, TopicIds};

/// What decides where a partition begins.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// What is stored.
    pub stored: Stored,
    /// The ids that the topics have now.
    pub ids: TopicIds,
    /// The copy was made just now, by us.
    pub is_created: bool,
    /// `auto.offset.reset`: for what nothing is stored of, and for nothing else.
    pub reset: StartFrom,
    /// What happens when another topic has the name at the source.
    pub on_gap: GapPolicy,
    /// What happens when another copy has the name at the target.
    pub on_divergence: DivergencePolicy,
}

/// How a partition begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// With what is stored.
    Stored(Start),
    /// Behind what the target holds now; where that is has to be stored before the first record is copied.
    Anew {
        /// From where at the source on.
        from: Origin,
        /// What people have to hear, if it is not simply new.
        surprise: Option<Surprise>,
    },
    /// Not at all.
    Refused(Failure),
}

/// Where at the source a partition begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// At this end of the log.
    End(StartFrom),
    /// At this offset: somebody wants it copied from there on (again).
    Offset(i64),
}

/// Why a partition begins anew that was copied before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surprise {
    /// Another topic has the name at the source. Of the old one, what lay at this offset and behind is lost.
    SourceRecreated {
        /// The first offset that was not copied.
        lost_from: i64,
        /// Up to here the target held copies of it.
        copied_to: i64,
    },
    /// The copy was gone.
    CopyGone,
}

impl Situation {
    /// Decides.
    pub fn beginning(&self) -> Beginning {
        let anew = |from, surprise| Beginning::Anew { from, surprise };
        let earliest = Origin::End(StartFrom::Earliest);
        let gone = anew(earliest, Some(Surprise::CopyGone));
        match self.stored {
            Stored::Nothing => anew(Origin::End(self.reset), None),
            // What was skipped on purpose must not come with a new copy.
            Stored::Pair(pair) if self.is_created && self.reset == StartFrom::Latest => {
                anew(Origin::Offset(pair.source_next), None)
            }
            Stored::Position(next) if self.is_created && self.reset == StartFrom::Latest => {
                anew(Origin::Offset(next), None)
            }
            Stored::Pair(pair) if differ(pair.source_id, self.ids.source) => match self.on_gap {
                GapPolicy::Fail if !self.is_created => {
                    Beginning::Refused(Failure::Recreated(Side::Source))
                }
                _ => {
                    let lost_from = pair.source_next;
                    // Of another copy nothing is left anyway.
                    let is_same = !self.is_created && !differ(pair.target_id, self.ids.target);
                    let copied_to = if is_same { pair.target_next } else { 0 };
                    anew(earliest, Some(Surprise::SourceRecreated { lost_from, copied_to }))
                }
            },
            Stored::Pair(_) | Stored::Position(_) if self.is_created => gone,
            Stored::Pair(pair) if differ(pair.target_id, self.ids.target) => {
                match self.on_divergence {
                    DivergencePolicy::Fail => Beginning::Refused(Failure::Recreated(Side::Target)),
                    DivergencePolicy::Resume => gone,
                }
            }
            Stored::Pair(pair) => Beginning::Stored(Start::Pair(pair)),
            Stored::Position(next) => Beginning::Stored(Start::At(next)),
            Stored::SetBack(next) => anew(Origin::Offset(next), None),
        }
    }
}

impl Surprise {
    /// What the target has lost of the copy of a topic that is gone, if it ends here: from which offset up to which.
    pub fn lost_at_target(self, target_end: i64) -> Option<(i64, i64)> {
        match self {
            Self::SourceRecreated { copied_to, .. } if target_end < copied_to => {
                Some((target_end, copied_to))
            }
            _ => None,
        }
    }
}

/// What an index has of a partition that starts here.
pub fn with_index(start: Start, index: &mut OffsetIndex) -> Start {
    if let Start::At(_) = start {
        // MirrorMaker 2 has gone on meanwhile.
        index.interrupt();
    }
    start
}

/// A nil id is that of a cluster that has none.
fn differ(one: uuid::Uuid, other: uuid::Uuid) -> bool {
    one != other && !one.is_nil() && !other.is_nil()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::Pair;

    const IDS: TopicIds = TopicIds { source: Uuid::from_u128(1), target: Uuid::from_u128(2) };
    const EARLIEST: Origin = Origin::End(StartFrom::Earliest);
    const PAIR: Pair = Pair {
        source_next: 5,
        source_epoch: 0,
        target_next: 9,
        source_id: IDS.source,
        target_id: IDS.target,
    };

    fn situation(stored: Stored) -> Situation {
        Situation {
            stored,
            ids: IDS,
            is_created: false,
            reset: StartFrom::Latest,
            on_gap: GapPolicy::Continue,
            on_divergence: DivergencePolicy::Fail,
        }
    }

    #[test]
    fn what_is_stored_counts_as_long_as_the_topics_are_the_same() {
        for (stored, start) in
            [(Stored::Pair(PAIR), Start::Pair(PAIR)), (Stored::Position(7), Start::At(7))]
        {
            assert_eq!(situation(stored).beginning(), Beginning::Stored(start));
        }
        let mut without_ids = situation(Stored::Pair(PAIR));
        without_ids.ids = TopicIds { source: Uuid::nil(), target: Uuid::nil() };
        assert_eq!(without_ids.beginning(), Beginning::Stored(Start::Pair(PAIR)));
    }

    #[test]
    fn only_what_is_new_begins_at_the_end() {
        let anew = situation(Stored::Nothing).beginning();
        assert_eq!(anew, Beginning::Anew { from: Origin::End(StartFrom::Latest), surprise: None });
    }

    #[test]
    fn what_is_set_back_is_copied_again_once() {
        let anew = situation(Stored::SetBack(3)).beginning();
        assert_eq!(anew, Beginning::Anew { from: Origin::Offset(3), surprise: None });
    }

    #[test]
    fn another_topic_at_the_source_is_a_gap() {
        let mut other = situation(Stored::Pair(PAIR));
        other.ids.source = Uuid::from_u128(3);
        let surprise = Some(Surprise::SourceRecreated { lost_from: 5, copied_to: 9 });
        assert_eq!(other.beginning(), Beginning::Anew { from: EARLIEST, surprise });
        let lost = [8, 9].map(|end| surprise.and_then(|surprise| surprise.lost_at_target(end)));
        assert_eq!(lost, [Some((8, 9)), None]);
        other.on_gap = GapPolicy::Fail;
        assert_eq!(other.beginning(), Beginning::Refused(Failure::Recreated(Side::Source)));
        other.reset = StartFrom::Earliest;
        other.is_created = true;
        let surprise = Some(Surprise::SourceRecreated { lost_from: 5, copied_to: 0 });
        assert_eq!(other.beginning(), Beginning::Anew { from: EARLIEST, surprise });
    }

    #[test]
    fn another_copy_is_a_divergence_unless_we_made_it() {
        let mut other = situation(Stored::Pair(PAIR));
        other.ids.target = Uuid::from_u128(3);
        other.reset = StartFrom::Earliest;
        assert_eq!(other.beginning(), Beginning::Refused(Failure::Recreated(Side::Target)));
        let gone = Beginning::Anew { from: EARLIEST, surprise: Some(Surprise::CopyGone) };
        for (is_created, on_divergence) in
            [(true, DivergencePolicy::Fail), (false, DivergencePolicy::Resume)]
        {
            assert_eq!(Situation { is_created, on_divergence, ..other }.beginning(), gone);
        }
        let skipped = Situation { is_created: true, reset: StartFrom::Latest, ..other };
        let anew = Beginning::Anew { from: Origin::Offset(5), surprise: None };
        assert_eq!(skipped.beginning(), anew);
    }
}
