//! Produce (0), versions 3-13: topics by name up to 12, by id in 13.
//!
//! Checks and their order are Kafka's (see `core::batch`). The same partition twice: the last entry wins, as in
//! `KafkaApis#handleProduceRequest`. Without acknowledgement an error closes the connection.
//! Left out: `compression.type` does not recompress; transactions of version 2 (KIP-890 part 2).

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    BrokerId, ProduceRequest, ProduceResponse, ResponseKind, TopicName, TransactionalId,
};
use protocol_client::batch::Compression;
use uuid::Uuid;

use super::super::batch::{self, BatchFields, Refusal};
use super::super::log::Appended;
use super::super::topics::Store;
use super::super::transactions::Producer;
use super::super::{Broker, Call, Outcome};
use super::text;

pub(in crate::core) fn handle(
    broker: &mut Broker,
    now_ms: i64,
    call: &Call,
    request: ProduceRequest,
) -> Outcome {
    let acks = request.acks;
    let whole = whole_request_error(&request);
    let mut last = BTreeMap::new();
    for (at, topic) in request.topic_data.iter().enumerate() {
        for (nth, data) in topic.partition_data.iter().enumerate() {
            last.insert((topic.name.clone(), topic.topic_id, data.index), (at, nth));
        }
    }
    let mut response = ProduceResponse::default();
    let txn = request.transactional_id;
    for (at, topic) in request.topic_data.into_iter().enumerate() {
        let mut answers = Vec::with_capacity(topic.partition_data.len());
        for (nth, data) in topic.partition_data.into_iter().enumerate() {
            if last.get(&(topic.name.clone(), topic.topic_id, data.index)) != Some(&(at, nth)) {
                continue;
            }
            let name = resolve(broker, call, &topic.name, topic.topic_id);
            let index = data.index;
            let result = match (whole, &name) {
                (Some(error), _) => refused(error),
                (None, Err(error)) => refused(*error),
                (None, Ok(name)) => append(broker, now_ms, call, (acks, txn.as_ref()), name, data),
            };
            let answer = answer(broker, name.ok(), index, result, &mut response.node_endpoints);
            answers.push(answer);
        }
        let topic = TopicProduceResponse::default()
            .with_name(topic.name)
            .with_topic_id(topic.topic_id)
            .with_partition_responses(answers);
        response.responses.push(topic);
    }
    if acks == 0 {
        let mut answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        return match answers.any(|answer| answer.error_code != 0) {
            true => Outcome::Close,
            false => Outcome::NoReply,
        };
    }
    Outcome::message(ResponseKind::Produce(response))
}

pub(in crate::core) fn touched(broker: &Broker, request: &ProduceRequest) -> Vec<(TopicName, i32)> {
    let partitions = request.topic_data.iter().flat_map(|topic| {
        let name = broker.topics.name_of(topic.topic_id).unwrap_or(&topic.name);
        topic.partition_data.iter().map(|data| (name.clone(), data.index))
    });
    partitions.collect()
}

/// Errors that hit every partition of the request.
fn whole_request_error(request: &ProduceRequest) -> Option<KafkaError> {
    if !(-1..=1).contains(&request.acks) {
        return Some(KafkaError::InvalidRequiredAcks);
    }
    let records = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let mut batches = records.filter_map(|data| batch::single_batch(data.records.as_ref()?).ok());
    let transactional = batches.any(|batch| BatchFields::read(&batch).is_transactional());
    (transactional && request.transactional_id.is_none())
        .then_some(KafkaError::TransactionalIdAuthorizationFailed)
}

fn resolve(
    broker: &Broker,
    call: &Call,
    name: &TopicName,
    id: Uuid,
) -> Result<TopicName, KafkaError> {
    if call.version < 13 {
        return Ok(name.clone());
    }
    broker.topics.name_of(id).cloned().ok_or(KafkaError::UnknownTopicId)
}

fn refused<T>(error: KafkaError) -> Result<T, Refusal> {
    Err(Refusal { error, what: "" })
}

fn append(
    broker: &mut Broker,
    now_ms: i64,
    call: &Call,
    (acks, txn): (i16, Option<&TransactionalId>),
    topic: &TopicName,
    data: PartitionProduceData,
) -> Result<Appended, Refusal> {
    let records = data.records.unwrap_or_default();
    broker.led(call, topic, data.index).or_else(refused)?;
    verify_transaction(broker, txn, topic, data.index, &records).or_else(refused)?;
    let found = broker.topics.named(topic);
    let Some((rules, partition)) = found.and_then(|t| Some((t.rules, t.partition(data.index)?)))
    else {
        return refused(KafkaError::UnknownTopicOrPartition);
    };
    if acks == -1 && broker.in_sync(partition).len() < rules.min_insync_replicas {
        return refused(KafkaError::NotEnoughReplicas);
    }
    if matches!(partition.store, Store::Null(_)) {
        return discard(broker, call, topic, data.index, &records);
    }
    check_codec(call, &records)?;
    if !broker.make_room(records.len() as u64) {
        return refused(KafkaError::KafkaStorageError);
    }
    let partition = broker.led(call, topic, data.index).or_else(refused)?;
    let epoch = partition.leader_epoch;
    let Some(log) = partition.log_mut() else {
        return refused(KafkaError::UnknownServerError);
    };
    let before = log.len_bytes();
    let appended = log.append(&records, &rules.append, epoch, now_ms);
    // As with followers that have left: appended, and not known to stay.
    let is_short = log.held_high_watermark.is_some_and(|held| held < log.end_offset());
    let grown = log.len_bytes() - before;
    let waiters = std::mem::take(&mut partition.waiters);
    broker.used_bytes += grown;
    broker.wake(waiters);
    match appended {
        Ok(_) if acks == -1 && is_short => refused(KafkaError::NotEnoughReplicasAfterAppend),
        appended => appended,
    }
}

/// A transactional batch needs an open transaction that knows the partition.
fn verify_transaction(
    broker: &Broker,
    txn: Option<&TransactionalId>,
    topic: &TopicName,
    index: i32,
    records: &Bytes,
) -> Result<(), KafkaError> {
    let Ok(batch) = batch::single_batch(records) else { return Ok(()) };
    let fields = BatchFields::read(&batch);
    if !fields.is_transactional() {
        return Ok(());
    }
    let producer = Producer { id: fields.producer_id, epoch: fields.producer_epoch };
    broker.verify_transactional(txn, producer, &(topic.clone(), index))
}

/// zstd needs version 7 of the request.
fn check_codec(call: &Call, records: &Bytes) -> Result<(), Refusal> {
    let zstd = |batch: Bytes| BatchFields::read(&batch).compression() == Some(Compression::Zstd);
    if call.version < 7 && batch::single_batch(records).is_ok_and(zstd) {
        return refused(KafkaError::UnsupportedCompressionType);
    }
    Ok(())
}

/// Acknowledges a batch for a null partition after a look at its header.
fn discard(
    broker: &mut Broker,
    call: &Call,
    topic: &TopicName,
    index: i32,
    records: &Bytes,
) -> Result<Appended, Refusal> {
    let batch = batch::single_batch(records)?;
    let fields = BatchFields::read(&batch);
    batch::check_header(&fields)?;
    let partition = broker.led(call, topic, index).or_else(refused)?;
    match &mut partition.store {
        Store::Null(null) => {
            let base_offset = null.append(fields.record_count);
            Ok(Appended { base_offset, append_time_ms: -1 })
        }
        Store::Log(_) => refused(KafkaError::UnknownServerError),
    }
}

fn answer(
    broker: &Broker,
    topic: Option<TopicName>,
    index: i32,
    result: Result<Appended, Refusal>,
    endpoints: &mut Vec<NodeEndpoint>,
) -> PartitionProduceResponse {
    let answer = PartitionProduceResponse::default().with_index(index);
    let partition = topic
        .and_then(|topic| broker.topics.named(&topic))
        .and_then(|topic| topic.partition(index));
    match (result, partition) {
        (Ok(appended), partition) => answer
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(appended.append_time_ms)
            .with_log_start_offset(partition.map_or(-1, |found| found.start_offset())),
        (Err(refusal), partition) => {
            let message = (!refusal.what.is_empty()).then(|| text(refusal.what));
            let answer = answer
                .with_error_code(refusal.error.code())
                .with_error_message(message)
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(-1);
            match partition {
                Some(found) if refusal.error == KafkaError::NotLeaderOrFollower => {
                    let leader = found.leader.unwrap_or(-1);
                    if let Some(hint) = broker.hint(leader)
                        && endpoints.iter().all(|known| known.node_id.0 != leader)
                    {
                        let endpoint = NodeEndpoint::default().with_node_id(BrokerId(leader));
                        let endpoint = endpoint.with_host(text(&hint.host));
                        endpoints.push(endpoint.with_port(i32::from(hint.port)));
                    }
                    let hint = LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader));
                    answer.with_current_leader(hint.with_leader_epoch(found.leader_epoch))
                }
                _ => answer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::produce_request::TopicProduceData;
    use kafka_protocol::messages::{ApiKey, RequestKind};

    use super::super::super::testing::{
        Batch, NOW, ask, cluster, joined, produce, produce_request,
    };
    use super::super::super::topics::topic_name;
    use super::*;

    fn code(error: KafkaError) -> (i16, i64) {
        (error.code(), -1)
    }

    #[test]
    fn offsets_follow_one_another() {
        let mut broker = cluster(1);
        assert_eq!(produce(&mut broker, Batch::of(3).bytes()), (0, 0));
        assert_eq!(produce(&mut broker, Batch::of(2).bytes()), (0, 3));
        assert_eq!(broker.partition("t", 0).map(|p| p.end_offset()), Some(5));
    }

    #[test]
    fn a_duplicate_gets_its_first_offset_and_a_gap_an_error() {
        let mut broker = cluster(1);
        for nth in 0..6 {
            let batch = Batch::from_producer(2, 7, 0, nth * 2).bytes();
            assert_eq!(produce(&mut broker, batch), (0, i64::from(nth) * 2));
        }
        let second = Batch::from_producer(2, 7, 0, 2).bytes();
        assert_eq!(produce(&mut broker, second), (0, 2));
        let first = Batch::from_producer(2, 7, 0, 0).bytes();
        assert_eq!(produce(&mut broker, first), code(KafkaError::OutOfOrderSequenceNumber));
        let longer = Batch::from_producer(3, 7, 0, 10).bytes();
        assert_eq!(produce(&mut broker, longer), code(KafkaError::OutOfOrderSequenceNumber));
        let gap = Batch::from_producer(1, 7, 0, 13).bytes();
        assert_eq!(produce(&mut broker, gap), code(KafkaError::OutOfOrderSequenceNumber));
        assert_eq!(broker.partition("t", 0).map(|p| p.end_offset()), Some(12));
    }

    #[test]
    fn an_unknown_producer_starts_anywhere_and_sequences_wrap() {
        let mut broker = cluster(1);
        let last = Batch::from_producer(3, 7, 4, i32::MAX - 1).bytes();
        assert_eq!(produce(&mut broker, last), (0, 0));
        let next = Batch::from_producer(1, 7, 4, 1).bytes();
        assert_eq!(produce(&mut broker, next), (0, 3));
    }

    #[test]
    fn epochs_fence() {
        let mut broker = cluster(1);
        assert_eq!(produce(&mut broker, Batch::from_producer(1, 7, 1, 0).bytes()), (0, 0));
        let old = Batch::from_producer(1, 7, 0, 1).bytes();
        assert_eq!(produce(&mut broker, old), code(KafkaError::InvalidProducerEpoch));
        let high = Batch::from_producer(1, 7, 2, 5).bytes();
        assert_eq!(produce(&mut broker, high), code(KafkaError::OutOfOrderSequenceNumber));
        assert_eq!(produce(&mut broker, Batch::from_producer(1, 7, 2, 0).bytes()), (0, 1));
    }

    #[test]
    fn a_restart_with_short_memory_knows_the_last_batch_only() {
        let mut broker = cluster(1);
        for nth in 0..3 {
            produce(&mut broker, Batch::from_producer(1, 7, 0, nth).bytes());
        }
        broker.kill_node(0);
        broker.restart_node(0, true);
        let last = Batch::from_producer(1, 7, 0, 2).bytes();
        assert_eq!(produce(&mut broker, last), (0, 2));
        let earlier = Batch::from_producer(1, 7, 0, 1).bytes();
        assert_eq!(produce(&mut broker, earlier), code(KafkaError::OutOfOrderSequenceNumber));
    }

    #[test]
    fn the_last_entry_of_a_repeated_partition_wins() {
        let mut broker = cluster(1);
        let mut request = produce_request(0, Batch::of(1).bytes());
        let again = produce_request(0, Batch::of(4).bytes());
        request.topic_data.extend(again.topic_data);
        let request = RequestKind::Produce(request);
        ask(&mut broker, 0, ApiKey::Produce, 9, request);
        assert_eq!(broker.partition("t", 0).map(|p| p.end_offset()), Some(4));
    }

    #[test]
    fn errors_of_the_whole_request() {
        let mut broker = cluster(1);
        let transactional = Batch::transactional(1, 7, 0, 0).bytes();
        let denied = code(KafkaError::TransactionalIdAuthorizationFailed);
        assert_eq!(produce(&mut broker, transactional), denied);
        let acks = produce_request(0, Batch::of(1).bytes()).with_acks(2);
        let answer = ask(&mut broker, 0, ApiKey::Produce, 9, RequestKind::Produce(acks));
        let ResponseKind::Produce(answer) = answer else { panic!("not a produce answer") };
        let error = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(error, KafkaError::InvalidRequiredAcks.code());
    }

    #[test]
    fn without_acknowledgement_an_error_closes() {
        let mut broker = cluster(1);
        let call = Call::new(0, 1, ApiKey::Produce, 9);
        let good = produce_request(0, Batch::of(1).bytes()).with_acks(0);
        let outcome = broker.handle(NOW, call.clone(), RequestKind::Produce(good));
        assert!(matches!(outcome, Outcome::NoReply));
        let bad = produce_request(5, Batch::of(1).bytes()).with_acks(0);
        let outcome = broker.handle(NOW, call, RequestKind::Produce(bad));
        assert!(matches!(outcome, Outcome::Close));
    }

    #[test]
    fn other_nodes_name_the_leader() {
        let mut broker = cluster(2);
        let request = RequestKind::Produce(produce_request(1, Batch::of(1).bytes()));
        let answer = ask(&mut broker, 0, ApiKey::Produce, 12, request);
        let ResponseKind::Produce(answer) = answer else { panic!("not a produce answer") };
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, KafkaError::NotLeaderOrFollower.code());
        assert_eq!(partition.current_leader.leader_id.0, 1);
        assert_eq!(answer.node_endpoints[0].node_id.0, 1);
    }

    #[test]
    fn version_13_names_topics_by_id() {
        let mut broker = cluster(1);
        let id = broker.topic("t").expect("there").id;
        for (id, error) in [(id, 0), (Uuid::from_u128(1), KafkaError::UnknownTopicId.code())] {
            let data = produce_request(0, Batch::of(1).bytes()).topic_data.remove(0);
            let topic = TopicProduceData::default()
                .with_topic_id(id)
                .with_partition_data(data.partition_data);
            let request = ProduceRequest::default().with_acks(1).with_topic_data(vec![topic]);
            let request = RequestKind::Produce(request);
            let answer = ask(&mut broker, 0, ApiKey::Produce, 13, request);
            let ResponseKind::Produce(answer) = answer else { panic!("not a produce answer") };
            assert_eq!(answer.responses[0].partition_responses[0].error_code, error);
        }
    }

    #[test]
    fn the_memory_limit_drops_the_oldest_or_refuses() {
        let batch = Batch { records: vec![(None, vec![7; 900])], ..Batch::of(0) }.bytes();
        for (on_full, expected) in [
            (crate::OnFull::DropOldest, 0),
            (crate::OnFull::Refuse, KafkaError::KafkaStorageError.code()),
        ] {
            let options = crate::BrokerOptions {
                memory_limit_bytes: 10_000,
                on_full,
                ..crate::BrokerOptions::default()
            };
            let mut broker = Broker::new(options);
            broker.create_topic(super::super::super::TopicSpec::new("t", 1)).expect("new");
            let errors: Vec<i16> = (0..20).map(|_| produce(&mut broker, batch.clone()).0).collect();
            assert_eq!(errors.last(), Some(&expected));
            assert!(broker.used_bytes() <= 10_000);
            assert_eq!(broker.dropped_bytes() > 0, on_full == crate::OnFull::DropOldest);
        }
    }

    #[test]
    fn a_null_topic_counts_and_discards() {
        let mut broker = cluster(1);
        let served = joined(&[Batch::of(3).bytes(), Batch::of(2).bytes()]);
        assert!(broker.make_null("t", Some((&Bytes::from(served), 1_000_000))));
        assert_eq!(produce(&mut broker, Batch::of(3).bytes()), (0, 0));
        assert_eq!(produce(&mut broker, Batch::of(3).bytes()), (0, 3));
        assert_eq!(broker.used_bytes(), 0);
        let partition = broker.partition("t", 0).expect("there");
        let isolation = super::super::super::log::Isolation::ReadUncommitted;
        let (pieces, bytes) = partition.read(999_999, isolation, 1 << 20, true);
        let header = BatchFields::read(&joined(&pieces));
        assert_eq!((header.base_offset, header.record_count), (999_998, 2));
        assert_eq!(bytes, joined(&pieces).len());
        assert_eq!(topic_name("t").as_str(), "t");
    }
}
