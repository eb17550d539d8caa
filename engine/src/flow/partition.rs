//! One partition on its way from source to target: the queue of fetched batches and the window of sent ones. How it begins
//! is in `begin`, what it does when either side misbehaves in `trouble`.
//!
//! Inputs are the `on_*` methods; outputs are [`PartitionFlow::want`], [`PartitionFlow::can_send`],
//! [`PartitionFlow::send`] and the notes put into the [`Cx`]. The source half and the target half go through their
//! troubles independently of each other.

mod begin;
mod in_round;
mod spans;
mod trouble;

use bytes::Bytes;
use protocol_client::batch::TxnFilter;
use protocol_client::conn::fetch_session::Want;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::{AbortedTransaction, FetchedPartition};

use super::epochs::Epochs;
use super::event::{Divergence, Failure, Happening, NodeId, PartitionSpec, Start};
use super::frames::{FrameKey, Frames};
use super::outgoing::Outgoing;
use super::queue::{Intake, Queue};
use super::recovery::Recovery;
use super::settings::{ShardSettings, TargetLimits};
use super::split::Split;
use super::target_side::{Delivered, Outcome, Phase, Spent, Step, TargetSide};
use crate::index::OffsetIndex;
use crate::model::{Moment, Side, TopicPartition};

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
    StorePosition,
    BreakRound,
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

/// Whether what is stored leads on from where the partition stands. It does not when the partition has gone back: what is
/// written from there would be compared with the wrong place, should the process end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Footing {
    Firm,
    /// The target was cut, and up to where it agrees is not known.
    Cut,
    /// Where it stands has to be stored as soon as what is under way has arrived.
    Lost,
    /// It is being stored.
    Storing,
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

/// What was asked for; the index that came with it grows in [`TargetSide`].
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) source: TopicPartition,
    pub(super) target: TopicPartition,
    pub(super) start: Start,
    is_marked: bool,
    pub(super) limits: TargetLimits,
}

/// There may be a hundred thousand of them, so what most have no use for is boxed: more than 896 bytes of a slot would take
/// the allocator's next size.
#[derive(Debug)]
pub(super) struct PartitionFlow {
    pub(super) spec: Assigned,
    pub(super) source_leader: Option<Leader>,
    pub(super) target_leader: Option<Leader>,
    run: Run,
    source: SourceState,
    target: TargetSide,
    target_retry_at: Option<Moment>,
    queue: Queue,
    /// The queue has reached its limit and is to be half empty before more is fetched: else a partition whose target is
    /// the slower side would leave and join the fetch session with every batch.
    is_full: bool,
    /// Several lanes read ahead.
    split: Option<Box<Split>>,
    fetch_offset: i64,
    epochs: Epochs,
    high_watermark: i64,
    /// The end of what can be read, as last seen.
    readable_end: i64,
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
    recovery: Option<Box<Recovery>>,
    footing: Footing,
    /// Where a log was read last that gave nothing, and how often in a row.
    nothing_at: (Side, i64, u32),
    /// The position when the partition first sent in the round that is open: what it goes back to.
    anchor: Option<i64>,
    latency_ms: Option<i64>,
}

impl PartitionFlow {
    pub(super) fn new(spec: PartitionSpec, cx: &mut Cx<'_>) -> Self {
        let PartitionSpec { source, target, start, is_marked, limits, index } = spec;
        let spec = Assigned { source, target, start, is_marked, limits };
        let mut run = Run::Active;
        let mut epochs = Epochs::default();
        let fetch_offset = match &spec.start {
            Start::Pair(pair) => {
                epochs.begin(pair.source_next, pair.source_epoch);
                pair.source_next
            }
            Start::At(offset) => *offset,
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
        let mut target = TargetSide::new(index);
        if cx.settings.rounds.is_some() {
            target.use_transactions();
        }
        Self {
            spec,
            source_leader: None,
            target_leader: None,
            run,
            source: SourceState::Ready,
            target,
            target_retry_at: None,
            queue: Queue::default(),
            is_full: false,
            split: None,
            fetch_offset,
            epochs,
            high_watermark: -1,
            readable_end: -1,
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
            footing: Footing::Firm,
            nothing_at: (Side::Source, -1, 0),
            anchor: None,
            latency_ms: None,
        }
    }

    /// Next source offset that is not known to be at the target: what a restart begins with. `None` if it was refused.
    pub(super) fn position(&self) -> Option<i64> {
        self.anchor.or_else(|| self.next_offset())
    }

    /// The same, if everything that was acknowledged counts.
    fn next_offset(&self) -> Option<i64> {
        let refused = matches!(self.spec.start, Start::Refused(_));
        let waiting = || self.target.first_offset().or_else(|| self.queue.first_offset());
        let next = || waiting().unwrap_or(self.fetch_offset);
        match self.spec.start {
            // What was read ahead says nothing before it is known what the target holds.
            Start::Pair(pair) if !self.target.is_started() => Some(next().min(pair.source_next)),
            _ => (!refused).then(next),
        }
    }

    /// The leader epoch of the source's last record before the position, or -1.
    pub(super) fn position_epoch(&self) -> i32 {
        self.position().map_or(-1, |position| self.epochs.before(position))
    }

    /// Which offset is which, of all that was copied; what was passed without a record is in it too.
    pub(super) fn index(&mut self) -> &OffsetIndex {
        if let Some(position) = self.position().filter(|_| self.target_next().is_some()) {
            self.target.index_mut().pass(position);
        }
        self.target.index()
    }

    /// The target offset behind everything delivered, once known. Copies of which nobody knows the source offsets are
    /// behind the position until that has moved on: together they would say that no copy stands before.
    pub(super) fn target_next(&self) -> Option<i64> {
        let is_known = self.recovery.is_none() && self.footing != Footing::Cut;
        let known = self.target.committed_next().filter(|_| is_known)?;
        match self.target.index().interrupted_at() {
            Some((source, target)) if self.position() == Some(source) => Some(target),
            _ => Some(known),
        }
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
    pub(super) fn want(&mut self, settings: &ShardSettings) -> Option<Want> {
        let limit_bytes = settings.queue_limit_bytes();
        self.is_full = match self.is_full {
            true => self.queue.bytes() > limit_bytes / 2,
            false => self.queue.bytes() >= limit_bytes,
        };
        let wants = self.takes_records() && !self.is_full && self.split.is_none();
        wants.then(|| Want {
            offset: self.fetch_offset,
            leader_epoch: self.source_leader.map_or(-1, |leader| leader.epoch),
            last_fetched_epoch: self.epochs.before(self.fetch_offset),
            max_bytes: settings.fetch_partition_max_bytes,
        })
    }

    /// Only its full queue keeps the partition from being fetched: it may come back at any moment.
    pub(super) fn sits_out(&self) -> bool {
        self.takes_records() && self.is_full
    }

    fn takes_records(&self) -> bool {
        self.run == Run::Active
            && self.source == SourceState::Ready
            && !matches!(self.target.phase(), Phase::Matching | Phase::Backoff)
            && !self.stalled
    }

    /// Whether a batch could go out now.
    pub(super) fn can_send(&self) -> bool {
        self.run != Run::Failed
            && (self.target.has_unsent() || (self.has_room() && !self.queue.is_empty()))
    }

    /// Whether a batch of the queue may go out.
    fn has_room(&self) -> bool {
        self.footing == Footing::Firm && self.target.has_room()
    }

    /// Nothing is on the way to the target, and what a former run has left there is known: who goes on next may not be
    /// one who compares logs.
    pub(super) fn is_drained(&self) -> bool {
        match self.target.phase() {
            Phase::Backoff => true,
            Phase::Asking | Phase::Matching if self.run != Run::Failed => false,
            _ => self.is_settled() || self.target.awaits_producer(),
        }
    }

    /// An answer of the target is still to come.
    pub(super) fn awaits_answers(&self) -> bool {
        self.target.is_waiting()
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
            if !self.has_room() {
                return None;
            }
            if cx.settings.rounds.is_some() {
                self.join_round();
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
        self.see_end(answer, cx);
        if let Some(diverging) = answer.diverging {
            match self.epochs.kept(diverging, self.fetch_offset) {
                Some(end) => return self.on_source_truncated(end, diverging.epoch, cx),
                // It contradicts itself: to ask the same again would bring the same.
                None => self.epochs.begin(self.fetch_offset, -1),
            }
        }
        self.doubts = 0;
        self.accept(&answer.records, answer.aborted.clone(), frame, cx);
    }

    /// Takes records in that begin where they should.
    fn accept(
        &mut self,
        records: &Bytes,
        aborted: Vec<AbortedTransaction>,
        frame: FrameKey,
        cx: &mut Cx<'_>,
    ) {
        let intake = Intake {
            next: self.fetch_offset,
            filter: TxnFilter::new(aborted),
            epochs: &mut self.epochs,
        };
        let accepted = self.queue.accept(records, intake, &self.spec.limits, cx.frames, frame);
        match accepted {
            Ok(behind) => {
                self.fetch_offset = behind;
                self.epochs.forget_before(self.position().unwrap_or(behind));
            }
            Err((next, error)) => {
                self.fetch_offset = next;
                self.damaged_batch(&error.to_string(), cx);
            }
        }
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

    /// The target answered for the batch in this request; [`ErrorCode::NETWORK_EXCEPTION`] when the connection was lost.
    pub(super) fn on_produced(&mut self, request: u64, outcome: Outcome, cx: &mut Cx<'_>) {
        let before = self.target.delivered().records;
        if cx.settings.rounds.is_some() {
            self.on_produced_in_round(request, outcome, cx);
        } else {
            if outcome.is_ok() {
                self.damaged = 0;
                self.worked(Side::Target, cx);
            }
            let step = self.target.on_answer(request, outcome, cx.frames);
            self.take(step, cx);
        }
        let delivered = self.target.delivered();
        if delivered.records > before && delivered.last_timestamp_ms >= 0 {
            let since_start_ms = i64::try_from(cx.now.since_start().as_millis());
            let wall_ms =
                cx.settings.wall_start_ms.saturating_add(since_start_ms.unwrap_or(i64::MAX));
            self.latency_ms = Some(wall_ms.saturating_sub(delivered.last_timestamp_ms).max(0));
        }
    }

    /// Wall-clock time from a record's timestamp to its acknowledgement, of the last delivered batch.
    pub(super) fn latency_ms(&self) -> Option<i64> {
        self.latency_ms
    }

    /// The producer that writes from now on, unless the partition's own will do.
    pub(super) fn on_producer(&mut self, producer: (i64, i16)) {
        self.target.on_producer(producer);
    }

    /// The partition has another leader at the target, or the same once more: what it holds may be another thing.
    pub(super) fn on_leader_moved(&mut self, cx: &mut Cx<'_>) {
        if cx.settings.rounds.is_some() {
            return self.break_round(cx);
        }
        let step = self.target.on_leader_moved();
        self.take(step, cx);
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
        let known = self.target.target_next().is_some() && self.footing != Footing::Cut;
        if known && cx.settings.rounds.is_some() {
            return self.target.set_phase(Phase::Ready);
        }
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
        self.end_split(frames);
        self.fetch_offset = self.position().unwrap_or(self.fetch_offset);
        self.queue.clear(frames);
        self.target.clear(frames);
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
                self.look_for_cut(Divergence::Truncated { expected, end }, cx);
            }
            Step::Overwritten { source_offset, target_offset } => {
                self.look_for_cut(Divergence::Differs { source_offset, target_offset }, cx);
            }
        }
        self.tell_foreign(cx);
        cx.notes.extend(self.target.take_spent().map(Note::RenewProducer));
        self.let_go(cx.frames);
        self.find_footing(cx);
    }

    fn look_for_cut(&mut self, divergence: Divergence, cx: &mut Cx<'_>) {
        if self.on_diverged(divergence, cx) {
            self.compare(cx);
        }
    }

    /// Forgets what is queued: it will be fetched again.
    fn rewind(&mut self, frames: &mut Frames) {
        self.end_split(frames);
        self.fetch_offset = self.queue.first_offset().unwrap_or(self.fetch_offset);
        self.queue.clear(frames);
    }
}
