//! Logs: to stderr, as text or as one JSON object a line.

use std::io;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What says how much is logged when `--log-level` does not.
const VARIABLE: &str = "KMIRROR_LOG";

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct LoggingArgs {
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    log_format: Format,

    /// How much is logged: error, warn, info, debug, trace, or directives like `engine=debug` [env:
    /// KMIRROR_LOG]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Starts logging. Fails if the level cannot be understood.
pub(crate) fn init(args: &LoggingArgs) -> Result<(), String> {
    let (origin, level) = match &args.log_level {
        Some(level) => ("--log-level", level.clone()),
        None => (VARIABLE, variable().unwrap_or_default()),
    };
    // The library takes any other word for a module, and would log nothing.
    let is_module = |directive: &str| !directive.contains(['=', '[']);
    if let Some(word) = level.split(',').map(str::trim).find(|directive| {
        !directive.is_empty() && is_module(directive) && LevelFilter::from_str(directive).is_err()
    }) {
        return Err(format!(
            "{origin}: `{word}` is not a log level; write error, warn, info, debug or trace, or MODULE=LEVEL"
        ));
    }
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(&level)
        .map_err(|error| format!("{origin}: `{level}` is not a log level: {error}"))?;
    let subscriber = tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter(filter);
    match args.log_format {
        Format::Text => subscriber.with_ansi(false).init(),
        Format::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the program reads its environment here")]
fn variable() -> Option<String> {
    std::env::var(VARIABLE).ok()
}
