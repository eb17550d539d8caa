//! A small Kafka for demo, tests and benches: an in-memory cluster of several nodes on the loopback, with the
//! produce and fetch rules of a real broker, a log that keeps batches byte for byte, and fault controls.
//!
//! [`core`] is the cluster without sockets and clock, for simulations; [`Cluster`] puts it on the network.
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use embedded_broker::{ApiKey, Cluster, ClusterOptions, Fault, FaultAction, TopicSpec};
//! let cluster = Cluster::start(ClusterOptions::nodes(3)).await?;
//! cluster.create_topic(TopicSpec::new("orders", 6).replicas(3)).expect("a new topic");
//! println!("bootstrap.servers={}", cluster.bootstrap());
//! // The next produce request to node 1 is applied, and its answer lost.
//! cluster.fault(Fault::new(ApiKey::Produce, FaultAction::ApplyThenDrop).node(1));
//! # Ok(())
//! # }
//! ```
//!
//! # Where to find things
//! - which APIs and versions: [`core::versions`]; what each does and leaves out: the head of `core/api/*.rs`
//! - what is checked in a batch: [`core::batch`]; sequences and epochs: [`core::producers`]
//! - groups: [`core::groups`]; transactions: [`core::transactions`]; fetch sessions: [`core::sessions`]
//! - faults: [`core::faults`]; what a test does to a cluster: [`Cluster`], and [`core::Broker`] by [`Cluster::with`]
//! - topics for benchmarks, which discard and never end: [`core::null_log`], [`EndlessTopic`]
//! - memory: [`BrokerOptions::memory_limit_bytes`] and [`OnFull`]
//!
//! # Left out
//! Replication (one log stands for all replicas of a partition, so a follower has what the leader has), disks and
//! segments, authentication, ACLs, quotas and throttling, KIP-848 and share groups, transactions of version 2,
//! tiered storage, recompression by `compression.type`, retention by time, expiry of group offsets, down-conversion
//! and message formats before 2 in produce (a test can append them with [`Cluster::append`] as prepared batches
//! only in format 2). A request's nested arrays are decoded with the sizes that they claim: a client with bad intent
//! can end the process, which is why it listens on the loopback only.
//!
//! # Checked by hand
//! - kcat 1.7.1 and confluent-kafka 2.16: create, produce with every codec (idempotent), consume, groups with
//!   static and cooperative members, transactions with abort, fencing and offsets, configs, delete records.
//! - Kafka's tools 4.3.1 and, `--as 2.8`, 2.8.2: TopicCommand, ConsoleProducer, ConsoleConsumer,
//!   ConsumerGroupCommand (list, describe, reset, delete), ConfigCommand; GetOffsetShell 4.3.1 only.
//! - MirrorMaker 2 4.3.1 between two clusters of this kind: records, checkpoints, synced group offsets.

pub mod core;

mod cluster;
mod endless;
mod fetch_frame;
mod frame;
mod guard;
mod listen;
mod options;

pub use cluster::Cluster;
pub use core::faults::{Fault, FaultAction};
pub use core::records::Record;
pub use core::transactions::Markers;
pub use core::versions::Profile;
pub use core::{NodeId, Refused, TopicSpec};
pub use endless::EndlessTopic;
pub use kafka_protocol::ResponseError as KafkaError;
pub use kafka_protocol::messages::ApiKey;
pub use options::{BrokerOptions, ClusterOptions, OnFull};
