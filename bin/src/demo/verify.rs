//! Compares both clusters of the demo record by record: key, value, headers, timestamp and order.

use anyhow::{Context, Result};
use embedded_broker::Cluster;
use protocol_client::batch::record::RecordBody;
use protocol_client::batch::{AppendTime, Entry, OpenBatch};

/// Most that the records of one batch may be when decompressed, in bytes.
const MAX_OPEN_BYTES: usize = 64 << 20;

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

type Bytes = Option<Vec<u8>>;

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    key: Bytes,
    value: Bytes,
    headers: Vec<(Vec<u8>, Bytes)>,
    timestamp_ms: i64,
}

fn records(cluster: &Cluster, topic: &str, index: i32) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for batch in cluster.batches(topic, index) {
        let entry = Entry::new(batch).context("a stored batch")?;
        let open = OpenBatch::open(&entry, MAX_OPEN_BYTES)?;
        for record in open.records() {
            let record = record?;
            let body = RecordBody::decode(record.body, record.offset)?;
            let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            seen.push(Seen {
                key: owned(body.key),
                value: owned(body.value),
                headers: body.headers().map(|(key, value)| (key.to_vec(), owned(value))).collect(),
                timestamp_ms: open.timestamp_ms(&record, AppendTime::Keep),
            });
        }
    }
    Ok(seen)
}
