//! The program as it is called: what it prints and how it ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const GOOD: &str = "clusters = A, B
A.bootstrap.servers = a:9092
B.bootstrap.servers = b:9092
A->B.enabled = true
A->B.topics = orders
";

fn kmirror(directory: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kmirror"))
        .args(args)
        .current_dir(directory)
        .env_remove("KMIRROR_LOG")
        .output()
        .expect("kmirror starts")
}

fn check(file: &str, extra: &[&str]) -> Output {
    let directory = TempDir::new().expect("directory");
    fs::write(directory.path().join("mm2.properties"), file).expect("file");
    let args: Vec<&str> = ["check", "mm2.properties"].iter().chain(extra).copied().collect();
    kmirror(directory.path(), &args)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_good_file_shows_what_holds_and_where_it_comes_from() {
    let output = check(GOOD, &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(text.contains("\n[A->B]\n"), "{text}");
    assert!(text.contains("\ntopics = orders  (line 5: A->B.topics)\n"), "{text}");
    assert!(text.contains("\nreplication.factor = 2  (default)\n"), "{text}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_misspelt_log_level_is_refused() {
    let directory = TempDir::new().expect("directory");
    fs::write(directory.path().join("mm2.properties"), GOOD).expect("file");
    for (level, code) in [
        ("inof", 2),
        ("debug,engnie", 2),
        ("engine=debug", 0),
        ("warn,engine=trace", 0),
        ("off", 0),
    ] {
        let output = kmirror(directory.path(), &["check", "mm2.properties", "--log-level", level]);
        assert_eq!(output.status.code(), Some(code), "{level}: {}", stderr(&output));
    }
}

#[test]
fn warnings_do_not_fail() {
    let output = check(&format!("{GOOD}tasks.max = 10\n"), &[]);
    assert_eq!(output.status.code(), Some(0));
    let first = stdout(&output).lines().next().unwrap_or_default().to_owned();
    assert!(first.starts_with("mm2.properties:6: warning: tasks.max: "), "{first}");
}

#[test]
fn errors_come_all_at_once_in_the_order_of_the_file() {
    let output = check(&format!("{GOOD}A->B.topics = (\nreplication.factor = x\n"), &[]);
    assert_eq!(output.status.code(), Some(3));
    let text = stdout(&output);
    let starts: Vec<_> = text.lines().filter_map(|line| line.get(..26)).collect();
    assert_eq!(
        starts,
        ["mm2.properties:5: warning:", "mm2.properties:6: error: A", "mm2.properties:7: error: r"],
        "{text}"
    );
}

#[test]
fn json_says_the_same() {
    let output = check(&format!("{GOOD}tasks.max = 10\n"), &["--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["runs"], true);
    assert_eq!(json["findings"][0]["line"], 6);
    assert_eq!(json["findings"][0]["severity"], "warning");
    let settings = json["settings"]["A->B"].as_array().expect("settings");
    let topics = settings.iter().find(|setting| setting["key"] == "topics").expect("topics");
    assert_eq!((&topics["value"], &topics["line"]), (&"orders".into(), &5.into()));

    let failed: Value =
        serde_json::from_slice(&check("clusters = A\n", &["--json"]).stdout).expect("JSON");
    assert_eq!(failed["runs"], false);
    assert_eq!(failed["settings"], serde_json::json!({}));
}

#[test]
fn only_flows_into_the_named_clusters() {
    let both = format!("{GOOD}B->A.enabled = true\n");
    let text = stdout(&check(&both, &["--clusters", "A"]));
    assert!(text.contains("[B->A]") && !text.contains("[A->B]"), "{text}");
    assert_eq!(check(&both, &["--clusters", "C"]).status.code(), Some(3));
}

#[test]
fn a_file_that_cannot_be_read_is_one_line() {
    let directory = TempDir::new().expect("directory");
    fs::write(directory.path().join("large"), vec![b'#'; 2 << 20]).expect("file");
    for name in ["missing.properties", ".", "large"] {
        let output = kmirror(directory.path(), &["check", name]);
        assert_eq!(output.status.code(), Some(3), "{name}");
        let text = stderr(&output);
        assert!(text.starts_with(&format!("kmirror: {name} cannot be read: ")), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn usage_errors_end_with_2() {
    let directory = TempDir::new().expect("directory");
    let here = directory.path();
    for args in [&["--nonsense"][..], &["check"], &["nonsense"], &[]] {
        assert_eq!(kmirror(here, args).status.code(), Some(2), "{args:?}");
    }
    let output = kmirror(here, &["--log-level", "engine=loud", "check", "x"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("kmirror: --log-level: `engine=loud`"), "{output:?}");
}

#[test]
fn help_and_version() {
    let here = Path::new(".");
    assert_eq!(stdout(&kmirror(here, &["--version"])), "kmirror 0.1.0\n");
    for args in [&["--help"][..], &["check", "--help"], &["run", "--help"]] {
        let output = kmirror(here, args);
        assert_eq!(output.status.code(), Some(0));
        let text = stdout(&output);
        assert!(text.contains("Examples:\n  kmirror "), "{text}");
        assert!(text.contains("Exit codes: 0 "), "{text}");
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let directory = TempDir::new().expect("directory");
    let mut file = GOOD.to_owned();
    for i in 0..3000 {
        file += &format!("unknown.key.number.{i} = 1\n");
    }
    fs::write(directory.path().join("mm2.properties"), file).expect("file");
    let mut child = Command::new(env!("CARGO_BIN_EXE_kmirror"))
        .args(["check", "mm2.properties"])
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kmirror starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("kmirror ends");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}
