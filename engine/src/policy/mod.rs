//! What is replicated and what it is called: naming policies, filters, Java's regular expressions.

pub mod filters;
pub mod internal_topics;
pub mod java_regex;
pub mod naming;
