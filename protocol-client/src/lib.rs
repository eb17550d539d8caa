//! A Kafka wire client that forwards record batches without opening them.
//!
//! - [`client`]: the control plane: bootstrap, metadata, routing, retries, administrative calls.
//! - [`net`]: one connection to one broker; the data plane fetches and produces over its own.
//! - [`conn`], [`cluster`]: the decisions behind both, pure.
//! - [`wire`]: bytes and messages. [`batch`]: record batches.

pub mod address;
pub mod batch;
pub mod client;
pub mod cluster;
pub mod conn;
pub mod error;
pub mod net;
pub mod wire;

pub use address::BrokerAddress;
pub use error::{Actor, ClientError, Fault};
