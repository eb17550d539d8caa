//! What is committed for a group of the target: `MirrorCheckpointTask.syncGroupOffset`, without its guesses.

use std::collections::BTreeMap;

use protocol_client::cluster::TopicPartition;

use super::checkpoints::Standing;

/// What the target knows of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetGroup {
    /// No such group.
    Absent,
    /// It has no members.
    Empty,
    /// It has members, who go their own way.
    Active {
        /// How many.
        members: usize,
    },
}

impl TargetGroup {
    /// From the state that DescribeGroups tells.
    pub fn new(state: &str, members: usize) -> Self {
        match state {
            "Dead" if members == 0 => Self::Absent,
            "Empty" if members == 0 => Self::Empty,
            _ => Self::Active { members },
        }
    }
}

/// Whether a position is to be committed. `committed` is the group's own at the target; none if it has none.
///
/// A position never goes back, unless the group was set back at the source and `follow_rewinds` says that the target
/// follows.
pub fn is_due(standing: &Standing, committed: Option<i64>, follow_rewinds: bool) -> bool {
    let follows = follow_rewinds && standing.is_rewound;
    let is_elsewhere = committed.is_none_or(|committed| {
        committed < standing.downstream || (committed > standing.downstream && follows)
    });
    is_elsewhere && standing.is_current
}

/// The positions of a group that are to be committed.
pub fn commits<'a>(
    checkpoints: impl Iterator<Item = (&'a TopicPartition, &'a Standing)>,
    committed: &BTreeMap<TopicPartition, i64>,
    follow_rewinds: bool,
) -> BTreeMap<TopicPartition, Standing> {
    let wanted = checkpoints.filter(|(partition, standing)| {
        is_due(standing, committed.get(partition).copied(), follow_rewinds)
    });
    wanted.map(|(partition, standing)| (partition.clone(), standing.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(downstream: i64, is_rewound: bool) -> Standing {
        Standing {
            upstream: downstream,
            downstream,
            metadata: String::new(),
            is_current: true,
            is_rewound,
        }
    }

    #[test]
    fn positions_go_forward_only() {
        for (committed, due) in
            [(None, true), (Some(9), true), (Some(10), false), (Some(11), false)]
        {
            assert_eq!(is_due(&standing(10, false), committed, false), due, "{committed:?}");
            assert_eq!(is_due(&standing(10, false), committed, true), due, "{committed:?}");
            assert_eq!(is_due(&standing(10, true), committed, false), due, "{committed:?}");
        }
        assert!(is_due(&standing(10, true), Some(11), true));
        assert!(!is_due(&standing(10, true), Some(10), true));
    }

    #[test]
    fn what_was_not_seen_since_the_start_is_left_alone() {
        let old = Standing { is_current: false, ..standing(10, true) };
        assert!(!is_due(&old, None, true));
    }

    #[test]
    fn only_groups_without_members_are_written_to() {
        assert_eq!(TargetGroup::new("Dead", 0), TargetGroup::Absent);
        assert_eq!(TargetGroup::new("Empty", 0), TargetGroup::Empty);
        for state in ["Stable", "PreparingRebalance", "CompletingRebalance", "Assigning", "?"] {
            assert_eq!(TargetGroup::new(state, 2), TargetGroup::Active { members: 2 }, "{state}");
        }
    }
}
