//! The one error of the client: what went wrong, with which broker and request, and who must act.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::api::{Gap, VersionSpan};
use crate::wire::error_code::{ErrorCode, RetryClass};
use crate::wire::frame::FrameError;
use crate::wire::primitives::WireError;

/// A failed operation. Cheap to clone: the first failure of a connection reaches every waiter.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientError(Arc<Report>);

#[derive(PartialEq, Eq)]
struct Report {
    fault: Fault,
    broker: Option<Arc<str>>,
    api: Option<&'static str>,
}

/// Who must act for the operation to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// Nobody but time: the line or the broker was away. Trying again is right.
    Network,
    /// The peer broke the protocol, or is not a Kafka broker at all.
    Peer,
    /// The broker refused; the error code says what helps.
    Broker,
    /// The person who runs the clusters: an old broker, a wrong address, missing rights.
    Operator,
    /// The code that calls this library.
    Caller,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The host name could not be turned into an address.
    #[error("cannot resolve the host name: {reason}")]
    Resolve {
        /// What the resolver said.
        reason: String,
    },
    /// No address of the broker accepted the connection.
    #[error("cannot connect: {reason}")]
    Connect {
        /// What the operating system said, for the last address tried.
        reason: String,
    },
    /// No answer came in time. The request may or may not have been carried out.
    #[error("no answer within {} ms", after.as_millis())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke.
    #[error("connection lost: {reason}")]
    Disconnected {
        /// What the operating system said, or where the stream ended.
        reason: String,
    },
    /// The connection was closed on this side before the answer came.
    #[error("connection closed on this side")]
    Closed,
    /// None of the given brokers could be reached.
    #[error("no broker can be reached; last failure: {last}")]
    NoBroker {
        /// The last failure, with its broker.
        last: String,
    },
    /// A frame had an impossible size.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message did not follow its schema.
    #[error("malformed answer: {0}")]
    Malformed(#[from] WireError),
    /// A message could not be understood, or contradicts what was asked.
    #[error("unexpected answer: {reason}")]
    Unexpected {
        /// What was wrong with it.
        reason: String,
    },
    /// The broker answered with an error code.
    #[error("{code}{}", detail(message))]
    Refused {
        /// The code.
        code: ErrorCode,
        /// The broker's own words, where the API has a place for them.
        message: Option<String>,
    },
    /// The broker does not speak a version of this API that we speak.
    #[error(transparent)]
    Unsupported(#[from] Gap),
    /// The request was wrong before it was sent.
    #[error("bad request: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// More requests wait for this connection than its queue holds.
    #[error("{limit} requests wait for this connection already")]
    QueueFull {
        /// The size of the queue.
        limit: usize,
    },
    /// Something that was asked for is not there: a topic, partition or node the cluster does not list.
    #[error("{what} is not known to the cluster")]
    Unknown {
        /// What is missing.
        what: String,
    },
}

fn detail(message: &Option<String>) -> String {
    message
        .as_deref()
        .filter(|text| !text.is_empty())
        .map(|text| format!(": {text}"))
        .unwrap_or_default()
}

impl ClientError {
    /// An error without context yet.
    pub fn new(fault: impl Into<Fault>) -> Self {
        Self(Arc::new(Report { fault: fault.into(), broker: None, api: None }))
    }

    /// The broker's answer `code`, with the broker's own words.
    pub fn refused(code: ErrorCode, message: Option<String>) -> Self {
        Self::new(Fault::Refused { code, message })
    }

    /// A request that cannot be sent as it is.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::new(Fault::Invalid { reason: reason.into() })
    }

    /// An answer that contradicts the request.
    pub fn unexpected(reason: impl Into<String>) -> Self {
        Self::new(Fault::Unexpected { reason: reason.into() })
    }

    /// Something the cluster does not list.
    pub fn unknown(what: impl Into<String>) -> Self {
        Self::new(Fault::Unknown { what: what.into() })
    }

    /// Says which broker this is about, unless that is known already.
    #[must_use]
    pub fn at(self, broker: &Arc<str>) -> Self {
        if self.0.broker.is_some() {
            return self;
        }
        Self(Arc::new(Report {
            fault: self.0.fault.clone(),
            broker: Some(Arc::clone(broker)),
            api: self.0.api,
        }))
    }

    /// Says which request this is about, unless that is known already.
    #[must_use]
    pub fn during(self, api: &'static str) -> Self {
        if self.0.api.is_some() {
            return self;
        }
        Self(Arc::new(Report {
            fault: self.0.fault.clone(),
            broker: self.0.broker.clone(),
            api: Some(api),
        }))
    }

    /// What went wrong.
    pub fn fault(&self) -> &Fault {
        &self.0.fault
    }

    /// The broker this is about, as `host:port`.
    pub fn broker(&self) -> Option<&str> {
        self.0.broker.as_deref()
    }

    /// The name of the API this is about, as in Kafka's protocol guide.
    pub fn api(&self) -> Option<&'static str> {
        self.0.api
    }

    /// The broker's error code, when it answered with one.
    pub fn code(&self) -> Option<ErrorCode> {
        match &self.0.fault {
            Fault::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The range of versions the broker offers, when it is too old or too new for us.
    pub fn offered(&self) -> Option<VersionSpan> {
        match &self.0.fault {
            Fault::Unsupported(gap) => gap.offered,
            _ => None,
        }
    }

    /// Who must act.
    pub fn actor(&self) -> Actor {
        match &self.0.fault {
            Fault::Resolve { .. }
            | Fault::Connect { .. }
            | Fault::Timeout { .. }
            | Fault::Disconnected { .. }
            | Fault::NoBroker { .. } => Actor::Network,
            Fault::Frame(_) | Fault::Malformed(_) | Fault::Unexpected { .. } => Actor::Peer,
            Fault::Refused { code, .. } => match code.class() {
                RetryClass::Operator => Actor::Operator,
                RetryClass::Caller => Actor::Caller,
                _ => Actor::Broker,
            },
            Fault::Unsupported(_) => Actor::Operator,
            Fault::Closed
            | Fault::Invalid { .. }
            | Fault::QueueFull { .. }
            | Fault::Unknown { .. } => Actor::Caller,
        }
    }

    /// Whether the same operation, tried again later, may succeed without anybody acting.
    /// Says nothing about whether the failed attempt left something behind.
    pub fn retryable(&self) -> bool {
        match &self.0.fault {
            Fault::Refused { code, .. } => code.class().retryable(),
            Fault::QueueFull { .. } | Fault::Unknown { .. } => true,
            _ => self.actor() == Actor::Network,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(broker) = &self.0.broker {
            write!(f, "{broker}: ")?;
        }
        if let Some(api) = self.0.api {
            write!(f, "{api}: ")?;
        }
        write!(f, "{}", self.0.fault)
    }
}

impl fmt::Debug for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientError({self})")
    }
}

impl std::error::Error for ClientError {}

impl<F: Into<Fault>> From<F> for ClientError {
    fn from(fault: F) -> Self {
        Self::new(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_is_added_once_and_shown_in_order() {
        let error = ClientError::refused(ErrorCode(6), Some("moved".into()))
            .during("Fetch")
            .at(&Arc::from("b1:9092"))
            .during("Produce")
            .at(&Arc::from("b2:9092"));
        assert_eq!(error.to_string(), "b1:9092: Fetch: NOT_LEADER_OR_FOLLOWER (6): moved");
        assert!(error.retryable());
        assert_eq!(error.actor(), Actor::Broker);
    }

    #[test]
    fn the_actor_follows_from_the_fault() {
        let timeout = ClientError::new(Fault::Timeout { after: Duration::from_secs(3) });
        assert_eq!((timeout.actor(), timeout.retryable()), (Actor::Network, true));
        assert_eq!(timeout.to_string(), "no answer within 3000 ms");
        let malformed = ClientError::new(WireError::Trailing { bytes: 3 });
        assert_eq!((malformed.actor(), malformed.retryable()), (Actor::Peer, false));
        let denied = ClientError::refused(ErrorCode(29), None);
        assert_eq!((denied.actor(), denied.retryable()), (Actor::Operator, false));
        assert_eq!(ClientError::invalid("x").actor(), Actor::Caller);
    }
}
