//! Keys of MirrorMaker 2 itself and of its connectors, the union of the releases 2.4 to 4.3.

use super::{COUNT, Key, Kind, POSITIVE, Places, REPLICATION, Status};

const FILE: Places = Places::FILE;
const FLOW_ONLY: Places = Places::FLOW;
const FLOW: Places = Places::FILE.and(Places::FLOW);

const NO_ACLS: &str = "ACLs are not mirrored yet";
const CONFIGS_ONCE: &str =
    "configs are copied when a topic is created, later changes on the source are not followed yet";
const NO_TASKS: &str = "there are no tasks: all partitions of a flow are replicated in parallel";
const NO_TRANSFORMS: &str =
    "transformations would have to open every record, and kmirror forwards batches closed";
const NO_CONNECT: &str = "there is no Connect worker under the flow";
const BYTES: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";

pub(super) const KEYS: &[Key] = &[
    Key::honored("clusters", FILE, Kind::List, "", "The aliases of all clusters"),
    Key::honored(
        "enabled",
        FLOW,
        Kind::Bool,
        "false",
        "Whether the flow replicates; `A->B.enabled` for one flow, without prefix for every flow",
    ),
    Key::honored(
        "name",
        FLOW,
        Kind::Name,
        "MirrorSourceConnector",
        "The connector's name under which positions are stored; what to set when taking over from connectors in a \
         Connect cluster",
    ),
    Key::honored(
        "topics",
        FLOW,
        Kind::Patterns,
        ".*",
        "The topics to replicate: Java regular expressions, each for a whole name",
    ),
    Key::honored(
        "topics.exclude",
        FLOW,
        Kind::Patterns,
        r".*[\-\.]internal, .*\.replica, __.*",
        "The topics to leave out; beats `topics`",
    )
    .also(&["topics.blacklist"]),
    Key::honored(
        "heartbeats.replication.enabled",
        FLOW,
        Kind::Bool,
        "true",
        "Whether heartbeats topics are replicated even if `topics` does not name them",
    ),
    Key::honored(
        "replication.policy.class",
        FLOW,
        Kind::Class(&[
            "org.apache.kafka.connect.mirror.DefaultReplicationPolicy",
            "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
        ]),
        "org.apache.kafka.connect.mirror.DefaultReplicationPolicy",
        "What topics are called on the target: `A.topic`, or `topic` with the identity policy",
    ),
    Key::honored(
        "replication.policy.separator",
        FLOW,
        Kind::Name,
        ".",
        "What stands between alias and topic in the names of replicated topics",
    ),
    Key::honored(
        "replication.policy.internal.topic.separator.enabled",
        FLOW,
        Kind::Bool,
        "true",
        "Whether the separator also stands in the names of offset-syncs and checkpoints topics",
    ),
    Key::honored(
        "replication.factor",
        FLOW,
        REPLICATION,
        "2",
        "The replication factor of topics that are created on the target; -1 leaves it to \
         the broker",
    ),
    Key::honored(
        "refresh.topics.enabled",
        FLOW,
        Kind::Bool,
        "true",
        "Whether new topics and partitions are looked for while running",
    ),
    Key::honored(
        "refresh.topics.interval.seconds",
        FLOW,
        POSITIVE,
        "600",
        "How often new topics and partitions are looked for",
    ),
    Key::honored(
        "config.properties.exclude",
        FLOW,
        Kind::Patterns,
        concat!(
            r"follower\.replication\.throttled\.replicas, leader\.replication\.throttled\.replicas, ",
            r"message\.timestamp\.difference\.max\.ms, message\.timestamp\.type, ",
            r"unclean\.leader\.election\.enable, min\.insync\.replicas"
        ),
        "The topic configs that are not carried over to the target; setting it replaces \
         the default",
    )
    .also(&["config.properties.blacklist"]),
    Key::honored(
        "use.defaults.from",
        FLOW_ONLY,
        Kind::Choice(&["target", "source"]),
        "target",
        "Whose defaults hold for topic configs that are not set on the source; `source` \
         writes them out",
    ),
    Key::honored(
        "admin.timeout.ms",
        FLOW,
        POSITIVE,
        "60000",
        "How long an administrative step (describing, creating topics) may take",
    ),
    Key::honored(
        "groups",
        FLOW,
        Kind::Patterns,
        ".*",
        "The consumer groups whose positions are translated: Java regular expressions, each for a whole id",
    ),
    Key::honored(
        "groups.exclude",
        FLOW,
        Kind::Patterns,
        "console-consumer-.*, connect-.*, __.*",
        "The groups to leave out; beats `groups`",
    )
    .also(&["groups.blacklist"]),
    Key::honored(
        "refresh.groups.enabled",
        FLOW,
        Kind::Bool,
        "true",
        "Whether new groups are looked for while running",
    ),
    Key::honored(
        "refresh.groups.interval.seconds",
        FLOW,
        POSITIVE,
        "600",
        "How often new groups are looked for",
    ),
    Key::honored(
        "emit.checkpoints.enabled",
        FLOW,
        Kind::Bool,
        "true",
        "Whether positions of groups are translated and written to the checkpoints topic of the target",
    ),
    Key::honored(
        "emit.checkpoints.interval.seconds",
        FLOW,
        POSITIVE,
        "60",
        "How often positions of groups are translated",
    ),
    Key::honored(
        "checkpoints.topic.replication.factor",
        FLOW,
        REPLICATION,
        "3",
        "The replication factor of the checkpoints topic, if it has to be created; -1 leaves it to the broker",
    ),
    Key::honored(
        "sync.group.offsets.enabled",
        FLOW,
        Kind::Bool,
        "false",
        "Whether translated positions are committed to the groups of the target that have no members; needs checkpoints",
    ),
    Key::honored(
        "sync.group.offsets.interval.seconds",
        FLOW,
        POSITIVE,
        "60",
        "How often they are committed",
    ),
    Key::honored(
        "emit.heartbeats.enabled",
        FLOW,
        Kind::Bool,
        "true",
        "Whether heartbeats of the pair are written to the target. As in MirrorMaker 2 this holds for flows that do not \
         run, too: those of `B->A` come back to B with the flow `A->B`",
    ),
    Key::honored(
        "emit.heartbeats.interval.seconds",
        FLOW,
        POSITIVE,
        "1",
        "How often a heartbeat is written",
    ),
    Key::honored(
        "heartbeats.topic.replication.factor",
        FLOW,
        REPLICATION,
        "3",
        "The replication factor of the heartbeats topic, if it has to be created; -1 leaves it to the broker",
    ),
    Key::honored(
        "emit.offset-syncs.enabled",
        FLOW,
        Kind::Bool,
        "true",
        "Whether it is kept in the offset-syncs topic which offset is which, for other programs and for the next start",
    ),
    Key::honored(
        "offset.lag.max",
        FLOW,
        COUNT,
        "100",
        "A partition with so many new records writes its offset sync within a second, one with fewer within five seconds",
    ),
    Key::honored(
        "offset-syncs.topic.location",
        FLOW,
        Kind::Choice(&["source", "target"]),
        "source",
        "The cluster that the offset-syncs topic is on",
    ),
    Key::honored(
        "offset-syncs.topic.replication.factor",
        FLOW,
        REPLICATION,
        "3",
        "The replication factor of the offset-syncs topic, if it has to be created; -1 leaves it to the broker",
    ),
    Key::honored(
        "offset-syncs.topic.*",
        FLOW,
        Kind::Text,
        "",
        "Other configs of the offset-syncs topic, if it has to be created",
    ),
    // Understood, not acted upon.
    Key::ignored("sync.topic.configs.enabled", FLOW, Kind::Bool, CONFIGS_ONCE).agreeing(&["false"]),
    Key::ignored("sync.topic.configs.interval.seconds", FLOW, Kind::Text, CONFIGS_ONCE),
    Key::ignored(
        "use.incremental.alter.configs",
        FLOW,
        Kind::Choice(&["requested", "required", "never"]),
        CONFIGS_ONCE,
    ),
    Key::ignored("sync.topic.acls.enabled", FLOW, Kind::Bool, NO_ACLS).agreeing(&["false"]),
    Key::ignored("sync.topic.acls.interval.seconds", FLOW, Kind::Text, NO_ACLS),
    Key::ignored("tasks.max", FLOW, POSITIVE, NO_TASKS),
    Key::ignored("tasks.max.enforce", FLOW, Kind::Bool, NO_TASKS),
    Key::ignored("task.assigned.partitions", FLOW, Kind::Text, NO_TASKS),
    Key::ignored("task.assigned.groups", FLOW, Kind::Text, NO_TASKS),
    Key::ignored("task.index", FLOW, Kind::Text, NO_TASKS),
    Key::ignored(
        "consumer.poll.timeout.ms",
        FLOW,
        COUNT,
        "nothing is polled; `A.consumer.fetch.max.wait.ms` says how long a broker may \
         wait for records",
    ),
    Key::ignored(
        "metric.reporters",
        FLOW,
        Kind::Text,
        "Java metric reporters cannot be loaded",
    ),
    Key::ignored("metric.names.formats", FLOW, Kind::Text, "there is no JMX"),
    Key::ignored("add.source.alias.to.metrics", FLOW, Kind::Bool, "there is no JMX"),
    Key::ignored("auto.include.jmx.reporter", FLOW, Kind::Bool, "there is no JMX"),
    Key::ignored(
        "dedicated.mode.enable.internal.rest",
        FILE,
        Kind::Bool,
        "instances do not talk to each other yet; run one",
    )
    .agreeing(&["false"]),
    Key::ignored(
    "config.action.reload", FLOW, Kind::Text, "configuration providers are read at start and at SIGHUP"),
    Key::ignored(
    "errors.retry.timeout", FLOW, Kind::Text, "what can be retried is retried until it works"),
    Key::ignored(
        "errors.retry.delay.max.ms",
        FLOW,
        Kind::Text,
        "what can be retried is retried with `retry.backoff.max.ms` at most",
    ),
    Key::ignored(
        "errors.tolerance",
        FLOW,
        Kind::Choice(&["none", "all"]),
        "no record is ever left out; a partition that cannot go on stops and says so",
    )
    .agreeing(&["none"]),
    Key::ignored(
    "errors.log.enable", FLOW, Kind::Bool, "every error is logged").agreeing(&["true"]),
    Key::ignored("errors.log.include.messages", FLOW, Kind::Bool, "records are not opened")
        .agreeing(&["false"]),
    Key::ignored(
        "errors.deadletterqueue.*",
        FLOW,
        Kind::Text,
        "only sink connectors have a dead letter queue, MirrorMaker 2 ignores it as well",
    ),
    Key::ignored(
        "topic.creation.*",
        FLOW_ONLY,
        Kind::Text,
        "topics are created as on the source, with `replication.factor`",
    ),
    Key::honored(
        "exactly.once.support",
        FLOW_ONLY,
        Kind::Choice(&["requested", "required"]),
        "requested",
        "`required` refuses to run without `exactly.once.source.support = enabled` and `read_committed`",
    ),
    Key::honored(
        "transaction.boundary",
        FLOW_ONLY,
        Kind::Choice(&["poll", "interval"]),
        "poll",
        "When a transaction ends: `poll` when nothing more waits, after a second, or 64 MiB; `interval` after a time",
    ),
    Key::honored(
        "transaction.boundary.interval.ms",
        FLOW_ONLY,
        POSITIVE,
        "",
        "That time; by default `offset.flush.interval.ms`",
    ),
    Key::ignored("connector.class", FLOW, Kind::Text, NO_CONNECT),
    Key::ignored(
    "source.cluster.alias", FLOW, Kind::Text, "the aliases are those of the flow's name"),
    Key::ignored(
    "target.cluster.alias", FLOW, Kind::Text, "the aliases are those of the flow's name"),
    Key::refused(
        "offsets.storage.topic",
        FLOW_ONLY,
        Kind::Text,
        "positions are stored in one topic only",
        "name it with `B.offset.storage.topic`",
    ),
    Key::refused("transforms*", FLOW, Kind::Text, NO_TRANSFORMS, "remove the line").agreeing(&[""]),
    Key::refused("predicates*", FLOW, Kind::Text, NO_TRANSFORMS, "remove the line").agreeing(&[""]),
    Key::with(
        "forwarding.admin.class",
        FLOW,
        Kind::Class(&["org.apache.kafka.clients.admin.ForwardingAdmin"]),
        Status::Inert("only Kafka's own class can be named, and it does nothing"),
    ),
    Key::with(
        "topic.filter.class",
        FLOW,
        Kind::Class(&["org.apache.kafka.connect.mirror.DefaultTopicFilter"]),
        Status::Inert("only the default filter can be named"),
    ),
    Key::with(
        "group.filter.class",
        FLOW,
        Kind::Class(&["org.apache.kafka.connect.mirror.DefaultGroupFilter"]),
        Status::Inert("only the default filter can be named"),
    ),
    Key::with(
        "config.property.filter.class",
        FLOW,
        Kind::Class(&["org.apache.kafka.connect.mirror.DefaultConfigPropertyFilter"]),
        Status::Inert("only the default filter can be named"),
    ),
    Key::with("key.converter", FLOW, Kind::Class(&[BYTES]), Status::Inert("bytes stay bytes")),
    Key::with("value.converter", FLOW, Kind::Class(&[BYTES]), Status::Inert("bytes stay bytes")),
    Key::with("header.converter", FLOW, Kind::Class(&[BYTES]), Status::Inert("bytes stay bytes")),
    Key::honored(
        "config.providers",
        FILE,
        Kind::List,
        "",
        "Names of the providers that `${name:path:key}` in values refers to",
    ),
    Key::honored(
        "config.providers.*",
        FILE,
        Kind::Text,
        "",
        "`config.providers.NAME.class` is FileConfigProvider, DirectoryConfigProvider or EnvVarConfigProvider of \
         org.apache.kafka.common.config.provider; `.param.allowed.paths` and `.param.allowlist.pattern` limit them",
    ),
];
