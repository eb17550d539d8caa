//! `benches stall`: the target stops answering while large batches flow, and comes back: what is held meanwhile, and how
//! long it takes until everything flows as before.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::child::Child;
use crate::figure::mib;
use crate::goal::Goal;
use crate::null::{NullTopic, Played};
use crate::section::Section;
use crate::table::{row, table};
use crate::usage;

const LOOK: Duration = Duration::from_millis(50);
/// How many looks make a rate.
const WINDOW: usize = 10;
/// What counts as flowing as before, in percent.
const AS_BEFORE_PERCENT: f64 = 90.0;

/// What flows, and how long nothing does.
#[derive(Debug, Args)]
pub(crate) struct StallArgs {
    /// Partitions of the topic
    #[arg(long, default_value_t = 1000)]
    partitions: u32,
    /// Records of 1 KiB in each batch
    #[arg(long, default_value_t = 1000)]
    batch_records: u32,
    /// How long the target stands still
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How long the rates before and afterwards are measured
    #[arg(long, default_value_t = 5)]
    around: u64,
    /// A line for kmirror's mm2.properties; can be given more than once
    #[arg(long = "property", value_name = "KEY=VALUE")]
    properties: Vec<String>,
}

/// Measures.
pub(crate) fn section(args: &StallArgs) -> Result<Section> {
    let topic = NullTopic {
        brokers: 1,
        partitions: args.partitions,
        batch_records: args.batch_records,
        record_bytes: 1014,
        codec: "none",
        properties: &args.properties,
    };
    let mut played = Played::start(&topic, None)?;
    played.engine.measure(Duration::from_secs(1), Duration::from_secs(1))?;
    let around = Duration::from_secs(args.around);
    let before = Watched::for_time(&mut played.engine, around)?;
    usage::signal("STOP", played.target.id())?;
    let stalled = Watched::for_time(&mut played.engine, Duration::from_secs(args.seconds))?;
    usage::signal("CONT", played.target.id())?;
    let after = Watched::for_time(&mut played.engine, around.max(Duration::from_secs(5)))?;

    let rate = before.mib_per_s();
    let again = after.first_rate(rate * AS_BEFORE_PERCENT / 100.0);
    let seconds = again.map(|after| after.as_secs_f64());
    let again = seconds.map_or_else(|| "not seen".to_owned(), |seconds| format!("{seconds:.2}"));
    let most = [&before, &stalled, &after].map(|watched| watched.resident_bytes).into_iter().max();
    let head = ["", "MiB/s", "largest RSS, MiB", "as before after, s"];
    let line = |name: &str, watched: &Watched, again: &str| {
        let (rate, held) = (watched.mib_per_s(), mib(watched.resident_bytes));
        vec![name.to_owned(), format!("{rate:.0}"), format!("{held:.0}"), again.to_owned()]
    };
    let rows = [
        row(head),
        line("before", &before, ""),
        line("target stands still", &stalled, ""),
        line("target is back", &after, &again),
    ];
    Ok(Section {
        text: describe(args) + &table(&rows),
        goals: vec![
            (Goal::StallMemory, mib(most.unwrap_or(0))),
            (Goal::StallReturn, seconds.unwrap_or(f64::INFINITY)),
        ],
        is_measured: true,
        ..Section::default()
    })
}

fn describe(args: &StallArgs) -> String {
    let StallArgs { partitions, batch_records, seconds, .. } = args;
    format!(
        "{partitions} partitions with batches of {batch_records} KiB between null brokers; the target's process gets SIGSTOP \
         for {seconds} s. \"As before\" is when the rate over half a second is {AS_BEFORE_PERCENT} % of the earlier one.\n\n"
    )
}

/// What was seen of a process: how much it had carried at each look, and the most that it held.
struct Watched {
    carried: Vec<(Duration, u64)>,
    resident_bytes: u64,
}

impl Watched {
    fn for_time(engine: &mut Child, time: Duration) -> Result<Self> {
        let begin = usage::now();
        let mut watched = Self { carried: Vec::new(), resident_bytes: 0 };
        while begin.elapsed() < time {
            watched.carried.push((begin.elapsed(), engine.done()?.bytes));
            watched.resident_bytes =
                watched.resident_bytes.max(usage::resident_bytes(engine.id())?);
            sleep(LOOK);
        }
        Ok(watched)
    }

    fn mib_per_s(&self) -> f64 {
        let ends = self.carried.first().zip(self.carried.last());
        ends.map_or(0.0, |(first, last)| rate(first, last))
    }

    /// From when on the rate over a window was as high as that.
    fn first_rate(&self, mib_per_s: f64) -> Option<Duration> {
        let mut windows = self.carried.windows(WINDOW);
        windows.find_map(|window| {
            let (first, last) = window.first().zip(window.last())?;
            (rate(first, last) >= mib_per_s).then_some(first.0)
        })
    }
}

fn rate(first: &(Duration, u64), last: &(Duration, u64)) -> f64 {
    mib(last.1.saturating_sub(first.1)) / (last.0 - first.0).as_secs_f64().max(f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_again() {
        let at = |look: u64| if look < 20 { 0 } else { (look - 20) << 20 };
        let carried = (0..100).map(|look| (LOOK * look, at(u64::from(look)))).collect();
        let watched = Watched { carried, resident_bytes: 0 };
        let again = watched.first_rate(20.0 * 0.99).expect("it comes back");
        assert!((0.95..1.1).contains(&again.as_secs_f64()), "{again:?}");
        assert_eq!(watched.first_rate(21.0), None);
    }
}
