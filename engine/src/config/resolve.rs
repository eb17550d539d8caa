//! From a file's bytes to the flows that run: everything that is wrong with it is said at once.

use std::collections::{BTreeMap, BTreeSet};

use super::exactly_once;
use super::finding::{Finding, Findings, Report, Severity};
use super::flows;
use super::groups;
use super::heartbeats;
use super::keys::{self, Places};
use super::layers::{self, Layer, Setting};
use super::lint;
use super::model::{FlowConfig, Origin, ProcessConfig, Replication};
use super::properties::{self, Entry};
use super::providers::{Providers, Surroundings};
use super::reader::Reader;
use super::values;

/// Every pair of clusters is looked at; MirrorMaker 2 would start a worker for each.
const MAX_CLUSTERS: usize = 100;

/// A file that is to be resolved.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What findings call the file.
    pub file: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// `--clusters`: only flows into these run; none for all.
    pub clusters: Option<&'a [String]>,
}

/// What became of a file.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// What is to run; none if there is an error among the findings.
    pub replication: Option<Replication>,
    /// Everything that should be known, in the order of the file.
    pub findings: Vec<Finding>,
}

/// Resolves a file as MirrorMaker 2's dedicated mode does.
pub fn resolve(input: Input<'_>, surroundings: &dyn Surroundings) -> Resolution {
    let mut findings = Findings::new(input.file);
    let entries = read(input.bytes, &mut findings);
    let entries = last_of_each(entries, &mut findings);
    let entries = expand(entries, surroundings, &mut findings);
    let file = layer(&entries);
    let aliases = aliases(&file);
    lint::entries(&entries, &aliases, &mut findings);
    let replication = replication(input, &file, &aliases, &mut findings);
    let failed = findings.has_errors();
    Resolution { replication: replication.filter(|_| !failed), findings: findings.finish() }
}

fn read(bytes: &[u8], findings: &mut Findings) -> Vec<Entry> {
    let text = match bytes.strip_prefix(b"\xEF\xBB\xBF") {
        Some(text) => {
            let problem = "the file starts with a byte order mark, which Java takes for part of the \
             first key";
            findings.add(Severity::Error, 1, "file", Report::new(problem, "save it without one"));
            text
        }
        None => bytes,
    };
    let (entries, errors) = properties::parse_bytes(text);
    for error in errors {
        let remedy = "write two backslashes for one, and four hexadecimal digits behind `\\u`";
        let report = Report::new(error.to_string(), remedy);
        findings.add(Severity::Error, error.line(), "file", report);
    }
    for entry in &entries {
        let mangled = entry.value.chars().any(|c| ('\u{80}'..='\u{FF}').contains(&c));
        let latin: Vec<u8> = entry.value.chars().filter_map(|c| u8::try_from(c).ok()).collect();
        if mangled && std::str::from_utf8(&latin).is_ok() {
            let problem = "characters beyond ASCII are read one byte at a time, as ISO-8859-1";
            let report = Report::new(problem, "write them as `\\uXXXX`");
            findings.add(Severity::Warning, entry.line, &entry.key, report);
        }
    }
    entries
}

/// Java keeps the last of equal keys.
fn last_of_each(entries: Vec<Entry>, findings: &mut Findings) -> Vec<Entry> {
    let lines: BTreeMap<String, u32> =
        entries.iter().map(|entry| (entry.key.clone(), entry.line)).collect();
    let is_last = |entry: &Entry| lines.get(&entry.key).is_none_or(|line| *line == entry.line);
    for entry in entries.iter().filter(|entry| !is_last(entry)) {
        let winner = lines.get(&entry.key).copied().unwrap_or(entry.line);
        let problem = format!("line {winner} sets the same key and wins");
        let report = Report::new(problem, "remove one of the two");
        findings.add(Severity::Warning, entry.line, &entry.key, report);
    }
    entries.into_iter().filter(|entry| is_last(entry)).collect()
}

/// Resolves `${provider:path:key}` in all values. What fails is said and left out.
fn expand(
    entries: Vec<Entry>,
    surroundings: &dyn Surroundings,
    findings: &mut Findings,
) -> Vec<Entry> {
    let settings = entries.iter().map(|entry| (entry.key.as_str(), entry)).collect();
    let providers = Providers::new(&settings, surroundings, |entry, (problem, remedy)| {
        findings.add(Severity::Error, entry.line, &entry.key, Report::new(problem, remedy));
    });
    let mut expanded = Vec::with_capacity(entries.len());
    for entry in &entries {
        if entry.key.starts_with("config.providers") {
            expanded.push(entry.clone());
            continue;
        }
        for name in providers.unknown_names(&entry.value) {
            let problem =
                format!("no configuration provider is called `{name}`, the text stays as it is");
            let report = Report::new(problem, "name it in `config.providers`");
            findings.add(Severity::Warning, entry.line, &entry.key, report);
        }
        match providers.expand(&entry.value) {
            Ok(value) => expanded.push(Entry { value, ..entry.clone() }),
            Err((problem, remedy)) => {
                findings.add(Severity::Error, entry.line, &entry.key, Report::new(problem, remedy));
            }
        }
    }
    expanded
}

fn layer(entries: &[Entry]) -> Layer {
    let setting = |entry: &Entry| Setting {
        value: entry.value.clone(),
        line: entry.line,
        written: entry.key.clone(),
    };
    entries.iter().map(|entry| (entry.key.clone(), setting(entry))).collect()
}

fn aliases(file: &Layer) -> Vec<String> {
    let listed = file.get("clusters").map(|clusters| values::list(&clusters.value));
    let mut aliases = listed.unwrap_or_default();
    aliases.retain(|alias| !alias.is_empty());
    let mut seen = BTreeSet::new();
    aliases.retain(|alias| seen.insert(alias.clone()));
    aliases.truncate(MAX_CLUSTERS + 1);
    aliases
}

fn replication(
    input: Input<'_>,
    file: &Layer,
    aliases: &[String],
    findings: &mut Findings,
) -> Option<Replication> {
    let Some(clusters) = file.get("clusters") else {
        let report = Report::new("the key is missing", "name the aliases: `clusters = A, B`");
        findings.missing(&["clusters".to_owned()], 1, "clusters", report);
        return None;
    };
    let line = clusters.line;
    if aliases.len() < 2 {
        let report =
            Report::new("a flow needs two clusters", "name two aliases: `clusters = A, B`");
        findings.add(Severity::Error, line, "clusters", report);
        return None;
    }
    if aliases.len() > MAX_CLUSTERS {
        let problem = format!("more than {MAX_CLUSTERS} clusters are named");
        let report = Report::new(problem, "split the file into several");
        findings.add(Severity::Error, line, "clusters", report);
        return None;
    }
    if let Some(wanted) = input.clusters.and_then(|all| all.iter().find(|c| !aliases.contains(c))) {
        let problem = format!("`--clusters` names `{wanted}`, which is not one of them");
        let report = Report::new(problem, format!("name one of {}", aliases.join(", ")));
        findings.add(Severity::Error, line, "clusters", report);
        return None;
    }
    let running = flows::running(file, aliases, input.clusters);
    let used = |alias: &str| running.iter().any(|(from, to)| from == alias || to == alias);
    if !running.is_empty() {
        findings.soften_unused_clusters(used);
    }
    if running.is_empty() && !findings.has_errors() {
        no_flow(input, aliases, line, findings);
    }
    for alias in aliases.iter().filter(|alias| used(alias)) {
        flows::check_cluster(file, alias, line, findings);
    }
    flows::check_names(file, &running, line, findings);
    groups::check(file, &running, findings);
    exactly_once::check(file, &running, findings);
    let flows: Vec<FlowConfig> =
        running.iter().filter_map(|(source, target)| flows::flow(file, source, target)).collect();
    let clusters = flows
        .iter()
        .flat_map(|flow| [&flow.source, &flow.target])
        .map(|cluster| (cluster.alias.clone(), cluster.clone()))
        .collect();
    let heartbeats = heartbeats::beating(file, aliases, input.clusters, used);
    let used: Vec<&String> = aliases.iter().filter(|alias| used(alias)).collect();
    Some(Replication { clusters, flows, heartbeats, process: process(file, &used) })
}

fn no_flow(input: Input<'_>, aliases: &[String], line: u32, findings: &mut Findings) {
    let mut wanted = Vec::new();
    for source in aliases {
        for target in aliases.iter().filter(|target| *target != source) {
            wanted.push(format!("{source}->{target}.enabled"));
        }
    }
    let problem = match input.clusters {
        None => "no flow is enabled".to_owned(),
        Some(targets) => format!("no flow into {} is enabled", targets.join(", ")),
    };
    let first = wanted.first().cloned().unwrap_or_default();
    let report = Report::new(problem, format!("enable one: `{first} = true`"));
    findings.missing(&wanted, line, "clusters", report);
}

fn process(file: &Layer, clusters: &[&String]) -> ProcessConfig {
    let mut reader = Reader::default();
    let memory_bytes =
        reader.number(file, Places::FILE, "kmirror.memory.bytes").unwrap_or(64 << 20);
    let threads =
        reader.number(file, Places::FILE, "kmirror.threads").filter(|&threads| threads > 0);
    let mut cluster_bandwidth = BTreeMap::new();
    for alias in clusters {
        let mut own = Reader::default();
        let cluster = layers::cluster(file, alias);
        let limit = own.rates(&cluster, Places::CLUSTER, keys::BANDWIDTH_LIMIT);
        cluster_bandwidth.extend(limit.map(|limit| ((*alias).clone(), limit)));
        let set = own.finish().into_iter().filter(|one| one.origin != Origin::Default);
        set.for_each(|one| reader.note(&format!("{alias}.{}", one.key), &one.value, one.origin));
    }
    let effective = reader.finish();
    ProcessConfig { memory_bytes, threads, cluster_bandwidth, forced: false, effective }
}
