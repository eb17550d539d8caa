//! A fetch session (KIP-227): tells the broker only what changed.
//!
//! The caller names each partition by a key of its own. Between [`FetchSession::next_request`] and
//! [`FetchSession::accept`] it may set and remove as it likes; what the answer then holds for a
//! partition that is gone or wanted from elsewhere is dropped.
//!
//! Work per request is proportional to what changed, not to the size of the session, except for
//! the first request and those after a failure.
//!
//! Invariants:
//! - (A) at most one request is in flight.
//! - (B) `known` is what the broker will hold for the partition once it has seen the request last
//!   built; a partition whose `want` differs from `known` is in `dirty`.
//! - (C) the session's id and epoch move only with an accepted answer.
//! - (D) records are handed out only where `known` and `want` begin alike: they start where the
//!   caller wants them to. How many bytes are wanted may have changed meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use slab::Slab;
use uuid::Uuid;

use crate::wire::error_code::ErrorCode;
use crate::wire::fetch::{
    FetchPartition, FetchTopic, FetchedPartition, ForgottenTopic, Isolation, RawFetch,
    RawFetchAnswer, TopicRef,
};

/// A topic as the session names it to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTopic {
    /// The name.
    pub name: Arc<str>,
    /// The id; nil if unknown, which makes the whole session go by name.
    pub id: Uuid,
}

/// What is wanted of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// The first offset wanted.
    pub offset: i64,
    /// The leader epoch the reader believes in; -1 switches the check off.
    pub leader_epoch: i32,
    /// The leader epoch of the last batch read; -1 for none.
    pub last_fetched_epoch: i32,
    /// How many bytes are wanted at most.
    pub max_bytes: i32,
}

impl Want {
    /// Whether both are for the same place of the same log.
    fn begins_like(&self, other: &Self) -> bool {
        Self { max_bytes: other.max_bytes, ..*self } == *other
    }
}

/// The limits of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchLimits {
    /// How long the broker may wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// How many bytes the broker should gather before it answers.
    pub min_bytes: i32,
    /// How many bytes the answer should have at most.
    pub max_bytes: i32,
    /// Which records are wanted.
    pub isolation: Isolation,
    /// The rack of this reader; empty for none.
    pub rack: String,
}

/// What came for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The caller's key.
    pub key: u32,
    /// The offset that was asked for; the first batch may start below it.
    pub offset: i64,
    /// The broker's answer.
    pub partition: FetchedPartition,
}

/// Why an answer could not be taken. The next request is a full one in all cases.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The broker refused the whole request; [`ErrorCode::class`] says whether only the session
    /// was lost.
    #[error("fetch refused: {0}")]
    Refused(ErrorCode),
    /// No request was in flight.
    #[error("an answer to a fetch that was not sent")]
    NotAsked,
    /// The answer belongs to another session.
    #[error("answer of fetch session {answered} in session {ours}")]
    OtherSession {
        /// Our session.
        ours: i32,
        /// The answer's session.
        answered: i32,
    },
    /// The answer holds a partition twice.
    #[error("the answer holds partition {index} of a topic twice")]
    Twice {
        /// The partition's number.
        index: i32,
    },
}

/// The session. Empty at first.
#[derive(Debug, Default)]
pub struct FetchSession {
    topics: Slab<Topic>,
    by_name: HashMap<Arc<str>, usize>,
    by_id: HashMap<Uuid, usize>,
    topics_without_id: usize,

    slots: Slab<Slot>,
    by_key: BTreeMap<u32, usize>,
    by_place: BTreeMap<(usize, i32), usize>,
    dirty: Vec<usize>,

    /// 0: the broker has granted none.
    session_id: i32,
    /// 0: the next request is a full one, and closes session `session_id` if there is one.
    epoch: i32,
    /// Whether the session goes by name; brokers do not let it change within a session.
    by_topic_name: bool,
    /// The next request must be a full one, whatever the answer to the last one grants.
    restart: bool,
    in_flight: bool,
    answers: u64,
    /// Full requests go on behind the partition that filled the last answer, else the first ones
    /// would starve the others when the broker grants no session.
    resume_behind: (usize, i32),
}

#[derive(Debug)]
struct Topic {
    topic: SessionTopic,
    slots: usize,
}

#[derive(Debug)]
struct Slot {
    /// `None` once removed, until the broker has been told.
    key: Option<u32>,
    topic: usize,
    index: i32,
    want: Want,
    known: Option<Want>,
    is_dirty: bool,
    /// The last answer this partition was in.
    answered: u64,
}

impl FetchSession {
    /// How many partitions are wanted.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no partition is wanted.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Whether the answer to a request is awaited.
    pub fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// Wants a partition, or changes what is wanted of it. A key that stood for another partition
    /// leaves that one; a partition that belonged to another key is taken over.
    pub fn set(&mut self, key: u32, topic: &SessionTopic, index: i32, want: Want) {
        if let Some(&at) = self.by_key.get(&key) {
            let slot = &self.slots[at];
            if slot.index == index && same_topic(&self.topics[slot.topic].topic, topic) {
                return self.change(at, want);
            }
            self.remove(key);
        }
        let topic = self.intern(topic);
        let at = match self.by_place.get(&(topic, index)) {
            Some(&at) => at,
            None => self.insert(topic, index, want),
        };
        if let Some(other) = self.slots[at].key.replace(key) {
            self.by_key.remove(&other);
        }
        self.by_key.insert(key, at);
        self.change(at, want);
    }

    /// No longer wants the partition of this key.
    pub fn remove(&mut self, key: u32) {
        let Some(at) = self.by_key.remove(&key) else { return };
        self.slots[at].key = None;
        match self.slots[at].known {
            Some(_) => self.mark_dirty(at),
            // The broker never heard of it. A slot in `dirty` is dropped with the next request.
            None if self.slots[at].is_dirty => {}
            None => self.drop_slot(at),
        }
    }

    /// The next request: what changed, or everything if there is no session. `None` if nothing is
    /// wanted or an answer is awaited.
    pub fn next_request(&mut self, limits: &FetchLimits) -> Option<RawFetch> {
        if self.in_flight || self.is_empty() {
            return None;
        }
        let by_topic_name = self.topics_without_id > 0;
        if std::mem::take(&mut self.restart) || by_topic_name != self.by_topic_name {
            self.epoch = 0;
            self.by_topic_name = by_topic_name;
        }
        let mut request = RawFetch {
            max_wait_ms: limits.max_wait_ms,
            min_bytes: limits.min_bytes,
            max_bytes: limits.max_bytes,
            isolation: limits.isolation,
            rack: limits.rack.clone(),
            session_id: self.session_id,
            session_epoch: self.epoch,
            ..RawFetch::default()
        };
        if self.epoch == 0 {
            request.topics = self.everything();
        } else {
            (request.topics, request.forgotten) = self.changes();
        }
        self.in_flight = true;
        Some(request)
    }

    /// Takes the answer to the last request.
    pub fn accept(&mut self, answer: RawFetchAnswer) -> Result<Vec<Fetched>, SessionError> {
        if !std::mem::take(&mut self.in_flight) {
            return Err(SessionError::NotAsked);
        }
        let accepted = self.accept_session(&answer).and_then(|()| self.accept_records(answer));
        if accepted.is_err() {
            self.epoch = 0;
        }
        accepted
    }

    /// The request failed or its connection is gone: the next request is a full one.
    pub fn abort(&mut self) {
        self.in_flight = false;
        self.epoch = 0;
    }

    fn accept_session(&mut self, answer: &RawFetchAnswer) -> Result<(), SessionError> {
        if let Err(code) = answer.error.ok() {
            if code == ErrorCode::FETCH_SESSION_ID_NOT_FOUND {
                self.session_id = 0;
            }
            return Err(SessionError::Refused(code));
        }
        let granted = answer.session_id;
        if self.epoch != 0 && granted != 0 && granted != self.session_id {
            return Err(SessionError::OtherSession { ours: self.session_id, answered: granted });
        }
        self.session_id = granted;
        self.epoch = match self.epoch {
            _ if granted == 0 => 0,
            i32::MAX => 1,
            epoch => epoch + 1,
        };
        Ok(())
    }

    fn accept_records(&mut self, answer: RawFetchAnswer) -> Result<Vec<Fetched>, SessionError> {
        self.answers += 1;
        let mut fetched = Vec::with_capacity(answer.partitions.len());
        let mut last_topic: Option<(TopicRef, Option<usize>)> = None;
        for partition in answer.partitions {
            let topic = match &last_topic {
                Some((named, topic)) if *named == partition.topic => *topic,
                _ => {
                    let topic = self.find_topic(&partition.topic);
                    last_topic = Some((partition.topic.clone(), topic));
                    topic
                }
            };
            let place = topic.and_then(|topic| self.by_place.get(&(topic, partition.index)));
            let Some(slot) = place.and_then(|at| self.slots.get_mut(*at)) else { continue };
            if std::mem::replace(&mut slot.answered, self.answers) == self.answers {
                return Err(SessionError::Twice { index: partition.index });
            }
            let known = slot.known.is_some_and(|known| known.begins_like(&slot.want));
            let Some(key) = slot.key.filter(|_| known) else { continue };
            if !partition.records.is_empty() {
                self.resume_behind = (slot.topic, slot.index);
            }
            fetched.push(Fetched { key, offset: slot.want.offset, partition });
        }
        Ok(fetched)
    }

    fn find_topic(&self, named: &TopicRef) -> Option<usize> {
        match named {
            TopicRef::Name(name) => self.by_name.get(name).copied(),
            TopicRef::Id(id) => self.by_id.get(id).copied(),
        }
    }

    fn intern(&mut self, topic: &SessionTopic) -> usize {
        if let Some(&at) = self.by_name.get(&topic.name) {
            if self.topics[at].topic.id != topic.id {
                self.replace_topic_id(at, topic.id);
            }
            return at;
        }
        let at = self.topics.insert(Topic { topic: topic.clone(), slots: 0 });
        self.by_name.insert(Arc::clone(&topic.name), at);
        self.add_topic_id(at, topic.id);
        at
    }

    /// The topic was created anew under its name. What the broker holds is about the old one, so
    /// it is told everything again.
    fn replace_topic_id(&mut self, at: usize, id: Uuid) {
        let old = std::mem::replace(&mut self.topics[at].topic.id, id);
        self.remove_topic_id(old);
        self.add_topic_id(at, id);
        self.restart = true;
        for (_, slot) in self.slots.iter_mut().filter(|(_, slot)| slot.topic == at) {
            slot.known = None;
        }
    }

    fn add_topic_id(&mut self, at: usize, id: Uuid) {
        if id.is_nil() {
            self.topics_without_id += 1;
        } else {
            self.by_id.insert(id, at);
        }
    }

    fn remove_topic_id(&mut self, id: Uuid) {
        if id.is_nil() {
            self.topics_without_id -= 1;
        } else {
            self.by_id.remove(&id);
        }
    }

    fn insert(&mut self, topic: usize, index: i32, want: Want) -> usize {
        self.topics[topic].slots += 1;
        let slot =
            Slot { key: None, topic, index, want, known: None, is_dirty: false, answered: 0 };
        let at = self.slots.insert(slot);
        self.by_place.insert((topic, index), at);
        at
    }

    fn drop_slot(&mut self, at: usize) {
        let slot = self.slots.remove(at);
        self.by_place.remove(&(slot.topic, slot.index));
        self.topics[slot.topic].slots -= 1;
        if self.topics[slot.topic].slots == 0 {
            let topic = self.topics.remove(slot.topic).topic;
            self.by_name.remove(&topic.name);
            self.remove_topic_id(topic.id);
        }
    }

    fn change(&mut self, at: usize, want: Want) {
        self.slots[at].want = want;
        if self.slots[at].known != Some(want) {
            self.mark_dirty(at);
        }
    }

    fn mark_dirty(&mut self, at: usize) {
        if !std::mem::replace(&mut self.slots[at].is_dirty, true) {
            self.dirty.push(at);
        }
    }

    /// All partitions, and the memory of removed ones dropped.
    fn everything(&mut self) -> Vec<FetchTopic> {
        self.dirty.clear();
        let gone: Vec<usize> =
            self.slots.iter().filter(|(_, slot)| slot.key.is_none()).map(|(at, _)| at).collect();
        gone.into_iter().for_each(|at| self.drop_slot(at));
        for (_, slot) in &mut self.slots {
            slot.is_dirty = false;
        }
        let mut all: Vec<usize> = self.slots.iter().map(|(at, _)| at).collect();
        self.sort(&mut all);
        let behind = all.partition_point(|at| self.place(*at) <= self.resume_behind);
        all.rotate_left(behind);
        self.ask(&all)
    }

    /// The partitions that changed, and those to forget.
    fn changes(&mut self) -> (Vec<FetchTopic>, Vec<ForgottenTopic>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for at in &dirty {
            self.slots[*at].is_dirty = false;
        }
        self.sort(&mut dirty);
        let gone: Vec<usize> = dirty.extract_if(.., |at| self.slots[*at].key.is_none()).collect();
        // What went back to how the broker knows it needs no mention.
        dirty.retain(|at| self.slots[*at].known != Some(self.slots[*at].want));
        let forgotten = self.forget(&gone);
        let topics = self.ask(&dirty);
        dirty.clear();
        self.dirty = dirty;
        (topics, forgotten)
    }

    fn place(&self, at: usize) -> (usize, i32) {
        (self.slots[at].topic, self.slots[at].index)
    }

    fn sort(&self, slots: &mut [usize]) {
        slots.sort_unstable_by_key(|at| self.place(*at));
    }

    fn ask(&mut self, wanted: &[usize]) -> Vec<FetchTopic> {
        let runs = wanted.chunk_by(|a, b| self.slots[*a].topic == self.slots[*b].topic);
        let topics = runs.map(|run| {
            let SessionTopic { name, id } = self.topics[self.slots[run[0]].topic].topic.clone();
            let partitions = run.iter().map(|at| {
                let Slot { index, want, .. } = self.slots[*at];
                FetchPartition {
                    index,
                    offset: want.offset,
                    leader_epoch: want.leader_epoch,
                    last_fetched_epoch: want.last_fetched_epoch,
                    max_bytes: want.max_bytes,
                }
            });
            FetchTopic { name, id, partitions: partitions.collect() }
        });
        let topics = topics.collect();
        for at in wanted {
            self.slots[*at].known = Some(self.slots[*at].want);
        }
        topics
    }

    fn forget(&mut self, gone: &[usize]) -> Vec<ForgottenTopic> {
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        for at in gone {
            if self.slots[*at].known.is_some() {
                let SessionTopic { name, id } = self.topics[self.slots[*at].topic].topic.clone();
                let index = self.slots[*at].index;
                match forgotten.last_mut().filter(|last| last.name == name) {
                    Some(last) => last.partitions.push(index),
                    None => forgotten.push(ForgottenTopic { name, id, partitions: vec![index] }),
                }
            }
            self.drop_slot(*at);
        }
        forgotten
    }
}

fn same_topic(a: &SessionTopic, b: &SessionTopic) -> bool {
    a.id == b.id && (Arc::ptr_eq(&a.name, &b.name) || a.name == b.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    const LIMITS: FetchLimits = FetchLimits {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: Isolation::ReadUncommitted,
        rack: String::new(),
    };

    fn want(offset: i64) -> Want {
        Want { offset, leader_epoch: -1, last_fetched_epoch: -1, max_bytes: 1000 }
    }

    fn topic(number: u8, generation: u8) -> SessionTopic {
        SessionTopic {
            name: Arc::from(format!("topic-{number}")),
            id: match generation {
                0 => Uuid::nil(),
                _ => Uuid::from_bytes([number * 16 + generation; 16]),
            },
        }
    }

    type Offsets = BTreeMap<(String, i32), i64>;

    /// A broker with one session, and logs whose records are their own offsets. Follows
    /// `FetchSession.update`: parameters first, then what is forgotten.
    #[derive(Default)]
    struct Broker {
        session: Option<(i32, i32, Offsets)>,
        next_id: i32,
        grants: bool,
        ends: Offsets,
        /// Partitions with data per answer.
        room: usize,
    }

    impl Broker {
        fn answer(&mut self, request: &RawFetch) -> RawFetchAnswer {
            let mut asked: Vec<((String, i32), i64)> = Vec::new();
            for topic in &request.topics {
                for one in &topic.partitions {
                    asked.push(((topic.name.to_string(), one.index), one.offset));
                }
            }
            if request.session_epoch == 0 {
                assert!(request.forgotten.is_empty());
                self.session = None;
                if !self.grants {
                    return self.read(&asked, 0);
                }
                self.next_id += 1;
                self.session = Some((self.next_id, 1, asked.iter().cloned().collect()));
                return self.read(&asked, self.next_id);
            }
            let refused = |code| RawFetchAnswer { error: ErrorCode(code), ..Default::default() };
            let Some((id, epoch, held)) = &mut self.session else { return refused(70) };
            if *id != request.session_id {
                return refused(70);
            }
            if *epoch != request.session_epoch {
                return refused(71);
            }
            *epoch += 1;
            held.extend(asked);
            for topic in &request.forgotten {
                for index in &topic.partitions {
                    held.remove(&(topic.name.to_string(), *index)).expect("held before forgotten");
                }
            }
            let (id, held) = (*id, held.clone());
            let held: Vec<_> = held.into_iter().collect();
            self.read(&held, id)
        }

        fn read(&self, asked: &[((String, i32), i64)], session_id: i32) -> RawFetchAnswer {
            let mut partitions = Vec::new();
            for ((name, index), offset) in asked {
                let end = *self.ends.get(&(name.clone(), *index)).unwrap_or(&0);
                let data = end > *offset && partitions.len() < self.room;
                if !data {
                    continue;
                }
                partitions.push(FetchedPartition {
                    topic: TopicRef::Name(Arc::from(name.as_str())),
                    index: *index,
                    error: ErrorCode::NONE,
                    high_watermark: end,
                    last_stable_offset: -1,
                    log_start_offset: 0,
                    aborted: Vec::new(),
                    diverging: None,
                    preferred_replica: None,
                    current_leader: None,
                    records: Bytes::copy_from_slice(&offset.to_be_bytes()),
                });
            }
            RawFetchAnswer { session_id, partitions, ..Default::default() }
        }
    }

    /// One record per partition and answer, taken in by the reader.
    fn take_in(session: &mut FetchSession, positions: &mut Positions, fetched: Vec<Fetched>) {
        for one in fetched {
            let (topic, index, position) =
                positions.get_mut(&one.key).expect("nothing comes for a removed key");
            assert_eq!(TopicRef::Name(Arc::clone(&topic.name)), one.partition.topic);
            assert_eq!(*index, one.partition.index);
            let read = i64::from_be_bytes(one.partition.records[..].try_into().expect("8 bytes"));
            assert_eq!(read, *position, "records start where they are wanted");
            assert_eq!(one.offset, *position);
            *position += 1;
            session.set(one.key, topic, *index, want(*position));
        }
    }

    type Positions = BTreeMap<u32, (SessionTopic, i32, i64)>;

    #[derive(Debug, Clone)]
    enum Operation {
        Set { key: u32, topic: u8, generation: u8, index: i32, offset: i64 },
        Remove { key: u32 },
        Append { topic: u8, index: i32 },
        Send,
        Answer,
        Lose,
        Evict,
        Grant { grants: bool },
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let place = || (0u8..3, 0i32..3);
        prop_oneof![
            4 => (0u32..6, place(), 0u8..3, 0i64..3).prop_map(
                |(key, (topic, index), generation, offset)| {
                    Operation::Set { key, topic, generation, index, offset }
                }
            ),
            2 => (0u32..6).prop_map(|key| Operation::Remove { key }),
            3 => place().prop_map(|(topic, index)| Operation::Append { topic, index }),
            5 => Just(Operation::Send),
            5 => Just(Operation::Answer),
            1 => Just(Operation::Lose),
            1 => Just(Operation::Evict),
            1 => any::<bool>().prop_map(|grants| Operation::Grant { grants }),
        ]
    }

    struct World {
        session: FetchSession,
        broker: Broker,
        positions: Positions,
        sent: Option<RawFetch>,
    }

    impl World {
        fn step(&mut self, operation: Operation) {
            match operation {
                Operation::Set { key, topic: number, generation, index, offset } => {
                    let topic = topic(number, generation);
                    // A partition has one key, and all partitions of a topic have its newest id.
                    self.positions.retain(|other, (held, at, _)| {
                        *other == key || held.name != topic.name || *at != index
                    });
                    for (held, _, _) in self.positions.values_mut() {
                        if held.name == topic.name {
                            held.id = topic.id;
                        }
                    }
                    self.session.set(key, &topic, index, want(offset));
                    self.positions.insert(key, (topic, index, offset));
                }
                Operation::Remove { key } => {
                    self.session.remove(key);
                    self.positions.remove(&key);
                }
                Operation::Append { topic: number, index } => {
                    let name = topic(number, 0).name.to_string();
                    *self.broker.ends.entry((name, index)).or_default() += 1;
                }
                Operation::Send if self.sent.is_none() => {
                    self.sent = self.session.next_request(&LIMITS);
                    let request = self.sent.iter();
                    request.for_each(|request| request.validate().expect("no twins"));
                }
                Operation::Answer => {
                    let Some(request) = self.sent.take() else { return };
                    let answer = self.broker.answer(&request);
                    if let Ok(fetched) = self.session.accept(answer) {
                        take_in(&mut self.session, &mut self.positions, fetched);
                    }
                }
                Operation::Lose => {
                    // Half of the lost requests reached the broker.
                    if let Some(request) = self.sent.take().filter(|one| one.session_epoch % 2 == 0)
                    {
                        self.broker.answer(&request);
                    }
                    self.session.abort();
                }
                Operation::Evict => self.broker.session = None,
                Operation::Grant { grants } => self.broker.grants = grants,
                Operation::Send => {}
            }
            assert_eq!(self.session.len(), self.positions.len());
        }

        fn settle(&mut self) {
            for _ in 0..400 {
                self.step(Operation::Send);
                self.step(Operation::Answer);
            }
            for (topic, index, position) in self.positions.values() {
                let end = self.broker.ends.get(&(topic.name.to_string(), *index));
                assert!(*position >= *end.unwrap_or(&0), "{topic:?}-{index} stopped at {position}");
            }
            let Some((_, _, held)) = self.broker.session.as_ref().filter(|_| self.broker.grants)
            else {
                return;
            };
            let wanted: Offsets = (self.positions.values())
                .map(|(topic, index, position)| ((topic.name.to_string(), *index), *position))
                .collect();
            if !wanted.is_empty() {
                assert_eq!(*held, wanted, "the broker holds what is wanted");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        /// Whatever happens in whatever order: records come exactly once, from where they are
        /// wanted, and in the end everything wanted has come.
        #[test]
        fn nothing_is_lost_or_read_twice(
            operations in proptest::collection::vec(operation(), 0..120),
            room in 1usize..4,
        ) {
            let broker = Broker { grants: true, room, ..Broker::default() };
            let mut world = World {
                session: FetchSession::default(),
                broker,
                positions: Positions::new(),
                sent: None,
            };
            operations.into_iter().for_each(|operation| world.step(operation));
            world.settle();
        }
    }

    fn open(partitions: u32) -> FetchSession {
        let mut session = FetchSession::default();
        for key in 0..partitions {
            session.set(key, &topic((key % 5) as u8, 1), (key / 5) as i32, want(0));
        }
        let request = session.next_request(&LIMITS).expect("something is wanted");
        assert_eq!((request.session_id, request.session_epoch), (0, 0));
        let granted = RawFetchAnswer { session_id: 7, ..Default::default() };
        assert_eq!(session.accept(granted), Ok(Vec::new()));
        session
    }

    #[test]
    fn a_request_names_only_what_changed() {
        let mut session = open(100_000);
        session.set(12, &topic(2, 1), 2, want(5));
        session.remove(13);
        let request = session.next_request(&LIMITS).expect("something is wanted");
        assert_eq!((request.session_id, request.session_epoch), (7, 1));
        let [asked] = &request.topics[..] else { panic!("one topic") };
        assert_eq!((asked.partitions.len(), asked.partitions[0].offset), (1, 5));
        let [forgotten] = &request.forgotten[..] else { panic!("one topic") };
        assert_eq!((&*forgotten.name, &forgotten.partitions[..]), ("topic-3", &[2][..]));
        assert!(session.next_request(&LIMITS).is_none(), "one request at a time");
    }

    #[test]
    fn a_partition_that_comes_back_before_it_was_forgotten_is_not_forgotten() {
        let mut session = open(2);
        session.remove(1);
        session.set(9, &topic(1, 1), 0, want(3));
        let request = session.next_request(&LIMITS).expect("something is wanted");
        assert!(request.forgotten.is_empty());
        assert_eq!(request.topics[0].partitions[0].offset, 3);
    }

    #[test]
    fn errors_lead_to_a_full_request_that_closes_the_old_session() {
        for (code, session_id) in [(70, 0), (71, 7), (106, 7)] {
            let mut session = open(2);
            session.next_request(&LIMITS).expect("something is wanted");
            let answer = RawFetchAnswer { error: ErrorCode(code), ..Default::default() };
            assert_eq!(session.accept(answer), Err(SessionError::Refused(ErrorCode(code))));
            let request = session.next_request(&LIMITS).expect("something is wanted");
            assert_eq!((request.session_id, request.session_epoch), (session_id, 0));
            assert_eq!(request.topics.len(), 2);
        }
    }

    #[test]
    fn hostile_answers_are_refused() {
        let mut session = open(1);
        assert_eq!(session.accept(RawFetchAnswer::default()), Err(SessionError::NotAsked));
        session.next_request(&LIMITS).expect("something is wanted");
        let other = RawFetchAnswer { session_id: 8, ..Default::default() };
        let refused = Err(SessionError::OtherSession { ours: 7, answered: 8 });
        assert_eq!(session.accept(other), refused);

        let mut session = open(1);
        session.next_request(&LIMITS).expect("something is wanted");
        let broker =
            Broker { ends: [(("topic-0".into(), 0), 9)].into(), room: 9, ..Default::default() };
        let mut twice = broker.read(&[(("topic-0".into(), 0), 0)], 7);
        twice.partitions.push(twice.partitions[0].clone());
        assert_eq!(session.accept(twice), Err(SessionError::Twice { index: 0 }));
    }

    #[test]
    fn a_topic_without_id_makes_the_whole_session_go_by_name() {
        let mut session = open(1);
        session.set(5, &topic(4, 0), 0, want(0));
        let request = session.next_request(&LIMITS).expect("something is wanted");
        assert_eq!((request.session_epoch, request.topics.len()), (0, 2));
    }
}
