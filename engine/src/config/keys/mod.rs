//! THE table of keys: what may stand in a file, where, with which values, and what comes of it.
//!
//! The parser, the defaults, the hints for misspelt keys and `docs/config.md` are all made from
//! this one table. It holds the union of the keys of MirrorMaker 2.4 to 4.3, of Connect workers and
//! of Kafka's clients.

mod clients;
mod mirror;
mod own;
mod worker;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub(super) use self::own::BANDWIDTH_LIMIT;

/// Where a key may stand; several can hold at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places(u8);

impl Places {
    /// Without a prefix: `key`.
    pub const FILE: Self = Self(1);
    /// For one cluster: `A.key`.
    pub const CLUSTER: Self = Self(2);
    /// For one flow: `A->B.key`.
    pub const FLOW: Self = Self(4);
    /// Settings of what reads from the source: `A.consumer.key`.
    pub const CONSUMER: Self = Self(8);
    /// Settings of what writes to the target: `B.producer.key`, `A->B.producer.override.key`.
    pub const PRODUCER: Self = Self(16);
    /// Settings of admin clients: `A.admin.key`.
    pub const ADMIN: Self = Self(32);

    /// Both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the two have a place in common.
    pub const fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What the values of a key look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds.
    Number {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// Any text.
    Text,
    /// Text that must not be empty.
    Name,
    /// Entries separated by commas.
    List,
    /// Java regular expressions separated by commas.
    Patterns,
    /// `host:port` entries separated by commas.
    Brokers,
    /// A rate in bytes per second, and windows of the day with others.
    Rates,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One of these Java classes; others cannot be loaded.
    Class(&'static [&'static str]),
}

/// A number of milliseconds, seconds, partitions or bytes that must be positive.
pub(super) const POSITIVE: Kind = Kind::Number { min: 1, max: i32::MAX as i64 };
/// A number that may be zero.
pub(super) const COUNT: Kind = Kind::Number { min: 0, max: i32::MAX as i64 };
/// A replication factor; -1 leaves it to the broker.
pub(super) const REPLICATION: Kind = Kind::Number { min: -1, max: i16::MAX as i64 };

/// What comes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does what it does in MirrorMaker 2.
    Honored,
    /// Naming it earns a warning that says what happens instead.
    WarnIgnored(&'static str),
    /// Naming it is an error.
    Refused {
        /// Why.
        why: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// It has no effect here, and none in MirrorMaker 2 either, for this reason.
    Inert(&'static str),
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The name without its prefix; a trailing `*` stands for any rest.
    pub name: &'static str,
    /// Where it may stand.
    pub places: Places,
    /// What its values look like.
    pub kind: Kind,
    /// The value that holds if the file says nothing; empty for none.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Older names.
    pub aliases: &'static [&'static str],
    /// What comes of it.
    pub status: Status,
    /// Values that ask for just what happens anyway, so that nothing has to be said.
    pub agrees: &'static [&'static str],
}

impl Key {
    const fn honored(
        name: &'static str,
        places: Places,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        let status = Status::Honored;
        Self { name, places, kind, default, doc, aliases: &[], status, agrees: &[] }
    }

    const fn with(name: &'static str, places: Places, kind: Kind, status: Status) -> Self {
        Self { name, places, kind, default: "", doc: "", aliases: &[], status, agrees: &[] }
    }

    const fn ignored(
        name: &'static str,
        places: Places,
        kind: Kind,
        instead: &'static str,
    ) -> Self {
        Self::with(name, places, kind, Status::WarnIgnored(instead))
    }

    const fn refused(
        name: &'static str,
        places: Places,
        kind: Kind,
        why: &'static str,
        remedy: &'static str,
    ) -> Self {
        Self::with(name, places, kind, Status::Refused { why, remedy })
    }

    const fn agreeing(mut self, agrees: &'static [&'static str]) -> Self {
        self.agrees = agrees;
        self
    }

    const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Whether the row is for all names with a common start.
    pub fn is_pattern(&self) -> bool {
        self.name.ends_with('*')
    }

    /// Whether `value` asks for just what happens anyway.
    pub fn is_agreed(&self, value: &str) -> bool {
        self.agrees.iter().any(|agreed| agreed.eq_ignore_ascii_case(value.trim()))
    }
}

static TABLE: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let mut table = Vec::new();
    table.extend_from_slice(own::KEYS);
    table.extend_from_slice(mirror::KEYS);
    table.extend_from_slice(worker::KEYS);
    table.extend(clients::keys());
    table
});

static BY_NAME: LazyLock<BTreeMap<&'static str, Vec<&'static Key>>> = LazyLock::new(|| {
    let mut names: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for key in TABLE.iter() {
        for name in key.aliases.iter().chain([&key.name]) {
            names.entry(*name).or_default().push(key);
        }
    }
    names
});

/// The whole table, in the order of the documentation.
pub fn table() -> &'static [Key] {
    &TABLE
}

/// The row for a name (without prefix) in a place: by name, by an older name, by the longest
/// pattern.
pub fn find(name: &str, place: Places) -> Option<&'static Key> {
    let fits = |keys: &Vec<&'static Key>| {
        keys.iter().copied().find(|key| key.places.meet(place) && !key.is_pattern())
    };
    BY_NAME.get(name).and_then(fits).or_else(|| {
        let patterns = TABLE.iter().filter(|key| key.is_pattern() && key.places.meet(place));
        patterns
            .filter(|key| name.starts_with(key.name.trim_end_matches('*')))
            .max_by_key(|key| key.name.len())
    })
}

/// The row for a name in whatever place it is read.
pub fn find_anywhere(name: &str) -> Option<&'static Key> {
    BY_NAME.get(name).and_then(|keys| keys.first()).copied()
}

/// Names and older names that may stand in a place, patterns left out.
pub fn names(place: Places) -> impl Iterator<Item = &'static str> {
    TABLE
        .iter()
        .filter(move |key| key.places.meet(place) && !key.is_pattern())
        .flat_map(|key| key.aliases.iter().copied().chain([key.name]))
}

/// Whether a name is one of the client settings that a cluster hands to all its clients:
/// `bootstrap.servers`, `security.protocol`, `ssl.*`, `sasl.*`
/// (`MirrorClientConfig.CLIENT_CONFIG_DEF`).
pub fn is_common_client_key(name: &str) -> bool {
    matches!(name, "bootstrap.servers" | "security.protocol")
        || name.starts_with("ssl.")
        || name.starts_with("sasl.")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::values;

    #[test]
    fn every_place_of_a_name_has_one_row() {
        let mut seen = BTreeSet::new();
        for key in table() {
            for name in key.aliases.iter().chain([&key.name]) {
                for bit in 0..6 {
                    let place = Places(1 << bit);
                    if key.places.meet(place) {
                        assert!(seen.insert((*name, bit)), "{name} stands twice");
                    }
                }
            }
        }
    }

    #[test]
    fn defaults_are_valid_values() {
        for key in table().iter().filter(|key| !key.default.is_empty()) {
            assert_eq!(values::problem(key.kind, key.default), None, "{}", key.name);
            assert_eq!(key.status, Status::Honored, "{} has a default", key.name);
        }
    }

    #[test]
    fn rows_say_what_they_do() {
        for key in table() {
            let text = match key.status {
                Status::Honored => key.doc,
                Status::WarnIgnored(text) | Status::Inert(text) => text,
                Status::Refused { why, .. } => why,
            };
            assert!(!text.is_empty(), "{}", key.name);
            assert!(!text.ends_with('.'), "{}: {text}", key.name);
        }
    }

    #[test]
    fn patterns_give_way_to_names() {
        let partitions = find("offset.storage.partitions", Places::CLUSTER).expect("known");
        assert_eq!(partitions.name, "offset.storage.partitions");
        let topic_config = find("offset.storage.segment.bytes", Places::CLUSTER).expect("pattern");
        assert_eq!(topic_config.name, "offset.storage.*");
        assert_eq!(
            find("topics.blacklist", Places::FLOW).map(|key| key.name),
            Some("topics.exclude")
        );
        assert!(find("topics", Places::CLUSTER).is_none());
    }
}
