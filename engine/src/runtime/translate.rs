//! Where a consumer group of the source stands at the target, found out from what is stored: no flow has to run.

use std::collections::BTreeMap;

use protocol_client::ClientError;
use protocol_client::client::{CommittedOffset, OffsetSpec};
use protocol_client::cluster::{ClusterView, TopicPartition};
use protocol_client::wire::fetch::Isolation;

use super::clusters::{self, FlowClients};
use super::tell::refusal;
use super::topics::{DiscoverError, look};
use crate::config::FlowConfig;
use crate::error::EngineError;
use crate::index::Translation;
use crate::model::{Side, TopicIds};
use crate::syncs::ledger::Ledger;
use crate::syncs::store;

/// Where a group stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// The topic, as the source calls it.
    pub source: String,
    /// The topic, as the target calls it.
    pub target: String,
    /// The partition, the same on both sides.
    pub partition: i32,
    /// The next offset that the group reads at the source.
    pub position: i64,
    /// The next offset that it would have to read at the target.
    pub translation: Translation,
    /// Why there is no answer, if there is none.
    pub trouble: Option<String>,
}

/// Translates what a group has committed at the source of a flow, for all topics that the flow replicates or for the one
/// of this name (on either side), in order of topic and partition. Answers come from the offset-syncs topic: what it does
/// not have yet waits at what it has.
///
/// # Errors
/// A cluster does not do what it is asked for.
pub async fn translate_group(
    config: &FlowConfig,
    group: &str,
    topic: Option<&str>,
) -> Result<Vec<Translated>, EngineError> {
    let clients = clusters::clients(config);
    let refused = |side, what| {
        let cluster = match side {
            Side::Source => &config.source.alias,
            Side::Target => &config.target.alias,
        };
        EngineError::Refused { cluster: cluster.clone(), what }
    };
    let unseen = |error: DiscoverError| EngineError::Refused {
        cluster: error.cluster(config).to_owned(),
        what: error.to_string(),
    };
    let view = look(&clients.source, Side::Source).await.map_err(unseen)?;
    look(&clients.target, Side::Target).await.map_err(unseen)?;
    let committed = committed(&clients, group).await.map_err(|what| refused(Side::Source, what))?;
    let mut ledger = match &config.offset_syncs {
        Some(syncs) => {
            let client = match syncs.location {
                Side::Source => &clients.source,
                Side::Target => &clients.target,
            };
            let read = store::read(client, &syncs.topic).await;
            read.map_err(|error| {
                refused(syncs.location, refusal(&error, "READ", &format!("topic {}", syncs.topic)))
            })?
        }
        None => Ledger::default(),
    };
    let mut all = Vec::new();
    for (at, position) in committed {
        let replicated = config.replicates(&at.topic).map_err(|error| unseen(error.into()))?;
        let target = config.naming.remote_topic(&at.topic);
        if replicated && topic.is_none_or(|topic| topic == &*at.topic || topic == target) {
            all.push(translate(&mut ledger, &view, &at, &target, position));
        }
    }
    hold_against_ends(&clients, &mut all).await;
    Ok(all)
}

async fn committed(
    clients: &FlowClients,
    group: &str,
) -> Result<BTreeMap<TopicPartition, Result<CommittedOffset, ClientError>>, String> {
    let asked = [(group.to_owned(), None)].into();
    let mut answers = clients.source.fetch_group_offsets(&asked, false).await;
    match answers.remove(group) {
        Some(Ok(offsets)) => Ok(offsets),
        Some(Err(error)) => Err(refusal(&error, "DESCRIBE", &format!("group {group}"))),
        None => Err(format!("no answer for group {group}")),
    }
}

fn translate(
    ledger: &mut Ledger,
    view: &ClusterView,
    at: &TopicPartition,
    target: &str,
    position: Result<CommittedOffset, ClientError>,
) -> Translated {
    let source = view.topics.get(&at.topic).map_or_else(Default::default, |topic| topic.id);
    // The target is not asked.
    let ids = TopicIds { source, ..TopicIds::default() };
    let mut translated = Translated {
        source: at.topic.to_string(),
        target: target.to_owned(),
        partition: at.partition,
        position: -1,
        translation: Translation::Unknown,
        trouble: None,
    };
    match position {
        Ok(position) => {
            let index = ledger.take(&(at.topic.clone(), at.partition), ids);
            translated.position = position.offset;
            translated.translation = index.translate(position.offset);
            if translated.translation == Translation::Unknown {
                translated.trouble = Some(match index.start() {
                    Some((start, _)) => format!("nothing is known from before offset {start}"),
                    None => "nothing is stored of the partition".to_owned(),
                });
            }
        }
        Err(error) => {
            let resource = format!("topic {}", at.topic);
            translated.trouble = Some(refusal(&error, "DESCRIBE", &resource));
        }
    }
    translated
}

/// A position behind the end of the target's log is none: the log is not the one that the index tells of.
async fn hold_against_ends(clients: &FlowClients, all: &mut [Translated]) {
    let at = |one: &Translated| TopicPartition::new(one.target.as_str(), one.partition);
    let asked = all.iter().filter(|one| one.trouble.is_none()).map(at);
    let isolation = Isolation::ReadUncommitted;
    let ends = clients.target.list_offsets_of(asked, OffsetSpec::Latest, isolation).await;
    for one in all {
        one.trouble = match (ends.get(&at(one)), one.translation.position()) {
            (Some(Ok(end)), Some(position)) if position > end.offset => {
                Some(format!("the copy ends at {}: it is not the one that was stored", end.offset))
            }
            (Some(Err(error)), _) => {
                Some(refusal(error, "DESCRIBE", &format!("topic {}", one.target)))
            }
            _ => continue,
        };
        one.translation = Translation::Unknown;
    }
}
