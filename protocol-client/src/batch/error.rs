//! What can be wrong with a batch, and what the reader of the message can do about it.

use super::codec::CodecError;
use thiserror::Error;

/// Why bytes are not a usable batch, or why a batch cannot be rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The length field is smaller than a batch can be, or points outside what was received.
    #[error(
        "batch at byte {at} says it is {length} bytes long, which cannot be: \
         the response is damaged; fetch it again"
    )]
    Length {
        /// Position of the batch in the blob, in bytes.
        at: usize,
        /// What its length field says, in bytes.
        length: i64,
    },
    /// The message format is not one that Kafka has.
    #[error("batch has message format {magic}, which is not known here")]
    Magic {
        /// The format's number.
        magic: i8,
    },
    /// The stored checksum is not that of the bytes.
    #[error(
        "batch at offset {base_offset}: stored checksum {stored:#010x}, computed {computed:#010x}: \
         the bytes were damaged; fetch them again, and check the source log if it comes back"
    )]
    Checksum {
        /// First offset of the batch.
        base_offset: i64,
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The encoded records are not what the header promises.
    #[error("batch at offset {base_offset}: {what}; the source log is damaged there")]
    Records {
        /// First offset of the batch.
        base_offset: i64,
        /// What was found.
        what: &'static str,
    },
    /// The records could not be decompressed or compressed.
    #[error("batch at offset {base_offset}: {reason}")]
    Codec {
        /// First offset of the batch.
        base_offset: i64,
        /// What the codec says.
        reason: CodecError,
    },
    /// One record alone is larger than the target topic takes.
    #[error(
        "record at offset {offset} needs a batch of {bytes} bytes, the target takes {max_bytes}: \
         raise max.message.bytes of the target topic"
    )]
    TooLarge {
        /// Offset of the record at the source.
        offset: i64,
        /// Size of a batch with this record alone, in bytes.
        bytes: usize,
        /// The target's limit, in bytes.
        max_bytes: usize,
    },
}

impl BatchError {
    /// Whether the records have more bytes than the caller allowed.
    pub(super) fn is_over_limit(&self) -> bool {
        matches!(self, Self::Codec { reason: CodecError::OverLimit { .. }, .. })
    }

    /// A [`BatchError::Records`].
    pub(super) fn records(base_offset: i64, what: &'static str) -> Self {
        Self::Records { base_offset, what }
    }

    /// Wraps what a codec says about the batch at `base_offset`.
    pub(super) fn codec(base_offset: i64) -> impl Fn(CodecError) -> Self {
        move |reason| Self::Codec { base_offset, reason }
    }
}
