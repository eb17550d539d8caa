//! The configs that topics and brokers have here: one table each, as DescribeConfigs shows them.
//!
//! Names, types and defaults: Kafka's `TopicConfig`, `LogConfig`, `KafkaConfig`.

use std::collections::BTreeMap;

use super::batch::AppendRules;
use super::versions::Profile;
use crate::options::BrokerOptions;

/// Type of a config's value, with Kafka's number (`DescribeConfigsResponse.ConfigType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 64 bits.
    Long = 5,
    /// A floating point number.
    Double = 6,
    /// Names with commas between.
    List = 7,
}

impl ConfigKind {
    fn accepts(self, value: &str) -> bool {
        match self {
            Self::Boolean => matches!(value, "true" | "false"),
            Self::String | Self::List => true,
            Self::Int => value.trim().parse::<i32>().is_ok(),
            Self::Long => value.trim().parse::<i64>().is_ok(),
            Self::Double => value.trim().parse::<f64>().is_ok(),
        }
    }
}

/// One config: name, type, default.
pub type ConfigRow = (&'static str, ConfigKind, &'static str);

use ConfigKind::{Boolean, Double, Int, List, Long, String as Text};

const FOREVER: &str = "9223372036854775807";

/// What a topic can be configured with.
pub const TOPIC_CONFIGS: &[ConfigRow] = &[
    ("cleanup.policy", List, "delete"),
    ("compression.gzip.level", Int, "-1"),
    ("compression.lz4.level", Int, "9"),
    ("compression.type", Text, "producer"),
    ("compression.zstd.level", Int, "3"),
    ("delete.retention.ms", Long, "86400000"),
    ("file.delete.delay.ms", Long, "60000"),
    ("flush.messages", Long, FOREVER),
    ("flush.ms", Long, FOREVER),
    ("follower.replication.throttled.replicas", List, ""),
    ("index.interval.bytes", Int, "4096"),
    ("leader.replication.throttled.replicas", List, ""),
    ("local.retention.bytes", Long, "-2"),
    ("local.retention.ms", Long, "-2"),
    ("max.compaction.lag.ms", Long, FOREVER),
    ("max.message.bytes", Int, "1048588"),
    ("message.timestamp.after.max.ms", Long, "3600000"),
    ("message.timestamp.before.max.ms", Long, FOREVER),
    ("message.timestamp.type", Text, "CreateTime"),
    ("min.cleanable.dirty.ratio", Double, "0.5"),
    ("min.compaction.lag.ms", Long, "0"),
    ("min.insync.replicas", Int, "1"),
    ("preallocate", Boolean, "false"),
    ("remote.storage.enable", Boolean, "false"),
    ("retention.bytes", Long, "-1"),
    ("retention.ms", Long, "604800000"),
    ("segment.bytes", Int, "1073741824"),
    ("segment.index.bytes", Int, "10485760"),
    ("segment.jitter.ms", Long, "0"),
    ("segment.ms", Long, "604800000"),
    ("unclean.leader.election.enable", Boolean, "false"),
];

/// What a broker can be configured with; the values are shown, and only the topic defaults have an effect.
pub const BROKER_CONFIGS: &[ConfigRow] = &[
    ("auto.create.topics.enable", Boolean, "false"),
    ("compression.type", Text, "producer"),
    ("default.replication.factor", Int, "1"),
    ("fetch.max.bytes", Int, "57671680"),
    ("group.initial.rebalance.delay.ms", Int, "0"),
    ("log.cleanup.policy", List, "delete"),
    ("log.message.timestamp.type", Text, "CreateTime"),
    ("log.retention.bytes", Long, "-1"),
    ("log.retention.ms", Long, "604800000"),
    ("log.segment.bytes", Int, "1073741824"),
    ("message.max.bytes", Int, "1048588"),
    ("min.insync.replicas", Int, "1"),
    ("num.partitions", Int, "1"),
    ("offsets.topic.num.partitions", Int, "50"),
    ("offsets.topic.replication.factor", Int, "1"),
    ("producer.id.expiration.ms", Int, "86400000"),
    ("transaction.max.timeout.ms", Int, "900000"),
    ("transaction.state.log.num.partitions", Int, "50"),
    ("transactional.id.expiration.ms", Int, "604800000"),
];

/// The row of a config.
pub fn find(table: &[ConfigRow], name: &str) -> Option<ConfigRow> {
    table.iter().find(|row| row.0 == name).copied()
}

/// Checks a name and a value.
///
/// # Errors
/// One line that says what is wrong, as the client sees it with INVALID_CONFIG.
pub fn check(table: &[ConfigRow], name: &str, value: &str) -> Result<(), String> {
    let (_, kind, _) = find(table, name).ok_or_else(|| format!("Unknown config name: {name}"))?;
    let listed = match name {
        "message.timestamp.type" => Some(&["CreateTime", "LogAppendTime"][..]),
        "compression.type" => {
            Some(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"][..])
        }
        "cleanup.policy" => {
            let known = value.split(',').all(|part| matches!(part.trim(), "delete" | "compact"));
            return if known { Ok(()) } else { Err(invalid(name, value)) };
        }
        _ => None,
    };
    let fine = kind.accepts(value) && listed.is_none_or(|values| values.contains(&value));
    if fine { Ok(()) } else { Err(invalid(name, value)) }
}

fn invalid(name: &str, value: &str) -> String {
    format!("Invalid value {value} for configuration {name}")
}

/// Where a value comes from, with Kafka's number (`DescribeConfigsResponse.ConfigSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Set on the broker while it runs.
    DynamicBroker = 2,
    /// Given when the cluster was started.
    StaticBroker = 4,
    /// Kafka's default.
    Default = 5,
}

/// Configs of a topic: what was set on it over the cluster's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicConfigs {
    /// What was set on the topic.
    pub own: BTreeMap<String, String>,
}

impl TopicConfigs {
    /// The value in force and where it comes from.
    pub fn value<'a>(
        &'a self,
        defaults: &'a BTreeMap<String, String>,
        (name, _, default): ConfigRow,
    ) -> (&'a str, ConfigSource) {
        match (self.own.get(name), defaults.get(name)) {
            (Some(own), _) => (own, ConfigSource::Topic),
            (None, Some(set)) => (set, ConfigSource::StaticBroker),
            (None, None) => (default, ConfigSource::Default),
        }
    }
}

/// The configs that decide about appending and keeping, parsed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicRules {
    /// What a batch is checked against.
    pub append: AppendRules,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: usize,
    /// Whether old data may be dropped: `cleanup.policy` names `delete`.
    pub deletable: bool,
}

impl TopicRules {
    /// Parses what is in force.
    pub fn of(
        configs: &TopicConfigs,
        defaults: &BTreeMap<String, String>,
        options: &BrokerOptions,
    ) -> Self {
        let text =
            |name: &str| find(TOPIC_CONFIGS, name).map_or("", |row| configs.value(defaults, row).0);
        let number = |name: &str| text(name).trim().parse::<i64>().unwrap_or(0);
        let bytes = |name: &str| usize::try_from(number(name)).unwrap_or(0);
        let policy = text("cleanup.policy");
        Self {
            append: AppendRules {
                max_message_bytes: bytes("max.message.bytes"),
                segment_bytes: bytes("segment.bytes"),
                compacted: policy.contains("compact"),
                log_append_time: text("message.timestamp.type") == "LogAppendTime",
                before_max_ms: number("message.timestamp.before.max.ms"),
                after_max_ms: number("message.timestamp.after.max.ms"),
                refuse_append_time_bit: options.profile == Profile::V2_8,
                open_compressed: options.open_compressed,
            },
            delete_retention_ms: number("delete.retention.ms"),
            min_insync_replicas: bytes("min.insync.replicas"),
            deletable: policy.contains("delete"),
        }
    }
}
