//! Real-life files resolve as expected, and broken ones earn one clear line each.
//!
//! `tests/config/files/NAME.properties` resolves to `NAME.expected`;
//! `KMIRROR_UPDATE=1 cargo test -p engine` writes
//! the expectations anew. `tests/config/broken.txt` holds broken files with the one line each must
//! earn; behind a `|` in its title stand the names for `--clusters`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use engine::config::{Input, Origin, Replication, Resolution, Surroundings, resolve};

struct World;

impl Surroundings for World {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, String> {
        match path.to_str() {
            Some("/etc/kmirror/brokers.properties") => Ok(b"target = d1:9092, d2:9092\n".to_vec()),
            _ => Err("no such file".to_owned()),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "SOURCE_HOST" => Some("source.example".to_owned()),
            "TOPICS" => Some("orders, payments".to_owned()),
            _ => None,
        }
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn resolved(file: &str, bytes: &[u8], clusters: Option<&[String]>) -> Resolution {
    resolve(Input { file, bytes, clusters }, &World)
}

fn printed(resolution: &Resolution) -> String {
    let mut out = String::new();
    for finding in &resolution.findings {
        writeln!(out, "{finding}").expect("string");
    }
    match &resolution.replication {
        None => out.push_str("\nnot to be run\n"),
        Some(replication) => print_replication(&mut out, replication),
    }
    out
}

fn print_replication(out: &mut String, replication: &Replication) {
    let settings = replication.flows.iter().map(|flow| (flow.id(), &flow.effective));
    let process = [("process".to_owned(), &replication.process.effective)];
    let heartbeats = replication
        .heartbeats
        .iter()
        .map(|pair| (format!("{} heartbeats", pair.id()), &pair.effective));
    for (title, settings) in process.into_iter().chain(settings).chain(heartbeats) {
        writeln!(out, "\n{title}").expect("string");
        for setting in settings {
            let (key, value, origin) = (&setting.key, &setting.value, &setting.origin);
            writeln!(out, "  {key} = {value}  ({origin})").expect("string");
        }
    }
}

#[test]
fn real_life_files() {
    let update = std::env::var_os("KMIRROR_UPDATE").is_some();
    let mut count = 0;
    let entries = fs::read_dir(directory().join("files")).expect("files");
    for path in entries.map(|entry| entry.expect("entry").path()) {
        if path.extension().is_none_or(|extension| extension != "properties") {
            continue;
        }
        count += 1;
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        let actual = printed(&resolved(&name, &fs::read(&path).expect("file"), None));
        let expectation = path.with_extension("expected");
        if update {
            fs::write(&expectation, &actual).expect("expectation");
        }
        let expected = fs::read_to_string(&expectation).unwrap_or_default();
        assert_eq!(actual, expected, "{name}: KMIRROR_UPDATE=1 writes the expectations anew");
    }
    assert!(count >= 8, "only {count} files");
}

#[test]
fn broken_files_earn_one_line_each() {
    let text = fs::read_to_string(directory().join("broken.txt")).expect("broken.txt");
    let mut wrong = String::new();
    let mut count = 0;
    for section in text.split("\n=== ").skip(1) {
        count += 1;
        let (title, body) = section.split_once('\n').expect("title");
        let (file, expected) = body.split_once("\n--- ").expect("expectation");
        let clusters = title
            .split_once(" | ")
            .map(|(_, names)| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let bytes: Vec<u8> = file.chars().map(|c| u8::try_from(c).expect("latin-1")).collect();
        let resolution = resolved("mm2.properties", &bytes, clusters.as_deref());
        let lines: Vec<_> = resolution.findings.iter().map(ToString::to_string).collect();
        let runs = resolution.replication.is_some();
        if lines != [expected.trim_end()] || runs == expected.contains(": error: ") {
            writeln!(wrong, "=== {title} (runs: {runs})\n{}\n", lines.join("\n")).expect("string");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(count >= 33, "only {count} broken files");
}

#[test]
fn only_flows_into_the_named_clusters_run() {
    let bytes = fs::read(directory().join("files/fan-out.properties")).expect("file");
    let wanted = ["region-eu".to_owned(), "region-us".to_owned()];
    let replication = resolved("f", &bytes, Some(&wanted)).replication.expect("runs");
    let flows: Vec<_> = replication.flows.iter().map(|flow| flow.id()).collect();
    assert_eq!(flows, ["central->region-eu", "central->region-us"]);
    let clusters: Vec<_> = replication.clusters.keys().map(String::as_str).collect();
    assert_eq!(clusters, ["central", "region-eu", "region-us"]);
}

#[test]
fn selection_of_topics() {
    let bytes = fs::read(directory().join("files/exercise.properties")).expect("file");
    let replication = resolved("f", &bytes, None).replication.expect("runs");
    let flow = &replication.flows[0];
    for (topic, replicated) in [
        ("orders", true),
        ("payments", true),
        ("orders2", false),
        ("heartbeats", true),
        ("destination.heartbeats", false),
        ("destination.orders", false),
        ("__consumer_offsets", false),
        ("mm2-offset-syncs.destination.internal", false),
    ] {
        assert_eq!(flow.replicates(topic), Ok(replicated), "{topic}");
    }
    assert_eq!(flow.naming.remote_topic("orders"), "source.orders");
}

/// `MirrorMakerConfig.clusterPairs` does not trim, `ConfigDef` does: both decide whether a flow
/// runs.
#[test]
fn a_blank_behind_true() {
    let flows = |extra: &str| {
        let text =
            format!("clusters=A,B\nA.bootstrap.servers=a:1\nB.bootstrap.servers=b:1\n{extra}");
        let resolution = resolved("f", text.as_bytes(), None);
        resolution.replication.map_or(0, |replication| replication.flows.len())
    };
    assert_eq!(flows("A->B.enabled=true "), 1);
    assert_eq!(flows("A->B.enabled=true \nemit.heartbeats.enabled=false"), 0);
    assert_eq!(flows("A->B.enabled=true \nA->B.emit.heartbeats.enabled=false"), 0);
    assert_eq!(flows("A->B.enabled=true\nemit.heartbeats.enabled=false"), 1);
    assert_eq!(flows("enabled=true"), 2);
    assert_eq!(flows("enabled=true\nB->A.emit.heartbeats.enabled=false"), 1);
    assert_eq!(flows("enabled=true\nB->A.enabled=false"), 1);
}

/// One flow as `MirrorMakerConfig` resolved it: every line of its section.
fn section_of(dump: &str, flow: &str) -> Vec<String> {
    let start = format!("PAIR {flow}");
    let lines = dump.lines().skip_while(|line| **line != start).skip(1);
    lines.take_while(|line| !line.starts_with("PAIR ")).map(|line| line.trim().to_owned()).collect()
}

/// What holds for a flow is what MirrorMaker 2 itself makes of the same file.
#[test]
fn flows_are_set_up_as_by_kafka() {
    let dumps = directory().join("../golden/resolution");
    let mut compared = 0;
    for path in fs::read_dir(dumps).expect("dumps").map(|entry| entry.expect("entry").path()) {
        let dump = fs::read_to_string(&path).expect("dump");
        let name = path.file_stem().expect("name").to_string_lossy().into_owned();
        let file = directory().join(format!("files/{name}.properties"));
        let resolution = resolved(&name, &fs::read(file).expect("file"), None);
        let replication = resolution.replication.expect("runs");
        let enabled = dump.lines().filter(|line| *line == "enabled true").count();
        assert_eq!(replication.flows.len(), enabled, "{name}");
        for flow in &replication.flows {
            let section = section_of(&dump, &flow.id());
            let value = |start: String| {
                section.iter().find_map(|line| line.strip_prefix(&start)).map(str::trim)
            };
            for setting in &flow.effective {
                let key = &setting.key;
                let theirs = match key.strip_prefix("producer.") {
                    Some(rest) => value(format!("connector producer.override.{rest}="))
                        .or_else(|| value(format!("worker producer.{rest}="))),
                    None if key.starts_with("consumer.") => {
                        value(format!("{key}=").replacen('.', " ", 1))
                    }
                    None if key.starts_with("offset.") => value(format!("worker {key}=")),
                    None => value(format!("connector {key}=")),
                };
                let unset = setting.origin == Origin::Default;
                // MirrorMaker 2 composes client ids, drops our keys, and 4.3.1 knows no blacklist.
                let differs = key == "consumer.client.id"
                    || key.starts_with("kmirror.")
                    || matches!(&setting.origin, Origin::Line { key, .. } if key.ends_with("blacklist"));
                match theirs {
                    None => assert!(unset || differs, "{name} {}: {setting:?}", flow.id()),
                    Some(_) if differs => {}
                    Some(theirs) => assert_eq!(theirs, setting.value, "{name}: {key}"),
                }
                compared += usize::from(theirs.is_some());
            }
        }
    }
    assert!(compared > 60, "only {compared} settings");
}
