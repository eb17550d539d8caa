//! Offset syncs: which offset is which, kept in MirrorMaker 2's own topic, so that it survives a restart and Java reads
//! it too.
//!
//! [`ledger`] is what the topic holds, [`emission`] what is written to it and when; [`store`] reads and writes it.

pub mod emission;
pub mod ledger;
pub mod store;

use std::sync::Arc;

/// A partition, as the source calls it.
pub type Named = (Arc<str>, i32);
