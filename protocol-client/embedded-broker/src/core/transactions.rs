//! The transaction coordinator: producer ids for transactional ids, open transactions, their end.
//!
//! Rules: Kafka's `TransactionCoordinator` and `TransactionMetadata`, transactions of version 1. Markers are
//! written at once unless a test holds them back.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::{GroupId, TopicName, TransactionalId};

use super::Broker;

/// Longest timeout that a producer may ask for (`transaction.max.timeout.ms`).
const MAX_TIMEOUT_MS: i32 = 900_000;
/// The last epoch of a producer id; behind it comes a new id.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// Where a transactional id stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnState {
    /// Nothing was begun.
    Empty,
    /// Partitions or offsets were added.
    Ongoing,
    /// Ended, markers not written yet; true is a commit.
    Prepared(bool),
    /// Ended; true was a commit.
    Complete(bool),
}

/// What becomes of the markers of transactions that end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Markers {
    /// They are written.
    #[default]
    Written,
    /// They wait until they are to be written.
    Held,
    /// They are forgotten, as by a coordinator that finds no leader for the partitions (KAFKA-20734).
    Forgotten,
}

/// A transactional id.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Its producer.
    pub producer_id: i64,
    /// The producer's epoch.
    pub epoch: i16,
    /// The epoch before the last compare-and-swap, which may be asked for once more.
    previous_epoch: Option<i16>,
    timeout_ms: i64,
    started_ms: i64,
    /// Where it stands.
    pub state: TxnState,
    /// The partitions that take part.
    pub partitions: BTreeSet<(TopicName, i32)>,
    /// The groups whose offsets take part.
    pub groups: BTreeSet<GroupId>,
}

impl Transaction {
    fn bump(&mut self, fresh_id: impl FnOnce() -> i64) {
        if self.epoch >= LAST_EPOCH {
            self.producer_id = fresh_id();
            self.epoch = 0;
        } else {
            self.epoch += 1;
        }
    }
}

/// A producer as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

impl Broker {
    /// Grants a producer id and epoch to a transactional id.
    ///
    /// # Errors
    /// INVALID_TRANSACTION_TIMEOUT, CONCURRENT_TRANSACTIONS or PRODUCER_FENCED.
    pub(super) fn init_transactional(
        &mut self,
        now_ms: i64,
        id: &TransactionalId,
        timeout_ms: i32,
        expected: Option<Producer>,
    ) -> Result<Producer, KafkaError> {
        if !(1..=MAX_TIMEOUT_MS).contains(&timeout_ms) {
            return Err(KafkaError::InvalidTransactionTimeout);
        }
        let fresh = self.fresh_producer_id();
        let Some(txn) = self.transactions.get_mut(id) else {
            let txn = Transaction {
                producer_id: fresh,
                epoch: 0,
                previous_epoch: None,
                timeout_ms: i64::from(timeout_ms),
                started_ms: now_ms,
                state: TxnState::Empty,
                partitions: BTreeSet::new(),
                groups: BTreeSet::new(),
            };
            self.transactions.insert(id.clone(), txn);
            return Ok(Producer { id: fresh, epoch: 0 });
        };
        let mut again = false;
        if let Some(expected) = expected {
            again = txn.previous_epoch == Some(expected.epoch) && txn.epoch == expected.epoch + 1;
            if expected.id != txn.producer_id || (expected.epoch != txn.epoch && !again) {
                return Err(KafkaError::ProducerFenced);
            }
        }
        match txn.state {
            TxnState::Prepared(_) => return Err(KafkaError::ConcurrentTransactions),
            TxnState::Ongoing => {
                txn.previous_epoch = expected.map(|expected| expected.epoch);
                txn.bump(|| fresh);
                self.end_transaction(now_ms, id, false);
                return Err(KafkaError::ConcurrentTransactions);
            }
            TxnState::Empty | TxnState::Complete(_) => {}
        }
        txn.timeout_ms = i64::from(timeout_ms);
        if !again {
            txn.previous_epoch = expected.map(|expected| expected.epoch);
            txn.bump(|| fresh);
            txn.state = TxnState::Empty;
        }
        Ok(Producer { id: txn.producer_id, epoch: txn.epoch })
    }

    /// The transaction of a producer that is neither fenced nor mistaken.
    ///
    /// # Errors
    /// INVALID_PRODUCER_ID_MAPPING or PRODUCER_FENCED.
    pub(super) fn transaction(
        &mut self,
        id: &TransactionalId,
        producer: Producer,
    ) -> Result<&mut Transaction, KafkaError> {
        let txn = self.transactions.get_mut(id).ok_or(KafkaError::InvalidProducerIdMapping)?;
        if txn.producer_id != producer.id {
            return Err(KafkaError::InvalidProducerIdMapping);
        }
        if txn.epoch != producer.epoch {
            return Err(KafkaError::ProducerFenced);
        }
        Ok(txn)
    }

    /// Adds partitions or a group's offsets; the first makes the transaction begin.
    ///
    /// # Errors
    /// Those of a fenced producer, and CONCURRENT_TRANSACTIONS.
    pub(super) fn add_to_transaction(
        &mut self,
        now_ms: i64,
        id: &TransactionalId,
        producer: Producer,
        add: impl FnOnce(&mut Transaction),
    ) -> Result<(), KafkaError> {
        let txn = self.transaction(id, producer)?;
        match txn.state {
            TxnState::Prepared(_) => return Err(KafkaError::ConcurrentTransactions),
            TxnState::Ongoing => {}
            TxnState::Empty | TxnState::Complete(_) => {
                txn.state = TxnState::Ongoing;
                txn.started_ms = now_ms;
            }
        }
        add(txn);
        Ok(())
    }

    /// Ends a producer's transaction.
    ///
    /// # Errors
    /// Those of a fenced producer, CONCURRENT_TRANSACTIONS and INVALID_TXN_STATE.
    pub(super) fn finish_transaction(
        &mut self,
        now_ms: i64,
        id: &TransactionalId,
        producer: Producer,
        commit: bool,
    ) -> Result<(), KafkaError> {
        match self.transaction(id, producer)?.state {
            TxnState::Empty => Err(KafkaError::InvalidTxnState),
            TxnState::Prepared(_) => Err(KafkaError::ConcurrentTransactions),
            TxnState::Complete(committed) if committed == commit => Ok(()),
            TxnState::Complete(_) => Err(KafkaError::InvalidTxnState),
            TxnState::Ongoing => {
                self.end_transaction(now_ms, id, commit);
                Ok(())
            }
        }
    }

    fn end_transaction(&mut self, now_ms: i64, id: &TransactionalId, commit: bool) {
        if let Some(txn) = self.transactions.get_mut(id) {
            txn.state = TxnState::Prepared(commit);
        }
        if self.markers != Markers::Held {
            self.write_markers(now_ms, id);
        }
    }

    fn write_markers(&mut self, now_ms: i64, id: &TransactionalId) {
        let Some(txn) = self.transactions.get_mut(id) else { return };
        let TxnState::Prepared(commit) = txn.state else { return };
        txn.state = TxnState::Complete(commit);
        let (producer_id, epoch) = (txn.producer_id, txn.epoch);
        let (partitions, groups) =
            (std::mem::take(&mut txn.partitions), std::mem::take(&mut txn.groups));
        let is_written = self.markers != Markers::Forgotten;
        for (topic, index) in partitions {
            let found = self.topics.named_mut(&topic).and_then(|topic| topic.partition_mut(index));
            let Some(partition) = found else { continue };
            let leader_epoch = partition.leader_epoch;
            if let Some(log) = partition.log_mut().filter(|_| is_written) {
                log.append_marker(producer_id, epoch, commit, leader_epoch, now_ms);
            }
            let waiters = std::mem::take(&mut partition.waiters);
            self.woken.extend(waiters);
        }
        for group in groups {
            self.with_group(&group, |group| group.end_transaction(producer_id, commit));
        }
        self.count_bytes();
    }

    /// Aborts transactions that were open for too long; their producers are fenced.
    pub(super) fn expire_transactions(&mut self, now_ms: i64) {
        let expired: Vec<TransactionalId> = self
            .transactions
            .iter()
            .filter(|(_, txn)| {
                txn.state == TxnState::Ongoing && now_ms - txn.started_ms >= txn.timeout_ms
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in expired {
            let fresh = self.fresh_producer_id();
            if let Some(txn) = self.transactions.get_mut(&id) {
                txn.bump(|| fresh);
            }
            self.end_transaction(now_ms, &id, false);
        }
    }

    /// What becomes of markers from now on; those that were held back are among them.
    pub fn set_markers(&mut self, now_ms: i64, markers: Markers) {
        self.markers = markers;
        if markers != Markers::Held {
            let ids: Vec<TransactionalId> = self.transactions.keys().cloned().collect();
            for id in ids {
                self.write_markers(now_ms, &id);
            }
        }
    }

    /// Whether a transactional batch may be appended (`AddPartitionsToTxnManager`, since 3.6).
    ///
    /// # Errors
    /// INVALID_PRODUCER_ID_MAPPING, INVALID_PRODUCER_EPOCH or INVALID_TXN_STATE.
    pub(super) fn verify_transactional(
        &self,
        id: Option<&TransactionalId>,
        producer: Producer,
        partition: &(TopicName, i32),
    ) -> Result<(), KafkaError> {
        if self.options.profile < super::versions::Profile::V3_9 {
            return Ok(());
        }
        let known = id.and_then(|id| self.transactions.get(id));
        let txn = known.ok_or(KafkaError::InvalidProducerIdMapping)?;
        if txn.producer_id != producer.id {
            return Err(KafkaError::InvalidProducerIdMapping);
        }
        if producer.epoch != txn.epoch {
            return Err(KafkaError::InvalidProducerEpoch);
        }
        match txn.state == TxnState::Ongoing && txn.partitions.contains(partition) {
            true => Ok(()),
            false => Err(KafkaError::InvalidTxnState),
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::fetch_request::FetchRequest;
    use kafka_protocol::messages::{ApiKey, ProduceRequest, RequestKind, ResponseKind};
    use kafka_protocol::protocol::StrBytes;

    use super::super::log::Isolation;
    use super::super::testing::{Batch, NOW, ask, cluster, fetch, fetch_request, produce_request};
    use super::super::topics::topic_name;
    use super::*;

    fn id() -> TransactionalId {
        TransactionalId(StrBytes::from_static_str("T"))
    }

    fn produce(broker: &mut Broker, batch: &Batch) -> i16 {
        let request: ProduceRequest = produce_request(0, batch.bytes());
        let request = RequestKind::Produce(request.with_transactional_id(Some(id())));
        let ResponseKind::Produce(answer) = ask(broker, 0, ApiKey::Produce, 9, request) else {
            panic!("not a produce answer");
        };
        answer.responses[0].partition_responses[0].error_code
    }

    fn begin(broker: &mut Broker) -> Producer {
        let producer = broker.init_transactional(NOW, &id(), 1000, None).expect("granted");
        add(broker, producer).expect("added");
        producer
    }

    fn add(broker: &mut Broker, producer: Producer) -> Result<(), KafkaError> {
        let partition = (topic_name("t"), 0);
        broker.add_to_transaction(NOW, &id(), producer, |txn| {
            txn.partitions.insert(partition);
        })
    }

    fn batch(producer: Producer, sequence: i32) -> Batch {
        Batch::transactional(2, producer.id, producer.epoch, sequence)
    }

    fn committed(offset: i64) -> FetchRequest {
        fetch_request(0, offset, 1 << 20).with_isolation_level(1)
    }

    fn stable(broker: &Broker) -> i64 {
        broker.partition("t", 0).expect("there").visible_end(Isolation::ReadCommitted)
    }

    #[test]
    fn an_open_transaction_holds_the_stable_offset_and_an_abort_is_listed() {
        let mut broker = cluster(1);
        let producer = begin(&mut broker);
        assert_eq!(produce(&mut broker, &batch(producer, 0)), 0);
        assert_eq!(stable(&broker), 0);
        let reply = fetch(&mut broker, committed(0));
        assert!(reply.topics[0].partitions[0].pieces.is_empty());
        broker.finish_transaction(NOW, &id(), producer, false).expect("aborted");
        assert_eq!(stable(&broker), 3);
        let reply = fetch(&mut broker, committed(0));
        assert_eq!(reply.topics[0].partitions[0].aborted, Some(vec![(producer.id, 0)]));
        let plain = fetch(&mut broker, fetch_request(0, 0, 1 << 20));
        assert_eq!(plain.topics[0].partitions[0].aborted, None);
        add(&mut broker, producer).expect("the next one");
        assert_eq!(produce(&mut broker, &batch(producer, 2)), 0);
        broker.finish_transaction(NOW, &id(), producer, true).expect("committed");
        let reply = fetch(&mut broker, committed(3));
        assert_eq!(reply.topics[0].partitions[0].aborted, Some(Vec::new()));
    }

    #[test]
    fn the_marker_ends_the_abort_for_a_reader() {
        use protocol_client::batch::{AbortedTransaction, Entry, TxnFilter, Verdict};
        let mut broker = cluster(1);
        let producer = begin(&mut broker);
        produce(&mut broker, &batch(producer, 0));
        broker.finish_transaction(NOW, &id(), producer, false).expect("aborted");
        add(&mut broker, producer).expect("the next one");
        produce(&mut broker, &batch(producer, 2));
        broker.finish_transaction(NOW, &id(), producer, true).expect("committed");
        let aborted = AbortedTransaction { producer_id: producer.id, first_offset: 0 };
        let mut filter = TxnFilter::new(vec![aborted]);
        let entries = broker.read_batches("t", 0).into_iter().map(Entry::new);
        let judged = entries.map(|entry| {
            let entry = entry.expect("a whole batch");
            (entry.is_control(), filter.judge(&entry).expect("readable"))
        });
        let (data, marker) = ((false, Verdict::Keep), (true, Verdict::Keep));
        let expected = [(false, Verdict::Aborted), marker, data, marker];
        assert_eq!(judged.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn without_a_transaction_a_transactional_batch_is_refused() {
        let mut broker = cluster(1);
        let producer = broker.init_transactional(NOW, &id(), 1000, None).expect("granted");
        let refused = produce(&mut broker, &batch(producer, 0));
        assert_eq!(refused, KafkaError::InvalidTxnState.code());
        let stranger = Producer { id: 1, epoch: 0 };
        let refused = produce(&mut broker, &batch(stranger, 0));
        assert_eq!(refused, KafkaError::InvalidProducerIdMapping.code());
    }

    #[test]
    fn a_plain_batch_of_an_open_producer_is_refused() {
        let mut broker = cluster(1);
        let producer = begin(&mut broker);
        produce(&mut broker, &batch(producer, 0));
        let plain = Batch::from_producer(1, producer.id, producer.epoch, 2);
        assert_eq!(produce(&mut broker, &plain), KafkaError::InvalidTxnState.code());
    }

    #[test]
    fn the_next_instance_fences_the_last() {
        let mut broker = cluster(1);
        let old = begin(&mut broker);
        produce(&mut broker, &batch(old, 0));
        let again = broker.init_transactional(NOW, &id(), 1000, None);
        assert_eq!(again, Err(KafkaError::ConcurrentTransactions));
        let new = broker.init_transactional(NOW, &id(), 1000, None).expect("granted");
        assert_eq!((new.id, new.epoch), (old.id, old.epoch + 2));
        assert_eq!(stable(&broker), 3);
        let ended = broker.finish_transaction(NOW, &id(), old, true);
        assert_eq!(ended, Err(KafkaError::ProducerFenced));
        assert_eq!(produce(&mut broker, &batch(old, 2)), KafkaError::InvalidProducerEpoch.code());
        add(&mut broker, new).expect("added");
        let wrong = KafkaError::OutOfOrderSequenceNumber.code();
        assert_eq!(produce(&mut broker, &batch(new, 2)), wrong);
        assert_eq!(produce(&mut broker, &batch(new, 0)), 0);
    }

    #[test]
    fn with_the_epoch_given_it_is_a_compare_and_swap() {
        let mut broker = cluster(1);
        let first = broker.init_transactional(NOW, &id(), 1000, None).expect("granted");
        let second = broker.init_transactional(NOW, &id(), 1000, Some(first)).expect("swapped");
        assert_eq!(second.epoch, 1);
        let retried = broker.init_transactional(NOW, &id(), 1000, Some(first)).expect("again");
        assert_eq!(retried, second);
        let wrong = Producer { epoch: 7, ..second };
        let refused = broker.init_transactional(NOW, &id(), 1000, Some(wrong));
        assert_eq!(refused, Err(KafkaError::ProducerFenced));
        let timeout = broker.init_transactional(NOW, &id(), 900_001, None);
        assert_eq!(timeout, Err(KafkaError::InvalidTransactionTimeout));
    }

    #[test]
    fn the_last_epoch_is_followed_by_another_id() {
        let mut broker = cluster(1);
        let first = broker.init_transactional(NOW, &id(), 1000, None).expect("granted");
        broker.transactions.get_mut(&id()).expect("known").epoch = LAST_EPOCH;
        let next = broker.init_transactional(NOW, &id(), 1000, None).expect("granted");
        assert!(next.id != first.id && next.epoch == 0);
    }

    #[test]
    fn held_markers_keep_everything_waiting() {
        let mut broker = cluster(1);
        let producer = begin(&mut broker);
        produce(&mut broker, &batch(producer, 0));
        broker.set_markers(NOW, Markers::Held);
        broker.finish_transaction(NOW, &id(), producer, true).expect("prepared");
        assert_eq!(stable(&broker), 0);
        assert_eq!(add(&mut broker, producer), Err(KafkaError::ConcurrentTransactions));
        broker.set_markers(NOW, Markers::Written);
        assert_eq!(stable(&broker), 3);
        assert_eq!(broker.finish_transaction(NOW, &id(), producer, true), Ok(()));
        let other = broker.finish_transaction(NOW, &id(), producer, false);
        assert_eq!(other, Err(KafkaError::InvalidTxnState));
    }

    #[test]
    fn forgotten_markers_leave_open_what_has_ended() {
        let mut broker = cluster(1);
        let producer = begin(&mut broker);
        produce(&mut broker, &batch(producer, 0));
        broker.set_markers(NOW, Markers::Forgotten);
        broker.finish_transaction(NOW, &id(), producer, true).expect("ended");
        assert_eq!(stable(&broker), 0);
        broker.set_markers(NOW, Markers::Written);
        add(&mut broker, producer).expect("nothing is going on");
        broker.finish_transaction(NOW, &id(), producer, true).expect("ended");
        assert_eq!(stable(&broker), 3, "the next marker ends both");
    }

    #[test]
    fn time_aborts_and_fences() {
        let mut broker = cluster(1);
        let producer = begin(&mut broker);
        produce(&mut broker, &batch(producer, 0));
        broker.tick(NOW + 999);
        assert_eq!(stable(&broker), 0);
        broker.tick(NOW + 1000);
        assert_eq!(stable(&broker), 3);
        let late = broker.finish_transaction(NOW, &id(), producer, true);
        assert_eq!(late, Err(KafkaError::ProducerFenced));
    }
}
