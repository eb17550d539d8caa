//! The rules of the house that no compiler knows: which crate may use which, what pure code may name, how
//! long a file may be, and that the code map of ARCHITECTURE.md names every file.
//!
//! `KMIRROR_UPDATE=1 cargo test -p kmirror --test tidy` writes the code map anew.

use std::fs;
use std::path::{Path, PathBuf};

/// The crates of this workspace that each may use; in tests also those after the bar.
const ARROWS: &[(&str, &[&str], &[&str])] = &[
    ("protocol-client", &[], &["kafka-lab"]),
    ("protocol-client/embedded-broker", &["protocol-client"], &[]),
    ("engine", &["protocol-client"], &["embedded-broker"]),
    ("bin", &["embedded-broker", "engine", "protocol-client"], &["kafka-lab"]),
    ("benches", &["embedded-broker", "engine", "kafka-lab", "protocol-client"], &[]),
    ("benches/instructions", &["engine", "protocol-client"], &[]),
    ("benches/kafka-lab", &[], &[]),
    ("fuzz", &["embedded-broker", "engine", "protocol-client"], &[]),
];

/// Where the outside world may be named. Everything else is pure: time, randomness and ids come in as
/// arguments, and nothing waits.
const SHELLS: &[&str] = &[
    "benches/",
    "bin/",
    "engine/src/positions/store.rs",
    "engine/src/runtime/",
    "engine/src/syncs/store.rs",
    "fuzz/",
    "protocol-client/embedded-broker/src/cluster.rs",
    "protocol-client/embedded-broker/src/listen.rs",
    "protocol-client/embedded-broker/src/main.rs",
    "protocol-client/src/client/",
    "protocol-client/src/net/",
];

/// What only a shell may name.
const OUTSIDE_WORLD: &[&str] = &[
    "tokio",
    "Instant::now",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "std::env",
    "std::fs",
    "std::thread",
    "fastrand::Rng::new",
    "Uuid::new_v4",
];

/// Lines of a file without its inline tests.
const MAX_FILE_LINES: usize = 800;

const CODE_MAP: (&str, &str) = ("<!-- code map: begin -->\n", "<!-- code map: end -->");

/// A text file of the project: its path from the root, with forward slashes, and what it holds.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests/")
    }

    /// The lines before the inline tests, which house style puts at the end of a file.
    fn lines_without_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
    }

    /// The first sentence of the file's own documentation.
    fn summary(&self) -> Option<String> {
        let mut words = String::new();
        for line in self.text.lines().map_while(|line| line.strip_prefix("//!")) {
            if line.is_empty() {
                break;
            }
            words.push_str(line);
        }
        let sentence = words.trim().split(". ").next()?.trim_end_matches('.');
        (!sentence.is_empty()).then(|| sentence.to_owned())
    }
}

#[test]
fn crates_use_each_other_in_one_direction() {
    let mut wrong = Vec::new();
    for (dir, allowed, allowed_in_tests) in ARROWS {
        let manifest = read(&root().join(dir).join("Cargo.toml"));
        for (section, name) in dependencies(&manifest) {
            let ours = ARROWS.iter().any(|(dir, ..)| dir.rsplit('/').next() == Some(&name));
            let in_tests = section == "dev-dependencies" && allowed_in_tests.contains(&&*name);
            if ours && !allowed.contains(&&*name) && !in_tests {
                wrong.push(format!("{dir} must not use {name} as one of its {section}"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn pure_code_never_names_the_outside_world() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust() && !source.is_test()) {
        if SHELLS.iter().any(|shell| source.path.starts_with(shell)) {
            continue;
        }
        for (number, line) in source.lines_without_tests() {
            let code = line.split("//").next().unwrap_or_default();
            for name in OUTSIDE_WORLD.iter().filter(|name| code.contains(**name)) {
                wrong.push(format!("{}:{number} names {name}", source.path));
            }
            // The functions of the crate draw from a generator that the operating system seeds.
            let drawn = code.split("fastrand::").skip(1);
            if drawn.into_iter().any(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())) {
                wrong.push(format!("{}:{number} draws from the global generator", source.path));
            }
        }
    }
    none(&wrong);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        let lines = source.lines_without_tests().count();
        if lines > MAX_FILE_LINES {
            wrong.push(format!("{} has {lines} lines, at most {MAX_FILE_LINES}", source.path));
        }
        if source.summary().is_none() {
            wrong.push(format!("{} does not begin with `//!` and what it is", source.path));
        }
        // Clippy holds the length of functions, so nothing may be let off.
        let exempt = concat!("clippy::", "too_many_lines");
        if source.text.contains(exempt) {
            wrong.push(format!("{} excuses itself from {exempt}", source.path));
        }
    }
    none(&wrong);
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut wrong = Vec::new();
    for source in sources() {
        for (at, line) in source.text.lines().enumerate() {
            if places.iter().any(|place| line.contains(place)) {
                wrong.push(format!("{}:{}", source.path, at + 1));
            }
        }
    }
    none(&wrong);
}

#[test]
fn the_code_map_names_every_file() {
    let path = root().join("ARCHITECTURE.md");
    let text = read(&path);
    let (before, rest) = text.split_once(CODE_MAP.0).expect("ARCHITECTURE.md has a code map");
    let (map, after) = rest.split_once(CODE_MAP.1).expect("the code map ends");
    let current = code_map();
    #[expect(clippy::disallowed_methods, reason = "the one switch of this test")]
    if std::env::var("KMIRROR_UPDATE").is_ok() {
        let text = format!("{before}{}{current}{}{after}", CODE_MAP.0, CODE_MAP.1);
        fs::write(&path, text).expect("ARCHITECTURE.md can be written");
        return;
    }
    let stale: Vec<_> = map.lines().filter(|line| !current.contains(line)).collect();
    let missing: Vec<_> = current.lines().filter(|line| !map.contains(line)).collect();
    assert!(
        map == current,
        "the code map is stale: KMIRROR_UPDATE=1 cargo test -p kmirror --test tidy\n- {stale:#?}\n+ {missing:#?}"
    );
}

/// A heading per directory, a line per file with the first sentence of its documentation.
fn code_map() -> String {
    let mut map = String::new();
    let mut dir = "";
    let sources = sources();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let (parent, file) = source.path.rsplit_once('/').expect("no source lies at the root");
        if parent != dir {
            map.push_str(&format!("\n### {parent}\n"));
            dir = parent;
        }
        map.push_str(&format!("- `{file}`: {}\n", source.summary().unwrap_or_default()));
    }
    map.push('\n');
    map
}

/// The names in the dependency tables of a manifest, each with its table.
fn dependencies(manifest: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
        } else if section.ends_with("dependencies")
            && let Some((name, _)) = line.split_once(['.', ' ', '='])
        {
            found.push((section.clone(), name.to_owned()));
        }
    }
    found
}

/// The text files that belong to the project, sorted by path.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut dirs = vec![root()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("the project can be read") {
            let path = entry.expect("the project can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let built = ["target", ".git", ".lab", "corpus", "artifacts"].contains(&name.as_str());
            if built {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).expect("it lies below the root");
                let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
                found.push(Source { path: parts.join("/"), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.rsplit_once('/').cmp(&b.path.rsplit_once('/')));
    found
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the workspace has a root")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
