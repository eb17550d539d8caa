//! `kmirror demo`: shows what kmirror does, without any Kafka at hand.

use clap::Args;

use super::{Exit, output};
use crate::demo::{self, DemoOptions, DemoResult};

/// Mirror between two clusters inside this process, and verify the result
///
/// Starts two small Kafka clusters on the loopback, a producer, and the mirror between them; shows a table of partitions
/// while it runs, and compares both clusters record by record at the end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kmirror demo
  kmirror demo --seconds 30 --rate 20000
  kmirror demo --json | jq .verified

Exit codes: 0 every record arrived once, in order; 1 the clusters differ; 2 usage; 3 it could not start; 4 it failed.")]
pub(crate) struct DemoArgs {
    /// How long to produce
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    seconds: u64,

    /// Records per second, over all partitions
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=200_000), value_name = "RECORDS")]
    rate: u32,

    /// Print one JSON object at the end, and no table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &DemoArgs) -> Exit {
    let options = DemoOptions { seconds: args.seconds, rate: args.rate, table: !args.json };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(demo::run(options)),
        Err(error) => {
            return output::complain(&format!("no runtime: {error}"), Exit::Configuration);
        }
    };
    match result {
        Ok(result) => report(&result, args.json),
        Err(error) => output::complain(&format!("demo: {error:#}"), Exit::Fatal),
    }
}

fn report(result: &DemoResult, json: bool) -> Exit {
    let text = if json { format!("{}\n", result.json()) } else { sentence(result) };
    match output::say(&text) {
        Err(error) => output::complain(&format!("stdout: {error}"), Exit::Fatal),
        Ok(()) if result.verdict.is_good() => Exit::Done,
        Ok(()) => Exit::Found,
    }
}

fn sentence(result: &DemoResult) -> String {
    let verdict = &result.verdict;
    let first = result
        .first_record
        .map_or_else(|| "-".to_owned(), |first| format!("{:.0} ms", first.as_secs_f64() * 1000.0));
    let (p50, p99) = result.latency_ms;
    let found = match &verdict.first_difference {
        None if verdict.is_good() => {
            "verified: every record arrived once, in order, unchanged".to_owned()
        }
        None => "NOT verified: the counts differ".to_owned(),
        Some(place) => format!("NOT verified: the clusters differ, first in {place}"),
    };
    format!(
        "{found}\n{} records at the source, {} at the target; start to first record {first}; latency p50 {p50} ms, p99 {p99} ms\n",
        verdict.source_records, verdict.target_records
    )
}
