//! Pairs the logs of a partition: which source record stands where at the target.
//!
//! The target's log is the journal of what was copied, so after a crash, an unclear answer or
//! another mirror the two logs themselves say where to go on. A [`Matcher`] is told where both
//! agree, asks for chunks of either log ([`Matcher::ask`]) and is fed with them until it has come
//! to the target's end. It pairs in order: the target's next record is the copy of the source's
//! next record, or it does not continue the copy and is stepped over. A source record is passed
//! over only where the target's log has a hole, or its head is gone: cleaners and retention leave
//! holes, a mirror does not.
//!
//! Batches that agree by header ([`crc::of_payload`]) are never opened. All others are compared
//! record by record, decompressed, so borders between batches, codecs and message formats do not
//! matter.
//!
//! [`crc::of_payload`]: protocol_client::batch::crc::of_payload

mod anchor;
mod findings;
mod log;
mod print;
mod search;

use std::collections::BTreeSet;

use protocol_client::batch::{AbortedTransaction, BatchError, Entry};
use thiserror::Error;

use crate::model::Side;
use anchor::{Anchor, AnchorSearch};
pub use findings::{Counts, Divergence, Missing, Run, Stray, StrayKind};
use findings::{Findings, LOOK_BACK_RECORDS, Recent, Writers};
use log::{Held, Log};
use print::{Opener, Print, batch_key};
use search::{Plan, Progress, Search};

impl Side {
    fn failed(self, error: BatchError) -> MatchError {
        match self {
            Self::Source => MatchError::Source(error),
            Self::Target => MatchError::Target(error),
        }
    }
}

/// Why two logs cannot be paired.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MatchError {
    /// A batch of the source is damaged.
    #[error("source: {0}")]
    Source(BatchError),
    /// A batch of the target is damaged.
    #[error("target: {0}")]
    Target(BatchError),
}

/// Where pairing starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Everything of the source below `source` is accounted for below `target`.
    Pair {
        /// Next source offset.
        source: i64,
        /// Next target offset.
        target: i64,
        /// The last record before both, and its copy. If both still stand there, they must agree.
        last: Option<(i64, i64)>,
    },
    /// Everything of the source below this is accounted for, nobody knows where: the copy of what
    /// came before is looked for in the target's tail.
    Source(i64),
}

/// Whether checksums are computed of batches that agree by header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    /// What the headers say is believed.
    #[default]
    Trust,
    /// They are, so that a log damaged at rest is found out.
    Verify,
}

/// How logs are paired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchSettings {
    /// Producer ids that this mirror has written with, as far as known.
    pub own_producers: BTreeSet<i64>,
    /// So many source records may be passed over without a hole at the target: they are reported
    /// as missing. Zero where a position depends on it.
    pub slack_records: u64,
    /// So many in place of that before anything was paired, once: for a start that is only near.
    pub start_slack_records: u64,
    /// Whether sealed batches have their checksums computed.
    pub checksums: Checksums,
    /// Most that the records of one batch may be when decompressed, in bytes.
    pub max_open_bytes: usize,
    /// About so much of the source is held at most while looking ahead, in bytes.
    pub max_held_bytes: usize,
    /// Most that is read of the target's tail to find a start, in bytes.
    pub max_tail_bytes: usize,
}

impl Default for MatchSettings {
    fn default() -> Self {
        Self {
            own_producers: BTreeSet::new(),
            slack_records: 0,
            start_slack_records: 0,
            checksums: Checksums::Trust,
            max_open_bytes: 128 << 20,
            max_held_bytes: 8 << 20,
            max_tail_bytes: 1 << 30,
        }
    }
}

/// What a [`Matcher`] needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The source from this offset on.
    Source {
        /// First offset.
        from: i64,
    },
    /// The target from this offset on.
    Target {
        /// First offset.
        from: i64,
    },
    /// Nothing: it is done.
    Nothing,
}

/// A piece of a log, from the offset that was asked for on.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// Where it begins, if the log has lost its head up to there: what the first entry holds before is gone.
    pub start: i64,
    /// Whole entries in order. The first may start before the offset asked for; records before it
    /// do not count.
    pub entries: Vec<Entry>,
    /// The aborted transactions among them, where the log is read with `read_committed`.
    pub aborted: Vec<AbortedTransaction>,
    /// Where the log ends, if nothing visible stands behind them: its high watermark, or with
    /// `read_committed` its last stable offset.
    pub end: Option<i64>,
}

/// How far the logs agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// First source offset that the target does not hold. Markers and holes may stand there.
    pub resume_source: i64,
    /// The first offset from there on that something stands at, as far as was read.
    pub source_head: i64,
    /// The leader epoch of the source's last record that was paired, or -1.
    pub source_epoch: i32,
    /// Where the target's log ends, and the next record will stand.
    pub target_next: i64,
    /// What was paired since [`Matcher::take_runs`].
    pub runs: Vec<Run>,
    /// Target records that do not continue the copy; a bounded number, the counts have all.
    pub strays: Vec<Stray>,
    /// Source records without a copy; a bounded number, the counts have all.
    pub missing: Vec<Missing>,
    /// The first sign that the target's log is not the one that was written.
    pub divergence: Option<Divergence>,
    /// Whether the start was found; always, where it was given.
    pub start_found: bool,
    /// Whether the target may end with copies whose source records are gone.
    pub ends_vanished: bool,
    /// Offsets at the end of the target that nothing stands at any more: if they were copies, those
    /// come again.
    pub trailing_hole: u64,
    /// Nothing stands at the target, as far as was looked.
    pub target_is_empty: bool,
    /// How much of everything.
    pub counts: Counts,
}

/// What is being done.
#[derive(Debug)]
enum Phase {
    Anchor(Box<AnchorSearch>),
    /// Looks at the last record before the start.
    Proof {
        last: (i64, i64),
        source: i64,
        target: i64,
    },
    Pairing,
    Done,
}

/// A stray that is not yet explained.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    copy: Print,
    room: u64,
    /// Where the source ends, if it does.
    source_end: Option<i64>,
}

/// The machine that pairs two logs.
#[derive(Debug)]
pub struct Matcher {
    opener: Opener,
    slack: u64,
    start_slack: u64,
    max_held_bytes: usize,
    writers: Writers,
    recent: Recent,
    source: Log,
    target: Log,
    phase: Phase,
    /// First source offset that is not accounted for.
    source_next: i64,
    /// The leader epoch of the last record before it that was paired, or -1.
    source_epoch: i32,
    /// Behind the last target record looked at.
    expected: i64,
    /// Target offsets since the last match that nothing stands at.
    credit: u64,
    /// Copies without a source record since the last match.
    vanished: u64,
    search: Option<Search>,
    plan: Option<Plan>,
    /// A stray that may be a repeated record: the source before it is read again to find out.
    doubt: Option<Doubt>,
    /// Source records between this offset and the next one were compared by header only, so what
    /// they look like is not known.
    unseen_from: Option<i64>,
    findings: Findings,
    start_found: bool,
    end: i64,
    ask: Ask,
}

impl Matcher {
    /// Pairs from `start` to `target_end`, the offset behind the target's last record.
    #[must_use]
    pub fn new(start: Start, target_end: i64, settings: MatchSettings) -> Self {
        let (source_next, expected) = match start {
            Start::Pair { source, target, .. } => (source, target),
            Start::Source(source) => (source, target_end),
        };
        let mut matcher = Self {
            opener: Opener::new(settings.max_open_bytes, settings.checksums),
            slack: settings.slack_records,
            start_slack: settings.start_slack_records,
            max_held_bytes: settings.max_held_bytes,
            writers: Writers::new(settings.own_producers),
            recent: Recent::new(),
            source: Log::new(Side::Source, source_next, i64::MAX),
            target: Log::new(Side::Target, expected, target_end),
            phase: Phase::Pairing,
            source_next,
            source_epoch: -1,
            expected,
            credit: 0,
            vanished: 0,
            search: None,
            plan: None,
            doubt: None,
            unseen_from: None,
            findings: Findings::default(),
            start_found: true,
            end: target_end,
            ask: Ask::Nothing,
        };
        match start {
            Start::Pair { target, .. } if target_end < target => {
                let divergence = Divergence::Truncated { expected: target, end: target_end };
                matcher.findings.divergence = Some(divergence);
                matcher.phase = Phase::Done;
            }
            Start::Pair { source, target, last: Some(last) } => {
                matcher.source = Log::new(Side::Source, last.0, i64::MAX);
                matcher.target = Log::new(Side::Target, last.1, target_end);
                matcher.phase = Phase::Proof { last, source, target };
            }
            Start::Pair { .. } => {}
            Start::Source(source) => {
                let search = AnchorSearch::new(source, target_end, settings.max_tail_bytes);
                (matcher.source, matcher.target) = search.logs();
                matcher.phase = Phase::Anchor(Box::new(search));
            }
        }
        matcher.go_on().expect("nothing has been read that could be damaged");
        matcher
    }

    /// What is needed next.
    #[must_use]
    pub fn ask(&self) -> Ask {
        self.ask
    }

    /// Takes what was read of the source where [`Self::ask`] said.
    ///
    /// # Errors
    /// A batch is damaged; the machine is of no more use.
    pub fn source(&mut self, chunk: Chunk) -> Result<(), MatchError> {
        self.source.accept(chunk).map_err(|error| Side::Source.failed(error))?;
        self.go_on()
    }

    /// Takes what was read of the target where [`Self::ask`] said.
    ///
    /// # Errors
    /// As [`Self::source`].
    pub fn target(&mut self, chunk: Chunk) -> Result<(), MatchError> {
        self.target.accept(chunk).map_err(|error| Side::Target.failed(error))?;
        self.go_on()
    }

    /// Where both sides go on behind a damaged batch, if it was the next one: source and target offset. Behind a
    /// batch of the source, the target's is a guess.
    #[must_use]
    pub fn behind_damage(&self, error: &MatchError) -> Option<(i64, i64)> {
        let (log, what) = match error {
            MatchError::Source(what) => (&self.source, what),
            MatchError::Target(what) => (&self.target, what),
        };
        let (BatchError::Checksum { base_offset, .. }
        | BatchError::Records { base_offset, .. }
        | BatchError::Codec { base_offset, .. }) = what
        else {
            return None;
        };
        let entry =
            &log.batches.front().filter(|held| held.entry.base_offset() == *base_offset)?.entry;
        let records = entry.header().map_or(1, |header| i64::from(header.record_count()));
        Some(match error {
            MatchError::Source(_) => (entry.next_offset(), self.expected + records.max(0)),
            MatchError::Target(_) => (self.source_next, entry.next_offset()),
        })
    }

    /// First source offset that is not accounted for, so far.
    #[must_use]
    pub fn source_next(&self) -> i64 {
        self.source_next
    }

    /// Behind the last target record that has been looked at, so far.
    #[must_use]
    pub fn target_next(&self) -> i64 {
        self.expected
    }

    /// How much of everything, so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.findings.counts
    }

    /// What was paired since the last call, so that a long log does not fill the memory.
    pub fn take_runs(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.findings.runs)
    }

    /// What has come of it; meant for when nothing more is asked for.
    #[must_use]
    pub fn finish(self) -> Outcome {
        let tail = (self.target.held_from - self.expected).max(0).unsigned_abs();
        let head = self.source.batches.front().map_or(self.source.next, |held| held.first);
        let Counts { matched, vanished, foreign, repeated, .. } = self.findings.counts;
        let stood = matched + vanished + foreign + repeated + self.target.steps;
        Outcome {
            target_is_empty: stood == 0,
            resume_source: self.source_next,
            source_head: head.max(self.source_next),
            source_epoch: self.source_epoch,
            target_next: self.end,
            runs: self.findings.runs,
            strays: self.findings.strays,
            missing: self.findings.missing,
            divergence: self.findings.divergence,
            start_found: self.start_found,
            ends_vanished: self.vanished > 0,
            trailing_hole: tail + self.target.trailing_hole(),
            counts: self.findings.counts,
        }
    }

    fn go_on(&mut self) -> Result<(), MatchError> {
        loop {
            let ask = match self.phase {
                Phase::Anchor(_) => self.look_for_start()?,
                Phase::Proof { last, source, target } => self.prove(last, source, target)?,
                Phase::Pairing => self.pair()?,
                Phase::Done => Some(Ask::Nothing),
            };
            if let Some(ask) = ask {
                self.ask = ask;
                return Ok(());
            }
        }
    }

    fn look_for_start(&mut self) -> Result<Option<Ask>, MatchError> {
        let Phase::Anchor(search) = &mut self.phase else { return Ok(None) };
        match search.go_on(&mut self.opener, &mut self.source, &mut self.target)? {
            Err(ask) => return Ok(Some(ask)),
            Ok(Anchor::Found(source, target)) => {
                self.source = Log::new(Side::Source, source, i64::MAX);
                self.target = Log::new(Side::Target, target, self.end);
                (self.expected, self.phase) = (target, Phase::Pairing);
            }
            Ok(Anchor::NotFound) => {
                self.target = Log::new(Side::Target, self.end, self.end);
                (self.start_found, self.phase) = (false, Phase::Done);
            }
        }
        Ok(None)
    }

    /// Looks whether the last record before the start and its copy are what they should be.
    fn prove(
        &mut self,
        last: (i64, i64),
        source: i64,
        target: i64,
    ) -> Result<Option<Ask>, MatchError> {
        if self.target.batches.is_empty() && !self.target.is_exhausted() {
            return Ok(Some(Ask::Target { from: self.target.next }));
        }
        if self.source.batches.is_empty() && !self.source.is_exhausted() {
            return Ok(Some(Ask::Source { from: self.source.next }));
        }
        let copy = self.target_head()?.filter(|copy| copy.offset == last.1);
        let original = self.source_head()?.filter(|original| original.offset == last.0);
        let is_other = copy.zip(original).is_some_and(|(copy, original)| !copy.same(&original));
        // Offsets are given again only behind a cut. What was paired from here on would hide where the cut was.
        if is_other || self.target.starts_with_marker {
            let (source, target) = last;
            self.findings.divergence = Some(Divergence::Different { source, target });
            self.phase = Phase::Done;
            return Ok(None);
        }
        self.source = Log::new(Side::Source, source, i64::MAX);
        self.target = Log::new(Side::Target, target, self.end);
        self.phase = Phase::Pairing;
        Ok(None)
    }

    /// One step of pairing.
    fn pair(&mut self) -> Result<Option<Ask>, MatchError> {
        if let Some(doubt) = self.doubt {
            return self.look_back(doubt);
        }
        if self.target.batches.is_empty() {
            if self.target.is_exhausted() {
                self.phase = Phase::Done;
                return Ok(None);
            }
            return Ok(Some(Ask::Target { from: self.target.next }));
        }
        self.enter();
        if let Some(mut search) = self.search.take() {
            let (source, target) = (&mut self.source, &mut self.target);
            match search.go_on(&mut self.opener, source, target, self.max_held_bytes)? {
                Progress::More => {
                    self.search = Some(search);
                    return Ok(Some(Ask::Source { from: self.source.next }));
                }
                Progress::Found(plan) => self.plan = Some(plan),
            }
            let to = self.plan.and_then(|plan| plan.then).unwrap_or(self.source_next);
            let sought = self.source.seek(&mut self.opener, to);
            sought.map_err(|error| Side::Source.failed(error))?;
        }
        if let Some(plan) = self.plan.filter(|plan| plan.strays > 0) {
            self.plan = Some(Plan { strays: plan.strays - 1, ..plan });
            if let Some(copy) = self.next_copy()? {
                self.stray(copy, plan.room);
            }
            return Ok(None);
        }
        if self.source.batches.is_empty() && !self.source.is_exhausted() {
            return Ok(Some(Ask::Source { from: self.source.next }));
        }
        match self.plan.take() {
            Some(Plan { then: Some(offset), skipped, .. }) => self.follow(offset, skipped)?,
            _ => self.compare()?,
        }
        Ok(None)
    }

    /// Counts what lies before the target's next batch.
    fn enter(&mut self) {
        let left = self.target.held_from;
        let Some(held) = self.target.batches.front_mut() else { return };
        if !held.entered {
            held.entered = true;
            self.credit += (left - self.expected).max(0).unsigned_abs() + held.hole;
            self.expected = held.first;
        }
    }

    fn target_head(&mut self) -> Result<Option<Print>, MatchError> {
        self.target.head(&mut self.opener).map_err(|error| Side::Target.failed(error))
    }

    fn source_head(&mut self) -> Result<Option<Print>, MatchError> {
        self.source.head(&mut self.opener).map_err(|error| Side::Source.failed(error))
    }

    /// The target's next record, the hole before it counted; `None` when its batch has no more.
    fn next_copy(&mut self) -> Result<Option<Print>, MatchError> {
        let Some(copy) = self.target_head()? else {
            self.target.pop();
            return Ok(None);
        };
        self.credit += (copy.offset - self.expected).max(0).unsigned_abs();
        self.expected = self.expected.max(copy.offset);
        Ok(Some(copy))
    }

    /// Compares what comes next on both sides.
    fn compare(&mut self) -> Result<(), MatchError> {
        if self.credit == 0 && self.take_sealed()? {
            return Ok(());
        }
        let Some(copy) = self.next_copy()? else { return Ok(()) };
        let original = self.source_head()?;
        if original.is_none() && !self.source.batches.is_empty() {
            self.source.pop();
            return Ok(());
        }
        match original {
            Some(original) if self.credit == 0 && original.same(&copy) => {
                self.take(&original, &copy);
            }
            Some(_) if self.credit > 0 || self.slack > 0 || self.start_slack > 0 => {
                let slack = std::mem::take(&mut self.start_slack).max(self.slack);
                self.search = Some(Search::new(self.source_next, copy, self.credit, slack));
            }
            original => {
                let room = self.source.room(self.source_next, original.as_ref());
                self.stray(copy, room);
            }
        }
        Ok(())
    }

    /// Pairs two whole batches by their headers.
    fn take_sealed(&mut self) -> Result<bool, MatchError> {
        let (source, target) = (self.source.batches.front(), self.target.batches.front());
        let (Some(source), Some(target)) = (source, target) else { return Ok(false) };
        if !source.is_whole(self.source.to) || !target.is_whole(self.target.to) {
            return Ok(false);
        }
        let alike = self.opener.sealed_alike(&source.entry, &target.entry);
        // Which side is damaged shows when both are opened.
        if !alike.unwrap_or(false) {
            return Ok(false);
        }
        let (first, copy) = (source.entry.base_offset(), target.entry.base_offset());
        let (behind, copy_behind) = (source.entry.next_offset(), target.entry.next_offset());
        if let Some(header) = target.entry.header() {
            self.recent.insert(batch_key(&header));
            self.writers.learn(header.producer_id());
        }
        let count = (behind - first).max(0).unsigned_abs();
        self.source_epoch = source.epoch();
        self.unseen_from.get_or_insert(first);
        self.paired(first, copy, count);
        self.findings.counts.sealed += count;
        self.findings.counts.sealed_batches += 1;
        (self.source_next, self.expected) = (self.source_next.max(behind), copy_behind);
        self.start_slack = 0;
        self.source.pop();
        self.target.pop();
        Ok(true)
    }

    fn paired(&mut self, source_first: i64, target_first: i64, count: u64) {
        let is_behind_vanished = std::mem::take(&mut self.vanished) > 0;
        self.findings.run(Run { source_first, target_first, count, is_behind_vanished });
    }

    /// Pairs two records.
    fn take(&mut self, original: &Print, copy: &Print) {
        if let Some(held) = self.target.batches.front() {
            self.writers.learn(held.producer_id());
        }
        self.recent.insert(copy.key());
        self.source_epoch = self.source.batches.front().map_or(-1, Held::epoch);
        self.paired(original.offset, copy.offset, 1);
        self.source_next = self.source_next.max(original.offset + 1);
        self.expected = copy.offset + 1;
        (self.credit, self.start_slack) = (0, 0);
        self.source.advance();
        self.target.advance();
    }

    /// Goes on at the place that a search has found.
    fn follow(&mut self, offset: i64, skipped: u64) -> Result<(), MatchError> {
        let Some(copy) = self.next_copy()? else { return Ok(()) };
        let original = self.source_head()?;
        if original.is_none() && !self.source.batches.is_empty() {
            self.source.pop();
            self.plan = Some(Plan { strays: 0, then: Some(offset), skipped, room: 0 });
            return Ok(());
        }
        let Some(original) = original.filter(|one| one.offset == offset && one.same(&copy)) else {
            // The source's cleaner took it away since it was found.
            self.stray(copy, u64::MAX);
            return Ok(());
        };
        let missing = skipped.saturating_sub(self.credit);
        self.findings.counts.skipped += skipped - missing;
        if missing > 0 {
            self.findings.missing(Missing {
                source_first: self.source_next,
                count: missing,
                target_next: copy.offset,
            });
        }
        self.take(&original, &copy);
        Ok(())
    }

    /// Steps over a target record that does not continue the copy.
    fn stray(&mut self, copy: Print, room: u64) {
        let ends = self.source.batches.is_empty() && self.source.is_exhausted();
        let doubt = Doubt { copy, room, source_end: self.source.end.filter(|_| ends) };
        if let (Some(from), false) = (self.unseen_from, self.explain(doubt)) {
            let from = from.max(self.source_next - LOOK_BACK_RECORDS);
            self.source = Log::new(Side::Source, from, self.source_next);
            self.doubt = Some(doubt);
        }
    }

    /// Remembers the source records that were compared by header only, then explains the stray.
    fn look_back(&mut self, doubt: Doubt) -> Result<Option<Ask>, MatchError> {
        while !self.source.batches.is_empty() {
            match self.source_head()? {
                Some(original) => {
                    self.recent.insert(original.key());
                    self.source.advance();
                }
                None => self.source.pop(),
            }
        }
        if !self.source.is_exhausted() {
            return Ok(Some(Ask::Source { from: self.source.next }));
        }
        let from = self.plan.and_then(|plan| plan.then).unwrap_or(self.source_next);
        self.source = Log::new(Side::Source, from, i64::MAX);
        (self.doubt, self.unseen_from) = (None, None);
        self.explain(doubt);
        Ok(None)
    }

    /// Finds out why a target record is no continuation; `false` when it takes a look back first.
    fn explain(&mut self, doubt: Doubt) -> bool {
        let Doubt { copy, room, source_end } = doubt;
        let Some(held) = self.target.batches.front() else { return true };
        let producer_id = held.producer_id();
        let batch_seen = held.entry.header().is_some_and(|h| self.recent.contains(batch_key(&h)));
        if batch_seen || self.recent.contains(copy.key()) {
            self.findings.stray(StrayKind::Repeated, copy.offset, producer_id, self.source_next);
        } else if self.unseen_from.is_some() {
            return false;
        } else if self.vanished < room && self.writers.may_be_own(producer_id) {
            self.vanished += 1;
            self.findings.counts.vanished += 1;
        } else {
            self.findings.stray(StrayKind::Foreign, copy.offset, producer_id, self.source_next);
            if self.writers.is_own(producer_id) && self.findings.divergence.is_none() {
                let (source, target) = (self.source_next, copy.offset);
                self.findings.divergence = Some(match source_end {
                    Some(source_end) => Divergence::SourceEnds { source_end, target },
                    None => Divergence::Different { source, target },
                });
            }
        }
        self.expected = copy.offset + 1;
        self.target.advance();
        true
    }
}
