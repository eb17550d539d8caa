//! Between our types and those of `kafka-protocol`.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::cluster::TopicPartition;

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(super) fn group_id(id: &str) -> GroupId {
    GroupId(text(id))
}

/// Groups partitions, each with what belongs to it, under their topics.
pub(super) fn by_topic<V>(
    partitions: impl IntoIterator<Item = (TopicPartition, V)>,
) -> BTreeMap<Arc<str>, Vec<(i32, V)>> {
    let mut topics: BTreeMap<Arc<str>, Vec<(i32, V)>> = BTreeMap::new();
    for (place, value) in partitions {
        topics.entry(place.topic).or_default().push((place.partition, value));
    }
    topics
}
