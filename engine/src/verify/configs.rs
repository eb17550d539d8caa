//! Compares topic configs: those that are carried over must be the same on both sides.

use std::collections::BTreeMap;

use crate::config::FlowConfig;
use crate::discovery::plan::{self, ConfigView};
use crate::policy::java_regex::RegexError;

/// A config of a topic that differs from that of its copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigDifference {
    /// The topic at the source.
    pub source: String,
    /// Its copy.
    pub target: String,
    /// The config's name.
    pub name: String,
    /// Its value at the source.
    pub source_value: String,
    /// Its value at the target; `None` where it is not told.
    pub target_value: Option<String>,
}

/// The configs of `source` that its copy `target` should have and has not.
///
/// # Errors
/// A pattern cannot be decided for a name.
pub fn compare(
    flow: &FlowConfig,
    (source, source_configs): (&str, &[ConfigView]),
    (target, target_configs): (&str, &[ConfigView]),
) -> Result<Vec<ConfigDifference>, RegexError> {
    let carried = plan::carried(source_configs, &flow.config_properties, flow.use_defaults_from)?;
    let there: BTreeMap<&str, Option<&str>> =
        target_configs.iter().map(|one| (one.name.as_str(), one.value.as_deref())).collect();
    let differs = carried.into_iter().filter_map(|(name, source_value)| {
        let target_value = there.get(name.as_str()).copied().flatten();
        (target_value != Some(&*source_value)).then(|| ConfigDifference {
            source: source.to_owned(),
            target: target.to_owned(),
            target_value: target_value.map(str::to_owned),
            name,
            source_value,
        })
    });
    Ok(differs.collect())
}
