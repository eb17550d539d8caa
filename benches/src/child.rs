//! Processes that play a part in a run: started from this same program, asked over their standard input, ended
//! with it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::usage;

/// How long the first byte may take.
const START_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// A running part. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    name: String,
    /// What it said first: mostly its address.
    pub(crate) greeting: String,
}

/// What a part has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// What a part did and used in a stretch of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) done: Done,
    pub(crate) peak_resident_bytes: u64,
}

impl Child {
    /// Starts a role of this program and waits for its greeting.
    pub(crate) fn start(args: &[&str]) -> Result<Self> {
        Self::start_of(None, args)
    }

    /// Starts a role of another build of this program, if one is given.
    pub(crate) fn start_of(program: Option<&Path>, args: &[&str]) -> Result<Self> {
        let program = program.map_or_else(std::env::current_exe, |path| Ok(path.to_owned()))?;
        let mut process = Command::new(program)
            .arg("role")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().context("its input is piped")?;
        let output = BufReader::new(process.stdout.take().context("its output is piped")?);
        let name = args.first().copied().unwrap_or_default().to_owned();
        let mut child = Self { process, input, output, name, greeting: String::new() };
        child.greeting = child.line()?;
        Ok(child)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks how much it has carried.
    pub(crate) fn done(&mut self) -> Result<Done> {
        self.input.write_all(b"?\n")?;
        let line = self.line()?;
        let (records, bytes) = line.split_once(' ').context("two numbers")?;
        Ok(Done { records: records.parse()?, bytes: bytes.parse()? })
    }

    /// Lets it work for a while before and then for the measured stretch.
    pub(crate) fn measure(&mut self, warm_up: Duration, stretch: Duration) -> Result<Stretch> {
        let start = usage::now();
        while self.done()?.bytes == 0 {
            ensure!(start.elapsed() < START_LIMIT, "{}: nothing moves", self.name);
            std::thread::sleep(POLL);
        }
        std::thread::sleep(warm_up);
        let (from, cpu, before) = self.sample()?;
        std::thread::sleep(stretch);
        let (to, cpu_then, after) = self.sample()?;
        Ok(Stretch {
            seconds: (to - from).as_secs_f64(),
            cpu_seconds: (cpu_then - cpu).as_secs_f64(),
            done: Done {
                records: after.records - before.records,
                bytes: after.bytes - before.bytes,
            },
            peak_resident_bytes: usage::peak_resident_bytes(self.process.id())?,
        })
    }

    fn sample(&mut self) -> Result<(Instant, Duration, Done)> {
        let done = self.done()?;
        Ok((usage::now(), usage::cpu_time(self.process.id())?, done))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "{} ended; see above why", self.name);
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
