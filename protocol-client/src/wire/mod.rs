//! Bytes and messages: framing, negotiation, guards and the two message families encoded by hand.
//!
//! Everything here is pure. `kafka-protocol` supplies the message types of the control plane;
//! [`guard`] looks at each answer before that crate may allocate for it. Fetch and Produce have
//! codecs of their own, because their payload must not be copied.

pub mod api;
pub mod error_code;
pub mod fetch;
pub mod frame;
pub mod guard;
pub mod message;
pub mod primitives;
pub mod produce;
pub mod schemas;
