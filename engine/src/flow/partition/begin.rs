//! How a partition begins, and begins again: what is stored is compared with what the target holds.

use protocol_client::client::ReadChunk;
use protocol_client::wire::error_code::ErrorCode;

use super::{Cx, Footing, Note, PartitionFlow};
use crate::flow::event::{Divergence, Failure, Happening, Start};
use crate::flow::recovery::{self, Purpose, Recovered, Recovery};
use crate::flow::settings::DivergencePolicy;
use crate::flow::target_side::{Phase, Step};
use crate::model::{Pair, Side};

/// How often a log gives nothing before it is believed that there is nothing.
const DOUBTS_ABOUT_NOTHING: u32 = 5;

impl PartitionFlow {
    /// The target's log ends here, and nothing is known of what it holds but what is stored.
    pub(super) fn start_target(&mut self, end: i64, cx: &mut Cx<'_>) {
        match self.spec.start {
            _ if self.footing == Footing::Cut => self.want_turn(Purpose::CUT, end, cx),
            Start::Pair(pair) if end < pair.target_next => {
                let step = self.target.doubt_end(pair.target_next, end);
                self.take(step, cx);
            }
            // The marker stands where a record stood, or is not there yet.
            Start::Pair(pair) if end == pair.target_next && self.spec.is_marked => {
                let step = self.target.doubt_marker(end + 1, end);
                self.take(step, cx);
            }
            Start::Pair(pair) if recovery::behind(pair, self.target.index()).is_some() => {
                self.want_turn(Purpose::Index, end, cx);
            }
            Start::Pair(pair) => {
                self.target.index_mut().resume(pair.source_next, pair.target_next);
                match end == pair.target_next {
                    true => self.go_on(end, cx),
                    false => self.want_turn(Purpose::Rest, end, cx),
                }
            }
            Start::At(position) if end > 0 && position > 0 => {
                self.want_turn(Purpose::Rest, end, cx);
            }
            _ => {
                self.target.index_mut().resume(self.fetch_offset, end);
                self.go_on(end, cx);
            }
        }
    }

    /// Comparing logs takes memory, so not all partitions do it at once.
    pub(super) fn want_turn(&mut self, purpose: Purpose, end: i64, cx: &mut Cx<'_>) {
        self.rewind(cx.frames);
        self.target.set_phase(Phase::Matching);
        self.recovery = Some(Box::new(Recovery::waiting(purpose, end)));
        cx.notes.push(Note::WantTurn);
    }

    /// It is the partition's turn to compare logs.
    pub(in crate::flow) fn on_turn(&mut self, cx: &mut Cx<'_>) {
        if let Some(recovery) = self.recovery.as_mut().filter(|one| one.is_waiting()) {
            recovery.begin(&self.spec.start, self.target.index_mut());
            let step = recovery.step();
            self.recover(step, cx);
        }
    }

    /// Logs are being compared, or wait for it.
    pub(in crate::flow) fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    /// Goes on comparing, for this.
    fn compare_for(&mut self, purpose: Purpose, end: i64, cx: &mut Cx<'_>) {
        self.recovery = Some(Box::new(Recovery::waiting(purpose, end)));
        self.on_turn(cx);
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

    fn on_recovered(&mut self, cx: &mut Cx<'_>) {
        let Some(recovery) = self.recovery.take() else { return };
        let end = recovery.end;
        let Some(mut recovered) = recovery.finish() else { return };
        if let Some(purpose) = recovered.further {
            return self.compare_for(purpose, end, cx);
        }
        let index = self.target.index_mut();
        match (recovered.purpose, &self.spec.start) {
            // What is stored was true then, though the target may not hold all of it any more.
            (Purpose::Index, Start::Pair(pair)) => {
                let (source_next, target_next) = (pair.source_next, pair.target_next);
                if recovered.divergence.is_some() {
                    // It is from before a log was cut.
                    index.begin(source_next, target_next);
                }
                match recovered.ends_vanished || index.end().is_none_or(|at| at.0 > source_next) {
                    true => index.resume(source_next, target_next),
                    false => index.pass(source_next),
                }
                match end == target_next {
                    true => self.go_on(end, cx),
                    false => self.compare_for(Purpose::Rest, end, cx),
                }
            }
            _ => {
                recovered.believe(index);
                self.on_compared(&recovered, cx);
            }
        }
    }

    /// Where copying goes on.
    fn on_compared(&mut self, recovered: &Recovered, cx: &mut Cx<'_>) {
        let (source_next, target_next) = (recovered.source_next, recovered.target_next);
        if let Some(divergence) = recovered.divergence {
            if self.on_diverged(divergence, cx) {
                self.compare_for(Purpose::CUT, target_next, cx);
            }
            return;
        }
        cx.notes.push(Note::Tell(recovered.happening()));
        self.rewind(cx.frames);
        self.fetch_offset = source_next;
        let epoch = match self.spec.start {
            Start::Pair(pair) if pair.source_next == source_next => pair.source_epoch,
            _ => -1,
        };
        let epoch = if recovered.source_epoch < 0 { epoch } else { recovered.source_epoch };
        self.epochs.begin(source_next, epoch);
        let index = self.target.index_mut();
        match recovered.is_found {
            // Which source offsets those copies are of nobody knows any more.
            true if recovered.ends_vanished => index.interrupt(),
            true => index.pass(source_next),
            false => {
                index.begin(source_next, target_next);
                self.footing = Footing::Lost;
            }
        }
        if self.footing == Footing::Cut {
            self.footing = Footing::Lost;
        }
        self.go_on(target_next, cx);
    }

    /// Copying goes on at the position, behind this end of the target's log.
    pub(super) fn go_on(&mut self, target_next: i64, cx: &mut Cx<'_>) {
        self.worked(Side::Target, cx);
        let source_offset = self.fetch_offset;
        self.target.start(target_next);
        cx.notes.push(Note::Tell(Happening::Started { source_offset, target_end: target_next }));
        self.find_footing(cx);
    }

    /// Once everything that was sent has arrived, where a partition stands that has gone back can be stored. In a round
    /// that is part of the transaction.
    pub(super) fn find_footing(&mut self, cx: &mut Cx<'_>) {
        let is_found = self.target.is_empty() && self.target.phase() == Phase::Ready;
        if self.footing == Footing::Lost && cx.settings.rounds.is_some() {
            self.footing = Footing::Firm;
        } else if self.footing == Footing::Lost && is_found {
            self.footing = Footing::Storing;
            if self.target.index().interrupted_at().is_none()
                && let (Some(source_next), Some(target_next)) =
                    (self.position(), self.target_next())
            {
                self.target.index_mut().go_back(source_next, target_next);
            }
            cx.notes.push(Note::StorePosition);
        }
    }

    /// Whether it waits until it is stored where it stands.
    pub(in crate::flow) fn awaits_store(&self) -> bool {
        self.footing == Footing::Storing
    }

    /// This is stored.
    pub(in crate::flow) fn on_stored(&mut self, pair: Pair, cx: &mut Cx<'_>) {
        if self.footing == Footing::Storing {
            let ids = (self.spec.source.topic_id, self.spec.target.topic_id);
            let is_here = self.position() == Some(pair.source_next)
                && self.target_next() == Some(pair.target_next)
                && ids == (pair.source_id, pair.target_id);
            self.footing = if is_here { Footing::Firm } else { Footing::Lost };
            self.find_footing(cx);
        }
    }

    /// A piece of a log that was asked for, to compare.
    pub(in crate::flow) fn on_log_read(
        &mut self,
        side: Side,
        read: Result<Box<ReadChunk>, ErrorCode>,
        cx: &mut Cx<'_>,
    ) {
        let read = read.map(|chunk| self.believe(side, chunk, cx));
        if self.target.phase() == Phase::Matching {
            let Some(recovery) = &mut self.recovery else { return };
            let (step, runs) = recovery.on_read(side, read, cx.settings.isolation);
            runs.iter().for_each(|run| recovery.learn(self.target.index_mut(), run));
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

    /// A broker that is throttled gives nothing; one that does so again and again has nothing up to the end. A log that was
    /// cut may end with a hole.
    fn believe(&mut self, side: Side, mut chunk: Box<ReadChunk>, cx: &Cx<'_>) -> Box<ReadChunk> {
        let (before, from, times) = self.nothing_at;
        let is_same = (before, from) == (side, chunk.from);
        if chunk.next > chunk.from {
            self.nothing_at.2 = if is_same { 0 } else { times };
            return chunk;
        }
        let times = if is_same { times + 1 } else { 1 };
        self.nothing_at = (side, chunk.from, times);
        if times > DOUBTS_ABOUT_NOTHING {
            chunk.next = chunk.next.max(recovery::visible(side, &chunk, cx.settings.isolation));
        }
        chunk
    }

    /// The target does not hold what was copied: stop, or find the last that it does hold and go on behind that. Answers
    /// whether it is to be looked for.
    pub(super) fn on_diverged(&mut self, divergence: Divergence, cx: &mut Cx<'_>) -> bool {
        // What is under way belonged behind what is gone.
        self.clear(cx.frames);
        if cx.settings.on_divergence == DivergencePolicy::Fail {
            self.fail(Failure::Diverged(divergence), cx);
            return false;
        }
        self.target.forget_producer();
        self.footing = Footing::Cut;
        cx.notes.push(Note::Tell(Happening::Diverged(divergence)));
        true
    }
}
