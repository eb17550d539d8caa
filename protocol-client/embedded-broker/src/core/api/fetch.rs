//! Fetch (1), versions 4-18: topics by name up to 12, by id from 13; sessions from 7.
//!
//! A follower serves from version 11 on, with the leader's high watermark. The end of the blob may cut a batch.
//! Left out: throttling, preferred replicas, several segments (a log is one segment here).

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest};
use uuid::Uuid;

use super::super::call::{FetchPartitionReply, FetchReply, FetchTopicReply};
use super::super::log::Isolation;
use super::super::sessions::{FetchKey, Session, TopicRef, Wanted};
use super::super::topics::Partition;
use super::super::{Broker, Call, Outcome, Parked, Response};

/// A fetch whose session is settled: it may be evaluated again and again until there is enough.
#[derive(Debug)]
pub(in crate::core) struct FetchPlan {
    source: PlanSource,
    isolation: Isolation,
    min_bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
enum PlanSource {
    /// The request's own partitions, all of them answered.
    Once(Session),
    /// The partitions of a session; all of them answered when it is new.
    Session { id: i32, new: bool },
}

pub(in crate::core) fn handle(
    broker: &mut Broker,
    now_ms: i64,
    call: Call,
    request: FetchRequest,
) -> Outcome {
    let positive = |value: i32| usize::try_from(value).unwrap_or(0);
    let until_ms = now_ms + i64::from(request.max_wait_ms.max(0));
    let (isolation, min_bytes) = (request.isolation_level, positive(request.min_bytes));
    let max_bytes = positive(request.max_bytes).min(broker.options.fetch_max_bytes);
    match begin(broker, now_ms, &call, request) {
        Err(error) => {
            let reply = FetchReply { error_code: error.code(), ..FetchReply::default() };
            Outcome::Reply(Response::Fetch(reply))
        }
        Ok(source) => {
            let isolation = Isolation::from_code(isolation);
            let plan = FetchPlan { source, isolation, min_bytes, max_bytes };
            evaluate(broker, now_ms, call, plan, until_ms)
        }
    }
}

pub(in crate::core) fn touched(
    broker: &Broker,
    call: &Call,
    request: &FetchRequest,
) -> Vec<(TopicName, i32)> {
    let session = broker.nodes.get(&call.node).and_then(|n| n.sessions.get(request.session_id));
    let kept = session.into_iter().flat_map(Session::keys).cloned();
    let named = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|asked| FetchKey {
            topic: topic_ref(call, &topic.topic, topic.topic_id),
            partition: asked.partition,
        })
    });
    kept.chain(named)
        .filter_map(|key| Some((resolve(broker, &key.topic)?, key.partition)))
        .collect()
}

fn topic_ref(call: &Call, name: &TopicName, id: Uuid) -> TopicRef {
    if call.version < 13 { TopicRef::Name(name.clone()) } else { TopicRef::Id(id) }
}

fn resolve(broker: &Broker, topic: &TopicRef) -> Option<TopicName> {
    match topic {
        TopicRef::Name(name) => Some(name.clone()),
        TopicRef::Id(id) => broker.topics.name_of(*id).cloned(),
    }
}

/// Settles the session: none, a new one, or the next step of one.
fn begin(
    broker: &mut Broker,
    now_ms: i64,
    call: &Call,
    request: FetchRequest,
) -> Result<PlanSource, KafkaError> {
    if call.injected.as_ref().is_some_and(|injected| is_session_error(injected.error)) {
        call.injected_any()?;
    }
    let by_id = call.version >= 13;
    let (id, epoch) = (request.session_id, request.session_epoch);
    let new_id = broker.ids.next_session_id();
    let node = broker.nodes.get_mut(&call.node).ok_or(KafkaError::UnknownServerError)?;
    if epoch > 0 && call.version >= 7 {
        let session = node.sessions.step(id, epoch, by_id, now_ms)?;
        for topic in &request.forgotten_topics_data {
            for &partition in &topic.partitions {
                let topic = topic_ref(call, &topic.topic, topic.topic_id);
                session.forget(&FetchKey { topic, partition });
            }
        }
        add_wanted(session, call, request);
        return Ok(PlanSource::Session { id, new: false });
    }
    let mut session = Session::default();
    let (wants_session, old) = (epoch == 0 && call.version >= 7, id);
    add_wanted(&mut session, call, request);
    if old != 0 {
        node.sessions.close(old);
    }
    if wants_session && !session.is_empty() {
        let kept = node.sessions.keep(new_id, session.clone(), by_id, now_ms);
        if kept {
            return Ok(PlanSource::Session { id: new_id, new: true });
        }
    }
    Ok(PlanSource::Once(session))
}

fn is_session_error(error: KafkaError) -> bool {
    matches!(
        error,
        KafkaError::FetchSessionIdNotFound
            | KafkaError::InvalidFetchSessionEpoch
            | KafkaError::FetchSessionTopicIdError
    )
}

fn add_wanted(session: &mut Session, call: &Call, request: FetchRequest) {
    for topic in request.topics {
        for asked in &topic.partitions {
            let key = FetchKey {
                topic: topic_ref(call, &topic.topic, topic.topic_id),
                partition: asked.partition,
            };
            session.want(key, wanted(asked));
        }
    }
}

fn wanted(asked: &FetchPartition) -> Wanted {
    Wanted {
        offset: asked.fetch_offset,
        leader_epoch: asked.current_leader_epoch,
        last_fetched_epoch: asked.last_fetched_epoch,
        max_bytes: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
    }
}

/// Answers when there is enough, an error, or no time left; parks otherwise.
pub(in crate::core) fn evaluate(
    broker: &mut Broker,
    now_ms: i64,
    call: Call,
    plan: FetchPlan,
    until_ms: i64,
) -> Outcome {
    let (mut session, session_id, all) = match &plan.source {
        PlanSource::Once(session) => (session.clone(), 0, true),
        PlanSource::Session { id, new } => {
            let node = broker.nodes.get_mut(&call.node);
            match node.and_then(|node| node.sessions.get_mut(*id)) {
                Some(session) => (std::mem::take(session), *id, *new),
                None => {
                    let error_code = KafkaError::FetchSessionIdNotFound.code();
                    let reply = FetchReply { error_code, ..FetchReply::default() };
                    return Outcome::Reply(Response::Fetch(reply));
                }
            }
        }
    };
    let gathered = gather(broker, &call, &plan, &session, all);
    let wait = gathered.bytes < plan.min_bytes && !gathered.urgent && now_ms < until_ms;
    let wait = wait && !call.never_wait;
    if wait {
        for key in session.keys() {
            if let Some(partition) = partition_mut(broker, key) {
                partition.waiters.insert(call.connection);
            }
        }
    } else {
        for (key, reply) in &gathered.replies {
            let told = (reply.high_watermark, reply.log_start_offset);
            session.told(key, told.0, told.1, !reply.pieces.is_empty());
        }
    }
    if let PlanSource::Session { id, .. } = plan.source
        && let Some(node) = broker.nodes.get_mut(&call.node)
        && let Some(kept) = node.sessions.get_mut(id)
    {
        *kept = session;
    }
    if wait {
        broker.parked.insert(call.connection, Parked::Fetch { call, plan, until_ms });
        return Outcome::Park { until_ms };
    }
    Outcome::Reply(Response::Fetch(reply(broker, gathered.replies, session_id)))
}

fn partition_mut<'a>(broker: &'a mut Broker, key: &FetchKey) -> Option<&'a mut Partition> {
    let name = resolve(broker, &key.topic)?;
    broker.topics.named_mut(&name)?.partition_mut(key.partition)
}

/// What a look at all partitions gave.
#[derive(Default)]
struct Gathered {
    replies: Vec<(FetchKey, FetchPartitionReply)>,
    bytes: usize,
    /// An error or a divergence, which is answered at once.
    urgent: bool,
}

fn gather(
    broker: &Broker,
    call: &Call,
    plan: &FetchPlan,
    session: &Session,
    all: bool,
) -> Gathered {
    let mut gathered = Gathered::default();
    for key in session.keys() {
        let Some(cached) = session.cached(key) else { continue };
        let room = plan.max_bytes.saturating_sub(gathered.bytes);
        let limits = Limits {
            isolation: plan.isolation,
            max_bytes: room.min(cached.wanted.max_bytes),
            whole_first: gathered.bytes == 0,
        };
        let (reply, bytes) = read(broker, call, key, &cached.wanted, &limits);
        gathered.bytes += bytes;
        gathered.urgent |= reply.error_code != 0 || reply.diverging.is_some();
        let news = bytes > 0
            || reply.error_code != 0
            || reply.diverging.is_some()
            || reply.high_watermark != cached.high_watermark
            || reply.log_start_offset != cached.log_start_offset;
        if all || news {
            gathered.replies.push((key.clone(), reply));
        }
    }
    gathered
}

struct Limits {
    isolation: Isolation,
    max_bytes: usize,
    whole_first: bool,
}

fn read(
    broker: &Broker,
    call: &Call,
    key: &FetchKey,
    wanted: &Wanted,
    limits: &Limits,
) -> (FetchPartitionReply, usize) {
    let mut reply = FetchPartitionReply { index: key.partition, ..FetchPartitionReply::default() };
    let partition = match served(broker, call, key, wanted) {
        Ok(partition) => partition,
        Err((error, leader)) => {
            reply.error_code = error.code();
            reply.current_leader = leader;
            (reply.high_watermark, reply.last_stable_offset) = (-1, -1);
            reply.log_start_offset = -1;
            return (reply, 0);
        }
    };
    reply.high_watermark = partition.visible_end(Isolation::ReadUncommitted);
    reply.last_stable_offset = partition.visible_end(Isolation::ReadCommitted);
    reply.log_start_offset = partition.start_offset();
    if wanted.last_fetched_epoch >= 0
        && let Some(log) = partition.log()
    {
        let (epoch, end) = log.end_of_epoch(wanted.last_fetched_epoch);
        if epoch < wanted.last_fetched_epoch || end < wanted.offset {
            reply.diverging = Some((epoch, end));
            return (reply, 0);
        }
    }
    let (pieces, bytes) =
        partition.read(wanted.offset, limits.isolation, limits.max_bytes, limits.whole_first);
    if limits.isolation == Isolation::ReadCommitted {
        let end = reply.last_stable_offset;
        let aborted = partition.log().map(|log| {
            let overlapping = log.producers.aborted_between(wanted.offset, end);
            overlapping.map(|txn| (txn.producer_id, txn.first_offset)).collect()
        });
        reply.aborted = Some(if bytes > 0 { aborted.unwrap_or_default() } else { Vec::new() });
    }
    reply.pieces = pieces;
    (reply, bytes)
}

type Leader = Option<(i32, i32)>;

/// The partition, if this node may serve this fetch of it.
fn served<'a>(
    broker: &'a Broker,
    call: &Call,
    key: &FetchKey,
    wanted: &Wanted,
) -> Result<&'a Partition, (KafkaError, Leader)> {
    let plain = |error| (error, None);
    let name = resolve(broker, &key.topic).ok_or_else(|| plain(KafkaError::UnknownTopicId))?;
    let topic = broker.topics.named(&name);
    let partition = topic
        .and_then(|topic| topic.partition(key.partition))
        .ok_or_else(|| plain(KafkaError::UnknownTopicOrPartition))?;
    let leader = Some((partition.leader.unwrap_or(-1), partition.leader_epoch));
    let moved = |error: KafkaError| {
        let hint = matches!(error, KafkaError::NotLeaderOrFollower | KafkaError::FencedLeaderEpoch);
        (error, if hint { leader } else { None })
    };
    call.injected_for(&name, key.partition).map_err(moved)?;
    let follower = call.version >= 11 && partition.replicas.contains(&call.node);
    if partition.leader.is_none() {
        return Err(plain(KafkaError::LeaderNotAvailable));
    }
    if partition.leader != Some(call.node) && !follower {
        return Err(moved(KafkaError::NotLeaderOrFollower));
    }
    partition.check_epoch(wanted.leader_epoch).map_err(moved)?;
    let lost = wanted.last_fetched_epoch >= 0
        && partition.log().is_some_and(|log| log.end_of_epoch(wanted.last_fetched_epoch).0 < 0);
    let readable = partition.start_offset()..=partition.end_offset();
    let diverged = wanted.last_fetched_epoch >= 0 && wanted.offset > *readable.end();
    if lost || (!readable.contains(&wanted.offset) && !diverged) {
        return Err(plain(KafkaError::OffsetOutOfRange));
    }
    Ok(partition)
}

/// Puts neighbours of one topic together and names the leaders' addresses.
fn reply(
    broker: &Broker,
    replies: Vec<(FetchKey, FetchPartitionReply)>,
    session_id: i32,
) -> FetchReply {
    let mut whole = FetchReply { session_id, ..FetchReply::default() };
    let mut current: Option<TopicRef> = None;
    for (key, reply) in replies {
        if let Some((leader, _)) = reply.current_leader
            && whole.endpoints.iter().all(|known| known.node != leader)
        {
            whole.endpoints.extend(broker.hint(leader));
        }
        if current.as_ref() != Some(&key.topic) {
            let (name, id) = match &key.topic {
                TopicRef::Name(name) => (name.clone(), Uuid::nil()),
                TopicRef::Id(id) => (TopicName::default(), *id),
            };
            whole.topics.push(FetchTopicReply { name, id, partitions: Vec::new() });
            current = Some(key.topic);
        }
        if let Some(topic) = whole.topics.last_mut() {
            topic.partitions.push(reply);
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::fetch_request::{FetchTopic, ForgottenTopic};
    use kafka_protocol::messages::{ApiKey, RequestKind};

    use super::super::super::batch::BatchFields;
    use super::super::super::testing::{
        Batch, NOW, cluster, fetch, fetch_request, joined, produce, produce_request,
    };
    use super::super::super::topics::topic_name;
    use super::*;

    fn partition(reply: &FetchReply) -> &FetchPartitionReply {
        &reply.topics[0].partitions[0]
    }

    #[test]
    fn the_batch_around_the_offset_comes_whole_and_the_last_is_cut() {
        let mut broker = cluster(1);
        for _ in 0..3 {
            produce(&mut broker, Batch::of(10).bytes());
        }
        let one = Batch::of(10).bytes().len();
        let reply = fetch(&mut broker, fetch_request(0, 15, 1));
        let blob = joined(&partition(&reply).pieces);
        assert_eq!((BatchFields::read(&blob).base_offset, blob.len()), (10, one));
        let reply = fetch(&mut broker, fetch_request(0, 0, one as i32 + 20));
        assert_eq!(joined(&partition(&reply).pieces).len(), one + 20);
    }

    #[test]
    fn only_the_first_partition_with_data_may_exceed_the_limit() {
        let mut broker = cluster(1);
        broker.create_topic(super::super::super::TopicSpec::new("u", 1)).expect("new");
        produce(&mut broker, Batch::of(10).bytes());
        let batch = Batch::of(10).bytes();
        broker.append_prepared("u", 0, &batch, false);
        let mut request = fetch_request(0, 0, 1 << 20).with_max_bytes(10);
        let second = request.topics[0].clone().with_topic(topic_name("u"));
        request.topics.push(second);
        let reply = fetch(&mut broker, request);
        assert_eq!(joined(&reply.topics[0].partitions[0].pieces).len(), batch.len());
        assert!(reply.topics[1].partitions[0].pieces.is_empty());
    }

    #[test]
    fn offsets_outside_the_log_are_refused() {
        let mut broker = cluster(1);
        produce(&mut broker, Batch::of(10).bytes());
        broker.delete_records("t", 0, 4).expect("in range");
        let error = KafkaError::OffsetOutOfRange.code();
        for (offset, expected) in [(3, error), (4, 0), (10, 0), (11, error)] {
            let reply = fetch(&mut broker, fetch_request(0, offset, 1 << 20));
            assert_eq!(partition(&reply).error_code, expected, "offset {offset}");
        }
    }

    #[test]
    fn epochs_are_checked_and_divergence_is_told() {
        let mut broker = cluster(1);
        produce(&mut broker, Batch::of(10).bytes());
        produce(&mut broker, Batch::of(10).bytes());
        let asked = |epoch, last| {
            let mut request = fetch_request(0, 20, 1 << 20);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            request.topics[0].partitions[0].last_fetched_epoch = last;
            request
        };
        broker.truncate("t", 0, 10);
        produce(&mut broker, Batch::of(10).bytes());
        let fenced = fetch(&mut broker, asked(0, -1));
        assert_eq!(partition(&fenced).error_code, KafkaError::FencedLeaderEpoch.code());
        assert_eq!(partition(&fenced).current_leader, Some((0, 1)));
        let ahead = fetch(&mut broker, asked(2, -1));
        assert_eq!(partition(&ahead).error_code, KafkaError::UnknownLeaderEpoch.code());
        let diverged = fetch(&mut broker, asked(1, 0));
        assert_eq!(partition(&diverged).diverging, Some((0, 10)));
        assert_eq!(partition(&fetch(&mut broker, asked(1, 1))).diverging, None);
    }

    #[test]
    fn a_session_tells_only_news_and_turns() {
        let mut broker = cluster(1);
        broker.create_topic(super::super::super::TopicSpec::new("u", 1)).expect("new");
        let mut request = fetch_request(0, 0, 1 << 20).with_session_epoch(0);
        request.topics.push(request.topics[0].clone().with_topic(topic_name("u")));
        let full = fetch(&mut broker, request);
        let id = full.session_id;
        assert!(id != 0 && full.topics.len() == 2);
        let step = |epoch| {
            FetchRequest::default()
                .with_max_bytes(i32::MAX)
                .with_session_id(id)
                .with_session_epoch(epoch)
        };
        assert!(fetch(&mut broker, step(1)).topics.is_empty());
        produce(&mut broker, Batch::of(2).bytes());
        broker.append_prepared("u", 0, &Batch::of(2).bytes(), false);
        let news = fetch(&mut broker, step(2).with_max_bytes(1));
        let named = |reply: &FetchReply| {
            reply.topics.iter().map(|t| t.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(named(&news), ["t", "u"]);
        assert!(news.topics[1].partitions[0].pieces.is_empty());
        let turned = fetch(&mut broker, step(3).with_max_bytes(1));
        assert_eq!(named(&turned), ["u"]);
        let forgotten =
            ForgottenTopic::default().with_topic(topic_name("u")).with_partitions(vec![0]);
        let rest = fetch(&mut broker, step(4).with_forgotten_topics_data(vec![forgotten]));
        assert_eq!(named(&rest), ["t"]);
        let wrong = fetch(&mut broker, step(9));
        assert_eq!(wrong.error_code, KafkaError::InvalidFetchSessionEpoch.code());
        broker.kill_node(0);
        broker.restart_node(0, false);
        let gone = fetch(&mut broker, step(5));
        assert_eq!(gone.error_code, KafkaError::FetchSessionIdNotFound.code());
    }

    #[test]
    fn a_fetch_waits_for_enough_and_is_woken() {
        let mut broker = cluster(1);
        let request = fetch_request(0, 0, 1 << 20).with_max_wait_ms(500).with_min_bytes(1);
        let call = Call::new(0, 9, ApiKey::Fetch, 12);
        let outcome = broker.handle(NOW, call, RequestKind::Fetch(request));
        assert!(matches!(outcome, Outcome::Park { until_ms } if until_ms == NOW + 500));
        assert!(broker.take_woken().is_empty());
        produce(&mut broker, Batch::of(1).bytes());
        assert!(broker.take_woken().contains(&9));
        let outcome = broker.resume(NOW + 1, 9);
        let Outcome::Reply(Response::Fetch(reply)) = outcome else { panic!("{outcome:?}") };
        assert!(!partition(&reply).pieces.is_empty());
    }

    #[test]
    fn a_fetch_whose_time_is_over_answers_nothing() {
        let mut broker = cluster(1);
        let request = fetch_request(0, 0, 1 << 20).with_max_wait_ms(5).with_min_bytes(1);
        let call = Call::new(0, 9, ApiKey::Fetch, 12);
        broker.handle(NOW, call, RequestKind::Fetch(request));
        assert!(matches!(broker.resume(NOW + 4, 9), Outcome::Park { .. }));
        assert!(matches!(broker.resume(NOW + 5, 9), Outcome::Reply(_)));
    }

    #[test]
    fn ids_from_version_13_and_unknown_ones_are_refused() {
        let mut broker = cluster(1);
        let id = broker.topic("t").expect("there").id;
        for (id, expected) in [(id, 0), (Uuid::from_u128(5), KafkaError::UnknownTopicId.code())] {
            let partitions = fetch_request(0, 0, 1 << 20).topics.remove(0).partitions;
            let topic = FetchTopic::default().with_topic_id(id).with_partitions(partitions);
            let request = FetchRequest::default().with_session_epoch(-1).with_topics(vec![topic]);
            let call = Call::new(0, 1, ApiKey::Fetch, 17);
            let outcome = broker.handle(NOW, call, RequestKind::Fetch(request));
            let Outcome::Reply(Response::Fetch(reply)) = outcome else { panic!("{outcome:?}") };
            assert_eq!((reply.topics[0].id, partition(&reply).error_code), (id, expected));
        }
    }

    #[test]
    fn a_held_high_watermark_hides_what_is_behind() {
        let mut broker = cluster(1);
        produce(&mut broker, Batch::of(5).bytes());
        produce(&mut broker, Batch::of(5).bytes());
        let log = broker.partition_mut("t", 0).and_then(Partition::log_mut).expect("a log");
        log.held_high_watermark = Some(5);
        let reply = fetch(&mut broker, fetch_request(0, 7, 1 << 20));
        assert_eq!((partition(&reply).error_code, partition(&reply).pieces.len()), (0, 0));
        assert_eq!(partition(&reply).high_watermark, 5);
    }

    #[test]
    fn faults_hit_what_they_are_meant_for() {
        use super::super::super::faults::{Fault, FaultAction};
        let mut broker = cluster(1);
        let error = KafkaError::NotLeaderOrFollower;
        let fault = Fault::new(ApiKey::Produce, FaultAction::Error(error));
        broker.fault(fault.clone().topic("u"));
        assert_eq!(produce(&mut broker, Batch::of(1).bytes()), (0, 0));
        broker.fault(fault.topic("t").times(2));
        assert_eq!(produce(&mut broker, Batch::of(1).bytes()).0, error.code());
        assert_eq!(produce(&mut broker, Batch::of(1).bytes()).0, error.code());
        assert_eq!(produce(&mut broker, Batch::of(1).bytes()), (0, 1));
        assert_eq!(broker.pending_faults(), 1);
        let call = Call::new(0, 3, ApiKey::Produce, 9);
        let request = || RequestKind::Produce(produce_request(0, Batch::of(1).bytes()));
        broker.fault(Fault::new(ApiKey::Produce, FaultAction::ApplyThenDrop));
        assert!(matches!(broker.handle(NOW, call.clone(), request()), Outcome::Close));
        assert_eq!(broker.partition("t", 0).map(Partition::end_offset), Some(3));
        broker.fault(Fault::new(ApiKey::Produce, FaultAction::Delay { ms: 9 }));
        assert!(matches!(broker.handle(NOW, call, request()), Outcome::Park { .. }));
        assert_eq!(broker.partition("t", 0).map(Partition::end_offset), Some(3));
        assert!(matches!(broker.resume(NOW + 9, 3), Outcome::Reply(_)));
        assert_eq!(broker.partition("t", 0).map(Partition::end_offset), Some(4));
    }
}
