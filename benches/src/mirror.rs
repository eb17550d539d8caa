//! kmirror as a program at work, with what it says kept in a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::usage::signal;

/// The program while it runs. It is killed when this is dropped: how it stops is not measured here.
#[derive(Debug)]
pub(crate) struct Mirror {
    process: Child,
    log: PathBuf,
}

impl Mirror {
    /// Starts it with this file; what it says goes beside that.
    pub(crate) fn start(program: &Path, properties: &Path) -> Result<Self> {
        let log = properties.with_extension("log");
        let process = Command::new(program)
            .arg("run")
            .arg(properties)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Self { process, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// All that it has said.
    pub(crate) fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Lets it end by itself, as SIGTERM asks it to.
    pub(crate) fn terminate(mut self) -> Result<()> {
        signal("TERM", self.id())?;
        let status = self.process.wait()?;
        ensure!(status.success(), "kmirror ended with {status}:\n{}", self.said()?);
        Ok(())
    }

    /// Fails with what it has said if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            bail!("kmirror ended with {status}:\n{}", self.said()?);
        }
        Ok(())
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
