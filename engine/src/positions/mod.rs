//! Where replication stands: positions kept in MirrorMaker 2's own offsets topic, so that either can go on after the
//! other.
//!
//! [`ledger`] is what is stored and what has to be; [`store`] reads and writes the topic; [`beginning`] says what follows
//! from it for a partition that starts.

pub mod beginning;
pub mod ledger;
pub mod store;
