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

/// The key nearest to `written`, as it would stand in this file.
pub(super) fn nearest(written: &str, aliases: &[String]) -> Option<String> {
    let candidates = match written.contains("->") {
        true => flow_keys(aliases),
        false => plain_keys(aliases),
    };
    let limit = 1 + written.len() / 8;
    candidates
        .into_iter()
        .filter_map(|(candidate, also_for)| {
            let distance = match also_for.as_deref() == Some(written)
                || forgotten_ending(written, &candidate)
            {
                true => 0,
                false => distance(written, &candidate, limit)?,
            };
            Some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

fn forgotten_ending(written: &str, candidate: &str) -> bool {
    candidate.strip_prefix(written).is_some_and(|rest| ENDINGS.contains(&rest))
}

/// Keys with the prefixes of this file, and another spelling that stands for each.
fn plain_keys(aliases: &[String]) -> Vec<(String, Option<String>)> {
    let mut all = expanded("", Places::FILE);
    for alias in aliases {
        all.extend(expanded(&format!("{alias}."), Places::CLUSTER));
        all.extend(expanded(&format!("{alias}.consumer."), Places::CONSUMER));
        all.extend(expanded(&format!("{alias}.producer."), Places::PRODUCER));
    }
    all
}

fn flow_keys(aliases: &[String]) -> Vec<(String, Option<String>)> {
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

fn expanded(prefix: &str, place: Places) -> Vec<(String, Option<String>)> {
    let names = keys::names(place).map(|name| (format!("{prefix}{name}"), None));
    let known = NEVER_EXISTED.iter().filter(|(_, right)| keys::find(right, place).is_some());
    let wrong =
        known.map(|(wrong, right)| (format!("{prefix}{right}"), Some(format!("{prefix}{wrong}"))));
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
        nearest(written, &["A".to_owned(), "B".to_owned(), "primary".to_owned()])
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
