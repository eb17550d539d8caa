//! How consumer groups are followed: `MirrorCheckpointConnector`'s settings and their conditions.

use super::finding::{Findings, Report, Severity};
use super::flows;
use super::keys::Places;
use super::layers::{self, Layer, Setting};
use super::model::{CheckpointsConfig, GroupsConfig};
use super::reader::Reader;
use super::values;
use crate::policy::filters::NameFilter;

const FLOW: Places = Places::FLOW;

/// The groups of one flow, inside none if they are not followed; outside none if a value is not valid.
#[expect(clippy::option_option, reason = "the outer one is how every reader of settings fails")]
pub(super) fn groups(r: &mut Reader, connector: &Layer) -> Option<Option<GroupsConfig>> {
    let enabled = r.boolean(connector, "emit.checkpoints.enabled");
    if !enabled || off(connector, "emit.offset-syncs.enabled").is_some() {
        return Some(None);
    }
    let include = r.text(connector, FLOW, "groups");
    let exclude = r.text(connector, FLOW, "groups.exclude");
    let refresh = r.boolean(connector, "refresh.groups.enabled");
    let refresh_interval = r.seconds(connector, "refresh.groups.interval.seconds");
    let checkpoints = CheckpointsConfig {
        interval: r.seconds(connector, "emit.checkpoints.interval.seconds"),
        replication_factor: r.number(connector, FLOW, "checkpoints.topic.replication.factor")?,
    };
    let sync = r.boolean(connector, "sync.group.offsets.enabled");
    let sync_interval = r.seconds(connector, "sync.group.offsets.interval.seconds");
    Some(Some(GroupsConfig {
        filter: NameFilter::new(flows::patterns(&include)?, flows::patterns(&exclude)?),
        refresh: refresh.then_some(refresh_interval),
        checkpoints,
        sync_offsets: sync.then_some(sync_interval),
        follow_rewinds: r.boolean(connector, "kmirror.groups.follow.rewinds"),
    }))
}

/// Says which settings cannot hold together (`MirrorCheckpointConnector.validate`).
pub(super) fn check(file: &Layer, running: &[(String, String)], findings: &mut Findings) {
    let mut told = Vec::new();
    for (source, target) in running {
        let connector = layers::connector(file, source, target);
        let no_checkpoints = off(&connector, "emit.checkpoints.enabled");
        let sync = connector
            .get("sync.group.offsets.enabled")
            .filter(|sync| values::boolean(&sync.value) == Some(true));
        let said = match (no_checkpoints, off(&connector, "emit.offset-syncs.enabled"), sync) {
            (Some(_), _, Some(sync)) => (
                sync,
                "without checkpoints no positions of groups are committed, as in MirrorMaker 2",
                "set `emit.checkpoints.enabled = true`",
            ),
            (None, Some(no_syncs), _) => (
                no_syncs,
                "without offset-syncs no checkpoints are written and no groups are translated, as in MirrorMaker 2",
                "remove the line, or set `emit.checkpoints.enabled = false` if that is meant",
            ),
            _ => continue,
        };
        let (Setting { line, written, .. }, problem, remedy) = said;
        if !told.contains(line) {
            told.push(*line);
            findings.add(Severity::Warning, *line, written, Report::new(problem, remedy));
        }
    }
}

/// The setting that turns something off, if one does.
fn off<'a>(connector: &'a Layer, name: &str) -> Option<&'a Setting> {
    connector.get(name).filter(|setting| values::boolean(&setting.value) == Some(false))
}
