//! What must hold at the end of every run: each record of the source is at the target, once, in order, unchanged.

use embedded_broker::Record;

use crate::world::{PARTITIONS, SOURCE_TOPIC, TARGET_TOPIC, World};

pub(crate) fn check(world: &World) -> Result<(), String> {
    for index in 0..PARTITIONS {
        let source = world.source_records(SOURCE_TOPIC, index);
        let target = world.target_records(TARGET_TOPIC, index);
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
fn compare(source: &[Record], target: &[Record]) -> Result<(), String> {
    if let Some(at) = source.iter().zip(target).position(|(source, target)| source != target) {
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

fn key(record: &Record) -> String {
    String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(numbers: &[u8]) -> Vec<Record> {
        let record = |number: &u8| Record {
            key: Some(vec![*number]),
            value: Some(b"value".to_vec()),
            headers: Vec::new(),
            timestamp_ms: 1_000 + i64::from(*number),
        };
        numbers.iter().map(record).collect()
    }

    #[test]
    fn lost_repeated_swapped_and_changed_records_are_seen() {
        let source = log(&[1, 2, 3, 4]);
        assert_eq!(compare(&source, &source), Ok(()));
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
