//! Clusters that the tests share, the program as a child process, and how to wait for either.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kafka_lab::{ClusterBuilder, Comparison, Isolation, KafkaCluster, Load, Peer, Version};
use tempfile::TempDir;

/// How long a mirror may take to catch up on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const DRAIN: Duration = Duration::from_secs(30);
/// How long to wait for what is seldom worth it.
const GLANCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(50);

/// A source, a target and Kafka's own clients.
pub(crate) struct Clusters {
    pub(crate) source: KafkaCluster,
    pub(crate) target: KafkaCluster,
    pub(crate) peer: Peer,
}

impl Clusters {
    /// Two clusters of one broker each, started side by side.
    pub(crate) fn start(source: Version, target: Version) -> Result<Self> {
        Self::build(ClusterBuilder::new(source), ClusterBuilder::new(target))
    }

    /// Two clusters, started side by side.
    pub(crate) fn build(source: ClusterBuilder, target: ClusterBuilder) -> Result<Self> {
        let source = thread::spawn(move || source.start());
        let target = target.start()?;
        let source = source.join().expect("starting a cluster does not panic")?;
        Ok(Self { source, target, peer: Peer::start()? })
    }

    /// The two 4.3.1 clusters of all tests that only add topics and flows of their own. They live as long
    /// as one of these tests runs.
    pub(crate) fn shared() -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Clusters>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clusters) = shared.upgrade() {
            return Ok(clusters);
        }
        let clusters = Arc::new(Self::start(Version::V4_3_1, Version::V4_3_1)?);
        *shared = Arc::downgrade(&clusters);
        Ok(clusters)
    }

    /// Creates a topic on the source.
    pub(crate) fn create(
        &self,
        topic: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        self.peer.create_topic(&self.source.bootstrap(), topic, partitions, configs)
    }

    /// Creates a topic on the source for a load with keys, and waits until the cleaner has left fewer than `most_left`
    /// of its records. From then on it leaves the topic alone.
    pub(crate) fn create_with_holes(
        &self,
        load: &Load,
        partitions: u32,
        most_left: u64,
    ) -> Result<()> {
        let (source, topic) = (self.source.bootstrap(), load.topic.as_str());
        let compacted = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "500"),
            ("min.cleanable.dirty.ratio", "0"),
        ];
        self.create(topic, partitions, &compacted)?;
        self.peer.produce(&source, load)?.assert_complete();
        let itself = (source.as_str(), topic);
        let mut seed = load.seed + 1000;
        eventually("the cleaner has left holes", || {
            // A segment is only closed, and so cleaned, when something is appended after its time.
            seed += 1;
            let next = Load { records: 20, seed, ..load.clone() };
            self.peer.produce(&source, &next)?.assert_complete();
            // The topic is read twice, and where the cleaner comes between, the second never catches up.
            let seen = self.peer.compare(itself, itself, Isolation::ReadCommitted, GLANCE)?;
            Ok(seen.target_records < most_left)
        })?;
        let settled = [("segment.ms", "600000"), ("min.cleanable.dirty.ratio", "1")];
        self.peer.configure_topic(&source, topic, &settled)
    }

    /// Compares what a `read_committed` consumer sees of `topic` with its mirror `mirrored`, once that had
    /// time to catch up.
    pub(crate) fn compare(&self, topic: &str, mirrored: &str) -> Result<Comparison> {
        self.peer.compare(
            (&self.source.bootstrap(), topic),
            (&self.target.bootstrap(), mirrored),
            Isolation::ReadCommitted,
            PATIENCE,
        )
    }

    /// Waits until the mirror `topic` has grown by some hundred records, or has all `total` of them.
    pub(crate) fn await_progress(&self, topic: &str, total: u64) -> Result<()> {
        let target = self.target.bootstrap();
        let held = || -> Result<u64> {
            if !self.peer.topics(&target)?.iter().any(|name| name == topic) {
                return Ok(0);
            }
            Ok(self.peer.end_offsets(&target, topic)?.values().sum())
        };
        let before = held()?;
        eventually("records flow", || {
            let now = held()?;
            Ok(now > before + 300 || now == total)
        })
    }

    /// An `mm2.properties` for one flow from `source` to `target`, on these clusters.
    pub(crate) fn flow(&self, source: &str, target: &str, topics: &str) -> String {
        let a = self.source.bootstrap();
        let b = self.target.bootstrap();
        format!(
            "clusters = {source}, {target}\n\
             {source}.bootstrap.servers = {a}\n\
             {target}.bootstrap.servers = {b}\n\
             {source}->{target}.enabled = true\n\
             {source}->{target}.topics = {topics}\n\
             refresh.topics.interval.seconds = 1\n\
             {COMMON}"
        )
    }
}

/// Single brokers, and several mirrors on one machine.
pub(crate) const COMMON: &str = "\
replication.factor = 1
checkpoints.topic.replication.factor = 1
heartbeats.topic.replication.factor = 1
offset-syncs.topic.replication.factor = 1
offset.storage.replication.factor = 1
status.storage.replication.factor = 1
config.storage.replication.factor = 1
listeners =
";

/// `kmirror run` on a file of its own.
pub(crate) struct Mirror {
    dir: TempDir,
    child: Child,
}

impl Mirror {
    /// Starts it with the text of an `mm2.properties`.
    pub(crate) fn start(properties: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("kmirror-e2e-").tempdir()?;
        fs::write(dir.path().join("mm2.properties"), properties)?;
        let child = Self::spawn(&dir)?;
        Ok(Self { dir, child })
    }

    /// Starts it once more, after it has ended.
    pub(crate) fn restart(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_some(), "kmirror still runs");
        self.child = Self::spawn(&self.dir)?;
        Ok(())
    }

    /// Gives it another file for its next start.
    pub(crate) fn reconfigure(&self, properties: &str) -> Result<()> {
        Ok(fs::write(self.dir.path().join("mm2.properties"), properties)?)
    }

    /// Everything that it has logged, over all its starts.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(Self::log_file(&self.dir)).unwrap_or_default()
    }

    /// Waits until it logs something with `part`, for no longer than `limit`.
    pub(crate) fn await_next(&self, part: &str, limit: Duration) -> Result<()> {
        let mut log = File::open(Self::log_file(&self.dir))?;
        log.seek(SeekFrom::End(0))?;
        let mut said = String::new();
        for _ in 0..limit.as_millis() {
            log.read_to_string(&mut said)?;
            if said.contains(part) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits until a line of the log has all of `parts`, in any letter case, and returns the line.
    pub(crate) fn wait_for_line(&mut self, parts: &[&str]) -> Result<String> {
        for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
            let log = self.log();
            let found = log.lines().find(|line| {
                let line = line.to_lowercase();
                parts.iter().all(|part| line.contains(&part.to_lowercase()))
            });
            if let Some(line) = found {
                return Ok(line.to_owned());
            }
            self.ensure_running()?;
            thread::sleep(POLL);
        }
        bail!("no line with {parts:?} in:\n{}", self.log())
    }

    /// It still runs.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("kmirror ended with {status}:\n{}", self.log());
        }
        Ok(())
    }

    /// The most memory that it has held so far, in bytes.
    pub(crate) fn peak_resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.split_whitespace().next());
        Ok(kib.context("the kernel tells the peak")?.parse::<u64>()? * 1024)
    }

    /// `kmirror verify` finds no difference between what its file copies and what it copies from.
    pub(crate) fn verify(&self) -> Result<()> {
        let file = self.dir.path().join("mm2.properties");
        let output =
            Command::new(env!("CARGO_BIN_EXE_kmirror")).arg("verify").arg(file).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let problems = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}{problems}", output.status);
        ensure!(said.contains("records alike"), "{said}");
        Ok(())
    }

    /// Asks it to drain with SIGTERM and waits for a clean end.
    pub(crate) fn terminate(&mut self) -> Result<()> {
        self.ensure_running()?;
        let pid = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", r#"kill -s TERM "$0""#, &pid]).status()?;
        ensure!(sent.success(), "cannot send SIGTERM");
        let status = self.wait(DRAIN)?;
        ensure!(status.code() == Some(0), "kmirror ended with {status}:\n{}", self.log());
        Ok(())
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.ensure_running()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        for _ in 0..limit.as_millis() / POLL.as_millis() {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        bail!("kmirror has not ended after {limit:?}:\n{}", self.log())
    }

    fn spawn(dir: &TempDir) -> Result<Child> {
        let log = File::options().create(true).append(true).open(Self::log_file(dir))?;
        Command::new(env!("CARGO_BIN_EXE_kmirror"))
            .arg("run")
            .arg(dir.path().join("mm2.properties"))
            .args(["--log-level", "info,engine::runtime::transactions=debug"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start kmirror")
    }

    fn log_file(dir: &TempDir) -> PathBuf {
        dir.path().join("kmirror.log")
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("kmirror logged:\n{}", self.log());
        }
    }
}

/// How often a test does something: what the environment variable `name` says, or `otherwise`, which suits CI.
#[expect(clippy::disallowed_methods, reason = "a test has no program to read it for it")]
pub(crate) fn count(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |said| said.parse().expect("a number"))
}

/// Numbers that look random and are the same in every run with the same seed.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The seed is `KMIRROR_SEED`, or `otherwise`; it is printed.
    pub(crate) fn seeded(otherwise: u64) -> Self {
        let seed = count("KMIRROR_SEED", otherwise);
        println!("KMIRROR_SEED={seed}");
        Self(seed)
    }

    /// A number below `limit`, by SplitMix64.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }

    /// Sleeps for less than `limit_ms`.
    pub(crate) fn sleep_below(&mut self, limit_ms: u64) {
        thread::sleep(Duration::from_millis(self.below(limit_ms)));
    }
}

/// Polls `done` until it says yes; a test that waits in vain has failed.
#[track_caller]
pub(crate) fn eventually(what: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
    if within_patience(done)? {
        return Ok(());
    }
    panic!("not within {PATIENCE:?}: {what}")
}

/// Polls `done` until it says yes, and answers whether it did.
#[expect(clippy::disallowed_methods, reason = "what is polled takes a time of its own")]
pub(crate) fn within_patience(mut done: impl FnMut() -> Result<bool>) -> Result<bool> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if done()? {
            return Ok(true);
        }
        thread::sleep(POLL);
    }
    Ok(false)
}
