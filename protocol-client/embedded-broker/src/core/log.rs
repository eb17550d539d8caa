//! The log of one partition: batches as stored, epochs, producers, and what may be read of it.
//!
//! Rules: Kafka's `UnifiedLog`, `LocalLog`, `LogSegment#read`, `LeaderEpochFileCache`.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError as KafkaError;
use protocol_client::batch::HEADER_BYTES;
use protocol_client::batch::record::{RawRecords, RecordBody};

use super::batch::{self, AppendRules, Refusal, StoredBatch};
use super::producers::{Producers, Verdict};
use super::records;

/// How far a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the first open transaction.
    ReadCommitted,
}

impl Isolation {
    /// From the request's number: 1 is read_committed.
    pub fn from_code(code: i8) -> Self {
        if code == 1 { Self::ReadCommitted } else { Self::ReadUncommitted }
    }
}

/// Where an accepted batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// The append time for LogAppendTime topics, otherwise -1, in milliseconds.
    pub append_time_ms: i64,
}

/// An epoch and the offset that its leader began at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EpochStart {
    epoch: i32,
    offset: i64,
}

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    /// The record's offset.
    pub offset: i64,
    /// The record's timestamp, in milliseconds.
    pub timestamp: i64,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
}

/// One partition's log.
#[derive(Debug, Clone, Default)]
pub struct Log {
    batches: VecDeque<StoredBatch>,
    start_offset: i64,
    end_offset: i64,
    bytes: u64,
    epochs: Vec<EpochStart>,
    /// What the partition remembers of its producers.
    pub producers: Producers,
    /// A high watermark held back by a test.
    pub held_high_watermark: Option<i64>,
}

impl Log {
    /// First offset that may be read.
    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// Offset that the next record will get.
    pub fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// Sum of the batches, in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.bytes
    }

    /// The batches, oldest first.
    pub fn batches(&self) -> impl Iterator<Item = &StoredBatch> {
        self.batches.iter()
    }

    /// End of what all replicas have.
    pub fn high_watermark(&self) -> i64 {
        self.held_high_watermark
            .map_or(self.end_offset, |held| held.clamp(self.start_offset, self.end_offset))
    }

    /// End of what read_committed may see.
    pub fn last_stable_offset(&self) -> i64 {
        let end = self.high_watermark();
        self.producers.first_open_offset().map_or(end, |open| open.min(end))
    }

    /// End of what a reader may see.
    pub fn visible_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark(),
            Isolation::ReadCommitted => self.last_stable_offset(),
        }
    }

    /// Validates and appends the batch of a produce request.
    ///
    /// # Errors
    /// The error that Kafka answers.
    pub fn append(
        &mut self,
        records: &Bytes,
        rules: &AppendRules,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, Refusal> {
        let accepted = batch::validate(records, rules, now_ms)?;
        let verdict = self
            .producers
            .check(&accepted.fields)
            .map_err(|error| Refusal { error, what: "refused by the producer's state" })?;
        if let Verdict::Duplicate { base_offset, timestamp } = verdict {
            let append_time_ms = if rules.log_append_time { timestamp } else { -1 };
            return Ok(Appended { base_offset, append_time_ms });
        }
        let base_offset = self.end_offset;
        self.producers.appended(&accepted.fields, base_offset);
        self.push(accepted.store(base_offset, leader_epoch), leader_epoch);
        Ok(Appended {
            base_offset,
            append_time_ms: if rules.log_append_time { now_ms } else { -1 },
        })
    }

    /// Appends a batch that is right already but for its offset and epoch, past all checks; the log may
    /// start at any offset with it, and a batch with holes stays as it is.
    pub fn append_prepared(&mut self, batch: &Bytes, leader_epoch: i32, keep_offset: bool) -> i64 {
        let mut whole = BytesMut::from(&batch[..]);
        let wanted = StoredBatch::from_whole(batch.clone()).base_offset();
        let offset = if keep_offset { wanted.max(self.end_offset) } else { self.end_offset };
        whole[0..8].copy_from_slice(&offset.to_be_bytes());
        whole[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
        let stored = StoredBatch::from_whole(whole.freeze());
        if self.batches.is_empty() && keep_offset && self.end_offset == 0 {
            self.start_offset = offset;
        }
        self.note(&stored);
        self.push(stored, leader_epoch);
        offset
    }

    fn push(&mut self, batch: StoredBatch, leader_epoch: i32) {
        if self.epochs.last().is_none_or(|last| last.epoch < leader_epoch) {
            self.start_epoch(leader_epoch);
        }
        self.end_offset = batch.last_offset() + 1;
        self.bytes += batch.len_bytes() as u64;
        self.batches.push_back(batch);
    }

    fn note(&mut self, batch: &StoredBatch) {
        let fields = batch.fields();
        if fields.is_control() {
            let committed = marker_type(&batch.payload()) == Some(1);
            let (id, epoch) = (fields.producer_id, fields.producer_epoch);
            self.producers.marked(id, epoch, committed, fields.base_offset, fields.max_timestamp);
        } else {
            self.producers.appended(&fields, fields.base_offset);
        }
    }

    /// Appends the marker that ends a transaction and returns its offset.
    pub fn append_marker(
        &mut self,
        producer_id: i64,
        epoch: i16,
        committed: bool,
        leader_epoch: i32,
        now_ms: i64,
    ) -> i64 {
        let offset = self.end_offset;
        let marker = marker_batch(offset, producer_id, epoch, committed, leader_epoch, now_ms);
        let stored = StoredBatch::from_whole(marker);
        self.note(&stored);
        self.push(stored, leader_epoch);
        offset
    }

    /// Index of the first batch that ends at or behind `offset`.
    fn batch_at(&self, offset: i64) -> usize {
        self.batches.partition_point(|batch| batch.last_offset() < offset)
    }

    /// Reads from the batch that holds `offset`, up to `end`, cut after `max_bytes`.
    ///
    /// With `whole_first` the first batch comes whole however large it is; without, a first batch that does
    /// not fit gives nothing. Returns the pieces and their length in bytes.
    pub fn read(
        &self,
        offset: i64,
        end: i64,
        max_bytes: usize,
        whole_first: bool,
    ) -> (Vec<Bytes>, usize) {
        let mut pieces = Vec::new();
        let mut taken = 0;
        let mut limit = max_bytes;
        for (nth, batch) in self.batches.range(self.batch_at(offset)..).enumerate() {
            if batch.last_offset() >= end {
                break;
            }
            if nth == 0 && batch.len_bytes() > limit {
                if !whole_first {
                    break;
                }
                limit = batch.len_bytes();
            }
            let room = limit - taken;
            if room == 0 {
                break;
            }
            batch.push_pieces(room, &mut pieces);
            taken += room.min(batch.len_bytes());
        }
        (pieces, taken)
    }

    /// Latest epoch known, or -1.
    pub fn latest_epoch(&self) -> i32 {
        self.epochs.last().map_or(-1, |last| last.epoch)
    }

    /// Takes note that a leader with this epoch begins at the log's end.
    pub fn start_epoch(&mut self, epoch: i32) {
        let offset = self.end_offset;
        self.epochs.retain(|start| start.epoch < epoch && start.offset < offset);
        self.epochs.push(EpochStart { epoch, offset });
    }

    /// The largest epoch up to `epoch` and where it ended (`LeaderEpochFileCache#endOffsetFor`); (-1, -1) if unknown.
    pub fn end_of_epoch(&self, epoch: i32) -> (i32, i64) {
        if epoch < 0 || epoch > self.latest_epoch() {
            return (-1, -1);
        }
        if epoch == self.latest_epoch() {
            return (epoch, self.end_offset);
        }
        let next = self.epochs.partition_point(|start| start.epoch <= epoch);
        let end = self.epochs.get(next).map_or(self.end_offset, |start| start.offset);
        match next.checked_sub(1).and_then(|at| self.epochs.get(at)) {
            Some(start) => (start.epoch, end),
            None => (epoch, end),
        }
    }

    /// The epoch that `offset` was or will be written in, or -1.
    pub fn epoch_at(&self, offset: i64) -> i32 {
        let next = self.epochs.partition_point(|start| start.offset <= offset);
        next.checked_sub(1).and_then(|at| self.epochs.get(at)).map_or(-1, |start| start.epoch)
    }

    /// First record below `end` whose timestamp is at or behind `timestamp`.
    pub fn find_time(&self, timestamp: i64, end: i64) -> Option<Timed> {
        let batches = self.batches.iter().filter(|batch| batch.last_offset() < end);
        batches
            .filter(|batch| batch.max_timestamp() >= timestamp)
            .find_map(|batch| first_at_or_behind(batch, timestamp, self.start_offset))
    }

    /// The record with the largest timestamp below `end`.
    pub fn find_max_time(&self, end: i64) -> Option<Timed> {
        let batches = self.batches.iter().filter(|batch| batch.last_offset() < end);
        let largest = batches.map(StoredBatch::max_timestamp).max()?;
        self.find_time(largest, end)
    }

    /// Moves the start up to `offset` and drops batches that lie wholly below it.
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE beyond the high watermark.
    pub fn delete_below(&mut self, offset: i64) -> Result<i64, KafkaError> {
        let offset = if offset == -1 { self.high_watermark() } else { offset };
        if offset < 0 || offset > self.high_watermark() {
            return Err(KafkaError::OffsetOutOfRange);
        }
        self.start_offset = self.start_offset.max(offset);
        while self.batches.front().is_some_and(|batch| batch.last_offset() < self.start_offset) {
            self.drop_front();
        }
        self.producers.drop_below(self.start_offset);
        Ok(self.start_offset)
    }

    fn drop_front(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.bytes -= batch.len_bytes() as u64;
        }
    }

    /// Drops the oldest batch, never one of an open transaction; returns its length in bytes.
    pub fn drop_oldest(&mut self) -> Option<u64> {
        let last = self.batches.front()?.last_offset();
        if last >= self.last_stable_offset() {
            return None;
        }
        let before = self.bytes;
        self.delete_below(last + 1).ok()?;
        Some(before - self.bytes)
    }

    /// Cuts the log at `offset` (or at the start of the batch around it) and rebuilds what it knows of producers.
    pub fn truncate(&mut self, offset: i64) {
        let keep = self.batch_at(offset.max(self.start_offset));
        if keep < self.batches.len() {
            let cut = self.batches[keep].base_offset().min(offset).max(self.start_offset);
            self.batches.truncate(keep);
            self.end_offset = cut;
            self.bytes = self.batches.iter().map(|batch| batch.len_bytes() as u64).sum();
        }
        let end = self.end_offset;
        self.epochs.retain(|start| start.offset < end);
        self.rebuild_producers();
    }

    fn rebuild_producers(&mut self) {
        self.producers = Producers::default();
        let batches = std::mem::take(&mut self.batches);
        for batch in &batches {
            self.note(batch);
        }
        self.batches = batches;
    }

    /// Puts the outcome of a compaction in place of the batches.
    pub fn replace_batches(&mut self, batches: VecDeque<StoredBatch>) {
        self.batches = batches;
        self.bytes = self.batches.iter().map(|batch| batch.len_bytes() as u64).sum();
    }
}

fn first_at_or_behind(batch: &StoredBatch, timestamp: i64, start_offset: i64) -> Option<Timed> {
    let fields = batch.fields();
    let found = |offset, timestamp| Timed {
        offset,
        timestamp,
        leader_epoch: fields.partition_leader_epoch,
    };
    if fields.is_log_append_time() {
        return Some(found(fields.base_offset.max(start_offset), fields.max_timestamp));
    }
    let payload = batch.payload();
    let opened = records::opened(&fields, &payload)?;
    records::iterate(&fields, &opened).map_while(Result::ok).find_map(|record| {
        let offset = fields.base_offset + i64::from(record.offset_delta);
        let at = fields.base_timestamp.saturating_add(record.timestamp_delta);
        (at >= timestamp && offset >= start_offset).then(|| found(offset, at))
    })
}

/// Type of the control record: 0 abort, 1 commit (`ControlRecordType`).
fn marker_type(payload: &[u8]) -> Option<i16> {
    let record = RawRecords::new(payload, 1, 0).next()?.ok()?;
    let body = RecordBody::decode(record.body, 0).ok()?;
    body.key?.get(2..4).map(|raw| i16::from_be_bytes([raw[0], raw[1]]))
}

/// A control batch with one end-transaction marker (`EndTransactionMarker`).
fn marker_batch(
    offset: i64,
    producer_id: i64,
    epoch: i16,
    committed: bool,
    leader_epoch: i32,
    now_ms: i64,
) -> Bytes {
    // length 16 | attributes | timestamp delta | offset delta | key length 4 | version, type |
    // value length 6 | version, coordinator epoch | no headers
    let kind = u8::from(committed);
    let record = [32u8, 0, 0, 0, 8, 0, 0, 0, kind, 12, 0, 0, 0, 0, 0, 0, 0];
    let mut batch = BytesMut::with_capacity(HEADER_BYTES + record.len());
    batch.put_i64(offset);
    batch.put_i32((HEADER_BYTES + record.len() - 12) as i32);
    batch.put_i32(leader_epoch);
    batch.put_i8(2);
    batch.put_u32(0);
    batch.put_i16(0x30);
    batch.put_i32(0);
    batch.put_i64(now_ms);
    batch.put_i64(now_ms);
    batch.put_i64(producer_id);
    batch.put_i16(epoch);
    batch.put_i32(-1);
    batch.put_i32(1);
    batch.put_slice(&record);
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Batch, NOW, joined};
    use super::*;

    const RULES: AppendRules = AppendRules {
        max_message_bytes: 1 << 20,
        segment_bytes: 1 << 30,
        compacted: false,
        log_append_time: false,
        before_max_ms: i64::MAX,
        after_max_ms: i64::MAX,
        refuse_append_time_bit: false,
        open_compressed: true,
    };

    fn filled(counts: &[usize]) -> Log {
        let mut log = Log::default();
        log.start_epoch(0);
        for &count in counts {
            log.append(&Batch::of(count).bytes(), &RULES, 0, NOW).expect("appended");
        }
        log
    }

    #[derive(Debug, Clone)]
    enum Step {
        Append { count: usize, value_bytes: usize },
        Lead,
        Truncate { back: i64 },
        Delete { ahead: i64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (1usize..20, 0usize..600)
                .prop_map(|(count, value_bytes)| Step::Append { count, value_bytes }),
            1 => Just(Step::Lead),
            1 => (0i64..30).prop_map(|back| Step::Truncate { back }),
            1 => (0i64..30).prop_map(|ahead| Step::Delete { ahead }),
        ]
    }

    proptest! {
        #[test]
        fn offsets_stay_contiguous_and_bytes_exact(
            steps in prop::collection::vec(step(), 1..40),
            max_bytes in 1usize..5000,
        ) {
            let mut log = filled(&[]);
            let mut sent: Vec<(i64, Bytes)> = Vec::new();
            let mut epoch = 0;
            for step in steps {
                match step {
                    Step::Append { count, value_bytes } => {
                        let records = vec![(None, vec![7; value_bytes]); count];
                        let batch = Batch { records, ..Batch::of(0) }.bytes();
                        let end = log.end_offset();
                        let appended = log.append(&batch, &RULES, epoch, NOW).expect("valid");
                        prop_assert_eq!(appended.base_offset, end);
                        prop_assert_eq!(log.end_offset(), end + count as i64);
                        sent.push((end, batch));
                    }
                    Step::Lead => {
                        epoch += 1;
                        log.start_epoch(epoch);
                        prop_assert_eq!(log.end_of_epoch(epoch), (epoch, log.end_offset()));
                    }
                    Step::Truncate { back } => {
                        log.truncate(log.end_offset() - back);
                        let end = log.end_offset();
                        sent.retain(|(offset, _)| *offset < end);
                    }
                    Step::Delete { ahead } => {
                        let start = (log.start_offset() + ahead).min(log.end_offset());
                        prop_assert_eq!(log.delete_below(start), Ok(start));
                    }
                }
            }
            let mut offset = log.start_offset();
            while offset < log.end_offset() {
                let (pieces, bytes) = log.read(offset, log.end_offset(), max_bytes, true);
                let blob = joined(&pieces);
                prop_assert_eq!(blob.len(), bytes);
                let fields = batch::BatchFields::read(&blob);
                prop_assert!((fields.base_offset..=fields.last_offset()).contains(&offset));
                let (_, original) = sent.iter().find(|(base, _)| *base == fields.base_offset)
                    .expect("was sent");
                prop_assert_eq!(&blob[16..original.len()], &original[16..]);
                offset = fields.last_offset() + 1;
            }
        }
    }

    #[test]
    fn records_are_found_by_time() {
        let log = filled(&[3, 3]);
        let found = |timestamp| log.find_time(timestamp, 6).map(|found| found.offset);
        assert_eq!(found(NOW - 5), Some(0));
        assert_eq!(found(NOW + 2), Some(2));
        assert_eq!(found(NOW + 3), None);
        assert_eq!(
            log.find_max_time(6).map(|found| (found.offset, found.timestamp)),
            Some((2, NOW + 2))
        );
    }

    #[test]
    fn epochs_end_where_the_next_begins() {
        let mut log = filled(&[3]);
        log.start_epoch(2);
        log.append(&Batch::of(2).bytes(), &RULES, 2, NOW).expect("appended");
        log.start_epoch(5);
        assert_eq!(log.end_of_epoch(0), (0, 3));
        assert_eq!(log.end_of_epoch(1), (0, 3));
        assert_eq!(log.end_of_epoch(2), (2, 5));
        assert_eq!(log.end_of_epoch(5), (5, 5));
        assert_eq!(log.end_of_epoch(6), (-1, -1));
        assert_eq!((log.epoch_at(2), log.epoch_at(3), log.epoch_at(5)), (0, 2, 5));
    }

    #[test]
    fn prepared_batches_may_keep_their_offsets() {
        let mut log = filled(&[]);
        let mut batch = BytesMut::from(&Batch::of(2).bytes()[..]);
        batch[0..8].copy_from_slice(&100i64.to_be_bytes());
        assert_eq!(log.append_prepared(&batch.clone().freeze(), 0, true), 100);
        assert_eq!((log.start_offset(), log.end_offset()), (100, 102));
        batch[0..8].copy_from_slice(&110i64.to_be_bytes());
        assert_eq!(log.append_prepared(&batch.freeze(), 0, true), 110);
        let (pieces, _) = log.read(105, 112, 1 << 20, true);
        assert_eq!(batch::BatchFields::read(&joined(&pieces)).base_offset, 110);
    }
}
