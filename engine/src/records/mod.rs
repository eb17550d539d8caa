//! The records that MirrorMaker 2 and Connect keep their state in, byte by byte.
//!
//! Encoders produce the bytes that Java produces; decoders take what Java takes and answer
//! everything else with a typed error, so that one foreign record never stops a flow.

pub mod checkpoint;
pub mod connect_offset;
mod fields;
pub mod heartbeat;
mod jackson;
pub mod murmur2;
pub mod offset_sync;
pub mod pair;

pub use checkpoint::Checkpoint;
pub use connect_offset::{ConnectOffsetKey, ConnectOffsetValue};
pub use heartbeat::Heartbeat;
pub use offset_sync::OffsetSync;
use thiserror::Error;

/// Why a record is not what its topic should hold, or cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes end inside a field.
    #[error("the record ends inside `{field}`")]
    Truncated {
        /// The field, by Kafka's name.
        field: &'static str,
    },
    /// A string is not UTF-8, or its length is negative.
    #[error("`{field}` is not a string")]
    BadString {
        /// The field, by Kafka's name.
        field: &'static str,
    },
    /// A newer writer than this program.
    #[error("version {version} of the record is not known, only 0 is")]
    UnknownVersion {
        /// What the record says.
        version: i16,
    },
    /// The record has no key or no value where it must have one.
    #[error("the record has no {part}")]
    Missing {
        /// `key` or `value`.
        part: &'static str,
    },
    /// The key or value is not the JSON that Connect writes.
    #[error("not a source offset of Connect: {0}")]
    BadJson(String),
    /// A string too long for its length field (32767 bytes of UTF-8).
    #[error("`{field}` is longer than 32767 bytes")]
    TooLong {
        /// The field, by Kafka's name.
        field: &'static str,
    },
}
