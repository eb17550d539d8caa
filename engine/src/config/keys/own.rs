//! kmirror's own keys. MirrorMaker 2 drops unknown top-level keys, so a file with them still runs
//! there.

use super::{Key, Kind, Places};

const FILE: Places = Places::FILE;
const FLOW: Places = Places::FILE.and(Places::FLOW);

/// How much may be carried in a second.
pub(in crate::config) const BANDWIDTH_LIMIT: &str = "kmirror.bandwidth.limit";

pub(super) const KEYS: &[Key] = &[
    Key::honored(
        "kmirror.memory.bytes",
        FILE,
        Kind::Number { min: 8 << 20, max: 1 << 40 },
        "67108864",
        "Upper bound of what is held in memory for records on their way, over all flows",
    ),
    Key::honored(
        "kmirror.threads",
        FILE,
        Kind::Number { min: 0, max: 1024 },
        "0",
        "Threads that carry records; 0 is one for every core",
    ),
    Key::honored(
        "kmirror.batches",
        FLOW,
        Kind::Choice(&["auto", "sealed"]),
        "auto",
        "`auto` forwards record batches as they are and merges runs of small ones; \
         `sealed` never merges",
    ),
    Key::honored(
        "kmirror.on.gap",
        FLOW,
        Kind::Choice(&["continue", "fail"]),
        "continue",
        "What happens when records are gone at the source before they could be read (retention, DeleteRecords): \
         report the gap and go on behind it, or report it and stop the partition",
    ),
    Key::honored(
        "kmirror.on.divergence",
        FLOW,
        Kind::Choice(&["fail", "resume"]),
        "fail",
        "What happens when the end of a target partition is missing or is not what was written there (unclean election, \
         topic made anew): report it and stop the partition, or report it and go on, with repeats rather than losses",
    ),
    Key::honored(
        BANDWIDTH_LIMIT,
        FLOW.and(Places::CLUSTER),
        Kind::Rates,
        "unlimited",
        "Upper bound of what a flow carries, or of what is read from and written to a cluster, in bytes per second; it may \
         change by the time of the day",
    ),
    Key::honored(
        "kmirror.groups.follow.rewinds",
        FLOW,
        Kind::Bool,
        "false",
        "Whether a group of the target is set back when its group at the source is set back; \
         otherwise committed positions only move forward",
    ),
];
