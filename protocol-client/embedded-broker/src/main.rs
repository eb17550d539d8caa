//! `embedded-broker`: a small Kafka on 127.0.0.1 until SIGTERM or SIGINT.

use std::process::ExitCode;

use clap::Parser;
use embedded_broker::{
    BrokerOptions, Cluster, ClusterOptions, EndlessTopic, OnFull, Profile, TopicSpec,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

/// A small in-memory Kafka cluster on 127.0.0.1, for trying things out. Data is gone when it ends.
#[derive(Debug, Parser)]
#[command(name = "embedded-broker", version, after_help = EXAMPLE)]
struct Args {
    /// Number of nodes.
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Port of the first node; the others take the next ones. 0 lets the system choose.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// A topic to create: NAME:PARTITIONS[:CONFIG=VALUE]... Can be given more than once.
    #[arg(long = "topic", value_name = "TOPIC", value_parser = TopicSpec::parse)]
    topics: Vec<TopicSpec>,
    /// A topic that discards what is produced: NAME:PARTITIONS. Can be given more than once.
    #[arg(long = "null-topic", value_name = "TOPIC", value_parser = TopicSpec::parse)]
    null_topics: Vec<TopicSpec>,
    /// A topic that discards what is produced and is full of made-up records:
    /// NAME:PARTITIONS[:batch.records=1000][:record.bytes=1024][:codec=none][:end.offset=N].
    #[arg(long = "endless-topic", value_name = "TOPIC", value_parser = EndlessTopic::parse)]
    endless_topics: Vec<EndlessTopic>,
    /// A config that all topics start from: CONFIG=VALUE. Can be given more than once.
    #[arg(long = "config", value_name = "CONFIG", value_parser = parse_config)]
    configs: Vec<(String, String)>,
    /// Replicas of a topic that is created without a number.
    #[arg(long, default_value_t = 1)]
    replication_factor: i16,
    /// The Kafka release to pass for: 2.8, 3.9, 4.0 or 4.2.
    #[arg(long = "as", value_name = "RELEASE", default_value = "4.2", value_parser = parse_profile)]
    profile: Profile,
    /// Create topics that clients ask for.
    #[arg(long)]
    auto_create: bool,
    /// Limit of all logs together, in MiB.
    #[arg(long, default_value_t = 1024)]
    memory_mib: u64,
    /// At the limit refuse what is produced, in place of dropping the oldest batches.
    #[arg(long)]
    refuse_when_full: bool,
    /// Send and receive buffer of each connection, in bytes; brokers have 102400, the default is the system's.
    #[arg(long)]
    socket_buffer_bytes: Option<u32>,
    /// Store compressed batches without opening them.
    #[arg(long)]
    keep_sealed: bool,
    /// Say on stderr why connections end.
    #[arg(long)]
    verbose: bool,
}

const EXAMPLE: &str = "Example: embedded-broker --nodes 3 --port 9092 \
    --topic orders:6 --topic users:3:cleanup.policy=compact";

fn parse_config(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no '='"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_profile(text: &str) -> Result<Profile, String> {
    Profile::parse(text).ok_or_else(|| "known are 2.8, 3.9, 4.0 and 4.2".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("embedded-broker: {what}");
            ExitCode::from(3)
        }
    }
}

async fn run(args: Args) -> Result<(), String> {
    let level = if args.verbose { LevelFilter::DEBUG } else { LevelFilter::WARN };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return Err("signals cannot be watched".to_owned());
    };
    let ports = match args.port {
        0 => Vec::new(),
        first => (0..args.nodes).map_while(|nth| first.checked_add(nth as u16)).collect(),
    };
    let broker = BrokerOptions {
        nodes: args.nodes,
        profile: args.profile,
        memory_limit_bytes: args.memory_mib << 20,
        on_full: if args.refuse_when_full { OnFull::Refuse } else { OnFull::DropOldest },
        default_configs: args.configs,
        auto_create_topics: args.auto_create,
        default_replication_factor: args.replication_factor,
        open_compressed: !args.keep_sealed,
        ..BrokerOptions::default()
    };
    let socket_buffer_bytes = args.socket_buffer_bytes;
    let options = ClusterOptions { broker, ports, socket_buffer_bytes, ..Default::default() };
    let cluster = Cluster::start(options).await.map_err(|error| format!("no port: {error}"))?;
    let null_names: Vec<String> = args.null_topics.iter().map(|spec| spec.name.clone()).collect();
    for spec in args.topics.into_iter().chain(args.null_topics) {
        let name = spec.name.clone();
        let created = cluster.create_topic(spec);
        created.map_err(|(error, what)| format!("topic {name}: {error}: {what}"))?;
    }
    for name in null_names {
        cluster.make_null(&name, None);
    }
    for endless in args.endless_topics {
        let created = cluster.with(|broker, _| broker.create_endless(&endless));
        let name = &endless.spec.name;
        created.map_err(|(error, what)| format!("topic {name}: {error}: {what}"))?;
    }
    println!("bootstrap.servers={}", cluster.bootstrap());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
