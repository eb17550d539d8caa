//! The program between real Apache Kafka clusters: what its users will see, with nothing of it replaced.

mod exercise;
mod failures;
mod formats;
mod golden;
mod groups;
mod handover;
mod start;
mod support;
mod syncs;
mod versions;
mod volume;
