//! What must hold at the end of every run: each record of the source is at the target, once, in order, unchanged.

use bytes::Bytes;
use protocol_client::batch::record::RecordBody;
use protocol_client::batch::{AppendTime, Entry, OpenBatch};

use crate::world::{PARTITIONS, SOURCE_TOPIC, TARGET_TOPIC, World};

type Seen = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

pub(crate) fn check(world: &World) -> Result<(), String> {
    for index in 0..PARTITIONS {
        let source = world.source_batches(SOURCE_TOPIC, index);
        let target = world.target_batches(TARGET_TOPIC, index);
        compare(&source, &target).map_err(|why| format!("partition {index}: {why}"))?;
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

/// Says where two logs differ in their records; how these are cut into batches does not matter.
fn compare(source: &[Bytes], target: &[Bytes]) -> Result<(), String> {
    let (source, target) = (records(source), records(target));
    if let Some(at) = source.iter().zip(&target).position(|(source, target)| source != target) {
        return Err(format!(
            "record {at} differs: {:?} / {:?}",
            key(&source[at]),
            key(&target[at])
        ));
    }
    if source.len() != target.len() {
        return Err(format!(
            "{} records at the source, {} at the target",
            source.len(),
            target.len()
        ));
    }
    Ok(())
}

fn key((key, _, _): &Seen) -> String {
    String::from_utf8_lossy(key.as_deref().unwrap_or_default()).into_owned()
}

fn records(batches: &[Bytes]) -> Vec<Seen> {
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

#[cfg(test)]
mod tests {
    use protocol_client::batch::BatchBuilder;

    use super::*;

    fn log(numbers: &[u8]) -> Vec<Bytes> {
        let batches = numbers.chunks(2).map(|chunk| {
            let mut batch = BatchBuilder::new();
            for number in chunk {
                batch.push(Some(&[*number]), Some(b"value"), &[], 1_000 + i64::from(*number));
            }
            batch.build().expect("records were pushed").bytes
        });
        batches.collect()
    }

    #[test]
    fn equal_records_in_other_batches_are_equal() {
        assert_eq!(compare(&log(&[1, 2, 3, 4]), &[log(&[1]), log(&[2, 3, 4])].concat()), Ok(()));
    }

    #[test]
    fn lost_repeated_swapped_and_changed_records_are_seen() {
        let source = log(&[1, 2, 3, 4]);
        for target in [
            &[1, 3, 4][..],
            &[2, 3, 4],
            &[1, 2, 3],
            &[],
            &[1, 1, 2, 3, 4],
            &[1, 2, 3, 4, 4],
            &[1, 2, 1, 2, 3, 4],
            &[1, 3, 2, 4],
            &[1, 2, 3, 5],
        ] {
            assert!(compare(&source, &log(target)).is_err(), "{target:?}");
        }
    }
}
