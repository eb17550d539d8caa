//! Finds where in the target a source position stands when nobody wrote it down.
//!
//! The records before the position are looked for in the target's tail. The copy of the last of
//! them is where the two logs are paired from; what precedes it must agree as far back as possible.

use std::collections::VecDeque;

use super::log::Log;
use super::print::{Opener, Print};
use super::{Ask, MatchError};
use crate::model::Side;

/// How far back the source is read at first, in offsets; eight times as far while it holds nothing.
const FIRST_LOOK_BACK: i64 = 64;
const MAX_LOOK_BACK: i64 = 1 << 18;
/// How much of the target's tail is read at first, in offsets; sixteen times as much until it is found.
const FIRST_TAIL: i64 = 1 << 12;
/// So many records before an anchor are compared.
const MAX_CONTEXT: usize = 64;

/// Where the logs are paired from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// Source and target offset behind a record and its copy.
    Found(i64, i64),
    /// The tail holds no copy of what came before the position.
    NotFound,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// Index among the source records.
    index: usize,
    context: usize,
    target: i64,
}

/// The search for an anchor.
#[derive(Debug)]
pub(super) struct AnchorSearch {
    position: i64,
    look_back: i64,
    tail: i64,
    tail_from: i64,
    end: i64,
    max_tail_bytes: usize,
    /// The last source records before the position, the last one last.
    wanted: VecDeque<Print>,
    /// The last target records read, the last one last.
    seen: VecDeque<Print>,
    best: Option<Candidate>,
}

impl AnchorSearch {
    pub(super) fn new(position: i64, end: i64, max_tail_bytes: usize) -> Self {
        Self {
            position,
            look_back: FIRST_LOOK_BACK,
            tail: FIRST_TAIL,
            tail_from: (end - FIRST_TAIL).max(0),
            end,
            max_tail_bytes,
            wanted: VecDeque::new(),
            seen: VecDeque::new(),
            best: None,
        }
    }

    /// The two logs as they are read at first.
    pub(super) fn logs(&self) -> (Log, Log) {
        let from = (self.position - self.look_back).max(0);
        let source = Log::new(Side::Source, from, self.position);
        (source, Log::new(Side::Target, self.tail_from, self.end))
    }

    /// Goes on with what is held; what it has looked at is let go.
    pub(super) fn go_on(
        &mut self,
        opener: &mut Opener,
        source: &mut Log,
        target: &mut Log,
    ) -> Result<Result<Anchor, Ask>, MatchError> {
        let failed = |side: Side| move |error| side.failed(error);
        while !source.batches.is_empty() {
            let Some(print) = source.head(opener).map_err(failed(Side::Source))? else {
                source.pop();
                continue;
            };
            if self.wanted.len() > MAX_CONTEXT {
                self.wanted.pop_front();
            }
            self.wanted.push_back(print);
            source.advance();
        }
        if !source.is_exhausted() {
            return Ok(Err(Ask::Source { from: source.next }));
        }
        if self.wanted.is_empty() && self.look_back < MAX_LOOK_BACK.min(self.position) {
            self.look_back *= 8;
            *source = self.logs().0;
            return Ok(Err(Ask::Source { from: source.next }));
        }
        if self.wanted.is_empty() {
            return Ok(Ok(Anchor::NotFound));
        }
        while !target.batches.is_empty() {
            match target.head(opener).map_err(failed(Side::Target))? {
                Some(print) => {
                    self.judge(print);
                    target.advance();
                }
                None => target.pop(),
            }
        }
        if !target.is_exhausted() {
            return Ok(Err(Ask::Target { from: target.next }));
        }
        if let Some(best) = self.best {
            let behind =
                self.wanted.get(best.index).map_or(self.position, |print| print.offset + 1);
            return Ok(Ok(Anchor::Found(behind, best.target + 1)));
        }
        let may_grow =
            self.tail_from > 0 && target.read_bytes.saturating_mul(16) <= self.max_tail_bytes;
        if !may_grow {
            return Ok(Ok(Anchor::NotFound));
        }
        self.tail = self.tail.saturating_mul(16);
        self.tail_from = (self.end - self.tail).max(0);
        self.seen.clear();
        *target = self.logs().1;
        Ok(Err(Ask::Target { from: target.next }))
    }

    /// Looks at one target record.
    fn judge(&mut self, print: Print) {
        if self.seen.len() > MAX_CONTEXT {
            self.seen.pop_front();
        }
        self.seen.push_back(print);
        for index in (0..self.wanted.len()).rev() {
            if self.best.is_some_and(|best| best.index > index) {
                return;
            }
            if !self.wanted[index].same(&print) {
                continue;
            }
            let pairs = self.wanted.range(..=index).rev().zip(self.seen.iter().rev());
            let context = pairs.take_while(|(one, other)| one.same(other)).count();
            let better = self.best.is_none_or(|best| {
                best.index < index
                    || best.context < context
                    // Among equals the last loses nothing; the first repeats nothing, but only if
                    // no other source record looks the same.
                    || (best.context == context && self.is_ambiguous(index))
            });
            if better {
                self.best = Some(Candidate { index, context, target: print.offset });
            }
            return;
        }
    }

    fn is_ambiguous(&self, index: usize) -> bool {
        let wanted = self.wanted.get(index);
        let alike = self.wanted.iter().filter(|print| wanted.is_some_and(|one| one.same(print)));
        alike.count() > 1
    }
}
