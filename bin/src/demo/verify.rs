//! Compares both clusters of the demo record by record: key, value, headers, timestamp and order.

use anyhow::Result;
use embedded_broker::{Cluster, Record};

/// What the comparison showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Records at the source.
    pub(crate) source_records: u64,
    /// Records at the target.
    pub(crate) target_records: u64,
    /// Where they differ first, if they do.
    pub(crate) first_difference: Option<String>,
}

impl Verdict {
    /// Whether every record is there, once, in its place.
    pub(crate) fn is_good(&self) -> bool {
        self.source_records == self.target_records
            && self.first_difference.is_none()
            && self.source_records > 0
    }
}

/// Compares each topic with its copy.
pub(super) fn verify(
    source: &Cluster,
    target: &Cluster,
    topics: &[(&str, i32)],
) -> Result<Verdict> {
    let mut verdict = Verdict { source_records: 0, target_records: 0, first_difference: None };
    for (topic, partitions) in topics {
        for index in 0..*partitions {
            let ours = records(source, topic, index)?;
            let theirs = records(target, &format!("source.{topic}"), index)?;
            verdict.source_records += ours.len() as u64;
            verdict.target_records += theirs.len() as u64;
            let differs = ours.iter().zip(&theirs).position(|(one, other)| one != other);
            let differs = differs
                .or_else(|| (ours.len() != theirs.len()).then(|| ours.len().min(theirs.len())));
            if let Some(at) = differs {
                verdict
                    .first_difference
                    .get_or_insert_with(|| format!("{topic}-{index} at record {at}"));
            }
        }
    }
    Ok(verdict)
}

fn records(cluster: &Cluster, topic: &str, index: i32) -> Result<Vec<Record>> {
    let records = cluster.records(topic, index)?;
    Ok(records.into_iter().map(|(_, record)| record).collect())
}
