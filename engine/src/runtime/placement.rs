//! Which topics the shards have, and what a look at both clusters changes about that: topics grow, go away, and come
//! back as others under the same name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::TopicIds;

/// The topics that were seen on both sides, by their name at the source.
#[derive(Debug, Default)]
pub(super) struct Placement {
    topics: BTreeMap<Arc<str>, Placed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placed {
    /// How many partitions the shards have; none while the topic is gone.
    partitions: i32,
    /// Those under which the topic and this copy of it were first seen.
    ids: TopicIds,
}

/// What a look at a topic came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// As before, or with more partitions, or not seen before: those before `from` are placed already.
    From(i32),
    /// Another topic or another copy has the name now: what is placed belongs to what is gone.
    Other,
}

impl Placement {
    /// Notes what is there now.
    pub(super) fn see(&mut self, topic: &Arc<str>, partitions: i32, ids: TopicIds) -> Seen {
        let first = Placed { partitions, ids };
        let Some(placed) = self.topics.get_mut(topic) else {
            self.topics.insert(topic.clone(), first);
            return Seen::From(0);
        };
        if placed.ids != ids {
            *placed = first;
            return Seen::Other;
        }
        let from = placed.partitions;
        placed.partitions = partitions.max(from);
        Seen::From(from)
    }

    /// Whether some of these partitions are still to be placed.
    pub(super) fn lacks(&self, topic: &str, partitions: i32, ids: TopicIds) -> bool {
        self.topics
            .get(topic)
            .is_none_or(|placed| placed.partitions < partitions || placed.ids != ids)
    }

    /// Whether the topic is to be placed a second time.
    pub(super) fn comes_back(&self, topic: &str, ids: TopicIds) -> bool {
        let again = |placed: &Placed| placed.partitions == 0 || placed.ids != ids;
        self.topics.get(topic).is_some_and(again)
    }

    /// Placed topics of which this is true.
    pub(super) fn placed(&self, is: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        let placed = self.topics.iter().filter(|(name, topic)| topic.partitions > 0 && is(name));
        placed.map(|(name, _)| name.clone()).collect()
    }

    /// The topic is gone. Its ids stay known, to tell whether what comes back is the same.
    pub(super) fn gone(&mut self, topic: &str) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.partitions = 0;
        }
    }

    /// How many topics the shards have.
    pub(super) fn len(&self) -> usize {
        self.topics.values().filter(|topic| topic.partitions > 0).count()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn ids(source: u128, target: u128) -> TopicIds {
        TopicIds { source: Uuid::from_u128(source), target: Uuid::from_u128(target) }
    }

    #[test]
    fn topics_grow() {
        let mut placement = Placement::default();
        let topic: Arc<str> = "t".into();
        let ids = ids(1, 2);
        assert!(placement.lacks("t", 1, ids));
        assert_eq!(placement.see(&topic, 2, ids), Seen::From(0));
        assert!(!placement.lacks("t", 2, ids) && placement.lacks("t", 3, ids));
        assert_eq!(placement.see(&topic, 5, ids), Seen::From(2));
        assert_eq!(placement.see(&topic, 5, ids), Seen::From(5));
        assert_eq!(placement.len(), 1);
    }

    #[test]
    fn another_topic_under_the_name_is_placed_anew() {
        let mut placement = Placement::default();
        let topic: Arc<str> = "t".into();
        placement.see(&topic, 2, ids(1, 2));
        placement.gone("t");
        assert_eq!(placement.len(), 0);
        assert!(placement.comes_back("t", ids(1, 2)) && !placement.comes_back("u", ids(1, 2)));
        assert_eq!(placement.see(&topic, 2, ids(1, 2)), Seen::From(0));
        for other in [ids(3, 2), ids(3, 4)] {
            assert!(placement.comes_back("t", other) && placement.lacks("t", 2, other));
            assert_eq!(placement.see(&topic, 2, other), Seen::Other);
            assert_eq!(placement.see(&topic, 2, other), Seen::From(2));
        }
    }
}
