//! The data plane as pure machines: nothing here knows a socket, a clock or a task.
//!
//! A [`shard::Shard`] owns a set of partitions, the fetch lanes towards the source's brokers and the produce lanes
//! towards the target's. It takes an [`event::Event`] and answers with [`event::Effect`]s; the shell, the simulation
//! and tests are interpreters of those effects.
//!
//! ```text
//! source broker ─► fetch lane ─► PartitionFlow: queue ─► window ─► produce lane ─► target broker
//!                                   │ acknowledged prefix
//!                                   ▼
//!                                position
//! ```

pub mod bandwidth;
pub mod budget;
mod epochs;
pub mod event;
mod fetch_lane;
mod fleet;
mod frames;
mod link;
mod outgoing;
mod pace;
mod partition;
mod produce_lane;
mod queue;
mod recovery;
mod round;
pub mod settings;
pub mod shard;
mod split;
mod target_side;
