//! MirrorMaker 2 in its dedicated mode: what kmirror is compared with.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::distribution::Distribution;
use crate::jvm::Jvm;
use crate::process::JavaProcess;
use crate::settings;

/// Starts MirrorMaker 2 with the text of an `mm2.properties`; its files are put into `dir`. It needs a heap of
/// at least 192 MiB; a number is that of one for tests.
///
/// # Errors
/// The files cannot be written, or Java cannot be started.
pub fn start_mirror_maker(
    distribution: &Distribution,
    dir: &Path,
    properties: &str,
    jvm: impl Into<Jvm>,
) -> Result<JavaProcess> {
    fs::write(dir.join("log4j2.yaml"), settings::log4j2("SYSTEM_OUT", "INFO"))?;
    fs::write(dir.join("log4j.properties"), settings::LOG4J)?;
    fs::write(dir.join("mm2.properties"), properties)?;
    let main = ["org.apache.kafka.connect.mirror.MirrorMaker", "mm2.properties"];
    let options = settings::logging_options();
    JavaProcess::start(distribution, "mirror-maker", dir, &jvm.into(), &options, &main)
}
