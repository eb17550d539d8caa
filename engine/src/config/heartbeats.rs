//! Which pairs of clusters heartbeats are written for: `MirrorHeartbeatConnector`'s settings.

use super::flows;
use super::keys::Places;
use super::layers::{self, Layer};
use super::model::HeartbeatsConfig;
use super::reader::Reader;

const FLOW: Places = Places::FLOW;

/// The heartbeats that are written into clusters that are used.
///
/// In MirrorMaker 2 every pair of clusters that has a herder has a heartbeat connector, which does not heed `enabled`
/// (`MirrorMakerConfig.clusterPairs`). Clusters that no flow runs between are left alone here.
pub(super) fn beating(
    file: &Layer,
    aliases: &[String],
    targets: Option<&[String]>,
    used: impl Fn(&str) -> bool,
) -> Vec<HeartbeatsConfig> {
    let mut all = Vec::new();
    for target in aliases.iter().filter(|target| used(target)) {
        for source in aliases.iter().filter(|source| *source != target && used(source)) {
            let wanted = targets.is_none_or(|targets| targets.contains(target));
            if wanted && flows::has_herder(file, source, target) {
                all.extend(heartbeats(file, source, target));
            }
        }
    }
    all.sort_by(|a, b| (&a.source, &a.target.alias).cmp(&(&b.source, &b.target.alias)));
    all
}

/// None if they are turned off, or if something is missing or invalid, which has been said already.
fn heartbeats(file: &Layer, source: &str, target: &str) -> Option<HeartbeatsConfig> {
    let connector = layers::connector(file, source, target);
    let worker = layers::worker(file, target);
    let producer = layers::producer(&worker, &connector);
    let mut reader = Reader::default();
    let r = &mut reader;
    if !r.boolean(&connector, "emit.heartbeats.enabled") {
        return None;
    }
    let interval = r.seconds(&connector, "emit.heartbeats.interval.seconds");
    let replication_factor = r.number(&connector, FLOW, "heartbeats.topic.replication.factor")?;
    // The flow into the same cluster says these, too.
    let mut shared = Reader::default();
    let brokers = shared.text(&worker, Places::CLUSTER, "bootstrap.servers");
    Some(HeartbeatsConfig {
        source: source.to_owned(),
        target: flows::cluster(target, &brokers)?,
        interval,
        replication_factor,
        admin_timeout: shared.millis(&connector, FLOW, "admin.timeout.ms"),
        connection: flows::connection(&mut shared, &producer, Places::PRODUCER),
        effective: reader.finish(),
    })
}
