//! Looks at every line of a file on its own: is the key known, does it stand where it counts, is
//! its value valid.

use super::finding::{Findings, Report, Severity};
use super::hints::Hints;
use super::keys::{self, Key, Kind, Places, Status};
use super::properties::Entry;
use super::values;

/// Checks entries whose values have their references resolved.
pub(super) fn entries(entries: &[Entry], aliases: &[String], findings: &mut Findings) {
    let mut hints = Hints::new(aliases);
    for one in entries {
        entry(one, aliases, &mut hints, findings);
    }
}

fn entry(entry: &Entry, aliases: &[String], hints: &mut Hints, findings: &mut Findings) {
    let spot = locate(&entry.key, aliases);
    match spot {
        Spot::Reads { place, name, cluster } => match keys::find(name, place) {
            Some(key) => known(entry, name, key, cluster, findings),
            None => unknown(entry, name, hints, findings),
        },
        Spot::Nothing { problem, remedy } => {
            findings.add(Severity::Warning, entry.line, &entry.key, Report::new(problem, remedy));
        }
        Spot::UnknownFlow { name } => unknown_flow(entry, name, hints, findings),
    }
}

/// What a key is for, by its prefix.
enum Spot<'a> {
    /// Something reads `name` in this place.
    Reads { place: Places, name: &'a str, cluster: Option<&'a str> },
    /// Neither MirrorMaker 2 nor kmirror reads it.
    Nothing { problem: String, remedy: String },
    /// `X->Y.` with an alias that is not in `clusters`.
    UnknownFlow { name: &'a str },
}

fn locate<'a>(key: &'a str, aliases: &'a [String]) -> Spot<'a> {
    if let Some((flow, rest)) = flow_prefix(key, aliases) {
        return in_flow(flow, rest);
    }
    if let Some((_, rest)) = key.split_once("->") {
        return Spot::UnknownFlow { name: rest.split_once('.').map_or("", |(_, name)| name) };
    }
    if keys::find(key, Places::FILE).is_some() {
        return Spot::Reads { place: Places::FILE, name: key, cluster: None };
    }
    let alias = aliases
        .iter()
        .filter(|alias| key.strip_prefix(*alias).is_some_and(|rest| rest.starts_with('.')))
        .max_by_key(|alias| alias.len());
    match alias.and_then(|alias| Some((alias, key.get(alias.len() + 1..)?))) {
        Some((alias, rest)) => in_cluster(alias, rest),
        None => at_top(key),
    }
}

fn flow_prefix<'a>(key: &'a str, aliases: &[String]) -> Option<(&'a str, &'a str)> {
    let targets = |rest: &'a str| {
        let fitting = aliases
            .iter()
            .filter_map(move |target| rest.strip_prefix(target.as_str())?.strip_prefix('.'));
        fitting.min_by_key(|name| name.len())
    };
    aliases
        .iter()
        .filter_map(|source| targets(key.strip_prefix(source.as_str())?.strip_prefix("->")?))
        .min_by_key(|name| name.len())
        .and_then(|name| Some((key.get(..key.len() - name.len() - 1)?, name)))
}

fn in_flow<'a>(flow: &'a str, rest: &'a str) -> Spot<'a> {
    let (source, target) = flow.split_once("->").unwrap_or((flow, flow));
    let reads = |place, name| Spot::Reads { place, name, cluster: None };
    for prefix in ["source.consumer.", "consumer."] {
        if let Some(name) = rest.strip_prefix(prefix) {
            return reads(Places::CONSUMER, name);
        }
    }
    if let Some(name) = rest.strip_prefix("producer.override.") {
        return reads(Places::PRODUCER, name);
    }
    if let Some(name) = rest.strip_prefix("source.cluster.") {
        if is_ours(name) && keys::find(name, Places::CLUSTER).is_some() {
            let problem = "it holds for all flows of a cluster, so that no flow can set it";
            let remedy = format!("write `{source}.{name}`");
            return Spot::Nothing { problem: problem.to_owned(), remedy };
        }
        return reads(Places::CLUSTER, name);
    }
    let dead = [
        ("consumer.override.", Places::CONSUMER, format!("{source}.consumer.")),
        ("target.consumer.", Places::CONSUMER, format!("{source}.consumer.")),
        ("source.producer.", Places::PRODUCER, format!("{target}.producer.")),
        ("target.producer.", Places::PRODUCER, format!("{target}.producer.")),
        ("producer.", Places::PRODUCER, format!("{target}.producer.")),
        ("source.admin.", Places::CONSUMER, format!("{source}.consumer.")),
        ("target.admin.", Places::PRODUCER, format!("{target}.producer.")),
        ("admin.", Places::CONSUMER, format!("{source}.consumer.")),
        ("target.cluster.", Places::CLUSTER, format!("{target}.")),
    ];
    let problem = "it does not reach what copies the records, in MirrorMaker 2 neither";
    let spot = dead.iter().find_map(|(prefix, place, right)| {
        let name = rest.strip_prefix(prefix)?;
        let remedy = elsewhere(name, *place, right, "");
        Some(Spot::Nothing { problem: problem.to_owned(), remedy })
    });
    if let Some(spot) = spot.filter(|_| keys::find(rest, Places::FLOW).is_none()) {
        return spot;
    }
    reads(Places::FLOW, rest)
}

fn in_cluster<'a>(alias: &'a str, rest: &'a str) -> Spot<'a> {
    let clients = [
        ("consumer.", Places::CONSUMER),
        ("producer.", Places::PRODUCER),
        ("admin.", Places::ADMIN),
    ];
    for (prefix, place) in clients {
        if let Some(name) = rest.strip_prefix(prefix) {
            return Spot::Reads { place, name, cluster: Some(alias) };
        }
    }
    Spot::Reads { place: Places::CLUSTER, name: rest, cluster: Some(alias) }
}

fn at_top(key: &str) -> Spot<'_> {
    let dropped = [
        ("producer.override.", Places::PRODUCER, "A->B.producer.override."),
        ("consumer.override.", Places::CONSUMER, "A.consumer."),
        ("producer.", Places::PRODUCER, "B.producer."),
        ("consumer.", Places::CONSUMER, "A.consumer."),
        ("admin.", Places::ADMIN, "A.admin."),
        ("source.cluster.", Places::CLUSTER, "A."),
        ("target.cluster.", Places::CLUSTER, "B."),
    ];
    for (prefix, place, right) in dropped {
        if let Some(name) = key.strip_prefix(prefix) {
            return Spot::Nothing {
                problem: "MirrorMaker 2 drops it without the prefix of a cluster".to_owned(),
                remedy: elsewhere(name, place, right, " with your aliases for A and B"),
            };
        }
    }
    Spot::Reads { place: Places::FILE, name: key, cluster: None }
}

/// Where to write a key instead, unless it would not be acted upon there either.
fn elsewhere(name: &str, place: Places, prefix: &str, aliases: &str) -> String {
    match keys::find(name, place).map(|key| key.status) {
        Some(Status::WarnIgnored(instead)) => format!("remove it: {instead}"),
        _ => format!("write `{prefix}{name}`{aliases}"),
    }
}

fn known(
    entry: &Entry,
    name: &str,
    key: &'static Key,
    cluster: Option<&str>,
    findings: &mut Findings,
) {
    let line = entry.line;
    let mut say = |severity, problem: &str, remedy: &str| {
        let cluster = cluster.map(str::to_owned);
        let report = Report { cluster, ..Report::new(problem, remedy) };
        findings.add(severity, line, &entry.key, report);
    };
    if key.is_agreed(&entry.value) {
        return;
    }
    if let Some(found) = values::problem(key.kind, &entry.value) {
        return say(Severity::Error, &found.problem, &found.remedy);
    }
    match key.status {
        Status::Refused { why, remedy } => return say(Severity::Error, why, remedy),
        Status::WarnIgnored(instead) => {
            return say(Severity::Warning, "it is not acted upon", instead);
        }
        Status::Inert(_) | Status::Honored => {}
    }
    if let Some(alias) = key.aliases.iter().find(|alias| **alias == name) {
        let problem = format!("`{alias}` is an old name that Kafka 4 ignores");
        let prefix = entry.key.strip_suffix(alias).unwrap_or_default();
        return say(Severity::Warning, &problem, &format!("write `{prefix}{}`", key.name));
    }
    value_traps(entry, key.kind, say);
}

/// Values that are valid and hardly what was meant.
fn value_traps(entry: &Entry, kind: Kind, mut say: impl FnMut(Severity, &str, &str)) {
    let blank = entry.value != entry.value.trim_end();
    if kind == Kind::Bool && blank && values::boolean(&entry.value) == Some(true) {
        say(
            Severity::Warning,
            "a blank stands behind `true`, which MirrorMaker 2 reads as false when it \
             decides which flows exist",
            "remove the blank",
        );
    }
    if kind != Kind::Patterns {
        return;
    }
    if values::comma_inside_brackets(&entry.value) {
        say(
            Severity::Warning,
            "a comma inside brackets splits the pattern in two, joined again with `|`",
            "write the pattern without a comma",
        );
    } else if entry.value.contains(" #") {
        say(
            Severity::Warning,
            "what stands behind ` #` is part of the value",
            "put the comment on a line of its own",
        );
    }
}

fn unknown(entry: &Entry, name: &str, hints: &mut Hints, findings: &mut Findings) {
    if let Some(key) = keys::find_anywhere(name)
        && let Some(right) = right_place(key, name)
    {
        let problem = "MirrorMaker 2 does not read it here, and neither does kmirror";
        let report = Report::new(problem, format!("write {right}"));
        return findings.add(Severity::Warning, entry.line, &entry.key, report);
    }
    let severity = if is_ours(name) { Severity::Error } else { Severity::Warning };
    let meant = hints.nearest(&entry.key);
    let remedy = match &meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "remove the line; MirrorMaker 2 ignores it as well".to_owned(),
    };
    let (key, problem) = match entry.key.is_empty() {
        true => ("line", "it has no key"),
        false => (entry.key.as_str(), "no such key"),
    };
    let report = Report { meant, ..Report::new(problem, remedy) };
    findings.add(severity, entry.line, key, report);
}

fn is_ours(name: &str) -> bool {
    name.starts_with("kmirror.")
}

/// How a key that stands in the wrong place is spelt right.
fn right_place(key: &Key, name: &str) -> Option<String> {
    let spelt = |prefix: &str| Some(format!("`{prefix}{name}` with your aliases for A and B"));
    match key.places {
        places if places.meet(Places::FLOW) => spelt("A->B."),
        places if places.meet(Places::FILE) => Some(format!("`{name}` without a prefix")),
        places if places.meet(Places::CLUSTER) => spelt("B."),
        places if places.meet(Places::CONSUMER) => spelt("A.consumer."),
        places if places.meet(Places::PRODUCER) => spelt("B.producer."),
        _ => None,
    }
}

fn unknown_flow(entry: &Entry, name: &str, hints: &mut Hints, findings: &mut Findings) {
    let enabling = name == "enabled" && values::boolean(&entry.value) == Some(true);
    let severity = if enabling { Severity::Error } else { Severity::Warning };
    let problem = "the flow is not between two of the `clusters`";
    let meant = hints.nearest(&entry.key);
    let remedy = match &meant {
        Some(meant) => format!("name both aliases in `clusters`, or did you mean `{meant}`?"),
        None => "name both aliases in `clusters`".to_owned(),
    };
    let report = Report { meant, ..Report::new(problem, remedy) };
    findings.add(severity, entry.line, &entry.key, report);
}
