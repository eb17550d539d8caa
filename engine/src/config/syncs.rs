//! Where offset syncs are written: settings of `MirrorSourceConnector`.

use std::collections::BTreeMap;

use super::keys::Places;
use super::layers::{self, Layer};
use super::model::{OffsetSyncsConfig, Origin};
use super::reader::Reader;
use crate::model::Side;
use crate::policy::naming::Naming;

const FLOW: Places = Places::FLOW;

/// The offset syncs of one flow, inside none if they are not written; outside none if a value is not valid.
#[expect(clippy::option_option, reason = "the outer one is how every reader of settings fails")]
pub(super) fn offset_syncs(
    r: &mut Reader,
    connector: &Layer,
    naming: &Naming,
) -> Option<Option<OffsetSyncsConfig>> {
    if !r.boolean(connector, "emit.offset-syncs.enabled") {
        return Some(None);
    }
    let sides = [("source", Side::Source), ("target", Side::Target)];
    let location = r.choice(connector, FLOW, "offset-syncs.topic.location", sides);
    let mut topic_configs = BTreeMap::new();
    for (name, setting) in layers::stripped(connector, "offset-syncs.topic.") {
        if matches!(name.as_str(), "location" | "replication.factor") {
            continue;
        }
        let origin = Origin::Line { line: setting.line, key: setting.written };
        r.note(&format!("offset-syncs.topic.{name}"), setting.value.trim(), origin);
        topic_configs.insert(name, setting.value.trim().to_owned());
    }
    Some(Some(OffsetSyncsConfig {
        topic: match location {
            Side::Source => naming.offset_syncs_topic_on_source(),
            Side::Target => naming.offset_syncs_topic_on_target(),
        },
        location,
        replication_factor: r.number(connector, FLOW, "offset-syncs.topic.replication.factor")?,
        topic_configs,
        lag_max: r.number(connector, FLOW, "offset.lag.max")?,
    }))
}
