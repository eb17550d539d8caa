//! `instructions`: counts what the hot path executes in fixed scenarios, and holds it to committed numbers.
//!
//! Wall time and CPU time depend on the machine and on what else runs there; the number of instructions does not.
//! valgrind's callgrind counts those of this program alone, not the C library's: its `memcpy` and `malloc` differ from
//! machine to machine. Calls of the allocator are counted instead. Nothing in a scenario is random but the seeds of the
//! standard library's hash maps, and no thread but one runs. The processor that valgrind shows has SSE 4.2 on any x86-64
//! machine of the last ten years, so `crc32c` chooses the same code.
//!
//! ```text
//! instructions check     compares with benches/instructions.txt; fails when a scenario costs 3 % more
//! instructions accept    writes that file
//! instructions run NAME  runs one scenario; what valgrind is given
//! ```

mod callgrind;
mod committed;
mod frames;
mod scenarios;
mod world;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use callgrind::Counts;
use committed::Committed;
use scenarios::{SCENARIOS, Scenario};

// The C library's, whose instructions are not counted; what the released program uses is written in C and would
// depend on the compiler.
#[global_allocator]
static ALLOCATOR: std::alloc::System = std::alloc::System;

/// Everything that is executed in here counts, and nothing else: valgrind knows it by its name.
#[inline(never)]
pub(crate) fn counted_region<R>(work: impl FnOnce() -> R) -> R {
    std::hint::black_box(work())
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["run", name] => run(name),
        ["check"] => check(),
        ["accept"] => accept(),
        _ => Err(anyhow::anyhow!("usage: instructions check | accept | run NAME")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> Result<()> {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let scenario = scenario.with_context(|| format!("there is no scenario {name}"))?;
    (scenario.run)();
    Ok(())
}

fn check() -> Result<()> {
    let committed = Committed::read()?;
    let mut worse = Vec::new();
    println!("{}", Committed::head());
    for scenario in SCENARIOS {
        let counts = count(scenario)?;
        println!("{}", committed.line(scenario, counts));
        if committed.is_worse(scenario.name, counts) {
            worse.push(scenario.name);
        }
    }
    ensure!(
        worse.is_empty(),
        "{} cost more than before; take it back, or say why in the commit and run `make guard-accept`",
        worse.join(", ")
    );
    Ok(())
}

fn accept() -> Result<()> {
    let counts = SCENARIOS.iter().map(|scenario| Ok((scenario, count(scenario)?)));
    Committed::write(&counts.collect::<Result<Vec<_>>>()?)
}

/// Runs a scenario in valgrind.
fn count(scenario: &Scenario) -> Result<Counts> {
    let own = std::env::current_exe()?;
    let file = std::env::temp_dir().join(format!("callgrind.{}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--compress-strings=no", "--compress-pos=no"])
        .args(["--dump-instr=yes", "--collect-atstart=no", "--toggle-collect=*counted_region*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(&own)
        .args(["run", scenario.name])
        .output()
        .context("valgrind is not there; `bash .ci/setup` installs it")?;
    if !output.status.success() {
        bail!("{}: {}", scenario.name, String::from_utf8_lossy(&output.stderr));
    }
    let profile = std::fs::read_to_string(&file)?;
    std::fs::remove_file(&file)?;
    let counts = callgrind::counts(&profile, &own.to_string_lossy());
    ensure!(counts.instructions > 0, "{}: nothing was counted", scenario.name);
    Ok(counts)
}
