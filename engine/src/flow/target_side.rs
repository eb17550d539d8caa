//! The target half of a partition: an ordered window of batches under way, and what to believe when an answer is unclear.
//!
//! Invariants: (a) batches leave the window from the front only, each exactly once, and only with the offset at which the
//! target holds them; (b) everything below `target_next` is known: ours, or stepped over; (c) a batch is sent again only
//! with the same bytes and the same sequence number, after the log has shown that it is not there; (d) an answer counts
//! for the sending that it belongs to, never for a later one; (e) a batch is given up only when nothing before it is in
//! doubt.
//!
//! When an answer is unclear, the log between `target_next` and its end is read. Producer id, epoch and sequence number
//! tell our batches from those of others; so it does not matter how many are under way, how long the broker remembers
//! them, and who else writes.
//!
//! The error of the first batch that was not appended decides. A broker takes a producer's batches in order, so those
//! behind it are refused for its sake.

use std::collections::VecDeque;

use protocol_client::batch::{
    BatchHeader, Entry, Magic, ProducerStamp, patch, patch_in_transaction,
};
use protocol_client::wire::error_code::ErrorCode;

use super::frames::Frames;
use super::outgoing::{Answer, Draft, Outgoing, Patch, Way};
use crate::index::OffsetIndex;

/// Batches of one partition that may be under way.
const WINDOW_BATCHES: usize = 32;

/// Bytes of them that may be, unless it is a single batch.
const WINDOW_BYTES: usize = 8 << 20;

/// How often the end of the log is asked for before it is believed that acknowledged records are gone.
const DOUBTS_ABOUT_LOSS: u32 = 5;

/// The same before it is believed that the broker lost our sequence numbers. With the partition's backoff that takes
/// longer than followers may lag (`replica.lag.time.max.ms`, 30 s): as long as they do, the end hides what was appended.
const DOUBTS_ABOUT_SEQUENCE: u32 = 40;

/// Where the target half of a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The end of the target's log is not known yet.
    Asking,
    /// What the target holds behind the stored position is being compared with the source.
    Matching,
    /// Batches may be sent.
    Ready,
    /// An outcome is unclear; nothing more is sent until the answers under way have come.
    Settling,
    /// The end of the log is being asked for to tell what was appended.
    Comparing,
    /// The log is being read up to this end for the same reason.
    Reading(i64),
    /// Waiting before the end is asked for again.
    Backoff,
}

/// What an answer or a log end leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing to do.
    Nothing,
    /// Ask the target for the end of its log.
    AskEnd,
    /// Ask again, later.
    AskLater(ErrorCode),
    /// Read the target's log from this offset on.
    Read(i64),
    /// The partition goes on.
    Settled,
    /// The target refuses this batch for good.
    Refused {
        /// First source offset of the batch.
        source_offset: i64,
        /// What it said.
        error: ErrorCode,
    },
    /// The batch was damaged on the way or at the source: fetch it again.
    Damaged,
    /// The target's log is shorter than what it acknowledged.
    TargetShrank {
        /// Offset behind the last acknowledged record.
        expected: i64,
        /// The end it has now.
        end: i64,
    },
    /// Somebody else's record stands where the last of ours was: the log was cut, and has grown again.
    Overwritten {
        /// Source offset of our record.
        source_offset: i64,
        /// Where it was.
        target_offset: i64,
    },
}

/// Why a producer's epoch is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spent {
    /// The target lost count of its sequence numbers.
    Lost,
    /// The target has seen a later one.
    Refused,
}

/// Whether the producer's epoch can be written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp {
    Valid,
    /// Another is needed.
    Spent(Spent),
    /// That has been said.
    Awaited,
}

/// Our batch right before `target_next`, of the present producer: as long as it stands there the log has not been cut.
#[derive(Debug, Clone, Copy)]
struct Witness {
    /// Of its last record.
    source_offset: i64,
    base_sequence: i32,
    /// Something hints at a cut, so a log that is long enough is no proof.
    must_be_seen: bool,
}

/// A batch's answer as the broker gave it.
pub(super) type Outcome = Result<i64, ErrorCode>;

/// Totals of what left the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Records.
    pub records: u64,
    /// Bytes of their batches on the wire.
    pub bytes: u64,
    /// Batches that went as they came, with another header.
    pub sealed_batches: u64,
    /// Batches made of several small ones.
    pub merged_batches: u64,
    /// Batches that were decoded and encoded again.
    pub rewritten_batches: u64,
    /// Largest timestamp of the last batch, in milliseconds.
    pub last_timestamp_ms: i64,
}

impl Delivered {
    /// Adds what another partition delivered.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.sealed_batches += other.sealed_batches;
        self.merged_batches += other.merged_batches;
        self.rewritten_batches += other.rewritten_batches;
        self.last_timestamp_ms = self.last_timestamp_ms.max(other.last_timestamp_ms);
    }
}

/// The target half of a partition.
#[derive(Debug)]
pub(super) struct TargetSide {
    phase: Phase,
    window: VecDeque<Outgoing>,
    /// How many batches of the window are on the wire or answered.
    sent: usize,
    target_next: Option<i64>,
    producer: Option<(i64, i16)>,
    next_sequence: i32,
    /// The broker has taken a batch of this producer epoch. Until then it takes any first sequence number
    /// (`ProducerAppendInfo`), so a second batch under way could overtake a first one that is refused.
    established: bool,
    stamp: Stamp,
    doubts: u32,
    delivered: Delivered,
    index: OffsetIndex,
    /// Offsets that were stepped over and nobody has heard of: the first, the one behind the last, how many.
    foreign: Option<(i64, i64, u64)>,
    /// An answer has shown that the log was cut: what was expected and what came.
    shrunk: Option<(i64, i64)>,
    /// `None` if something else stands there, or nobody knows what.
    witness: Option<Witness>,
    /// What was acknowledged in a transaction that has not ended yet; none where there are no transactions.
    uncommitted: Option<Box<Uncommitted>>,
}

/// Records that stand one behind the other on both sides.
#[derive(Debug, Clone, Copy)]
struct PairedRun {
    source_first: i64,
    target_first: i64,
    count: u32,
}

/// What counts when a transaction is committed.
#[derive(Debug, Default)]
struct Uncommitted {
    runs: Vec<PairedRun>,
    /// Where the partition stood when the transaction began: the end of what was known, and the totals.
    before: Option<(Option<i64>, Delivered)>,
}

impl TargetSide {
    pub(super) fn new(index: OffsetIndex) -> Self {
        Self {
            phase: Phase::Asking,
            window: VecDeque::new(),
            sent: 0,
            target_next: None,
            producer: None,
            next_sequence: 0,
            established: false,
            stamp: Stamp::Valid,
            doubts: 0,
            delivered: Delivered::default(),
            index,
            foreign: None,
            shrunk: None,
            witness: None,
            uncommitted: None,
        }
    }

    /// From now on records are written in transactions.
    pub(super) fn use_transactions(&mut self) {
        self.uncommitted = Some(Box::default());
    }

    /// What is sent from here on counts when the transaction is committed.
    pub(super) fn begin_transaction(&mut self) {
        let state = (self.target_next, self.delivered);
        if let Some(uncommitted) = &mut self.uncommitted {
            uncommitted.before.get_or_insert(state);
        }
    }

    /// The target offset behind everything that counts.
    pub(super) fn committed_next(&self) -> Option<i64> {
        let before = self.uncommitted.as_ref().and_then(|uncommitted| uncommitted.before);
        before.map_or(self.target_next, |(next, _)| next)
    }

    /// What was acknowledged counts.
    pub(super) fn commit(&mut self) {
        let Some(uncommitted) = self.uncommitted.as_deref_mut() else { return };
        for run in std::mem::take(uncommitted).runs {
            self.index.append(run.source_first, run.target_first, run.count);
        }
    }

    /// Nothing of what was acknowledged counts; what was known of the log's end stays known.
    pub(super) fn abort(&mut self, frames: &mut Frames) {
        self.clear(frames);
        let uncommitted = self.uncommitted.as_deref_mut().map(std::mem::take);
        if let Some((_, delivered)) = uncommitted.and_then(|uncommitted| uncommitted.before) {
            self.delivered = delivered;
        }
    }

    /// The next batch is the first of another producer.
    pub(super) fn reset_producer(&mut self) {
        self.producer = None;
        self.witness = None;
        self.next_sequence = 0;
        self.established = false;
    }

    /// Which offset is which, of all that was copied.
    pub(super) fn index(&self) -> &OffsetIndex {
        &self.index
    }

    pub(super) fn index_mut(&mut self) -> &mut OffsetIndex {
        &mut self.index
    }

    /// Offsets of others that were stepped over since the last call: the first, the one behind the last, how many.
    pub(super) fn take_foreign(&mut self) -> Option<(i64, i64, u64)> {
        self.foreign.take()
    }

    /// The target is known up to here, and copying goes on.
    pub(super) fn start(&mut self, target_next: i64) {
        self.target_next = Some(target_next);
        self.phase = Phase::Ready;
        self.doubts = 0;
        self.witness = None;
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
    }

    pub(super) fn delivered(&self) -> Delivered {
        self.delivered
    }

    /// The target offset behind everything delivered, once known.
    pub(super) fn target_next(&self) -> Option<i64> {
        self.target_next
    }

    /// First source offset that is not known to be at the target.
    pub(super) fn first_offset(&self) -> Option<i64> {
        self.window.front().map(|batch| batch.source_first)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.window.is_empty()
    }

    /// Whether an answer is still to come.
    pub(super) fn is_waiting(&self) -> bool {
        self.window.iter().take(self.sent).any(|batch| batch.answer == Answer::Waiting)
    }

    /// Whether the fate of a batch is still to be found out.
    pub(super) fn is_open(&self) -> bool {
        let settling = matches!(
            self.phase,
            Phase::Settling | Phase::Comparing | Phase::Reading(_) | Phase::Backoff
        );
        !self.window.is_empty() && (settling || self.is_waiting())
    }

    /// Whether a batch of the window has to be sent (again).
    pub(super) fn has_unsent(&self) -> bool {
        self.may_send() && self.sent < self.window.len()
    }

    /// Whether a new batch may enter the window.
    pub(super) fn has_room(&self) -> bool {
        self.may_send()
            && self.window.len() < WINDOW_BATCHES
            && self.window.iter().map(Outgoing::wire_bytes).sum::<usize>() < WINDOW_BYTES
    }

    fn may_send(&self) -> bool {
        let is_valid = self.stamp == Stamp::Valid;
        self.phase == Phase::Ready && is_valid && (self.established || self.sent == 0)
    }

    /// Takes a new batch into the window, behind all others.
    pub(super) fn push(&mut self, draft: Draft, producer: (i64, i16)) {
        let (producer_id, epoch) = *self.producer.get_or_insert(producer);
        let stamp = ProducerStamp { producer_id, epoch, base_sequence: self.next_sequence };
        let patch: Patch = if self.uncommitted.is_some() { patch_in_transaction } else { patch };
        let batch = Outgoing::new(draft, stamp, patch);
        self.next_sequence = sequence_after(self.next_sequence, batch.records);
        self.window.push_back(batch);
    }

    /// The next batch to put on the wire, in this request; call only when there is one.
    pub(super) fn send_next(&mut self, request: u64) -> Option<&Outgoing> {
        let batch = self.window.get_mut(self.sent)?;
        batch.answer = Answer::Waiting;
        batch.request = Some(request);
        self.sent += 1;
        Some(batch)
    }

    /// The broker answered for the batch that this request carried.
    pub(super) fn on_answer(
        &mut self,
        request: u64,
        outcome: Outcome,
        frames: &mut Frames,
    ) -> Step {
        let mut under_way = self.window.iter_mut().take(self.sent);
        let Some(batch) = under_way.find(|batch| batch.request == Some(request)) else {
            return Step::Nothing;
        };
        match outcome {
            Ok(base_offset) if base_offset >= self.target_next.unwrap_or(0) => {
                batch.answer = Answer::Appended(base_offset);
                self.established = true;
            }
            // Everything below is taken, or was.
            Ok(end) if end >= 0 => {
                batch.answer = Answer::Failed(ErrorCode::NETWORK_EXCEPTION);
                let known = self.target_next.unwrap_or(end);
                self.shrunk.get_or_insert((known, end));
                self.phase = Phase::Settling;
                // Nothing of what came before is where it was.
                return self.settle();
            }
            _ => {
                let error = outcome.err().unwrap_or(ErrorCode::NETWORK_EXCEPTION);
                batch.answer = Answer::Failed(error);
                if self.phase == Phase::Ready {
                    self.phase = Phase::Settling;
                }
            }
        }
        self.pop_answered(frames);
        self.settle()
    }

    /// Another leader: what was not answered is unclear, and the log may have been cut.
    pub(super) fn on_leader_moved(&mut self) -> Step {
        if !matches!(self.phase, Phase::Ready | Phase::Settling) {
            return Step::Nothing;
        }
        for batch in self.window.iter_mut().take(self.sent) {
            if batch.answer == Answer::Waiting {
                batch.answer = Answer::Failed(ErrorCode::NETWORK_EXCEPTION);
            }
        }
        self.phase = Phase::Settling;
        self.settle()
    }

    /// The end of the target's log, asked for to settle an unclear outcome.
    pub(super) fn on_end(&mut self, end: i64, frames: &mut Frames) -> Step {
        let expected = self.target_next.unwrap_or(end);
        if end < expected {
            self.suspect();
            return self.doubt_end(expected, end);
        }
        self.phase = Phase::Reading(end);
        match self.witness {
            Some(Witness { must_be_seen: true, .. }) => Step::Read(expected - 1),
            _ => self.on_log(&[], expected, frames),
        }
    }

    /// The target's log ends before what is stored.
    pub(super) fn doubt_end(&mut self, expected: i64, end: i64) -> Step {
        let shrank = Step::TargetShrank { expected, end };
        self.doubt(DOUBTS_ABOUT_LOSS).unwrap_or(shrank)
    }

    /// It lacks the marker that stands behind what is stored.
    pub(super) fn doubt_marker(&mut self, expected: i64, end: i64) -> Step {
        let shrank = Step::TargetShrank { expected, end };
        self.doubt(DOUBTS_ABOUT_SEQUENCE).unwrap_or(shrank)
    }

    /// The target's log begins here: what retention took of the part that has to be read was in our order.
    pub(super) fn on_head_lost(&mut self, start: i64, frames: &mut Frames) {
        while let (Some(front), Some(next)) = (self.window.front(), self.target_next)
            && next + i64::from(front.records) <= start
        {
            self.deliver(next, frames);
        }
    }

    /// A piece of the target's log behind `target_next`, or from the record before on; the next piece begins at `next`.
    pub(super) fn on_log(&mut self, entries: &[Entry], next: i64, frames: &mut Frames) -> Step {
        let Phase::Reading(end) = self.phase else { return Step::Nothing };
        if let Some(overwritten) = self.overwritten(entries) {
            return overwritten;
        }
        if let Some(witness) = &mut self.witness {
            witness.must_be_seen = false;
        }
        for entry in entries {
            let known = self.target_next.unwrap_or(0);
            if entry.next_offset() <= known || entry.base_offset() >= end {
                continue;
            }
            match self.place_of(entry) {
                Some(place) => {
                    for _ in 0..place {
                        self.deliver(self.target_next.unwrap_or(known), frames);
                    }
                    let known = self.target_next.unwrap_or(known);
                    self.deliver(entry.base_offset().max(known), frames);
                }
                // What is stored from here on is up to that instance.
                None if self.is_replaced_by(entry) => {
                    self.stamp = Stamp::Spent(Spent::Refused);
                    return Step::Nothing;
                }
                None => self.step_over(entry.next_offset(), !entry.is_control()),
            }
        }
        match next.max(self.target_next.unwrap_or(0)) {
            next if next < end => Step::Read(next),
            _ => {
                self.pop_answered(frames);
                self.conclude()
            }
        }
    }

    /// What it means if another record than ours stands before `target_next`. A hole says nothing, the cleaner leaves
    /// those; nor does an old format, which has no place for a stamp.
    fn overwritten(&self, entries: &[Entry]) -> Option<Step> {
        let witness = self.witness.filter(|witness| witness.must_be_seen)?;
        let (known, (producer_id, epoch)) = (self.target_next?, self.producer?);
        let covers = |entry: &&Entry| entry.base_offset() < known && known <= entry.next_offset();
        let entry = entries.iter().find(covers).filter(|entry| entry.magic() == Magic::V2)?;
        let overwritten =
            Step::Overwritten { source_offset: witness.source_offset, target_offset: known - 1 };
        let stamp = ProducerStamp { producer_id, epoch, base_sequence: witness.base_sequence };
        (!is_stamped(entry, stamp)).then_some(overwritten)
    }

    fn suspect(&mut self) {
        if let Some(witness) = &mut self.witness {
            witness.must_be_seen = true;
        }
    }

    /// Which batch of the window this one of the target is. A broker takes a producer's batches in order, so those before
    /// it were there and were compacted away, if the log has a hole for them.
    fn place_of(&self, entry: &Entry) -> Option<usize> {
        let place = self.window.iter().position(|batch| is_stamped(entry, batch.stamp))?;
        let before: i64 = self.window.iter().take(place).map(|one| i64::from(one.records)).sum();
        (self.target_next.unwrap_or(0) + before <= entry.base_offset() || place == 0)
            .then_some(place)
    }

    /// Whether our producer has written this in a later epoch: another instance has our place.
    fn is_replaced_by(&self, entry: &Entry) -> bool {
        let Some((producer_id, epoch)) = self.producer else { return false };
        let Ok(header) = BatchHeader::parse(entry.bytes()) else { return false };
        entry.magic() == Magic::V2
            && header.producer_id() == producer_id
            && header.producer_epoch() > epoch
    }

    /// The log is known up to its end: what is still in the window is not there.
    fn conclude(&mut self) -> Step {
        match self.front_error() {
            Some((source_offset, error)) if is_final(error) => self.refuse(source_offset, error),
            Some((_, error)) if is_sequence_trouble(error) => {
                let (limit, spent) = match error {
                    ErrorCode::INVALID_PRODUCER_EPOCH => (0, Spent::Refused),
                    _ => (DOUBTS_ABOUT_SEQUENCE, Spent::Lost),
                };
                self.doubt(limit).unwrap_or_else(|| {
                    self.stamp = Stamp::Spent(spent);
                    self.send_again()
                })
            }
            _ => self.send_again(),
        }
    }

    /// What the target knows of our sequence numbers is gone.
    pub(super) fn forget_producer(&mut self) {
        if self.producer.is_some() {
            self.stamp = Stamp::Spent(Spent::Lost);
        }
    }

    /// Once, when another producer is needed: why.
    pub(super) fn take_spent(&mut self) -> Option<Spent> {
        let Stamp::Spent(why) = self.stamp else { return None };
        self.stamp = Stamp::Awaited;
        Some(why)
    }

    /// Nothing can be sent until there is another producer.
    pub(super) fn awaits_producer(&self) -> bool {
        self.stamp != Stamp::Valid
    }

    /// The producer from now on, if this one is spent. Its sequence starts at zero (`ProducerAppendInfo`).
    pub(super) fn on_producer(&mut self, producer: (i64, i16)) {
        if self.stamp == Stamp::Valid {
            return;
        }
        let (producer_id, epoch) = producer;
        self.stamp = Stamp::Valid;
        self.established = false;
        self.witness = None;
        self.producer = Some(producer);
        let mut base_sequence = 0;
        for batch in &mut self.window {
            batch.stamp_again(ProducerStamp { producer_id, epoch, base_sequence });
            base_sequence = sequence_after(base_sequence, batch.records);
        }
        self.next_sequence = base_sequence;
    }

    /// Whether the target's end is known.
    pub(super) fn is_started(&self) -> bool {
        self.target_next.is_some()
    }

    /// Batches that wait long must not pin the frames of their neighbors.
    pub(super) fn unpin(&mut self, frames: &mut Frames) {
        self.window.iter_mut().for_each(|batch| batch.unpin(frames));
    }

    /// Gives up the window: the batches will be fetched again, and take the same sequence numbers.
    pub(super) fn clear(&mut self, frames: &mut Frames) {
        if let Some(first) = self.window.front() {
            self.next_sequence = first.stamp.base_sequence;
        }
        self.window.drain(..).for_each(|batch| batch.release(frames));
        self.sent = 0;
    }

    /// Goes on when no answer is outstanding any more.
    fn settle(&mut self) -> Step {
        if self.phase != Phase::Settling || self.is_waiting() {
            return Step::Nothing;
        }
        if let Some((expected, end)) = self.shrunk.take() {
            return Step::TargetShrank { expected, end };
        }
        match self.front_error() {
            Some((source_offset, error)) if is_final(error) => self.refuse(source_offset, error),
            // The connection tells when sending makes sense again; an error calls for a pause.
            Some((_, error)) if error != ErrorCode::NETWORK_EXCEPTION => {
                // A log that was cut has lost sequence numbers too.
                if is_sequence_trouble(error) {
                    self.suspect();
                }
                Step::AskLater(error)
            }
            _ => {
                self.phase = Phase::Comparing;
                Step::AskEnd
            }
        }
    }

    /// What was said about the first batch that is not known to be appended, and its source offset.
    fn front_error(&self) -> Option<(i64, ErrorCode)> {
        let front = self.window.front()?;
        match front.answer {
            Answer::Failed(error) => Some((front.source_first, error)),
            _ => None,
        }
    }

    /// The first batch is not at the target and will not get there as it is.
    fn refuse(&mut self, source_offset: i64, error: ErrorCode) -> Step {
        self.phase = Phase::Ready;
        if error == ErrorCode::CORRUPT_MESSAGE {
            Step::Damaged
        } else {
            Step::Refused { source_offset, error }
        }
    }

    fn pop_answered(&mut self, frames: &mut Frames) {
        while let Some(Answer::Appended(base_offset)) =
            self.window.front().map(|batch| batch.answer)
        {
            self.deliver(base_offset, frames);
        }
    }

    /// The first batch of the window stands at this offset.
    fn deliver(&mut self, base_offset: i64, frames: &mut Frames) {
        let Some(batch) = self.window.pop_front() else { return };
        self.sent = self.sent.saturating_sub(1);
        if self.target_next.is_some_and(|next| next < base_offset) {
            self.step_over(base_offset, true);
        }
        self.target_next = Some(base_offset + i64::from(batch.records));
        let mut target_first = base_offset;
        let last = batch.runs.as_slice().last();
        self.witness = last.map(|run| Witness {
            source_offset: run.source_first + i64::from(run.count) - 1,
            base_sequence: batch.stamp.base_sequence,
            must_be_seen: false,
        });
        for run in batch.runs.as_slice() {
            let paired =
                PairedRun { source_first: run.source_first, target_first, count: run.count };
            match &mut self.uncommitted {
                Some(uncommitted) => uncommitted.push(paired),
                None => self.index.append(paired.source_first, target_first, paired.count),
            }
            target_first += i64::from(run.count);
        }
        self.delivered.records += u64::from(batch.records);
        self.delivered.bytes += batch.wire_bytes() as u64;
        self.delivered.last_timestamp_ms = batch.max_timestamp_ms;
        match batch.way {
            Way::Sealed => self.delivered.sealed_batches += 1,
            Way::Merged => self.delivered.merged_batches += 1,
            Way::Rewritten => self.delivered.rewritten_batches += 1,
        }
        self.doubts = 0;
        batch.release(frames);
    }

    /// What lies before `next` is not ours.
    fn step_over(&mut self, next: i64, is_foreign: bool) {
        let from = self.target_next.unwrap_or(next);
        self.target_next = Some(next);
        self.witness = None;
        // The markers of our own transactions lie between our batches.
        if is_foreign && self.uncommitted.is_none() && next > from {
            let (first, _, offsets) = self.foreign.unwrap_or((from, next, 0));
            self.foreign = Some((first, next, offsets + (next - from).unsigned_abs()));
        }
    }

    /// An end may lag behind for a moment: ask again before believing it.
    fn doubt(&mut self, limit: u32) -> Option<Step> {
        self.doubts += 1;
        (self.doubts <= limit).then_some(Step::AskLater(ErrorCode::OFFSET_NOT_AVAILABLE))
    }

    /// Sends what is left again.
    fn send_again(&mut self) -> Step {
        self.sent = 0;
        self.doubts = 0;
        self.phase = Phase::Ready;
        Step::Settled
    }
}

impl Uncommitted {
    fn push(&mut self, run: PairedRun) {
        let last = self.runs.last_mut().filter(|last| {
            let count = i64::from(last.count);
            (last.source_first + count, last.target_first + count)
                == (run.source_first, run.target_first)
        });
        match last.and_then(|last| Some((last.count.checked_add(run.count)?, last))) {
            Some((count, last)) => last.count = count,
            None => self.runs.push(run),
        }
    }
}

/// Whether a batch of the target is the one that was sent with this stamp. Whatever a broker or its cleaner does to a
/// batch, these three stay (`Cleaner`, `DefaultRecordBatch`).
fn is_stamped(entry: &Entry, stamp: ProducerStamp) -> bool {
    if entry.magic() != Magic::V2 || entry.is_control() {
        return false;
    }
    let Ok(header) = BatchHeader::parse(entry.bytes()) else { return false };
    let ProducerStamp { producer_id, epoch, base_sequence } = stamp;
    (header.producer_id(), header.producer_epoch(), header.base_sequence())
        == (producer_id, epoch, base_sequence)
}

/// Sequence numbers run from 0 to 2^31-1 and start again (`DefaultRecordBatch.incrementSequence`).
fn sequence_after(base_sequence: i32, records: u32) -> i32 {
    ((i64::from(base_sequence) + i64::from(records)) & i64::from(i32::MAX)) as i32
}

/// The batch is not in the log, and sending the same bytes again will not bring it there.
fn is_final(error: ErrorCode) -> bool {
    !is_sequence_trouble(error) && !error.class().retryable()
}

fn is_sequence_trouble(error: ErrorCode) -> bool {
    [
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::INVALID_PRODUCER_ID_MAPPING,
    ]
    .contains(&error)
}

#[cfg(test)]
mod tests;
