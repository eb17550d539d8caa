//! `exactly.once.source.support`: what Connect's workers and connectors may be told about transactions.

use std::time::Duration;

use super::finding::{Findings, Report, Severity};
use super::keys::Places;
use super::layers::{self, Layer};
use super::model::ExactlyOnceConfig;
use super::reader::Reader;
use super::values;
use crate::flow::settings::{Boundary, RoundSettings};

const FLOW: Places = Places::FLOW;
const CLUSTER: Places = Places::CLUSTER;
const SUPPORT: &str = "exactly.once.source.support";

/// Tasks of MirrorMaker 2 that are shut out at most.
const MAX_TASKS: i64 = 1_000;

/// What a flow is to be written with, if in transactions; `names` are those of the group of workers and of the connector.
pub(super) fn config(
    reader: &mut Reader,
    worker: &Layer,
    connector: &Layer,
    producer: &Layer,
    names: (&str, &str),
) -> Option<ExactlyOnceConfig> {
    let support = reader.text(worker, CLUSTER, SUPPORT);
    if !support.eq_ignore_ascii_case("enabled") {
        return None;
    }
    let flush = reader.millis(worker, CLUSTER, "offset.flush.interval.ms");
    let interval = reader.number(connector, FLOW, "transaction.boundary.interval.ms");
    let boundaries = [
        ("poll", Boundary::Poll),
        ("interval", Boundary::Interval(interval.map_or(flush, Duration::from_millis))),
    ];
    let (group, name) = names;
    let tasks = connector.get("tasks.max").and_then(|tasks| values::number(&tasks.value));
    let tasks = tasks.unwrap_or(1).clamp(1, MAX_TASKS);
    let rounds = RoundSettings {
        boundary: reader.choice(connector, FLOW, "transaction.boundary", boundaries),
        transaction_timeout: reader.millis(producer, Places::PRODUCER, "transaction.timeout.ms"),
    };
    Some(ExactlyOnceConfig {
        rounds,
        replaced: (0..tasks).map(|task| format!("{group}-{name}-{task}")).collect(),
    })
}

/// What Connect would refuse, and what means something else here.
pub(super) fn check(file: &Layer, running: &[(String, String)], findings: &mut Findings) {
    for (source, target) in running {
        let worker = layers::worker(file, target);
        let connector = layers::connector(file, source, target);
        let support = worker.get(SUPPORT);
        let says =
            |word: &str| support.is_some_and(|set| set.value.trim().eq_ignore_ascii_case(word));
        if let Some(set) = support.filter(|_| says("preparing")) {
            let problem = "there is no group of workers to prepare: it is the same as `disabled`";
            let report = Report::new(problem, "set it to `enabled` to have transactions");
            findings.add(Severity::Warning, set.line, &set.written, report);
        }
        let required = connector.get("exactly.once.support");
        let required = required.filter(|set| set.value.trim().eq_ignore_ascii_case("required"));
        let Some(set) = required else { continue };
        let consumer = layers::consumer(&connector);
        let committed = consumer
            .get("isolation.level")
            .is_some_and(|set| set.value.trim().eq_ignore_ascii_case("read_committed"));
        let report = if !says("enabled") {
            Report::new(
                format!("the flow into `{target}` is not written in transactions"),
                format!("set `{target}.{SUPPORT} = enabled`"),
            )
        } else if !committed {
            Report::new(
                format!("`{source}` is read with its aborted transactions"),
                format!("set `{source}.consumer.isolation.level = read_committed`"),
            )
        } else {
            continue;
        };
        findings.add(Severity::Error, set.line, &set.written, report);
    }
}
