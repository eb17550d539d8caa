//! What the kernel says a process has used, how a process is told something, and the clock of the measurements.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Linux reports CPU times to programs in hundredths of a second (`USER_HZ`), whatever its own tick is.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of a process with all its threads, those that ended included (proc(5), `stat`).
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in parentheses may hold anything; `utime` and `stime` are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').with_context(|| path.clone())?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    let ticks: u32 = ticks.sum::<Result<_, _>>().context(path)?;
    Ok(TICK * ticks)
}

/// The most memory that a process has held at once, in bytes (proc(5), `VmHWM`).
pub(crate) fn peak_resident_bytes(pid: u32) -> Result<u64> {
    status(pid, "VmHWM:")
}

/// The memory that a process holds, in bytes (proc(5), `VmRSS`).
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    status(pid, "VmRSS:")
}

fn status(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = value.and_then(|value| value.split_whitespace().next());
    Ok(kib.with_context(|| format!("no {name}"))?.parse::<u64>()? * 1024)
}

/// Sends a signal by its name, for example `STOP`, to a process that this one has started and not waited for.
pub(crate) fn signal(name: &str, pid: u32) -> Result<()> {
    // The shell's own kill: it needs no package, and this crate no unsafe code.
    let sent =
        Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &pid.to_string()]).status()?;
    ensure!(sent.success(), "cannot send SIG{name}");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "benches measure time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process() {
        let id = std::process::id();
        let begin = now();
        while cpu_time(id).expect("proc is mounted") < TICK * 3 {
            assert!(begin.elapsed() < Duration::from_secs(30), "spinning costs time");
        }
        let peak = peak_resident_bytes(id).expect("proc is mounted");
        let now = resident_bytes(id).expect("proc is mounted");
        assert!(now > 1 << 20 && peak > 1 << 20);
    }
}
