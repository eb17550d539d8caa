//! Finds where the target goes on in the source when records lie between that it does not have.
//!
//! A record may have been left out only where the target's log has a hole: its cleaner or its
//! retention took the copy away. First the place is tried at which the record must stand if every
//! hole was one record, so that equal records in a row keep their positions; then the alignment
//! that leaves out least on both sides is looked for.

use protocol_client::batch::BatchError;

use super::log::Log;
use super::print::{Opener, Print};
use crate::model::Side;

/// So many target records are looked for at once.
const MAX_PROBES: usize = 16 * 1024;
/// So many equal records are looked at for each source record.
const MAX_EQUAL: usize = 16;

/// What to do about the target's next records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// So many of them do not continue the copy.
    pub(super) strays: usize,
    /// Source offset of the one behind them; `None` when the search found nothing.
    pub(super) then: Option<i64>,
    /// Source records that are left out before it.
    pub(super) skipped: u64,
    /// Source offsets in the range looked through that nothing stands at.
    pub(super) room: u64,
}

/// What a search needs or has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More of the source.
    More,
    /// An end.
    Found(Plan),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Probe {
    body: u64,
    time_ms: Option<i64>,
    index: usize,
    /// So many source records may be left out before it.
    may_skip: u64,
}

#[derive(Debug, Clone, Copy)]
struct Hit {
    offset: i64,
    skipped: u64,
    index: usize,
    steps: u64,
}

impl Hit {
    fn cost(&self) -> u64 {
        self.skipped.saturating_add(self.index as u64)
    }
}

/// One search, from one source position.
#[derive(Debug)]
pub(super) struct Search {
    from: i64,
    wanted: Print,
    credit: u64,
    /// Empty while the expected place is tried.
    probes: Vec<Probe>,
    probed: usize,
    max_skip: u64,
    /// Index of the next source batch.
    at: usize,
    skipped: u64,
    scanned_to: i64,
    /// Offsets of markers and aborted records on the way.
    steps: u64,
    best: Option<Hit>,
}

impl Search {
    /// `wanted` is the target's next record, and `credit` holes lie before it; `slack` more source
    /// records may be left out without an explanation.
    pub(super) fn new(from: i64, wanted: Print, credit: u64, slack: u64) -> Self {
        Self {
            from,
            wanted,
            credit,
            probes: Vec::new(),
            probed: 0,
            max_skip: credit.saturating_add(slack),
            at: 0,
            skipped: 0,
            scanned_to: from,
            steps: 0,
            best: None,
        }
    }

    /// Looks through what is held of the source.
    pub(super) fn go_on(
        &mut self,
        opener: &mut Opener,
        source: &mut Log,
        target: &mut Log,
        max_held_bytes: usize,
    ) -> Result<Progress, super::MatchError> {
        if self.probes.is_empty() {
            if self.credit > 0 {
                match self.expected_place(opener, source, max_held_bytes) {
                    Ok(Some(progress)) => return Ok(progress),
                    Ok(None) => {}
                    Err(error) => return Err(Side::Source.failed(error)),
                }
            }
            self.probe(opener, target).map_err(|error| Side::Target.failed(error))?;
            (self.at, self.skipped, self.scanned_to, self.steps) = (0, 0, self.from, 0);
            if source.held_from > self.from {
                *source = Log::new(Side::Source, self.from, source.to);
            }
        }
        self.content(opener, source, max_held_bytes).map_err(|error| Side::Source.failed(error))
    }

    /// Tries the places at which the record must stand if every hole was one record. `None`: it does not.
    fn expected_place(
        &mut self,
        opener: &mut Opener,
        source: &mut Log,
        max_held_bytes: usize,
    ) -> Result<Option<Progress>, BatchError> {
        let expected = self.from.saturating_add_unsigned(self.credit);
        while self.skipped <= self.credit {
            let Some(held) = source.batches.get(self.at) else {
                return Ok((!source.is_exhausted()).then_some(Progress::More));
            };
            let behind = held.entry.next_offset();
            self.steps += held.steps_from(self.from);
            let records = match held.entry.header() {
                Some(header) if held.is_whole(source.to) => {
                    u64::from(header.record_count().max(0).unsigned_abs())
                }
                _ => 0,
            };
            if records > 0 && behind <= expected && self.skipped + records <= self.credit {
                self.skipped += records;
            } else {
                let at = held.at;
                for print in source.prints(opener, self.at)?.iter().skip(at) {
                    let place = print.offset == expected || self.skipped == self.credit;
                    if place && self.skipped <= self.credit && print.same(&self.wanted) {
                        let (offset, skipped, steps) = (print.offset, self.skipped, self.steps);
                        let hit = Hit { offset, skipped, index: 0, steps };
                        return Ok(Some(self.found(Some(hit))));
                    }
                    self.skipped += 1;
                }
            }
            self.scanned(behind, source, max_held_bytes);
        }
        Ok(None)
    }

    /// Takes the target's next records as what is looked for.
    fn probe(&mut self, opener: &mut Opener, target: &mut Log) -> Result<(), BatchError> {
        let mut may_skip = self.max_skip;
        let mut expected = self.wanted.offset;
        for batch in 0..target.batches.len() {
            let Some(held) = target.batches.get(batch) else { break };
            if batch > 0 {
                may_skip = may_skip.saturating_add(held.hole);
                expected = held.first;
            }
            let (at, behind) = (held.at, held.entry.next_offset().min(target.to));
            for print in target.prints(opener, batch)?.iter().skip(at) {
                may_skip = may_skip.saturating_add((print.offset - expected).max(0).unsigned_abs());
                expected = print.offset + 1;
                let (body, time_ms, index) = (print.body, print.time_ms, self.probes.len());
                self.probes.push(Probe { body, time_ms, index, may_skip });
            }
            may_skip = may_skip.saturating_add((behind - expected).max(0).unsigned_abs());
            if self.probes.len() >= MAX_PROBES {
                break;
            }
        }
        self.probed = self.probes.len();
        self.max_skip = self.probes.last().map_or(self.max_skip, |probe| probe.may_skip);
        self.probes.sort_unstable();
        Ok(())
    }

    /// Looks for all of them, and keeps the one that leaves out least.
    fn content(
        &mut self,
        opener: &mut Opener,
        source: &mut Log,
        max_held_bytes: usize,
    ) -> Result<Progress, BatchError> {
        while self.skipped <= self.max_skip && !self.is_best(self.skipped) {
            let Some(held) = source.batches.get(self.at) else {
                if source.is_exhausted() {
                    self.scanned_to = source.next;
                    self.steps += source.steps;
                    break;
                }
                return Ok(Progress::More);
            };
            let (at, behind) = (held.at, held.entry.next_offset());
            self.steps += held.steps_from(self.from);
            let mut skipped = self.skipped;
            for print in source.prints(opener, self.at)?.iter().skip(at) {
                if self.is_best(skipped) {
                    break;
                }
                let hit = self.lookup(print, skipped);
                if hit.is_some_and(|hit| self.best.is_none_or(|best| hit.cost() < best.cost())) {
                    self.best = hit;
                }
                skipped += 1;
            }
            self.skipped = skipped;
            self.scanned(behind, source, max_held_bytes);
        }
        Ok(self.found(self.best))
    }

    /// Whether nothing better can come behind so many source records.
    fn is_best(&self, skipped: u64) -> bool {
        self.best.is_some_and(|best| best.cost() <= skipped)
    }

    fn lookup(&self, print: &Print, skipped: u64) -> Option<Hit> {
        let matching = |time_ms: Option<Option<i64>>| {
            let low = (print.body, time_ms.unwrap_or_default(), 0);
            let from = self.probes.partition_point(|p| (p.body, p.time_ms, p.index) < low);
            self.probes
                .iter()
                .skip(from)
                .take(MAX_EQUAL)
                .take_while(move |p| p.body == print.body && time_ms.is_none_or(|t| t == p.time_ms))
                .find(|probe| skipped <= probe.may_skip)
        };
        let probe = match print.time_ms {
            None => matching(None),
            Some(_) => matching(Some(print.time_ms)).or_else(|| matching(Some(None))),
        };
        probe.map(|probe| Hit {
            offset: print.offset,
            skipped,
            index: probe.index,
            steps: self.steps,
        })
    }

    /// One more source batch has been looked at; what is too much to hold is read again if needed.
    fn scanned(&mut self, behind: i64, source: &mut Log, max_held_bytes: usize) {
        self.scanned_to = behind;
        self.at += 1;
        while source.bytes > max_held_bytes && self.at > 0 {
            source.pop();
            self.at -= 1;
        }
    }

    fn found(&self, hit: Option<Hit>) -> Progress {
        let offsets = |to: i64| (to - self.from).max(0).unsigned_abs();
        Progress::Found(match hit {
            Some(hit) => Plan {
                strays: hit.index,
                then: Some(hit.offset),
                skipped: hit.skipped,
                room: offsets(hit.offset).saturating_sub(hit.skipped + hit.steps),
            },
            None => Plan {
                strays: self.probed.max(1),
                then: None,
                skipped: 0,
                room: offsets(self.scanned_to).saturating_sub(self.skipped + self.steps),
            },
        })
    }
}
