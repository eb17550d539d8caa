//! Batches of one partition that were fetched and wait to be sent.

use std::collections::VecDeque;

use bytes::Bytes;
use protocol_client::batch::decide::{MERGED_BATCH_BYTES, SMALL_BATCH_BYTES};
use protocol_client::batch::merge::{can_merge, merge};
use protocol_client::batch::rewrite::{RebuildOptions, rewrite};
use protocol_client::batch::{
    self, BatchError, Context, Decision, Entry, Rebuilt, TxnFilter, decide,
};

use super::epochs::Epochs;
use super::frames::{Charge, FrameKey, Frames};
use super::outgoing::{Draft, Way};
use super::settings::{BatchMode, TargetLimits};

/// Most that the records of one batch may be when decompressed, in bytes.
const MAX_OPEN_BYTES: usize = 128 << 20;

/// Fetched batches in source order, with what has to be done to each.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Contiguous, because a run of them is merged in place.
    entries: VecDeque<Entry>,
    /// One for each entry.
    plans: VecDeque<Plan>,
    rebuilt: VecDeque<Draft>,
    bytes: usize,
    /// So many at the head go alone: together they could not be merged.
    singles: usize,
}

#[derive(Debug)]
struct Plan {
    charge: Charge,
    /// First offset that the entry stands for: the one behind what came before it.
    source_first: i64,
    rewrite: bool,
}

/// How records are taken in.
pub(super) struct Intake<'a> {
    /// The offset that was asked for.
    pub(super) next: i64,
    pub(super) filter: TxnFilter,
    /// Gets to know the epochs of all batches, whatever becomes of them.
    pub(super) epochs: &'a mut Epochs,
}

impl Queue {
    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plans.is_empty() && self.rebuilt.is_empty()
    }

    /// First source offset that waits.
    pub(super) fn first_offset(&self) -> Option<i64> {
        let rebuilt = self.rebuilt.front().map(|draft| draft.source_first);
        rebuilt.or_else(|| self.plans.front().map(|plan| plan.source_first))
    }

    /// Takes in one partition's part of an answer; answers the next offset to fetch.
    ///
    /// # Errors
    /// Bytes that are no batches, with the offset behind what came before them, which is kept.
    pub(super) fn accept(
        &mut self,
        records: &Bytes,
        intake: Intake<'_>,
        limits: &TargetLimits,
        frames: &mut Frames,
        frame: FrameKey,
    ) -> Result<i64, (i64, BatchError)> {
        let Intake { mut next, mut filter, epochs } = intake;
        let mut walk = batch::walk(records);
        for entry in &mut walk {
            let entry = entry.map_err(|error| (next, error))?;
            let verdict = filter.judge(&entry).map_err(|error| (next, error))?;
            let context = Context {
                fetch_offset: next,
                max_message_bytes: limits.max_message_bytes,
                append_time: limits.append_time(),
                verdict,
            };
            let rewrite = match decide(&entry, &context) {
                Decision::Drop(_) => None,
                Decision::Seal => Some(false),
                Decision::Rewrite(_) => Some(true),
            };
            let behind = entry.next_offset().max(next);
            if behind > next {
                let epoch = entry.header().map(|header| header.partition_leader_epoch());
                epochs.read(next, epoch.unwrap_or(-1));
            }
            if let Some(rewrite) = rewrite
                && entry.next_offset() > next
            {
                self.bytes += entry.bytes().len();
                // Not the entry's base offset: a wrapper of an old format carries its last one.
                self.plans.push_back(Plan {
                    charge: frames.share(frame),
                    source_first: next,
                    rewrite,
                });
                self.entries.push_back(entry);
            }
            next = behind;
        }
        // A broker sends at least one whole batch or none (KIP-74); asking again would bring the same.
        if walk.rest_bytes() == records.len() && !records.is_empty() {
            return Err((next, BatchError::Length { at: 0, length: records.len() as i64 }));
        }
        Ok(next)
    }

    /// The next batch to send: sealed, merged from a run of small ones, or rewritten.
    ///
    /// # Errors
    /// The batch cannot be forwarded; it stays at the head of the queue.
    pub(super) fn next(
        &mut self,
        limits: &TargetLimits,
        mode: BatchMode,
        frames: &mut Frames,
    ) -> Result<Option<Draft>, BatchError> {
        loop {
            if let Some(draft) = self.rebuilt.pop_front() {
                self.bytes = self.bytes.saturating_sub(draft.wire_bytes());
                return Ok(Some(draft));
            }
            let Some(plan) = self.plans.front() else { return Ok(None) };
            let (source_first, is_rewrite, charge) = (plan.source_first, plan.rewrite, plan.charge);
            let options = RebuildOptions {
                start_offset: source_first,
                append_time: limits.append_time(),
                max_message_bytes: limits.max_message_bytes,
                max_open_bytes: MAX_OPEN_BYTES,
            };
            if mode == BatchMode::Auto && self.merge_run(&options, frames)? {
                continue;
            }
            let Some(entry) = self.entries.front() else { return Ok(None) };
            if is_rewrite {
                let rebuilt = rewrite(entry, &options)?;
                self.replace(1, rebuilt, Way::Rewritten, frames)?;
            } else {
                let draft = Draft::sealed(source_first, entry.bytes(), charge)?;
                self.pop();
                return Ok(Some(draft));
            }
        }
    }

    /// Forgets everything that waits.
    pub(super) fn clear(&mut self, frames: &mut Frames) {
        self.entries.clear();
        let charges = self.plans.drain(..).map(|plan| plan.charge);
        charges
            .chain(self.rebuilt.drain(..).map(|draft| draft.charge))
            .for_each(|charge| frames.release(charge));
        self.bytes = 0;
        self.singles = 0;
    }

    /// Merges the run of small batches at the head; `false` when the head goes alone.
    fn merge_run(
        &mut self,
        options: &RebuildOptions,
        frames: &mut Frames,
    ) -> Result<bool, BatchError> {
        if self.singles > 0 {
            return Ok(false);
        }
        let run = self.run_length(options.max_message_bytes);
        if run < 2 {
            return Ok(false);
        }
        match merge(&self.entries.make_contiguous()[..run], options) {
            Ok(Some(merged)) => {
                self.replace(merged.entry_count, vec![merged.batch], Way::Merged, frames)?;
                Ok(true)
            }
            Ok(None) => Ok(false),
            // One of them is damaged. Alone, the good ones arrive and the target refuses the bad one.
            Err(_) => {
                self.singles = run;
                Ok(false)
            }
        }
    }

    /// How many small batches at the head could stand in one.
    fn run_length(&self, max_message_bytes: usize) -> usize {
        let limit_bytes = MERGED_BATCH_BYTES.min(max_message_bytes);
        let mut bytes = 0;
        let mut run = 0;
        let mut previous: Option<&Entry> = None;
        for entry in &self.entries {
            let entry_bytes = entry.bytes().len();
            bytes += entry_bytes;
            let fits = previous.is_none_or(|previous| can_merge(previous, entry));
            if entry_bytes >= SMALL_BATCH_BYTES || bytes > limit_bytes || !fits {
                break;
            }
            run += 1;
            previous = Some(entry);
        }
        run
    }

    /// Puts what was built in the place of the first `count` entries.
    fn replace(
        &mut self,
        count: usize,
        built: Vec<Rebuilt>,
        way: Way,
        frames: &mut Frames,
    ) -> Result<(), BatchError> {
        let mut drafts = Vec::with_capacity(built.len());
        for batch in built {
            drafts.extend(Draft::built(batch, way)?);
        }
        for _ in 0..count {
            if let Some(charge) = self.pop() {
                frames.release(charge);
            }
        }
        for draft in drafts {
            frames.own(draft.wire_bytes());
            self.bytes += draft.wire_bytes();
            self.rebuilt.push_back(draft);
        }
        Ok(())
    }

    /// Takes out the head; whoever has it now answers for its charge.
    fn pop(&mut self) -> Option<Charge> {
        let (entry, plan) = self.entries.pop_front().zip(self.plans.pop_front())?;
        self.bytes = self.bytes.saturating_sub(entry.bytes().len());
        self.singles = self.singles.saturating_sub(1);
        Some(plan.charge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::budget::Budget;

    const GOLDEN: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol-client/tests/golden/batches/");

    /// What comes out of a queue that was given a whole segment: the numbers of records, batch by batch.
    fn through(segment: &str, mode: BatchMode) -> usize {
        let records = Bytes::from(std::fs::read(format!("{GOLDEN}{segment}.bin")).unwrap());
        let mut frames = Frames::new(Budget::alone(1 << 20));
        let frame = frames.enter(records.len());
        let mut queue = Queue::default();
        let limits = TargetLimits::default();
        queue
            .accept(&records, from(0, &mut Epochs::default()), &limits, &mut frames, frame)
            .unwrap();
        frames.release(Charge::Frame(frame));
        let mut count = 0;
        while let Some(draft) = queue.next(&limits, mode, &mut frames).unwrap() {
            count += batch::BatchHeader::of(&draft.header).record_count() as usize;
            frames.release(draft.charge);
        }
        assert_eq!((queue.bytes(), frames.used_bytes()), (0, 0));
        count
    }

    #[test]
    fn wrappers_of_old_formats_lose_no_record() {
        for mode in [BatchMode::Auto, BatchMode::Sealed] {
            for segment in
                ["m0-client-gzip", "m1-client-lz4", "m0-client-none", "m1-downconverted-snappy"]
            {
                assert_eq!(through(segment, mode), 24, "{segment} {mode:?}");
            }
            assert_eq!(through("java-none", mode), 60);
        }
    }

    /// Batches of one record each at consecutive offsets from 0 on, and what is charged for them.
    fn accepted(
        count: i64,
        break_at: Option<i64>,
    ) -> (Queue, Frames, Result<i64, (i64, BatchError)>) {
        let mut records = Vec::new();
        for offset in 0..count {
            let mut bytes = single(offset, 0);
            if break_at == Some(offset) {
                *bytes.last_mut().unwrap() ^= 1;
            }
            records.extend(bytes);
        }
        accept(&records.into(), 0)
    }

    fn accept(
        records: &Bytes,
        fetch_offset: i64,
    ) -> (Queue, Frames, Result<i64, (i64, BatchError)>) {
        let (mut queue, mut frames) = (Queue::default(), Frames::new(Budget::alone(1 << 20)));
        let frame = frames.enter(records.len());
        let limits = TargetLimits::default();
        let mut epochs = Epochs::default();
        let intake = from(fetch_offset, &mut epochs);
        let next = queue.accept(records, intake, &limits, &mut frames, frame);
        frames.release(Charge::Frame(frame));
        (queue, frames, next)
    }

    /// A batch of one record, appended under this leader epoch.
    fn single(offset: i64, epoch: i32) -> Vec<u8> {
        let mut builder = batch::BatchBuilder::new();
        builder.push(Some(b"key"), Some(b"value"), &[], 5);
        let mut bytes = builder.build().unwrap().bytes.to_vec();
        bytes[..8].copy_from_slice(&offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        bytes
    }

    fn from(next: i64, epochs: &mut Epochs) -> Intake<'_> {
        Intake { next, filter: TxnFilter::default(), epochs }
    }

    fn ways(queue: &mut Queue, mode: BatchMode, frames: &mut Frames) -> Vec<(Way, i32)> {
        let mut ways = Vec::new();
        while let Some(draft) = queue.next(&TargetLimits::default(), mode, frames).unwrap() {
            ways.push((draft.way, batch::BatchHeader::of(&draft.header).record_count()));
            frames.release(draft.charge);
        }
        ways
    }

    /// An answer may hold batches of several leaders, and the partition may have to go back to any of them.
    #[test]
    fn the_epoch_of_each_batch_is_known() {
        let mut records = Vec::new();
        for (offset, epoch) in [(0, 1), (1, 1), (2, 4)] {
            records.extend(single(offset, epoch));
        }
        let (mut queue, mut frames) = (Queue::default(), Frames::new(Budget::alone(1 << 20)));
        let frame = frames.enter(records.len());
        let mut epochs = Epochs::default();
        let (intake, limits) = (from(0, &mut epochs), TargetLimits::default());
        let next = queue.accept(&records.into(), intake, &limits, &mut frames, frame);
        assert_eq!(next, Ok(3));
        assert_eq!([1, 2, 3].map(|next| epochs.before(next)), [1, 1, 4]);
    }

    #[test]
    fn a_run_is_merged_and_a_lone_batch_stays_sealed() {
        let (mut queue, mut frames, next) = accepted(7, None);
        assert_eq!(next, Ok(7));
        assert_eq!(ways(&mut queue, BatchMode::Auto, &mut frames), [(Way::Merged, 7)]);
        let (mut queue, mut frames, _) = accepted(1, None);
        assert_eq!(ways(&mut queue, BatchMode::Auto, &mut frames), [(Way::Sealed, 1)]);
        let (mut queue, mut frames, _) = accepted(3, None);
        assert_eq!(ways(&mut queue, BatchMode::Sealed, &mut frames), [(Way::Sealed, 1); 3]);
    }

    #[test]
    fn a_damaged_batch_makes_its_run_go_one_by_one() {
        let (mut queue, mut frames, _) = accepted(5, Some(3));
        assert_eq!(ways(&mut queue, BatchMode::Auto, &mut frames), [(Way::Sealed, 1); 5]);
        assert_eq!((queue.bytes(), frames.used_bytes()), (0, 0));
    }

    #[test]
    fn a_clear_gives_everything_back() {
        let (mut queue, mut frames, _) = accepted(5, None);
        assert!(queue.bytes() > 0 && frames.used_bytes() > 0);
        assert_eq!(queue.first_offset(), Some(0));
        queue.clear(&mut frames);
        assert!(queue.is_empty());
        assert_eq!((queue.bytes(), frames.used_bytes()), (0, 0));
    }

    #[test]
    fn what_is_no_whole_batch_is_an_error_and_a_cut_tail_is_none() {
        let (_, _, all) = accepted(2, None);
        assert_eq!(all, Ok(2));
        let mut builder = batch::BatchBuilder::new();
        builder.push(None, Some(b"value"), &[], 5);
        let whole = builder.build().unwrap().bytes;
        let cut = whole.slice(..whole.len() - 1);
        let (_, _, nothing) = accept(&cut, 0);
        assert!(matches!(nothing, Err((0, BatchError::Length { .. }))), "{nothing:?}");
        let both = Bytes::from([&whole[..], &cut[..]].concat());
        let (_, _, one) = accept(&both, 0);
        assert_eq!(one, Ok(1));
        let (_, _, none) = accept(&Bytes::new(), 9);
        assert_eq!(none, Ok(9));
    }
}
