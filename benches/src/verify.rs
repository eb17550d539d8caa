//! `benches verify`: how fast `kmirror verify` compares two real logs, and whether it finds what is wrong with one.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use kafka_lab::KafkaCluster;
use protocol_client::batch::BatchBuilder;
use serde_json::{Value, json};

use crate::fill::{self, TIMESTAMP_MS, noise};
use crate::place::Place;
use crate::table::{row, table};
use crate::volume;

const PARTITIONS: i32 = 10;
/// Records of a batch at the source, and of one that another mirror has cut anew.
const BATCH: u64 = 72;
const OTHER_BATCH: u64 = 48;
const RECORD_BYTES: usize = 903;

/// What is run, on how much.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The program; without it, the one beside this
    #[arg(long, value_name = "PATH")]
    kmirror: Option<PathBuf>,
    /// Data of each copy
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a copy was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    /// Batch by batch, as they are.
    Sealed,
    /// Record by record, in other batches.
    Rebatched,
    /// Sealed, but in the middle of three partitions one record is missing, comes twice, or has another byte.
    Faulty,
}

impl Copy {
    fn topic(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Rebatched => "rebatched",
            Self::Faulty => "faulty",
        }
    }
}

/// Measures and prints.
pub(crate) fn run(args: &VerifyArgs) -> Result<()> {
    let place = Place::here();
    let program = volume::program(args.kmirror.as_ref())?;
    let (source, target) = volume::clusters()?;
    let dir = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rounds = (args.mib << 20) / (BATCH * (RECORD_BYTES as u64 + 8)) / PARTITIONS as u64;
    let mut outcomes = Vec::new();
    for copy in [Copy::Sealed, Copy::Rebatched, Copy::Faulty] {
        eprintln!("{}: filling both sides", copy.topic());
        runtime.block_on(async {
            let client = fill::client(&source.bootstrap())?;
            let original =
                |partition, round: u32| batch(partition, u64::from(round), rounds, BATCH);
            fill::fill_with(&client, copy.topic(), PARTITIONS, original).await?;
            let client = fill::client(&target.bootstrap())?;
            let topic = format!("source.{}", copy.topic());
            let copied = |partition, round: u32| copied(copy, partition, u64::from(round), rounds);
            fill::fill_with(&client, &topic, PARTITIONS, copied).await
        })?;
        eprintln!("{}: kmirror verifies", copy.topic());
        let properties = dir.path().join("mm2.properties");
        std::fs::write(&properties, properties_of(&source, &target))?;
        let output = Command::new(&program)
            .arg("verify")
            .arg(&properties)
            .args(["--json", "--topic", copy.topic()])
            .output()
            .with_context(|| program.display().to_string())?;
        let said = serde_json::from_slice::<Value>(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        outcomes.push(outcome(copy, output.status.code(), &said)?);
    }
    if args.json {
        println!("{:#}", json!({ "place": place.json(), "copies": outcomes }));
    } else {
        let mut rows = vec![row(["copy", "records alike", "seconds", "GB/s", "differences"])];
        rows.extend(outcomes.iter().map(|one| {
            let text = |key: &str| one[key].to_string().trim_matches('"').to_owned();
            let (seconds, speed) = (text("seconds"), text("gigabytes_per_second"));
            let short = |number: &str| number.chars().take(5).collect::<String>();
            row([
                &text("copy"),
                &text("records_alike"),
                &short(&seconds),
                &short(&speed),
                &text("found"),
            ])
        }));
        println!("{}\n{}", place.text(), table(&rows));
    }
    Ok(())
}

/// What is reported of one comparison, once it is what it must be.
fn outcome(copy: Copy, code: Option<i32>, said: &Value) -> Result<Value> {
    let partitions = said["flows"][0]["partitions"].as_array().context("partitions")?;
    let found: Vec<String> = partitions
        .iter()
        .flat_map(|one| one["differences"].as_array().into_iter().flatten())
        .map(|one| format!("{} {}", one["count"], one["kind"].as_str().unwrap_or_default()))
        .collect();
    let expected: &[&str] = match copy {
        Copy::Faulty => &["1 missing", "1 repeated", "1 changed"],
        _ => &[],
    };
    ensure!(found == expected, "{}: {said:#}", copy.topic());
    ensure!(code == Some(i32::from(copy == Copy::Faulty)), "ended with {code:?}");
    let alike: u64 = partitions.iter().filter_map(|one| one["records_alike"].as_u64()).sum();
    Ok(json!({
        "copy": copy.topic(),
        "records_alike": alike,
        "found": found.join(", "),
        "target_bytes": said["target_bytes"],
        "seconds": said["seconds"],
        "gigabytes_per_second": said["gigabytes_per_second"],
    }))
}

/// Record `number` of a partition.
fn push(batch: &mut BatchBuilder, partition: i32, number: u64, flip: bool) {
    let mut value = noise(number << 8 | u64::from(partition.unsigned_abs()), RECORD_BYTES);
    if flip {
        value[RECORD_BYTES / 2] ^= 1;
    }
    batch.push(None, Some(&value), &[], TIMESTAMP_MS + number as i64);
}

/// The batch of a round, of so many records, until there were `rounds` of [`BATCH`].
fn batch(partition: i32, round: u64, rounds: u64, records: u64) -> Result<Option<Bytes>> {
    let (first, end) = (round * records, rounds * BATCH);
    if first >= end {
        return Ok(None);
    }
    let mut batch = BatchBuilder::new();
    (first..end.min(first + records)).for_each(|number| push(&mut batch, partition, number, false));
    Ok(Some(batch.build()?.bytes))
}

/// The batch of a round at the target.
fn copied(copy: Copy, partition: i32, round: u64, rounds: u64) -> Result<Option<Bytes>> {
    if copy == Copy::Rebatched {
        return batch(partition, round, rounds, OTHER_BATCH);
    }
    if copy != Copy::Faulty || partition > 2 || round != rounds / 2 {
        return batch(partition, round, rounds, BATCH);
    }
    let first = round * BATCH;
    let wrong = first + BATCH / 2;
    let mut batch = BatchBuilder::new();
    for number in first..first + BATCH {
        let times = match (partition, number == wrong) {
            (0, true) => 0,
            (1, true) => 2,
            _ => 1,
        };
        let flip = partition == 2 && number == wrong;
        (0..times).for_each(|_| push(&mut batch, partition, number, flip));
    }
    Ok(Some(batch.build()?.bytes))
}

fn properties_of(source: &KafkaCluster, target: &KafkaCluster) -> String {
    format!(
        "clusters = source, target\n\
         source.bootstrap.servers = {}\n\
         target.bootstrap.servers = {}\n\
         source->target.enabled = true\n",
        source.bootstrap(),
        target.bootstrap()
    )
}
