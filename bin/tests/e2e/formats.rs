//! Every kind of batch that producers and brokers leave behind: codecs of the Java client and of librdkafka,
//! transactions, compaction, append times, batches of one record and batches of nearly a megabyte.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use kafka_lab::{KafkaCluster, Load, Shape, available, available_with};

use crate::support::{Clusters, Mirror};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[test]
fn every_codec_of_java_and_librdkafka() -> Result<()> {
    if !available_with(&["kcat"]) {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let source = clusters.source.bootstrap();
    for codec in CODECS {
        let (java, c) = (format!("codec-java-{codec}"), format!("codec-kcat-{codec}"));
        clusters.create(&java, 2, &[])?;
        clusters.create(&c, 2, &[])?;
        let load = Load { shape: Shape::Mixed, codec, value_bytes: 300, ..Load::of(&java) };
        clusters.peer.produce(&source, &load)?.assert_complete();
        kcat(&source, &c, codec)?;
    }
    let mut mirror = Mirror::start(&clusters.flow("codecs", "codecs-target", "codec-.*"))?;
    for codec in CODECS {
        for (topic, records) in [("java", 1000), ("kcat", 400)] {
            let topic = format!("codec-{topic}-{codec}");
            clusters.compare(&topic, &format!("codecs.{topic}"))?.assert_equal(records);
        }
    }
    logs_are_sound(&clusters.target, "codecs.", 7000)?;
    mirror.verify()?;
    mirror.terminate()
}

#[test]
fn transactions_and_append_times_and_sizes() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let source = clusters.source.bootstrap();
    let timestamp = [("message.timestamp.type", "LogAppendTime")];
    let tiny = Load { records: 3000, linger_ms: 0, batch_bytes: 1, ..Load::of("kind-tiny") };
    let large = Load { records: 20, value_bytes: 700_000, ..Load::of("kind-large") };
    let loads = [
        (Load { transaction_records: 50, codec: "lz4", ..Load::of("kind-transactions") }, 650),
        (Load { codec: "zstd", ..Load::of("kind-append-time") }, 1000),
        (Load { codec: "gzip", ..tiny.clone() }, 3000),
        (Load { batch_bytes: 1_000_000, ..large.clone() }, 20),
    ];
    for (load, _) in &loads {
        let configs = if load.topic == "kind-append-time" { &timestamp[..] } else { &[] };
        clusters.create(&load.topic, 2, configs)?;
        clusters.peer.produce(&source, load)?.assert_complete();
    }
    // A consumer of aborted records reads them too unless told otherwise, and so does MirrorMaker 2.
    let flow = clusters.flow("kinds", "kinds-target", "kind-.*");
    let flow = format!("{flow}kinds.consumer.isolation.level = read_committed\n");
    let mut mirror = Mirror::start(&flow)?;
    for (load, records) in &loads {
        clusters.compare(&load.topic, &format!("kinds.{}", load.topic))?.assert_equal(*records);
    }
    logs_are_sound(&clusters.target, "kinds.", loads.iter().map(|(_, records)| records).sum())?;
    mirror.verify()?;
    mirror.terminate()
}

#[test]
fn compacted_topics_keep_their_holes_to_themselves() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    let load = Load { records: 2000, keys: 700, codec: "lz4", ..Load::of("sparse") };
    clusters.create_with_holes(&load, 1, 1000)?;
    let flow = clusters.flow("holes", "holes-target", "sparse");
    let flow = format!("{flow}config.properties.exclude = cleanup\\\\.policy, segment\\\\.ms\n");
    let mut mirror = Mirror::start(&flow)?;
    let seen = clusters.compare("sparse", "holes.sparse")?;
    seen.assert_equal(seen.source_records);
    logs_are_sound(&clusters.target, "holes.", seen.source_records)?;
    mirror.verify()?;
    mirror.terminate()
}

/// Kafka's own reader finds the segments of all topics with this prefix without fault, and `records` in them.
pub(crate) fn logs_are_sound(cluster: &KafkaCluster, prefix: &str, records: u64) -> Result<()> {
    let mut segments = Vec::new();
    for partition in fs::read_dir(cluster.data_dir(1))? {
        let partition = partition?;
        let name = partition.file_name().to_string_lossy().into_owned();
        let copied = name.strip_prefix(prefix);
        // What mirrors write of themselves goes on growing.
        let own = ["heartbeats-", "checkpoints.internal-"];
        if copied.is_none_or(|topic| own.iter().any(|own| topic.starts_with(own))) {
            continue;
        }
        for file in fs::read_dir(partition.path())? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "log") {
                segments.push(file.display().to_string());
            }
        }
    }
    ensure!(!segments.is_empty(), "no topic {prefix}* has segments");
    let args = ["--deep-iteration", "--files", &segments.join(",")];
    let dump = cluster.tool("org.apache.kafka.tools.DumpLogSegments", &args)?;
    let faulty = |line: &&str| line.contains("isvalid: false") || line.contains("Mismatches");
    if let Some(line) = dump.lines().find(faulty) {
        bail!("{prefix}*: {line}");
    }
    let found = dump.lines().filter(|line| line.trim_start().starts_with("| offset:")).count();
    ensure!(found as u64 == records, "{prefix}*: {found} records in the logs, expected {records}");
    Ok(())
}

/// 400 records by librdkafka's producer, with keys and headers.
fn kcat(bootstrap: &str, topic: &str, codec: &str) -> Result<()> {
    let mut child = Command::new("kcat")
        .args(["-P", "-q", "-b", bootstrap, "-t", topic, "-z", codec, "-K", ":"])
        .args(["-H", "one=1", "-H", "one=2", "-X", "linger.ms=20"])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run kcat")?;
    let mut input = child.stdin.take().context("the input is a pipe")?;
    for i in 0..400 {
        writeln!(input, "key-{i}:a value that compresses well, well, well: {codec} {i}")?;
    }
    drop(input);
    let status = child.wait()?;
    ensure!(status.success(), "kcat ended with {status}");
    Ok(())
}
