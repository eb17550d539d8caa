//! `kmirror verify`: compares source and target record by record, and says where they differ.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use engine::config::{FlowConfig, Replication, Severity};
use engine::runtime;
use engine::verify::{
    Difference, DifferenceKind, FlowVerdict, GroupPosition, PartitionVerdict, Scope, VerifyOptions,
    VerifyProgress,
};
use serde_json::{Value, json};

use super::file::FileArgs;
use super::{Exit, moment, output};

const REDRAW: Duration = Duration::from_millis(200);
const BAR_WIDTH: usize = 30;

/// Compare what was copied with what it was copied from
///
/// Pairs both logs of every partition record by record: key, value, headers, timestamp, order. Batches that were
/// forwarded sealed are compared by their checksums. Records still on their way are lag, not a difference. Works on
/// copies that MirrorMaker 2 made. Topic configs that are carried over are compared too, and the last checkpoints of consumer
/// groups are held against the logs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kmirror verify mm2.properties
  kmirror verify mm2.properties --flow A->B --topic orders
  kmirror verify mm2.properties --since 2h                    what the last two hours brought
  kmirror verify mm2.properties --since 2026-05-01T00:00:00Z
  kmirror verify mm2.properties --sample 5%                   one record in twenty, in runs of 1000
  kmirror verify mm2.properties --sample 10 --json            ten runs in each partition

Exit codes: 0 no difference; 1 differences; 2 usage; 3 the file has errors, or a cluster cannot be asked;
4 a partition could not be compared.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    file: FileArgs,

    /// Only this topic, by its name at the source or at the target
    #[arg(long)]
    topic: Option<String>,

    /// Only this flow
    #[arg(long, value_name = "A->B")]
    flow: Option<String>,

    /// Only what is not older: a time (RFC 3339) or a duration (90s, 15m, 2h, 7d)
    #[arg(long, value_name = "TIMESTAMP|DURATION", value_parser = moment::parse, conflicts_with = "sample")]
    since: Option<moment::Since>,

    /// Only runs of 1000 records: so many in each partition, or this share of it
    #[arg(long, value_name = "N|PERCENT", value_parser = parse_sample)]
    sample: Option<Scope>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn parse_sample(text: &str) -> Result<Scope, String> {
    let wrong = || "neither a number of runs nor a share like 5%".to_owned();
    match text.strip_suffix('%') {
        Some(share) => {
            let share: f64 = share.trim().parse().map_err(|_| wrong())?;
            match share > 0.0 && share <= 100.0 {
                true => Ok(Scope::Percent(share)),
                false => Err("a share lies above 0% and up to 100%".to_owned()),
            }
        }
        None => match text.parse() {
            Ok(0) => Err("at least one run".to_owned()),
            Ok(runs) => Ok(Scope::Ranges(runs)),
            Err(_) => Err(wrong()),
        },
    }
}

pub(crate) fn run(args: &VerifyArgs) -> Exit {
    let Some(replication) = load(args) else { return Exit::Configuration };
    let wanted = |flow: &FlowConfig| args.flow.as_ref().is_none_or(|id| flow.id() == *id);
    let flows: Vec<FlowConfig> =
        replication.flows.iter().filter(|flow| wanted(flow)).cloned().collect();
    if flows.is_empty() {
        let there: Vec<String> = replication.flows.iter().map(FlowConfig::id).collect();
        let asked = args.flow.as_deref().unwrap_or_default();
        let problem = format!("no flow {asked}; the file has {}", there.join(", "));
        return output::complain(&problem, Exit::Usage);
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(compare(args, &flows)),
        Err(error) => output::complain(&format!("no runtime: {error}"), Exit::Configuration),
    }
}

fn load(args: &VerifyArgs) -> Option<Replication> {
    let complain = |problem: &str| {
        output::complain(problem, Exit::Configuration);
    };
    let resolution = args.file.resolve().map_err(|problem| complain(&problem)).ok()?;
    for finding in resolution.findings.iter().filter(|one| one.severity == Severity::Error) {
        complain(&finding.to_string());
    }
    resolution.replication
}

#[expect(clippy::disallowed_methods, reason = "durations count from now, and speed is measured")]
async fn compare(args: &VerifyArgs, flows: &[FlowConfig]) -> Exit {
    let now_ms = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64);
    let scope = match args.since {
        Some(since) => Scope::Since(since.timestamp_ms(now_ms)),
        None => args.sample.unwrap_or_default(),
    };
    let options = VerifyOptions { topic: args.topic.clone(), scope };
    let progress = Arc::new(VerifyProgress::default());
    let started = Instant::now();
    let mut verdicts = Vec::new();
    for flow in flows {
        let verifying = runtime::verify(flow, &options, &progress);
        match with_bar(verifying, &progress).await {
            Ok(verdict) => verdicts.push(verdict),
            Err(error) => return output::complain(&error.to_string(), Exit::Configuration),
        }
    }
    let bytes = progress.bytes.load(Ordering::Relaxed);
    let took = Took { seconds: started.elapsed().as_secs_f64(), bytes };
    let text = match args.json {
        true => format!("{:#}\n", as_json(&verdicts, took)),
        false => as_text(&verdicts, took),
    };
    if let Err(error) = output::say(&text) {
        return output::complain(&format!("stdout: {error}"), Exit::Fatal);
    }
    let partitions = || verdicts.iter().flat_map(|flow| &flow.partitions);
    if verdicts.iter().any(|flow| flow.differences() > 0) {
        Exit::Found
    } else if partitions().any(|one| one.trouble.is_some()) {
        Exit::Fatal
    } else if partitions().count() == 0 {
        output::complain("nothing to compare: no topic that is copied has this name", Exit::Usage)
    } else {
        Exit::Done
    }
}

/// What it took.
#[derive(Debug, Clone, Copy)]
struct Took {
    seconds: f64,
    bytes: u64,
}

impl Took {
    fn gigabytes_per_second(self) -> f64 {
        self.bytes as f64 / 1e9 / self.seconds.max(1e-9)
    }
}

/// Draws how far it is, if somebody watches.
async fn with_bar<T>(work: impl Future<Output = T>, progress: &VerifyProgress) -> T {
    tokio::pin!(work);
    if !std::io::stderr().is_terminal() {
        return work.await;
    }
    let mut ticks = tokio::time::interval(REDRAW);
    loop {
        tokio::select! {
            done = &mut work => {
                // Nobody is left to be shown anything if stderr cannot be written.
                let _ = write!(std::io::stderr(), "\r\x1b[2K");
                return done;
            }
            _ = ticks.tick() => {
                let _ = write!(std::io::stderr(), "\r\x1b[2K{}", bar(progress));
            }
        }
    }
}

fn bar(progress: &VerifyProgress) -> String {
    let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (done, total) = (of(&progress.done), of(&progress.total));
    let share = if total == 0 { 0.0 } else { (done as f64 / total as f64).min(1.0) };
    let full = (share * BAR_WIDTH as f64) as usize;
    format!(
        "[{}{}] {:3.0} %  {done} of {total} offsets",
        "#".repeat(full),
        "-".repeat(BAR_WIDTH - full),
        share * 100.0
    )
}

fn as_text(verdicts: &[FlowVerdict], took: Took) -> String {
    let mut out = String::new();
    for flow in verdicts {
        line(&mut out, format_args!("{}", flow.flow));
        for partition in &flow.partitions {
            partition_text(&mut out, partition);
        }
        for absent in &flow.absent {
            line(
                &mut out,
                format_args!(
                    "  {}: {} has no partitions {} to {}",
                    absent.source,
                    absent.target,
                    absent.from_partition,
                    absent.partitions - 1
                ),
            );
        }
        for config in &flow.configs {
            let there = config.target_value.as_deref().unwrap_or("not set");
            line(
                &mut out,
                format_args!(
                    "  {}: {} is {}, at {} it is {there}",
                    config.source, config.name, config.source_value, config.target
                ),
            );
        }
    }
    if let Some((flow, partition, first)) = first_difference(verdicts) {
        let place = format!("{} {}-{}", flow.flow, partition.source, partition.partition);
        line(&mut out, format_args!("first difference: {place}: {}", difference_text(first)));
    }
    let partitions: usize = verdicts.iter().map(|flow| flow.partitions.len()).sum();
    let records: u64 = verdicts
        .iter()
        .flat_map(|flow| &flow.partitions)
        .map(|partition| partition.counts.matched)
        .sum();
    let differences: u64 = verdicts.iter().map(FlowVerdict::differences).sum();
    line(
        &mut out,
        format_args!(
            "{partitions} partitions, {records} records alike in {:.1} s ({:.2} GB/s), {differences} differences",
            took.seconds,
            took.gigabytes_per_second()
        ),
    );
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a string takes everything");
}

fn partition_text(out: &mut String, partition: &PartitionVerdict) {
    let PartitionVerdict { source, target, partition: index, counts, .. } = partition;
    let sealed = counts.sealed as f64 / counts.matched.max(1) as f64 * 100.0;
    let mut text = format!(
        "  {source}-{index} -> {target}-{index}: {} records alike ({sealed:.0} % sealed)",
        counts.matched
    );
    let mut add = |count: u64, what: &str| {
        if count > 0 {
            write!(text, ", {count} {what}").expect("a string takes everything");
        }
    };
    add(counts.skipped, "no longer at the target");
    add(counts.vanished, "no longer at the source");
    add(partition.lag.unwrap_or(0).unsigned_abs(), "offsets behind");
    add(partition.difference_count, "differences");
    add(partition.positions.exact, "group positions exact");
    add(partition.positions.behind.len() as u64, "group positions behind");
    line(out, format_args!("{text}"));
    for difference in &partition.differences {
        line(out, format_args!("    {}", difference_text(difference)));
    }
    let unlisted = partition.difference_count.saturating_sub(partition.differences.len() as u64);
    if unlisted > 0 {
        line(out, format_args!("    and {unlisted} more"));
    }
    for position in &partition.positions.ahead {
        let GroupPosition { group, upstream, downstream, expected } = position;
        let place = format!("source offset {upstream}, target offset {downstream}");
        line(
            out,
            format_args!("    {place}: group {group} would skip records, {expected} is right"),
        );
    }
    if let Some(trouble) = &partition.trouble {
        line(out, format_args!("    not compared to its end: {trouble}"));
    }
}

fn difference_text(difference: &Difference) -> String {
    let Difference { kind, source, target, count } = difference;
    let records = if *count == 1 { "1 record".to_owned() } else { format!("{count} records") };
    let what = match kind {
        DifferenceKind::Damaged(side, what) => format!("damaged at the {side}: {what}"),
        DifferenceKind::Foreign(id) if *id >= 0 => format!("{records} foreign (producer id {id})"),
        kind => format!("{records} {}", kind.name()),
    };
    format!("source offset {source}, target offset {target}: {what}")
}

fn first_difference(
    verdicts: &[FlowVerdict],
) -> Option<(&FlowVerdict, &PartitionVerdict, &Difference)> {
    verdicts
        .iter()
        .flat_map(|flow| flow.partitions.iter().map(move |partition| (flow, partition)))
        .find_map(|(flow, partition)| Some((flow, partition, partition.differences.first()?)))
}

fn as_json(verdicts: &[FlowVerdict], took: Took) -> Value {
    let flows: Vec<Value> = verdicts
        .iter()
        .map(|flow| {
            let absent = flow.absent.iter().map(|one| {
                json!({"source": one.source, "target": one.target,
                       "from_partition": one.from_partition, "partitions": one.partitions})
            });
            let configs = flow.configs.iter().map(|one| {
                json!({"source": one.source, "target": one.target, "config": one.name,
                       "source_value": one.source_value, "target_value": one.target_value})
            });
            json!({
                "flow": flow.flow,
                "partitions": flow.partitions.iter().map(partition_json).collect::<Vec<_>>(),
                "absent": absent.collect::<Vec<_>>(),
                "configs": configs.collect::<Vec<_>>(),
            })
        })
        .collect();
    let first = first_difference(verdicts).map(|(flow, partition, first)| {
        let mut first = difference_json(first);
        first["flow"] = flow.flow.as_str().into();
        first["topic"] = partition.source.as_str().into();
        first["partition"] = partition.partition.into();
        first
    });
    json!({
        "differences": verdicts.iter().map(FlowVerdict::differences).sum::<u64>(),
        "first_difference": first,
        "flows": flows,
        "target_bytes": took.bytes,
        "seconds": took.seconds,
        "gigabytes_per_second": took.gigabytes_per_second(),
    })
}

fn partition_json(partition: &PartitionVerdict) -> Value {
    let counts = &partition.counts;
    json!({
        "source": partition.source,
        "target": partition.target,
        "partition": partition.partition,
        "source_offsets": [partition.source_span.0, partition.source_span.1],
        "target_offsets": [partition.target_span.0, partition.target_span.1],
        "records_alike": counts.matched,
        "records_sealed": counts.sealed,
        "no_longer_at_target": counts.skipped,
        "no_longer_at_source": counts.vanished,
        "missing": counts.missing,
        "foreign": counts.foreign,
        "repeated": counts.repeated,
        "lag_offsets": partition.lag,
        "difference_count": partition.difference_count,
        "differences": partition.differences.iter().map(difference_json).collect::<Vec<_>>(),
        "group_positions": {
            "exact": partition.positions.exact,
            "behind": partition.positions.behind.iter().map(position_json).collect::<Vec<_>>(),
            "ahead": partition.positions.ahead.iter().map(position_json).collect::<Vec<_>>(),
        },
        "trouble": partition.trouble,
    })
}

fn position_json(position: &GroupPosition) -> Value {
    json!({
        "group": position.group,
        "source_offset": position.upstream,
        "target_offset": position.downstream,
        "right_target_offset": position.expected,
    })
}

fn difference_json(difference: &Difference) -> Value {
    let mut value = json!({
        "kind": difference.kind.name(),
        "source_offset": difference.source,
        "target_offset": difference.target,
        "count": difference.count,
    });
    match &difference.kind {
        DifferenceKind::Foreign(id) => value["producer_id"] = (*id).into(),
        DifferenceKind::Damaged(side, what) => {
            value["side"] = side.to_string().into();
            value["problem"] = what.as_str().into();
        }
        _ => {}
    }
    value
}
