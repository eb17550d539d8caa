//! Keys of Connect workers: `B.key` for the flows into B.

use super::{COUNT, Key, Kind, POSITIVE, Places, REPLICATION, Status};

const CLUSTER: Places = Places::CLUSTER;
const STORAGE: Places = Places::FILE.and(Places::CLUSTER);
const FILE: Places = Places::FILE;

const NO_WORKERS: &str = "there is no group of Connect workers";
const NO_CONFIG_TOPIC: &str = "the configuration is the file, it is not stored in a topic";
const NO_STATUS_TOPIC: &str = "no status topic is written";
const NO_REST: &str = "there is no REST interface yet";
const BYTES: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";

pub(super) const KEYS: &[Key] = &[
    Key::honored(
        "offset.flush.interval.ms",
        CLUSTER,
        POSITIVE,
        "5000",
        "How often positions of the flows into the cluster are stored (MirrorMaker 2: 60000); the shorter, the less there is \
         to compare after a crash",
    ),
    Key::honored(
        "offset.storage.topic",
        STORAGE,
        Kind::Name,
        "",
        "The topic that positions are stored in; by default \
         `mm2-offsets.SOURCE.internal`, on the target",
    ),
    Key::honored(
        "offset.storage.partitions",
        STORAGE,
        Kind::Number { min: -1, max: i32::MAX as i64 },
        "25",
        "The partitions of that topic, if it has to be created; -1 leaves it to the broker",
    ),
    Key::honored(
        "offset.storage.replication.factor",
        STORAGE,
        REPLICATION,
        "3",
        "The replication factor of that topic, if it has to be created; -1 leaves it to the broker",
    ),
    Key::honored(
        "offset.storage.*",
        STORAGE,
        Kind::Text,
        "",
        "Any topic config for that topic, if it has to be created",
    ),
    Key::honored(
        "group.id",
        CLUSTER,
        Kind::Name,
        "",
        "The group of the Connect workers that replicated into the cluster until now, by default `SOURCE-mm2`: \
         while it has members, kmirror does not start",
    ),
    Key::honored(
        "exactly.once.source.support",
        CLUSTER,
        Kind::Choice(&["disabled", "preparing", "enabled"]),
        "disabled",
        "`enabled` writes records and their positions in one transaction: consumers with `read_committed` see each \
         record once, whatever happens. Without it nothing is lost or repeated either, as long as nobody else writes to \
         the topics while kmirror is down",
    ),
    Key::ignored(
        "offset.flush.timeout.ms",
        CLUSTER,
        COUNT,
        "storing positions never holds records up",
    ),
    Key::ignored("config.storage.*", STORAGE, Kind::Text, NO_CONFIG_TOPIC),
    Key::ignored("status.storage.*", STORAGE, Kind::Text, NO_STATUS_TOPIC),
    Key::ignored("session.timeout.ms", CLUSTER, Kind::Text, NO_WORKERS),
    Key::ignored("heartbeat.interval.ms", CLUSTER, Kind::Text, NO_WORKERS),
    Key::ignored("rebalance.timeout.ms", CLUSTER, Kind::Text, NO_WORKERS),
    Key::ignored("worker.sync.timeout.ms", STORAGE, Kind::Text, NO_WORKERS),
    Key::ignored("worker.unsync.backoff.ms", STORAGE, Kind::Text, NO_WORKERS),
    Key::ignored("scheduled.rebalance.max.delay.ms", CLUSTER, Kind::Text, NO_WORKERS),
    Key::ignored("connect.protocol", CLUSTER, Kind::Text, NO_WORKERS),
    Key::ignored("inter.worker.*", CLUSTER, Kind::Text, NO_WORKERS),
    Key::ignored(
        "client.id",
        CLUSTER,
        Kind::Text,
        "clients are named after the flow; set `consumer.client.id`",
    ),
    Key::ignored(
        "task.shutdown.graceful.timeout.ms",
        STORAGE,
        Kind::Text,
        "records on their way have 30 s to arrive when the program is stopped",
    ),
    Key::ignored(
        "topic.creation.enable",
        CLUSTER,
        Kind::Bool,
        "topics are created as on the source",
    ),
    Key::ignored("topic.tracking.*", CLUSTER, Kind::Text, "there is no REST interface yet"),
    Key::ignored("plugin.path", CLUSTER, Kind::Text, "Java plugins cannot be loaded"),
    Key::ignored("plugin.discovery", CLUSTER, Kind::Text, "Java plugins cannot be loaded"),
    Key::ignored(
        "connector.client.config.override.policy",
        CLUSTER,
        Kind::Text,
        "overrides are always allowed",
    ),
    Key::ignored("metrics.*", CLUSTER, Kind::Text, "there is no JMX"),
    Key::ignored("metric.reporters", CLUSTER, Kind::Text, "Java metric reporters cannot be loaded"),
    Key::ignored("listeners", FILE, Kind::Text, NO_REST).agreeing(&[""]),
    Key::ignored("listeners.*", FILE, Kind::Text, NO_REST),
    Key::ignored("admin.listeners*", FILE, Kind::Text, NO_REST),
    Key::ignored("rest.*", FILE, Kind::Text, NO_REST),
    Key::ignored("access.control.*", FILE, Kind::Text, NO_REST),
    Key::ignored("response.http.headers.config", FILE, Kind::Text, NO_REST),
    Key::with("key.converter", CLUSTER, Kind::Class(&[BYTES]), Status::Inert("bytes stay bytes")),
    Key::with("value.converter", CLUSTER, Kind::Class(&[BYTES]), Status::Inert("bytes stay bytes")),
    Key::with(
        "header.converter",
        CLUSTER,
        Kind::Class(&[BYTES]),
        Status::Inert("bytes stay bytes"),
    ),
    Key::with(
        "replication.policy.*",
        CLUSTER,
        Kind::Text,
        Status::WarnIgnored(
            "only `replication.policy.*` without prefix or with a flow's prefix counts",
        ),
    ),
];
