//! The properties files of brokers and ZooKeeper: small, on loopback, quick to start.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::distribution::Version;

/// Where one broker listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodePorts {
    pub(crate) client: u16,
    /// The port of the KRaft controller; unused with ZooKeeper.
    pub(crate) controller: u16,
}

/// What Kafka 4 logs with: everything from `level` on goes to `target`, a stream by log4j's name.
pub(crate) fn log4j2(target: &str, level: &str) -> String {
    format!(
        "Configuration:\n  Appenders: {{Console: {{name: C, target: {target}, \
         PatternLayout: {{pattern: \"%d{{HH:mm:ss.SSS}} %p %m (%c{{1}})%n%ex\"}}}}}}\n  \
         Loggers: {{Root: {{level: {level}, AppenderRef: {{ref: C}}}}}}\n"
    )
}

/// What older versions log with.
pub(crate) const LOG4J: &str = "\
log4j.rootLogger=INFO, C
log4j.appender.C=org.apache.log4j.ConsoleAppender
log4j.appender.C.layout=org.apache.log4j.PatternLayout
log4j.appender.C.layout.ConversionPattern=%d{HH:mm:ss.SSS} %p %m (%c{1})%n
";

/// The JVM options that name both files, of which each version reads its own.
pub(crate) fn logging_options() -> Vec<String> {
    let log4j = "-Dlog4j.configuration=file:log4j.properties";
    vec!["-Dlog4j2.configurationFile=log4j2.yaml".to_owned(), log4j.to_owned()]
}

/// The properties of broker number `node` (from 1) of a cluster that listens on `ports`.
pub(crate) fn broker(
    version: Version,
    node: usize,
    ports: &[NodePorts],
    zookeeper: Option<u16>,
    address: Ipv4Addr,
    overrides: &BTreeMap<String, String>,
) -> String {
    let replicas = ports.len().to_string();
    let min_in_sync = ports.len().div_ceil(2).to_string();
    let own = ports[node - 1];
    let client = format!("PLAINTEXT://{address}:{}", own.client);
    let mut all = BTreeMap::new();
    let mut set = |key: &str, value: &str| all.insert(key.to_owned(), value.to_owned());
    set("log.dirs", &format!("data-{node}"));
    set("advertised.listeners", &client);
    set("offsets.topic.replication.factor", &replicas);
    set("transaction.state.log.replication.factor", &replicas);
    set("transaction.state.log.min.isr", &min_in_sync);
    set("min.insync.replicas", &min_in_sync);
    set("default.replication.factor", &replicas);
    set("offsets.topic.num.partitions", "5");
    set("transaction.state.log.num.partitions", "5");
    set("group.initial.rebalance.delay.ms", "0");
    set("auto.create.topics.enable", "false");
    // The default of 128 MiB is taken from the heap at start.
    set("log.cleaner.dedupe.buffer.size", "4194304");
    // To change it at run time restarts the cleaner, and tests that share a cluster would do that to each other.
    set("log.cleaner.backoff.ms", "300");
    set("num.io.threads", "4");
    if let Some(zookeeper) = zookeeper {
        debug_assert!(version.needs_zookeeper());
        set("broker.id", &node.to_string());
        set("listeners", &client);
        set("zookeeper.connect", &format!("127.0.0.1:{zookeeper}"));
    } else {
        let voters = ports.iter().enumerate();
        let voters = voters.map(|(i, p)| format!("{}@127.0.0.1:{}", i + 1, p.controller));
        set("process.roles", "broker,controller");
        set("node.id", &node.to_string());
        set("controller.quorum.voters", &voters.collect::<Vec<_>>().join(","));
        set("listeners", &format!("{client},CONTROLLER://127.0.0.1:{}", own.controller));
        set("controller.listener.names", "CONTROLLER");
        set("inter.broker.listener.name", "PLAINTEXT");
        set("broker.session.timeout.ms", "6000");
    }
    all.extend(overrides.clone());
    all.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

/// The properties of a single ZooKeeper server.
pub(crate) fn zookeeper(port: u16) -> String {
    format!(
        "dataDir=data-zk\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
         admin.enableServer=false\n"
    )
}
