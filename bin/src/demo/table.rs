//! The demo's live table of partitions.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use engine::flow::shard::Progress;

use crate::cli::output;

/// Draws the table; rates come from what was drawn before. On a terminal it is drawn over the last one.
pub(super) fn print(partitions: &[Progress], before: Option<(Duration, &[Progress])>) {
    let mut text = String::new();
    if before.is_some() && std::io::stdout().is_terminal() {
        let _ = write!(text, "\x1b[{}A\x1b[J", partitions.len() + 2);
    }
    text.push_str(&render(partitions, before));
    // Whoever reads may have seen enough.
    let _ = output::say(&text);
}

fn render(partitions: &[Progress], before: Option<(Duration, &[Progress])>) -> String {
    let mut text = format!(
        "{:<14} {:<21} {:<9} {:>9} {:>7} {:>11} {:>9} {:>11}\n",
        "SOURCE", "TARGET", "STATE", "POSITION", "LAG", "RECORDS/S", "KIB/S", "LATENCY_MS"
    );
    for at in partitions {
        let earlier = before
            .and_then(|(time, all)| Some((time, all.iter().find(|old| old.source == at.source)?)));
        let (records, bytes) = rates(at, earlier);
        let position = at.position.unwrap_or(0);
        let _ = writeln!(
            text,
            "{:<14} {:<21} {:<9} {position:>9} {:>7} {records:>11.0} {:>9.1} {:>11}",
            at.source.to_string(),
            at.target.to_string(),
            format!("{:?}", at.state).to_lowercase(),
            (at.high_watermark - position).max(0),
            bytes / 1024.0,
            at.latency_ms.map_or_else(|| "-".to_owned(), |latency| latency.to_string()),
        );
    }
    text.push('\n');
    text
}

/// Records and bytes per second since an earlier look.
fn rates(at: &Progress, earlier: Option<(Duration, &Progress)>) -> (f64, f64) {
    let Some((time, old)) = earlier.filter(|(time, _)| !time.is_zero()) else { return (0.0, 0.0) };
    let seconds = time.as_secs_f64();
    let grown = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
    (
        grown(at.delivered.records, old.delivered.records),
        grown(at.delivered.bytes, old.delivered.bytes),
    )
}
