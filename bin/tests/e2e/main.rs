//! The program between real Apache Kafka clusters: what its users will see, with nothing of it replaced.

mod exercise;
mod failures;
mod foreign;
mod formats;
mod golden;
mod groups;
mod groups_exact;
mod handover;
mod kills;
mod start;
mod support;
mod surprises;
mod syncs;
mod versions;
mod volume;
