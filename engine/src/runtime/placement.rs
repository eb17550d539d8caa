//! Which topics the shards have, and what a look at both clusters changes about that: topics grow, go away, and come
//! back as others under the same name.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

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

/// Ids of a topic at the source and of its copy (KIP-516); nil where a cluster has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicIds {
    pub(super) source: Uuid,
    pub(super) target: Uuid,
}

/// What a look at a topic came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Not seen before.
    New,
    /// As before, or with more partitions; those before `from` are placed already. `ids` are the first ones: partitions
    /// of another topic that took the name at the source notice it, and stop.
    Known { from: i32, ids: TopicIds },
    /// Another copy under the old name: it lacks what was copied.
    OtherCopy,
}

impl Placement {
    /// Notes what is there now.
    pub(super) fn see(&mut self, topic: &Arc<str>, partitions: i32, ids: TopicIds) -> Seen {
        let first = Placed { partitions, ids };
        let Some(placed) = self.topics.get_mut(topic) else {
            self.topics.insert(topic.clone(), first);
            return Seen::New;
        };
        if placed.ids.target != ids.target {
            *placed = first;
            return Seen::OtherCopy;
        }
        let from = placed.partitions;
        placed.partitions = partitions.max(from);
        Seen::Known { from, ids: placed.ids }
    }

    /// Whether some of these partitions are still to be placed.
    pub(super) fn lacks(&self, topic: &str, partitions: i32, ids: TopicIds) -> bool {
        self.topics
            .get(topic)
            .is_none_or(|placed| placed.partitions < partitions || placed.ids.target != ids.target)
    }

    /// Whether the topic is to be placed a second time.
    pub(super) fn comes_back(&self, topic: &str, ids: TopicIds) -> bool {
        let again = |placed: &Placed| placed.partitions == 0 || placed.ids.target != ids.target;
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
        assert_eq!(placement.see(&topic, 2, ids), Seen::New);
        assert!(!placement.lacks("t", 2, ids) && placement.lacks("t", 3, ids));
        assert_eq!(placement.see(&topic, 5, ids), Seen::Known { from: 2, ids });
        assert_eq!(placement.see(&topic, 5, ids), Seen::Known { from: 5, ids });
        assert_eq!(placement.len(), 1);
    }

    #[test]
    fn another_topic_under_the_name_keeps_the_ids_of_the_first_until_its_copy_is_another() {
        let mut placement = Placement::default();
        let topic: Arc<str> = "t".into();
        placement.see(&topic, 2, ids(1, 2));
        placement.gone("t");
        assert_eq!(placement.len(), 0);
        assert!(placement.comes_back("t", ids(1, 2)) && !placement.comes_back("u", ids(1, 2)));
        assert_eq!(placement.see(&topic, 2, ids(3, 2)), Seen::Known { from: 0, ids: ids(1, 2) });
        assert!(!placement.comes_back("t", ids(3, 2)) && placement.comes_back("t", ids(3, 4)));
        assert!(placement.lacks("t", 2, ids(3, 4)));
        assert_eq!(placement.see(&topic, 2, ids(3, 4)), Seen::OtherCopy);
        assert_eq!(placement.see(&topic, 2, ids(3, 4)), Seen::Known { from: 2, ids: ids(3, 4) });
    }
}
