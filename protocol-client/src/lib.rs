//! A Kafka wire client that forwards record batches without opening them.

pub mod batch;
