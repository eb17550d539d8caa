//! What really happened to every record of one partition, whatever kmirror believes; and what must never happen, checked
//! at the moment it does.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use embedded_broker::Record;
use embedded_broker::core::log::Log;
use embedded_broker::core::records::decoded;
use engine::index::{OffsetIndex, Translation};
use engine::model::Side;

use crate::workload;

/// Why records are not where they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Deleted by age, size or a request.
    Retention,
    /// A newer record has the same key.
    Compaction,
    /// A leader was elected that lacked them.
    Truncation,
    /// The topic was deleted and created again.
    Recreation,
}

/// A record that was written to the source.
#[derive(Debug)]
struct Fact {
    /// Counts the times that offsets of the source began to be given again.
    era: u32,
    offset: i64,
    record: Record,
    aborted: bool,
    /// It is no longer at the source.
    gone: Option<Cause>,
}

/// Source offsets that were reported as lost.
#[derive(Debug)]
struct Gap {
    eras: RangeInclusive<u32>,
    from: i64,
    to: i64,
}

/// All that is true of one partition.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    committed_only: bool,
    era: u32,
    facts: BTreeMap<u64, Fact>,
    gaps: Vec<Gap>,
    /// Where the target has which record now.
    copied: BTreeMap<u64, i64>,
    /// What the target had and lost by the rules of its topic.
    had: BTreeSet<u64>,
    /// What the target may have lost without anybody having stored that it was there.
    unstored: BTreeSet<u64>,
    /// What the target had and lost to an election; to be copied again when that is noticed.
    cut: BTreeSet<u64>,
    /// Of those, what was reported.
    told_cut: BTreeSet<u64>,
    /// Era and source offset of the last copied record.
    last: Option<(u32, i64)>,
    /// How far the target's log was looked at.
    seen_end: i64,
    foreign: u64,
    told_foreign: bool,
    target_cut: bool,
    /// What is stored of the partition was true in this era.
    stored_era: u32,
    /// The eras in which anybody could see what the source's log holds.
    seen_eras: BTreeSet<u32>,
}

impl Truth {
    /// With `committed_only` records of aborted transactions must not be copied.
    pub(crate) fn new(committed_only: bool) -> Self {
        Self { committed_only, ..Self::default() }
    }

    /// Records were appended to the source, the first at this offset.
    pub(crate) fn wrote(&mut self, base_offset: i64, records: Vec<(u64, Record)>) {
        for (offset, (number, record)) in (base_offset..).zip(records) {
            let fact = Fact { era: self.era, offset, record, aborted: false, gone: None };
            self.facts.insert(number, fact);
        }
    }

    /// These records' transaction was aborted.
    pub(crate) fn aborted(&mut self, numbers: &[u64]) {
        for number in numbers {
            if let Some(fact) = self.facts.get_mut(number) {
                fact.aborted = true;
            }
        }
    }

    /// A range of the source was reported as lost.
    pub(crate) fn reported_gap(&mut self, from: i64, to: i64) {
        self.gaps.push(Gap { eras: 0..=self.era, from, to });
    }

    /// The source was reported to have lost what it held from one offset to another.
    pub(crate) fn reported_truncation(&mut self, from: i64, to: i64) {
        self.gaps.push(Gap { eras: 0..=self.era, from, to });
    }

    /// How often offsets of the source began to be given again.
    pub(crate) fn era(&self) -> u32 {
        self.era
    }

    /// The source's log has given an answer.
    pub(crate) fn source_seen(&mut self) {
        self.seen_eras.insert(self.era);
    }

    /// What is true now is stored.
    pub(crate) fn stored(&mut self) {
        self.stored_era = self.era;
    }

    /// The era in which what is stored was true.
    pub(crate) fn stored_era(&self) -> u32 {
        self.stored_era
    }

    /// Copying begins here: what was gone before is nobody's loss.
    pub(crate) fn begins(&mut self, from: i64) {
        self.gaps.push(Gap { eras: self.era..=self.era, from: 0, to: from });
    }

    /// Another topic was reported to have the name at the source; of the old one everything from an offset on is lost.
    pub(crate) fn reported_end(&mut self, from: i64) {
        self.gaps.push(Gap { eras: 0..=self.era.saturating_sub(1), from, to: i64::MAX });
        // A log that was cut, grew beyond the position again and was deleted before it gave a single answer: that there
        // ever were other records below the position nobody can know.
        let unseen = (0..self.era).filter(|era| !self.seen_eras.contains(era));
        self.gaps.extend(unseen.map(|era| Gap { eras: era..=era, from: 0, to: i64::MAX }));
    }

    /// The target was reported to be cut.
    pub(crate) fn reported_cut(&mut self) {
        self.told_cut.extend(&self.cut);
    }

    /// Others were reported to write to the target.
    pub(crate) fn reported_foreign(&mut self) {
        self.told_foreign = true;
    }

    /// Something took records from the source's log; this is what is left.
    pub(crate) fn source_lost(&mut self, log: &Log, cause: Cause) {
        let left: BTreeSet<u64> = numbers(log);
        for (number, fact) in &mut self.facts {
            if fact.gone.is_none() && !left.contains(number) {
                fact.gone = Some(cause);
            }
        }
        if matches!(cause, Cause::Truncation | Cause::Recreation) {
            self.era += 1;
        }
    }

    /// Before the target's oldest records are deleted: nobody has stored that it holds what stands from this offset on.
    /// A log cannot tell what it does not hold any more, so these may come again.
    pub(crate) fn may_be_forgotten(&mut self, from: i64) {
        let copies = self.copied.iter().filter(|(_, at)| **at >= from);
        self.unstored.extend(copies.map(|(number, _)| *number));
    }

    /// Whether this record's transaction was aborted.
    pub(crate) fn is_aborted(&self, number: u64) -> bool {
        self.facts.get(&number).is_some_and(|fact| fact.aborted)
    }

    /// Something took records from the target's log; this is what is left.
    pub(crate) fn target_lost(&mut self, log: &Log, cause: Cause) {
        let left: BTreeSet<u64> = numbers(log);
        let lost: Vec<u64> =
            self.copied.keys().filter(|number| !left.contains(number)).copied().collect();
        for number in lost {
            self.copied.remove(&number);
            match cause {
                Cause::Retention | Cause::Compaction => self.had.insert(number),
                Cause::Truncation | Cause::Recreation => self.cut.insert(number),
            };
        }
        self.target_cut |= matches!(cause, Cause::Truncation | Cause::Recreation);
        match cause {
            Cause::Truncation => self.seen_end = self.seen_end.min(log.end_offset()),
            Cause::Recreation => {
                self.seen_end = 0;
                // What is not at the source any more cannot come again.
                self.cut.append(&mut self.had);
                let gone = self.facts.iter().filter(|(_, fact)| fact.gone.is_some());
                self.had = gone.map(|(number, _)| *number).collect();
            }
            Cause::Retention | Cause::Compaction => return,
        }
        self.last = self.copied.keys().filter_map(|number| self.place(*number)).max();
        // Up to where copies had reached only those tell that are left: what it lost behind them before may come again.
        let is_behind = |number: &&u64| self.place(**number) > self.last;
        let behind: Vec<u64> = self.had.iter().filter(is_behind).copied().collect();
        self.unstored.extend(behind);
    }

    fn place(&self, number: u64) -> Option<(u32, i64)> {
        self.facts.get(&number).map(|fact| (fact.era, fact.offset))
    }

    /// Looks at what the target's log has got since the last look.
    ///
    /// # Errors
    /// A record is there twice, out of order, changed, or should not be there at all.
    pub(crate) fn look(&mut self, log: &Log) -> Result<(), String> {
        if log.end_offset() == self.seen_end {
            return Ok(());
        }
        for (offset, record) in records(log, self.seen_end) {
            let Some(number) = workload::number_of(&record) else {
                self.foreign += 1;
                continue;
            };
            let fact = self.facts.get(&number).ok_or("a record that nobody wrote")?;
            let here = format!(
                "record {number} (source offset {}, era {}) at target offset {offset}",
                fact.offset, fact.era
            );
            if fact.record != record {
                return Err(format!("{here} is changed: {:?} / {record:?}", fact.record));
            }
            if fact.aborted && self.committed_only {
                return Err(format!("{here} was aborted"));
            }
            let had = self.had.contains(&number);
            if had && !self.unstored.contains(&number) {
                return Err(format!("{here} was there before"));
            }
            let place = (fact.era, fact.offset);
            if let Some(before) = self.copied.insert(number, offset) {
                return Err(format!("{here} is at {before} already"));
            }
            if !had && self.last.is_some_and(|last| last > place) {
                return Err(format!("{here} comes behind {:?}", self.last));
            }
            self.last = Some(place);
        }
        self.seen_end = log.end_offset();
        Ok(())
    }

    /// Whether the record must be at the target some day.
    fn is_wanted(&self, fact: &Fact) -> bool {
        !(fact.aborted && self.committed_only)
    }

    /// What a position says: everything below it is at the target, below the other half of the pair.
    ///
    /// # Errors
    /// A record is not.
    pub(crate) fn check_position(&self, source_next: i64, target_next: i64) -> Result<(), String> {
        for (number, fact) in &self.facts {
            let below = fact.era == self.era && fact.offset < source_next;
            let excused =
                fact.gone.is_some() || self.had.contains(number) || self.cut.contains(number);
            let there = self.copied.get(number).is_some_and(|at| *at < target_next);
            if below && self.is_wanted(fact) && !excused && !there {
                return Err(format!(
                    "the pair {source_next}, {target_next} is ahead of record {number} at source offset {}",
                    fact.offset
                ));
            }
        }
        Ok(())
    }

    /// When everything has come to rest: nothing is missing that was not reported.
    ///
    /// # Errors
    /// A record is.
    pub(crate) fn check_complete(&self) -> Result<(), String> {
        for (number, fact) in &self.facts {
            if !self.is_wanted(fact)
                || self.copied.contains_key(number)
                || self.had.contains(number)
            {
                continue;
            }
            let reported = match fact.gone {
                // What was never read nobody can miss.
                Some(Cause::Compaction | Cause::Truncation) => true,
                Some(_) => {
                    let is_in = |gap: &Gap| {
                        gap.eras.contains(&fact.era) && (gap.from..gap.to).contains(&fact.offset)
                    };
                    self.told_cut.contains(number) || self.gaps.iter().any(is_in)
                }
                None => false,
            };
            if !reported {
                return Err(format!(
                    "record {number} is lost: source offset {}, era {}, gone from the source: {:?}",
                    fact.offset, fact.era, fact.gone
                ));
            }
        }
        Ok(())
    }

    /// Every answer of the index: exact for what was copied since it began, and never ahead.
    ///
    /// # Errors
    /// One is not.
    pub(crate) fn check_index(&self, index: &OffsetIndex) -> Result<(), String> {
        let Some((end, _)) = index.end() else { return Ok(()) };
        let pairs = self.pairs();
        let mut before = (-1, -1);
        for (source, target) in pairs.into_iter().filter(|(source, _)| *source < end) {
            for position in before.0 + 1..=source {
                let good = match index.translate(position) {
                    Translation::Exact(at) => at > before.1 && at <= target,
                    Translation::Behind(at) => at <= target,
                    Translation::Unknown => true,
                };
                if !good {
                    return Err(format!(
                        "position {position} translates to {:?}; source offset {source} stands at {target}, {} before \
                         it at {}",
                        index.translate(position),
                        before.0,
                        before.1
                    ));
                }
            }
            before = (source, target);
        }
        Ok(())
    }

    /// Where the records of the source's present log are at the target, in the order of their source offsets. Those that
    /// were compacted away nobody reads any more, neither here nor there.
    pub(crate) fn pairs(&self) -> Vec<(i64, i64)> {
        let present = self.copied.iter().filter_map(|(number, target)| {
            let fact = self.facts.get(number)?;
            let counts = fact.era == self.era && fact.gone != Some(Cause::Compaction);
            counts.then_some((fact.offset, *target))
        });
        let mut pairs: Vec<(i64, i64)> = present.collect();
        pairs.sort_unstable();
        pairs
    }

    /// Whether one of the logs ever lost its end.
    pub(crate) fn was_cut(&self, side: Side) -> bool {
        match side {
            Side::Source => self.era > 0,
            Side::Target => self.target_cut,
        }
    }

    /// Records of others that were seen.
    pub(crate) fn foreign(&self) -> u64 {
        self.foreign
    }
}

/// The records of a log from an offset on.
fn records(log: &Log, from: i64) -> impl Iterator<Item = (i64, Record)> {
    let batches = log.batches().filter(move |batch| batch.last_offset() >= from);
    let all =
        batches.flat_map(|batch| decoded(batch.to_bytes()).expect("brokers check what they store"));
    let from = from.max(log.start_offset());
    all.filter(move |(offset, _)| *offset >= from)
}

fn numbers(log: &Log) -> BTreeSet<u64> {
    records(log, 0).filter_map(|(_, record)| workload::number_of(&record)).collect()
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, Bytes, BytesMut};
    use embedded_broker::BrokerOptions;
    use embedded_broker::core::{Broker, TopicSpec};

    use super::*;

    /// A source with the records 0 to 5, and a target with those said.
    struct Both {
        broker: Broker,
        truth: Truth,
        rng: fastrand::Rng,
        batches: Vec<Bytes>,
    }

    fn written() -> Both {
        let mut broker = Broker::new(BrokerOptions::default());
        for topic in ["source", "target"] {
            broker.create_topic(TopicSpec::new(topic, 1)).expect("a new topic");
        }
        let mut both = Both {
            broker,
            truth: Truth::new(true),
            rng: fastrand::Rng::with_seed(7),
            batches: Vec::new(),
        };
        while both.batches.len() < 6 {
            let number = both.batches.len() as u64;
            let mut batch = workload::batch(&mut both.rng, number, false);
            if batch.records.len() == 1 {
                both.broker.append_prepared("source", 0, &batch.bytes, false);
                both.truth.wrote(number as i64, std::mem::take(&mut batch.records));
                both.batches.push(batch.bytes);
            }
        }
        both
    }

    impl Both {
        fn log(&self, topic: &str) -> Log {
            self.broker.partition(topic, 0).and_then(|found| found.log()).expect("there").clone()
        }

        fn copy(&mut self, numbers: &[usize]) -> Result<(), String> {
            for number in numbers {
                self.broker.append_prepared("target", 0, &self.batches[*number], false);
            }
            let log = self.log("target");
            self.truth.look(&log)
        }

        fn comes_through(mut self, numbers: &[usize]) -> bool {
            self.copy(numbers).and_then(|()| self.truth.check_complete()).is_ok()
        }
    }

    #[test]
    fn lost_repeated_and_swapped_records_are_seen() {
        assert!(written().comes_through(&[0, 1, 2, 3, 4, 5]));
        for bad in [
            &[0, 1, 2, 3, 4][..],
            &[1, 2, 3, 4, 5],
            &[0, 1, 3, 4, 5],
            &[0, 1, 1, 2, 3, 4, 5],
            &[0, 1, 2, 1, 2, 3, 4, 5],
            &[0, 2, 1, 3, 4, 5],
            &[],
        ] {
            assert!(!written().comes_through(bad), "{bad:?}");
        }
    }

    #[test]
    fn changed_and_aborted_records_are_seen() {
        let mut both = written();
        both.truth.aborted(&[3]);
        assert!(both.comes_through(&[0, 1, 2, 4, 5]));
        let mut both = written();
        both.truth.aborted(&[3]);
        assert!(both.copy(&[0, 1, 2, 3]).is_err());
        let mut both = written();
        let mut changed = BytesMut::from(&both.batches[0][..]);
        (&mut changed[27..35]).put_i64(7);
        both.batches[0] = workload::transactional(&changed.freeze(), (-1, -1), -1);
        assert!(both.copy(&[0]).is_err());
    }

    #[test]
    fn what_is_gone_must_be_reported_unless_it_was_compacted() {
        let lost = |cause, gap: Option<(i64, i64)>| {
            let mut both = written();
            both.broker.delete_records("source", 0, 2).expect("in range");
            let left = both.log("source");
            both.truth.source_lost(&left, cause);
            if let Some((from, to)) = gap {
                both.truth.reported_gap(from, to);
            }
            both.comes_through(&[2, 3, 4, 5])
        };
        assert!(lost(Cause::Compaction, None) && lost(Cause::Retention, Some((0, 2))));
        assert!(!lost(Cause::Retention, None) && !lost(Cause::Retention, Some((1, 2))));
    }

    #[test]
    fn what_the_target_lost_comes_again_or_does_not() {
        let lost = |cause, again: &[usize]| {
            let mut both = written();
            both.copy(&[0, 1, 2, 3]).expect("good");
            match cause {
                Cause::Truncation => assert!(both.broker.truncate("target", 0, 2)),
                _ => assert_eq!(both.broker.delete_records("target", 0, 2), Ok(2)),
            }
            let left = both.log("target");
            both.truth.target_lost(&left, cause);
            both.comes_through(again)
        };
        assert!(lost(Cause::Truncation, &[2, 3, 4, 5]) && !lost(Cause::Truncation, &[4, 5]));
        assert!(lost(Cause::Retention, &[4, 5]) && !lost(Cause::Retention, &[0, 1, 4, 5]));
    }

    #[test]
    fn a_position_ahead_of_the_target_is_seen() {
        let mut both = written();
        let foreign = workload::foreign(&mut both.rng);
        both.broker.append_prepared("target", 0, &foreign, false);
        both.copy(&[0, 1, 2]).expect("good");
        let shift = both.log("target").end_offset() - 3;
        assert_eq!(both.truth.foreign(), shift as u64);
        assert_eq!(both.truth.pairs(), [(0, shift), (1, shift + 1), (2, shift + 2)]);
        assert!(both.truth.check_position(3, shift + 3).is_ok());
        assert!(both.truth.check_position(2, shift + 3).is_ok());
        assert!(both.truth.check_position(3, shift + 2).is_err());
        assert!(both.truth.check_position(4, shift + 3).is_err());
    }
}
