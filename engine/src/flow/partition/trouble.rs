//! What a partition does when either side misbehaves: asks, waits, tells, stops.

use std::time::Duration;

use protocol_client::batch::BatchError;
use protocol_client::wire::error_code::ErrorCode;

use super::{Cx, Footing, Note, PartitionFlow, Run, SourceState};
use crate::flow::event::{Failure, Happening, LogRange};
use crate::flow::frames::Frames;
use crate::flow::link::backoff;
use crate::flow::settings::GapPolicy;
use crate::flow::target_side::Phase;
use crate::model::{Moment, Side};

/// How often a damaged batch is fetched again before the partition stops.
const DAMAGED_RETRIES: u32 = 3;
/// How often a source that ends before the position is asked again before it is believed that records are gone.
const DOUBTS: u32 = 3;
/// How long a trouble may last before people hear of it.
const QUIET: Duration = Duration::from_secs(2);
/// How often people hear of others who write to the topic.
const FOREIGN_PAUSE: Duration = Duration::from_secs(60);

impl PartitionFlow {
    pub(super) fn on_fetch_error(&mut self, error: ErrorCode, cx: &mut Cx<'_>) {
        match error {
            ErrorCode::OFFSET_OUT_OF_RANGE => self.ask_source(cx),
            ErrorCode::TOPIC_AUTHORIZATION_FAILED => {
                self.fail(Failure::Denied(Side::Source, error), cx)
            }
            _ => self.trouble(Side::Source, error, cx),
        }
    }

    pub(super) fn ask_source(&mut self, cx: &mut Cx<'_>) {
        self.end_split(cx.frames);
        self.source = SourceState::Asking;
        cx.notes.push(Note::AskSourceRange);
    }

    /// What the source's log holds.
    pub(in crate::flow) fn on_source_range(
        &mut self,
        range: Result<LogRange, ErrorCode>,
        cx: &mut Cx<'_>,
    ) {
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

    pub(super) fn on_out_of_range(&mut self, range: LogRange, cx: &mut Cx<'_>) {
        let position = self.fetch_offset;
        if position > range.latest && self.doubts >= DOUBTS {
            return self.on_source_truncated(range.latest, -1, cx);
        }
        if position >= range.earliest {
            // Two brokers disagree, the log has moved meanwhile, or its leader knows no epochs (KIP-595).
            self.doubts += u32::from(position > range.latest);
            self.epochs.begin(position, -1);
            return self.trouble(Side::Source, ErrorCode::OFFSET_OUT_OF_RANGE, cx);
        }
        let (from, to) = (position, range.earliest);
        if cx.settings.on_gap == GapPolicy::Fail {
            return self.fail(Failure::Gap { from, to }, cx);
        }
        self.fetch_offset = to;
        self.epochs.begin(to, -1);
        cx.notes.push(Note::Tell(Happening::Gap { from, to }));
    }

    /// The source ends here now, in this epoch if that is known, and what lay behind is gone or another: an election that
    /// was not clean.
    pub(super) fn on_source_truncated(&mut self, end: i64, epoch: i32, cx: &mut Cx<'_>) {
        let (from, to) = (end, self.fetch_offset);
        if cx.settings.on_gap == GapPolicy::Fail {
            return self.fail(Failure::SourceTruncated { from, to }, cx);
        }
        // What is queued from before the cut is fetched again.
        self.rewind(cx.frames);
        self.fetch_offset = self.fetch_offset.min(end);
        self.epochs.cut(end, epoch);
        self.doubts = 0;
        self.footing = Footing::Lost;
        cx.notes.push(Note::Tell(Happening::SourceTruncated { from, to }));
        self.find_footing(cx);
    }

    /// People hear at once of others who write to the topic, and then now and then.
    pub(super) fn tell_foreign(&mut self, cx: &mut Cx<'_>) {
        if self.foreign_told.is_none_or(|told| cx.now - told >= FOREIGN_PAUSE)
            && let Some((from, to, offsets)) = self.target.take_foreign()
        {
            self.foreign_told = Some(cx.now);
            cx.notes.push(Note::Tell(Happening::Foreign { from, to, offsets }));
        }
    }

    /// A batch that cannot be opened may have been damaged on the way; one that is too large stays so.
    pub(super) fn on_bad_batch(&mut self, error: &BatchError, cx: &mut Cx<'_>) {
        if let BatchError::TooLarge { .. } = error {
            return self.fail(Failure::Batch(error.to_string()), cx);
        }
        self.rewind(cx.frames);
        self.damaged_batch(&error.to_string(), cx);
    }

    /// A damaged batch may be whole at the next fetch; if not, the partition stops.
    pub(super) fn damaged_batch(&mut self, what: &str, cx: &mut Cx<'_>) {
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
    pub(super) fn trouble(&mut self, side: Side, error: ErrorCode, cx: &mut Cx<'_>) {
        match side {
            Side::Source => {
                self.end_split(cx.frames);
                let until = self.back_off(side, error, cx);
                self.source = SourceState::Backoff(until);
            }
            Side::Target => self.wait_for_target(side, error, cx),
        }
    }

    /// The target's end is asked for again after a while; which side made trouble is for people to know.
    pub(super) fn wait_for_target(&mut self, side: Side, error: ErrorCode, cx: &mut Cx<'_>) {
        self.target.set_phase(Phase::Backoff);
        self.target_retry_at = Some(self.back_off(side, error, cx));
        self.rewind(cx.frames);
        self.target.unpin(cx.frames);
    }

    pub(super) fn back_off(&mut self, side: Side, error: ErrorCode, cx: &mut Cx<'_>) -> Moment {
        let failures = &mut self.failures[side as usize];
        let until = cx.now + backoff(*failures, cx.rng);
        *failures = failures.saturating_add(1);
        cx.notes.push(Note::WakeAt(until));
        cx.notes.push(Note::RefreshMetadata(side));
        self.tell_trouble(side, error, cx);
        until
    }

    /// People hear of a trouble when it lasts, and once.
    pub(super) fn tell_trouble(&mut self, side: Side, error: ErrorCode, cx: &mut Cx<'_>) {
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

    pub(super) fn worked(&mut self, side: Side, cx: &mut Cx<'_>) {
        self.failures[side as usize] = 0;
        if self.failures == [0; 2]
            && self.trouble_since.take().is_some()
            && std::mem::take(&mut self.told_trouble)
        {
            cx.notes.push(Note::Tell(Happening::Recovered));
        }
    }

    /// Stops the partition. What is under way is still waited for, so that the position is right.
    pub(super) fn fail(&mut self, failure: Failure, cx: &mut Cx<'_>) {
        self.break_round(cx);
        self.rewind(cx.frames);
        if self.run != Run::Failed {
            self.run = Run::Failed;
            cx.notes.push(Note::Tell(Happening::Failed(failure)));
        }
        self.target.unpin(cx.frames);
        self.let_go(cx.frames);
    }

    /// A failed partition keeps nothing but batches whose fate is open.
    pub(super) fn let_go(&mut self, frames: &mut Frames) {
        if self.run == Run::Failed && !self.target.is_open() {
            self.clear(frames);
        }
    }

    /// Metadata knows no leader.
    pub(in crate::flow) fn on_leaderless(&mut self, side: Side, cx: &mut Cx<'_>) {
        let failures = &mut self.failures[side as usize];
        *failures = failures.saturating_add(1);
        self.tell_trouble(side, ErrorCode::LEADER_NOT_AVAILABLE, cx);
    }

    /// Metadata knows the topic under another id.
    pub(in crate::flow) fn on_recreated(&mut self, side: Side, cx: &mut Cx<'_>) {
        self.fail(Failure::Recreated(side), cx);
    }
}
