//! What is to be replicated, and what has to be created for it.

pub mod plan;
