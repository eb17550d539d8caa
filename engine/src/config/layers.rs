//! Which setting wins: the layers of MirrorMaker 2's dedicated mode (`MirrorMakerConfig`), rebuilt
//! exactly.

use std::collections::BTreeMap;

use super::keys::{self, Places};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The value with references resolved, untrimmed.
    pub(super) value: String,
    /// The line, from 1.
    pub(super) line: u32,
    /// The key as it stands in the file.
    pub(super) written: String,
}

/// Settings by the name under which something reads them.
pub(super) type Layer = BTreeMap<String, Setting>;

const CLIENTS: [&str; 3] = ["producer.", "consumer.", "admin."];

/// Top-level starts that overwrite what a worker got from its cluster.
const OVER_THE_WORKER: [&str; 9] = [
    "offset.storage",
    "config.storage",
    "status.storage",
    "key.converter",
    "value.converter",
    "header.converter",
    "task",
    "worker",
    "replication.policy",
];

/// `clusterProps(X)`: what `X.` says, and the client settings that it hands down or takes from the
/// top level.
pub(super) fn cluster(file: &Layer, alias: &str) -> Layer {
    let mut layer = stripped(file, &format!("{alias}."));
    let own: Layer = common(&layer);
    let shared: Layer = common(file);
    for (name, setting) in &own {
        for client in CLIENTS {
            layer.entry(format!("{client}{name}")).or_insert_with(|| setting.clone());
        }
    }
    for (name, setting) in &shared {
        for client in CLIENTS.iter().chain([&""]) {
            layer.entry(format!("{client}{name}")).or_insert_with(|| setting.clone());
        }
    }
    layer
}

/// The worker of the flows into `target`: its cluster's settings, overwritten by some of the top
/// level.
pub(super) fn worker(file: &Layer, target: &str) -> Layer {
    let mut layer = cluster(file, target);
    let over = file
        .iter()
        .filter(|(name, _)| OVER_THE_WORKER.iter().any(|start| name.starts_with(start)))
        .map(|(name, setting)| (name.clone(), setting.clone()));
    layer.extend(over);
    layer
}

/// The connector of one flow: declared top-level keys, both clusters', then `A->B.`.
pub(super) fn connector(file: &Layer, source: &str, target: &str) -> Layer {
    let mut layer: Layer = file
        .iter()
        .filter(|(name, _)| is_declared(name))
        .map(|(name, setting)| (name.clone(), setting.clone()))
        .collect();
    for (side, alias) in [("source", source), ("target", target)] {
        for (name, setting) in cluster(file, alias) {
            let client = CLIENTS.iter().any(|client| name.starts_with(client));
            let middle = if client { "" } else { ".cluster" };
            layer.insert(format!("{side}{middle}.{name}"), setting);
        }
    }
    layer.extend(stripped(file, &format!("{source}->{target}.")));
    layer
}

/// What the clients that read the source are set up with.
pub(super) fn consumer(connector: &Layer) -> Layer {
    let mut layer = common(&stripped(connector, "source.cluster."));
    layer.extend(stripped(connector, "consumer."));
    layer.extend(stripped(connector, "source.consumer."));
    layer
}

/// What the producer of the records is set up with: the worker's, then the connector's overrides.
pub(super) fn producer(worker: &Layer, connector: &Layer) -> Layer {
    let mut layer = stripped(worker, "producer.");
    layer.extend(stripped(connector, "producer.override."));
    layer
}

/// The settings whose names start with `prefix`, without it.
pub(super) fn stripped(layer: &Layer, prefix: &str) -> Layer {
    layer
        .iter()
        .filter_map(|(name, setting)| {
            Some((name.strip_prefix(prefix)?.to_owned(), setting.clone()))
        })
        .collect()
}

fn common(layer: &Layer) -> Layer {
    layer
        .iter()
        .filter(|(name, _)| keys::is_common_client_key(name))
        .map(|(name, setting)| (name.clone(), setting.clone()))
        .collect()
}

/// Whether a top-level key reaches the connectors of all flows.
fn is_declared(name: &str) -> bool {
    keys::find(name, Places::FILE).is_some_and(|key| key.places.meet(Places::FLOW))
        || name.starts_with("replication.policy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::properties;

    fn file(text: &str) -> Layer {
        let (entries, _) = properties::parse_bytes(text.as_bytes());
        entries
            .into_iter()
            .map(|entry| {
                let setting =
                    Setting { value: entry.value, line: entry.line, written: entry.key.clone() };
                (entry.key, setting)
            })
            .collect()
    }

    fn value<'a>(layer: &'a Layer, name: &str) -> Option<&'a str> {
        layer.get(name).map(|setting| setting.value.as_str())
    }

    #[test]
    fn clients_inherit_only_what_connects_them() {
        let file = file(
            "bootstrap.servers=top:1\nssl.protocol=t\nA.bootstrap.servers=a:1\n\
             A.consumer.bootstrap.servers=c:1\nA.client.rack=r\nconsumer.fetch.min.bytes=7",
        );
        let a = cluster(&file, "A");
        assert_eq!(value(&a, "bootstrap.servers"), Some("a:1"));
        assert_eq!(value(&a, "consumer.bootstrap.servers"), Some("c:1"));
        assert_eq!(value(&a, "producer.bootstrap.servers"), Some("a:1"));
        assert_eq!(value(&a, "admin.ssl.protocol"), Some("t"));
        assert_eq!(value(&a, "ssl.protocol"), Some("t"));
        assert_eq!(value(&a, "consumer.client.rack"), None);
        assert_eq!(value(&a, "consumer.fetch.min.bytes"), None);
        assert_eq!(value(&cluster(&file, "B"), "bootstrap.servers"), Some("top:1"));
    }

    #[test]
    fn the_top_level_overwrites_the_worker() {
        let file = file(
            "offset.storage.topic=top\nB.offset.storage.topic=b\noffset.flush.interval.ms=1\n\
             B.offset.flush.interval.ms=2\nA->B.offset.flush.interval.ms=3",
        );
        let worker = worker(&file, "B");
        assert_eq!(value(&worker, "offset.storage.topic"), Some("top"));
        assert_eq!(value(&worker, "offset.flush.interval.ms"), Some("2"));
    }

    #[test]
    fn a_flow_beats_its_clusters_and_the_top_level() {
        let file = file(
            "topics=top\nuse.defaults.from=source\nunknown=1\nA->B.topics=flow\n\
             A->B.use.defaults.from=target\n\
             A.consumer.fetch.min.bytes=1\nA->B.consumer.fetch.min.bytes=2\n\
             A->C.source.consumer.fetch.min.bytes=3\nB.x=1",
        );
        let ab = connector(&file, "A", "B");
        assert_eq!(value(&ab, "topics"), Some("flow"));
        assert_eq!(value(&ab, "use.defaults.from"), Some("target"));
        assert_eq!(value(&ab, "unknown"), None);
        assert_eq!(value(&ab, "target.cluster.x"), Some("1"));
        assert_eq!(value(&consumer(&ab), "fetch.min.bytes"), Some("1"));
        let ac = connector(&file, "A", "C");
        assert_eq!(value(&ac, "topics"), Some("top"));
        assert_eq!(value(&ac, "use.defaults.from"), None);
        assert_eq!(value(&consumer(&ac), "fetch.min.bytes"), Some("3"));
    }

    #[test]
    fn the_record_producer_is_the_workers() {
        let file = file(
            "B.producer.client.id=b\nA->B.producer.client.id=no\n\
             A->B.producer.override.max.request.size=1",
        );
        let producer = producer(&worker(&file, "B"), &connector(&file, "A", "B"));
        assert_eq!(value(&producer, "client.id"), Some("b"));
        assert_eq!(value(&producer, "max.request.size"), Some("1"));
    }
}
