//! Reads both logs of every partition of a flow and has them compared.

mod checkpoints;
mod feed;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol_client::ClientError;
use protocol_client::client::{Client, ConfigResource, OffsetSpec};
use protocol_client::cluster::TopicPartition;
use protocol_client::wire::fetch::Isolation;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use checkpoints::Checkpoints;
use feed::Feed;

use super::clusters::{FlowClients, clients, isolation};
use super::topics::{DiscoverError, config_view, look, topics_of};
use crate::config::{FlowConfig, StartFrom};
use crate::discovery::plan::{self, Changes, ConfigView, Pair};
use crate::error::EngineError;
use crate::matching::{Ask, MatchError, Matcher, Start};
use crate::model::Side;
use crate::verify::positions::PositionCheck;
use crate::verify::{
    self, Absent, ConfigDifference, FlowVerdict, PartitionVerdict, Scope, VerifyOptions,
    VerifyProgress,
};

/// Partitions that are compared at once: each holds a few pieces of both logs.
const AT_ONCE: usize = 4;
/// So much of the source may be passed over to find where a range of a sample begins.
const NEAR_RECORDS: u64 = 100_000;

/// Compares all that a flow has copied.
///
/// # Errors
/// A cluster does not do what it is asked for. What keeps single partitions from being compared stands in the verdict.
pub async fn verify(
    config: &FlowConfig,
    options: &VerifyOptions,
    progress: &Arc<VerifyProgress>,
) -> Result<FlowVerdict, EngineError> {
    let refused = |error: DiscoverError| EngineError::Refused {
        cluster: error.cluster(config).to_owned(),
        what: error.to_string(),
    };
    let clients = clients(config);
    let source_view = look(&clients.source, Side::Source).await.map_err(refused)?;
    let source = topics_of(&source_view);
    let target_view = look(&clients.target, Side::Target).await.map_err(refused)?;
    let target = topics_of(&target_view);
    let planned = plan::plan(config, &source, &target).map_err(|error| refused(error.into()))?;
    let names = plan::selected(config, source.keys().map(String::as_str));
    let names = names.map_err(|error| refused(error.into()))?;
    let wanted = |one: &str, other: &str| {
        options.topic.as_deref().is_none_or(|topic| topic == one || topic == other)
    };
    let pairs: Vec<Pair> =
        planned.pairs.iter().filter(|pair| wanted(&pair.source, &pair.target)).cloned().collect();
    let absent = absent(&planned, &names);
    let mut verdict = FlowVerdict {
        flow: config.id(),
        absent: absent.into_iter().filter(|one| wanted(&one.source, &one.target)).collect(),
        ..FlowVerdict::default()
    };
    let configs = Configs::describe(&clients, &pairs).await.map_err(refused)?;
    verdict.configs = configs.compare(config, &pairs).map_err(refused)?;
    // Before the ends of the logs: no checkpoint lies ahead of them then.
    let mut checkpoints = Checkpoints::new();
    let topic = config.naming.checkpoints_topic();
    if let (Some(there), Scope::All) = (target.get(&topic), options.scope) {
        let read = checkpoints::read(&clients.target, &topic, there.partitions).await;
        checkpoints = read.map_err(DiscoverError::at(Side::Target)).map_err(refused)?;
    }
    let spans = Spans::list(&clients, config, &pairs, options.scope).await.map_err(refused)?;
    let total: u64 = spans.0.values().map(|span| (span.end - span.start).unsigned_abs()).sum();
    progress.total.fetch_add(total, Ordering::Relaxed);
    let mut tasks = JoinSet::new();
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    for (at, span) in spans.0 {
        let comparison = Comparison {
            source: Feed::new(&clients.source, &at.0, isolation(config)),
            target: Feed::new(&clients.target, &at.1, Isolation::ReadCommitted),
            begins_late: config.consumer.start == StartFrom::Latest,
            keeps_times: !configs.stamps_anew(&at.1.topic),
            client: clients.source.clone(),
            progress: Arc::clone(progress),
            scope: options.scope,
            positions: PositionCheck::new(checkpoints.remove(&at.1).unwrap_or_default()),
            span,
        };
        let turns = Arc::clone(&turns);
        tasks.spawn(async move {
            let _turn = turns.acquire_owned().await;
            comparison.run(&at.0, &at.1).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        // A task that panicked has said so.
        verdict.partitions.extend(done);
    }
    verdict.partitions.sort_by(|a, b| (&a.source, a.partition).cmp(&(&b.source, b.partition)));
    Ok(verdict)
}

fn absent(planned: &Changes, names: &BTreeMap<&str, String>) -> Vec<Absent> {
    let lacks = |name: &str, from_partition: i32, partitions: i32| {
        let (source, target) = names.iter().find(|(_, target)| *target == name)?;
        Some(Absent {
            source: (*source).to_owned(),
            target: target.clone(),
            from_partition,
            partitions,
        })
    };
    let create = planned.create.iter().filter_map(|topic| lacks(&topic.name, 0, topic.partitions));
    let grow = planned.grow.iter().filter_map(|topic| lacks(&topic.name, topic.from, topic.to));
    create.chain(grow).collect()
}

/// The configs of all topics that are compared.
struct Configs {
    source: BTreeMap<String, Vec<ConfigView>>,
    target: BTreeMap<String, Vec<ConfigView>>,
}

impl Configs {
    async fn describe(clients: &FlowClients, pairs: &[Pair]) -> Result<Self, DiscoverError> {
        let source = describe(&clients.source, pairs.iter().map(|pair| &pair.source)).await;
        let target = describe(&clients.target, pairs.iter().map(|pair| &pair.target)).await;
        Ok(Self {
            source: source.map_err(DiscoverError::at(Side::Source))?,
            target: target.map_err(DiscoverError::at(Side::Target))?,
        })
    }

    fn compare(
        &self,
        config: &FlowConfig,
        pairs: &[Pair],
    ) -> Result<Vec<ConfigDifference>, DiscoverError> {
        let mut differences = Vec::new();
        for pair in pairs {
            let of = |side: &BTreeMap<String, Vec<ConfigView>>, topic: &str| {
                side.get(topic).cloned().unwrap_or_default()
            };
            let (source, target) = (of(&self.source, &pair.source), of(&self.target, &pair.target));
            let source = (pair.source.as_str(), source.as_slice());
            let target = (pair.target.as_str(), target.as_slice());
            differences.extend(verify::configs::compare(config, source, target)?);
        }
        Ok(differences)
    }

    /// Whether the target topic has timestamps of its own.
    fn stamps_anew(&self, target: &str) -> bool {
        let configs = self.target.get(target).into_iter().flatten();
        let mut of_time = configs.filter(|one| one.name == "message.timestamp.type");
        of_time.any(|one| one.value.as_deref() == Some("LogAppendTime"))
    }
}

async fn describe(
    client: &Client,
    topics: impl Iterator<Item = &String>,
) -> Result<BTreeMap<String, Vec<ConfigView>>, ClientError> {
    let resources: Vec<ConfigResource> = topics.cloned().map(ConfigResource::Topic).collect();
    let mut configs = BTreeMap::new();
    for (resource, described) in client.describe_configs(&resources, None).await {
        if let ConfigResource::Topic(topic) = resource {
            let views = described?.into_iter().map(|(name, entry)| config_view(name, entry));
            configs.insert(topic, views.collect());
        }
    }
    Ok(configs)
}

/// What of a partition is compared.
#[derive(Debug, Clone, Copy)]
struct Span {
    source: (i64, i64),
    target: (i64, i64),
    /// Where comparing starts on both sides.
    source_start: i64,
    start: i64,
    end: i64,
}

/// The spans of all partitions, by their names at the source and at the target.
struct Spans(BTreeMap<(TopicPartition, TopicPartition), Span>);

impl Spans {
    async fn list(
        clients: &FlowClients,
        config: &FlowConfig,
        pairs: &[Pair],
        scope: Scope,
    ) -> Result<Self, DiscoverError> {
        let partitions: Vec<(TopicPartition, TopicPartition)> = pairs
            .iter()
            .flat_map(|pair| {
                let at = |topic: &str, index| TopicPartition::new(topic, index);
                (0..pair.partitions).map(move |i| (at(&pair.source, i), at(&pair.target, i)))
            })
            .collect();
        let source_isolation = isolation(config);
        let list = async |side: Side, spec: OffsetSpec| {
            let (client, isolation) = match side {
                Side::Source => (&clients.source, source_isolation),
                Side::Target => (&clients.target, Isolation::ReadCommitted),
            };
            let named = partitions.iter().map(|(source, target)| match side {
                Side::Source => source.clone(),
                Side::Target => target.clone(),
            });
            let mut offsets = BTreeMap::new();
            for (at, listed) in client.list_offsets_of(named, spec, isolation).await {
                offsets.insert(at, listed.map_err(DiscoverError::at(side))?.offset);
            }
            Ok::<_, DiscoverError>(offsets)
        };
        // The target's ends first: what it holds by then, the source shows.
        let target_ends = list(Side::Target, OffsetSpec::Latest).await?;
        let target_starts = list(Side::Target, OffsetSpec::Earliest).await?;
        let source_starts = list(Side::Source, OffsetSpec::Earliest).await?;
        let source_ends = list(Side::Source, OffsetSpec::Latest).await?;
        let mut since = None;
        if let Scope::Since(timestamp) = scope {
            let spec = OffsetSpec::Timestamp(timestamp);
            since = Some((list(Side::Source, spec).await?, list(Side::Target, spec).await?));
        }
        let mut spans = BTreeMap::new();
        for (source, target) in partitions {
            let of = |offsets: &BTreeMap<TopicPartition, i64>, at: &TopicPartition| {
                offsets.get(at).copied().unwrap_or(-1)
            };
            let source_span = (of(&source_starts, &source), of(&source_ends, &source));
            let target_span = (of(&target_starts, &target), of(&target_ends, &target));
            let (mut source_start, mut start) = (0, 0);
            if let Some((sources, targets)) = &since {
                let or_end = |offset: i64, end: i64| if offset < 0 { end } else { offset };
                source_start = or_end(of(sources, &source), source_span.1);
                start = or_end(of(targets, &target), target_span.1);
            }
            let span = Span {
                source: source_span,
                target: target_span,
                source_start,
                start,
                end: target_span.1.max(start),
            };
            spans.insert((source, target), span);
        }
        Ok(Self(spans))
    }
}

/// The comparison of one partition.
struct Comparison {
    source: Feed,
    target: Feed,
    client: Client,
    begins_late: bool,
    keeps_times: bool,
    progress: Arc<VerifyProgress>,
    scope: Scope,
    positions: PositionCheck,
    span: Span,
}

impl Comparison {
    async fn run(mut self, source: &TopicPartition, target: &TopicPartition) -> PartitionVerdict {
        let names = (&*source.topic, &*target.topic, source.partition);
        let mut verdict = PartitionVerdict::new(names, self.span.source, self.span.target);
        let first = self.span.start.max(self.span.target.0);
        let ranges = match self.keeps_times {
            true => verify::ranges(self.scope, (first, self.span.end), fastrand::f64),
            // Without the source's times nothing tells where a range stands there.
            false => vec![(first, self.span.end)],
        };
        let is_sample = ranges.len() > 1 || ranges.first() != Some(&(first, self.span.end));
        for (from, to) in ranges {
            let compared = match is_sample {
                true => self.sample(&mut verdict, from, to).await,
                false => self.whole(&mut verdict).await,
            };
            if let Err(error) = compared {
                verdict.trouble = Some(error.to_string());
            }
        }
        if verdict.trouble.is_none() && !is_sample {
            verdict.positions = self.positions.finish(self.span.target.1);
        }
        if is_sample {
            let rest = (self.span.end - self.span.start).unsigned_abs();
            self.progress.done.fetch_add(rest, Ordering::Relaxed);
        }
        verdict
    }

    async fn whole(&mut self, verdict: &mut PartitionVerdict) -> Result<(), ClientError> {
        let Span { mut source_start, mut start, end, source, target } = self.span;
        let mut is_near = self.begins_late;
        if matches!(self.scope, Scope::Since(_)) && !self.keeps_times {
            // The target's times are later than the source's: the first record stands somewhere before.
            (source_start, is_near) = (source.0, true);
        } else if start < target.0 && self.keeps_times {
            // The head of the copy is gone; what stood there at the source need not be gone through.
            if let Some((from, true)) = self.near(target.0).await? {
                (source_start, start, is_near) = (from, target.0, true);
            }
        }
        let lag = self.pair(verdict, (source_start, start, end), is_near, u64::MAX).await?;
        verdict.lag = Some(lag);
        Ok(())
    }

    async fn sample(
        &mut self,
        verdict: &mut PartitionVerdict,
        from: i64,
        to: i64,
    ) -> Result<(), ClientError> {
        let Some((source, _)) = self.near(from).await? else { return Ok(()) };
        self.pair(verdict, (source, from, to), true, NEAR_RECORDS).await.map(|_| ())
    }

    /// The first source offset whose record is not older than what stands at `target`, and whether it is just as old:
    /// the original stands there or behind. `None` if nothing stands there.
    async fn near(&mut self, target: i64) -> Result<Option<(i64, bool)>, ClientError> {
        let chunk = self.target.chunk(target).await?;
        let first = chunk.entries.iter().find(|entry| !entry.is_control());
        let Some(time) = first.and_then(|entry| Some(entry.header()?.base_timestamp())) else {
            return Ok(None);
        };
        let (at, spec) = (self.source.partition.clone(), OffsetSpec::Timestamp(time));
        let isolation = self.source.limits.isolation;
        let mut listed = self.client.list_offsets_of([at.clone()], spec, isolation).await;
        let listed = listed.remove(&at).transpose()?.filter(|listed| listed.offset >= 0);
        let found = listed.map(|listed| (listed.offset, listed.timestamp_ms == time));
        Ok(Some(found.unwrap_or((self.span.source.1, false))))
    }

    /// Pairs both logs; answers how many source offsets lie behind the copy.
    async fn pair(
        &mut self,
        verdict: &mut PartitionVerdict,
        (mut source, mut target, end): (i64, i64, i64),
        mut is_near: bool,
        mut slack: u64,
    ) -> Result<i64, ClientError> {
        loop {
            let start = Start::Pair { source, target, last: None };
            let mut matcher = Matcher::new(start, end, verify::match_settings(slack));
            let fed = self.feed(&mut matcher).await;
            let damage = match fed? {
                Ok(()) => None,
                Err(error) => Some((matcher.behind_damage(&error), error)),
            };
            let places = (matcher.source_next(), matcher.target_next());
            let outcome = matcher.finish();
            verdict.add(&outcome, source, is_near);
            let Some((behind, error)) = damage else {
                return Ok((self.span.source.1 - outcome.resume_source).max(0));
            };
            verdict.damaged(&error, places.0, places.1);
            let Some(behind) = behind.filter(|(_, behind)| *behind > target && *behind <= end)
            else {
                verdict.trouble = Some("nothing was compared behind the damage".to_owned());
                return Ok(0);
            };
            ((source, target), is_near, slack) = (behind, true, NEAR_RECORDS);
        }
    }

    /// Feeds a matcher until it is done or finds damage.
    async fn feed(&mut self, matcher: &mut Matcher) -> Result<Result<(), MatchError>, ClientError> {
        let mut seen = matcher.target_next();
        loop {
            let fed = match matcher.ask() {
                Ask::Nothing => return Ok(Ok(())),
                Ask::Source { from } => matcher.source(self.source.chunk(from).await?),
                Ask::Target { from } => {
                    let chunk = self.target.chunk(from).await?;
                    let bytes: usize = chunk.entries.iter().map(|entry| entry.bytes().len()).sum();
                    self.progress.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                    matcher.target(chunk)
                }
            };
            matcher.take_runs().iter().for_each(|run| self.positions.paired(run));
            let now = matcher.target_next().max(seen);
            self.progress.done.fetch_add((now - seen).unsigned_abs(), Ordering::Relaxed);
            seen = now;
            if fed.is_err() {
                return Ok(fed);
            }
        }
    }
}
