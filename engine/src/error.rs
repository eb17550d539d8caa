//! Why the engine cannot start or go on, by who must act.

use thiserror::Error;

/// An error that ends the engine. What a retry can mend never becomes one.
#[derive(Debug, Clone, Error)]
pub enum EngineError {
    /// The system refuses something that the engine cannot do without.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: String,
    },
    /// Another instance replicates in our place.
    #[error(
        "flow {flow}: another instance has taken over, this one stops; if there is none, something else uses the \
         transactional id {transactional_id}"
    )]
    Fenced {
        /// The flow.
        flow: String,
        /// What both instances are known by at the target.
        transactional_id: String,
    },
    /// A cluster refuses us, and will go on refusing until somebody acts.
    #[error("cluster {cluster}: {what}")]
    Refused {
        /// The cluster's alias.
        cluster: String,
        /// What it said and what to do.
        what: String,
    },
}

impl EngineError {
    /// Says what was being done when a cluster refused.
    pub(crate) fn about(self, subject: &str) -> Self {
        match self {
            Self::Refused { cluster, what } => {
                Self::Refused { cluster, what: format!("{subject}: {what}") }
            }
            other => other,
        }
    }
}
