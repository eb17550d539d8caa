//! A small Kafka for demo, tests and benches: an in-memory cluster of several nodes on the loopback, with the
//! produce and fetch rules of a real broker, a log that keeps batches byte for byte, and fault controls.
//!
//! [`core`] is the cluster without sockets and clock; [`Cluster`] puts it on the network.
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use embedded_broker::{Cluster, ClusterOptions, TopicSpec};
//! let cluster = Cluster::start(ClusterOptions::nodes(3)).await?;
//! cluster.create_topic(TopicSpec::new("orders", 6).replicas(3)).expect("a new topic");
//! println!("bootstrap.servers={}", cluster.bootstrap());
//! # Ok(())
//! # }
//! ```

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
pub use core::versions::Profile;
pub use core::{NodeId, Refused, TopicSpec};
pub use endless::EndlessTopic;
pub use kafka_protocol::ResponseError as KafkaError;
pub use kafka_protocol::messages::ApiKey;
pub use options::{BrokerOptions, ClusterOptions, OnFull};
