//! What goes wrong: drawn from the seed, a few kinds in each run.

use embedded_broker::core::faults::{Fault, FaultAction};
use embedded_broker::core::log::Log;
use embedded_broker::core::{Broker, TopicSpec};
use engine::flow::event::NodeId;
use engine::flow::settings::{DivergencePolicy, GapPolicy};
use engine::model::Side;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;

use crate::translate;
use crate::truth::Cause;
use crate::world::{Item, NODES, PARTITIONS, World, topic};

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A partition gets another leader.
    Leader,
    /// A broker dies and comes back.
    Node,
    /// Requests are refused, delayed, lost, or their answers are.
    Fault,
    /// The process is killed and started again.
    Kill,
    /// Another process is started while the first still runs.
    Overlap,
    /// A leader of the source is elected that lacks the end of the log.
    TruncateSource,
    /// The same at the target.
    TruncateTarget,
    /// The oldest records of the source are deleted.
    RetainSource,
    /// Those of the target.
    RetainTarget,
    /// The source is compacted.
    CompactSource,
    /// The target is compacted.
    CompactTarget,
    /// The topic of the source is deleted and created again.
    RecreateSource,
    /// The copy is.
    RecreateTarget,
    /// Somebody writes to the target.
    Intruder,
    /// The followers at the source lag: its end is hidden.
    HideSource,
    /// The same at the target.
    HideTarget,
    /// The target forgets what producers wrote last.
    Forget,
    /// Requests arrive whose connection is gone.
    Ghosts,
}

/// What every run has.
const ALWAYS: [Trouble; 3] = [Trouble::Leader, Trouble::Node, Trouble::Fault];

/// What a run may have besides.
const SOMETIMES: [Trouble; 15] = [
    Trouble::RetainSource,
    Trouble::RetainTarget,
    Trouble::CompactSource,
    Trouble::CompactTarget,
    Trouble::HideSource,
    Trouble::HideTarget,
    Trouble::Kill,
    Trouble::Overlap,
    Trouble::TruncateSource,
    Trouble::TruncateTarget,
    Trouble::RecreateSource,
    Trouble::RecreateTarget,
    Trouble::Intruder,
    Trouble::Forget,
    Trouble::Ghosts,
];

/// What one run is made of.
#[derive(Debug)]
pub(crate) struct Plan {
    troubles: Vec<Trouble>,
    /// A connection is cut before one in so many events; 0 for never.
    pub(crate) cuts: u32,
    /// Requests arrive whose connection is gone.
    pub(crate) ghosts: bool,
    /// Producers at the source use transactions.
    pub(crate) transactions: bool,
    /// What kmirror is told to do about records that are gone at the source.
    pub(crate) on_gap: GapPolicy,
    /// The same about a target that lacks what was copied.
    pub(crate) on_divergence: DivergencePolicy,
    /// Records share keys, as in topics that are compacted.
    pub(crate) keyed: bool,
}

impl Plan {
    pub(crate) fn drawn(rng: &mut fastrand::Rng) -> Self {
        let mut troubles = ALWAYS.to_vec();
        let only = std::env::var_os("SIM_ONLY").unwrap_or_default();
        let only = only.to_string_lossy();
        let is_possible = |trouble: &Trouble| {
            only.is_empty() || only.split(',').any(|name| name == format!("{trouble:?}"))
        };
        let possible: Vec<Trouble> = SOMETIMES.into_iter().filter(is_possible).collect();
        let least = usize::from(!only.is_empty());
        for _ in 0..rng.usize(least..4) {
            troubles.push(possible[rng.usize(0..possible.len())]);
        }
        let compacts =
            |one: &Trouble| matches!(one, Trouble::CompactSource | Trouble::CompactTarget);
        Self {
            cuts: [0, 0, 300, 30][rng.usize(0..4)],
            ghosts: troubles.contains(&Trouble::Ghosts) && !troubles.contains(&Trouble::Forget),
            transactions: rng.bool(),
            on_gap: if rng.u8(0..6) == 0 { GapPolicy::Fail } else { GapPolicy::Continue },
            on_divergence: match rng.bool() {
                true => DivergencePolicy::Fail,
                false => DivergencePolicy::Resume,
            },
            keyed: troubles.iter().any(compacts),
            troubles,
        }
    }
}

impl Plan {
    /// Whether the target forgets producers. A broker that has forgotten one takes its second batch though it has refused
    /// the first, and an old request once more: then nothing but one batch at a time keeps them in order. So these things
    /// do not come together here.
    pub(crate) fn forgets(&self) -> bool {
        self.troubles.contains(&Trouble::Forget)
    }
}

impl World {
    pub(crate) fn break_something(&mut self) {
        let trouble = self.plan.troubles[self.rng.usize(0..self.plan.troubles.len())];
        self.make(trouble);
        if self.is_troubled() {
            let pause = self.rng.i64(50..1_500);
            self.after(pause, Item::Break);
        }
    }

    fn make(&mut self, trouble: Trouble) {
        let side = if self.rng.bool() { Side::Source } else { Side::Target };
        let node = self.rng.i32(0..NODES);
        let index = self.rng.i32(0..PARTITIONS);
        match trouble {
            Trouble::Leader => {
                self.say(|| format!("{}-{index} moves to node {node}", topic(side)));
                self.broker(side).move_leader(topic(side), index, node);
            }
            Trouble::Node => self.kill_node(side, node),
            Trouble::Fault => self.order_fault(side, node),
            Trouble::Kill => self.restart(false),
            Trouble::Overlap => self.restart(true),
            Trouble::TruncateSource => self.truncate(Side::Source, index),
            Trouble::TruncateTarget => self.truncate(Side::Target, index),
            Trouble::RetainSource => self.retain(Side::Source, index),
            Trouble::RetainTarget => self.retain(Side::Target, index),
            Trouble::CompactSource => self.compact(Side::Source),
            Trouble::CompactTarget => self.compact(Side::Target),
            Trouble::RecreateSource => self.recreate(Side::Source),
            Trouble::RecreateTarget => self.recreate(Side::Target),
            Trouble::Intruder => self.intrude(),
            Trouble::HideSource => self.hide(Side::Source, index),
            Trouble::HideTarget => self.hide(Side::Target, index),
            Trouble::Ghosts => {}
            // It has been silent for long then: what it wrote last is seen, and who was shut out has ended.
            Trouble::Forget
                if self.instances.len() > 1
                    || (0..PARTITIONS).any(|index| self.is_hidden(index)) => {}
            Trouble::Forget => {
                self.say(|| "the target forgets its producers".to_owned());
                let now_ms = self.now_ms;
                self.target.expire_producers(now_ms, i64::MIN);
            }
        }
    }

    fn kill_node(&mut self, side: Side, node: NodeId) {
        self.say(|| format!("node {node} of the {side} dies"));
        let of_node = self
            .connections
            .iter()
            .filter(|(_, connection)| (connection.lane.side, connection.lane.node) == (side, node));
        let lost: Vec<_> = of_node.map(|(id, _)| *id).collect();
        self.broker(side).kill_node(node);
        lost.into_iter().for_each(|id| self.lose(id));
        let away = self.rng.i64(10..4_000);
        self.after(away, Item::Mend(side, node));
    }

    /// Another process takes the place of the one that runs.
    fn restart(&mut self, overlap: bool) {
        let Some(id) = self.instances.keys().next_back().copied() else { return };
        let pause_ms = self.rng.i64(0..3_000);
        let (start_ms, end_ms) = if overlap { (0, pause_ms) } else { (pause_ms, 0) };
        self.after(end_ms, Item::Kill(id));
        self.after(start_ms, Item::Start);
    }

    /// A node is elected that lacks the end of the log. What is on its way to the one before does not get there.
    fn truncate(&mut self, side: Side, index: i32) {
        let Some((start, end)) = self.range(side, index) else { return };
        let before = self.leader(side, index);
        let others = (0..NODES).filter(|node| Some(*node) != before);
        let others: Vec<NodeId> = others.filter(|node| self.broker(side).is_alive(*node)).collect();
        if others.is_empty() {
            return;
        }
        let node = others[self.rng.usize(0..others.len())];
        let back = if self.rng.bool() { self.rng.i64(0..20) } else { self.rng.i64(0..300) };
        let at = (end - back).max(start);
        self.say(|| {
            format!("{}-{index} is cut at {at}, it had {start}..{end}: led by {node}", topic(side))
        });
        self.broker(side).truncate(topic(side), index, at);
        self.broker(side).move_leader(topic(side), index, node);
        self.lost(side, index, Cause::Truncation);
        if side == Side::Source {
            self.end_hanging(index);
        }
    }

    fn retain(&mut self, side: Side, index: i32) {
        let Some((start, end)) = self.range(side, index) else { return };
        let at = if self.rng.u8(0..4) == 0 { end } else { self.rng.i64(start..=end) };
        self.say(|| format!("{}-{index} starts at {at} now, not at {start}", topic(side)));
        if side == Side::Target {
            // While it looks for what a cut has left, what is stored is not believed.
            let is_looking = self.instances.values().any(|one| one.looks_for_cut(index));
            let stored = if is_looking { 0 } else { self.stored_target_next(index) };
            self.truths[index as usize].may_be_forgotten(stored);
        }
        // Beyond the high watermark it is refused.
        let _ = self.broker(side).delete_records(topic(side), index, at);
        self.lost(side, index, Cause::Retention);
    }

    fn compact(&mut self, side: Side) {
        self.say(|| format!("{} is compacted", topic(side)));
        let now_ms = self.now_ms;
        self.broker(side).compact(topic(side), now_ms);
        (0..PARTITIONS).for_each(|index| self.lost(side, index, Cause::Compaction));
    }

    /// Once in a run, and never where topics have no ids: nobody could tell.
    fn recreate(&mut self, side: Side) {
        let recreates =
            |one: &Trouble| matches!(one, Trouble::RecreateSource | Trouble::RecreateTarget);
        self.plan.troubles.retain(|one| !recreates(one));
        if !self.versions.have_ids() {
            return;
        }
        self.say(|| format!("{} is deleted", topic(side)));
        self.broker(side).delete_topic(&translate::name(topic(side)));
        for truth in &mut self.truths {
            match side {
                Side::Source => truth.source_lost(&Log::default(), Cause::Recreation),
                Side::Target => truth.target_lost(&Log::default(), Cause::Recreation),
            }
        }
        let pause_ms = self.rng.i64(0..2_000);
        self.after(pause_ms, Item::Create(side));
    }

    pub(crate) fn create(&mut self, side: Side) {
        self.say(|| format!("{} is created again", topic(side)));
        let created = self.broker(side).create_topic(TopicSpec::new(topic(side), PARTITIONS));
        // There may be too few nodes, or somebody else has done it.
        if created.is_err() && self.broker(side).topic(topic(side)).is_none() {
            self.after(100, Item::Create(side));
        }
    }

    fn hide(&mut self, side: Side, index: i32) {
        let Some((_, end)) = self.range(side, index) else { return };
        self.say(|| format!("followers of {}-{index} stay behind at {end}", topic(side)));
        self.broker(side).hold_high_watermark(topic(side), index, Some(end));
        let lag_ms = self.rng.i64(10..3_000);
        self.after(lag_ms, Item::Show(side, index));
    }

    /// Whether the target's followers stay behind.
    fn is_hidden(&self, index: i32) -> bool {
        self.target_log(index).is_some_and(|log| log.high_watermark() < log.end_offset())
    }

    fn range(&mut self, side: Side, index: i32) -> Option<(i64, i64)> {
        let log = self.broker(side).partition(topic(side), index)?.log()?;
        Some((log.start_offset(), log.end_offset()))
    }

    /// The truth takes note of what is left.
    pub(crate) fn lost(&mut self, side: Side, index: i32, cause: Cause) {
        let broker: &Broker = match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        let found = broker.partition(topic(side), index);
        let Some(log) = found.and_then(|found| found.log()) else { return };
        let truth = &mut self.truths[index as usize];
        match side {
            Side::Source => truth.source_lost(log, cause),
            Side::Target => truth.target_lost(log, cause),
        }
    }

    fn order_fault(&mut self, side: Side, node: NodeId) {
        let api = if side == Side::Source { ApiKey::Fetch } else { ApiKey::Produce };
        let ms = self.rng.i64(1..2_000);
        let actions = [
            FaultAction::ApplyThenDrop,
            FaultAction::CutMidFrame,
            FaultAction::Drop,
            FaultAction::Silence,
            FaultAction::Delay { ms },
            FaultAction::Error(ResponseError::NotLeaderOrFollower),
            FaultAction::Error(ResponseError::RequestTimedOut),
            FaultAction::Error(ResponseError::NotEnoughReplicas),
            FaultAction::Error(ResponseError::UnknownServerError),
        ];
        let forgets = side == Side::Target && self.plan.forgets();
        let possible = if forgets { 5 } else { actions.len() };
        let action = actions[self.rng.usize(0..possible)];
        let times = self.rng.u32(1..4);
        self.say(|| format!("fault at the {side}: {action:?} x{times}"));
        self.broker(side).fault(Fault::new(api, action).node(node).times(times));
    }
}
