//! The page: machine, versions and time, one table of what was aimed at, and a chapter for each part.

use std::fmt::Write;

use anyhow::Result;

use super::plan::Planned;
use crate::goal;
use crate::place::{self, Place};
use crate::section::{Plot, Section};

/// A report, as far as it has come.
#[derive(Debug)]
pub(super) struct Page {
    /// What measures, as it is called.
    program: String,
    /// How the report is made.
    command: String,
    begin: Place,
    machine: String,
    peers: String,
    end: String,
    pub(super) chapters: Vec<Chapter>,
}

/// What became of a part; nothing if it was left out.
#[derive(Debug)]
pub(super) struct Chapter {
    pub(super) planned: Planned,
    pub(super) outcome: Option<Result<Section>>,
}

impl Page {
    pub(super) fn begin(program: &str) -> Self {
        let quoted = |word: String| if word.contains(' ') { format!("\"{word}\"") } else { word };
        let words = [program.to_owned()].into_iter().chain(std::env::args().skip(1).map(quoted));
        Self {
            program: program.to_owned(),
            command: words.collect::<Vec<_>>().join(" "),
            begin: Place::here(),
            machine: place::memory_and_load(),
            peers: place::peers(),
            end: String::new(),
            chapters: Vec::new(),
        }
    }

    /// Takes down when the last part so far has ended.
    pub(super) fn end(&mut self) {
        self.end = Place::here().date;
    }

    /// Whether every part that was not left out has been measured.
    pub(super) fn is_whole(&self) -> bool {
        let mut outcomes = self.chapters.iter().filter_map(|chapter| chapter.outcome.as_ref());
        outcomes.all(|outcome| outcome.as_ref().is_ok_and(|section| section.is_measured))
    }

    pub(super) fn plots(&self) -> impl Iterator<Item = &Plot> {
        self.sections().flat_map(|section| &section.plots)
    }

    /// The page in Markdown; `dir` is where it finds the plots, with a slash at its end.
    pub(super) fn text(&self, dir: &str) -> String {
        let Self { command, begin, machine, peers, end, .. } = self;
        let goals: Vec<_> = self.sections().flat_map(|section| section.goals.clone()).collect();
        let mut text = format!(
            "## One run, {} to {end}\n\n\
             `{command}`\n\n\
             - machine: {}, {machine}\n\
             - system: {}\n\
             - versions: {}; {peers}\n\n\
             ### What was aimed at\n\n\
             MirrorMaker 2 is the tuned one here.\n\n{}",
            begin.date,
            begin.processors(),
            begin.system,
            begin.version,
            goal::table_of(goal::all(&goals))
        );
        for chapter in &self.chapters {
            text += &self.chapter(chapter, dir);
        }
        text
    }

    fn sections(&self) -> impl Iterator<Item = &Section> {
        self.chapters.iter().filter_map(|chapter| chapter.outcome.as_ref()?.as_ref().ok())
    }

    fn chapter(&self, Chapter { planned, outcome }: &Chapter, dir: &str) -> String {
        let mut text = format!("\n### {}\n\n", planned.title);
        let Some(outcome) = outcome else { return text + "Left out of this run.\n" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "`{} {}`\n", self.program, planned.line.join(" "));
        match outcome {
            Ok(section) => {
                text += &section.text;
                let links = section
                    .plots
                    .iter()
                    .map(|plot| format!("![{}]({dir}{})\n", plot.bars.title, plot.file));
                let links: String = links.collect();
                text + if links.is_empty() { "" } else { "\n" } + &links
            }
            Err(why) => text + &format!("**FAILED:**\n\n```text\n{why:#}\n```\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goal::Goal;
    use crate::svg::Bars;

    fn chapter(name: &'static str, outcome: Option<Result<Section>>) -> Chapter {
        let line = vec![name.to_owned()];
        let planned = Planned { name, title: name, line, is_left_out: outcome.is_none() };
        Chapter { planned, outcome }
    }

    #[test]
    fn a_part_that_fails_is_told_of_and_does_not_hide_the_others() {
        let mut page = Page::begin("target/release/benches");
        let bars = Bars { title: "CPU".to_owned(), ..Bars::default() };
        let section = Section {
            text: "all is well\n".to_owned(),
            plots: vec![Plot { file: "cpu.svg", bars }],
            goals: vec![(Goal::Start, 0.2)],
            is_measured: true,
        };
        page.chapters.push(chapter("compare", Some(Ok(section))));
        page.chapters.push(chapter("relay", None));
        assert!(page.is_whole());
        page.chapters.push(chapter("many", Some(Err(anyhow::anyhow!("no room")))));
        assert!(!page.is_whole());
        let text = page.text("benchmarks/");
        for wanted in [
            "`target/release/benches compare`\n\nall is well\n\n![CPU](benchmarks/cpu.svg)\n",
            "### relay\n\nLeft out of this run.\n",
            "### many\n\n`target/release/benches many`\n\n**FAILED:**\n\n```text\nno room\n```\n",
        ] {
            assert!(text.contains(wanted), "{text}");
        }
        page.chapters.truncate(1);
        page.chapters.push(chapter("distance", Some(Ok(Section::skipped("not root")))));
        assert!(!page.is_whole() && page.text("").contains("SKIPPED: not root"));
    }
}
