//! How much later a record can be read at the target than at the source, while records come at a steady rate.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use protocol_client::batch::BatchBuilder;
use protocol_client::net::{Connection, ConnectionOptions, Pending};
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::produce::{
    Acks, BATCH_HEADER_BYTES, ProducePartition, RawProduce, RawProduceAnswer,
};
use uuid::Uuid;

use super::contender::{Contender, Running};
use super::copy::{Bench, await_records};
use super::data::{PARTITIONS, value};
use super::tail::{Tail, delays_ms};
use crate::figure::Series;
use crate::fill::{self, TIMESTAMP_MS};
use crate::usage;

const IN_FLIGHT: usize = 5;
/// Records of a batch when records are written as fast as the broker takes them.
const FULL_BATCH: u64 = 64;
const WARM_UP: Duration = Duration::from_secs(6);
/// How long records are written as fast as it goes, to see what a contender carries meanwhile.
const FLOOD: Duration = Duration::from_secs(6);
const CATCH_UP: Duration = Duration::from_secs(90);
/// Rates in records per second that are measured before the one that depends on the maximum.
pub(crate) const RATES: [f64; 3] = [20.0, 200.0, 2000.0];
/// The share of the slower one's maximum.
pub(crate) const SHARE: f64 = 0.7;

/// One contender at one rate; times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) contender: Contender,
    pub(crate) rate: f64,
    pub(crate) records: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    pub(crate) keeps_up: bool,
}

/// All of it, and what the rates come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies {
    pub(crate) all: Vec<Latency>,
    /// What each carried while the source was flooded, in records per second.
    pub(crate) maxima: Vec<(Contender, f64)>,
}

impl Latencies {
    /// The highest rate: a share of what the tuned MirrorMaker 2 carries.
    pub(crate) fn top_rate(&self) -> Option<f64> {
        let tuned = self.maxima.iter().find(|(contender, _)| *contender == Contender::Tuned);
        tuned.map(|(_, maximum)| maximum * SHARE)
    }
}

impl Latency {
    /// Of several stretches at one rate the median of each figure.
    fn median(stretches: &[Self]) -> Option<Self> {
        let median =
            |value: fn(&Self) -> f64| Series::from_iter(stretches.iter().map(value)).median();
        Some(Self {
            p50: median(|one| one.p50),
            p99: median(|one| one.p99),
            max: median(|one| one.max),
            keeps_up: stretches.iter().all(|one| one.keeps_up),
            ..*stretches.first()?
        })
    }
}

/// Measures all contenders, each `stretch` long at every rate and `rounds` times at the highest, where a garbage collection or two
/// more of a broker within a stretch make its 99th percentile another one. The tuned one comes first, because it sets that rate.
pub(crate) fn measure(
    bench: &mut Bench<'_>,
    stretch: Duration,
    rounds: usize,
) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    for contender in [Contender::Tuned, Contender::Kmirror, Contender::MirrorMaker] {
        eprintln!("latency: {}", contender.name());
        let mut stand = Stand::start(bench, contender)?;
        let maximum = stand.flood(bench)?;
        latencies.maxima.push((contender, maximum));
        for rate in RATES {
            latencies.all.push(stand.at_rate(bench, rate, stretch)?);
        }
        if let Some(rate) = latencies.top_rate() {
            let stretches = (0..rounds).map(|_| stand.at_rate(bench, rate, stretch));
            let stretches: Vec<Latency> = stretches.collect::<Result<_>>()?;
            latencies.all.extend(Latency::median(&stretches));
        }
        stand.finish()?;
    }
    Ok(latencies)
}

/// A contender between two topics, with a writer at one end and readers at both.
struct Stand {
    contender: Contender,
    running: Running,
    writer: Writer,
    source: Tail,
    target: Tail,
}

impl Stand {
    fn start(bench: &mut Bench<'_>, contender: Contender) -> Result<Self> {
        let topic = format!("latency-{}", contender.word());
        let at_source = bench.source.bootstrap();
        let mut writer = bench.runtime.block_on(Writer::open(&at_source, &topic))?;
        let (mut running, copy) = bench.launch(contender, &topic, &topic, "none")?;
        let at_target = bench.target.bootstrap();
        let copied: Arc<str> = copy.as_str().into();
        bench.runtime.block_on(async {
            writer.send(PARTITIONS.unsigned_abs().into()).await?;
            let client = fill::client(&at_target)?;
            await_records(&client, &copied, writer.written(), &mut running).await
        })?;
        let source = Tail::start(&at_source, &topic);
        let target = Tail::start(&at_target, &copy);
        let mut stand = Self { contender, running, writer, source, target };
        ensure!(stand.target.reaches(&stand.writer.ends, CATCH_UP)?, "no reader at the target");
        bench.runtime.block_on(stand.writer.write(RATES[1], WARM_UP))?;
        Ok(stand)
    }

    /// What arrives at the target each second while the source gets as much as it takes.
    fn flood(&mut self, bench: &Bench<'_>) -> Result<f64> {
        let (before, begin) = (self.target.ends(), usage::now());
        bench.runtime.block_on(self.writer.write(f64::INFINITY, FLOOD))?;
        let (after, took) = (self.target.ends(), begin.elapsed());
        let arrived: i64 = after.iter().zip(&before).map(|(after, before)| after - before).sum();
        ensure!(
            self.target.reaches(&self.writer.ends, CATCH_UP)?,
            "{} does not catch up",
            self.contender.name()
        );
        Ok(arrived as f64 / took.as_secs_f64())
    }

    fn at_rate(&mut self, bench: &Bench<'_>, rate: f64, stretch: Duration) -> Result<Latency> {
        let tick = if rate > 10_000.0 { Tick::Linger } else { Tick::Each };
        self.writer.tick = tick;
        // The first moments at a new rate are not counted.
        bench.runtime.block_on(self.writer.write(rate, stretch / 5))?;
        let from = self.writer.ends.clone();
        bench.runtime.block_on(self.writer.write(rate, stretch))?;
        let to = self.writer.ends.clone();
        let behind = self.target.ends();
        let lag: i64 = to.iter().zip(&behind).map(|(to, end)| to - end).sum();
        self.running.check()?;
        ensure!(self.target.reaches(&to, CATCH_UP)?, "records are missing at the target");
        ensure!(self.source.reaches(&to, CATCH_UP)?, "records are missing at the source");
        let delays = delays_ms(&self.source.seen(), &self.target.seen(), &from, &to);
        let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
        ensure!(!delays.is_empty(), "no record in {stretch:?}");
        Ok(Latency {
            contender: self.contender,
            rate,
            records: delays.len(),
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
            // A second's worth behind at the end is more than what is on its way.
            keeps_up: (lag as f64) < rate,
        })
    }

    fn finish(self) -> Result<()> {
        self.source.finish()?;
        self.target.finish()
    }
}

/// How records are gathered into batches.
#[derive(Debug, Clone, Copy)]
enum Tick {
    /// What has come up is written at once, as with `linger.ms=0`.
    Each,
    /// As with `linger.ms=5`, the default since Kafka 4.
    Linger,
}

impl Tick {
    fn duration(self) -> Duration {
        Duration::from_millis(match self {
            Self::Each => 1,
            Self::Linger => 5,
        })
    }
}

/// Writes records at a rate, in turn to all partitions.
struct Writer {
    connection: Connection,
    topic: Arc<str>,
    tick: Tick,
    /// Batches by their number of records.
    batches: BTreeMap<u64, Bytes>,
    under_way: VecDeque<Pending<RawProduceAnswer>>,
    /// How many records each partition got.
    ends: Vec<i64>,
    next: usize,
}

impl Writer {
    async fn open(bootstrap: &str, topic: &str) -> Result<Self> {
        let client = fill::client(bootstrap)?;
        fill::fill_with(&client, topic, PARTITIONS, |_, _| Ok(None)).await?;
        let topic: Arc<str> = topic.into();
        let leader = fill::leader(&client, &topic, PARTITIONS).await?;
        let connection = client.connect_to(leader, &Arc::new(ConnectionOptions::default())).await?;
        Ok(Self {
            connection,
            topic,
            tick: Tick::Each,
            batches: BTreeMap::new(),
            under_way: VecDeque::new(),
            ends: vec![0; PARTITIONS.unsigned_abs() as usize],
            next: 0,
        })
    }

    fn written(&self) -> u64 {
        self.ends.iter().map(|end| end.unsigned_abs()).sum()
    }

    /// Writes for a while; with an infinite rate as fast as the broker takes it.
    async fn write(&mut self, rate: f64, stretch: Duration) -> Result<()> {
        let begin = usage::now();
        let mut sent = 0;
        while begin.elapsed() < stretch {
            let due = if rate.is_finite() {
                (begin.elapsed().as_secs_f64() * rate) as u64 - sent
            } else {
                FULL_BATCH * u64::from(PARTITIONS.unsigned_abs())
            };
            if due > 0 {
                self.send(due).await?;
                sent += due;
            }
            if rate.is_finite() {
                tokio::time::sleep(self.tick.duration()).await;
            }
        }
        self.settle(0).await
    }

    /// Writes so many records, one batch for each partition.
    async fn send(&mut self, records: u64) -> Result<()> {
        let partitions = self.ends.len();
        let mut shares = vec![records / partitions as u64; partitions];
        for _ in 0..records % partitions as u64 {
            shares[self.next] += 1;
            self.next = (self.next + 1) % partitions;
        }
        let mut request = RawProduce {
            acks: Acks::All,
            timeout_ms: self.connection.request_timeout_ms(),
            transactional_id: None,
            partitions: Vec::new(),
        };
        for (index, share) in shares.into_iter().enumerate().filter(|(_, share)| *share > 0) {
            let bytes = self.batch(share)?;
            let mut header = [0; BATCH_HEADER_BYTES];
            header.copy_from_slice(&bytes[..BATCH_HEADER_BYTES]);
            request.partitions.push(ProducePartition {
                topic: self.topic.clone(),
                topic_id: Uuid::nil(),
                index: index as i32,
                header,
                payload: bytes.slice(BATCH_HEADER_BYTES..),
            });
            self.ends[index] += share as i64;
        }
        self.under_way.push_back(self.connection.start_produce(&request));
        self.settle(IN_FLIGHT).await
    }

    fn batch(&mut self, records: u64) -> Result<Bytes> {
        if let Some(known) = self.batches.get(&records) {
            return Ok(known.clone());
        }
        let mut builder = BatchBuilder::new();
        for record in 0..records {
            builder.push(None, Some(&value(record)), &[], TIMESTAMP_MS);
        }
        let batch = builder.build()?.bytes;
        self.batches.insert(records, batch.clone());
        Ok(batch)
    }

    /// Waits until no more than so many requests are under way.
    async fn settle(&mut self, most: usize) -> Result<()> {
        while self.under_way.len() > most
            && let Some(oldest) = self.under_way.pop_front()
        {
            for partition in oldest.await?.partitions {
                ensure!(partition.error == ErrorCode::NONE, "writing: {:?}", partition.error);
            }
        }
        Ok(())
    }
}
