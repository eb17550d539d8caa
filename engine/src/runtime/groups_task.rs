//! The consumer groups of one flow: looks for them at the source, has their positions translated, writes checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use protocol_client::client::{CommittedOffset, GroupOffsets, ListedGroup};
use protocol_client::cluster::TopicPartition;
use protocol_client::wire::error_code::ErrorCode;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::attempts::every;
use super::clock::Clock;
use super::clusters::FlowClients;
use super::group_sync::GroupSync;
use super::indexes::{Ask, Indexes};
use super::internal_topics::{self, ensure_internal_topic};
use super::tell::{Troubles, refusal};
use crate::config::{FlowConfig, GroupsConfig};
use crate::groups::checkpoints::{Cause, Checkpoints, Emission, Offer};
use crate::groups::selection::{self, Listed, Route};
use crate::index::Translation;
use crate::model::Side;

/// Groups that one call asks about.
const GROUPS_AT_ONCE: usize = 500;
/// Positions that the shards are asked about at once: records do not wait longer than it takes to answer.
const ASKS_AT_ONCE: usize = 4096;
/// Wait between attempts to open the checkpoints topic, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What the groups of a flow are followed with.
#[derive(Debug)]
pub(super) struct GroupsSetup {
    pub(super) flow: Arc<str>,
    pub(super) config: FlowConfig,
    pub(super) groups: GroupsConfig,
    pub(super) clients: FlowClients,
    pub(super) indexes: Indexes,
    /// Those of the flow from the target to the source, if it runs here, too.
    pub(super) indexes_back: Option<Indexes>,
    pub(super) clock: Clock,
}

/// Follows groups until it is told to stop and how long it may take for a last round: who stops a flow to move its
/// consumers finds them where they are, not where they were a minute ago. Trouble is told, never final.
pub(super) async fn run(setup: GroupsSetup, mut stop: watch::Receiver<Option<Duration>>) {
    let mut task = GroupsTask {
        sync: GroupSync::new(&setup),
        setup,
        checkpoints: Checkpoints::default(),
        followed: None,
        tells_unknown: false,
        troubles: BTreeMap::new(),
    };
    let patience = tokio::select! {
        biased;
        stop = stop.wait_for(Option::is_some) => stop.ok().and_then(|patience| *patience),
        () = task.work() => None,
    };
    if timeout(patience.unwrap_or_default(), task.finish()).await.is_err() {
        warn!(
            flow = &*task.setup.flow,
            "the last positions of consumer groups were not written in time"
        );
    }
}

/// What there may be trouble with for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Open,
    Look,
    Read,
    Write,
}

struct GroupsTask {
    setup: GroupsSetup,
    sync: GroupSync,
    checkpoints: Checkpoints,
    /// None until they have been looked for.
    followed: Option<BTreeSet<String>>,
    /// People have heard that some positions cannot be translated.
    tells_unknown: bool,
    troubles: BTreeMap<Work, Troubles>,
}

/// A committed position, and what has to be asked about it: the flow, or the flow back about its target.
type Asked = (Ask, Offer);

impl GroupsTask {
    async fn work(&mut self) {
        self.open_until_done().await;
        self.look_for_groups().await;
        let groups = &self.setup.groups;
        let never = Duration::from_secs(365 * 24 * 3600);
        let mut look = every(groups.refresh.unwrap_or(never));
        let mut check = every(groups.checkpoints.interval);
        let mut sync = every(groups.sync_offsets.unwrap_or(never));
        loop {
            tokio::select! {
                _ = look.tick() => self.look_for_groups().await,
                _ = check.tick() => {
                    if self.followed.is_none() {
                        self.look_for_groups().await;
                    }
                    let goes_back = self.check().await;
                    if goes_back && self.setup.groups.sync_offsets.is_some() {
                        self.sync.run(&mut self.checkpoints).await;
                    }
                }
                _ = sync.tick() => self.sync.run(&mut self.checkpoints).await,
            }
        }
    }

    async fn finish(&mut self) {
        if self.followed.is_some() {
            self.look_for_groups().await;
            self.check().await;
            if self.setup.groups.sync_offsets.is_some() {
                self.sync.run(&mut self.checkpoints).await;
            }
        }
    }

    async fn open_until_done(&mut self) {
        let mut wait = RETRY.0;
        while let Err(trouble) = self.open().await {
            self.trouble(Work::Open, &trouble);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
        self.works(Work::Open);
    }

    /// Finds or creates the checkpoints topic, and reads what was written before: nothing goes back by a restart.
    async fn open(&mut self) -> Result<(), String> {
        let (client, partition) = (&self.setup.clients.target, self.partition());
        let topic = &*partition.topic;
        let resource = format!("topic {topic} of cluster {}", self.setup.config.target.alias);
        let factor = self.setup.groups.checkpoints.replication_factor;
        let ensured = ensure_internal_topic(client, topic, 1, factor, &BTreeMap::new()).await;
        ensured.map_err(|error| {
            let what = refusal(&error, "CREATE", &resource);
            format!("{what} ({resource} is created with checkpoints.topic.replication.factor = {factor})")
        })?;
        let mut checkpoints = Checkpoints::default();
        let read = internal_topics::read(client, &partition, |offset, body| match body {
            Ok(body) => checkpoints.absorb(offset, body.key, body.value),
            Err(_) => checkpoints.skip(offset),
        });
        let flow = &*self.setup.flow;
        match read.await {
            Ok(()) => {}
            Err(error) if error.code().is_some_and(ErrorCode::is_authorization) => {
                warn!(
                    flow,
                    "earlier checkpoints are not known: {}",
                    refusal(&error, "READ", &resource)
                );
            }
            Err(error) => return Err(refusal(&error, "READ", &resource)),
        }
        if let Some((count, first)) = checkpoints.skipped() {
            warn!(
                flow,
                "{count} records are no checkpoints and were skipped, the first at offset {first} of {partition}"
            );
        }
        self.checkpoints = checkpoints;
        Ok(())
    }

    /// Which groups there are: those that are selected and have a position in a topic that is translated.
    async fn look_for_groups(&mut self) {
        let known = self.followed.take().unwrap_or_default();
        let mut tally = Tally::default();
        let source = &self.setup.clients.source;
        let listed = match source.list_groups(&[], &[]).await {
            Ok(listed) => listed,
            Err(error) => {
                self.followed = (!known.is_empty()).then_some(known);
                return self.trouble(Work::Look, &error.to_string());
            }
        };
        let mut candidates = BTreeSet::new();
        for (broker, groups) in listed {
            match groups {
                Ok(groups) => candidates.extend(
                    groups
                        .into_iter()
                        .filter(|group| self.is_followed(group))
                        .map(|group| group.id),
                ),
                Err(error) => {
                    tally.add(format!("those of broker {broker}: {error}"));
                    candidates.extend(known.iter().cloned());
                }
            }
        }
        let candidates: Vec<String> = candidates.into_iter().collect();
        let mut followed = BTreeSet::new();
        for some in candidates.chunks(GROUPS_AT_ONCE) {
            let offsets = self.offsets(some, &mut tally).await;
            let has_position = |group: &&String| match offsets.get(*group) {
                Some(offsets) => offsets.keys().any(|at| self.route(&at.topic).is_some()),
                None => known.contains(*group),
            };
            followed.extend(some.iter().filter(has_position).cloned());
        }
        if followed != known {
            info!(flow = &*self.setup.flow, "{} consumer groups are followed", followed.len());
        }
        self.sync.forget_others(&followed);
        self.followed = Some(followed);
        self.tell(Work::Look, &tally);
    }

    /// Translates the positions of all groups and writes what changed; answers whether a group was set back.
    async fn check(&mut self) -> bool {
        let Some(followed) = &self.followed else { return false };
        let followed: Vec<String> = followed.iter().cloned().collect();
        let mut tally = Tally::default();
        let mut goes_back = false;
        // Not replicated yet, or from before the index began.
        let mut unknown = Tally::default();
        for some in followed.chunks(GROUPS_AT_ONCE) {
            let asked = self.asked(some, &mut tally).await;
            let offers = self.translate(asked).await;
            for Offer { group, partition, upstream, .. } in
                offers.iter().filter(|offer| offer.translation == Translation::Unknown)
            {
                unknown.add(format!("{group}, {partition}, at {upstream} of the source"));
            }
            let emissions = offers.iter().filter_map(|offer| self.checkpoints.offer(offer));
            let emissions: Vec<Emission> = emissions.collect();
            match self.write(emissions).await {
                Some(has_rewinds) => goes_back |= has_rewinds,
                None => break,
            }
        }
        self.tell(Work::Read, &tally);
        self.tell_unknown(&unknown);
        goes_back
    }

    /// The positions of some groups that are to be translated.
    async fn asked(&self, groups: &[String], tally: &mut Tally) -> Vec<Asked> {
        let mut asked = Vec::new();
        for (group, offsets) in self.offsets(groups, tally).await {
            let group: Arc<str> = group.into();
            for (partition, committed) in offsets {
                match committed {
                    Ok(committed) => asked.extend(self.ask(&group, &partition, committed)),
                    // A transaction decides about it; the next round sees what it came to.
                    Err(error) if error.code() == Some(ErrorCode::UNSTABLE_OFFSET_COMMIT) => {}
                    Err(error) => {
                        let topic =
                            format!("topic {} of cluster {}", partition.topic, self.source());
                        let what = refusal(&error, "DESCRIBE", &topic);
                        tally.add(format!("{group} in {partition}: {what}"));
                    }
                }
            }
        }
        asked
    }

    fn ask(
        &self,
        group: &Arc<str>,
        partition: &TopicPartition,
        committed: CommittedOffset,
    ) -> Option<Asked> {
        let route = self.route(&partition.topic)?;
        let target = TopicPartition::new(route.target(), partition.partition);
        let (topic, side) = match route {
            Route::Forward { .. } => (partition.topic.clone(), Side::Source),
            Route::Back { .. } => (target.topic.clone(), Side::Target),
        };
        let position = committed.offset;
        let ask = Ask { topic, index: partition.partition, side, position };
        let offer = Offer {
            group: group.clone(),
            partition: target,
            upstream: position,
            translation: Translation::Unknown,
            metadata: committed.metadata,
        };
        Some((ask, offer))
    }

    async fn translate(&self, asked: Vec<Asked>) -> Vec<Offer> {
        let (forward, back): (Vec<Asked>, Vec<Asked>) =
            asked.into_iter().partition(|(ask, _)| ask.side == Side::Source);
        let mut offers = Vec::with_capacity(back.len() + forward.len());
        let flows =
            [(Some(&self.setup.indexes), forward), (self.setup.indexes_back.as_ref(), back)];
        for (indexes, asked) in flows {
            let Some(indexes) = indexes.filter(|_| !asked.is_empty()) else { continue };
            let (asks, asked): (Vec<Ask>, Vec<Offer>) = asked.into_iter().unzip();
            let mut answers = Vec::with_capacity(asks.len());
            for some in asks.chunks(ASKS_AT_ONCE) {
                answers.extend(indexes.translate(some).await);
            }
            let answered = asked.into_iter().zip(answers);
            offers.extend(answered.map(|(offer, translation)| Offer { translation, ..offer }));
        }
        offers
    }

    /// Answers whether a group was set back; none if nothing could be written.
    async fn write(&mut self, emissions: Vec<Emission>) -> Option<bool> {
        let mut records = Vec::with_capacity(emissions.len());
        let mut written = Vec::with_capacity(emissions.len());
        for emission in emissions {
            let checkpoint = &emission.checkpoint;
            match checkpoint
                .encode_key()
                .and_then(|key| Ok((key, Some(checkpoint.encode_value()?))))
            {
                Ok(record) => {
                    records.push(record);
                    written.push(emission);
                }
                Err(error) => {
                    self.trouble(Work::Write, &format!("group {}: {error}", checkpoint.group))
                }
            }
        }
        let partition = self.partition();
        let now_ms = self.setup.clock.wall_ms();
        let target = &self.setup.clients.target;
        if let Err(error) = internal_topics::append(target, &partition, records, now_ms).await {
            let alias = &self.setup.config.target.alias;
            let topic = format!("topic {} of cluster {alias}", partition.topic);
            self.trouble(Work::Write, &refusal(&error, "WRITE", &topic));
            return None;
        }
        self.works(Work::Write);
        for emission in &written {
            self.checkpoints.written(emission);
            tell_emission(&self.setup.flow, emission);
        }
        Some(written.iter().any(|emission| emission.cause == Cause::Rewound))
    }

    /// What groups have committed; those that could not be asked are left out and counted.
    async fn offsets(
        &self,
        groups: &[String],
        tally: &mut Tally,
    ) -> BTreeMap<String, GroupOffsets> {
        let wanted = groups.iter().map(|group| (group.clone(), None)).collect();
        let mut offsets = BTreeMap::new();
        for (group, fetched) in self.setup.clients.source.fetch_group_offsets(&wanted, true).await {
            match fetched {
                Ok(fetched) => drop(offsets.insert(group, fetched)),
                Err(error) => {
                    let resource = format!("group {group} of cluster {}", self.source());
                    tally.add(format!("{group}: {}", refusal(&error, "DESCRIBE", &resource)));
                }
            }
        }
        offsets
    }

    fn is_followed(&self, group: &ListedGroup) -> bool {
        let listed = Listed {
            id: &group.id,
            protocol_type: &group.protocol_type,
            kind: group.kind.as_deref(),
        };
        selection::is_followed(&self.setup.groups.filter, listed).unwrap_or_else(|error| {
            debug!(flow = &*self.setup.flow, "group {}: {error}", group.id);
            false
        })
    }

    fn route(&self, topic: &str) -> Option<Route> {
        let has_flow_back = self.setup.indexes_back.is_some();
        selection::route(&self.setup.config, has_flow_back, topic).unwrap_or_else(|error| {
            debug!(flow = &*self.setup.flow, "topic {topic}: {error}");
            None
        })
    }

    fn partition(&self) -> TopicPartition {
        TopicPartition::new(self.setup.config.naming.checkpoints_topic(), 0)
    }

    fn source(&self) -> &str {
        &self.setup.config.source.alias
    }

    /// Said once for as long as there are any: these groups are not on the target yet.
    fn tell_unknown(&mut self, unknown: &Tally) {
        let is_known = std::mem::replace(&mut self.tells_unknown, unknown.first.is_some());
        match &unknown.first {
            Some(first) if !is_known => info!(
                flow = &*self.setup.flow,
                "{} positions of consumer groups lie in what is not replicated, or before what is known of it: no \
                 checkpoints are written for them yet; the first: {first}",
                unknown.count
            ),
            _ => {}
        }
    }

    fn tell(&mut self, work: Work, tally: &Tally) {
        match &tally.first {
            None => self.works(work),
            Some(first) => {
                let problem =
                    format!("{} could not be asked about, the first: {first}", tally.count);
                self.trouble(work, &problem);
            }
        }
    }

    fn trouble(&mut self, work: Work, problem: &str) {
        if !self.troubles.entry(work).or_default().is_new(problem) {
            return;
        }
        let (flow, config) = (&*self.setup.flow, &self.setup.config);
        match work {
            Work::Open => warn!(
                flow,
                "cluster {}: no checkpoints are written: {problem}; tried again until they can",
                config.target.alias
            ),
            Work::Write => warn!(
                flow,
                "cluster {}: checkpoints could not be written: {problem}; tried again with the next",
                config.target.alias
            ),
            Work::Look => warn!(
                flow,
                "cluster {}: consumer groups could not be looked for: {problem}",
                config.source.alias
            ),
            Work::Read => warn!(
                flow,
                "cluster {}: positions of consumer groups are missing: {problem}",
                config.source.alias
            ),
        }
    }

    fn works(&mut self, work: Work) {
        if self.troubles.entry(work).or_default().are_over() {
            let flow = &*self.setup.flow;
            match work {
                Work::Open | Work::Write => info!(flow, "checkpoints are written again"),
                Work::Look | Work::Read => info!(flow, "consumer groups answer again"),
            }
        }
    }
}

/// Failures of one round: how many, and the first.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) count: usize,
    pub(super) first: Option<String>,
}

impl Tally {
    pub(super) fn add(&mut self, problem: String) {
        self.count += 1;
        self.first.get_or_insert(problem);
    }
}

fn tell_emission(flow: &str, emission: &Emission) {
    let Emission { checkpoint, cause } = emission;
    let (group, topic, partition) = (&checkpoint.group, &checkpoint.topic, checkpoint.partition);
    let (upstream, downstream) = (checkpoint.upstream_offset, checkpoint.downstream_offset);
    match cause {
        Cause::First | Cause::Advanced => {
            debug!(flow, group, topic, partition, upstream, downstream, "checkpoint");
        }
        Cause::Rewound => info!(
            flow,
            group,
            topic,
            partition,
            upstream,
            downstream,
            "the group was set back at the source, and so is its checkpoint"
        ),
        Cause::Corrected => warn!(
            flow,
            group,
            topic,
            partition,
            upstream,
            downstream,
            "the checkpoint that was written before lay ahead of the truth; it is set right"
        ),
    }
}
