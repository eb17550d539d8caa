//! The jars of a Kafka version: fetched with Maven once, then kept in a cache beside the workspace.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::jvm::Jvm;

/// Where the cache is, unless it is the directory `.lab` of the workspace.
const CACHE_ENV: &str = "KMIRROR_LAB_DIR";

/// When set, logs and data stay behind in the directory for temporary files.
const KEEP_ENV: &str = "KMIRROR_LAB_KEEP";

const HELPERS: &[(&str, &str)] = &[
    ("Command.java", include_str!("../java/lab/Command.java")),
    ("Compare.java", include_str!("../java/lab/Compare.java")),
    ("Groups.java", include_str!("../java/lab/Groups.java")),
    ("Leash.java", include_str!("../java/lab/Leash.java")),
    ("Peer.java", include_str!("../java/lab/Peer.java")),
    ("Produce.java", include_str!("../java/lab/Produce.java")),
    ("Side.java", include_str!("../java/lab/Side.java")),
    ("Syncs.java", include_str!("../java/lab/Syncs.java")),
    ("Topics.java", include_str!("../java/lab/Topics.java")),
];

/// A released version of Apache Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// 4.3.1, KRaft; with the tools, Connect and MirrorMaker 2.
    V4_3_1,
    /// 3.9.2, KRaft; with the tools, Connect and MirrorMaker 2.
    V3_9_2,
    /// 2.8.2 with ZooKeeper.
    V2_8_2,
}

impl Version {
    /// Every version that the lab knows, newest first.
    pub const ALL: [Self; 3] = [Self::V4_3_1, Self::V3_9_2, Self::V2_8_2];

    /// The version as Maven Central spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4_3_1 => "4.3.1",
            Self::V3_9_2 => "3.9.2",
            Self::V2_8_2 => "2.8.2",
        }
    }

    fn pom(self) -> &'static str {
        match self {
            Self::V4_3_1 => include_str!("../poms/kafka-4.3.1.xml"),
            Self::V3_9_2 => include_str!("../poms/kafka-3.9.2.xml"),
            Self::V2_8_2 => include_str!("../poms/kafka-2.8.2.xml"),
        }
    }

    /// Whether brokers keep their metadata in ZooKeeper.
    pub(crate) fn needs_zookeeper(self) -> bool {
        self == Self::V2_8_2
    }
}

/// The jars of one Kafka version on this machine, and the lab's own Java classes.
#[derive(Debug, Clone)]
pub struct Distribution {
    version: Version,
    class_path: String,
}

impl Distribution {
    /// The jars of `version`, fetched with Maven if they are not in the cache yet.
    ///
    /// # Errors
    /// Maven, `javac` or `jar` is missing or fails; the cache cannot be written.
    pub fn prepare(version: Version) -> Result<Self> {
        let cache = cache_dir();
        fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
        let lock = File::create(cache.join("lock"))?;
        lock.lock().context("cannot lock the cache")?;

        let libs = cache.join(version.name());
        if !libs.is_dir() {
            into_place(&libs, |libs| fetch(version, libs))?;
        }
        let mut jars = jars_in(&libs)?;
        jars.push(helper_jar(&cache)?);
        let class_path = jars.iter().map(|jar| jar.display().to_string()).collect::<Vec<_>>();
        Ok(Self { version, class_path: class_path.join(":") })
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The class path with every jar: Kafka's and the lab's.
    pub fn class_path(&self) -> &str {
        &self.class_path
    }

    /// Runs one of Kafka's command line classes to its end and returns what it printed.
    ///
    /// # Errors
    /// It ends with another code than 0; the message holds its output.
    pub fn tool(&self, class: &str, args: &[&str]) -> Result<String> {
        let mut command = self.java(&64.into());
        let output = command.arg(class).args(args).output().context("cannot run java")?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("{class} ended with {}: {stdout}{stderr}", output.status);
        }
        Ok(stdout)
    }

    /// `java` with its options and the class path; the main class is still to add.
    pub(crate) fn java(&self, jvm: &Jvm) -> Command {
        jvm.command(&self.class_path)
    }
}

/// Whether the lab can work here. Says `SKIPPED` and why when it cannot; in CI that is a failure.
///
/// # Panics
/// With `CI=true` in the environment, when Java or Maven is missing: CI never skips.
pub fn available() -> bool {
    available_with(&[])
}

/// As [`available`], for a test that needs other programs besides.
///
/// # Panics
/// As [`available`].
pub fn available_with(programs: &[&str]) -> bool {
    let missing: Vec<_> = ["java", "javac", "jar", "mvn"]
        .iter()
        .chain(programs)
        .copied()
        .filter(|program| Command::new(program).arg("--version").output().is_err())
        .collect();
    if missing.is_empty() {
        return true;
    }
    let why = format!("this test needs {} (see .ci/setup)", missing.join(", "));
    assert!(env("CI").as_deref() != Some("true"), "{why}");
    println!("SKIPPED: {why}");
    false
}

#[expect(clippy::disallowed_methods, reason = "test support has no program to read it for it")]
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn cache_dir() -> PathBuf {
    let beside_workspace = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.lab");
    let dir = env(CACHE_ENV).map_or_else(beside_workspace, PathBuf::from);
    std::path::absolute(&dir).unwrap_or(dir)
}

/// A directory for the files of something that runs; it goes with its owner unless they are to be kept.
pub(crate) fn lab_dir(what: &str) -> Result<TempDir> {
    let mut dir = tempfile::Builder::new().prefix(&format!("kafka-lab-{what}-")).tempdir()?;
    dir.disable_cleanup(env(KEEP_ENV).is_some());
    Ok(dir)
}

/// Fills a directory beside `place` and renames it, so that `place` is complete or absent.
fn into_place(place: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = place.parent().context("the cache has a parent directory")?;
    let partial = tempfile::Builder::new().prefix("partial-").tempdir_in(parent)?;
    fill(partial.path())?;
    fs::rename(partial.keep(), place).with_context(|| format!("cannot put {}", place.display()))
}

fn fetch(version: Version, libs: &Path) -> Result<()> {
    let pom = libs.with_extension("xml");
    fs::write(&pom, version.pom())?;
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(&pom).arg("dependency:copy-dependencies");
    let fetched = run(maven.arg(format!("-DoutputDirectory={}", libs.display())));
    fs::remove_file(&pom)?;
    fetched.with_context(|| format!("cannot fetch the jars of Kafka {}", version.name()))
}

/// The lab's classes, compiled against the newest clients; the name changes with the sources.
fn helper_jar(cache: &Path) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    HELPERS.hash(&mut hasher);
    let dir = cache.join(format!("helpers-{:016x}", hasher.finish()));
    if !dir.is_dir() {
        let newest = cache.join(Version::V4_3_1.name());
        if !newest.is_dir() {
            into_place(&newest, |libs| fetch(Version::V4_3_1, libs))?;
        }
        into_place(&dir, |dir| compile(&newest, dir))?;
    }
    Ok(dir.join("lab.jar"))
}

fn compile(libs: &Path, dir: &Path) -> Result<()> {
    let classes = dir.join("classes");
    let mut javac = Command::new("javac");
    javac.args(["-Xlint:all", "-Werror", "--release", "17", "-cp"]);
    javac.arg(libs.join("*")).arg("-d").arg(&classes);
    for (name, source) in HELPERS {
        let file = dir.join(name);
        fs::write(&file, source)?;
        javac.arg(file);
    }
    run(&mut javac).context("cannot compile the lab's Java classes")?;
    let mut jar = Command::new("jar");
    jar.arg("cf").arg(dir.join("lab.jar")).arg("-C").arg(&classes).arg(".");
    run(&mut jar)
}

/// Sorted, so that the class path is the same in every run.
fn jars_in(libs: &Path) -> Result<Vec<PathBuf>> {
    let mut jars = fs::read_dir(libs)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    jars.retain(|path| path.extension().is_some_and(|extension| extension == "jar"));
    jars.sort();
    Ok(jars)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {stdout}{stderr}", command.get_program().display());
    }
    Ok(())
}
