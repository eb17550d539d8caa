//! Which parts a report has, and with which command line each of them is run.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::ReportArgs;

/// A part as it comes.
struct Usual {
    name: &'static str,
    title: &'static str,
    options: &'static str,
    /// For a first look.
    quick: &'static str,
}

const USUAL: &[Usual] = &[
    Usual {
        name: "compare",
        title: "Beside MirrorMaker 2",
        options: "",
        quick: "--rounds 1 --large 100000 --tiny 40000 --latency 2 --idle 2",
    },
    Usual {
        name: "relay",
        title: "Beside a raw TCP relay",
        options: "",
        quick: "--seconds 0.5 --rounds 2",
    },
    Usual { name: "sweep", title: "How cost grows", options: "", quick: "--seconds 0.3" },
    // It does not build there.
    #[cfg(not(target_env = "musl"))]
    Usual {
        name: "distance",
        title: "Over a long line",
        options: "--mib 2048 --seconds 20",
        quick: "--rtt 0,20 --mib 64 --seconds 2",
    },
    Usual { name: "many", title: "Many partitions", options: "", quick: "--seconds 3" },
    Usual {
        name: "stall",
        title: "A target that stands still",
        options: "",
        quick: "--seconds 2 --around 2",
    },
];

/// A part of this report.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Its subcommand and the options.
    pub(super) line: Vec<String>,
    pub(super) is_left_out: bool,
}

/// All parts. A static build, if there is one, is measured beside this in `relay`.
pub(super) fn parts(args: &ReportArgs, static_build: Option<PathBuf>) -> Result<Vec<Planned>> {
    let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let named = args.parts.iter().map(|line| first(line));
    let named = named.chain(args.only.iter().cloned()).chain(args.skip.iter().cloned());
    for name in named {
        let known: Vec<&str> = USUAL.iter().map(|part| part.name).collect();
        ensure!(known.contains(&name.as_str()), "{name:?} is none of {known:?}");
    }
    let planned = USUAL.iter().map(|usual| {
        let name = usual.name;
        let has = |names: &[String]| names.iter().any(|one| one == name);
        let usual_line = format!("{name} {}", if args.quick { usual.quick } else { usual.options });
        let own = args.parts.iter().find(|line| first(line) == name);
        let line = own.unwrap_or(&usual_line).split_whitespace().map(str::to_owned);
        let mut line: Vec<String> = line.collect();
        if let (Some(other), "relay") = (&static_build, name) {
            line.extend(["--other".to_owned(), other.display().to_string()]);
        }
        let is_left_out = has(&args.skip) || (!args.only.is_empty() && !has(&args.only));
        Planned { name, title: usual.title, line, is_left_out }
    });
    Ok(planned.collect())
}

/// The static build that is named, or else the one that cargo builds with the same profile, where there is one.
pub(super) fn static_build(named: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(path) = named {
        ensure!(path.is_file(), "{} is no file; see --static", path.display());
        return Ok(Some(path.to_owned()));
    }
    let own = std::env::current_exe()?;
    let dir = own.parent().context("a program lies in a directory")?;
    let (Some(target), Some(profile)) = (dir.parent(), dir.file_name()) else { return Ok(None) };
    let path = target.join(format!("{ARCH}-unknown-linux-musl")).join(profile).join("benches");
    Ok(path.is_file().then(|| shown(&path).into()))
}

/// A path as a reader of the report can use it: from the current directory on, or else only the name.
pub(super) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let below = path.strip_prefix(here).ok();
    let name = || path.file_name().map(PathBuf::from).unwrap_or_default();
    below.map_or_else(name, Path::to_owned).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: ReportArgs,
    }

    fn plan(options: &[&str], static_build: Option<&str>) -> Result<Vec<Planned>> {
        let args = Alone::parse_from([&["report"], options].concat()).args;
        parts(&args, static_build.map(PathBuf::from))
    }

    fn line(planned: &[Planned], name: &str) -> String {
        let part = planned.iter().find(|part| part.name == name).expect("it is planned");
        part.line.join(" ")
    }

    #[test]
    fn every_part_can_be_run_as_it_comes_and_quickly() {
        for options in [&["--quick"][..], &[]] {
            let planned = plan(options, Some("musl/benches")).expect("a plan");
            assert!(planned.iter().all(|part| parse(part).is_ok_and(|part| part.is_some())));
        }
    }

    #[test]
    fn parts_are_left_out_and_called_otherwise_by_name() {
        let options = ["--skip", "many", "--only", "relay,many", "--part", "relay --rounds 1"];
        let planned = plan(&options, Some("m/benches")).expect("a plan");
        let kept: Vec<_> = planned.iter().filter(|part| !part.is_left_out).collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(line(&planned, "relay"), "relay --rounds 1 --other m/benches");
        assert_eq!(line(&planned, "sweep"), "sweep");
        assert!(plan(&["--skip", "relais"], None).is_err());
        assert!(plan(&["--part", "relais --rounds 1"], None).is_err());
    }
}
