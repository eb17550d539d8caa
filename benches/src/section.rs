//! What a part of the report comes to: the same whether it is run alone or with the others.

use crate::goal::{self, Goal};
use crate::place::Place;
use crate::svg::Bars;

/// What a part has measured.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// In Markdown.
    pub(crate) text: String,
    pub(crate) plots: Vec<Plot>,
    pub(crate) goals: Vec<(Goal, f64)>,
    /// False if this machine does not allow what is to be measured; the text says why.
    pub(crate) is_measured: bool,
}

/// A picture, and the name of its file.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) file: &'static str,
    pub(crate) bars: Bars,
}

impl Section {
    /// Nothing, because it cannot be measured here.
    #[cfg(not(target_env = "musl"))]
    pub(crate) fn skipped(why: &str) -> Self {
        Self { text: format!("SKIPPED: {why}\n"), ..Self::default() }
    }

    /// Prints it as it is where a part runs alone.
    pub(crate) fn show(&self) {
        println!("{}\n\n{}", Place::here().text(), self.text);
        if !self.goals.is_empty() {
            println!(
                "{}",
                goal::table_of(self.goals.iter().map(|(goal, value)| (*goal, Some(*value))))
            );
        }
    }
}
