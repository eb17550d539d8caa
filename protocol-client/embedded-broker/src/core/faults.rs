//! Faults that a test orders: what shall go wrong, where, and how often.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::{ApiKey, TopicName};

use super::NodeId;
use super::topics::topic_name;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAction {
    /// The request is refused with this error and not applied.
    Error(KafkaError),
    /// The request is handled later.
    Delay {
        /// How much later, in milliseconds.
        ms: i64,
    },
    /// The connection is closed and the request not applied.
    Drop,
    /// The request is applied, and the connection closed in the middle of the answer.
    CutMidFrame,
    /// The request is applied, and the connection closed instead of an answer: the outcome is unknown.
    ApplyThenDrop,
    /// The request is not applied and never answered; the connection stays open.
    Silence,
}

/// A fault: the requests that it is for, what happens to them, and how many times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Requests of this API.
    pub api: ApiKey,
    /// At this node, or at any.
    pub node: Option<NodeId>,
    /// That name this topic, or any request. Looked at for Produce, Fetch and ListOffsets.
    pub topic: Option<TopicName>,
    /// That name this partition (of the topic), or any.
    pub partition: Option<i32>,
    /// What happens.
    pub action: FaultAction,
    /// How many requests it happens to.
    pub count: u32,
}

impl Fault {
    /// A fault that happens once, to the next request of this API.
    pub fn new(api: ApiKey, action: FaultAction) -> Self {
        Self { api, node: None, topic: None, partition: None, action, count: 1 }
    }

    /// Only at this node.
    #[must_use]
    pub fn node(self, node: NodeId) -> Self {
        Self { node: Some(node), ..self }
    }

    /// Only to requests that name this topic; an error is answered for this topic alone.
    #[must_use]
    pub fn topic(self, topic: &str) -> Self {
        Self { topic: Some(topic_name(topic)), ..self }
    }

    /// Only to requests that name this partition; an error is answered for this partition alone.
    #[must_use]
    pub fn partition(self, partition: i32) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// So many times; `u32::MAX` is for ever.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { count, ..self }
    }

    fn covers(&self, topic: &TopicName, partition: i32) -> bool {
        self.topic.as_ref().is_none_or(|wanted| wanted == topic)
            && self.partition.is_none_or(|wanted| wanted == partition)
    }
}

/// An error that a fault puts in place of the real answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// The error.
    pub error: KafkaError,
    fault: Fault,
}

impl Injected {
    pub(super) fn new(error: KafkaError, fault: &Fault) -> Self {
        Self { error, fault: fault.clone() }
    }

    /// Whether this partition is meant.
    pub fn covers(&self, topic: &TopicName, partition: i32) -> bool {
        self.fault.covers(topic, partition)
    }
}

/// The faults that are still to happen, oldest first.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pending: Vec<Fault>,
}

impl Faults {
    pub(super) fn push(&mut self, fault: Fault) {
        self.pending.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Position of the first fault for this request; `touched` is asked only when a fault wants it.
    pub(super) fn matching(
        &self,
        api: ApiKey,
        node: NodeId,
        touched: impl Fn() -> Vec<(TopicName, i32)>,
    ) -> Option<usize> {
        self.pending.iter().position(|fault| {
            fault.api == api
                && fault.node.is_none_or(|wanted| wanted == node)
                && (fault.topic.is_none() && fault.partition.is_none()
                    || touched().iter().any(|(topic, partition)| fault.covers(topic, *partition)))
        })
    }

    /// The fault at a position, counted down.
    pub(super) fn take(&mut self, at: usize) -> Option<Fault> {
        let fault = self.pending.get_mut(at)?;
        let taken = fault.clone();
        if fault.count != u32::MAX {
            fault.count = fault.count.saturating_sub(1);
        }
        if fault.count == 0 {
            self.pending.remove(at);
        }
        Some(taken)
    }
}
