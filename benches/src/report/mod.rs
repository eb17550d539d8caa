//! `benches report`: all parts in turn in one run, one page with its pictures, and one table of what was aimed at.

mod block;
mod page;
mod plan;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{Args, Parser};

use crate::part::Part;
use page::{Chapter, Page};
use plan::Planned;

/// Which parts are run how, and where the page goes.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Only these parts: compare, relay, sweep, distance, many, stall
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    only: Vec<String>,
    /// All but these parts
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    skip: Vec<String>,
    /// A first look at everything: little data, short stretches
    #[arg(long)]
    quick: bool,
    /// How a part is called instead, for example "compare --large 100000 --latency 2"; can be given more than once
    #[arg(long = "part", value_name = "COMMAND")]
    parts: Vec<String>,
    /// The static build of this program, which takes part in `relay`; without it, the one that cargo has put beside this
    #[arg(long = "static", value_name = "PATH")]
    static_build: Option<PathBuf>,
    /// Where report.md and the plots are written
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// A page in Markdown that gets the report between its marks, and the plots into the directory beside it that is named
    /// like it
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
}

/// A part's command line.
#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    part: Part,
}

/// Measures, and writes the page after each part, so that a run that is cut short leaves something behind.
pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    let program = plan::shown(&std::env::current_exe()?);
    let planned = plan::parts(args, plan::static_build(args.static_build.as_deref())?)?;
    let parsed = planned.iter().map(parse).collect::<Result<Vec<_>>>()?;
    // A wrong mark is found now and not after an hour.
    args.into.as_deref().map_or(Ok(()), block::check)?;
    let mut page = Page::begin(&program);
    for (planned, part) in planned.into_iter().zip(parsed) {
        let outcome = part.map(|part| {
            eprintln!("{}", planned.line.join(" "));
            part.section().inspect_err(|why| eprintln!("{} failed: {why:#}", planned.name))
        });
        page.chapters.push(Chapter { planned, outcome });
        page.end();
        write_plots(&page, &args.out)?;
        fs::write(args.out.join("report.md"), page.text(""))?;
    }
    println!("{}", page.text(""));
    eprintln!("this and the plots: {}", args.out.display());
    if let Some(file) = &args.into {
        block::put(file, &page)?;
    }
    ensure!(page.is_whole(), "not every part could be measured; the report says why");
    Ok(())
}

fn parse(planned: &Planned) -> Result<Option<Part>> {
    if planned.is_left_out {
        return Ok(None);
    }
    let line = ["benches".to_owned()].into_iter().chain(planned.line.iter().cloned());
    Ok(Some(Line::try_parse_from(line)?.part))
}

fn write_plots(page: &Page, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    page.plots().try_for_each(|plot| Ok(fs::write(dir.join(plot.file), plot.bars.svg())?))
}
