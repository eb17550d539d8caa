//! A sequence of operations on a fetch session, against a broker that follows KIP-227: what the
//! broker holds is what was wanted when it was asked, and records are handed out only where the
//! reader still wants them.
#![no_main]

use bytes::Bytes;
use kmirror_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use protocol_client::conn::fetch_session::{FetchLimits, FetchSession, SessionTopic, Want};
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::{
    FetchedPartition, Isolation, RawFetch, RawFetchAnswer, TopicRef,
};
use std::collections::BTreeMap;
use uuid::Uuid;

type Place = (String, i32);

/// The part of a broker that keeps sessions.
#[derive(Default)]
struct Broker {
    session_id: i32,
    next_epoch: i32,
    partitions: BTreeMap<Place, Want>,
}

impl Broker {
    /// Takes a request; grants a new session only if asked to by `grants`.
    fn take(&mut self, request: &RawFetch, grants: bool) -> Result<i32, ErrorCode> {
        if request.session_epoch <= 0 {
            self.partitions.clear();
            self.session_id = if grants { self.session_id + 1 } else { 0 };
            self.next_epoch = 1;
        } else if request.session_id != self.session_id {
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        } else {
            assert_eq!(request.session_epoch, self.next_epoch);
            self.next_epoch += 1;
        }
        for topic in &request.forgotten {
            for index in &topic.partitions {
                let place = (topic.name.to_string(), *index);
                assert!(self.partitions.remove(&place).is_some(), "{place:?} was not held");
            }
        }
        for topic in &request.topics {
            for partition in &topic.partitions {
                let want = Want {
                    offset: partition.offset,
                    leader_epoch: partition.leader_epoch,
                    last_fetched_epoch: partition.last_fetched_epoch,
                    max_bytes: partition.max_bytes,
                };
                self.partitions.insert((topic.name.to_string(), partition.index), want);
            }
        }
        Ok(self.session_id)
    }
}

/// What the reader wants now, by its keys.
#[derive(Default)]
struct Reader {
    wants: BTreeMap<u32, (Place, Want)>,
}

impl Reader {
    fn places(&self) -> BTreeMap<Place, Want> {
        self.wants.values().cloned().collect()
    }

    fn set(&mut self, key: u32, place: Place, want: Want) {
        self.wants.retain(|_, (taken, _)| *taken != place);
        self.wants.insert(key, (place, want));
    }
}

/// Topics 0 and 1 have ids, topic 2 has none.
fn topic(number: u8) -> SessionTopic {
    let id = if number == 2 { Uuid::nil() } else { Uuid::from_u128(u128::from(number) + 1) };
    SessionTopic { name: format!("topic-{number}").into(), id }
}

fn named(name: &str, by_id: bool) -> TopicRef {
    let number = name.bytes().last().unwrap_or(b'0') - b'0';
    if by_id { TopicRef::Id(topic(number).id) } else { TopicRef::Name(topic(number).name) }
}

fn limits() -> FetchLimits {
    FetchLimits {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: Isolation::ReadCommitted,
        rack: String::new(),
    }
}

/// Sends a request, lets the reader change its mind, and takes the answer or a failure.
fn round(
    session: &mut FetchSession,
    broker: &mut Broker,
    reader: &mut Reader,
    ops: &mut Input<'_>,
) {
    let before = reader.places();
    let Some(request) = session.next_request(&limits()) else {
        assert!(before.is_empty());
        return;
    };
    request.validate().expect("no partition twice");
    let by_id = before.keys().all(|(name, _)| name != "topic-2");
    let flags = ops.byte();
    if flags & 0x03 == 0x03 {
        // The connection broke, before or after the broker saw the request.
        if flags & 0x04 != 0 {
            let _ = broker.take(&request, true);
        }
        return session.abort();
    }
    if flags & 0x38 == 0x38 {
        broker.session_id += 1; // evicted
    }
    let taken = broker.take(&request, flags & 0x04 == 0);
    for _ in 0..flags >> 6 {
        change(session, reader, ops);
    }
    let mut answer = RawFetchAnswer::default();
    match taken {
        Err(error) => {
            answer.error = error;
            session.accept(answer).expect_err("refused");
            return;
        }
        Ok(session_id) => answer.session_id = session_id,
    }
    assert_eq!(broker.partitions, before, "the broker reads what was wanted");
    let picked = ops.byte();
    let some = broker.partitions.keys().enumerate();
    let some = some.filter(|(i, _)| picked & (1 << (i % 8)) != 0).map(|(_, place)| place);
    answer.partitions = some.map(|(name, index)| partition(named(name, by_id), *index)).collect();
    for fetched in session.accept(answer).expect("a good answer") {
        let ((name, index), want) = &reader.wants[&fetched.key];
        assert_eq!(fetched.partition.index, *index);
        assert_eq!(fetched.partition.topic, named(name, by_id));
        assert_eq!(fetched.offset, want.offset);
        assert_eq!(before.get(&(name.clone(), *index)), Some(want), "asked for from elsewhere");
    }
}

fn partition(topic: TopicRef, index: i32) -> FetchedPartition {
    FetchedPartition {
        topic,
        index,
        error: ErrorCode(0),
        high_watermark: 100,
        last_stable_offset: 100,
        log_start_offset: 0,
        aborted: Vec::new(),
        diverging: None,
        preferred_replica: None,
        current_leader: None,
        records: Bytes::from_static(b"records"),
    }
}

fn change(session: &mut FetchSession, reader: &mut Reader, ops: &mut Input<'_>) {
    let op = ops.byte();
    let key = u32::from(op >> 5);
    if op & 1 == 0 {
        session.remove(key);
        reader.wants.remove(&key);
    } else {
        let (number, index) = ((op >> 1) % 3, i32::from((op >> 3) & 3));
        let offset = i64::from(ops.byte() % 4);
        let want = Want { offset, leader_epoch: 1, last_fetched_epoch: -1, max_bytes: 1 << 20 };
        session.set(key, &topic(number), index, want);
        reader.set(key, (topic(number).name.to_string(), index), want);
    }
    assert_eq!(session.len(), reader.wants.len());
}

fuzz_target!(|data: &[u8]| {
    let mut ops = Input(data);
    let (mut session, mut broker) = (FetchSession::default(), Broker::default());
    let mut reader = Reader::default();
    while !ops.0.is_empty() {
        match ops.byte() & 1 {
            0 => change(&mut session, &mut reader, &mut ops),
            _ => round(&mut session, &mut broker, &mut reader, &mut ops),
        }
    }
});
