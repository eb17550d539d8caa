//! Partitions that begin anew: both logs are asked where they begin or end, and the answer is stored before the first
//! record is copied. Whatever ends the process from then on, the next one knows where to compare the logs from.

use std::collections::BTreeMap;

use protocol_client::ClientError;
use protocol_client::client::{ListedOffset, OffsetSpec};
use protocol_client::cluster;
use protocol_client::wire::fetch::Isolation;

use super::clusters::FlowClients;
use crate::config::StartFrom;
use crate::flow::event::{PartitionSpec, Start};
use crate::model::{Pair, TopicPartition};
use crate::positions::beginning::{Origin, Surprise};
use crate::positions::ledger::Position;

/// A partition that begins anew.
#[derive(Debug, Clone)]
pub(super) struct Anew {
    /// The partition; where it starts is still to be found out.
    pub(super) spec: PartitionSpec,
    /// From where at the source on.
    pub(super) from: Origin,
    /// Why, if it was copied before.
    pub(super) surprise: Option<Surprise>,
}

/// What became of partitions that begin anew.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// They know where they start.
    pub(super) ready: Vec<PartitionSpec>,
    /// What the target lacks of copies that cannot come again: from which offset up to which.
    pub(super) lost: Vec<(PartitionSpec, (i64, i64))>,
    /// One of their leaders did not answer; they are asked again.
    pub(super) waiting: Vec<Anew>,
}

impl Begun {
    /// What has to be stored of those that are ready.
    pub(super) fn positions(&self) -> Vec<Position> {
        let position = |spec: &PartitionSpec| match spec.start {
            Start::Pair(pair) => {
                let source = spec.source.clone();
                Some(Position { source, next: pair.source_next, pair: Some(pair) })
            }
            _ => None,
        };
        self.ready.iter().filter_map(position).collect()
    }
}

/// Asks both clusters.
pub(super) async fn begin(clients: &FlowClients, isolation: Isolation, anew: &[Anew]) -> Begun {
    let mut begun = Begun::default();
    let starts = |end| {
        let those = anew.iter().filter(move |one| one.from == Origin::End(end));
        those.map(|one| named(&one.spec.source))
    };
    let (first, last) = (starts(StartFrom::Earliest), starts(StartFrom::Latest));
    let asked = anew.iter().map(|one| named(&one.spec.target));
    let ends = Isolation::ReadUncommitted;
    let (mut sources, latest, targets) = tokio::join!(
        clients.source.list_offsets_of(first, OffsetSpec::Earliest, isolation),
        clients.source.list_offsets_of(last, OffsetSpec::Latest, isolation),
        clients.target.list_offsets_of(asked, OffsetSpec::Latest, ends),
    );
    sources.extend(latest);
    for one in anew {
        let mut spec = one.spec.clone();
        let source_next = match one.from {
            Origin::End(_) => found(&sources, &spec.source),
            Origin::Offset(offset) => Some(offset),
        };
        let Some((source_next, target_next)) = source_next.zip(found(&targets, &spec.target))
        else {
            begun.waiting.push(one.clone());
            continue;
        };
        let source_epoch = -1;
        let (source_id, target_id) = (spec.source.topic_id, spec.target.topic_id);
        if one.from == Origin::End(StartFrom::Earliest) {
            spec.index.begin_at_start(source_next, target_next);
        }
        let pair = Pair { source_next, source_epoch, target_next, source_id, target_id };
        spec.start = Start::Pair(pair);
        let lost = one.surprise.and_then(|surprise| surprise.lost_at_target(target_next));
        begun.lost.extend(lost.map(|range| (spec.clone(), range)));
        begun.ready.push(spec);
    }
    begun
}

fn named(at: &TopicPartition) -> cluster::TopicPartition {
    cluster::TopicPartition::new(at.topic.clone(), at.index)
}

fn found(
    listed: &BTreeMap<cluster::TopicPartition, Result<ListedOffset, ClientError>>,
    at: &TopicPartition,
) -> Option<i64> {
    Some(listed.get(&named(at))?.as_ref().ok()?.offset)
}
