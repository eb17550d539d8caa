//! Record batches: read the header, patch the header, leave the records sealed.
//!
//! The layout is that of Kafka's `DefaultRecordBatch` (message format 2).

pub mod crc;
pub mod header;

pub use header::{BatchError, BatchHeader, Compression, HEADER_BYTES};
