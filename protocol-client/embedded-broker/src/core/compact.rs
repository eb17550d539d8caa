//! Compaction of a log on demand.
//!
//! Rules: Kafka's `Cleaner` and `MemoryRecords#filterTo`. A batch that loses records keeps its offsets, producer and
//! sequence; its records keep their offset deltas. The first pass over a tombstone sets the delete horizon
//! (KIP-534), a pass behind it removes the tombstone. Left out: the active segment is compacted too; markers stay.

use std::collections::{BTreeMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use protocol_client::batch::codec;
use protocol_client::batch::record::{RawRecord, RecordBody};
use protocol_client::batch::{Compression, HEADER_BYTES};

use super::batch::{BatchFields, StoredBatch};
use super::log::Log;
use super::producers::Producers;
use super::records;

const DELETE_HORIZON_BIT: i16 = 0x40;

/// Compacts what lies below the last stable offset.
pub(super) fn compact(log: &mut Log, now_ms: i64, delete_retention_ms: i64) {
    let end = log.last_stable_offset();
    let mut latest: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    for batch in log.batches().filter(|batch| is_cleanable(batch, &log.producers, end)) {
        note_keys(batch, &mut latest);
    }
    let count = log.batches().count();
    let cleaned: VecDeque<StoredBatch> = log
        .batches()
        .enumerate()
        .filter_map(|(nth, batch)| {
            if batch.last_offset() >= end || batch.fields().is_control() {
                return Some(batch.clone());
            }
            let aborted = is_aborted(batch, &log.producers);
            let keep = Keep {
                latest: &latest,
                aborted,
                stay: nth + 1 == count || is_last_of_producer(batch, &log.producers),
                now_ms,
                horizon_ms: now_ms + delete_retention_ms,
            };
            clean(batch, &keep)
        })
        .collect();
    log.replace_batches(cleaned);
}

struct Keep<'a> {
    latest: &'a BTreeMap<Vec<u8>, i64>,
    aborted: bool,
    /// Whether the batch stays though it be empty.
    stay: bool,
    now_ms: i64,
    horizon_ms: i64,
}

fn is_cleanable(batch: &StoredBatch, producers: &Producers, end: i64) -> bool {
    batch.last_offset() < end && !batch.fields().is_control() && !is_aborted(batch, producers)
}

fn is_aborted(batch: &StoredBatch, producers: &Producers) -> bool {
    let fields = batch.fields();
    let mut overlapping = producers.aborted_between(fields.base_offset, fields.last_offset() + 1);
    fields.is_transactional() && overlapping.any(|txn| txn.producer_id == fields.producer_id)
}

fn is_last_of_producer(batch: &StoredBatch, producers: &Producers) -> bool {
    let fields = batch.fields();
    fields.producer_id >= 0
        && producers.iter().any(|(id, producer)| {
            id == fields.producer_id
                && producer.epoch == fields.producer_epoch
                && producer.last_sequence() == fields.last_sequence()
        })
}

fn note_keys(batch: &StoredBatch, latest: &mut BTreeMap<Vec<u8>, i64>) {
    let (fields, payload) = (batch.fields(), batch.payload());
    let Some(opened) = records::opened(&fields, &payload) else { return };
    for record in records::iterate(&fields, &opened).map_while(Result::ok) {
        let offset = fields.base_offset + i64::from(record.offset_delta);
        if let Ok(body) = RecordBody::decode(record.body, fields.base_offset)
            && let Some(key) = body.key
        {
            latest.insert(key.to_vec(), offset);
        }
    }
}

/// The batch without what may go; `None` when nothing is left and it need not stay.
fn clean(batch: &StoredBatch, keep: &Keep<'_>) -> Option<StoredBatch> {
    let (fields, payload) = (batch.fields(), batch.payload());
    let Some(opened) = records::opened(&fields, &payload) else { return Some(batch.clone()) };
    let horizon = (fields.attributes & DELETE_HORIZON_BIT != 0).then_some(fields.base_timestamp);
    let mut tombstones = false;
    let mut kept: Vec<RawRecord<'_>> = Vec::new();
    for record in records::iterate(&fields, &opened).map_while(Result::ok) {
        let Ok(body) = RecordBody::decode(record.body, fields.base_offset) else { continue };
        let offset = fields.base_offset + i64::from(record.offset_delta);
        let newest = body.key.is_some_and(|key| keep.latest.get(key) == Some(&offset));
        let expired = body.value.is_none() && horizon.is_some_and(|at| keep.now_ms >= at);
        if newest && !expired && !keep.aborted {
            tombstones |= body.value.is_none();
            kept.push(record);
        }
    }
    let sets_horizon = tombstones && horizon.is_none();
    if kept.len() == fields.record_count as usize && !sets_horizon {
        return Some(batch.clone());
    }
    if kept.is_empty() {
        return keep.stay.then(|| rebuild(batch, &fields, -1, &[]));
    }
    let base = match horizon {
        Some(at) => at,
        None if tombstones => keep.horizon_ms,
        None => fields.base_timestamp + kept[0].timestamp_delta,
    };
    let attributes =
        if tombstones { fields.attributes | DELETE_HORIZON_BIT } else { fields.attributes };
    let fields = BatchFields { attributes, ..fields };
    let shift = fields.base_timestamp - base;
    for record in &mut kept {
        record.timestamp_delta += shift;
    }
    Some(rebuild(batch, &fields, base, &kept))
}

fn rebuild(
    batch: &StoredBatch,
    fields: &BatchFields,
    base_timestamp: i64,
    kept: &[RawRecord<'_>],
) -> StoredBatch {
    let mut payload = Vec::new();
    for record in kept {
        record.encode(&mut payload);
    }
    let mut attributes = fields.attributes;
    let compression = fields.compression().unwrap_or(Compression::None);
    let mut sealed = Vec::new();
    if kept.is_empty() || codec::compress(compression, &payload, &mut sealed).is_err() {
        attributes &= !0x07;
        sealed = payload;
    }
    let newest = kept.iter().map(|record| base_timestamp + record.timestamp_delta).max();
    let max_timestamp = match newest {
        Some(_) if fields.is_log_append_time() => fields.max_timestamp,
        newest => newest.unwrap_or(-1),
    };
    let mut whole = BytesMut::from(&batch.to_bytes()[..HEADER_BYTES]);
    whole.put_slice(&sealed);
    let length = (whole.len() - 12) as i32;
    whole[8..12].copy_from_slice(&length.to_be_bytes());
    whole[21..23].copy_from_slice(&attributes.to_be_bytes());
    whole[27..35].copy_from_slice(&base_timestamp.to_be_bytes());
    whole[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    whole[57..61].copy_from_slice(&(kept.len() as i32).to_be_bytes());
    let crc = crc32c::crc32c(&whole[21..]);
    whole[17..21].copy_from_slice(&crc.to_be_bytes());
    StoredBatch::from_whole(Bytes::from(whole))
}

#[cfg(test)]
mod tests {
    use protocol_client::batch::{BatchBuilder, Entry, OpenBatch};

    use super::super::testing::{Batch, NOW, cluster, produce};
    use super::super::topics::Partition;
    use super::super::{Broker, TopicSpec};
    use super::*;

    fn offsets(broker: &Broker) -> Vec<i64> {
        let mut offsets = Vec::new();
        for batch in broker.read_batches("t", 0) {
            let entry = Entry::new(batch).expect("a whole batch");
            let open = OpenBatch::open(&entry, 1 << 20).expect("opens");
            offsets.extend(open.records().map(|record| record.expect("a record").offset));
        }
        offsets
    }

    fn keyed(compression: Compression, records: &[(&str, Option<&str>)]) -> Bytes {
        let mut builder = BatchBuilder::with_compression(compression);
        for (key, value) in records {
            builder.push(Some(key.as_bytes()), value.map(str::as_bytes), &[], NOW);
        }
        builder.build().expect("a batch").bytes
    }

    #[test]
    fn only_the_newest_of_a_key_stays_at_its_offset() {
        for compression in [Compression::None, Compression::Lz4] {
            let mut broker = cluster(1);
            produce(&mut broker, keyed(compression, &[("a", Some("1")), ("b", Some("1"))]));
            produce(&mut broker, keyed(compression, &[("a", Some("2")), ("c", Some("1"))]));
            produce(&mut broker, keyed(compression, &[("c", Some("2"))]));
            broker.compact("t", NOW);
            assert_eq!(offsets(&broker), [1, 2, 4]);
            let first = BatchFields::read(&broker.read_batches("t", 0)[0]);
            assert_eq!((first.base_offset, first.last_offset_delta, first.record_count), (0, 1, 1));
            assert_eq!(broker.partition("t", 0).map(Partition::end_offset), Some(5));
        }
    }

    #[test]
    fn a_tombstone_gets_a_horizon_and_goes_behind_it() {
        let mut broker = Broker::new(crate::BrokerOptions::default());
        let spec = TopicSpec::new("t", 1).config("delete.retention.ms", "1000");
        broker.create_topic(spec).expect("new");
        produce(&mut broker, keyed(Compression::None, &[("a", None), ("b", Some("1"))]));
        broker.compact("t", NOW);
        let marked = BatchFields::read(&broker.read_batches("t", 0)[0]);
        assert_eq!(marked.attributes & DELETE_HORIZON_BIT, DELETE_HORIZON_BIT);
        assert_eq!((marked.base_timestamp, marked.max_timestamp), (NOW + 1000, NOW));
        broker.compact("t", NOW + 999);
        assert_eq!(offsets(&broker), [0, 1]);
        broker.compact("t", NOW + 1000);
        assert_eq!(offsets(&broker), [1]);
    }

    #[test]
    fn the_last_batch_of_a_producer_stays_empty() {
        let mut broker = cluster(1);
        produce(&mut broker, Batch::from_producer(2, 7, 0, 0).bytes());
        produce(&mut broker, Batch::of(2).bytes());
        broker.compact("t", NOW);
        let first = BatchFields::read(&broker.read_batches("t", 0)[0]);
        assert_eq!((first.record_count, first.last_offset_delta), (0, 1));
        assert_eq!((first.base_timestamp, first.base_sequence), (-1, 0));
        assert_eq!(produce(&mut broker, Batch::from_producer(2, 7, 0, 0).bytes()), (0, 0));
    }
}
