//! Replication between Kafka clusters: configuration, policies, records, plans.

pub mod config;
pub mod policy;
pub mod records;
