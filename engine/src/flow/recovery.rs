//! What the target holds behind a place that is known, found out by comparing the logs: behind the stored position what a
//! former run left there, behind the end of the index what that missed, and where a target that was cut agrees last.
//!
//! [`crate::matching`] compares; here is what it is asked, how what was read reaches it, and what its outcome means.

use protocol_client::client::ReadChunk;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::Isolation;

use super::event::{Divergence, Happening, Start};
use crate::index::{OffsetIndex, Translation};
use crate::matching::{self, Ask, Chunk, MatchSettings, Matcher, Run};
use crate::model::{Pair, Side};

/// How many offsets of the source are compared again so that the index has no gap, at most.
const MAX_AGAIN: i64 = 4_000_000;

/// Most of the source that one comparison holds while it looks ahead, in bytes.
const HELD_BYTES: usize = 2 << 20;

/// How many offsets before the end of a target that was cut are compared at first, and how many times as many when
/// nothing of that is ours.
const FIRST_BACK: i64 = 1_000;
const FURTHER_BACK: i64 = 16;

/// Where the index ends, if that lies before what is stored: the logs are compared from there, so that it gets to know
/// what was copied since.
pub(super) fn behind(pair: Pair, index: &OffsetIndex) -> Option<(i64, i64)> {
    let is_behind = |(source, target): &(i64, i64)| {
        *source < pair.source_next
            && pair.source_next - source <= MAX_AGAIN
            && *target <= pair.target_next
    };
    index.end().filter(is_behind)
}

/// What logs are compared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// What the index missed up to what is stored.
    Index,
    /// What stands behind what is stored.
    Rest,
    /// Where the target agrees last that was cut, not before so many offsets before its end.
    Cut(i64),
}

impl Purpose {
    /// The target was cut.
    pub(super) const CUT: Self = Self::Cut(FIRST_BACK);
}

/// A comparison, under way or still to begin.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) purpose: Purpose,
    /// Where the target ends.
    pub(super) end: i64,
    /// None while it waits for its turn.
    matcher: Option<Box<Matcher>>,
    /// There is more to compare before what is compared.
    may_go_back: bool,
    /// The index has got to know something.
    is_learned: bool,
}

/// What has to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read this log from this offset on.
    Read(Side, i64),
    /// This log could not be read: everything once more, later.
    Again(Side, ErrorCode),
    /// A log cannot be understood.
    Damaged(String),
    /// Nothing.
    Done,
}

/// What a comparison has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recovered {
    pub(super) purpose: Purpose,
    pub(super) source_next: i64,
    /// The first offset from there on that something stands at, as far as was read.
    source_head: i64,
    target_is_empty: bool,
    /// The leader epoch of the source's last record before it, or -1 where that is not known.
    pub(super) source_epoch: i32,
    pub(super) target_next: i64,
    /// Whether the place of the stored position is known.
    pub(super) is_found: bool,
    pub(super) divergence: Option<Divergence>,
    /// Whether the target may end with copies whose source records are gone.
    pub(super) ends_vanished: bool,
    /// Nothing of what was compared is ours: what comes before has to be compared too, for this.
    pub(super) further: Option<Purpose>,
    matched: u64,
    foreign: u64,
    repeated: u64,
}

impl Recovered {
    /// Of what was compared nothing is left on one of the sides: then the index says up to where the target was filled.
    pub(super) fn believe(&mut self, index: &mut OffsetIndex) {
        if let Purpose::Cut(_) = self.purpose
            && self.matched == 0
        {
            let known = index.translate_back(self.target_next).position().unwrap_or(0);
            let bound = if self.target_is_empty { i64::MAX } else { self.source_head };
            self.source_next = known.min(bound).max(self.source_next);
            self.ends_vanished = false;
            index.resume(self.source_next, self.target_next);
        }
    }

    /// What people hear of it.
    pub(super) fn happening(&self) -> Happening {
        let source_offset = self.source_next;
        if !self.is_found {
            return Happening::NotMatched { source_offset };
        }
        let Self { matched: records, foreign, repeated, .. } = *self;
        Happening::Matched { records, foreign, repeated, source_offset }
    }
}

impl Recovery {
    /// What is to be compared, up to this end of the target, when it is its turn.
    pub(super) fn waiting(purpose: Purpose, end: i64) -> Self {
        Self { purpose, end, matcher: None, may_go_back: false, is_learned: false }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.matcher.is_none()
    }

    /// Begins to compare.
    pub(super) fn begin(&mut self, start: &Start, index: &mut OffsetIndex) {
        let stored = match start {
            Start::Pair(pair) => Some(*pair),
            _ => None,
        };
        let mut end = self.end;
        let start = match (self.purpose, stored, start) {
            (Purpose::Cut(span), stored, _) => {
                let begun =
                    index.start().or_else(|| stored.map(|at| (at.source_next, at.target_next)));
                let begun = begun.unwrap_or((0, 0));
                let (source, target) = before_cut(index, end, span).unwrap_or(begun);
                self.may_go_back = target > begun.1;
                matching::Start::Pair { source, target: target.min(end), last: None }
            }
            (Purpose::Index, Some(pair), _) => {
                end = pair.target_next;
                let stored = (pair.source_next, pair.target_next);
                let (source, target) = behind(pair, index).unwrap_or(stored);
                matching::Start::Pair { source, target, last: index.last_pair() }
            }
            (_, Some(pair), _) => {
                let (source, target) = (pair.source_next, pair.target_next);
                let last = index.last_pair().filter(|last| last.0 < source && last.1 < target);
                matching::Start::Pair { source, target, last }
            }
            (.., Start::At(position)) => matching::Start::Source(*position),
            _ => matching::Start::Source(0),
        };
        let settings = MatchSettings { max_held_bytes: HELD_BYTES, ..MatchSettings::default() };
        self.matcher = Some(Box::new(Matcher::new(start, end, settings)));
    }

    /// What has to be done next.
    pub(super) fn step(&self) -> Step {
        let Some(matcher) = &self.matcher else { return Step::Done };
        match matcher.ask() {
            Ask::Source { from } => Step::Read(Side::Source, from),
            Ask::Target { from } => Step::Read(Side::Target, from),
            Ask::Nothing => Step::Done,
        }
    }

    /// Takes what was read; answers what is next and what was paired since the last call.
    pub(super) fn on_read(
        &mut self,
        side: Side,
        read: Result<Box<ReadChunk>, ErrorCode>,
        isolation: Isolation,
    ) -> (Step, Vec<Run>) {
        let asked = self.step();
        let (Some(matcher), Step::Read(wanted, from)) = (&mut self.matcher, asked) else {
            return (Step::Done, Vec::new());
        };
        if wanted != side {
            // The answer to a question of an earlier comparison.
            return (Step::Again(side, ErrorCode::OFFSET_NOT_AVAILABLE), Vec::new());
        }
        let chunk = match read {
            Ok(chunk) => chunk_of(side, *chunk, isolation),
            // It does not begin behind the offset, so it ends before it.
            Err(ErrorCode::OFFSET_OUT_OF_RANGE) => {
                Some(Chunk { end: Some(from), ..Chunk::default() })
            }
            Err(error) => return (Step::Again(side, error), Vec::new()),
        };
        let Some(chunk) = chunk else {
            return (Step::Again(side, ErrorCode::OFFSET_NOT_AVAILABLE), Vec::new());
        };
        let taken = match side {
            Side::Source => matcher.source(chunk),
            Side::Target => matcher.target(chunk),
        };
        let runs = matcher.take_runs();
        match taken {
            Ok(()) => (self.step(), runs),
            Err(error) => (Step::Damaged(error.to_string()), runs),
        }
    }

    /// The index gets to know what was paired. Of a target that was cut it forgets the rest.
    pub(super) fn learn(&mut self, index: &mut OffsetIndex, run: &Run) {
        if let Purpose::Cut(_) = self.purpose
            && !std::mem::replace(&mut self.is_learned, true)
        {
            index.resume(run.source_first, run.target_first);
        }
        learn(index, run);
    }

    /// What it has come to; nothing if it has not begun.
    pub(super) fn finish(self) -> Option<Recovered> {
        let outcome = self.matcher?.finish();
        // Where nothing is left retention was, and it takes what is older first.
        let is_found = outcome.counts.matched > 0 || outcome.target_is_empty;
        let further = match self.purpose {
            Purpose::Cut(span) if self.may_go_back && !is_found => {
                Some(Purpose::Cut(span.saturating_mul(FURTHER_BACK)))
            }
            _ => None,
        };
        Some(Recovered {
            purpose: self.purpose,
            source_head: outcome.source_head,
            target_is_empty: outcome.target_is_empty,
            source_next: outcome.resume_source,
            source_epoch: outcome.source_epoch,
            target_next: outcome.target_next,
            is_found: outcome.start_found,
            divergence: outcome.divergence.map(|divergence| match divergence {
                matching::Divergence::Truncated { expected, end } => {
                    Divergence::Truncated { expected, end }
                }
                matching::Divergence::Different { source, target } => {
                    Divergence::Differs { source_offset: source, target_offset: target }
                }
                matching::Divergence::SourceEnds { source_end, target } => {
                    Divergence::SourceEnds { source_end, target_offset: target }
                }
            }),
            ends_vanished: outcome.ends_vanished,
            further,
            matched: outcome.counts.matched,
            foreign: outcome.counts.foreign,
            repeated: outcome.counts.repeated,
        })
    }
}

/// A pair that lies so many offsets before the end of a target that was cut; none if the index has none there.
fn before_cut(index: &OffsetIndex, end: i64, span: i64) -> Option<(i64, i64)> {
    let (_, known) = index.end()?;
    let target = end.min(known).checked_sub(span).filter(|target| *target >= 0)?;
    match index.translate_back(target) {
        Translation::Exact(source) => Some((source, target)),
        _ => None,
    }
}

/// Up to where a log can be read.
pub(super) fn visible(side: Side, chunk: &ReadChunk, isolation: Isolation) -> i64 {
    match (side, isolation) {
        (Side::Source, Isolation::ReadCommitted) => chunk.last_stable_offset,
        _ => chunk.high_watermark,
    }
}

/// What was read, as the comparison takes it; `None` if a broker held back what it has.
fn chunk_of(side: Side, chunk: ReadChunk, isolation: Isolation) -> Option<Chunk> {
    let visible = visible(side, &chunk, isolation);
    let is_end = chunk.next >= visible;
    if chunk.entries.is_empty() && !is_end {
        return None;
    }
    let end = is_end.then_some(chunk.next.max(visible));
    Some(Chunk { start: chunk.from, entries: chunk.entries, aborted: chunk.aborted, end })
}

/// The index gets to know what was paired.
fn learn(index: &mut OffsetIndex, run: &Run) {
    if run.is_behind_vanished {
        // Which source offset they were copied from nobody knows any more.
        index.interrupt();
    }
    let Run { mut source_first, mut target_first, mut count, .. } = *run;
    while count > 0 {
        let piece = u32::try_from(count).unwrap_or(u32::MAX);
        index.append(source_first, target_first, piece);
        source_first += i64::from(piece);
        target_first += i64::from(piece);
        count -= u64::from(piece);
    }
}
