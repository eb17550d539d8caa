//! Runs small Java programs that say what the JDK itself does. Says SKIPPED where there is no JDK.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A compiled `Oracle.java`, in a directory of its own.
pub(crate) struct Oracle {
    classes: TempDir,
}

impl Oracle {
    /// Compiles `tests/NAME/Oracle.java`; none if `javac` cannot be started.
    pub(crate) fn compiled(name: &str) -> Option<Self> {
        let classes = TempDir::new().expect("directory");
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let source = tests.join(name).join("Oracle.java");
        let javac = Command::new("javac").arg("-d").arg(classes.path()).arg(source).output();
        match javac {
            Err(error) => {
                println!("SKIPPED: javac cannot be started: {error}");
                None
            }
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                Some(Self { classes })
            }
        }
    }

    /// Everything that the program answers to this input.
    pub(crate) fn ask(&self, input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xss512k", "-cp"])
            .arg(self.classes.path())
            .arg("Oracle")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("java starts where javac does");
        // The programs answer only when they have read everything.
        child.stdin.take().expect("stdin").write_all(input).expect("input");
        let mut answers = Vec::new();
        child.stdout.take().expect("stdout").read_to_end(&mut answers).expect("answers");
        assert!(child.wait().expect("java ends").success());
        answers
    }
}

/// Appends bytes with their length in front.
pub(crate) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).expect("length").to_be_bytes());
    out.extend(bytes);
}
