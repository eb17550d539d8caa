//! What a partition remembers of its producers: sequences, epochs, open transactions.
//!
//! Rules: Kafka's `ProducerStateEntry`, `ProducerAppendInfo`, `ProducerStateManager`.

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::ResponseError as KafkaError;

use super::batch::{BatchFields, advance_sequence};

/// Batches of a producer that a duplicate is recognized among.
const WINDOW_BATCHES: usize = 5;

/// One remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Remembered {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    timestamp: i64,
}

/// State of one producer in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Epoch of its last batch or marker.
    pub epoch: i16,
    /// Epoch of the coordinator that wrote the last marker, or -1.
    pub coordinator_epoch: i32,
    /// Largest timestamp of its last batch, in milliseconds: what its expiry counts from.
    pub last_timestamp: i64,
    /// Offset of the first batch of its open transaction.
    pub transaction_start: Option<i64>,
    window: VecDeque<Remembered>,
}

impl Producer {
    /// Sequence of its last record, or -1.
    pub fn last_sequence(&self) -> i32 {
        self.window.back().map_or(-1, |batch| batch.last_sequence)
    }
}

/// What the state says about a batch that may be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen before (or without a producer id): append it.
    Fresh,
    /// One of the last five of this producer: answer with where it went.
    Duplicate {
        /// Offset it was appended at.
        base_offset: i64,
        /// Its largest timestamp, in milliseconds.
        timestamp: i64,
    },
}

/// A transaction that was aborted, as the fetch answer lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    /// The producer.
    pub producer_id: i64,
    /// Offset of the transaction's first batch.
    pub first_offset: i64,
    /// Offset of its marker.
    pub last_offset: i64,
}

/// All producers of a partition.
#[derive(Debug, Clone, Default)]
pub struct Producers {
    entries: BTreeMap<i64, Producer>,
    aborted: Vec<Aborted>,
}

impl Producers {
    /// Decides about a batch before it is appended.
    ///
    /// # Errors
    /// INVALID_PRODUCER_EPOCH, OUT_OF_ORDER_SEQUENCE_NUMBER or INVALID_TXN_STATE.
    pub fn check(&self, batch: &BatchFields) -> Result<Verdict, KafkaError> {
        if batch.producer_id < 0 {
            return Ok(Verdict::Fresh);
        }
        let Some(entry) = self.entries.get(&batch.producer_id) else {
            return Ok(Verdict::Fresh);
        };
        if entry.epoch == batch.producer_epoch {
            let last = batch.last_sequence();
            let seen = entry.window.iter().find(|seen| {
                (seen.first_sequence, seen.last_sequence) == (batch.base_sequence, last)
            });
            if let Some(seen) = seen {
                return Ok(Verdict::Duplicate {
                    base_offset: seen.base_offset,
                    timestamp: seen.timestamp,
                });
            }
        }
        if batch.producer_epoch < entry.epoch {
            return Err(KafkaError::InvalidProducerEpoch);
        }
        let expected = if batch.producer_epoch > entry.epoch || entry.window.is_empty() {
            0
        } else {
            advance_sequence(entry.last_sequence(), 1)
        };
        if batch.base_sequence != expected {
            return Err(KafkaError::OutOfOrderSequenceNumber);
        }
        if !batch.is_transactional() && entry.transaction_start.is_some() {
            return Err(KafkaError::InvalidTxnState);
        }
        Ok(Verdict::Fresh)
    }

    /// Takes note of a batch that was appended at `base_offset`.
    pub fn appended(&mut self, batch: &BatchFields, base_offset: i64) {
        if batch.producer_id < 0 {
            return;
        }
        let entry = self.entry(batch.producer_id, batch.producer_epoch);
        if entry.epoch != batch.producer_epoch {
            entry.window.clear();
            entry.epoch = batch.producer_epoch;
        }
        entry.last_timestamp = batch.max_timestamp;
        entry.window.push_back(Remembered {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset,
            timestamp: batch.max_timestamp,
        });
        if entry.window.len() > WINDOW_BATCHES {
            entry.window.pop_front();
        }
        if batch.is_transactional() && entry.transaction_start.is_none() {
            entry.transaction_start = Some(base_offset);
        }
    }

    /// Takes note of a marker that was appended at `offset`: ends the open transaction and fences older epochs.
    pub fn marked(
        &mut self,
        producer_id: i64,
        epoch: i16,
        committed: bool,
        offset: i64,
        at_ms: i64,
    ) {
        let entry = self.entry(producer_id, epoch);
        if entry.epoch != epoch {
            entry.window.clear();
            entry.epoch = epoch;
        }
        entry.coordinator_epoch = 0;
        entry.last_timestamp = at_ms;
        if let Some(first_offset) = entry.transaction_start.take()
            && !committed
        {
            self.aborted.push(Aborted { producer_id, first_offset, last_offset: offset });
        }
    }

    fn entry(&mut self, producer_id: i64, epoch: i16) -> &mut Producer {
        self.entries.entry(producer_id).or_insert_with(|| Producer {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: -1,
            transaction_start: None,
            window: VecDeque::new(),
        })
    }

    /// Offset of the first batch of the oldest open transaction.
    pub fn first_open_offset(&self) -> Option<i64> {
        self.entries.values().filter_map(|entry| entry.transaction_start).min()
    }

    /// Aborted transactions that overlap `[from, to)`.
    pub fn aborted_between(&self, from: i64, to: i64) -> impl Iterator<Item = &Aborted> {
        self.aborted.iter().filter(move |txn| txn.last_offset >= from && txn.first_offset < to)
    }

    /// The producers, in order of their id.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.entries.iter().map(|(&id, entry)| (id, entry))
    }

    /// What a clean restart keeps: the snapshot holds only the last batch of each producer.
    pub fn keep_last_batch_only(&mut self) {
        for entry in self.entries.values_mut() {
            let excess = entry.window.len().saturating_sub(1);
            entry.window.drain(..excess);
        }
    }

    /// Forgets producers whose last timestamp is `expiration_ms` or more old and that have nothing open.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.entries.retain(|_, entry| {
            entry.transaction_start.is_some()
                || now_ms.saturating_sub(entry.last_timestamp) < expiration_ms
        });
    }

    /// Forgets what lies below the log's start.
    pub fn drop_below(&mut self, log_start: i64) {
        self.aborted.retain(|txn| txn.last_offset >= log_start);
    }
}
