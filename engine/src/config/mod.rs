//! `mm2.properties`: read as Java reads it, resolved as MirrorMaker 2 resolves it, from one table
//! of keys.

pub mod docs;
mod exactly_once;
mod finding;
mod flows;
mod groups;
mod heartbeats;
mod hints;
pub mod keys;
mod layers;
mod lint;
mod model;
pub mod properties;
mod providers;
mod rates;
mod reader;
mod resolve;
mod syncs;
pub mod values;

pub use finding::{Finding, Severity};
pub use model::{
    CheckpointsConfig, ClusterConfig, ConnectionConfig, ConsumerConfig, DefaultsFrom,
    EffectiveSetting, ExactlyOnceConfig, FlowConfig, GroupsConfig, HeartbeatsConfig,
    IsolationLevel, OffsetSyncsConfig, Origin, PositionsConfig, ProcessConfig, ProducerConfig,
    Replication, StartFrom,
};
pub use providers::{NoSurroundings, Surroundings};
pub use resolve::{Input, Resolution, resolve};
