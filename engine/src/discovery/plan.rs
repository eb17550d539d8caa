//! Source topics and target topics in, changes and partitions out. Applying the changes and
//! planning again changes nothing.
//!
//! Public source: `MirrorSourceConnector.computeAndCreateTopicPartitions` and `targetConfig`.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::config::{DefaultsFrom, FlowConfig};
use crate::policy::filters::ConfigPropertyFilter;
use crate::policy::java_regex::RegexError;

/// A topic as a cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    /// The topic's id (KIP-516); nil where the cluster has none.
    pub id: Uuid,
    /// How many partitions it has.
    pub partitions: i32,
    /// Its configs; only those of source topics that have to be created are looked at.
    pub configs: Vec<ConfigView>,
}

/// One config of a topic as DescribeConfigs answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigView {
    /// The name.
    pub name: String,
    /// The value; none if it is not told.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether nobody can set it.
    pub read_only: bool,
    /// Whether the value is a secret.
    pub sensitive: bool,
}

/// Where a topic's config comes from (`ConfigEntry.ConfigSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on a broker or for all brokers while they run.
    DynamicBroker,
    /// Set in a broker's file.
    StaticBroker,
    /// Not set anywhere.
    Default,
    /// Something that this program does not know.
    Other,
}

impl ConfigSource {
    /// From its number in DescribeConfigs.
    pub fn from_code(code: i8) -> Self {
        match code {
            1 => Self::Topic,
            2 | 3 => Self::DynamicBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            _ => Self::Other,
        }
    }
}

/// The topics of a cluster, by name.
pub type Topics = BTreeMap<String, TopicView>;

/// What has to change on the target, and what can be replicated as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Topics to create.
    pub create: Vec<NewTopic>,
    /// Topics that need more partitions.
    pub grow: Vec<Growth>,
    /// Partitions that are there on both sides.
    pub pairs: Vec<Pair>,
    /// Topics that have more partitions on the target: left alone, but the source's topic may have
    /// been recreated.
    pub wider: Vec<Growth>,
}

/// A topic to create on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name on the target.
    pub name: String,
    /// As many as the source's.
    pub partitions: i32,
    /// -1 leaves it to the broker.
    pub replication_factor: i16,
    /// The configs to create it with.
    pub configs: BTreeMap<String, String>,
}

/// A topic whose numbers of partitions differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// Its name on the target.
    pub name: String,
    /// How many partitions it has on the target.
    pub from: i32,
    /// How many it has on the source.
    pub to: i32,
}

/// A topic's partitions that can be replicated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The topic's name on the source.
    pub source: String,
    /// Its id there.
    pub source_id: Uuid,
    /// The topic's name on the target.
    pub target: String,
    /// Its id there.
    pub target_id: Uuid,
    /// Partitions 0 up to this one, exclusive, are there on both sides.
    pub partitions: i32,
}

/// The target's names of the source topics that the flow replicates, by the source's names.
///
/// Fails if a pattern cannot be decided for a name.
pub fn selected<'a>(
    flow: &FlowConfig,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeMap<&'a str, String>, RegexError> {
    let mut selected = BTreeMap::new();
    for name in names {
        if flow.replicates(name)? {
            selected.insert(name, flow.naming.remote_topic(name));
        }
    }
    Ok(selected)
}

/// Plans one round of discovery for a flow. Fails if a pattern cannot be decided for a name.
pub fn plan(flow: &FlowConfig, source: &Topics, target: &Topics) -> Result<Changes, RegexError> {
    let mut changes = Changes::default();
    for (name, remote) in selected(flow, source.keys().map(String::as_str))? {
        let Some(from) = source.get(name).filter(|from| from.partitions > 0) else { continue };
        let Some(to) = target.get(&remote) else {
            changes.create.push(new_topic(flow, from, remote)?);
            continue;
        };
        let growth = Growth { name: remote.clone(), from: to.partitions, to: from.partitions };
        match from.partitions.cmp(&to.partitions) {
            std::cmp::Ordering::Greater => changes.grow.push(growth),
            std::cmp::Ordering::Less => changes.wider.push(growth),
            std::cmp::Ordering::Equal => {}
        }
        changes.pairs.push(Pair {
            source: name.to_owned(),
            source_id: from.id,
            target: remote,
            target_id: to.id,
            partitions: from.partitions.min(to.partitions),
        });
    }
    Ok(changes)
}

fn new_topic(flow: &FlowConfig, source: &TopicView, name: String) -> Result<NewTopic, RegexError> {
    Ok(NewTopic {
        name,
        partitions: source.partitions,
        replication_factor: flow.replication_factor,
        configs: carried(&source.configs, &flow.config_properties, flow.use_defaults_from)?,
    })
}

/// The configs of a source topic that its copy is created with. Fails if a pattern cannot be decided for a name.
pub fn carried(
    configs: &[ConfigView],
    filter: &ConfigPropertyFilter,
    defaults: DefaultsFrom,
) -> Result<BTreeMap<String, String>, RegexError> {
    let mut carried = BTreeMap::new();
    for config in configs {
        let unset = config.source == ConfigSource::Default && defaults == DefaultsFrom::Target;
        let fixed = config.read_only || config.sensitive;
        if unset || fixed || config.source == ConfigSource::StaticBroker {
            continue;
        }
        if let Some(value) = &config.value
            && filter.carries(&config.name)?
        {
            carried.insert(config.name.clone(), value.clone());
        }
    }
    Ok(carried)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{Input, NoSurroundings, resolve};

    fn flow(extra: &str) -> FlowConfig {
        let text = format!(
            "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\n\
             replication.factor=3\n{extra}"
        );
        let input = Input { file: "test", bytes: text.as_bytes(), clusters: None };
        let resolution = resolve(input, &NoSurroundings);
        let replication = resolution.replication.expect("a valid file");
        replication.flows.into_iter().next().expect("one flow")
    }

    fn topic(partitions: i32) -> TopicView {
        TopicView { id: Uuid::nil(), partitions, configs: Vec::new() }
    }

    fn topics(list: &[(&str, i32)]) -> Topics {
        list.iter().map(|(name, partitions)| ((*name).to_owned(), topic(*partitions))).collect()
    }

    fn config(name: &str, source: ConfigSource) -> ConfigView {
        let value = Some("1".to_owned());
        ConfigView { name: name.to_owned(), value, source, read_only: false, sensitive: false }
    }

    /// What the target looks like once the changes are made.
    fn applied(target: &Topics, changes: &Changes) -> Topics {
        let mut after = target.clone();
        for new in &changes.create {
            after.insert(new.name.clone(), topic(new.partitions));
        }
        for growth in &changes.grow {
            after.insert(growth.name.clone(), topic(growth.to));
        }
        after
    }

    #[test]
    fn creates_grows_and_pairs() {
        let source = topics(&[
            ("new", 3),
            ("same", 2),
            ("grown", 5),
            ("shrunk", 1),
            ("__consumer_offsets", 50),
            ("B.cycle", 1),
            ("empty", 0),
        ]);
        let target = topics(&[("A.same", 2), ("A.grown", 2), ("A.shrunk", 4), ("other", 1)]);
        let changes = plan(&flow(""), &source, &target).expect("plan");
        let created: Vec<_> = changes
            .create
            .iter()
            .map(|t| (t.name.as_str(), t.partitions, t.replication_factor))
            .collect();
        assert_eq!(created, [("A.new", 3, 3)]);
        assert_eq!(changes.grow, [Growth { name: "A.grown".into(), from: 2, to: 5 }]);
        assert_eq!(changes.wider, [Growth { name: "A.shrunk".into(), from: 4, to: 1 }]);
        let pairs: Vec<_> = changes
            .pairs
            .iter()
            .map(|p| (p.source.as_str(), p.target.as_str(), p.partitions))
            .collect();
        assert_eq!(
            pairs,
            [("grown", "A.grown", 2), ("same", "A.same", 2), ("shrunk", "A.shrunk", 1)]
        );
    }

    #[test]
    fn configs_that_are_carried() {
        let mut view = topic(1);
        view.configs = vec![
            config("retention.ms", ConfigSource::Topic),
            config("segment.bytes", ConfigSource::DynamicBroker),
            config("index.interval.bytes", ConfigSource::StaticBroker),
            config("cleanup.policy", ConfigSource::Default),
            config("min.insync.replicas", ConfigSource::Topic),
            ConfigView { read_only: true, ..config("a", ConfigSource::Topic) },
            ConfigView { sensitive: true, ..config("b", ConfigSource::Topic) },
            ConfigView { value: None, ..config("c", ConfigSource::Topic) },
        ];
        let source = Topics::from([("t".to_owned(), view)]);
        let names = |extra: &str| {
            let changes = plan(&flow(extra), &source, &Topics::new()).expect("plan");
            changes.create[0].configs.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["retention.ms", "segment.bytes"]);
        assert_eq!(
            names("A->B.use.defaults.from=source"),
            ["cleanup.policy", "retention.ms", "segment.bytes"]
        );
        assert_eq!(
            names("config.properties.exclude=retention.*"),
            ["min.insync.replicas", "segment.bytes"]
        );
    }

    #[test]
    fn a_pattern_that_takes_too_long_is_an_error() {
        let source = topics(&[("x".repeat(60).as_str(), 1)]);
        let flow = flow("topics=(x+x+)+\\\\1y");
        assert!(matches!(
            plan(&flow, &source, &Topics::new()),
            Err(RegexError::TooManySteps { .. })
        ));
    }

    static DEFAULT: LazyLock<FlowConfig> = LazyLock::new(|| flow(""));
    static IDENTITY: LazyLock<FlowConfig> = LazyLock::new(|| {
        let class = "org.apache.kafka.connect.mirror.IdentityReplicationPolicy";
        flow(&format!("replication.policy.class={class}"))
    });

    proptest! {
        #[test]
        fn planning_again_changes_nothing(
            source in proptest::collection::btree_map("[a-c_.]{1,6}|heartbeats", 0..6i32, 0..12),
            target in proptest::collection::btree_map("(A[.])?[a-c_.]{1,6}", 1..6i32, 0..12),
            identity in any::<bool>(),
        ) {
            let flow = if identity { &*IDENTITY } else { &*DEFAULT };
            let view = |map: &BTreeMap<String, i32>| -> Topics {
                map.iter().map(|(name, count)| (name.clone(), topic(*count))).collect()
            };
            let (source, target) = (view(&source), view(&target));
            let first = plan(flow, &source, &target).expect("plan");
            let after = applied(&target, &first);
            let second = plan(flow, &source, &after).expect("plan");
            prop_assert!(second.create.is_empty() && second.grow.is_empty());
            prop_assert_eq!(second.pairs.len(), first.pairs.len() + first.create.len());
            for pair in &second.pairs {
                prop_assert_eq!(pair.partitions, source[&pair.source].partitions);
            }
        }
    }
}
