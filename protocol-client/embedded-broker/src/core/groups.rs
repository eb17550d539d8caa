//! Consumer groups of the classic protocol: members, rebalances, committed offsets.
//!
//! Rules: Kafka's `GroupMetadataManager` (classic part) and `ClassicGroup`. Left out: a static member that comes
//! back always makes a rebalance; offsets do not expire.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

use super::ConnectionId;

/// How long members stay that never speak, in milliseconds.
const SILENT_MS: i64 = 24 * 3600 * 1000;

/// Where a group stands in its rebalance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GroupState {
    /// No members; there may be offsets.
    #[default]
    Empty,
    /// Members are asked to join again.
    PreparingRebalance,
    /// The leader is to hand out the assignment.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
}

impl GroupState {
    /// The state's name in ListGroups and DescribeGroups.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A member of a group.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its static name, if it has one.
    pub instance: Option<StrBytes>,
    /// The client's name for itself.
    pub client_id: StrBytes,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: i64,
    /// How long it may take to join again, in milliseconds.
    pub rebalance_timeout_ms: i64,
    /// Protocols that it knows, best first, with its metadata for each.
    pub protocols: Vec<(StrBytes, Bytes)>,
    /// What it was assigned.
    pub assignment: Bytes,
    expires_ms: i64,
    joining: Option<ConnectionId>,
    syncing: Option<ConnectionId>,
}

impl Member {
    /// Its metadata for a protocol.
    pub fn metadata(&self, protocol: Option<&StrBytes>) -> Bytes {
        let known = self.protocols.iter().find(|(name, _)| Some(name) == protocol);
        known.map_or_else(Bytes::new, |(_, metadata)| metadata.clone())
    }

    fn is_waiting(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// Epoch of the last record read, or -1.
    pub leader_epoch: i32,
    /// The consumer's remark.
    pub metadata: StrBytes,
}

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<(TopicName, i32), Committed>;

/// Who speaks to a group.
#[derive(Debug, Clone, Default)]
pub struct Speaker {
    /// The member's id.
    pub member_id: StrBytes,
    /// Its static name, if it has one.
    pub instance: Option<StrBytes>,
    /// The generation that it believes in.
    pub generation: i32,
}

/// A request to join.
#[derive(Debug, Clone)]
pub struct Join {
    /// The connection that waits for the answer.
    pub connection: ConnectionId,
    /// The client's name for itself.
    pub client_id: StrBytes,
    /// The member's id, empty at first.
    pub member_id: StrBytes,
    /// Its static name, if it has one.
    pub instance: Option<StrBytes>,
    /// How long it may be silent, in milliseconds.
    pub session_timeout_ms: i64,
    /// How long it may take to join again, in milliseconds.
    pub rebalance_timeout_ms: i64,
    /// `consumer`, `connect`, ...
    pub protocol_type: StrBytes,
    /// Protocols that it knows, best first.
    pub protocols: Vec<(StrBytes, Bytes)>,
    /// An id for a member that comes without.
    pub fresh_id: StrBytes,
    /// Whether a member that comes without an id is sent away with one (from version 4).
    pub id_required: bool,
    /// How long a new group waits for more members, in milliseconds.
    pub initial_delay_ms: i64,
}

/// What becomes of a request to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// Come again with this id.
    IdRequired(StrBytes),
    /// Wait for the rebalance as this member.
    Wait(StrBytes),
    /// Nothing changed for this member: it may go on in the current generation.
    Current(StrBytes),
}

/// A group.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Where it stands.
    pub state: GroupState,
    /// `consumer`, `connect`, ...; empty for a group of offsets alone.
    pub protocol_type: StrBytes,
    /// The protocol that all members know.
    pub protocol: Option<StrBytes>,
    /// Counts the rebalances.
    pub generation: i32,
    /// The member that assigns.
    pub leader: StrBytes,
    /// The members by their id.
    pub members: BTreeMap<StrBytes, Member>,
    /// What is committed.
    pub offsets: Offsets,
    /// What open transactions are to commit, by producer.
    pub pending_offsets: BTreeMap<i64, Offsets>,
    /// Ids that were handed out and not used yet, and when they expire.
    pending: BTreeMap<StrBytes, i64>,
    not_before_ms: i64,
    deadline_ms: i64,
    wake: BTreeSet<ConnectionId>,
}

impl Group {
    /// The connections whose wait is over.
    pub fn take_woken(&mut self) -> BTreeSet<ConnectionId> {
        std::mem::take(&mut self.wake)
    }

    /// When a rebalance ends at the latest, in milliseconds.
    pub fn deadline_ms(&self) -> i64 {
        if self.not_before_ms > 0 {
            self.deadline_ms.min(self.not_before_ms)
        } else {
            self.deadline_ms
        }
    }

    /// Whether everybody waits for the leader's assignment.
    pub fn is_assigning(&self) -> bool {
        self.state == GroupState::CompletingRebalance
    }

    /// Takes a request to join.
    ///
    /// # Errors
    /// INCONSISTENT_GROUP_PROTOCOL, UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID.
    pub fn join(&mut self, now_ms: i64, join: Join) -> Result<Joined, KafkaError> {
        if !self.supports(&join) {
            return Err(KafkaError::InconsistentGroupProtocol);
        }
        let id = self.settle_id(now_ms, &join)?;
        let (id, known) = match id {
            Settled::Required(id) => return Ok(Joined::IdRequired(id)),
            Settled::New(id) => (id, false),
            Settled::Known(id) => (id, true),
        };
        let unchanged =
            self.members.get(&id).is_some_and(|member| member.protocols == join.protocols);
        let current = match self.state {
            GroupState::CompletingRebalance => known && unchanged,
            GroupState::Stable => known && unchanged && self.leader != id,
            GroupState::Empty | GroupState::PreparingRebalance => false,
        };
        let was_empty = self.members.is_empty();
        self.protocol_type = join.protocol_type;
        let assignment = self.members.remove(&id).map_or_else(Bytes::new, |old| old.assignment);
        let member = Member {
            instance: join.instance,
            client_id: join.client_id,
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            protocols: join.protocols,
            assignment,
            expires_ms: now_ms + join.session_timeout_ms,
            joining: (!current).then_some(join.connection),
            syncing: None,
        };
        self.members.insert(id.clone(), member);
        if current {
            return Ok(Joined::Current(id));
        }
        self.prepare(now_ms, if was_empty { join.initial_delay_ms } else { 0 });
        Ok(Joined::Wait(id))
    }

    fn supports(&self, join: &Join) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        let others: Vec<&Member> = self
            .members
            .iter()
            .filter(|(id, member)| **id != join.member_id && !same_instance(member, &join.instance))
            .map(|(_, member)| member)
            .collect();
        let knows =
            |member: &&Member, name: &StrBytes| member.protocols.iter().any(|p| p.0 == *name);
        others.is_empty()
            || (self.protocol_type == join.protocol_type
                && join.protocols.iter().any(|(name, _)| others.iter().all(|m| knows(m, name))))
    }

    fn settle_id(&mut self, now_ms: i64, join: &Join) -> Result<Settled, KafkaError> {
        let owner = self.member_of(&join.instance);
        if join.member_id.is_empty() {
            if let Some(old) = owner {
                self.remove(&old);
                return Ok(Settled::New(join.fresh_id.clone()));
            }
            if join.id_required && join.instance.is_none() {
                let expires_ms = now_ms + join.session_timeout_ms;
                self.pending.insert(join.fresh_id.clone(), expires_ms);
                return Ok(Settled::Required(join.fresh_id.clone()));
            }
            return Ok(Settled::New(join.fresh_id.clone()));
        }
        if owner.is_some_and(|owner| owner != join.member_id) {
            return Err(KafkaError::FencedInstanceId);
        }
        if self.pending.remove(&join.member_id).is_some() {
            return Ok(Settled::New(join.member_id.clone()));
        }
        if self.members.contains_key(&join.member_id) {
            return Ok(Settled::Known(join.member_id.clone()));
        }
        Err(KafkaError::UnknownMemberId)
    }

    fn member_of(&self, instance: &Option<StrBytes>) -> Option<StrBytes> {
        let mut named = self.members.iter().filter(|(_, member)| same_instance(member, instance));
        named.next().map(|(id, _)| id.clone())
    }

    /// Asks the members to join again, or ends the rebalance if all have.
    fn prepare(&mut self, now_ms: i64, delay_ms: i64) {
        if self.state != GroupState::PreparingRebalance {
            self.state = GroupState::PreparingRebalance;
            self.not_before_ms = if delay_ms > 0 { now_ms + delay_ms } else { 0 };
            for member in self.members.values_mut() {
                self.wake.extend(member.syncing.take());
            }
        }
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        self.deadline_ms = now_ms + longest.unwrap_or(0) + delay_ms;
        self.complete_if_ready(now_ms);
    }

    /// Ends the rebalance when everybody joined, or when its time is over.
    pub fn complete_if_ready(&mut self, now_ms: i64) {
        if self.state != GroupState::PreparingRebalance || now_ms < self.not_before_ms {
            return;
        }
        let all = self.pending.is_empty() && self.members.values().all(|m| m.joining.is_some());
        if !all && now_ms < self.deadline_ms {
            return;
        }
        self.members.retain(|_, member| member.joining.is_some());
        self.generation += 1;
        if self.members.is_empty() {
            self.state = GroupState::Empty;
            self.protocol = None;
            self.leader = StrBytes::default();
            return;
        }
        self.state = GroupState::CompletingRebalance;
        self.protocol = self.elect_protocol();
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        for member in self.members.values_mut() {
            self.wake.extend(member.joining.take());
            member.assignment = Bytes::new();
            member.expires_ms = now_ms + member.session_timeout_ms;
        }
    }

    /// The protocol that all members know and most like best.
    fn elect_protocol(&self) -> Option<StrBytes> {
        let known = |name: &StrBytes| {
            self.members.values().all(|member| member.protocols.iter().any(|(own, _)| own == name))
        };
        let mut votes: BTreeMap<&StrBytes, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((best, _)) = member.protocols.iter().find(|(name, _)| known(name)) {
                *votes.entry(best).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.clone())
    }

    /// Whether a member's request to join still waits.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID when the member is gone.
    pub fn is_joining(&self, member_id: &StrBytes) -> Result<bool, KafkaError> {
        let member = self.members.get(member_id).ok_or(KafkaError::UnknownMemberId)?;
        Ok(member.joining.is_some())
    }

    /// Checks who speaks, and that it believes in the current generation.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID or ILLEGAL_GENERATION.
    pub fn check(&self, speaker: &Speaker) -> Result<(), KafkaError> {
        let owner = self.member_of(&speaker.instance);
        match owner {
            Some(owner) if owner != speaker.member_id => return Err(KafkaError::FencedInstanceId),
            None if speaker.instance.is_some() => return Err(KafkaError::UnknownMemberId),
            _ => {}
        }
        if !self.members.contains_key(&speaker.member_id) {
            return Err(KafkaError::UnknownMemberId);
        }
        if speaker.generation != self.generation {
            return Err(KafkaError::IllegalGeneration);
        }
        Ok(())
    }

    /// Takes a member's request for its assignment; the leader's brings everybody's. True: wait for the leader.
    ///
    /// # Errors
    /// Those of [`Group::check`], and REBALANCE_IN_PROGRESS.
    pub fn sync(
        &mut self,
        now_ms: i64,
        speaker: &Speaker,
        connection: ConnectionId,
        assignments: Vec<(StrBytes, Bytes)>,
    ) -> Result<bool, KafkaError> {
        self.check(speaker)?;
        self.touch(now_ms, &speaker.member_id);
        match self.state {
            GroupState::Empty => Err(KafkaError::UnknownMemberId),
            GroupState::PreparingRebalance => Err(KafkaError::RebalanceInProgress),
            GroupState::Stable => Ok(false),
            GroupState::CompletingRebalance if speaker.member_id == self.leader => {
                for (id, assignment) in assignments {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.assignment = assignment;
                    }
                }
                self.state = GroupState::Stable;
                for member in self.members.values_mut() {
                    self.wake.extend(member.syncing.take());
                    member.expires_ms = now_ms + member.session_timeout_ms;
                }
                Ok(false)
            }
            GroupState::CompletingRebalance => {
                if let Some(member) = self.members.get_mut(&speaker.member_id) {
                    member.syncing = Some(connection);
                }
                Ok(true)
            }
        }
    }

    fn touch(&mut self, now_ms: i64, member_id: &StrBytes) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.expires_ms = now_ms + member.session_timeout_ms;
        }
    }

    /// Takes a sign of life.
    ///
    /// # Errors
    /// Those of [`Group::check`], and REBALANCE_IN_PROGRESS.
    pub fn heartbeat(&mut self, now_ms: i64, speaker: &Speaker) -> Result<(), KafkaError> {
        self.check(speaker)?;
        self.touch(now_ms, &speaker.member_id);
        match self.state {
            GroupState::PreparingRebalance => Err(KafkaError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Lets a member go, by its id or its static name.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID.
    pub fn leave(
        &mut self,
        now_ms: i64,
        member_id: &StrBytes,
        instance: &Option<StrBytes>,
    ) -> Result<(), KafkaError> {
        let id = match self.member_of(instance) {
            Some(owner) if member_id.is_empty() || owner == *member_id => owner,
            Some(_) => return Err(KafkaError::FencedInstanceId),
            None if instance.is_some() => return Err(KafkaError::UnknownMemberId),
            None if self.pending.remove(member_id).is_some() => {
                self.complete_if_ready(now_ms);
                return Ok(());
            }
            None => member_id.clone(),
        };
        if !self.remove(&id) {
            return Err(KafkaError::UnknownMemberId);
        }
        self.rebalance_without(now_ms);
        Ok(())
    }

    /// Gives the group so many members who never speak, in place of those that it has; none make it empty.
    pub fn populate(&mut self, now_ms: i64, protocol_type: &StrBytes, members: usize) {
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.remove(&id);
        }
        self.rebalance_without(now_ms);
        for number in 0..members {
            let joined = self.join(
                now_ms,
                Join {
                    connection: ConnectionId::MAX,
                    client_id: StrBytes::from_static_str("silent"),
                    member_id: StrBytes::new(),
                    instance: None,
                    session_timeout_ms: SILENT_MS,
                    rebalance_timeout_ms: SILENT_MS,
                    protocol_type: protocol_type.clone(),
                    protocols: vec![(StrBytes::from_static_str("any"), Bytes::new())],
                    fresh_id: StrBytes::from_string(format!("silent-{number}")),
                    id_required: false,
                    initial_delay_ms: 0,
                },
            );
            debug_assert!(joined.is_ok(), "an empty group takes everybody");
        }
    }

    fn remove(&mut self, id: &StrBytes) -> bool {
        let Some(member) = self.members.remove(id) else { return false };
        self.wake.extend(member.joining);
        self.wake.extend(member.syncing);
        true
    }

    fn rebalance_without(&mut self, now_ms: i64) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare(now_ms, 0),
            GroupState::PreparingRebalance => self.complete_if_ready(now_ms),
            GroupState::Empty => {}
        }
    }

    /// Lets go whoever was silent for too long, and ends rebalances whose time is over.
    pub fn tick(&mut self, now_ms: i64) {
        self.pending.retain(|_, expires_ms| now_ms < *expires_ms);
        let expired: Vec<StrBytes> = self
            .members
            .iter()
            .filter(|(_, member)| !member.is_waiting() && now_ms >= member.expires_ms)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &expired {
            self.remove(id);
        }
        if !expired.is_empty() {
            self.rebalance_without(now_ms);
        }
        self.complete_if_ready(now_ms);
    }

    /// Forgets which connections wait: their node is down.
    pub fn lose_connections(&mut self) {
        for member in self.members.values_mut() {
            member.joining = None;
            member.syncing = None;
        }
    }

    /// Whether this speaker may commit offsets.
    ///
    /// # Errors
    /// Those of [`Group::check`], and REBALANCE_IN_PROGRESS.
    pub fn check_commit(&mut self, now_ms: i64, speaker: &Speaker) -> Result<(), KafkaError> {
        if speaker.generation < 0 && speaker.member_id.is_empty() {
            let simple = self.members.is_empty();
            return if simple { Ok(()) } else { Err(KafkaError::UnknownMemberId) };
        }
        self.check(speaker)?;
        self.touch(now_ms, &speaker.member_id);
        match self.state {
            GroupState::CompletingRebalance => Err(KafkaError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Ends a producer's pending commits.
    pub fn end_transaction(&mut self, producer_id: i64, committed: bool) {
        if let Some(pending) = self.pending_offsets.remove(&producer_id)
            && committed
        {
            self.offsets.extend(pending);
        }
    }

    /// Whether an open transaction is to commit this partition.
    pub fn is_unstable(&self, topic: &TopicName, partition: i32) -> bool {
        let key = (topic.clone(), partition);
        self.pending_offsets.values().any(|pending| pending.contains_key(&key))
    }
}

enum Settled {
    Required(StrBytes),
    New(StrBytes),
    Known(StrBytes),
}

fn same_instance(member: &Member, instance: &Option<StrBytes>) -> bool {
    instance.is_some() && member.instance == *instance
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &'static str) -> StrBytes {
        StrBytes::from_static_str(text)
    }

    fn join(member: &'static str, fresh: &'static str, connection: ConnectionId) -> Join {
        Join {
            connection,
            client_id: name("client"),
            member_id: name(member),
            instance: None,
            session_timeout_ms: 100,
            rebalance_timeout_ms: 300,
            protocol_type: name("consumer"),
            protocols: vec![(name("range"), Bytes::from_static(b"topics"))],
            fresh_id: name(fresh),
            id_required: true,
            initial_delay_ms: 0,
        }
    }

    fn speaker(member: &'static str, generation: i32) -> Speaker {
        Speaker { member_id: name(member), instance: None, generation }
    }

    fn assigned(ids: &[&'static str]) -> Vec<(StrBytes, Bytes)> {
        ids.iter().map(|id| (name(id), Bytes::from_static(id.as_bytes()))).collect()
    }

    /// A stable group of `a`, which leads, and `b`, in generation 2.
    fn stable() -> Group {
        let mut group = Group::default();
        assert_eq!(group.join(0, join("", "a", 1)), Ok(Joined::IdRequired(name("a"))));
        assert_eq!(group.join(0, join("a", "", 1)), Ok(Joined::Wait(name("a"))));
        assert_eq!((group.state, group.generation), (GroupState::CompletingRebalance, 1));
        assert_eq!(group.sync(0, &speaker("a", 1), 1, assigned(&["a"])), Ok(false));
        assert_eq!(group.join(0, join("", "b", 2)), Ok(Joined::IdRequired(name("b"))));
        assert_eq!(group.join(0, join("b", "", 2)), Ok(Joined::Wait(name("b"))));
        assert_eq!(group.heartbeat(0, &speaker("a", 1)), Err(KafkaError::RebalanceInProgress));
        assert_eq!(group.join(0, join("a", "", 1)), Ok(Joined::Wait(name("a"))));
        assert!(group.take_woken().is_superset(&BTreeSet::from([1, 2])));
        assert_eq!(group.sync(0, &speaker("b", 2), 2, Vec::new()), Ok(true));
        assert_eq!(group.sync(0, &speaker("a", 2), 1, assigned(&["a", "b"])), Ok(false));
        assert_eq!(group.take_woken(), BTreeSet::from([2]));
        group
    }

    #[test]
    fn a_group_becomes_stable_and_the_leader_assigns() {
        let group = stable();
        assert_eq!((group.state, group.generation), (GroupState::Stable, 2));
        assert_eq!((&group.leader, &group.protocol), (&name("a"), &Some(name("range"))));
        assert_eq!(group.members[&name("b")].assignment, Bytes::from_static(b"b"));
    }

    #[test]
    fn speakers_are_checked() {
        let mut group = stable();
        let unknown = group.heartbeat(0, &speaker("x", 2));
        assert_eq!(unknown, Err(KafkaError::UnknownMemberId));
        let old = group.heartbeat(0, &speaker("a", 1));
        assert_eq!(old, Err(KafkaError::IllegalGeneration));
        assert_eq!(group.heartbeat(0, &speaker("a", 2)), Ok(()));
    }

    #[test]
    fn who_leaves_or_falls_silent_makes_a_rebalance() {
        let mut group = stable();
        assert_eq!(group.leave(0, &name("b"), &None), Ok(()));
        assert_eq!(group.state, GroupState::PreparingRebalance);
        let mut group = stable();
        assert_eq!(group.heartbeat(90, &speaker("a", 2)), Ok(()));
        group.tick(101);
        assert_eq!(group.state, GroupState::PreparingRebalance);
        assert!(!group.members.contains_key(&name("b")));
        group.tick(101 + 300);
        assert_eq!((group.state, group.generation), (GroupState::Empty, 3));
    }

    #[test]
    fn a_member_that_does_not_join_again_is_dropped_at_the_deadline() {
        let mut group = stable();
        assert_eq!(group.join(10, join("", "c", 3)), Ok(Joined::IdRequired(name("c"))));
        assert_eq!(group.join(10, join("c", "", 3)), Ok(Joined::Wait(name("c"))));
        assert_eq!(group.heartbeat(90, &speaker("a", 2)), Err(KafkaError::RebalanceInProgress));
        group.complete_if_ready(309);
        assert_eq!(group.state, GroupState::PreparingRebalance);
        group.complete_if_ready(310);
        assert_eq!(
            (group.state, group.leader.clone()),
            (GroupState::CompletingRebalance, name("c"))
        );
    }

    #[test]
    fn protocols_must_agree() {
        let mut group = stable();
        let stranger = Join { protocol_type: name("connect"), ..join("", "c", 3) };
        assert_eq!(group.join(0, stranger), Err(KafkaError::InconsistentGroupProtocol));
        let other = Join { protocols: vec![(name("sticky"), Bytes::new())], ..join("", "c", 3) };
        assert_eq!(group.join(0, other), Err(KafkaError::InconsistentGroupProtocol));
    }

    #[test]
    fn a_follower_that_joins_again_unchanged_goes_on() {
        let mut group = stable();
        assert_eq!(group.join(0, join("b", "", 2)), Ok(Joined::Current(name("b"))));
        assert_eq!(group.state, GroupState::Stable);
        assert_eq!(group.join(0, join("a", "", 1)), Ok(Joined::Wait(name("a"))));
        assert_eq!(group.state, GroupState::PreparingRebalance);
    }

    #[test]
    fn a_static_member_takes_its_old_place() {
        let mut group = Group::default();
        let first = Join { instance: Some(name("i")), ..join("", "a", 1) };
        assert_eq!(group.join(0, first), Ok(Joined::Wait(name("a"))));
        let second = Join { instance: Some(name("i")), ..join("", "b", 2) };
        assert_eq!(group.join(0, second), Ok(Joined::Wait(name("b"))));
        let fenced = Speaker { instance: Some(name("i")), ..speaker("a", 1) };
        assert_eq!(group.check(&fenced), Err(KafkaError::FencedInstanceId));
        assert_eq!(group.leave(0, &StrBytes::default(), &Some(name("i"))), Ok(()));
        assert!(group.members.is_empty());
    }

    #[test]
    fn strangers_commit_only_into_groups_without_members() {
        let nobody = Speaker { generation: -1, ..Speaker::default() };
        assert_eq!(Group::default().check_commit(0, &nobody), Ok(()));
        assert_eq!(stable().check_commit(0, &nobody), Err(KafkaError::UnknownMemberId));
        assert_eq!(stable().check_commit(0, &speaker("a", 2)), Ok(()));
    }

    #[test]
    fn pending_offsets_are_unstable_until_the_end() {
        let mut group = Group::default();
        let topic = super::super::topics::topic_name("t");
        let committed = Committed { offset: 5, leader_epoch: -1, metadata: name("") };
        let pending = Offsets::from([((topic.clone(), 0), committed)]);
        group.pending_offsets.insert(7, pending.clone());
        assert!(group.is_unstable(&topic, 0) && !group.is_unstable(&topic, 1));
        group.end_transaction(7, false);
        assert!(group.offsets.is_empty());
        group.pending_offsets.insert(7, pending);
        group.end_transaction(7, true);
        assert_eq!(group.offsets[&(topic, 0)].offset, 5);
    }
}
