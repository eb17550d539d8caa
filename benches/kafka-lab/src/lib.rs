//! Real Apache Kafka for tests and benches: brokers, Kafka's own tools and MirrorMaker 2, started from
//! the jars that Maven Central publishes.
//!
//! - [`Distribution`]: the jars of one version, fetched once into a cache.
//! - [`KafkaCluster`]: one or three brokers on loopback that can be terminated, killed and restarted.
//! - [`Peer`]: a Java process with Kafka's own clients that produces and compares records for a test.
//!
//! Whatever is started here ends with the process that started it, also when that one is killed.

pub mod cluster;
pub mod distribution;
mod judge;
mod jvm;
pub mod load;
mod mirror_maker;
mod peer;
mod ports;
mod probe;
mod process;
mod settings;

pub use cluster::{ClusterBuilder, KafkaCluster};
pub use distribution::{Distribution, Version, available, available_with};
pub use judge::{Mirrored, OffsetSyncs, Positions};
pub use jvm::{Jvm, Place, Tuning};
pub use load::{Comparison, Isolation, Load, Produced, Shape};
pub use mirror_maker::start_mirror_maker;
pub use peer::{Peer, Pending};
pub use process::JavaProcess;
