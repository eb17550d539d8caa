//! `benches syncs`: what the offset syncs of a topic with many transactions take, of kmirror and of MirrorMaker 2.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use engine::index::OffsetIndex;
use engine::syncs::{Named, store};
use kafka_lab::{Jvm, KafkaCluster, start_mirror_maker};
use protocol_client::batch::{BatchBuilder, crc};
use protocol_client::client::{Client, NewTopic, OffsetSpec};
use protocol_client::cluster::TopicPartition;
use protocol_client::wire::fetch::Isolation;
use serde_json::json;

use crate::figure::mib;
use crate::mirror::Mirror;
use crate::place::Place;
use crate::table::{row, table};
use crate::volume::{clusters, program};
use crate::{fill, usage};

const TOPIC: &str = "ledger";
const TRANSACTION_RECORDS: u32 = 10;
const TIMESTAMP_MS: i64 = 1_700_000_000_000;
const PRODUCER_ID: i64 = 4711;
const HEAP_MIB: u32 = 1024;
const LIMIT: Duration = Duration::from_secs(900);
const POLL: Duration = Duration::from_millis(100);

/// What is run, on how much.
#[derive(Debug, Args)]
pub(crate) struct SyncsArgs {
    /// The program; without it, the one beside this
    #[arg(long, value_name = "PATH")]
    kmirror: Option<PathBuf>,
    /// Records of the topic, ten in each transaction
    #[arg(long, default_value_t = 5_000_000)]
    records: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What one replicator came to.
struct Outcome {
    seconds: f64,
    topic_bytes: u64,
}

/// Measures and prints.
pub(crate) fn run(args: &SyncsArgs) -> Result<()> {
    let place = Place::here();
    let program = program(args.kmirror.as_ref())?;
    let (mut source, target) = clusters()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    eprintln!("writing {} records", args.records);
    runtime.block_on(create(&source))?;
    source.terminate(1)?;
    let data = source.data_dir(1);
    lay(&data.join(format!("{TOPIC}-0")), args.records)?;
    // Without this mark the broker reads every segment from its start and builds all indexes anew.
    fs::remove_file(data.join(".kafka_cleanshutdown")).context("a clean shutdown leaves a mark")?;
    source.restart(1)?;
    let bench = Bench { source, target, dir: tempfile::tempdir()?, runtime, records: args.records };
    eprintln!("kmirror runs");
    let ours = bench.kmirror(&program)?;
    let index = bench.stored_index()?;
    eprintln!("MirrorMaker 2 runs");
    let theirs = bench.mirror_maker()?;
    let encoded = index.encode(usize::MAX).len();
    if args.json {
        let side = |one: &Outcome| json!({"seconds": one.seconds, "topic_bytes": one.topic_bytes});
        let told = json!({
            "place": place.json(),
            "records": args.records,
            "kmirror": side(&ours),
            "mirror_maker": side(&theirs),
            "index_memory_bytes": index.memory_bytes(),
            "index_encoded_bytes": encoded,
            "index_breakpoints": index.breakpoints(),
        });
        println!("{told:#}");
        return Ok(());
    }
    let side = |name: &str, one: &Outcome| {
        let (kib, seconds) = (mib(one.topic_bytes) * 1024.0, one.seconds);
        row([name, &format!("{kib:.1}"), &format!("{seconds:.0}")])
    };
    let rows = [
        row(["", "KiB in the offset-syncs topic", "seconds for the copy"]),
        side("kmirror", &ours),
        side("MirrorMaker 2", &theirs),
    ];
    println!(
        "{}\n{} records, a transaction marker after every {TRANSACTION_RECORDS}\n\n{}\n\
         kmirror's index: {} breakpoints, {} bytes of memory, {encoded} bytes stored",
        place.text(),
        args.records,
        table(&rows),
        index.breakpoints(),
        index.memory_bytes(),
    );
    Ok(())
}

async fn create(source: &KafkaCluster) -> Result<()> {
    let client = fill::client(&source.bootstrap())?;
    client.all_topics().await?;
    let topic = NewTopic {
        name: TOPIC.into(),
        partitions: Some(1),
        replication_factor: Some(1),
        configs: [("retention.ms".to_owned(), "-1".to_owned())].into(),
    };
    for created in client.create_topics(&[topic], false).await.into_values() {
        created?;
    }
    Ok(())
}

/// Writes a log of committed transactions in place of the partition's.
fn lay(partition: &Path, records: u32) -> Result<()> {
    for file in fs::read_dir(partition).with_context(|| partition.display().to_string())? {
        let file = file?.path();
        if file.file_name().is_some_and(|name| name != "partition.metadata") {
            fs::remove_file(&file)?;
        }
    }
    let mut data = BatchBuilder::new();
    for number in 0..TRANSACTION_RECORDS {
        data.push(None, Some(&number.to_be_bytes()), &[], TIMESTAMP_MS);
    }
    let mut data = data.build()?.bytes.to_vec();
    // Key: version 0, commit. Value: version 0, epoch 0 of the coordinator (`EndTransactionMarker`).
    let mut marker = BatchBuilder::new();
    marker.push(Some(&[0, 0, 0, 1]), Some(&[0; 6]), &[], TIMESTAMP_MS);
    let mut marker = marker.build()?.bytes.to_vec();
    let mut log = BufWriter::new(File::create(partition.join("00000000000000000000.log"))?);
    let span = i64::from(TRANSACTION_RECORDS) + 1;
    for number in 0..i64::from(records / TRANSACTION_RECORDS) {
        let sequence = i32::try_from(number * i64::from(TRANSACTION_RECORDS))?;
        stamp(&mut data, number * span, 0x10, sequence);
        stamp(&mut marker, (number + 1) * span - 1, 0x30, -1);
        log.write_all(&data)?;
        log.write_all(&marker)?;
    }
    Ok(log.flush()?)
}

/// Makes a batch one of the producer's transactions, at this offset.
fn stamp(batch: &mut [u8], offset: i64, attributes: u8, sequence: i32) {
    batch[..8].copy_from_slice(&offset.to_be_bytes());
    batch[12..16].fill(0);
    batch[22] = attributes;
    batch[43..51].copy_from_slice(&PRODUCER_ID.to_be_bytes());
    batch[51..53].fill(0);
    batch[53..57].copy_from_slice(&sequence.to_be_bytes());
    let checksum = crc::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
}

struct Bench {
    source: KafkaCluster,
    target: KafkaCluster,
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    records: u32,
}

impl Bench {
    fn kmirror(&self, program: &Path) -> Result<Outcome> {
        let file = self.dir.path().join("mm2.properties");
        fs::write(&file, self.properties("ours", "there") + "listeners =\n")?;
        let mirror = Mirror::start(program, &file)?;
        let seconds = self.copied("ours");
        let seconds =
            seconds.with_context(|| mirror.said().unwrap_or_else(|error| error.to_string()))?;
        // What is not written yet is at the end.
        mirror.terminate()?;
        Ok(Outcome { seconds, topic_bytes: self.topic_bytes("there")? })
    }

    fn mirror_maker(&self) -> Result<Outcome> {
        let file = self.properties("theirs", "elsewhere") + "emit.checkpoints.enabled = false\n";
        let distribution = self.target.distribution();
        let mut mm2 =
            start_mirror_maker(distribution, self.dir.path(), &file, Jvm::server(HEAP_MIB))?;
        let seconds = self.copied("theirs")?;
        mm2.terminate(Duration::from_secs(60))?;
        Ok(Outcome { seconds, topic_bytes: self.topic_bytes("elsewhere")? })
    }

    fn properties(&self, source: &str, target: &str) -> String {
        format!(
            "clusters = {source}, {target}\n\
             {source}.bootstrap.servers = {}\n\
             {target}.bootstrap.servers = {}\n\
             {source}->{target}.enabled = true\n\
             {source}->{target}.topics = {TOPIC}\n\
             {source}.consumer.isolation.level = read_committed\n\
             replication.factor = 1\n\
             checkpoints.topic.replication.factor = 1\n\
             offset-syncs.topic.replication.factor = 1\n\
             offset.storage.replication.factor = 1\n\
             status.storage.replication.factor = 1\n\
             config.storage.replication.factor = 1\n\
             emit.heartbeats.enabled = false\n",
            self.source.bootstrap(),
            self.target.bootstrap()
        )
    }

    /// Waits until everything is at the target; answers how long that took from the first record on.
    fn copied(&self, alias: &str) -> Result<f64> {
        let client = self.runtime.block_on(async { fill::client(&self.target.bootstrap()) })?;
        let copy = TopicPartition::new(Arc::<str>::from(format!("{alias}.{TOPIC}")), 0);
        let start = usage::now();
        let mut first = None;
        while start.elapsed() < LIMIT {
            let end = self.runtime.block_on(end(&client, &copy));
            if end > 0 {
                first.get_or_insert_with(usage::now);
            }
            if let Some(first) = first.filter(|_| end >= i64::from(self.records)) {
                return Ok(first.elapsed().as_secs_f64());
            }
            thread::sleep(POLL);
        }
        bail!("{copy} is not complete after {LIMIT:?}")
    }

    /// What the log of the offset-syncs topic holds, cleaned or not.
    fn topic_bytes(&self, target: &str) -> Result<u64> {
        let partition = format!("mm2-offset-syncs.{target}.internal-0");
        let mut bytes = 0;
        for file in fs::read_dir(self.source.data_dir(1).join(partition))? {
            let file = file?;
            if file.path().extension().is_some_and(|extension| extension == "log") {
                bytes += file.metadata()?.len();
            }
        }
        Ok(bytes)
    }

    fn stored_index(&self) -> Result<OffsetIndex> {
        let partition: Named = (TOPIC.into(), 0);
        self.runtime.block_on(async {
            let client = fill::client(&self.source.bootstrap())?;
            client.all_topics().await?;
            let ledger = store::read(&client, "mm2-offset-syncs.there.internal").await?;
            let row = ledger.rows().get(&partition).context("the partition is stored")?;
            Ok(row.index.clone())
        })
    }
}

async fn end(client: &Client, at: &TopicPartition) -> i64 {
    if client.try_all_topics().await.is_err() {
        return 0;
    }
    let isolation = Isolation::ReadUncommitted;
    let mut ends = client.list_offsets_of([at.clone()], OffsetSpec::Latest, isolation).await;
    ends.remove(at).and_then(Result::ok).map_or(0, |end| end.offset)
}
