//! What is wrong with a configuration file, one line each.

use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be run.
    Error,
    /// The file can be run; something in it does not do what it says.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing that whoever wrote the file should know. Printed as `FILE:LINE: error: key: problem;
/// remedy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named on the command line.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The key, as it stands in the file.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, file, line, key, problem, remedy } = self;
        write!(f, "{file}:{line}: {severity}: {key}: {problem}; {remedy}")
    }
}

/// Collects findings of one file.
#[derive(Debug)]
pub(super) struct Findings {
    file: String,
    all: Vec<Draft>,
}

/// A finding, and what else is known about it until all are collected.
#[derive(Debug)]
struct Draft {
    finding: Finding,
    /// The key that was probably meant.
    meant: Option<String>,
    /// The cluster that it concerns, if no more than that.
    cluster: Option<String>,
}

/// Problem and remedy, and what may soften or sharpen them later.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) problem: String,
    pub(super) remedy: String,
    pub(super) meant: Option<String>,
    pub(super) cluster: Option<String>,
}

impl Report {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into(), meant: None, cluster: None }
    }
}

impl Findings {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), all: Vec::new() }
    }

    pub(super) fn add(&mut self, severity: Severity, line: u32, key: &str, report: Report) {
        let Report { problem, remedy, meant, cluster } = report;
        let finding = Finding {
            severity,
            file: self.file.clone(),
            line,
            key: one_line(key),
            problem: one_line(&problem),
            remedy: one_line(&remedy),
        };
        self.all.push(Draft { finding, meant, cluster });
    }

    /// Something that must be there is missing. If a misspelt key was probably meant to be it, that
    /// becomes the error.
    pub(super) fn missing(&mut self, wanted: &[String], line: u32, key: &str, report: Report) {
        let misspelt = self.all.iter_mut().find(|draft| {
            draft.meant.as_ref().is_some_and(|meant| wanted.iter().any(|name| name == meant))
        });
        match misspelt {
            Some(draft) => draft.finding.severity = Severity::Error,
            None => self.add(Severity::Error, line, key, report),
        }
    }

    /// What concerns only clusters that no running flow touches is not worth stopping for.
    pub(super) fn soften_unused_clusters(&mut self, used: impl Fn(&str) -> bool) {
        for draft in &mut self.all {
            if draft.cluster.as_ref().is_some_and(|cluster| !used(cluster)) {
                draft.finding.severity = Severity::Warning;
            }
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.all.iter().any(|draft| draft.finding.severity == Severity::Error)
    }

    /// All findings in the order of the file.
    pub(super) fn finish(self) -> Vec<Finding> {
        let mut all: Vec<Finding> = self.all.into_iter().map(|draft| draft.finding).collect();
        all.sort_by(|a, b| (a.line, a.severity, &a.key).cmp(&(b.line, b.severity, &b.key)));
        all.dedup();
        all
    }
}

/// A finding is one line, whatever the file holds.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}
