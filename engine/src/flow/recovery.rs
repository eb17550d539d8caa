//! What a former run left at the target behind the stored position, found out by comparing the logs.
//!
//! [`crate::matching`] compares; here is what it is asked, how what was read reaches it, and what its outcome means.

use protocol_client::client::ReadChunk;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::Isolation;

use super::event::{Divergence, Happening, Start};
use crate::index::OffsetIndex;
use crate::matching::{self, Ask, Chunk, MatchSettings, Matcher, Run};
use crate::model::{Pair, Side};

/// How many offsets of the source are compared again so that the index has no gap, at most.
const MAX_AGAIN: i64 = 4_000_000;

/// Most of the source that one comparison holds while it looks ahead, in bytes.
const HELD_BYTES: usize = 2 << 20;

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

/// A comparison, under way or still to begin.
#[derive(Debug)]
pub(super) enum Recovery {
    /// It waits for its turn; the target ends here.
    Waiting(i64),
    /// It is under way.
    Comparing(Box<Matcher>),
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
    pub(super) source_next: i64,
    pub(super) target_next: i64,
    /// Whether the place of the stored position is known.
    pub(super) is_found: bool,
    pub(super) divergence: Option<Divergence>,
    /// Whether the target may end with copies whose source records are gone.
    pub(super) ends_vanished: bool,
    has_strays: bool,
    matched: u64,
    foreign: u64,
    repeated: u64,
}

impl Recovered {
    /// Nothing stood at the target but copies. What is stored was true then, though the target may not hold all of it any
    /// more: what its retention took must not come again.
    pub(super) fn keep(&mut self, stored: &Start) {
        if let Start::Pair(pair) = stored
            && self.divergence.is_none()
            && !self.has_strays
        {
            self.source_next = self.source_next.max(pair.source_next);
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
    /// Compares from what is stored to the target's end.
    pub(super) fn new(start: &Start, index: &OffsetIndex, target_end: i64) -> Self {
        let start = match start {
            Start::Pair(pair) => {
                let stored = (pair.source_next, pair.target_next);
                let (source, target) = behind(*pair, index).unwrap_or(stored);
                let last = index.last_pair().filter(|last| last.0 < source && last.1 < target);
                matching::Start::Pair { source, target, last }
            }
            Start::At(position) => matching::Start::Source(*position),
            Start::Refused(_) => matching::Start::Source(0),
        };
        let settings = MatchSettings { max_held_bytes: HELD_BYTES, ..MatchSettings::default() };
        Self::Comparing(Box::new(Matcher::new(start, target_end, settings)))
    }

    /// What has to be done next.
    pub(super) fn step(&self) -> Step {
        let Self::Comparing(matcher) = self else { return Step::Done };
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
        let (Self::Comparing(matcher), Step::Read(wanted, from)) = (&mut *self, asked) else {
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

    /// What it has come to; nothing if it has not begun.
    pub(super) fn finish(self) -> Option<Recovered> {
        let Self::Comparing(matcher) = self else { return None };
        let outcome = matcher.finish();
        Some(Recovered {
            source_next: outcome.resume_source,
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
            has_strays: outcome.counts.foreign + outcome.counts.repeated > 0,
            matched: outcome.counts.matched,
            foreign: outcome.counts.foreign,
            repeated: outcome.counts.repeated,
        })
    }
}

/// What was read, as the comparison takes it; `None` if a broker held back what it has.
fn chunk_of(side: Side, chunk: ReadChunk, isolation: Isolation) -> Option<Chunk> {
    let visible = match (side, isolation) {
        (Side::Source, Isolation::ReadCommitted) => chunk.last_stable_offset,
        _ => chunk.high_watermark,
    };
    let is_end = chunk.next >= visible;
    if chunk.entries.is_empty() && !is_end {
        return None;
    }
    let end = is_end.then_some(chunk.next.max(visible));
    Some(Chunk { entries: chunk.entries, aborted: chunk.aborted, end })
}

/// The index gets to know what was paired.
pub(super) fn learn(index: &mut OffsetIndex, run: &Run) {
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
