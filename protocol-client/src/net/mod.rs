//! The shell around [`crate::conn`]: sockets, the clock, one task per connection.

mod connection;
mod dial;
mod driver;
mod options;
mod outbox;

pub use connection::{Connection, Pending, Then};
pub use options::ConnectionOptions;

pub use crate::address::BrokerAddress;
