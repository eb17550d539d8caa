//! What commands say on stdout and stderr.

use std::io::{self, Write};

use super::Exit;

/// Writes to stdout. Whoever closed the pipe has read enough: that is no failure.
pub(crate) fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes one line to stderr and hands on how the program ends.
pub(crate) fn complain(problem: &str, exit: Exit) -> Exit {
    // Nobody is left to be told if stderr cannot be written.
    let _ = writeln!(io::stderr().lock(), "kmirror: {problem}");
    exit
}
