//! Record batches: walk them, decide about them, patch their headers, and rebuild the few that
//! cannot stay sealed.
//!
//! Everything here is pure: bytes in, bytes out.

pub mod builder;
pub mod codec;
mod copy;
pub mod crc;
pub mod decide;
mod draft;
pub mod error;
pub mod header;
mod legacy;
pub mod merge;
pub mod open;
pub mod patch;
pub mod record;
pub mod rewrite;
#[cfg(test)]
mod sample;
pub mod txn_filter;
mod varint;
pub mod walk;

pub use builder::BatchBuilder;
pub use decide::{AppendTime, Context, Decision, DropReason, RewriteReason, decide};
pub use draft::{OffsetRun, Rebuilt};
pub use error::BatchError;
pub use header::{BatchHeader, Compression, HEADER_BYTES};
pub use merge::{Merged, can_merge, merge};
pub use open::{OpenBatch, OpenRecord};
pub use patch::{ProducerStamp, patch, patch_in_transaction};
pub use rewrite::{RebuildOptions, rewrite};
pub use txn_filter::{AbortedTransaction, TxnFilter, Verdict};
pub use walk::{Entry, Magic, Walk, walk};
