//! A Java process on a leash: it ends when this process does, whatever ends it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::distribution::Distribution;
use crate::jvm::Jvm;

const POLL: Duration = Duration::from_millis(20);

/// A running main class whose output goes to a file.
///
/// The child is waited for only here, so its process id cannot be handed to another process while a
/// signal is on its way.
#[derive(Debug)]
pub struct JavaProcess {
    child: Child,
    name: String,
    log: PathBuf,
    _leash: Option<ChildStdin>,
}

impl JavaProcess {
    /// Starts the main class `class` in the directory `dir`; its output is appended to `NAME.log` there.
    ///
    /// # Errors
    /// Java cannot be started, or the log cannot be written.
    pub fn start(
        distribution: &Distribution,
        name: &str,
        dir: &Path,
        jvm: &Jvm,
        jvm_options: &[String],
        main: &[&str],
    ) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = distribution.java(jvm);
        command.current_dir(dir).args(jvm_options).arg("lab.Leash").args(main);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot run java")?;
        let leash = child.stdin.take();
        Ok(Self { child, name: name.to_owned(), log, _leash: leash })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has printed.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Polls `ready` until it says yes.
    ///
    /// # Errors
    /// The process ends before, or `timeout` is over; the message holds the end of its log.
    pub fn wait_until(&mut self, timeout: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        for _ in 0..=timeout.as_millis() / POLL.as_millis() {
            if ready() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, self.last_lines());
            }
            thread::sleep(POLL);
        }
        bail!("{} is not ready after {timeout:?}: {}", self.name, self.last_lines())
    }

    /// Ends it with SIGTERM and waits for it; with SIGKILL if that takes longer than `timeout`.
    ///
    /// # Errors
    /// It had to be killed.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        for _ in 0..=timeout.as_millis() / POLL.as_millis() {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        self.kill()?;
        bail!("{} did not end within {timeout:?} of SIGTERM: {}", self.name, self.last_lines())
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal by its name, for example `STOP` or `CONT`, unless the process has ended.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        if self.is_running() {
            let pid = self.child.id().to_string();
            // The shell's own kill: it needs no package and this crate no unsafe code.
            let kill = r#"kill -s "$0" "$1""#;
            let status = Command::new("sh").args(["-c", kill, name, &pid]).status()?;
            anyhow::ensure!(status.success(), "cannot send SIG{name} to {}", self.name);
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let output = self.output();
        let lines: Vec<_> = output.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for JavaProcess {
    fn drop(&mut self) {
        // Nobody is left to tell; a process that has ended already is as good.
        let _ = self.kill();
    }
}
