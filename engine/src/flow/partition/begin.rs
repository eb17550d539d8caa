//! How a partition begins, and begins again: what is stored is compared with what the target holds.

use protocol_client::client::ReadChunk;
use protocol_client::wire::error_code::ErrorCode;

use super::{Cx, Note, PartitionFlow};
use crate::flow::event::{Divergence, Failure, Happening, Start};
use crate::flow::recovery::{self, Recovery};
use crate::flow::settings::{DivergencePolicy, GapPolicy};
use crate::flow::target_side::{Phase, Step};
use crate::model::Side;

impl PartitionFlow {
    /// The target's log ends here, and nothing is known of what it holds but what is stored.
    pub(super) fn start_target(&mut self, end: i64, cx: &mut Cx<'_>) {
        match self.spec.start {
            Start::Pair(pair) if end < pair.target_next => {
                let step = self.target.doubt_end(pair.target_next, end);
                self.take(step, cx);
            }
            Start::Pair(pair) if recovery::behind(pair, self.target.index()).is_some() => {
                self.want_turn(end, cx);
            }
            Start::Pair(pair) => {
                self.target.index_mut().resume(pair.source_next, pair.target_next);
                match end == pair.target_next {
                    true => self.go_on(end, cx),
                    false => self.want_turn(end, cx),
                }
            }
            Start::At(position) if end > 0 && position > 0 => self.want_turn(end, cx),
            _ => {
                self.target.index_mut().resume(self.fetch_offset, end);
                self.go_on(end, cx);
            }
        }
    }

    /// Comparing logs takes memory, so not all partitions do it at once.
    pub(super) fn want_turn(&mut self, end: i64, cx: &mut Cx<'_>) {
        self.rewind(cx.frames);
        self.target.set_phase(Phase::Matching);
        self.recovery = Some(Recovery::Waiting(end));
        cx.notes.push(Note::WantTurn);
    }

    /// It is the partition's turn to compare logs.
    pub(in crate::flow) fn on_turn(&mut self, cx: &mut Cx<'_>) {
        if let Some(Recovery::Waiting(end)) = self.recovery {
            let recovery = Recovery::new(&self.spec.start, self.target.index(), end);
            let step = recovery.step();
            self.recovery = Some(recovery);
            self.recover(step, cx);
        }
    }

    /// Logs are being compared, or wait for it.
    pub(in crate::flow) fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    pub(super) fn recover(&mut self, step: recovery::Step, cx: &mut Cx<'_>) {
        match step {
            recovery::Step::Read(side, from) => cx.notes.push(Note::ReadLog(side, from)),
            recovery::Step::Again(side, error) => {
                self.recovery = None;
                self.wait_for_target(side, error, cx);
            }
            recovery::Step::Damaged(what) => {
                self.recovery = None;
                self.fail(Failure::Batch(what), cx);
            }
            recovery::Step::Done => self.on_recovered(cx),
        }
    }

    pub(super) fn on_recovered(&mut self, cx: &mut Cx<'_>) {
        let Some(mut recovered) = self.recovery.take().and_then(Recovery::finish) else { return };
        recovered.keep(&self.spec.start);
        if let Some(divergence) = recovered.divergence {
            let stops = match divergence {
                Divergence::SourceEnds { .. } => cx.settings.on_gap == GapPolicy::Fail,
                _ => cx.settings.on_divergence == DivergencePolicy::Fail,
            };
            if stops {
                return self.fail(Failure::Diverged(divergence), cx);
            }
            cx.notes.push(Note::Tell(Happening::Diverged(divergence)));
        }
        cx.notes.push(Note::Tell(recovered.happening()));
        self.fetch_offset = recovered.source_next;
        let epoch = match self.spec.start {
            Start::Pair(pair) if pair.source_next == recovered.source_next => pair.source_epoch,
            _ => -1,
        };
        self.epochs.begin(recovered.source_next, epoch);
        let index = self.target.index_mut();
        if !recovered.is_found {
            index.begin(recovered.source_next, recovered.target_next);
        }
        if recovered.ends_vanished {
            // Before offsets are passed: those would look as if nothing had been copied of them.
            index.interrupt();
        }
        index.pass(recovered.source_next);
        self.go_on(recovered.target_next, cx);
    }

    /// Copying goes on at the position, behind this end of the target's log.
    pub(super) fn go_on(&mut self, target_next: i64, cx: &mut Cx<'_>) {
        self.worked(Side::Target, cx);
        let source_offset = self.fetch_offset;
        self.target.start(target_next);
        cx.notes.push(Note::Tell(Happening::Started { source_offset, target_end: target_next }));
    }

    /// A piece of a log that was asked for, to compare.
    pub(in crate::flow) fn on_log_read(
        &mut self,
        side: Side,
        read: Result<Box<ReadChunk>, ErrorCode>,
        cx: &mut Cx<'_>,
    ) {
        if self.target.phase() == Phase::Matching {
            let Some(recovery) = &mut self.recovery else { return };
            let (step, runs) = recovery.on_read(side, read, cx.settings.isolation);
            runs.iter().for_each(|run| recovery::learn(self.target.index_mut(), run));
            return self.recover(step, cx);
        }
        match (read, self.target.phase()) {
            (Ok(chunk), Phase::Reading(end)) if side == Side::Target => {
                // A chunk without records is what a throttled broker sends.
                let stuck = chunk.next <= chunk.from && chunk.from < end;
                let step = match stuck {
                    true => Step::AskLater(ErrorCode::OFFSET_NOT_AVAILABLE),
                    false => {
                        self.target.on_head_lost(chunk.from, cx.frames);
                        self.target.on_log(&chunk.entries, chunk.next, cx.frames)
                    }
                };
                self.take(step, cx);
            }
            (Err(error), Phase::Reading(_)) if side == Side::Target => {
                self.take(Step::AskLater(error), cx);
            }
            _ => {}
        }
    }

    /// The target does not hold what was copied: stop, or copy again what is missing.
    pub(super) fn on_diverged(&mut self, divergence: Divergence, end: i64, cx: &mut Cx<'_>) {
        // What is under way belonged behind what is gone.
        self.clear(cx.frames);
        if cx.settings.on_divergence == DivergencePolicy::Fail {
            return self.fail(Failure::Diverged(divergence), cx);
        }
        let back = self.target.index().translate_back(end).position();
        self.fetch_offset = back.unwrap_or(self.fetch_offset).min(self.fetch_offset);
        self.target.forget_producer();
        cx.notes.push(Note::Tell(Happening::Diverged(divergence)));
        self.target.index_mut().resume(self.fetch_offset, end);
        self.go_on(end, cx);
    }
}
