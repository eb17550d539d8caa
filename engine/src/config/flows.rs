//! Which flows run, and what each is set up with.

use std::collections::BTreeMap;

use super::exactly_once;
use super::finding::{Findings, Report, Severity};
use super::groups;
use super::keys::{self, Places};
use super::layers::{self, Layer};
use super::model::{
    ClusterConfig, ConnectionConfig, ConsumerConfig, DefaultsFrom, FlowConfig, IsolationLevel,
    Origin, PositionsConfig, ProducerConfig, StartFrom,
};
use super::reader::Reader;
use super::{syncs, values};
use crate::flow::settings::{BatchMode, DivergencePolicy, GapPolicy};
use crate::policy::filters::{ConfigPropertyFilter, NameFilter, PatternList};
use crate::policy::internal_topics;
use crate::policy::naming::{Naming, PolicyKind};

const CONSUMER: Places = Places::CONSUMER;
const PRODUCER: Places = Places::PRODUCER;
const FLOW: Places = Places::FLOW;
const CLUSTER: Places = Places::CLUSTER;

/// The flows that replicate, as source and target.
///
/// MirrorMaker 2 first decides for which pairs a herder exists: where `A->B.enabled` or heartbeats
/// are on, both read without trimming (`MirrorMakerConfig.clusterPairs`). In a herder the
/// connector's own `enabled` decides, and that one is trimmed.
pub(super) fn running(
    file: &Layer,
    aliases: &[String],
    targets: Option<&[String]>,
) -> Vec<(String, String)> {
    let mut flows = Vec::new();
    for source in aliases {
        for target in aliases.iter().filter(|target| *target != source) {
            let wanted = targets.is_none_or(|targets| targets.contains(target));
            if wanted && has_herder(file, source, target) && is_enabled(file, source, target) {
                flows.push((source.clone(), target.clone()));
            }
        }
    }
    flows.sort();
    flows
}

pub(super) fn has_herder(file: &Layer, source: &str, target: &str) -> bool {
    let raw = |key: &str| file.get(key).map(|setting| values::untrimmed_boolean(&setting.value));
    let flow = format!("{source}->{target}.");
    let heartbeats = raw(&format!("{flow}emit.heartbeats.enabled"))
        .or_else(|| raw("emit.heartbeats.enabled"))
        .unwrap_or(true);
    heartbeats || raw(&format!("{flow}enabled")).unwrap_or(false)
}

fn is_enabled(file: &Layer, source: &str, target: &str) -> bool {
    let own = file.get(&format!("{source}->{target}.enabled"));
    own.or_else(|| file.get("enabled"))
        .and_then(|setting| values::boolean(&setting.value))
        .unwrap_or(false)
}

/// A cluster that is used has to be reachable.
pub(super) fn check_cluster(file: &Layer, alias: &str, line: u32, findings: &mut Findings) {
    if !layers::cluster(file, alias).contains_key("bootstrap.servers") {
        let key = format!("{alias}.bootstrap.servers");
        let report = Report::new(
            format!("`{key}` is missing"),
            format!("name brokers of the cluster: `{key} = host:port`"),
        );
        findings.missing(&[key], line, "clusters", report);
    }
}

/// Names that lead astray: an alias that contains the separator, two flows that copy each other's
/// topics in circles.
pub(super) fn check_names(
    file: &Layer,
    running: &[(String, String)],
    line: u32,
    findings: &mut Findings,
) {
    for (source, target) in running {
        let connector = layers::connector(file, source, target);
        let mut reader = Reader::default();
        let kind = policy_kind(&mut reader, &connector);
        let separator = reader.text(&connector, FLOW, "replication.policy.separator");
        if kind == PolicyKind::Default && source.contains(&separator) {
            let problem = format!(
                "the alias `{source}` contains the separator `{separator}`: its topics \
                 are not recognized on `{target}`"
            );
            let remedy = "choose another `replication.policy.separator` or another alias";
            findings.add(Severity::Warning, line, "clusters", Report::new(problem, remedy));
        }
        let back = running.contains(&(target.clone(), source.clone()));
        if kind == PolicyKind::Identity && back && source < target {
            let problem = format!(
                "`{source}` and `{target}` replicate each other without renaming: every \
                 record would circle forever"
            );
            let remedy =
                "select disjoint `topics` for the two flows, or use DefaultReplicationPolicy";
            findings.add(Severity::Warning, line, "clusters", Report::new(problem, remedy));
        }
    }
}

/// One flow; none if something it cannot do without is missing or invalid, which has been said
/// already.
pub(super) fn flow(file: &Layer, source: &str, target: &str) -> Option<FlowConfig> {
    let connector = layers::connector(file, source, target);
    let worker = layers::worker(file, target);
    let consumer = layers::consumer(&connector);
    let producer = layers::producer(&worker, &connector);
    let mut reader = Reader::default();
    let r = &mut reader;

    let source_brokers = r.text(&consumer, CONSUMER, "bootstrap.servers");
    let target_brokers = r.text(&worker, CLUSTER, "bootstrap.servers");
    let connector_name = r.text(&connector, FLOW, "name");
    let naming = naming(r, &connector, source, target);
    let offset_syncs = syncs::offset_syncs(r, &connector, &naming)?;
    let include = r.text(&connector, FLOW, "topics");
    let exclude = r.text(&connector, FLOW, "topics.exclude");
    let topics = NameFilter::new(patterns(&include)?, patterns(&exclude)?);
    let replicate_heartbeats = r.boolean(&connector, "heartbeats.replication.enabled");
    let replication_factor = r.number(&connector, FLOW, "replication.factor")?;
    let refresh = r.boolean(&connector, "refresh.topics.enabled");
    let interval = r.seconds(&connector, "refresh.topics.interval.seconds");
    let properties = r.text(&connector, FLOW, "config.properties.exclude");
    let defaults = [("target", DefaultsFrom::Target), ("source", DefaultsFrom::Source)];
    let batches = [("auto", BatchMode::Auto), ("sealed", BatchMode::Sealed)];
    let on_gap = [("continue", GapPolicy::Continue), ("fail", GapPolicy::Fail)];
    let on_divergence = [("fail", DivergencePolicy::Fail), ("resume", DivergencePolicy::Resume)];
    let default_group = internal_topics::worker_group(source);
    let worker_group = r.text_or(&worker, CLUSTER, "group.id", Some(&default_group));
    let names = (&*worker_group, &*connector_name);
    let exactly_once = exactly_once::config(r, &worker, &connector, &producer, names);
    Some(FlowConfig {
        source: cluster(source, &source_brokers)?,
        target: cluster(target, &target_brokers)?,
        connector: connector_name,
        naming,
        topics,
        replicate_heartbeats,
        replication_factor,
        refresh_topics: refresh.then_some(interval),
        config_properties: ConfigPropertyFilter::new(patterns(&properties)?),
        use_defaults_from: r.choice(&connector, FLOW, "use.defaults.from", defaults),
        admin_timeout: r.millis(&connector, FLOW, "admin.timeout.ms"),
        positions: positions(r, &worker, source)?,
        worker_group,
        offset_syncs,
        groups: groups::groups(r, &connector)?,
        consumer: consumer_config(r, &consumer)?,
        producer: producer_config(r, &producer),
        batches: r.choice(&connector, FLOW, "kmirror.batches", batches),
        on_gap: r.choice(&connector, FLOW, "kmirror.on.gap", on_gap),
        on_divergence: r.choice(&connector, FLOW, "kmirror.on.divergence", on_divergence),
        bandwidth: r.rates(&connector, FLOW, keys::BANDWIDTH_LIMIT),
        exactly_once,
        effective: reader.finish(),
    })
}

pub(super) fn cluster(alias: &str, brokers: &str) -> Option<ClusterConfig> {
    let bootstrap_servers = values::brokers(brokers).ok()?;
    Some(ClusterConfig { alias: alias.to_owned(), bootstrap_servers })
}

pub(super) fn patterns(value: &str) -> Option<PatternList> {
    PatternList::new(&values::list(value)).ok()
}

fn policy_kind(reader: &mut Reader, connector: &Layer) -> PolicyKind {
    let class = reader.text(connector, FLOW, "replication.policy.class");
    match class.ends_with("IdentityReplicationPolicy") {
        true => PolicyKind::Identity,
        false => PolicyKind::Default,
    }
}

fn naming(reader: &mut Reader, connector: &Layer, source: &str, target: &str) -> Naming {
    let kind = policy_kind(reader, connector);
    let separator = reader.text(connector, FLOW, "replication.policy.separator");
    let in_internal_names =
        reader.boolean(connector, "replication.policy.internal.topic.separator.enabled");
    Naming::new(kind, source, target).with_separator(&separator, in_internal_names)
}

fn positions(reader: &mut Reader, worker: &Layer, source: &str) -> Option<PositionsConfig> {
    let default = internal_topics::offsets_topic(source);
    let topic = reader.text_or(worker, CLUSTER, "offset.storage.topic", Some(&default));
    let partitions = reader.number(worker, CLUSTER, "offset.storage.partitions")?;
    let replication_factor = reader.number(worker, CLUSTER, "offset.storage.replication.factor")?;
    let mut topic_configs = BTreeMap::new();
    for (name, setting) in layers::stripped(worker, "offset.storage.") {
        if matches!(name.as_str(), "topic" | "partitions" | "replication.factor") {
            continue;
        }
        let origin = Origin::Line { line: setting.line, key: setting.written };
        reader.note(&format!("offset.storage.{name}"), setting.value.trim(), origin);
        topic_configs.insert(name, setting.value.trim().to_owned());
    }
    let flush_interval = reader.millis(worker, CLUSTER, "offset.flush.interval.ms");
    Some(PositionsConfig { topic, partitions, replication_factor, topic_configs, flush_interval })
}

fn consumer_config(reader: &mut Reader, layer: &Layer) -> Option<ConsumerConfig> {
    let isolation = [
        ("read_uncommitted", IsolationLevel::ReadUncommitted),
        ("read_committed", IsolationLevel::ReadCommitted),
    ];
    let start = [("earliest", StartFrom::Earliest), ("latest", StartFrom::Latest)];
    Some(ConsumerConfig {
        isolation: reader.choice(layer, CONSUMER, "isolation.level", isolation),
        start: reader.choice(layer, CONSUMER, "auto.offset.reset", start),
        fetch_max_bytes: reader.number(layer, CONSUMER, "fetch.max.bytes"),
        fetch_partition_max_bytes: reader.number(layer, CONSUMER, "max.partition.fetch.bytes"),
        fetch_min_bytes: reader.number(layer, CONSUMER, "fetch.min.bytes")?,
        fetch_max_wait: reader.millis(layer, CONSUMER, "fetch.max.wait.ms"),
        connection: connection(reader, layer, CONSUMER),
    })
}

fn producer_config(reader: &mut Reader, layer: &Layer) -> ProducerConfig {
    ProducerConfig {
        max_request_bytes: reader.number(layer, PRODUCER, "max.request.size"),
        connection: connection(reader, layer, PRODUCER),
    }
}

pub(super) fn connection(r: &mut Reader, layer: &Layer, place: Places) -> ConnectionConfig {
    let client_id = r.text(layer, place, "client.id");
    ConnectionConfig {
        client_id: Some(client_id).filter(|id| !id.is_empty()),
        request_timeout: r.millis(layer, place, "request.timeout.ms"),
        setup_timeout: r.millis(layer, place, "socket.connection.setup.timeout.ms"),
        metadata_max_age: r.millis(layer, place, "metadata.max.age.ms"),
        retry_backoff: r.millis(layer, place, "retry.backoff.ms"),
        retry_backoff_max: r.millis(layer, place, "retry.backoff.max.ms"),
        // -1, which leaves a buffer to the operating system, does not fit and reads as none.
        send_buffer_bytes: r.number(layer, place, "send.buffer.bytes"),
        receive_buffer_bytes: r.number(layer, place, "receive.buffer.bytes"),
    }
}
