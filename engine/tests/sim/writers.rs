//! Who writes: producers with and without transactions at the source, strangers at the target.

use embedded_broker::core::records::decoded;
use engine::model::Side;

use crate::workload;
use crate::world::{Item, PARTITIONS, SOURCE_TOPIC, TARGET_TOPIC, World, topic};

/// The producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    written: u64,
    transactions: i64,
    open: Option<Transaction>,
}

/// A transaction that is under way.
#[derive(Debug)]
struct Transaction {
    producer_id: i64,
    sequence: i32,
    numbers: Vec<u64>,
}

impl World {
    pub(crate) fn write(&mut self) {
        let index = self.rng.i32(0..PARTITIONS);
        for _ in 0..self.rng.usize(1..30) {
            self.write_batch(index);
        }
        if self.plan.transactions && self.rng.bool() {
            self.end_transaction(index);
        }
        if self.is_troubled() {
            let pause = self.rng.i64(1..400);
            self.after(pause, Item::Write);
        } else {
            (0..PARTITIONS).for_each(|index| self.end_transaction(index));
        }
    }

    fn write_batch(&mut self, index: i32) {
        if self.leader(Side::Source, index).is_none() {
            return;
        }
        let writer = &mut self.writers[index as usize];
        let batch = workload::batch(&mut self.rng, writer.written, self.plan.keyed);
        let count = batch.records.len();
        writer.written += count as u64;
        let mut bytes = batch.bytes;
        if self.plan.transactions && self.rng.u8(0..3) == 0 {
            let transactions = &mut writer.transactions;
            let open = writer.open.get_or_insert_with(|| {
                *transactions += 1;
                let producer_id = 5_000 + *transactions % 3;
                Transaction { producer_id, sequence: 0, numbers: Vec::new() }
            });
            bytes = workload::transactional(&bytes, (open.producer_id, 0), open.sequence);
            open.sequence += count as i32;
            open.numbers.extend(batch.records.iter().map(|(number, _)| *number));
        }
        let appended = self.source.append_prepared(SOURCE_TOPIC, index, &bytes, false);
        let end = appended.expect("the partition is there");
        self.truths[index as usize].wrote(end - count as i64, batch.records);
    }

    /// Commits or aborts what is open.
    fn end_transaction(&mut self, index: i32) {
        let Some(open) = self.writers[index as usize].open.take() else { return };
        let committed = self.rng.u8(0..3) > 0;
        if !committed {
            self.truths[index as usize].aborted(&open.numbers);
        }
        self.say(|| format!("partition {index}: a transaction ends, committed: {committed}"));
        let now_ms = self.now_ms;
        self.source.append_marker(SOURCE_TOPIC, index, (open.producer_id, 0), committed, now_ms);
    }

    /// Transactions whose markers were cut off would stay open for ever: their coordinator has done its part. Somebody
    /// ends them by hand (KIP-664).
    pub(crate) fn end_hanging(&mut self, index: i32) {
        let Some(log) = self.source_log(index) else { return };
        let own = self.writers[index as usize].open.as_ref().map(|open| open.producer_id);
        let mut hanging = Vec::new();
        for (producer_id, producer) in log.producers.iter() {
            let Some(start) = producer.transaction_start.filter(|_| Some(producer_id) != own)
            else {
                continue;
            };
            let first = log.batches().find(|batch| batch.last_offset() >= start);
            let records = first.and_then(|batch| decoded(batch.to_bytes()).ok());
            let number = records.and_then(|all| workload::number_of(&all.first()?.1));
            let aborted = number.is_some_and(|one| self.truths[index as usize].is_aborted(one));
            hanging.push((producer_id, producer.epoch, !aborted));
        }
        for (producer_id, epoch, committed) in hanging {
            let (stamp, now_ms) = ((producer_id, epoch), self.now_ms);
            self.source.append_marker(SOURCE_TOPIC, index, stamp, committed, now_ms);
        }
    }

    /// Somebody writes to a partition of the target.
    pub(crate) fn intrude(&mut self) {
        let index = self.rng.i32(0..PARTITIONS);
        if self.leader(Side::Target, index).is_some() {
            self.say(|| format!("somebody writes to {}-{index}", topic(Side::Target)));
            let batch = workload::foreign(&mut self.rng);
            self.target.append_prepared(TARGET_TOPIC, index, &batch, false);
        }
    }
}
