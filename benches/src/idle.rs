//! The CPU that a process takes while it has next to nothing to do: far less than a clock tick.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Result;

use crate::usage;

/// How long each thread of a process has been on a CPU, in nanoseconds, by thread id.
type Threads = BTreeMap<String, u64>;

/// The share of one core that a process takes over a stretch of time.
pub(crate) fn cpu_share(pid: u32, stretch: Duration) -> Result<f64> {
    let begin = usage::now();
    let (ticks, threads) = (usage::cpu_time(pid)?, threads(pid));
    std::thread::sleep(stretch);
    let after = self::threads(pid);
    let used = match ran(&threads, &after) {
        Some(used) => used,
        None => usage::cpu_time(pid)?.saturating_sub(ticks),
    };
    Ok(used.as_secs_f64() / begin.elapsed().as_secs_f64())
}

/// What the threads of `after` have run since `before`. A thread that ended in between takes only the time of this stretch
/// with it. `None` where the kernel does not count: it has no such file, or only zeros in it.
fn ran(before: &Threads, after: &Threads) -> Option<Duration> {
    let counts = after.values().any(|nanos| *nanos > 0);
    let since = |(thread, nanos): (&String, &u64)| {
        nanos.saturating_sub(before.get(thread).copied().unwrap_or(0))
    };
    counts.then(|| Duration::from_nanos(after.iter().map(since).sum()))
}

/// The first field of every thread's `schedstat` (Linux, Documentation/scheduler/sched-stats.rst).
fn threads(pid: u32) -> Threads {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let ran = tasks.filter_map(|task| {
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let nanos = stat.split_whitespace().next()?.parse().ok()?;
        Some((task.file_name().to_string_lossy().into_owned(), nanos))
    });
    ran.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_come_and_go_do_not_spoil_the_sum() {
        let at = |all: &[(&str, u64)]| {
            all.iter().map(|(id, nanos)| ((*id).to_owned(), *nanos)).collect::<Threads>()
        };
        let before = at(&[("1", 1_000_000), ("2", 9_000_000)]);
        let after = at(&[("1", 1_000_300), ("3", 40)]);
        assert_eq!(ran(&before, &after), Some(Duration::from_nanos(340)));
        assert_eq!(ran(&at(&[("1", 0)]), &at(&[("1", 0)])), None);
        assert_eq!(ran(&at(&[]), &at(&[])), None);
    }

    #[test]
    fn a_sleeping_process_takes_less_than_a_working_one() {
        let mut sleeper =
            std::process::Command::new("sleep").arg("60").spawn().expect("sleep is everywhere");
        let share = cpu_share(sleeper.id(), Duration::from_millis(50));
        sleeper.kill().and_then(|()| sleeper.wait()).expect("it is ours");
        assert!(share.expect("proc is mounted") < 0.2);
    }
}
