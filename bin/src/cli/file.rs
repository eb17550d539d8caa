//! Reads and resolves the configuration file that a command is given.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use engine::config::{Input, Resolution, Surroundings, resolve};

/// Upper bound of a configuration file, and of a file that one refers to.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The file and what of it is wanted.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The configuration: the mm2.properties of MirrorMaker 2
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Only the flows into these clusters
    #[arg(long, value_name = "ALIAS", num_args = 1..)]
    clusters: Vec<String>,
}

impl FileArgs {
    /// The file's name as it was given.
    pub(crate) fn name(&self) -> String {
        self.file.display().to_string()
    }

    /// Reads and resolves the file. Fails with one line if it cannot be read.
    pub(crate) fn resolve(&self) -> Result<Resolution, String> {
        let name = self.name();
        let bytes = read(&self.file).map_err(|why| format!("{name} cannot be read: {why}"))?;
        let clusters = Some(self.clusters.as_slice()).filter(|clusters| !clusters.is_empty());
        Ok(resolve(Input { file: &name, bytes: &bytes, clusters }, &System))
    }
}

/// The machine's files and environment.
struct System;

impl Surroundings for System {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, String> {
        read(path)
    }

    #[expect(clippy::disallowed_methods, reason = "the file names the variables that are read")]
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    match bytes.len() as u64 > MAX_FILE_BYTES {
        true => Err(format!("it is larger than {MAX_FILE_BYTES} bytes")),
        false => Ok(bytes),
    }
}
