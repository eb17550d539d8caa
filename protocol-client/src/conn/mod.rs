//! What happens on one connection, as pure machines.

pub mod fetch_session;
pub mod handshake;
pub mod machine;
