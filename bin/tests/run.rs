//! `kmirror run` as an operator meets it, on embedded clusters: what it says, when, how often, and how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use embedded_broker::{
    ApiKey, Cluster, ClusterOptions, EndlessTopic, Fault, FaultAction, KafkaError, TopicSpec,
};
use protocol_client::batch::BatchBuilder;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// The program with its log.
struct Running {
    child: Child,
    lines: Receiver<String>,
    /// What was read so far.
    log: Vec<String>,
    directory: TempDir,
}

impl Running {
    fn start(source: &str, target: &str, args: &[&str]) -> Self {
        let directory = TempDir::new().expect("directory");
        let file = directory.path().join("mm2.properties");
        let text = format!(
            "clusters = A, B\nA.bootstrap.servers = {source}\nB.bootstrap.servers = {target}\nA->B.enabled = true\n\
             replication.factor = 1\nheartbeats.topic.replication.factor = 1\n\
             checkpoints.topic.replication.factor = 1\noffset-syncs.topic.replication.factor = 1\n\
             B.offset.storage.replication.factor = 1\nrefresh.topics.interval.seconds = 1\n"
        );
        std::fs::write(&file, text).expect("file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_kmirror"))
            .arg("run")
            .arg(&file)
            .args(args)
            .env_remove("KMIRROR_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .expect("kmirror starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // Whoever does not listen any more has seen enough.
                let _ = sender.send(line);
            }
        });
        Self { child, lines, log: Vec::new(), directory }
    }

    /// Waits until a line has been logged that has all of `parts`.
    #[track_caller]
    fn wait_for(&mut self, parts: &[&str]) {
        while self.count(parts) == 0 {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.log.push(line),
                Err(_) => panic!("no line with {parts:?} in {:#?}", self.log),
            }
        }
    }

    /// How many lines that were read have all of `parts`.
    fn count(&mut self, parts: &[&str]) -> usize {
        self.log.extend(self.lines.try_iter());
        self.log.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// Memory by its name in proc(5), `status`, in MiB.
    fn memory_mib(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells");
        let kib = line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
        kib.expect("a number") / 1024
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
    }

    fn stop(mut self) -> (ExitStatus, Vec<String>) {
        self.signal("TERM");
        let status = self.child.wait().expect("it ends");
        self.log.extend(self.lines.iter());
        (status, std::mem::take(&mut self.log))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn append(cluster: &Cluster) {
    let mut batch = BatchBuilder::new();
    batch.push(None, Some(b"value"), &[], 1_700_000_000_000);
    let batch = batch.build().expect("one record");
    cluster.append("orders", 0, &batch.bytes, false).expect("the partition is there");
}

async fn cluster() -> Cluster {
    Cluster::start(ClusterOptions::nodes(1)).await.expect("ports are free")
}

#[test]
fn both_clusters_that_are_away_are_named_at_once_and_once() {
    let mut kmirror = Running::start("127.0.0.1:1", "no.such.host.invalid:9092", &[]);
    kmirror.wait_for(&["cluster A: ", "127.0.0.1:1", "refused"]);
    kmirror.wait_for(&["cluster B: ", "no.such.host.invalid", "resolve"]);
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(kmirror.count(&["cluster A: "]), 1);
    assert_eq!(kmirror.count(&["cluster B: "]), 1);
    let (status, log) = kmirror.stop();
    assert_eq!(status.code(), Some(0), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_is_not_needed_any_more_goes_back_to_the_system() {
    let (source, target) = (cluster().await, cluster().await);
    let mut orders = EndlessTopic::new("orders", 10);
    orders.end_offset = 20_000;
    source.with(|broker, _| broker.create_endless(&orders)).expect("a new topic");
    target.create_topic(TopicSpec::new("A.orders", 10)).expect("a new topic");
    target.make_null("A.orders", None);
    // Behind a slow target all that may be held is held.
    let slow = FaultAction::Delay { ms: 1000 };
    target.fault(Fault::new(ApiKey::Produce, slow).topic("A.orders").times(20));
    let kmirror = Running::start(&source.bootstrap(), &target.bootstrap(), &[]);
    let left = || {
        let ends = (0..10).filter_map(|index| target.end_offset("A.orders", index));
        200_000 - ends.sum::<i64>()
    };
    let memory_mib = || (kmirror.memory_mib("VmHWM:"), kmirror.memory_mib("VmRSS:"));
    for _ in 0..400 {
        let (peak, now) = memory_mib();
        if left() == 0 && peak >= 48 && now * 2 < peak {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("{} records are left; peak and now {:?} MiB", left(), memory_mib());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_is_named_once_and_so_is_its_return() {
    let (source, target) = (cluster().await, cluster().await);
    source.create_topic(TopicSpec::new("orders", 8)).expect("a new topic");
    let mut kmirror = Running::start(&source.bootstrap(), &target.bootstrap(), &[]);
    kmirror.wait_for(&["8 more partitions"]);
    for (side, cluster) in [("source", &source), ("target", &target)] {
        cluster.kill_node(0);
        if side == "target" {
            // A lane that nothing is written to does not know.
            append(&source);
        }
        let away = [&format!("side={side}"), "broker=0", "cannot be reached"];
        let back = [&format!("side={side}"), "broker=0", "reached again"];
        kmirror.wait_for(&away);
        thread::sleep(Duration::from_millis(1000));
        assert_eq!(kmirror.count(&away), 1);
        cluster.restart_node(0, false);
        kmirror.wait_for(&back);
        assert_eq!(kmirror.count(&back), 1);
    }
    let (status, log) = kmirror.stop();
    assert_eq!(status.code(), Some(0), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_of_a_broken_file_is_logged_and_changes_nothing() {
    let (source, target) = (cluster().await, cluster().await);
    let mut kmirror =
        Running::start(&source.bootstrap(), &target.bootstrap(), &["--log-format", "json"]);
    kmirror.wait_for(&["both clusters are reached"]);
    let file = kmirror.directory.path().join("mm2.properties");
    std::fs::write(file, "clusters = A\n").expect("file");
    kmirror.signal("HUP");
    kmirror.wait_for(&["\"ERROR\"", "mm2.properties:1: error: clusters: "]);
    kmirror.wait_for(&["\"ERROR\"", "what runs goes on as it was"]);
    source.create_topic(TopicSpec::new("orders", 1)).expect("a new topic");
    kmirror.wait_for(&["A.orders", "created on the target"]);
    let (status, log) = kmirror.stop();
    assert_eq!(status.code(), Some(0), "{log:#?}");
    let broken = log.iter().find(|line| serde_json::from_str::<serde_json::Value>(line).is_err());
    assert_eq!(broken, None, "every line is JSON");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_start_beside_mirror_maker() {
    let (source, target) = (cluster().await, cluster().await);
    source.create_topic(TopicSpec::new("orders", 1)).expect("a new topic");
    append(&source);
    target.populate_group("A-mm2", "connect", 2);
    let mut kmirror = Running::start(&source.bootstrap(), &target.bootstrap(), &[]);
    let status = kmirror.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(3), "{:#?}", kmirror.log);
    kmirror.wait_for(&["cluster B: ", "group A-mm2 has 2 members", "stop it", "--force"]);
    assert_eq!(target.end_offset("A.orders", 0), None, "nothing was replicated");

    let mut kmirror = Running::start(&source.bootstrap(), &target.bootstrap(), &["--force"]);
    kmirror.wait_for(&["WARN", "group A-mm2 has 2 members", "--force"]);
    kmirror.wait_for(&["A.orders", "created on the target"]);
    let (status, log) = kmirror.stop();
    assert_eq!(status.code(), Some(0), "{log:#?}");

    target.populate_group("A-mm2", "connect", 0);
    let mut kmirror = Running::start(&source.bootstrap(), &target.bootstrap(), &[]);
    kmirror.wait_for(&["1 more partitions"]);
    let (_, log) = kmirror.stop();
    assert!(log.iter().all(|line| !line.contains("A-mm2")), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acl_that_is_missing_is_named_and_foreign_records_are_counted() {
    let (source, target) = (cluster().await, cluster().await);
    let refused = FaultAction::Error(KafkaError::TopicAuthorizationFailed);
    target.fault(Fault::new(ApiKey::Produce, refused).topic("heartbeats"));
    target.create_topic(TopicSpec::new("A.checkpoints.internal", 1)).expect("a new topic");
    let mut batch = BatchBuilder::new();
    batch.push(Some(b"no checkpoint"), Some(b"at all"), &[], 1_700_000_000_000);
    batch.push(None, None, &[], 1_700_000_000_000);
    let batch = batch.build().expect("two records");
    target.append("A.checkpoints.internal", 0, &batch.bytes, false).expect("it is there");
    let mut kmirror = Running::start(&source.bootstrap(), &target.bootstrap(), &[]);
    kmirror.wait_for(&["cluster B: no heartbeats", "WRITE on topic heartbeats of cluster B"]);
    kmirror.wait_for(&["heartbeats are written again"]);
    kmirror.wait_for(&["2 records are no checkpoints", "offset 0 of A.checkpoints.internal-0"]);
    let (status, log) = kmirror.stop();
    assert_eq!(status.code(), Some(0), "{log:#?}");
}

/// Records arrive all the same; what is missing is named, with the ACL that allows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_on_the_offset_syncs_topic_is_named() {
    const SYNCS: &str = "mm2-offset-syncs.B.internal";
    let refused = || FaultAction::Error(KafkaError::TopicAuthorizationFailed);
    for (api, operation) in [(ApiKey::Fetch, "READ"), (ApiKey::Produce, "WRITE")] {
        let (source, target) = (cluster().await, cluster().await);
        source.create_topic(TopicSpec::new("orders", 1)).expect("a new topic");
        source.create_topic(TopicSpec::new(SYNCS, 1)).expect("a new topic");
        append(&source);
        let mut foreign = BatchBuilder::new();
        foreign.push(Some(b"nonsense"), None, &[], 0);
        let foreign = foreign.build().expect("one record");
        source.append(SYNCS, 0, &foreign.bytes, false).expect("the partition is there");
        source.fault(Fault::new(api, refused()).topic(SYNCS).times(u32::MAX));
        let mut kmirror = Running::start(&source.bootstrap(), &target.bootstrap(), &[]);
        let acl = format!("the ACL to add for kmirror's user: {operation} on topic {SYNCS}");
        kmirror.wait_for(&["cluster A: ", &acl]);
        let copied = || target.end_offset("A.orders", 0) == Some(1);
        for _ in 0..200 {
            if !copied() {
                thread::sleep(Duration::from_millis(50));
            }
        }
        assert!(copied(), "the flow goes on");
        if operation == "WRITE" {
            let skipped = ["1 records are no offset syncs", SYNCS, "partition=0", "offset=0"];
            assert_eq!(kmirror.count(&skipped), 1);
        }
        let (status, log) = kmirror.stop();
        assert_eq!(status.code(), Some(0), "{log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_instance_ends_the_first() {
    let (source, target) = (cluster().await, cluster().await);
    source.create_topic(TopicSpec::new("orders", 1)).expect("a new topic");
    append(&source);
    let mut first = Running::start(&source.bootstrap(), &target.bootstrap(), &[]);
    first.wait_for(&["more partitions"]);
    let mut second = Running::start(&source.bootstrap(), &target.bootstrap(), &[]);
    second.wait_for(&["more partitions"]);
    let status = loop {
        append(&source);
        match first.child.try_wait().expect("it can be asked") {
            Some(status) => break status,
            None => thread::sleep(Duration::from_millis(100)),
        }
    };
    assert_eq!(status.code(), Some(4), "{:#?}", first.log);
    first.wait_for(&["flow A->B: another instance has taken over"]);
    let (status, log) = second.stop();
    assert_eq!(status.code(), Some(0), "{log:#?}");
}
