//! The transactions of a shard: rounds of records whose positions count together with them, or not at all.
//!
//! One request to the coordinator is under way at most. A partition sends only as a member of the round. A round that
//! ends waits for all its answers; one that lacks a single of them is aborted, under a new epoch, so that nothing that is
//! still on its way can count later (KIP-360). What was asked of the coordinator without an answer is asked again:
//! adding, committing and aborting twice is the same as once.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol_client::wire::error_code::{ErrorCode, RetryClass};

use super::event::PartitionKey;
use super::link::backoff;
use super::settings::{Boundary, RoundSettings};
use crate::model::Moment;

/// A round is not ended before this age for lack of records: the next ones often come a moment later, and an end costs
/// the brokers a write per partition.
const MIN_AGE: Duration = Duration::from_millis(50);
/// A round is ended at this age though more records wait: readers see nothing of it until then.
const MAX_AGE: Duration = Duration::from_secs(1);
/// The same in bytes.
const MAX_BYTES: usize = 64 << 20;

/// What the coordinator of a transactional id is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Make the joining partitions, and those of their positions, part of the transaction.
    Add,
    /// Write the positions of the members.
    Positions,
    /// End the transaction: everything counts.
    Commit,
    /// End the transaction: nothing counts.
    Abort,
    /// Look whether the target has ended the last round everywhere, and end it there too if not.
    Settle {
        /// Whether the round counts.
        counts: bool,
    },
    /// Give the producer its next epoch; `anew`, whoever has it now.
    Renew {
        /// Whether the producer may have been replaced meanwhile.
        anew: bool,
    },
}

/// What an answer of the coordinator means for the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Came {
    /// Nothing to do.
    Nothing,
    /// These partitions may send now.
    Joined(BTreeSet<PartitionKey>),
    /// The partition must not be written.
    Refused(PartitionKey, ErrorCode),
    /// The partition cannot be written at present.
    Delayed(PartitionKey),
    /// What these partitions sent counts, and so do their positions.
    Committed(BTreeSet<PartitionKey>),
    /// Nothing of what these partitions sent counts; the producer has a new epoch.
    Aborted(BTreeSet<PartitionKey>),
    /// Another instance has taken over.
    Fenced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// Members send.
    Open,
    /// No member sends; answers are awaited.
    Closing,
    /// Positions are written.
    Committing,
    Aborting,
    Renewing {
        anew: bool,
    },
    Fenced,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Round {
    settings: RoundSettings,
    state: State,
    members: BTreeSet<PartitionKey>,
    joining: BTreeSet<PartitionKey>,
    /// Partitions that have something to send and are no members.
    waiting: BTreeSet<PartitionKey>,
    /// One of several partitions cannot be added: they are added one by one to find it.
    singly: bool,
    asked: Option<Ask>,
    retry_at: Option<Moment>,
    failures: u32,
    /// Batches without an answer.
    under_way: usize,
    bytes: usize,
    opened_at: Moment,
    /// Members have something that could be sent.
    waits: bool,
    /// The fate of something that was sent is not known, or it was refused.
    broken: bool,
    /// Who took part in the last round.
    last: BTreeSet<PartitionKey>,
    /// The last round counts.
    counts: bool,
    /// Brokers may have been away since the last round, and may have forgotten to end it (KAFKA-20734).
    unsure: bool,
    draining: bool,
}

impl Round {
    pub(super) fn new(settings: RoundSettings) -> Self {
        Self {
            settings,
            state: State::Idle,
            members: BTreeSet::new(),
            joining: BTreeSet::new(),
            waiting: BTreeSet::new(),
            singly: false,
            asked: None,
            retry_at: None,
            failures: 0,
            under_way: 0,
            bytes: 0,
            opened_at: Moment::default(),
            waits: false,
            broken: false,
            last: BTreeSet::new(),
            counts: false,
            unsure: false,
            draining: false,
        }
    }

    /// Whether a partition that has something to send may do so; if not, it joins as soon as that is possible.
    pub(super) fn admits(&mut self, key: PartitionKey) -> bool {
        let is_member = self.members.contains(&key);
        if !is_member || self.state != State::Open {
            self.waiting.insert(key);
        }
        is_member && self.state == State::Open && !self.broken
    }

    /// A member sent a batch.
    pub(super) fn sent(&mut self, wire_bytes: usize) {
        self.under_way += 1;
        self.bytes += wire_bytes;
    }

    /// A batch was answered, one way or the other.
    pub(super) fn answered(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// What a partition sent in this round must not count: it was refused, is of unknown fate, or nobody wants it.
    pub(super) fn break_off(&mut self, key: PartitionKey) {
        self.broken |= self.members.contains(&key);
    }

    /// A broker of the target cannot be reached.
    pub(super) fn lost_broker(&mut self) {
        self.unsure = true;
    }

    /// A partition is not replicated any more.
    pub(super) fn leave(&mut self, key: PartitionKey) {
        self.break_off(key);
        self.waiting.remove(&key);
    }

    /// Ends the round, and begins no other.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    /// Nothing is open.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle | State::Fenced) && self.asked.is_none()
    }

    /// The partitions that are to be added.
    pub(super) fn joining(&self) -> &BTreeSet<PartitionKey> {
        &self.joining
    }

    /// Who took part in the last round.
    pub(super) fn last(&self) -> &BTreeSet<PartitionKey> {
        &self.last
    }

    /// The partitions whose positions are to be written.
    pub(super) fn members(&self) -> &BTreeSet<PartitionKey> {
        &self.members
    }

    /// When [`Round::advance`] has to be called again, if nothing else happens.
    pub(super) fn deadline(&self) -> Option<Moment> {
        if self.asked.is_some() {
            return None;
        }
        let ends_at = (self.state == State::Open).then(|| match self.settings.boundary {
            Boundary::Poll if self.rests() => self.opened_at + MIN_AGE,
            Boundary::Poll => self.opened_at + MAX_AGE,
            Boundary::Interval(_) => self.opened_at + self.interval(),
        });
        self.retry_at.or(ends_at)
    }

    /// What is to be asked for now. `waits` says whether members have something that could be sent.
    pub(super) fn advance(&mut self, now: Moment, waits: bool) -> Option<Ask> {
        if self.asked.is_some() || self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        self.retry_at = None;
        self.waits = waits;
        if self.state == State::Open && (self.broken || self.is_over(now)) {
            self.state = State::Closing;
        }
        let ask = match self.state {
            State::Idle | State::Open if self.is_unsettled() => {
                // It may be lost again meanwhile.
                self.unsure = false;
                Ask::Settle { counts: self.counts }
            }
            State::Idle | State::Open if self.draining || self.waiting.is_empty() => return None,
            State::Idle | State::Open => self.take_waiting(now)?,
            State::Closing if self.under_way > 0 => return None,
            State::Closing if self.broken => Ask::Abort,
            State::Closing if self.bytes > 0 => Ask::Positions,
            State::Closing | State::Committing => Ask::Commit,
            State::Aborting => Ask::Abort,
            State::Renewing { anew } => Ask::Renew { anew },
            State::Fenced => return None,
        };
        self.state = match ask {
            Ask::Abort => State::Aborting,
            Ask::Commit => State::Committing,
            _ => self.state,
        };
        self.asked = Some(ask);
        Some(ask)
    }

    /// The coordinator answered, or did not: then the code is none.
    pub(super) fn on_answer(
        &mut self,
        now: Moment,
        answer: Result<(), Option<ErrorCode>>,
        rng: &mut fastrand::Rng,
    ) -> Came {
        let Some(ask) = self.asked.take() else { return Came::Nothing };
        match answer {
            Ok(()) => {
                self.failures = 0;
                self.done(ask)
            }
            Err(Some(code)) if code.is_fenced() => self.replaced(now),
            Err(code) => {
                self.retry_at = Some(now + backoff(self.failures, rng));
                self.failures = self.failures.saturating_add(1);
                self.failed(ask, code)
            }
        }
    }

    fn done(&mut self, ask: Ask) -> Came {
        match ask {
            Ask::Add if self.is_unsettled() => {
                self.waiting.append(&mut self.joining);
                Came::Nothing
            }
            Ask::Add => {
                let joined = std::mem::take(&mut self.joining);
                self.state = State::Open;
                self.members.extend(&joined);
                Came::Joined(joined)
            }
            Ask::Positions => {
                self.state = State::Committing;
                Came::Nothing
            }
            Ask::Commit => Came::Committed(self.end(true)),
            Ask::Abort => {
                self.state = State::Renewing { anew: false };
                Came::Nothing
            }
            Ask::Renew { .. } => Came::Aborted(self.end(false)),
            Ask::Settle { .. } => {
                self.state = State::Idle;
                Came::Nothing
            }
        }
    }

    fn failed(&mut self, ask: Ask, code: Option<ErrorCode>) -> Came {
        const UNKNOWN_ID: Option<ErrorCode> = Some(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        const NOTHING_TO_END: Option<ErrorCode> = Some(ErrorCode::INVALID_TXN_STATE);
        self.unsure |= matches!(ask, Ask::Settle { .. });
        match (ask, code) {
            // There may be two of them, and one of them arrives in a later round.
            (Ask::Positions, _) => self.broken = true,
            // The coordinator forgets an id that was not used for days.
            (_, UNKNOWN_ID) => self.state = State::Renewing { anew: true },
            (Ask::Add, code) => return self.not_added(code),
            (Ask::Commit | Ask::Abort, NOTHING_TO_END) => {
                self.state = State::Renewing { anew: false };
            }
            (Ask::Commit, Some(code)) if !code.class().retryable() => {
                self.state = State::Aborting;
            }
            (Ask::Commit | Ask::Abort | Ask::Settle { .. } | Ask::Renew { .. }, _) => {}
        }
        Came::Nothing
    }

    fn not_added(&mut self, code: Option<ErrorCode>) -> Came {
        // As far as is known, the transaction has begun.
        self.state = State::Open;
        let joining = std::mem::take(&mut self.joining);
        let of_partition = code.filter(|code| {
            !code.class().retryable() || code.class() == RetryClass::RefreshMetadata
        });
        match (of_partition, joining.first()) {
            (Some(code), Some(key)) if joining.len() == 1 => match code.class().retryable() {
                true => Came::Delayed(*key),
                false => Came::Refused(*key, code),
            },
            _ => {
                self.singly |= of_partition.is_some();
                self.waiting.extend(joining);
                Came::Nothing
            }
        }
    }

    /// Somebody else has the id: another instance, or the coordinator, which takes it away when a transaction lasts too
    /// long.
    fn replaced(&mut self, now: Moment) -> Came {
        let is_open = !self.members.is_empty() || !self.joining.is_empty();
        if is_open && now - self.opened_at >= self.settings.transaction_timeout {
            self.state = State::Renewing { anew: true };
            return Came::Nothing;
        }
        self.state = State::Fenced;
        Came::Fenced
    }

    /// Nobody has joined a round since it has become doubtful whether the last one has ended everywhere.
    fn is_unsettled(&self) -> bool {
        self.unsure && self.members.is_empty() && !self.last.is_empty()
    }

    /// The round is over; answers who took part.
    fn end(&mut self, counts: bool) -> BTreeSet<PartitionKey> {
        self.state = State::Idle;
        self.broken = false;
        self.bytes = 0;
        self.singly = false;
        self.waiting.append(&mut self.joining);
        let members = std::mem::take(&mut self.members);
        if !members.is_empty() {
            self.last = members.clone();
            self.counts = counts;
        }
        members
    }

    fn take_waiting(&mut self, now: Moment) -> Option<Ask> {
        if self.state == State::Idle {
            self.opened_at = now;
        }
        let members = &self.members;
        self.waiting.retain(|key| !members.contains(key));
        self.joining = match self.singly {
            true => self.waiting.pop_first().into_iter().collect(),
            false => std::mem::take(&mut self.waiting),
        };
        (!self.joining.is_empty()).then_some(Ask::Add)
    }

    fn is_over(&self, now: Moment) -> bool {
        let age = now - self.opened_at;
        let is_old = match self.settings.boundary {
            Boundary::Poll => {
                let rests = self.rests() && age >= MIN_AGE;
                rests || age >= MAX_AGE || self.bytes >= MAX_BYTES
            }
            Boundary::Interval(_) => age >= self.interval(),
        };
        is_old || self.draining
    }

    fn rests(&self) -> bool {
        self.under_way == 0 && self.waiting.is_empty() && !self.waits
    }

    fn interval(&self) -> Duration {
        match self.settings.boundary {
            Boundary::Poll => MAX_AGE,
            // A transaction that lasts too long is aborted.
            Boundary::Interval(interval) => interval.min(self.settings.transaction_timeout / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);
    const FENCED: Result<(), Option<ErrorCode>> = Err(Some(ErrorCode::PRODUCER_FENCED));
    const DENIED: ErrorCode = ErrorCode::TOPIC_AUTHORIZATION_FAILED;

    struct World {
        round: Round,
        now: Moment,
        rng: fastrand::Rng,
    }

    impl World {
        fn new() -> Self {
            let boundary = Boundary::Poll;
            let settings = RoundSettings { boundary, transaction_timeout: TIMEOUT };
            let rng = fastrand::Rng::with_seed(3);
            Self { round: Round::new(settings), now: Moment::default(), rng }
        }

        /// A round with these members, of which each has sent one batch.
        fn open(keys: &[PartitionKey]) -> Self {
            let mut world = Self::new();
            keys.iter().for_each(|key| assert!(!world.round.admits(*key)));
            assert_eq!(world.advance(), Some(Ask::Add));
            assert_eq!(world.answer(Ok(())), Came::Joined(keys.iter().copied().collect()));
            for key in keys {
                assert!(world.round.admits(*key));
                world.round.sent(100);
            }
            world
        }

        fn advance(&mut self) -> Option<Ask> {
            self.round.advance(self.now, false)
        }

        fn later(&mut self) -> Option<Ask> {
            self.now = self.round.deadline().expect("something to wait for");
            self.advance()
        }

        fn answer(&mut self, answer: Result<(), Option<ErrorCode>>) -> Came {
            self.round.on_answer(self.now, answer, &mut self.rng)
        }
    }

    #[test]
    fn a_round_ends_when_nothing_more_waits() {
        let mut world = World::open(&[1, 2]);
        assert_eq!(world.later(), None, "answers are missing");
        world.round.answered();
        world.round.answered();
        assert_eq!(world.advance(), Some(Ask::Positions));
        assert!(!world.round.admits(1), "it comes too late for this round");
        assert_eq!(world.answer(Ok(())), Came::Nothing);
        assert_eq!(world.advance(), Some(Ask::Commit));
        assert_eq!(world.answer(Ok(())), Came::Committed([1, 2].into()));
        assert_eq!(world.advance(), Some(Ask::Add), "for who came too late");
        assert_eq!(world.round.joining(), &[1].into());
    }

    #[test]
    fn a_commit_is_asked_for_until_it_is_known() {
        let mut world = World::open(&[1]);
        world.round.answered();
        assert_eq!(world.later(), Some(Ask::Positions));
        world.answer(Ok(()));
        assert_eq!(world.advance(), Some(Ask::Commit));
        for code in [None, Some(ErrorCode::REQUEST_TIMED_OUT)] {
            assert_eq!(world.answer(Err(code)), Came::Nothing);
            assert_eq!(world.advance(), None, "not at once");
            assert_eq!(world.later(), Some(Ask::Commit));
        }
        assert_eq!(world.answer(Ok(())), Came::Committed([1].into()));
        assert!(world.round.is_idle());
    }

    #[test]
    fn what_is_unclear_counts_no_more() {
        let mut world = World::open(&[1, 2]);
        world.round.answered();
        world.round.break_off(1);
        assert_eq!(world.advance(), None, "the other answer is still to come");
        world.round.answered();
        assert_eq!(world.advance(), Some(Ask::Abort));
        world.answer(Err(None));
        assert_eq!(world.later(), Some(Ask::Abort));
        world.answer(Ok(()));
        assert_eq!(world.advance(), Some(Ask::Renew { anew: false }));
        assert_eq!(world.answer(Ok(())), Came::Aborted([1, 2].into()));
        assert!(world.round.is_idle());
    }

    #[test]
    fn positions_of_unknown_fate_break_the_round() {
        let mut world = World::open(&[1]);
        world.round.answered();
        assert_eq!(world.later(), Some(Ask::Positions));
        world.answer(Err(None));
        assert_eq!(world.later(), Some(Ask::Abort));
    }

    #[test]
    fn who_cannot_be_added_is_found() {
        let mut world = World::new();
        [1, 2].iter().for_each(|key| assert!(!world.round.admits(*key)));
        assert_eq!(world.advance(), Some(Ask::Add));
        assert_eq!(world.answer(Err(Some(DENIED))), Came::Nothing);
        assert_eq!(world.later(), Some(Ask::Add));
        assert_eq!(world.answer(Err(Some(DENIED))), Came::Refused(1, DENIED));
        assert_eq!(world.later(), Some(Ask::Add));
        assert_eq!(world.answer(Ok(())), Came::Joined([2].into()));
        assert_eq!(world.later(), Some(Ask::Commit), "nothing was sent");
    }

    #[test]
    fn who_is_replaced_stops_unless_it_took_too_long() {
        let mut world = World::open(&[1]);
        world.round.break_off(1);
        world.round.answered();
        assert_eq!(world.advance(), Some(Ask::Abort));
        assert_eq!(world.answer(FENCED), Came::Fenced);
        assert_eq!(world.advance(), None);

        let mut world = World::open(&[1]);
        world.round.break_off(1);
        world.round.answered();
        assert_eq!(world.advance(), Some(Ask::Abort));
        world.now = world.now + TIMEOUT;
        assert_eq!(world.answer(FENCED), Came::Nothing);
        assert_eq!(world.advance(), Some(Ask::Renew { anew: true }));
        assert_eq!(world.answer(Ok(())), Came::Aborted([1].into()));
    }

    #[test]
    fn a_drain_ends_the_round_and_begins_none() {
        let mut world = World::open(&[1]);
        world.round.drain();
        assert!(!world.round.is_idle());
        assert_eq!(world.advance(), None);
        world.round.answered();
        assert_eq!(world.advance(), Some(Ask::Positions));
        world.answer(Ok(()));
        assert_eq!(world.advance(), Some(Ask::Commit));
        world.round.admits(2);
        world.answer(Ok(()));
        assert_eq!(world.advance(), None);
        assert!(world.round.is_idle());
    }

    #[test]
    fn a_round_is_settled_before_the_next_when_a_broker_was_away() {
        let mut world = World::open(&[1]);
        world.round.answered();
        assert_eq!(world.later(), Some(Ask::Positions));
        world.answer(Ok(()));
        assert_eq!(world.advance(), Some(Ask::Commit));
        assert_eq!(world.answer(Ok(())), Came::Committed([1].into()));
        world.round.admits(2);
        assert_eq!(world.advance(), Some(Ask::Add));
        world.round.lost_broker();
        assert_eq!(world.answer(Ok(())), Came::Nothing, "nothing may be sent yet");
        assert_eq!(world.advance(), Some(Ask::Settle { counts: true }));
        assert_eq!(world.round.last(), &[1].into());
        world.answer(Err(None));
        assert_eq!(world.later(), Some(Ask::Settle { counts: true }));
        world.round.lost_broker();
        world.answer(Ok(()));
        assert_eq!(world.advance(), Some(Ask::Settle { counts: true }), "lost again meanwhile");
        world.answer(Ok(()));
        assert_eq!(world.advance(), Some(Ask::Add));
        assert_eq!(world.answer(Ok(())), Came::Joined([2].into()));
        world.round.lost_broker();
        assert_eq!(world.later(), Some(Ask::Commit), "the round is under way");
        assert_eq!(world.answer(Ok(())), Came::Committed([2].into()));
        assert_eq!(world.advance(), Some(Ask::Settle { counts: true }));
    }

    #[test]
    fn what_was_aborted_stays_aborted_when_a_broker_was_away() {
        let mut world = World::open(&[1]);
        world.round.lost_broker();
        world.round.break_off(1);
        world.round.answered();
        assert_eq!(world.advance(), Some(Ask::Abort));
        world.answer(Ok(()));
        assert_eq!(world.advance(), Some(Ask::Renew { anew: false }));
        assert_eq!(world.answer(Ok(())), Came::Aborted([1].into()));
        assert_eq!(world.advance(), Some(Ask::Settle { counts: false }));
    }

    #[test]
    fn an_id_that_was_forgotten_is_taken_anew() {
        let mut world = World::new();
        world.round.admits(1);
        assert_eq!(world.advance(), Some(Ask::Add));
        world.answer(Err(Some(ErrorCode::INVALID_PRODUCER_ID_MAPPING)));
        assert_eq!(world.later(), Some(Ask::Renew { anew: true }));
        world.answer(Ok(()));
        assert_eq!(world.advance(), Some(Ask::Add), "it still waits");
    }
}
