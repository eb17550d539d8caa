//! One partition on its way from source to target: the queue of fetched batches, the window of sent ones, and what to do
//! when either side misbehaves.
//!
//! Inputs are the `on_*` methods; outputs are [`PartitionFlow::want`], [`PartitionFlow::can_send`],
//! [`PartitionFlow::send`] and the notes put into the [`Cx`]. The source half and the target half go through their
//! troubles independently of each other.

use std::time::Duration;

use protocol_client::batch::{BatchError, TxnFilter};
use protocol_client::client::ReadChunk;
use protocol_client::conn::fetch_session::Want;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::FetchedPartition;

use super::event::{Divergence, Failure, Happening, LogRange, NodeId, PartitionSpec, Start};
use super::frames::{FrameKey, Frames};
use super::link::backoff;
use super::outgoing::Outgoing;
use super::queue::Queue;
use super::recovery::{self, Recovery};
use super::settings::{DivergencePolicy, GapPolicy, ShardSettings};
use super::target_side::{Delivered, Outcome, Phase, Spent, Step, TargetSide};
use crate::index::OffsetIndex;
use crate::model::{Moment, Side};

/// How often a damaged batch is fetched again before the partition stops.
const DAMAGED_RETRIES: u32 = 3;
/// How often a source that ends before the position is asked again before it is believed that records are gone.
const DOUBTS: u32 = 3;
/// How long a trouble may last before people hear of it.
const QUIET: Duration = Duration::from_secs(2);
/// How often people hear of others who write to the topic.
const FOREIGN_PAUSE: Duration = Duration::from_secs(60);

/// What a partition may use and say while it handles an input.
pub(super) struct Cx<'a> {
    pub(super) now: Moment,
    pub(super) settings: &'a ShardSettings,
    pub(super) frames: &'a mut Frames,
    pub(super) rng: &'a mut fastrand::Rng,
    pub(super) notes: &'a mut Vec<Note>,
}

/// What a partition asks of its shard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Note {
    AskSourceRange,
    AskTargetEnd,
    ReadLog(Side, i64),
    WantTurn,
    RefreshMetadata(Side),
    RenewProducer(Spent),
    WakeAt(Moment),
    Tell(Happening),
}

/// Where a broker leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) node: NodeId,
    pub(super) epoch: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SourceState {
    /// The log's range is being asked for, to understand an offset out of range.
    Asking,
    Ready,
    Backoff(Moment),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Run {
    Active,
    Paused,
    Failed,
}

/// State of a partition as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartitionState {
    /// The position or the target's end is being looked up.
    Starting,
    /// Records flow.
    Running,
    /// An unclear outcome is being settled, or a broker is away.
    Retrying,
    /// Paused by a command.
    Paused,
    /// Stopped by an error; the others go on.
    Failed,
}

#[derive(Debug)]
pub(super) struct PartitionFlow {
    pub(super) spec: PartitionSpec,
    pub(super) source_leader: Option<Leader>,
    pub(super) target_leader: Option<Leader>,
    run: Run,
    source: SourceState,
    target: TargetSide,
    target_retry_at: Option<Moment>,
    queue: Queue,
    fetch_offset: i64,
    /// The leader epoch of the last batch that was fetched, or -1.
    fetched_epoch: i32,
    high_watermark: i64,
    failures: [u32; 2],
    trouble_since: Option<Moment>,
    told_trouble: bool,
    damaged: u32,
    /// How often the source was found to end before the position.
    doubts: u32,
    /// When people last heard of others who write to the topic.
    foreign_told: Option<Moment>,
    /// The lane to the target is away or does not answer.
    stalled: bool,
    /// The target's end is being asked for.
    end_asked: bool,
    /// What is being asked for was wanted for an earlier reason.
    end_stale: bool,
    /// Logs are being compared to find out what a former run has left.
    recovery: Option<Recovery>,
}

impl PartitionFlow {
    pub(super) fn new(mut spec: PartitionSpec, cx: &mut Cx<'_>) -> Self {
        let mut run = Run::Active;
        let fetch_offset = match &spec.start {
            Start::Pair(pair) => pair.source_next,
            Start::At(offset) | Start::SetBack(offset) => *offset,
            Start::Refused(failure) => {
                run = Run::Failed;
                cx.notes.push(Note::Tell(Happening::Failed(failure.clone())));
                0
            }
        };
        let end_asked = run == Run::Active;
        if end_asked {
            cx.notes.push(Note::AskTargetEnd);
        }
        let target = TargetSide::new(std::mem::take(&mut spec.index));
        Self {
            spec,
            source_leader: None,
            target_leader: None,
            run,
            source: SourceState::Ready,
            target,
            target_retry_at: None,
            queue: Queue::default(),
            fetch_offset,
            fetched_epoch: -1,
            high_watermark: -1,
            failures: [0; 2],
            trouble_since: None,
            told_trouble: false,
            damaged: 0,
            doubts: 0,
            foreign_told: None,
            stalled: true,
            end_asked,
            end_stale: false,
            recovery: None,
        }
    }

    /// Next source offset that is not known to be at the target: what a restart begins with. `None` if it was refused.
    pub(super) fn position(&self) -> Option<i64> {
        let refused = matches!(self.spec.start, Start::Refused(_));
        let waiting = || self.target.first_offset().or_else(|| self.queue.first_offset());
        (!refused).then(|| waiting().unwrap_or(self.fetch_offset))
    }

    /// Which offset is which, of all that was copied; what was passed without a record is in it too.
    pub(super) fn index(&mut self) -> &OffsetIndex {
        if let Some(position) = self.position().filter(|_| self.target.is_started()) {
            self.target.index_mut().pass(position);
        }
        self.target.index()
    }

    /// The target offset behind everything delivered, once known.
    pub(super) fn target_next(&self) -> Option<i64> {
        self.target.target_next()
    }

    pub(super) fn delivered(&self) -> Delivered {
        self.target.delivered()
    }

    pub(super) fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    pub(super) fn state(&self) -> PartitionState {
        match self.run {
            Run::Paused => PartitionState::Paused,
            Run::Failed => PartitionState::Failed,
            Run::Active
                if self.target.target_next().is_none() || self.source == SourceState::Asking =>
            {
                PartitionState::Starting
            }
            Run::Active if self.flows() => PartitionState::Running,
            Run::Active => PartitionState::Retrying,
        }
    }

    /// Nothing stands between the source and the target as far as the partition knows.
    fn flows(&self) -> bool {
        self.target.phase() == Phase::Ready
            && self.source == SourceState::Ready
            && self.source_leader.is_some()
            && self.target_leader.is_some()
            && !self.stalled
    }

    /// What to ask the source for, if anything.
    pub(super) fn want(&self, settings: &ShardSettings) -> Option<Want> {
        let wants = self.takes_records() && !self.is_full(settings);
        wants.then(|| Want {
            offset: self.fetch_offset,
            leader_epoch: self.source_leader.map_or(-1, |leader| leader.epoch),
            last_fetched_epoch: self.fetched_epoch,
            max_bytes: settings.fetch_partition_max_bytes,
        })
    }

    /// Only its full queue keeps the partition from being fetched: it may come back at any moment.
    pub(super) fn sits_out(&self, settings: &ShardSettings) -> bool {
        self.takes_records() && self.is_full(settings)
    }

    fn takes_records(&self) -> bool {
        self.run == Run::Active
            && self.source == SourceState::Ready
            && !matches!(self.target.phase(), Phase::Matching | Phase::Backoff)
            && !self.stalled
    }

    fn is_full(&self, settings: &ShardSettings) -> bool {
        self.queue.bytes() >= settings.queue_limit_bytes()
    }

    /// Whether a batch could go out now.
    pub(super) fn can_send(&self) -> bool {
        self.run != Run::Failed
            && (self.target.has_unsent() || (self.target.has_room() && !self.queue.is_empty()))
    }

    /// Nothing is on the way to the target.
    pub(super) fn is_drained(&self) -> bool {
        self.target.phase() == Phase::Backoff || self.is_settled() || self.target.awaits_producer()
    }

    /// Nothing that was sent is without an answer.
    pub(super) fn is_settled(&self) -> bool {
        self.target.is_empty()
    }

    /// The next batch for the wire, in this request.
    pub(super) fn send(
        &mut self,
        request: u64,
        producer: (i64, i16),
        cx: &mut Cx<'_>,
    ) -> Option<&Outgoing> {
        if self.run == Run::Failed {
            return None;
        }
        if !self.target.has_unsent() {
            if !self.target.has_room() {
                return None;
            }
            match self.queue.next(&self.spec.limits, cx.settings.batches, cx.frames) {
                Ok(None) => return None,
                Ok(Some(draft)) => self.target.push(draft, producer),
                Err(error) => {
                    self.on_bad_batch(&error, cx);
                    return None;
                }
            }
        }
        self.target.send_next(request)
    }

    /// One partition's part of a fetch answer.
    pub(super) fn on_fetched(
        &mut self,
        asked: i64,
        answer: &FetchedPartition,
        frame: FrameKey,
        cx: &mut Cx<'_>,
    ) {
        if asked != self.fetch_offset
            || self.run == Run::Failed
            || self.source != SourceState::Ready
        {
            return;
        }
        if answer.error != ErrorCode::NONE {
            self.on_fetch_error(answer.error, cx);
            return;
        }
        self.high_watermark = answer.high_watermark;
        self.worked(Side::Source, cx);
        if let Some(diverging) = answer.diverging.filter(|at| at.end_offset < self.fetch_offset) {
            return self.on_source_truncated(diverging.end_offset, cx);
        }
        self.doubts = 0;
        let mut filter = TxnFilter::new(answer.aborted.clone());
        let accepted = self.queue.accept(
            &answer.records,
            self.fetch_offset,
            &mut filter,
            &self.spec.limits,
            cx.frames,
            frame,
        );
        match accepted {
            Ok(next) => {
                self.fetch_offset = next;
                self.fetched_epoch = self.queue.last_epoch().unwrap_or(self.fetched_epoch);
            }
            Err((next, error)) => {
                self.fetch_offset = next;
                self.damaged_batch(&error.to_string(), cx);
            }
        }
    }

    /// What the source's log holds.
    pub(super) fn on_source_range(&mut self, range: Result<LogRange, ErrorCode>, cx: &mut Cx<'_>) {
        if self.source != SourceState::Asking || self.run == Run::Failed {
            return;
        }
        let range = match range {
            Ok(range) => range,
            Err(error) => return self.trouble(Side::Source, error, cx),
        };
        self.source = SourceState::Ready;
        self.high_watermark = range.latest;
        self.on_out_of_range(range, cx);
    }

    /// The end of the target's log.
    pub(super) fn on_target_end(&mut self, end: Result<i64, ErrorCode>, cx: &mut Cx<'_>) {
        self.end_asked = false;
        if std::mem::take(&mut self.end_stale) {
            return self.ask_target(cx);
        }
        let first = match self.target.phase() {
            Phase::Asking => true,
            Phase::Comparing => false,
            _ => return,
        };
        match end {
            Ok(end) if first => self.start_target(end, cx),
            Ok(end) => {
                let step = self.target.on_end(end, cx.frames);
                self.take(step, cx);
            }
            Err(error) if first && error == ErrorCode::TOPIC_AUTHORIZATION_FAILED => {
                self.fail(Failure::Denied(Side::Target, error), cx);
            }
            Err(error) => self.take(Step::AskLater(error), cx),
        }
    }

    /// The target's log ends here, and nothing is known of what it holds but what is stored.
    fn start_target(&mut self, end: i64, cx: &mut Cx<'_>) {
        match self.spec.start {
            Start::Pair(pair) if end < pair.target_next => {
                let step = self.target.doubt_end(pair.target_next, end);
                self.take(step, cx);
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
    fn want_turn(&mut self, end: i64, cx: &mut Cx<'_>) {
        self.rewind(cx.frames);
        self.target.set_phase(Phase::Matching);
        self.recovery = Some(Recovery::Waiting(end));
        cx.notes.push(Note::WantTurn);
    }

    /// It is the partition's turn to compare logs.
    pub(super) fn on_turn(&mut self, cx: &mut Cx<'_>) {
        if let Some(Recovery::Waiting(end)) = self.recovery {
            let last = self.target.index().last_pair();
            let recovery = Recovery::new(&self.spec.start, last, end);
            let step = recovery.step();
            self.recovery = Some(recovery);
            self.recover(step, cx);
        }
    }

    /// Logs are being compared, or wait for it.
    pub(super) fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    fn recover(&mut self, step: recovery::Step, cx: &mut Cx<'_>) {
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
        let Some(recovered) = self.recovery.take().and_then(Recovery::finish) else { return };
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
        match recovered.is_found {
            true => self.target.index_mut().pass(recovered.source_next),
            false => self.target.index_mut().begin(recovered.source_next, recovered.target_next),
        }
        self.go_on(recovered.target_next, cx);
    }

    /// Copying goes on at the position, behind this end of the target's log.
    fn go_on(&mut self, target_next: i64, cx: &mut Cx<'_>) {
        self.worked(Side::Target, cx);
        let source_offset = self.fetch_offset;
        self.target.start(target_next);
        cx.notes.push(Note::Tell(Happening::Started { source_offset, target_end: target_next }));
    }

    /// A piece of a log that was asked for, to compare.
    pub(super) fn on_log_read(
        &mut self,
        side: Side,
        read: Result<Box<ReadChunk>, ErrorCode>,
        cx: &mut Cx<'_>,
    ) {
        if self.target.phase() == Phase::Matching {
            let Some(recovery) = &mut self.recovery else { return };
            let (step, runs) = recovery.on_read(side, read, cx.settings.isolation);
            for run in runs {
                self.target.index_mut().append(run.source_first, run.target_first, run.count);
            }
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

    /// The target answered for the batch in this request; [`ErrorCode::NETWORK_EXCEPTION`] when the connection was lost.
    pub(super) fn on_produced(&mut self, request: u64, outcome: Outcome, cx: &mut Cx<'_>) {
        if outcome.is_ok() {
            self.damaged = 0;
            self.worked(Side::Target, cx);
        }
        let step = self.target.on_answer(request, outcome, cx.frames);
        self.take(step, cx);
    }

    /// The producer that writes from now on, unless the partition's own will do.
    pub(super) fn on_producer(&mut self, producer: (i64, i16)) {
        self.target.on_producer(producer);
    }

    /// The partition has another leader at the target, or the same once more: what it holds may be another thing.
    pub(super) fn on_leader_moved(&mut self, cx: &mut Cx<'_>) {
        let step = self.target.on_leader_moved();
        self.take(step, cx);
    }

    /// Metadata knows no leader.
    pub(super) fn on_leaderless(&mut self, side: Side, cx: &mut Cx<'_>) {
        let failures = &mut self.failures[side as usize];
        *failures = failures.saturating_add(1);
        self.tell_trouble(side, ErrorCode::LEADER_NOT_AVAILABLE, cx);
    }

    /// Metadata knows the topic under another id.
    pub(super) fn on_recreated(&mut self, side: Side, cx: &mut Cx<'_>) {
        self.fail(Failure::Recreated(side), cx);
    }

    /// A wait is over.
    pub(super) fn on_deadline(&mut self, cx: &mut Cx<'_>) {
        let source_due = matches!(self.source, SourceState::Backoff(at) if at <= cx.now);
        if source_due && self.run != Run::Failed {
            self.source = SourceState::Ready;
        }
        if self.target_retry_at.is_some_and(|at| at <= cx.now) {
            self.compare(cx);
        }
    }

    /// The lane to the target came or went. What waits for a lane that is away would pin the frames of others: it is
    /// dropped and fetched again when the lane is back.
    pub(super) fn set_stalled(&mut self, stalled: bool, frames: &mut Frames) {
        self.stalled = stalled;
        if stalled {
            self.rewind(frames);
            self.target.unpin(frames);
        }
    }

    /// Nothing new is sent any more; what is under way is awaited.
    pub(super) fn drain(&mut self, frames: &mut Frames) {
        self.rewind(frames);
    }

    pub(super) fn pause(&mut self) {
        if self.run == Run::Active {
            self.run = Run::Paused;
        }
    }

    /// Goes on after a pause or a failure, from the position.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>) {
        if self.run == Run::Failed {
            self.source = SourceState::Ready;
            if !self.target.is_open() {
                self.compare(cx);
            }
        }
        self.run = Run::Active;
        self.damaged = 0;
    }

    /// Asks for the target's end, for the first time or to tell what was appended.
    fn compare(&mut self, cx: &mut Cx<'_>) {
        self.target_retry_at = None;
        let known = self.target.target_next().is_some();
        self.target.set_phase(if known { Phase::Comparing } else { Phase::Asking });
        self.ask_target(cx);
    }

    /// One question at a time: an answer that is still to come may be older than what it is wanted for.
    fn ask_target(&mut self, cx: &mut Cx<'_>) {
        if self.end_asked {
            self.end_stale = true;
        } else {
            self.end_asked = true;
            cx.notes.push(Note::AskTargetEnd);
        }
    }

    /// Lets go of all memory and goes back to the position.
    pub(super) fn clear(&mut self, frames: &mut Frames) {
        self.fetch_offset = self.position().unwrap_or(self.fetch_offset);
        self.queue.clear(frames);
        self.target.clear(frames);
    }

    fn on_fetch_error(&mut self, error: ErrorCode, cx: &mut Cx<'_>) {
        match error {
            ErrorCode::OFFSET_OUT_OF_RANGE => self.ask_source(cx),
            ErrorCode::TOPIC_AUTHORIZATION_FAILED => {
                self.fail(Failure::Denied(Side::Source, error), cx)
            }
            _ => self.trouble(Side::Source, error, cx),
        }
    }

    fn ask_source(&mut self, cx: &mut Cx<'_>) {
        self.source = SourceState::Asking;
        cx.notes.push(Note::AskSourceRange);
    }

    fn on_out_of_range(&mut self, range: LogRange, cx: &mut Cx<'_>) {
        let position = self.fetch_offset;
        if position > range.latest && self.doubts >= DOUBTS {
            return self.on_source_truncated(range.latest, cx);
        }
        if position >= range.earliest {
            // Two brokers disagree, the log has moved meanwhile, or its leader knows no epochs (KIP-595).
            self.doubts += u32::from(position > range.latest);
            self.fetched_epoch = -1;
            return self.trouble(Side::Source, ErrorCode::OFFSET_OUT_OF_RANGE, cx);
        }
        let (from, to) = (position, range.earliest);
        if cx.settings.on_gap == GapPolicy::Fail {
            return self.fail(Failure::Gap { from, to }, cx);
        }
        self.fetch_offset = to;
        self.fetched_epoch = -1;
        cx.notes.push(Note::Tell(Happening::Gap { from, to }));
    }

    /// The source ends here now, and what lay behind is gone or another: an election that was not clean.
    fn on_source_truncated(&mut self, end: i64, cx: &mut Cx<'_>) {
        let (from, to) = (end, self.fetch_offset);
        if cx.settings.on_gap == GapPolicy::Fail {
            return self.fail(Failure::SourceTruncated { from, to }, cx);
        }
        self.queue.clear(cx.frames);
        self.fetch_offset = end;
        self.fetched_epoch = -1;
        self.doubts = 0;
        cx.notes.push(Note::Tell(Happening::SourceTruncated { from, to }));
    }

    /// The target does not hold what was copied: stop, or copy again what is missing.
    fn on_diverged(&mut self, divergence: Divergence, end: i64, cx: &mut Cx<'_>) {
        if cx.settings.on_divergence == DivergencePolicy::Fail {
            return self.fail(Failure::Diverged(divergence), cx);
        }
        self.clear(cx.frames);
        let back = self.target.index().translate_back(end).position();
        self.fetch_offset = back.unwrap_or(self.fetch_offset).min(self.fetch_offset);
        self.target.forget_producer();
        cx.notes.push(Note::Tell(Happening::Diverged(divergence)));
        self.target.index_mut().resume(self.fetch_offset, end);
        self.go_on(end, cx);
    }

    fn take(&mut self, step: Step, cx: &mut Cx<'_>) {
        match step {
            Step::Nothing => {}
            Step::AskEnd => self.ask_target(cx),
            Step::AskLater(error) => self.trouble(Side::Target, error, cx),
            Step::Read(from) => cx.notes.push(Note::ReadLog(Side::Target, from)),
            Step::Settled => {
                // With batches to send, only their acknowledgement shows that the target works.
                if self.target.is_empty() {
                    self.worked(Side::Target, cx);
                }
            }
            Step::Refused { source_offset, error } => {
                self.fail(Failure::Refused { source_offset, error, message: None }, cx);
            }
            Step::Damaged => {
                self.clear(cx.frames);
                self.damaged_batch("the target finds its checksum wrong", cx);
            }
            Step::TargetShrank { expected, end } => {
                self.on_diverged(Divergence::Truncated { expected, end }, end, cx);
            }
        }
        self.tell_foreign(cx);
        cx.notes.extend(self.target.take_spent().map(Note::RenewProducer));
        self.let_go(cx.frames);
    }

    /// People hear at once of others who write to the topic, and then now and then.
    fn tell_foreign(&mut self, cx: &mut Cx<'_>) {
        if self.foreign_told.is_none_or(|told| cx.now - told >= FOREIGN_PAUSE)
            && let Some((from, to, offsets)) = self.target.take_foreign()
        {
            self.foreign_told = Some(cx.now);
            cx.notes.push(Note::Tell(Happening::Foreign { from, to, offsets }));
        }
    }

    /// A batch that cannot be opened may have been damaged on the way; one that is too large stays so.
    fn on_bad_batch(&mut self, error: &BatchError, cx: &mut Cx<'_>) {
        if let BatchError::TooLarge { .. } = error {
            return self.fail(Failure::Batch(error.to_string()), cx);
        }
        self.rewind(cx.frames);
        self.damaged_batch(&error.to_string(), cx);
    }

    /// A damaged batch may be whole at the next fetch; if not, the partition stops.
    fn damaged_batch(&mut self, what: &str, cx: &mut Cx<'_>) {
        self.damaged += 1;
        if self.damaged > DAMAGED_RETRIES {
            let offset = self.fetch_offset;
            let message =
                format!("the batch at source offset {offset} is damaged at the source: {what}");
            return self.fail(Failure::Batch(message), cx);
        }
        self.trouble(Side::Source, ErrorCode::CORRUPT_MESSAGE, cx);
    }

    /// Waits before the next attempt; what is queued for a target that is away is fetched again later.
    fn trouble(&mut self, side: Side, error: ErrorCode, cx: &mut Cx<'_>) {
        match side {
            Side::Source => {
                let until = self.back_off(side, error, cx);
                self.source = SourceState::Backoff(until);
            }
            Side::Target => self.wait_for_target(side, error, cx),
        }
    }

    /// The target's end is asked for again after a while; which side made trouble is for people to know.
    fn wait_for_target(&mut self, side: Side, error: ErrorCode, cx: &mut Cx<'_>) {
        self.target.set_phase(Phase::Backoff);
        self.target_retry_at = Some(self.back_off(side, error, cx));
        self.rewind(cx.frames);
        self.target.unpin(cx.frames);
    }

    fn back_off(&mut self, side: Side, error: ErrorCode, cx: &mut Cx<'_>) -> Moment {
        let failures = &mut self.failures[side as usize];
        let until = cx.now + backoff(*failures, cx.rng);
        *failures = failures.saturating_add(1);
        cx.notes.push(Note::WakeAt(until));
        cx.notes.push(Note::RefreshMetadata(side));
        self.tell_trouble(side, error, cx);
        until
    }

    /// People hear of a trouble when it lasts, and once.
    fn tell_trouble(&mut self, side: Side, error: ErrorCode, cx: &mut Cx<'_>) {
        let since = *self.trouble_since.get_or_insert(cx.now);
        // A broker that cannot be reached is told of once, not by each of its partitions.
        let hush =
            self.told_trouble || self.run == Run::Failed || error == ErrorCode::NETWORK_EXCEPTION;
        if !hush && cx.now - since >= QUIET {
            self.told_trouble = true;
            cx.notes.push(Note::Tell(match side {
                Side::Source => Happening::SourceAway(error),
                Side::Target => Happening::TargetAway(error),
            }));
        }
    }

    fn worked(&mut self, side: Side, cx: &mut Cx<'_>) {
        self.failures[side as usize] = 0;
        if self.failures == [0; 2]
            && self.trouble_since.take().is_some()
            && std::mem::take(&mut self.told_trouble)
        {
            cx.notes.push(Note::Tell(Happening::Recovered));
        }
    }

    /// Stops the partition. What is under way is still waited for, so that the position is right.
    fn fail(&mut self, failure: Failure, cx: &mut Cx<'_>) {
        self.rewind(cx.frames);
        if self.run != Run::Failed {
            self.run = Run::Failed;
            cx.notes.push(Note::Tell(Happening::Failed(failure)));
        }
        self.target.unpin(cx.frames);
        self.let_go(cx.frames);
    }

    /// A failed partition keeps nothing but batches whose fate is open.
    fn let_go(&mut self, frames: &mut Frames) {
        if self.run == Run::Failed && !self.target.is_open() {
            self.clear(frames);
        }
    }

    /// Forgets what is queued: it will be fetched again.
    fn rewind(&mut self, frames: &mut Frames) {
        self.fetch_offset = self.queue.first_offset().unwrap_or(self.fetch_offset);
        self.queue.clear(frames);
    }
}
