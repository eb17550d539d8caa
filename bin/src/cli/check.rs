//! `kmirror check`: what a file comes to and what is wrong with it, without connecting to anything.

use std::fmt::Write;

use clap::Args;
use engine::config::{EffectiveSetting, Finding, Origin, Replication, Resolution};
use serde_json::{Value, json};

use super::file::FileArgs;
use super::{Exit, output};

/// Say what a configuration comes to, and what is wrong with it
///
/// Prints every error and warning as FILE:LINE: SEVERITY: KEY: PROBLEM; REMEDY, then the settings
/// that hold for each flow with the line they come from. Connects to nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kmirror check mm2.properties
  kmirror check mm2.properties --clusters backup
  kmirror check mm2.properties --json | jq '.findings[].problem'

Exit codes: 0 the file can be run, with or without warnings; 2 usage;
3 the file has errors or cannot be read.")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    file: FileArgs,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &CheckArgs) -> Exit {
    let resolution = match args.file.resolve() {
        Ok(resolution) => resolution,
        Err(problem) => return output::complain(&problem, Exit::Configuration),
    };
    let text = match args.json {
        true => format!("{:#}\n", as_json(&args.file.name(), &resolution)),
        false => as_text(&resolution),
    };
    match output::say(&text) {
        Err(error) => output::complain(&format!("stdout: {error}"), Exit::Configuration),
        Ok(()) if resolution.replication.is_none() => Exit::Configuration,
        Ok(()) => Exit::Done,
    }
}

fn as_text(resolution: &Resolution) -> String {
    let findings: String =
        resolution.findings.iter().map(|finding| format!("{finding}\n")).collect();
    match &resolution.replication {
        Some(replication) => findings + &effective_text(replication),
        None => findings,
    }
}

fn effective_text(replication: &Replication) -> String {
    let mut out = String::new();
    for (title, settings) in titled(replication) {
        writeln!(out, "\n[{title}]").expect("a string takes everything");
        for EffectiveSetting { key, value, origin } in settings {
            writeln!(out, "{key} = {value}  ({origin})").expect("a string takes everything");
        }
    }
    out
}

/// The settings of the process, of every flow and of all heartbeats, each under its title.
fn titled(replication: &Replication) -> impl Iterator<Item = (String, &[EffectiveSetting])> {
    let process = ("process".to_owned(), replication.process.effective.as_slice());
    let flows = replication.flows.iter().map(|flow| (flow.id(), flow.effective.as_slice()));
    let heartbeats = replication
        .heartbeats
        .iter()
        .map(|pair| (format!("{} heartbeats", pair.id()), pair.effective.as_slice()));
    std::iter::once(process).chain(flows).chain(heartbeats)
}

fn as_json(file: &str, resolution: &Resolution) -> Value {
    let findings: Vec<Value> = resolution.findings.iter().map(finding_json).collect();
    let mut settings = serde_json::Map::new();
    for (title, listed) in resolution.replication.iter().flat_map(titled) {
        settings.insert(title, listed.iter().map(setting_json).collect());
    }
    json!({
        "file": file,
        "runs": resolution.replication.is_some(),
        "findings": findings,
        "settings": settings,
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "line": finding.line,
        "severity": finding.severity.to_string(),
        "key": finding.key,
        "problem": finding.problem,
        "remedy": finding.remedy,
    })
}

fn setting_json(setting: &EffectiveSetting) -> Value {
    let (line, written) = match &setting.origin {
        Origin::Default => (Value::Null, Value::Null),
        Origin::Line { line, key } => ((*line).into(), key.as_str().into()),
    };
    json!({"key": setting.key, "value": setting.value, "line": line, "written": written})
}
