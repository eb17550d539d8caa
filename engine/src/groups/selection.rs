//! Which groups are followed, and which way each of their positions is translated.

use crate::config::FlowConfig;
use crate::policy::filters::NameFilter;
use crate::policy::java_regex::RegexError;

/// What a cluster lists of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its id.
    pub id: &'a str,
    /// `consumer` for consumers, `connect` for Connect workers; empty for groups that only commit.
    pub protocol_type: &'a str,
    /// `classic`, `consumer` (KIP-848), `share`, `streams`; none from brokers that do not tell.
    pub kind: Option<&'a str>,
}

/// Whether a group is one of consumers, of the classic or of the new protocol, and selected by its id
/// (`MirrorCheckpointConnector.findConsumerGroups`).
pub fn is_followed(filter: &NameFilter, group: Listed<'_>) -> Result<bool, RegexError> {
    let is_kind = |wanted: &str| group.kind.is_none_or(|kind| kind.eq_ignore_ascii_case(wanted));
    let of_consumers = matches!(group.protocol_type, "" | "consumer");
    Ok(of_consumers && (is_kind("classic") || is_kind("consumer")) && filter.selects(group.id)?)
}

/// How a committed position of the source becomes one of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The topic is replicated by the flow.
    Forward {
        /// What the target calls it.
        target: String,
    },
    /// The topic came from the target, so the flow back knows it.
    Back {
        /// What the target calls it: the original.
        target: String,
    },
}

impl Route {
    /// What the target calls the topic.
    pub fn target(&self) -> &str {
        match self {
            Self::Forward { target } | Self::Back { target } => target,
        }
    }
}

/// Which way positions in a topic of the source are translated; none if they are not.
///
/// `has_flow_back` says whether this process also replicates from the target to the source.
pub fn route(
    flow: &FlowConfig,
    has_flow_back: bool,
    topic: &str,
) -> Result<Option<Route>, RegexError> {
    let naming = &flow.naming;
    if naming.topic_source(topic) == Some(&flow.target.alias)
        && let Some(target) = naming.upstream_topic(topic)
    {
        return Ok(has_flow_back.then(|| Route::Back { target: target.to_owned() }));
    }
    let is_selected = flow.topics.selects(topic)?;
    Ok(is_selected.then(|| Route::Forward { target: naming.remote_topic(topic) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Input, NoSurroundings, resolve};

    fn flow(more: &str) -> FlowConfig {
        let file = format!(
            "clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\nA->B.enabled=true\n{more}"
        );
        let input = Input { file: "f", bytes: file.as_bytes(), clusters: None };
        resolve(input, &NoSurroundings).replication.expect("it runs").flows.remove(0)
    }

    #[test]
    fn groups_of_consumers_are_followed() {
        let flow = flow("groups.exclude=secret-.*");
        let filter = &flow.groups.expect("checkpoints are on").filter;
        for (id, protocol_type, kind, followed) in [
            ("g", "consumer", None, true),
            ("g", "consumer", Some("Classic"), true),
            ("g", "consumer", Some("consumer"), true),
            ("only-commits", "", Some("classic"), true),
            ("workers", "connect", Some("classic"), false),
            ("g", "share", Some("share"), false),
            ("g", "consumer", Some("streams"), false),
            ("secret-g", "consumer", None, false),
        ] {
            let listed = Listed { id, protocol_type, kind };
            assert_eq!(is_followed(filter, listed), Ok(followed), "{listed:?}");
        }
    }

    #[test]
    fn topics_that_came_from_the_target_are_translated_back() {
        let flow = flow("A->B.topics=orders");
        let forward = |target: &str| Some(Route::Forward { target: target.to_owned() });
        let back = |target: &str| Some(Route::Back { target: target.to_owned() });
        assert_eq!(route(&flow, true, "orders"), Ok(forward("A.orders")));
        assert_eq!(route(&flow, true, "payments"), Ok(None));
        assert_eq!(route(&flow, true, "B.orders"), Ok(back("orders")));
        assert_eq!(route(&flow, true, "B.C.orders"), Ok(back("C.orders")));
        assert_eq!(route(&flow, false, "B.orders"), Ok(None));
        assert_eq!(route(&flow, true, "C.orders"), Ok(None));
    }

    #[test]
    fn without_renaming_nothing_came_from_the_target() {
        let policy =
            "replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy";
        let flow = flow(policy);
        let forward = Some(Route::Forward { target: "B.orders".to_owned() });
        assert_eq!(route(&flow, true, "B.orders"), Ok(forward));
    }
}
