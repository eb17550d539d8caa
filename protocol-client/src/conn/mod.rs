//! What happens on one connection, as pure machines.

pub mod handshake;
pub mod machine;
