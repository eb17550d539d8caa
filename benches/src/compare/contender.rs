//! Who is compared: kmirror as it comes, MirrorMaker 2 as it comes, and MirrorMaker 2 tuned for throughput.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use kafka_lab::{Distribution, JavaProcess, Jvm, start_mirror_maker};

use crate::mirror::Mirror;

/// `-Xmx` of MirrorMaker 2.
pub(crate) const MIRROR_MAKER_HEAP_MIB: u32 = 1024;

/// How much of what MirrorMaker 2 has said is repeated if it ends.
const LAST_LINES: usize = 20;

/// A program with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    Kmirror,
    MirrorMaker,
    Tuned,
}

pub(crate) const ALL: [Contender; 3] =
    [Contender::Kmirror, Contender::MirrorMaker, Contender::Tuned];

/// What is to be copied from where to where. Aliases name the topics that a run leaves behind, so each run has its own.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) run: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) codec: &'a str,
    pub(crate) source: &'a str,
    pub(crate) target: &'a str,
}

impl Job<'_> {
    /// What the copy is called.
    pub(crate) fn copy(&self) -> String {
        format!("from-{}.{}", self.run, self.topic)
    }
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kmirror => "kmirror",
            Self::MirrorMaker => "MirrorMaker 2, default",
            Self::Tuned => "MirrorMaker 2, tuned",
        }
    }

    /// A short word for names of topics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Kmirror => "kmirror",
            Self::MirrorMaker => "default",
            Self::Tuned => "tuned",
        }
    }

    /// What its file says besides the clusters, the topic and replication factors of 1.
    pub(crate) fn settings(self, codec: &str) -> String {
        match self {
            // No metrics port: it might be taken.
            Self::Kmirror => "listeners =\n".to_owned(),
            Self::MirrorMaker => "tasks.max = 2\n".to_owned(),
            Self::Tuned => format!(
                "tasks.max = 2\n\
                 B.producer.batch.size = 1000000\n\
                 B.producer.linger.ms = 50\n\
                 B.producer.max.in.flight.requests.per.connection = 5\n\
                 B.producer.compression.type = {codec}\n\
                 A.consumer.max.poll.records = 10000\n\
                 A.consumer.fetch.max.bytes = 52428800\n\
                 A.consumer.max.partition.fetch.bytes = 4194304\n"
            ),
        }
    }

    pub(crate) fn properties(self, job: &Job<'_>) -> String {
        let Job { run, topic, codec, source, target } = job;
        let (a, b) = (format!("from-{run}"), format!("to-{run}"));
        let replication = ["", "checkpoints.topic.", "heartbeats.topic.", "offset-syncs.topic."];
        let storage = ["offset.storage.", "status.storage.", "config.storage."];
        let factors = replication.iter().chain(&storage);
        let factors: String =
            factors.map(|kind| format!("{kind}replication.factor = 1\n")).collect();
        let settings = self.settings(codec).replace("A.", &format!("{a}."));
        let settings = settings.replace("B.", &format!("{b}."));
        format!(
            "clusters = {a}, {b}\n\
             {a}.bootstrap.servers = {source}\n\
             {b}.bootstrap.servers = {target}\n\
             {a}->{b}.enabled = true\n\
             {a}->{b}.topics = {topic}\n\
             {factors}{settings}"
        )
    }

    /// Starts it in a directory of its own.
    pub(crate) fn start(
        self,
        program: &Path,
        distribution: &Distribution,
        dir: &Path,
        job: &Job<'_>,
    ) -> Result<Running> {
        let dir = dir.join(job.run);
        fs::create_dir_all(&dir)?;
        let properties = self.properties(job);
        if self != Self::Kmirror {
            let jvm = Jvm::server(MIRROR_MAKER_HEAP_MIB);
            return Ok(Running::Java(start_mirror_maker(distribution, &dir, &properties, jvm)?));
        }
        let file = dir.join("mm2.properties");
        fs::write(&file, properties)?;
        Ok(Running::Native(Mirror::start(program, &file)?))
    }
}

/// A contender at work. It is killed when this is dropped: how it stops is not measured here.
#[derive(Debug)]
pub(crate) enum Running {
    Native(Mirror),
    Java(JavaProcess),
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        match self {
            Self::Native(mirror) => mirror.id(),
            Self::Java(process) => process.id(),
        }
    }

    /// Fails with what it has said if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self {
            Self::Native(mirror) => mirror.check()?,
            Self::Java(process) => {
                if !process.is_running() {
                    let output = process.output();
                    let lines: Vec<&str> = output.lines().collect();
                    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
                    bail!("MirrorMaker 2 ended:\n{}", last.join("\n"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::config::{Input, NoSurroundings, resolve};

    #[test]
    fn kmirror_takes_the_files_of_all_three() {
        for contender in ALL {
            let addresses = ("127.0.0.1:1", "127.0.0.1:2");
            let (source, target) = addresses;
            let job = Job { run: "tuned-lz4", topic: "lz4", codec: "lz4", source, target };
            let text = contender.properties(&job);
            assert!(!text.contains("\nA.") && !text.contains("\nB."), "{text}");
            let input = Input { file: "mm2.properties", bytes: text.as_bytes(), clusters: None };
            let resolution = resolve(input, &NoSurroundings);
            assert!(resolution.replication.is_some(), "{:?}", resolution.findings);
            assert_eq!(job.copy(), "from-tuned-lz4.lz4");
        }
    }
}
