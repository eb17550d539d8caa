//! Replication policies: what a topic is called on the other side, where it comes from, which
//! topics are internal.
//!
//! Public source: `DefaultReplicationPolicy` and `IdentityReplicationPolicy` of Apache Kafka 4.0 to
//! 4.3 (KIP-382, KIP-690, KIP-949, KIP-1074) and `MirrorSourceConnector.shouldReplicateTopic`.

use super::internal_topics::{self, HEARTBEATS};

/// Which of MirrorMaker 2's built-in policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// Remote topics carry the source's alias as a prefix.
    Default,
    /// Remote topics keep their names; only heartbeats are renamed.
    Identity,
}

/// The naming rules of one flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    kind: PolicyKind,
    separator: String,
    internal_separator: String,
    source: String,
    target: String,
}

impl Naming {
    /// Rules for the flow `source->target` with separator ".".
    pub fn new(kind: PolicyKind, source: &str, target: &str) -> Self {
        Self {
            kind,
            separator: ".".to_owned(),
            internal_separator: ".".to_owned(),
            source: source.to_owned(),
            target: target.to_owned(),
        }
    }

    /// The same rules with another `replication.policy.separator`. It must not be empty.
    ///
    /// `in_internal_names` is `replication.policy.internal.topic.separator.enabled`: whether the
    /// separator also stands in the names of the offset-syncs and checkpoints topics.
    pub fn with_separator(mut self, separator: &str, in_internal_names: bool) -> Self {
        self.separator = separator.to_owned();
        self.internal_separator = if in_internal_names { separator } else { "." }.to_owned();
        self
    }

    /// The policy.
    pub fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// What `topic` of the source is called on the target.
    pub fn remote_topic(&self, topic: &str) -> String {
        match self.keeps_name(topic) {
            true => topic.to_owned(),
            false => format!("{}{}{topic}", self.source, self.separator),
        }
    }

    /// The alias of the cluster that `topic` was replicated from, or none for a local topic.
    ///
    /// Under the identity policy every topic but heartbeats answers with the flow's source.
    pub fn topic_source<'a>(&'a self, topic: &'a str) -> Option<&'a str> {
        match self.keeps_name(topic) {
            true => Some(&self.source),
            false => self.prefix(topic),
        }
    }

    /// What `topic` is called on the cluster that it was replicated from, or none for a local
    /// topic.
    pub fn upstream_topic<'a>(&self, topic: &'a str) -> Option<&'a str> {
        match self.keeps_name(topic) {
            true => Some(topic),
            false => topic.get(self.prefix(topic)?.len() + self.separator.len()..),
        }
    }

    /// What `topic` was called where it was first written.
    pub fn original_topic<'a>(&self, topic: &'a str) -> &'a str {
        let mut name = topic;
        while let Some(upstream) = self.upstream_topic(name).filter(|upstream| *upstream != name) {
            name = upstream;
        }
        name
    }

    /// Whether `topic` is a heartbeats topic, replicated or not.
    pub fn is_heartbeats_topic(&self, topic: &str) -> bool {
        self.original_topic(topic) == HEARTBEATS
    }

    /// Whether `topic` is a checkpoints topic.
    pub fn is_checkpoints_topic(&self, topic: &str) -> bool {
        topic.ends_with(&internal_topics::checkpoints_suffix(&self.internal_separator))
    }

    /// Whether `topic` holds state of MirrorMaker 2, by the rule of Kafka 4.0 (KIP-1074).
    pub fn is_mm2_internal_topic(&self, topic: &str) -> bool {
        let internal = format!("{}internal", self.internal_separator);
        (topic.starts_with("mm2") && topic.ends_with(&internal)) || self.is_checkpoints_topic(topic)
    }

    /// Whether `topic` is internal, of MirrorMaker 2 or of Kafka, and never replicated.
    pub fn is_internal_topic(&self, topic: &str) -> bool {
        topic.starts_with("__") || topic.starts_with('.') || self.is_mm2_internal_topic(topic)
    }

    /// Whether `topic` of the source already passed through the target, by its name.
    pub fn is_cycle(&self, topic: &str) -> bool {
        let mut name = topic;
        loop {
            match self.topic_source(name) {
                None => return false,
                Some(source) if source == self.target => return true,
                Some(_) => match self.upstream_topic(name) {
                    Some(upstream) if upstream != name => name = upstream,
                    _ => return false,
                },
            }
        }
    }

    /// The checkpoints topic of this flow, on the target.
    pub fn checkpoints_topic(&self) -> String {
        internal_topics::checkpoints_topic(&self.source, &self.internal_separator)
    }

    /// The offset-syncs topic of this flow when it lies on the source.
    pub fn offset_syncs_topic_on_source(&self) -> String {
        internal_topics::offset_syncs_topic(&self.target, &self.internal_separator)
    }

    /// The offset-syncs topic of this flow when it lies on the target.
    pub fn offset_syncs_topic_on_target(&self) -> String {
        internal_topics::offset_syncs_topic(&self.source, &self.internal_separator)
    }

    /// `IdentityReplicationPolicy.looksLikeHeartbeat`, turned around.
    fn keeps_name(&self, topic: &str) -> bool {
        self.kind == PolicyKind::Identity && !topic.ends_with(HEARTBEATS)
    }

    /// Java's `topic.split(Pattern.quote(separator))[0]` if there are two parts; trailing empty
    /// parts do not count.
    fn prefix<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let (prefix, rest) = topic.split_once(&*self.separator)?;
        let second_part = rest.split(&*self.separator).any(|part| !part.is_empty());
        second_part.then_some(prefix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn default() -> Naming {
        Naming::new(PolicyKind::Default, "source", "target")
    }

    fn identity() -> Naming {
        Naming::new(PolicyKind::Identity, "source", "target")
    }

    #[test]
    fn sources_of_odd_names() {
        let naming = default();
        for (topic, source, upstream) in [
            (".foo", Some(""), Some("foo")),
            ("foo.", None, None),
            ("a..b", Some("a"), Some(".b")),
            ("foo", None, None),
            ("", None, None),
            ("..", None, None),
            ("orders.v1", Some("orders"), Some("v1")),
            ("a.b.c", Some("a"), Some("b.c")),
            ("a.b.", Some("a"), Some("b.")),
        ] {
            assert_eq!(naming.topic_source(topic), source, "{topic}");
            assert_eq!(naming.upstream_topic(topic), upstream, "{topic}");
        }
    }

    #[test]
    fn remote_names_and_originals() {
        assert_eq!(default().remote_topic("orders"), "source.orders");
        assert_eq!(identity().remote_topic("orders"), "orders");
        assert_eq!(identity().remote_topic("heartbeats"), "source.heartbeats");
        assert_eq!(default().with_separator("__", true).remote_topic("t"), "source__t");
        assert_eq!(default().original_topic("a.b.t"), "t");
        assert_eq!(identity().original_topic("a.b.t"), "a.b.t");
        assert_eq!(identity().topic_source("t"), Some("source"));
        assert_eq!(identity().topic_source("x.heartbeats"), Some("x"));
    }

    #[test]
    fn heartbeats_topics() {
        for naming in [default(), identity()] {
            assert!(naming.is_heartbeats_topic("heartbeats"));
            assert!(naming.is_heartbeats_topic("a.b.heartbeats"));
            assert!(!naming.is_heartbeats_topic("heartbeats.a"));
            assert!(!naming.is_heartbeats_topic("my-heartbeats"));
        }
    }

    #[test]
    fn cycles_of_the_default_policy() {
        let naming = default();
        for topic in ["target.topic1", "source.target.topic1", "target.source.target.topic1"] {
            assert!(naming.is_cycle(topic), "{topic}");
        }
        for topic in ["topic1", "source.topic1", "othersource.topic1"] {
            assert!(!naming.is_cycle(topic), "{topic}");
        }
    }

    #[test]
    fn cycles_of_the_identity_policy() {
        let naming = identity();
        for topic in ["topic1", "target.topic1", "source.topic1", "othersource.heartbeats"] {
            assert!(!naming.is_cycle(topic), "{topic}");
        }
        for topic in ["target.heartbeats", "othersource.target.heartbeats"] {
            assert!(naming.is_cycle(topic), "{topic}");
        }
    }

    #[test]
    fn internal_topics_by_the_rule_of_4_0() {
        let naming = default();
        for topic in [
            "__consumer_offsets",
            ".hidden",
            "mm2-offsets.A.internal",
            "mm2-offset-syncs.B.internal",
            "A.checkpoints.internal",
        ] {
            assert!(naming.is_internal_topic(topic), "{topic}");
        }
        for topic in ["orders.internal", "orders-internal", "heartbeats", "_a", "mm2-x-internal"] {
            assert!(!naming.is_internal_topic(topic), "{topic}");
        }
    }

    #[test]
    fn separator_in_internal_names() {
        let honored = default().with_separator("_", true);
        assert_eq!(honored.checkpoints_topic(), "source_checkpoints_internal");
        assert_eq!(honored.offset_syncs_topic_on_source(), "mm2-offset-syncs_target_internal");
        assert!(honored.is_mm2_internal_topic("mm2-offset-syncs_target_internal"));
        let plain = default().with_separator("_", false);
        assert_eq!(plain.checkpoints_topic(), "source.checkpoints.internal");
        assert_eq!(plain.offset_syncs_topic_on_target(), "mm2-offset-syncs.source.internal");
    }

    proptest! {
        #[test]
        fn a_remote_name_leads_back(
            topic in "[a-z_-][a-z._-]{0,20}[a-z]",
            separator in "[._-]|__",
        ) {
            let naming = default().with_separator(&separator, true);
            let remote = naming.remote_topic(&topic);
            prop_assume!(!topic.starts_with(&separator[..1]));
            prop_assert_eq!(naming.topic_source(&remote), Some("source"));
            prop_assert_eq!(naming.upstream_topic(&remote), Some(topic.as_str()));
        }
    }
}
