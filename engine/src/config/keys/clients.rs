//! Keys of Kafka's consumers, producers and admin clients.

use super::{COUNT, Key, Kind, POSITIVE, Places, Status};

const CONSUMER: Places = Places::CONSUMER;
const PRODUCER: Places = Places::PRODUCER;
const ADMIN: Places = Places::ADMIN;
const DATA: Places = Places::CONSUMER.and(Places::PRODUCER);
const CLIENTS: Places = DATA.and(ADMIN);
const SHARED: Places = Places::FILE.and(Places::CLUSTER);

/// Socket buffers: -1 is the operating system's own.
const BUFFER: Kind = Kind::Number { min: -1, max: i32::MAX as i64 };

const SEALED: &str = "record batches keep the size and codec that their producer gave them";
const ONE_CONNECTION: &str =
    "admin requests go by the consumer's settings on the source and the producer's on the target";

const KEYS: &[Key] = &[
    Key::honored(
        "bootstrap.servers",
        SHARED.and(CONSUMER),
        Kind::Brokers,
        "",
        "`host:port` of some brokers of the cluster; without prefix for every cluster \
         that names none",
    ),
    Key::ignored(
        "bootstrap.servers",
        PRODUCER.and(ADMIN),
        Kind::Brokers,
        "all connections to a cluster start from `ALIAS.bootstrap.servers`",
    ),
    Key::refused(
        "security.protocol",
        SHARED.and(CLIENTS),
        Kind::Choice(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]),
        "TLS and SASL are not available in this version",
        "name a PLAINTEXT listener of the brokers and remove the line",
    )
    .agreeing(&["PLAINTEXT"]),
    Key::with(
        "ssl.*",
        SHARED.and(CLIENTS),
        Kind::Text,
        Status::Inert("it counts only when `security.protocol` asks for TLS, which is refused"),
    ),
    Key::with(
        "sasl.*",
        SHARED.and(CLIENTS),
        Kind::Text,
        Status::Inert("it counts only when `security.protocol` asks for SASL, which is refused"),
    ),
    Key::honored(
        "isolation.level",
        CONSUMER,
        Kind::Choice(&["read_uncommitted", "read_committed"]),
        "read_uncommitted",
        "Whether records of aborted transactions are copied",
    ),
    Key::honored(
        "auto.offset.reset",
        CONSUMER,
        Kind::Choice(&["earliest", "latest"]),
        "earliest",
        "Where reading a partition begins that no position is stored for",
    ),
    Key::honored(
        "fetch.max.bytes",
        CONSUMER,
        POSITIVE,
        "",
        "Upper bound of one fetch answer; by default taken from `kmirror.memory.bytes`",
    ),
    Key::honored(
        "max.partition.fetch.bytes",
        CONSUMER,
        POSITIVE,
        "",
        "Upper bound of one partition's part of a fetch answer; by default taken from \
         `kmirror.memory.bytes`",
    ),
    Key::honored(
        "fetch.min.bytes",
        CONSUMER,
        COUNT,
        "1",
        "How many bytes a broker waits for before it answers a fetch",
    ),
    Key::honored(
        "fetch.max.wait.ms",
        CONSUMER,
        COUNT,
        "500",
        "How long a broker may wait for them",
    ),
    Key::ignored("client.rack", CONSUMER, Kind::Text, "records are read from the leader (KIP-392)"),
    Key::honored(
        "max.request.size",
        PRODUCER,
        POSITIVE,
        "",
        "Upper bound of one produce request; by default taken from `kmirror.memory.bytes`",
    ),
    Key::honored(
        "transaction.timeout.ms",
        PRODUCER,
        POSITIVE,
        "60000",
        "After how long the target aborts a transaction that is left alone",
    ),
    Key::honored(
        "client.id",
        DATA,
        Kind::Text,
        "",
        "What stands before the flow's name in the client id that brokers log and set quotas by",
    ),
    Key::honored("request.timeout.ms", DATA, POSITIVE, "30000", "How long an answer may take"),
    Key::honored("metadata.max.age.ms", DATA, POSITIVE, "300000", "How old metadata may become"),
    Key::honored(
        "retry.backoff.ms",
        DATA,
        COUNT,
        "100",
        "The first wait before a failed request is sent again; shorter (from 10 ms on) where only a leader or coordinator is about to change",
    ),
    Key::honored("retry.backoff.max.ms", DATA, COUNT, "1000", "The longest such wait"),
    Key::honored(
        "socket.connection.setup.timeout.ms",
        DATA,
        POSITIVE,
        "10000",
        "How long opening a connection may take",
    ),
    Key::honored(
        "send.buffer.bytes",
        DATA,
        BUFFER,
        "-1",
        "The socket's send buffer; -1 leaves it to the operating system",
    ),
    Key::honored(
        "receive.buffer.bytes",
        DATA,
        BUFFER,
        "-1",
        "The socket's receive buffer; -1 leaves it to the operating system",
    ),
    Key::ignored(
        "acks",
        PRODUCER,
        Kind::Choice(&["all", "-1", "0", "1"]),
        "every write waits for all in-sync replicas",
    )
    .agreeing(&["all", "-1"]),
    Key::ignored("enable.idempotence", PRODUCER, Kind::Bool, "writing is always idempotent")
        .agreeing(&["true"]),
    Key::ignored(
        "enable.auto.commit",
        CONSUMER,
        Kind::Bool,
        "positions are stored as source offsets of Connect",
    )
    .agreeing(&["false"]),
    Key::ignored(
        "check.crcs",
        CONSUMER,
        Kind::Bool,
        "the checksum is carried over and verified by the target",
    ),
];

/// Names that only Java clients act upon, with what happens instead.
const IGNORED: &[(Places, &str, &[&str])] = &[
    (
        PRODUCER,
        SEALED,
        &[
            "batch.size",
            "linger.ms",
            "compression.type",
            "compression.gzip.level",
            "compression.lz4.level",
            "compression.zstd.level",
        ],
    ),
    (PRODUCER, "memory is bounded by `kmirror.memory.bytes` over all flows", &["buffer.memory"]),
    (PRODUCER, "requests are pipelined, order is kept", &["max.in.flight.requests.per.connection"]),
    (
        PRODUCER,
        "writing goes on until it works or a human decides",
        &["delivery.timeout.ms", "max.block.ms"],
    ),
    (
        PRODUCER,
        "records keep the number of their partition",
        &[
            "partitioner.class",
            "partitioner.adaptive.partitioning.enable",
            "partitioner.availability.timeout.ms",
            "partitioner.ignore.keys",
        ],
    ),
    (
        PRODUCER,
        "transactional ids are named after the flow",
        &["transactional.id", "transaction.two.phase.commit.enable"],
    ),
    (PRODUCER, "records are not opened", &["key.serializer", "value.serializer"]),
    (CONSUMER, "records are not opened", &["key.deserializer", "value.deserializer"]),
    (
        CONSUMER,
        "batches are fetched, not polled record by record",
        &["max.poll.records", "max.poll.interval.ms"],
    ),
    (
        CONSUMER,
        "partitions are read without a consumer group",
        &[
            "group.id",
            "group.instance.id",
            "group.protocol",
            "group.remote.assignor",
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "partition.assignment.strategy",
            "auto.commit.interval.ms",
            "exclude.internal.topics",
            "allow.auto.create.topics",
        ],
    ),
    (DATA, "Java classes cannot be loaded", &["interceptor.classes"]),
    (CLIENTS, "Java classes cannot be loaded", &["metric.reporters", "security.providers"]),
    (
        CLIENTS,
        "there is no JMX",
        &[
            "metrics.sample.window.ms",
            "metrics.num.samples",
            "metrics.recording.level",
            "auto.include.jmx.reporter",
            "enable.metrics.push",
        ],
    ),
    (CLIENTS, "all addresses of a name are tried", &["client.dns.lookup"]),
    (
        DATA,
        "the wait before a lost connection is opened again is not configurable; it grows with every \
         attempt",
        &["reconnect.backoff.ms", "reconnect.backoff.max.ms"],
    ),
    (CLIENTS, "connections are kept open", &["connections.max.idle.ms"]),
    (
        CLIENTS,
        "the wait does not grow beyond `socket.connection.setup.timeout.ms`",
        &["socket.connection.setup.timeout.max.ms"],
    ),
    (CLIENTS, "what can be retried is retried until it works", &["retries"]),
    (
        CLIENTS,
        "the bootstrap servers are asked again whenever no known broker answers",
        &["metadata.recovery.strategy", "metadata.recovery.rebootstrap.trigger.ms"],
    ),
    (PRODUCER, "metadata is kept for every replicated topic", &["metadata.max.idle.ms"]),
    (CONSUMER, "`request.timeout.ms` bounds every request", &["default.api.timeout.ms"]),
    (ADMIN, "`admin.timeout.ms` bounds administrative steps", &["default.api.timeout.ms"]),
    (
        ADMIN,
        ONE_CONNECTION,
        &[
            "client.id",
            "request.timeout.ms",
            "metadata.max.age.ms",
            "reconnect.backoff.ms",
            "reconnect.backoff.max.ms",
            "retry.backoff.ms",
            "retry.backoff.max.ms",
            "socket.connection.setup.timeout.ms",
            "send.buffer.bytes",
            "receive.buffer.bytes",
            "bootstrap.controllers",
        ],
    ),
];

pub(super) fn keys() -> impl Iterator<Item = Key> {
    let ignored = IGNORED.iter().flat_map(|&(places, instead, names)| {
        names.iter().map(move |name| Key::ignored(name, places, Kind::Text, instead))
    });
    KEYS.iter().copied().chain(ignored)
}
