//! Replication between Kafka clusters: configuration, policies, plans, and the engine that carries them out.
//!
//! - [`config`], [`policy`], [`discovery`]: what shall be replicated, under which names. Pure.
//! - [`flow`]: the data plane as machines. Pure.
//! - [`index`]: which offset of the target is which of the source. Pure.
//! - [`matching`]: what of a source log stands where in a target log. Pure.
//! - [`records`], [`positions`]: MirrorMaker 2's own records, and where replication stands.
//! - [`syncs`]: the indexes as MirrorMaker 2's offset-syncs topic keeps them.
//! - [`verify`]: what counts as a difference between a log and its copy. Pure.
//! - [`runtime`]: threads, connections and timers that carry all of it out.

pub mod config;
pub mod discovery;
pub mod error;
pub mod flow;
pub mod groups;
pub mod index;
pub mod matching;
pub mod model;
pub mod policy;
pub mod positions;
pub mod records;
pub mod runtime;
pub mod syncs;
pub mod verify;
