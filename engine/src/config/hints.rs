//! What a misspelt key was probably meant to be.

use super::keys::{self, Places};

/// Names that guides mention and no release reads, with the key that does it.
const NEVER_EXISTED: &[(&str, &str)] = &[
    ("topics.whitelist", "topics"),
    ("whitelist", "topics"),
    ("groups.whitelist", "groups"),
    ("topicsPattern", "topics"),
    ("groupsPattern", "groups"),
    ("topicsExcludePattern", "topics.exclude"),
    ("topicsBlacklistPattern", "topics.exclude"),
];

/// Endings that are easily forgotten.
const ENDINGS: &[&str] = &[".enabled", ".class", ".seconds", ".interval.seconds", ".ms", ".bytes"];

/// Hints for the keys of one file.
pub(super) struct Hints {
    plain: Vec<Candidate>,
    flows: Vec<Candidate>,
    left: usize,
}

/// A key as it would stand in this file.
struct Candidate {
    key: String,
    /// A name that never existed and stands for it.
    mistaken: Option<String>,
}

impl Hints {
    /// How many keys of a file get a hint; who misspells more is not helped by more.
    const MOST: usize = 100;

    /// How many clusters of a file are looked at.
    const MOST_CLUSTERS: usize = 20;

    pub(super) fn new(aliases: &[String]) -> Self {
        let aliases = aliases.get(..Self::MOST_CLUSTERS).unwrap_or(aliases);
        Self { plain: plain_keys(aliases), flows: flow_keys(aliases), left: Self::MOST }
    }

    /// The key nearest to `written`, if one is near.
    pub(super) fn nearest(&mut self, written: &str) -> Option<String> {
        self.left = self.left.checked_sub(1)?;
        let candidates = if written.contains("->") { &self.flows } else { &self.plain };
        let limit = 1 + written.len() / 8;
        candidates
            .iter()
            .filter_map(|Candidate { key, mistaken }| {
                let sure = mistaken.as_deref() == Some(written) || forgotten_ending(written, key);
                let distance = if sure { 0 } else { distance(written, key, limit)? };
                Some((distance, key))
            })
            .min()
            .map(|(_, key)| key.clone())
    }
}

fn forgotten_ending(written: &str, candidate: &str) -> bool {
    candidate.strip_prefix(written).is_some_and(|rest| ENDINGS.contains(&rest))
}

/// Keys with the prefixes of this file, and another spelling that stands for each.
fn plain_keys(aliases: &[String]) -> Vec<Candidate> {
    let mut all = expanded("", Places::FILE);
    for alias in aliases {
        all.extend(expanded(&format!("{alias}."), Places::CLUSTER));
        all.extend(expanded(&format!("{alias}.consumer."), Places::CONSUMER));
        all.extend(expanded(&format!("{alias}.producer."), Places::PRODUCER));
    }
    all
}

fn flow_keys(aliases: &[String]) -> Vec<Candidate> {
    let mut all = Vec::new();
    for source in aliases {
        for target in aliases.iter().filter(|target| *target != source) {
            all.extend(expanded(&format!("{source}->{target}."), Places::FLOW));
            let overrides = format!("{source}->{target}.producer.override.");
            all.extend(expanded(&overrides, Places::PRODUCER));
        }
    }
    all
}

fn expanded(prefix: &str, place: Places) -> Vec<Candidate> {
    let names =
        keys::names(place).map(|name| Candidate { key: format!("{prefix}{name}"), mistaken: None });
    let known = NEVER_EXISTED.iter().filter(|(_, right)| keys::find(right, place).is_some());
    let wrong = known.map(|(wrong, right)| Candidate {
        key: format!("{prefix}{right}"),
        mistaken: Some(format!("{prefix}{wrong}")),
    });
    names.chain(wrong).collect()
}

/// The edit distance with swaps of neighbors, if it is at most `limit`.
fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    let mut before = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &to) in b.iter().enumerate() {
            let step = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let changed = step(&last, j) + usize::from(from != to);
            let mut best = changed.min(step(&last, j + 1) + 1).min(step(&row, j) + 1);
            let swapped =
                i > 0 && j > 0 && a.get(i - 1) == Some(&to) && b.get(j - 1) == Some(&from);
            if swapped {
                best = best.min(step(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|&distance| distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(written: &str) -> Option<String> {
        Hints::new(&["A".to_owned(), "B".to_owned(), "primary".to_owned()]).nearest(written)
    }

    #[test]
    fn typos_find_their_key() {
        for (written, meant) in [
            ("cluster", "clusters"),
            ("A->B.enable", "A->B.enabled"),
            ("A->B.emit.heartbeats", "A->B.emit.heartbeats.enabled"),
            ("A->B.topics.whitelist", "A->B.topics"),
            ("A->B.topcis", "A->B.topics"),
            ("replication.facter", "replication.factor"),
            ("A.bootstrap.server", "A.bootstrap.servers"),
            ("primry.bootstrap.servers", "primary.bootstrap.servers"),
            ("A.consumer.fetch.min.byte", "A.consumer.fetch.min.bytes"),
            ("refresh.topics.interval", "refresh.topics.interval.seconds"),
            ("kmirror.memory", "kmirror.memory.bytes"),
        ] {
            assert_eq!(hint(written).as_deref(), Some(meant), "{written}");
        }
        assert_eq!(hint("completely.different"), None);
        assert_eq!(hint(""), None);
    }

    #[test]
    fn distances() {
        assert_eq!(distance("abc", "abc", 2), Some(0));
        assert_eq!(distance("abc", "acb", 2), Some(1));
        assert_eq!(distance("abc", "abcde", 2), Some(2));
        assert_eq!(distance("abc", "xyz", 2), None);
        assert_eq!(distance("", "", 0), Some(0));
    }
}
