//! The I/O shells of the engine: threads, connections, timers. No decision about Kafka is made here that a pure machine
//! could make.

mod attempts;
mod begin;
mod clock;
mod clusters;
mod flow_task;
mod group_sync;
mod groups_task;
mod heartbeats_task;
mod indexes;
mod internal_topics;
mod limits;
mod memory;
mod placement;
mod producers;
mod shard_task;
mod supervisor;
mod syncs_task;
mod takeover;
mod tell;
mod threads;
mod topics;
mod transactions;
mod translate;
mod unended;
mod verify;

pub use supervisor::{Engine, FlowProgress};
pub use translate::{Translated, translate_group};
pub use verify::verify;
