//! What must hold at the end of every run: each record of the source is at the target, once, in order, unchanged.

use protocol_client::batch::record::RecordBody;
use protocol_client::batch::{AppendTime, Entry, OpenBatch};

use crate::world::{PARTITIONS, SOURCE_TOPIC, TARGET_TOPIC, World};

type Seen = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

pub(crate) fn check(world: &World) -> Result<(), String> {
    for index in 0..PARTITIONS {
        let source = records(&world.source_batches(SOURCE_TOPIC, index));
        let target = records(&world.target_batches(TARGET_TOPIC, index));
        if let Some(at) = source.iter().zip(&target).position(|(source, target)| source != target) {
            return Err(format!(
                "partition {index}: record {at} differs: {:?} / {:?}",
                key(&source[at]),
                key(&target[at])
            ));
        }
        if source.len() != target.len() {
            return Err(format!(
                "partition {index}: {} records at the source, {} at the target",
                source.len(),
                target.len()
            ));
        }
        let position = world.position(index);
        let end = world.source_end(index);
        if position != Some(end) {
            return Err(format!(
                "partition {index}: the position is {position:?}, the source ends at {end}"
            ));
        }
    }
    if world.used_bytes() != 0 {
        return Err(format!("{} bytes of the budget are in use at rest", world.used_bytes()));
    }
    Ok(())
}

fn key((key, _, _): &Seen) -> String {
    String::from_utf8_lossy(key.as_deref().unwrap_or_default()).into_owned()
}

fn records(batches: &[bytes::Bytes]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for batch in batches {
        let entry = Entry::new(batch.clone()).expect("brokers store whole batches");
        let open = OpenBatch::open(&entry, 64 << 20).expect("brokers check what they store");
        for record in open.records() {
            let record = record.expect("brokers check what they store");
            let body = RecordBody::decode(record.body, record.offset).expect("records are whole");
            let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            seen.push((
                owned(body.key),
                owned(body.value),
                open.timestamp_ms(&record, AppendTime::Keep),
            ));
        }
    }
    seen
}
