//! A Kafka wire client that forwards record batches without opening them.

pub mod batch;
pub mod conn;
pub mod error;
pub mod net;
pub mod wire;

pub use error::{Actor, ClientError, Fault};
