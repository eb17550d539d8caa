//! Several small neighbors of one partition become one batch.
//!
//! A broker takes one batch per partition per request, so tiny batches forwarded one by one cost
//! a request each. Records are copied, not decoded: only a record's length and its two deltas
//! are written anew.

use super::codec::Decompressor;
use super::decide::MERGED_BATCH_BYTES;
use super::draft::{Draft, Rebuilt};
use super::error::BatchError;
use super::header::{Compression, HEADER_BYTES};
use super::open::OpenBatch;
use super::record::RawRecord;
use super::rewrite::RebuildOptions;
use super::walk::Entry;

/// A run of entries that became one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The batch.
    pub batch: Rebuilt,
    /// How many entries from the front of the run it holds.
    pub entry_count: usize,
}

/// Whether `second`, which follows `first` in its partition, may stand in one batch with it.
///
/// They need one codec, no transaction markers, and offsets in order; holes between them are
/// fine, and so are entries that would have to be rewritten when alone.
#[must_use]
pub fn can_merge(first: &Entry, second: &Entry) -> bool {
    first.compression().is_some()
        && first.compression() == second.compression()
        && !first.is_control()
        && !second.is_control()
        && first.last_offset() < second.base_offset()
}

/// Merges as many entries from the front of `run` as go together and fit; `None` when not even
/// two do, or when the result would not fit the target: then the first is forwarded on its own.
///
/// A merged batch ends at [`MERGED_BATCH_BYTES`] or what the target takes.
///
/// # Errors
/// A [`BatchError`] when an entry is damaged: each checksum is verified before records are taken.
pub fn merge(run: &[Entry], options: &RebuildOptions) -> Result<Option<Merged>, BatchError> {
    let Some(first) = run.first().filter(|first| !first.is_control()) else { return Ok(None) };
    let Some(codec) = first.compression() else { return Ok(None) };
    let limit_bytes = limit_bytes(codec, options);
    let expected: usize = run.iter().map(|entry| entry.bytes().len()).sum();
    let mut draft = Draft::with_capacity(expected.min(limit_bytes));
    let mut decompressor = Decompressor::default();
    let mut entry_count = 0;
    let mut last_offset = -1;
    for (i, entry) in run.iter().enumerate() {
        if i > 0 && !can_merge(&run[i - 1], entry) {
            break;
        }
        let room_bytes = limit_bytes.saturating_sub(draft.size_bytes());
        let Some(open) = open_within(&mut decompressor, entry, codec, room_bytes)? else { break };
        append(&mut draft, &open, options)?;
        entry_count += 1;
        last_offset = open.last_offset();
    }
    if entry_count < 2 || draft.is_empty() {
        return Ok(None);
    }
    let mut batch = draft.finish(codec)?;
    batch.last_source_offset = batch.last_source_offset.max(last_offset);
    let fits = batch.bytes.len() <= options.max_message_bytes;
    Ok(fits.then_some(Merged { batch, entry_count }))
}

/// Most that a merged batch may have before compression, in bytes.
fn limit_bytes(codec: Compression, options: &RebuildOptions) -> usize {
    // What does not compress grows a little: block headers and a frame around it.
    let growth = match codec {
        Compression::None => 0,
        _ => options.max_message_bytes / 64 + 128,
    };
    MERGED_BATCH_BYTES.min(options.max_message_bytes.saturating_sub(growth))
}

/// Opens an entry if its records, whatever their new deltas, fit into `room_bytes`.
fn open_within<'a>(
    decompressor: &mut Decompressor,
    entry: &'a Entry,
    codec: Compression,
    room_bytes: usize,
) -> Result<Option<OpenBatch<'a>>, BatchError> {
    // Records do not get smaller by decompressing, so most that do not fit show it sealed.
    let sealed_bytes = entry.bytes().len().saturating_sub(HEADER_BYTES);
    if codec == Compression::None && sealed_bytes > room_bytes {
        return Ok(None);
    }
    let open = match OpenBatch::open_with(decompressor, entry, room_bytes) {
        Err(error) if error.is_over_limit() => return Ok(None),
        open => open?,
    };
    let overhead = open.record_count().saturating_mul(RawRecord::MAX_OVERHEAD_BYTES);
    Ok((open.payload_bytes().saturating_add(overhead) <= room_bytes).then_some(open))
}

fn append(
    draft: &mut Draft,
    open: &OpenBatch<'_>,
    options: &RebuildOptions,
) -> Result<(), BatchError> {
    for record in open.records() {
        let record = record?;
        if record.offset >= options.start_offset {
            let timestamp = open.timestamp_ms(&record, options.append_time);
            draft.push(record.offset, timestamp, record.attributes, record.body);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::builder::BatchBuilder;
    use crate::batch::decide::AppendTime;
    use crate::batch::draft::OffsetRun;
    use crate::batch::sample::{self, CODECS, Sample};
    use proptest::prelude::*;

    const OPTIONS: RebuildOptions = RebuildOptions {
        start_offset: 0,
        append_time: AppendTime::Keep,
        max_message_bytes: 1_048_588,
        max_open_bytes: 16 << 20,
    };

    /// Cuts samples into entries of the given sizes.
    fn entries(samples: &[Sample], sizes: &[usize], codec: Compression) -> Vec<Entry> {
        let mut rest = samples;
        let mut entries = Vec::new();
        for size in sizes.iter().cycle() {
            let (part, behind) = rest.split_at((*size).min(rest.len()));
            entries.push(sample::entry(part, codec, None));
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        entries
    }

    fn offsets(runs: &[OffsetRun]) -> Vec<i64> {
        let run = |run: &OffsetRun| run.source_first..run.source_first + i64::from(run.count);
        runs.iter().flat_map(run).collect()
    }

    proptest! {
        #[test]
        fn merging_is_concatenation(
            samples in sample::samples(),
            sizes in prop::collection::vec(1usize..5, 1..5),
            codec in sample::codec(),
            start_offset in 0i64..1000,
        ) {
            let run = entries(&samples, &sizes, codec);
            let options = RebuildOptions { start_offset, ..OPTIONS };
            let expected: Vec<_> =
                samples.into_iter().filter(|sample| sample.offset >= start_offset).collect();
            match merge(&run, &options).unwrap() {
                None => prop_assert!(run.len() < 2 || expected.is_empty()),
                Some(merged) => {
                    prop_assert_eq!(merged.entry_count, run.len());
                    let entry = Entry::new(merged.batch.bytes.clone()).unwrap();
                    prop_assert_eq!(entry.compression(), Some(codec));
                    let sources = offsets(&merged.batch.runs);
                    let decoded: Vec<_> = sample::decoded(&entry)
                        .into_iter()
                        .zip(&sources)
                        .map(|(sample, offset)| Sample { offset: *offset, ..sample })
                        .collect();
                    prop_assert_eq!(decoded, expected);
                    prop_assert_eq!(
                        merged.batch.last_source_offset,
                        run.last().unwrap().last_offset()
                    );
                }
            }
        }

        #[test]
        fn damaged_entries_are_refused(
            samples in sample::samples(),
            codec in sample::codec(),
            which: prop::sample::Index,
            at: prop::sample::Index,
        ) {
            let mut run = entries(&samples, &[1], codec);
            let which = which.index(run.len());
            let mut bytes = run[which].bytes().to_vec();
            // Bytes 23 to the end: the attributes decide what is merged at all.
            let at = 23 + at.index(bytes.len() - 23);
            bytes[at] ^= 0x10;
            run[which] = Entry::new(bytes.into()).unwrap();
            let merged = merge(&run, &OPTIONS);
            let taken = merged.as_ref().is_ok_and(|m| {
                m.as_ref().is_some_and(|m| m.entry_count > which)
            });
            prop_assert!(!taken);
        }
    }

    fn entry_at(offset: i64, value: &[u8], codec: Compression) -> Entry {
        let mut sample = Sample::new(offset, 1);
        sample.value = Some(value.to_vec());
        sample::entry(&[sample], codec, None)
    }

    #[test]
    fn a_run_ends_where_codecs_change_or_offsets_go_back() {
        let none = |offset| entry_at(offset, b"v", Compression::None);
        let lz4 = entry_at(3, b"v", Compression::Lz4);
        let run = [none(1), none(2), lz4, none(4)];
        assert_eq!(merge(&run, &OPTIONS).unwrap().unwrap().entry_count, 2);
        assert_eq!(merge(&[none(1), none(1)], &OPTIONS), Ok(None));
        assert_eq!(merge(&run[1..], &OPTIONS), Ok(None));
        assert_eq!(merge(&[], &OPTIONS), Ok(None));
        let mut marker = none(3).bytes().to_vec();
        marker[22] |= 0x20;
        let marker = Entry::new(marker.into()).unwrap();
        assert_eq!(merge(&[none(1), none(2), marker], &OPTIONS).unwrap().unwrap().entry_count, 2);
    }

    #[test]
    fn a_merged_batch_ends_at_its_limits() {
        let noise: Vec<u8> =
            (0..4000u32).flat_map(|i| (i.wrapping_mul(i) >> 3).to_le_bytes()).collect();
        for codec in CODECS {
            let run: Vec<Entry> = (0..40).map(|i| entry_at(i, &noise, codec)).collect();
            let merged = merge(&run, &OPTIONS).unwrap().unwrap();
            assert_eq!(merged.entry_count, MERGED_BATCH_BYTES / 16_064, "{codec:?}");
            let small = RebuildOptions { max_message_bytes: 50_000, ..OPTIONS };
            let merged = merge(&run, &small).unwrap().unwrap();
            assert!(merged.batch.bytes.len() <= 50_000 && merged.entry_count >= 2, "{codec:?}");
            let tiny = RebuildOptions { max_message_bytes: 17_000, ..OPTIONS };
            assert_eq!(merge(&run, &tiny), Ok(None), "{codec:?}");
        }
    }

    #[test]
    fn missing_timestamps_stay_missing() {
        let batch = |offset: i64, timestamp| {
            let mut builder = BatchBuilder::new();
            builder.push(None, Some(b"v"), &[], timestamp);
            let mut bytes = builder.build().unwrap().bytes.to_vec();
            bytes[..8].copy_from_slice(&offset.to_be_bytes());
            Entry::new(bytes.into()).unwrap()
        };
        for times in [[-1, 5, -1], [5, -1, 7], [-1, -1, -1], [i64::MAX, i64::MIN, 0]] {
            let run = [batch(0, times[0]), batch(1, times[1]), batch(7, times[2])];
            let merged = merge(&run, &OPTIONS).unwrap().unwrap();
            let decoded = sample::decoded(&Entry::new(merged.batch.bytes).unwrap());
            assert_eq!(decoded.iter().map(|s| s.timestamp).collect::<Vec<_>>(), times);
            let max = times.iter().copied().fold(-1, i64::max);
            assert_eq!(merged.batch.max_timestamp_ms, max);
            let runs =
                [(0, 2), (7, 1)].map(|(source_first, count)| OffsetRun { source_first, count });
            assert_eq!(merged.batch.runs, runs);
        }
    }
}
