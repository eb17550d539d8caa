//! Segments that real brokers of many years wrote, laid into a real broker's data directory: whatever still lies on
//! somebody's disk arrives.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kafka_lab::{Version, available};

use crate::formats::logs_are_sound;
use crate::support::{Clusters, Mirror};

/// Old timestamps must not fall to retention, far ones must not be refused.
const CONFIGS: [(&str, &str); 3] = [
    ("retention.ms", "-1"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
];

#[test]
fn segments_of_every_kind_arrive() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let mut clusters = Clusters::start(Version::V4_3_1, Version::V4_3_1)?;
    let segments = segments()?;
    for (name, _) in &segments {
        clusters.create(name, 1, &CONFIGS)?;
    }
    clusters.source.terminate(1)?;
    let data = clusters.source.data_dir(1);
    for (name, segment) in &segments {
        lay(segment, &data.join(format!("{name}-0")))?;
    }
    // Without this mark the broker reads every segment from its start and builds all indexes anew.
    fs::remove_file(data.join(".kafka_cleanshutdown")).context("a clean shutdown leaves a mark")?;
    clusters.source.restart(1)?;
    let flow = clusters.flow(
        "golden",
        "golden-target",
        "java-.*, rdk-.*, compacted.*, m0-.*, m1-.*, mixed-.*",
    );
    let mut mirror =
        Mirror::start(&format!("{flow}golden.consumer.isolation.level = read_committed\n"))?;
    let mut total = 0;
    for (name, segment) in &segments {
        let seen = clusters.compare(name, &format!("golden.{name}"))?;
        seen.assert_equal(seen.source_records);
        if let Some(records) = records(&segment.with_extension("json"))? {
            ensure!(
                seen.source_records == records,
                "{name}: {} of {records} records are seen",
                seen.source_records
            );
        }
        total += seen.source_records;
    }
    logs_are_sound(&clusters.target, "golden.", total)?;
    mirror.verify()?;
    mirror.terminate()
}

/// Topic names and segment files.
fn segments() -> Result<Vec<(String, PathBuf)>> {
    let golden =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol-client/tests/golden/batches");
    let mut segments = Vec::new();
    for file in fs::read_dir(&golden).with_context(|| golden.display().to_string())? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "bin") {
            let name =
                file.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
            segments.push((name, file));
        }
    }
    segments.sort();
    ensure!(segments.len() == 47, "{} golden segments", segments.len());
    Ok(segments)
}

/// Makes `segment` the log of a partition.
fn lay(segment: &Path, partition: &Path) -> Result<()> {
    for file in fs::read_dir(partition).with_context(|| partition.display().to_string())? {
        let file = file?.path();
        if file.file_name().is_some_and(|name| name != "partition.metadata") {
            fs::remove_file(&file)?;
        }
    }
    fs::copy(segment, partition.join("00000000000000000000.log"))?;
    Ok(())
}

/// How many records a segment has, where no transaction decides which of them count.
fn records(json: &Path) -> Result<Option<u64>> {
    let golden: serde_json::Value = serde_json::from_slice(&fs::read(json)?)?;
    let batches = golden["batches"].as_array().context("a golden file has batches")?;
    if batches.iter().any(|batch| batch["transactional"] == true) {
        return Ok(None);
    }
    Ok(Some(
        batches
            .iter()
            .filter_map(|batch| batch["records"].as_array())
            .map(|all| all.len() as u64)
            .sum(),
    ))
}
