//! The engine on real sockets against embedded clusters: what people do to topics and what brokers do to clients.

mod bandwidth;
mod crashes;
mod faults;
mod fencing;
mod groups;
mod setup;
mod syncs;
mod topics;
mod transactions;
