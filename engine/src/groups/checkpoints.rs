//! What is written down of the positions of groups, and when: `MirrorCheckpointTask.checkpointsForGroup`.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol_client::cluster::TopicPartition;

use crate::index::Translation;
use crate::records::checkpoint::Checkpoint;

/// A position of a group at the source, and what the index says about it.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The group.
    pub group: Arc<str>,
    /// The partition, as the target calls it.
    pub partition: TopicPartition,
    /// The next offset that the group reads at the source.
    pub upstream: i64,
    /// The same at the target.
    pub translation: Translation,
    /// What the group committed beside it.
    pub metadata: String,
}

/// Why a checkpoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There was none.
    First,
    /// The group went on.
    Advanced,
    /// The group was set back at the source.
    Rewound,
    /// What was written before lies ahead of the truth: the target's log was made anew, or another replicator guessed.
    Corrected,
}

/// A checkpoint that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emission {
    /// The record.
    pub checkpoint: Checkpoint,
    /// Why.
    pub cause: Cause,
}

/// The last checkpoint of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The next offset at the source.
    pub upstream: i64,
    /// The next offset at the target.
    pub downstream: i64,
    /// What the group committed beside it.
    pub metadata: String,
    /// The group has been seen at the source since the start, with a position that the index knows.
    pub is_current: bool,
    /// The group was set back at the source, and the group of the target has not followed yet.
    pub is_rewound: bool,
}

/// The last checkpoints of a flow, by group and partition.
#[derive(Debug, Default)]
pub struct Checkpoints {
    groups: BTreeMap<Arc<str>, BTreeMap<TopicPartition, Standing>>,
    skipped: u64,
    first_skipped: Option<i64>,
}

impl Checkpoints {
    /// Takes in a record of the checkpoints topic; the last one of a key counts. One that cannot be understood is
    /// counted.
    pub fn absorb(&mut self, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let Some((key, value)) = key.zip(value) else {
            return match Checkpoint::decode_key(key.unwrap_or_default()) {
                Ok((group, topic, partition)) => self.forget(&group, &topic, partition),
                Err(_) => self.skip(offset),
            };
        };
        match Checkpoint::decode(key, value) {
            Ok(checkpoint) if checkpoint.downstream_offset >= 0 => self.keep(&checkpoint, false),
            _ => self.skip(offset),
        }
    }

    /// A record, or several in one batch, could not be understood.
    pub fn skip(&mut self, offset: i64) {
        self.skipped += 1;
        self.first_skipped.get_or_insert(offset);
    }

    /// How many records were not understood, and the offset of the first.
    pub fn skipped(&self) -> Option<(u64, i64)> {
        Some((self.skipped, self.first_skipped?))
    }

    /// The checkpoint that a position makes necessary, if it does. Nothing changes until it [is
    /// written](Self::written).
    pub fn offer(&mut self, offer: &Offer) -> Option<Emission> {
        let downstream = offer.translation.position().filter(|position| *position >= 0)?;
        let groups = self.groups.get_mut(&offer.group);
        let standing = groups.and_then(|group| group.get_mut(&offer.partition));
        let cause = match standing {
            None => Cause::First,
            Some(last) => {
                last.is_current = true;
                if offer.upstream < last.upstream {
                    Cause::Rewound
                } else if downstream > last.downstream {
                    Cause::Advanced
                } else if downstream < last.downstream && offer.translation.is_exact() {
                    Cause::Corrected
                } else {
                    return None;
                }
            }
        };
        let checkpoint = Checkpoint {
            group: offer.group.to_string(),
            topic: offer.partition.topic.to_string(),
            partition: offer.partition.partition,
            upstream_offset: offer.upstream,
            downstream_offset: downstream,
            metadata: offer.metadata.clone(),
        };
        Some(Emission { checkpoint, cause })
    }

    /// The checkpoint is in the topic now.
    pub fn written(&mut self, emission: &Emission) {
        self.keep(&emission.checkpoint, true);
        if emission.cause == Cause::Rewound
            && let Some(standing) = self.standing_mut(&emission.checkpoint)
        {
            standing.is_rewound = true;
        }
    }

    /// The groups that have been seen since the start, with their last checkpoints.
    pub fn current(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, &BTreeMap<TopicPartition, Standing>)> {
        let is_current = |partitions: &BTreeMap<_, Standing>| {
            partitions.values().any(|standing| standing.is_current)
        };
        self.groups.iter().filter(move |(_, partitions)| is_current(partitions))
    }

    /// The last checkpoints of a group.
    pub fn of(&self, group: &str) -> impl Iterator<Item = (&TopicPartition, &Standing)> {
        self.groups.get(group).into_iter().flatten()
    }

    /// The group of the target stands where it should, or goes its own way: it need not follow any more.
    pub fn settled(&mut self, group: &str, partition: &TopicPartition) {
        let partitions = self.groups.get_mut(group);
        if let Some(standing) = partitions.and_then(|group| group.get_mut(partition)) {
            standing.is_rewound = false;
        }
    }

    fn keep(&mut self, checkpoint: &Checkpoint, is_current: bool) {
        let partition = TopicPartition::new(checkpoint.topic.as_str(), checkpoint.partition);
        let group = self.groups.entry(checkpoint.group.as_str().into()).or_default();
        let is_rewound = group.get(&partition).is_some_and(|standing| standing.is_rewound);
        let standing = Standing {
            upstream: checkpoint.upstream_offset,
            downstream: checkpoint.downstream_offset,
            metadata: checkpoint.metadata.clone(),
            is_current,
            is_rewound,
        };
        group.insert(partition, standing);
    }

    fn standing_mut(&mut self, checkpoint: &Checkpoint) -> Option<&mut Standing> {
        let partition = TopicPartition::new(checkpoint.topic.as_str(), checkpoint.partition);
        self.groups.get_mut(checkpoint.group.as_str())?.get_mut(&partition)
    }

    fn forget(&mut self, group: &str, topic: &str, partition: i32) {
        if let Some(partitions) = self.groups.get_mut(group) {
            partitions.remove(&TopicPartition::new(topic, partition));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offer(upstream: i64, translation: Translation) -> Offer {
        Offer {
            group: "g".into(),
            partition: TopicPartition::new("A.t", 0),
            upstream,
            translation,
            metadata: String::new(),
        }
    }

    /// Offers, and writes what comes of it.
    fn see(all: &mut Checkpoints, upstream: i64, translation: Translation) -> Option<(Cause, i64)> {
        let emission = all.offer(&offer(upstream, translation))?;
        all.written(&emission);
        Some((emission.cause, emission.checkpoint.downstream_offset))
    }

    #[test]
    fn checkpoints_go_on_and_only_a_rewound_group_goes_back() {
        let mut all = Checkpoints::default();
        for (upstream, translation, expected) in [
            (10, Translation::Unknown, None),
            (10, Translation::Behind(-1), None),
            (10, Translation::Behind(5), Some((Cause::First, 5))),
            (10, Translation::Behind(5), None),
            (10, Translation::Exact(7), Some((Cause::Advanced, 7))),
            // Known roughly only, after history was thinned.
            (10, Translation::Behind(3), None),
            (12, Translation::Behind(6), None),
            (20, Translation::Exact(17), Some((Cause::Advanced, 17))),
            (15, Translation::Exact(12), Some((Cause::Rewound, 12))),
            (15, Translation::Exact(12), None),
            // The log of the target was made anew.
            (16, Translation::Exact(2), Some((Cause::Corrected, 2))),
        ] {
            assert_eq!(
                see(&mut all, upstream, translation),
                expected,
                "{upstream} {translation:?}"
            );
        }
    }

    #[test]
    fn what_is_not_written_is_offered_again() {
        let mut all = Checkpoints::default();
        assert!(all.offer(&offer(1, Translation::Exact(1))).is_some());
        assert!(all.offer(&offer(1, Translation::Exact(1))).is_some());
    }

    #[test]
    fn a_restart_remembers_but_takes_nothing_for_current() {
        let checkpoint = Checkpoint {
            group: "g".to_owned(),
            topic: "A.t".to_owned(),
            partition: 0,
            upstream_offset: 20,
            downstream_offset: 17,
            metadata: "m".to_owned(),
        };
        let (key, value) = (checkpoint.encode_key().unwrap(), checkpoint.encode_value().unwrap());
        let mut all = Checkpoints::default();
        all.absorb(0, Some(&key), Some(&value));
        assert_eq!(all.current().count(), 0);
        assert_eq!(see(&mut all, 20, Translation::Behind(11)), None, "no regression");
        assert_eq!(all.current().count(), 1);
        assert_eq!(see(&mut all, 19, Translation::Exact(16)), Some((Cause::Rewound, 16)));
        all.absorb(1, Some(&key), None);
        assert_eq!(all.of("g").count(), 0);
    }

    #[test]
    fn records_of_others_are_counted() {
        let mut all = Checkpoints::default();
        all.absorb(7, Some(b"nonsense"), Some(b""));
        all.absorb(8, None, None);
        all.absorb(9, Some(b"\0\x01g\0\x01t\0\0\0\0"), Some(b"\0\x09"));
        assert_eq!(all.skipped(), Some((3, 7)));
        assert_eq!(all.current().count(), 0);
    }

    #[test]
    fn a_rewind_stands_until_it_is_settled() {
        let mut all = Checkpoints::default();
        let partition = TopicPartition::new("A.t", 0);
        let is_rewound = |all: &Checkpoints| all.of("g").next().is_some_and(|(_, s)| s.is_rewound);
        see(&mut all, 20, Translation::Exact(20));
        assert!(!is_rewound(&all));
        see(&mut all, 10, Translation::Exact(10));
        see(&mut all, 11, Translation::Exact(11));
        assert!(is_rewound(&all));
        all.settled("g", &partition);
        assert!(!is_rewound(&all));
    }

    proptest! {
        /// With a gapless copy the truth is the position itself.
        #[test]
        fn never_ahead_and_never_back_without_cause(
            positions in proptest::collection::vec((0i64..50, 0i64..60, any::<bool>()), 1..60)
        ) {
            let mut all = Checkpoints::default();
            let mut last: Option<(i64, i64)> = None;
            for (upstream, known, exact) in positions {
                let translation = match exact {
                    true => Translation::Exact(upstream),
                    false => Translation::Behind(known.min(upstream)),
                };
                if let Some(emission) = all.offer(&offer(upstream, translation)) {
                    let to = emission.checkpoint.downstream_offset;
                    prop_assert!(to <= upstream);
                    if let Some((before, standing)) = last {
                        prop_assert!(to > standing || upstream < before);
                    }
                    all.written(&emission);
                    last = Some((upstream, to));
                }
            }
        }
    }
}
