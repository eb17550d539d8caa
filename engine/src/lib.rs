//! Replication between Kafka clusters: configuration, policies, records, plans.

pub mod config;
pub mod discovery;
pub mod policy;
pub mod records;
