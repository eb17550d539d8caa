//! Consumer groups: which are followed, what is written down of their positions, what is committed for them at the
//! target.
//!
//! Public source of the rules: `MirrorCheckpointConnector` and `MirrorCheckpointTask` of Apache Kafka (KIP-382, KIP-545).
//! The positions come from the offset index, so they are exact where MirrorMaker 2 estimates.

pub mod checkpoints;
pub mod selection;
pub mod sync;
