//! One backlog, copied by one contender: what it took.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kafka_lab::KafkaCluster;
use protocol_client::client::Client;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::contender::{Contender, Job, Running};
use super::data::DataSet;
use crate::figure::Series;
use crate::{fill, idle, usage, volume};

const COPY_LIMIT: Duration = Duration::from_secs(900);
const POLL: Duration = Duration::from_millis(10);
/// How long a contender is left alone before its idleness is measured.
const REST: Duration = Duration::from_secs(5);

/// What one run came to.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) contender: Contender,
    pub(crate) set: &'static str,
    pub(crate) is_tiny: bool,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// From its first replicated record to the last; of kmirror from its start on.
    pub(crate) cpu_seconds: f64,
    /// The least and the most of that, of several runs.
    pub(crate) cpu_seconds_range: [f64; 2],
    /// Only of the second half of the records, twice: what is left when a virtual machine has warmed up.
    pub(crate) cpu_seconds_warm: f64,
    pub(crate) start_cpu_seconds: f64,
    pub(crate) copy_seconds: f64,
    pub(crate) first_record_seconds: f64,
    pub(crate) peak_resident_bytes: u64,
    pub(crate) source_cpu_seconds: f64,
    pub(crate) target_cpu_seconds: f64,
    pub(crate) idle: Option<Idle>,
}

/// What a contender uses when there is nothing to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    /// Share of one core.
    pub(crate) cpu: f64,
    pub(crate) resident_bytes: u64,
}

impl Outcome {
    /// Of several runs on one set the median of each figure; idleness is measured once.
    pub(crate) fn median(runs: &[Self]) -> Option<Self> {
        let all = |value: fn(&Self) -> f64| Series::from_iter(runs.iter().map(value));
        let median = |value: fn(&Self) -> f64| all(value).median();
        let cpu_seconds = all(|run| run.cpu_seconds);
        Some(Self {
            cpu_seconds: cpu_seconds.median(),
            cpu_seconds_range: [cpu_seconds.min(), cpu_seconds.max()],
            cpu_seconds_warm: median(|run| run.cpu_seconds_warm),
            start_cpu_seconds: median(|run| run.start_cpu_seconds),
            copy_seconds: median(|run| run.copy_seconds),
            first_record_seconds: median(|run| run.first_record_seconds),
            peak_resident_bytes: median(|run| run.peak_resident_bytes as f64) as u64,
            source_cpu_seconds: median(|run| run.source_cpu_seconds),
            target_cpu_seconds: median(|run| run.target_cpu_seconds),
            idle: runs.iter().find_map(|run| run.idle),
            ..runs.first()?.clone()
        })
    }

    pub(crate) fn per_gib(&self, cpu_seconds: f64) -> f64 {
        cpu_seconds * (1u64 << 30) as f64 / self.bytes as f64
    }

    pub(crate) fn records_per_second(&self) -> f64 {
        self.records as f64 / self.copy_seconds
    }
}

/// Two clusters and what runs between them.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) program: &'a Path,
    pub(crate) source: KafkaCluster,
    pub(crate) target: KafkaCluster,
    pub(crate) dir: TempDir,
    pub(crate) runtime: Runtime,
    /// Copies so far: each leaves internal topics behind, and none may go on where another one stopped.
    runs: u32,
}

impl<'a> Bench<'a> {
    pub(crate) fn start(program: &'a Path) -> Result<Self> {
        let (source, target) = volume::clusters()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { program, source, target, dir: tempfile::tempdir()?, runtime, runs: 0 })
    }

    /// Starts a contender on a topic; answers also what the copy will be called.
    pub(crate) fn launch(
        &self,
        contender: Contender,
        run: &str,
        topic: &str,
        codec: &str,
    ) -> Result<(Running, String)> {
        let (source, target) = (self.source.bootstrap(), self.target.bootstrap());
        let job = Job { run, topic, codec, source: &source, target: &target };
        let distribution = self.target.distribution();
        let running = contender.start(self.program, distribution, self.dir.path(), &job)?;
        Ok((running, job.copy()))
    }

    /// Copies a set that the source holds. With `idle`, idleness is measured for so long afterwards.
    pub(crate) fn copy(
        &mut self,
        contender: Contender,
        set: &DataSet,
        idle: Option<Duration>,
    ) -> Result<Outcome> {
        self.runs += 1;
        let run = format!("{}-{}-{}", contender.word(), set.name, self.runs);
        let brokers = [self.broker_ids()?.0, self.broker_ids()?.1];
        let begin = usage::now();
        let (mut running, copy) = self.launch(contender, &run, set.name, set.codec)?;
        let pid = running.id();
        let target = self.target.bootstrap();
        let client = self.runtime.block_on(async { fill::client(&target) })?;
        let topic: Arc<str> = copy.as_str().into();
        let mut reach = |records| -> Result<Mark> {
            self.runtime.block_on(await_records(&client, &topic, records, &mut running))?;
            Mark::now(pid, brokers)
        };
        let first = reach(1)?;
        let half = reach(set.records() / 2)?;
        let last = reach(set.records())?;
        let started = if contender == Contender::Kmirror { Duration::ZERO } else { first.cpu };
        let cpu_seconds = (last.cpu - started).as_secs_f64();
        let mut outcome = Outcome {
            contender,
            set: set.name,
            is_tiny: set.is_tiny,
            records: set.records(),
            bytes: set.wire_bytes(),
            cpu_seconds,
            cpu_seconds_range: [cpu_seconds; 2],
            cpu_seconds_warm: 2.0 * (last.cpu - half.cpu).as_secs_f64(),
            start_cpu_seconds: first.cpu.as_secs_f64(),
            copy_seconds: (last.at - first.at).as_secs_f64(),
            first_record_seconds: (first.at - begin).as_secs_f64(),
            peak_resident_bytes: usage::peak_resident_bytes(pid)?,
            source_cpu_seconds: (last.brokers[0] - first.brokers[0]).as_secs_f64(),
            target_cpu_seconds: (last.brokers[1] - first.brokers[1]).as_secs_f64(),
            idle: None,
        };
        if let Some(stretch) = idle {
            outcome.idle = Some(idleness(&mut running, stretch)?);
        }
        drop(running);
        self.runtime.block_on(DataSet::delete(&client, &[&copy]));
        Ok(outcome)
    }

    /// Process ids of the source's broker and the target's.
    pub(crate) fn broker_ids(&mut self) -> Result<(u32, u32)> {
        let source = self.source.process(1).context("the source is up")?.id();
        Ok((source, self.target.process(1).context("the target is up")?.id()))
    }
}

/// What was used up to a moment.
struct Mark {
    at: Instant,
    cpu: Duration,
    brokers: [Duration; 2],
}

impl Mark {
    fn now(pid: u32, [source, target]: [u32; 2]) -> Result<Self> {
        let brokers = [usage::cpu_time(source)?, usage::cpu_time(target)?];
        Ok(Self { at: usage::now(), cpu: usage::cpu_time(pid)?, brokers })
    }
}

fn idleness(running: &mut Running, stretch: Duration) -> Result<Idle> {
    std::thread::sleep(REST);
    let cpu = idle::cpu_share(running.id(), stretch)?;
    running.check()?;
    Ok(Idle { cpu, resident_bytes: usage::resident_bytes(running.id())? })
}

/// Waits until the topic holds `records`.
pub(crate) async fn await_records(
    client: &Client,
    topic: &Arc<str>,
    records: u64,
    running: &mut Running,
) -> Result<()> {
    let begin = usage::now();
    let mut held = 0;
    while begin.elapsed() < COPY_LIMIT {
        // MirrorMaker 2 creates topics while it starts, so the answer may be an error at first.
        held = volume::held(client, topic).await.unwrap_or(held);
        if held >= records {
            return Ok(());
        }
        running.check()?;
        tokio::time::sleep(POLL).await;
    }
    bail!("{topic} holds {held} of {records} records after {COPY_LIMIT:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cpu_seconds: f64, peak_resident_bytes: u64, idle: Option<Idle>) -> Outcome {
        Outcome {
            contender: Contender::Kmirror,
            set: "none",
            is_tiny: false,
            records: 10,
            bytes: 1 << 30,
            cpu_seconds,
            cpu_seconds_range: [cpu_seconds; 2],
            cpu_seconds_warm: 1.0,
            start_cpu_seconds: 0.0,
            copy_seconds: 5.0,
            first_record_seconds: 0.1,
            peak_resident_bytes,
            source_cpu_seconds: 2.0,
            target_cpu_seconds: 4.0,
            idle,
        }
    }

    #[test]
    fn of_several_runs_the_middle_one_counts_figure_by_figure() {
        let idle = Idle { cpu: 0.01, resident_bytes: 7 };
        let runs = [run(0.9, 10, Some(idle)), run(0.6, 30, None), run(0.7, 20, None)];
        let median = Outcome::median(&runs).expect("there are runs");
        assert_eq!((median.cpu_seconds, median.cpu_seconds_range), (0.7, [0.6, 0.9]));
        assert_eq!((median.peak_resident_bytes, median.records), (20, 10));
        assert_eq!(median.idle.map(|idle| idle.resident_bytes), Some(7));
        assert!(Outcome::median(&[]).is_none());
    }
}
