//! `kmirror translate`: where a consumer group would go on at the target, and whether that is exact.

use std::fmt::Write as _;

use clap::Args;
use engine::config::{FlowConfig, Severity};
use engine::index::Translation;
use engine::runtime::{self, Translated};
use serde_json::{Value, json};

use super::file::FileArgs;
use super::{Exit, output};

/// Say where a consumer group of the source goes on at the target
///
/// Reads what the group has committed at the source, and what the offset-syncs topic knows. An exact position skips no
/// record and repeats none. One that is not exact is never ahead: the group reads some records again. Works on the
/// offset syncs of MirrorMaker 2, too, which are exact for few positions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kmirror translate mm2.properties --group billing
  kmirror translate mm2.properties --group billing --topic orders
  kmirror translate mm2.properties --group billing --flow A->B --json

Exit codes: 0 every position is translated exactly; 1 some are not, or the group has committed nothing; 2 usage;
3 the file has errors, or a cluster cannot be asked.")]
pub(crate) struct TranslateArgs {
    #[command(flatten)]
    file: FileArgs,

    /// The consumer group
    #[arg(long, value_name = "GROUP")]
    group: String,

    /// Only this topic, by its name at the source or at the target
    #[arg(long)]
    topic: Option<String>,

    /// Only this flow
    #[arg(long, value_name = "A->B")]
    flow: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The answers of one flow.
type Answers = (String, Vec<Translated>);

pub(crate) fn run(args: &TranslateArgs) -> Exit {
    let resolution = match args.file.resolve() {
        Ok(resolution) => resolution,
        Err(problem) => return output::complain(&problem, Exit::Configuration),
    };
    for finding in resolution.findings.iter().filter(|one| one.severity == Severity::Error) {
        output::complain(&finding.to_string(), Exit::Configuration);
    }
    let Some(replication) = resolution.replication else { return Exit::Configuration };
    let wanted = |flow: &&FlowConfig| args.flow.as_ref().is_none_or(|id| flow.id() == *id);
    let flows: Vec<&FlowConfig> = replication.flows.iter().filter(wanted).collect();
    if flows.is_empty() {
        let there: Vec<String> = replication.flows.iter().map(FlowConfig::id).collect();
        let asked = args.flow.as_deref().unwrap_or_default();
        let problem = format!("no flow {asked}; the file has {}", there.join(", "));
        return output::complain(&problem, Exit::Usage);
    }
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(translate(args, &flows)),
        Err(error) => output::complain(&format!("no runtime: {error}"), Exit::Configuration),
    }
}

async fn translate(args: &TranslateArgs, flows: &[&FlowConfig]) -> Exit {
    let mut answers: Vec<Answers> = Vec::new();
    for flow in flows {
        match runtime::translate_group(flow, &args.group, args.topic.as_deref()).await {
            Ok(translated) => answers.push((flow.id(), translated)),
            Err(error) => return output::complain(&error.to_string(), Exit::Configuration),
        }
    }
    let text = match args.json {
        true => format!("{:#}\n", as_json(&args.group, &answers)),
        false => as_text(&answers),
    };
    if let Err(error) = output::say(&text) {
        return output::complain(&format!("stdout: {error}"), Exit::Fatal);
    }
    let all = || answers.iter().flat_map(|(_, translated)| translated);
    if all().next().is_none() {
        let problem =
            format!("group {} has committed nothing for topics that are copied", args.group);
        return output::complain(&problem, Exit::Found);
    }
    match all().all(|one| one.translation.is_exact()) {
        true => Exit::Done,
        false => Exit::Found,
    }
}

fn as_text(answers: &[Answers]) -> String {
    let mut out = String::new();
    for (flow, translated) in answers.iter().filter(|(_, translated)| !translated.is_empty()) {
        let header = ["SOURCE", "POSITION", "TARGET", "POSITION", ""].map(str::to_owned);
        let rows: Vec<[String; 5]> =
            std::iter::once(header).chain(translated.iter().map(row)).collect();
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let [source, position, target, translation] = [0, 1, 2, 3].map(width);
        writeln!(out, "{flow}").expect("a string takes everything");
        for [a, b, c, d, e] in &rows {
            let line =
                format!("  {a:source$}  {b:>position$}  {c:target$}  {d:>translation$}  {e}");
            writeln!(out, "{}", line.trim_end()).expect("a string takes everything");
        }
    }
    out
}

fn row(one: &Translated) -> [String; 5] {
    let known = |position: i64| match position {
        ..0 => "-".to_owned(),
        position => position.to_string(),
    };
    [
        format!("{}-{}", one.source, one.partition),
        known(one.position),
        format!("{}-{}", one.target, one.partition),
        known(one.translation.position().unwrap_or(-1)),
        match (&one.trouble, one.translation) {
            (Some(trouble), _) => format!("unknown: {trouble}"),
            (None, Translation::Exact(_)) => "exact".to_owned(),
            (None, _) => "not exact: some records come again".to_owned(),
        },
    ]
}

fn as_json(group: &str, answers: &[Answers]) -> Value {
    let flows = answers.iter().map(|(flow, translated)| {
        let partitions = translated.iter().map(|one| {
            json!({
                "source": one.source,
                "target": one.target,
                "partition": one.partition,
                "source_position": Some(one.position).filter(|position| *position >= 0),
                "target_position": one.translation.position(),
                "exact": one.translation.is_exact(),
                "trouble": one.trouble,
            })
        });
        json!({"flow": flow, "partitions": partitions.collect::<Vec<_>>()})
    });
    json!({"group": group, "flows": flows.collect::<Vec<_>>()})
}
