//! Builds an entry that cannot stay sealed into version 2 batches that a broker accepts.
//!
//! Changed is what must be: offsets become dense, timestamps follow the first record's, older
//! formats become version 2, and what is too large is split. Keys, values, headers and the codec
//! stay as they are.

use super::decide::AppendTime;
use super::draft::{Draft, Rebuilt};
use super::error::BatchError;
use super::header::Compression;
use super::open::{OpenBatch, OpenRecords};
use super::record::RawRecord;
use super::walk::Entry;

/// What the rebuilt batches must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebuildOptions {
    /// Records before this offset are left out.
    pub start_offset: i64,
    /// Whether append times must survive.
    pub append_time: AppendTime,
    /// `max.message.bytes` of the target topic, in bytes.
    pub max_message_bytes: usize,
    /// Most that the records of one entry may be when decompressed, in bytes.
    pub max_open_bytes: usize,
}

/// Rebuilds one entry of any format; the result is empty when no record is left.
///
/// # Errors
/// A [`BatchError`] when the entry is damaged (its checksum is verified first) or has more than
/// `max_open_bytes`; [`BatchError::TooLarge`] when one record alone does not fit the target.
pub fn rewrite(entry: &Entry, options: &RebuildOptions) -> Result<Vec<Rebuilt>, BatchError> {
    let open = OpenBatch::open(entry, options.max_open_bytes)?;
    let codec = open.compression();
    // How small compressed records get shows only afterwards, so the first try takes them all.
    let mut budget_bytes = match codec {
        Compression::None => options.max_message_bytes,
        _ => usize::MAX,
    };
    let mut rebuilt = Vec::new();
    let mut records = open.records();
    loop {
        let mut ahead = records.clone();
        let draft = fill(&open, &mut ahead, budget_bytes, options)?;
        if draft.is_empty() {
            break;
        }
        let size_bytes = draft.size_bytes();
        let batch = draft.finish(codec)?;
        if batch.bytes.len() <= options.max_message_bytes {
            rebuilt.push(batch);
            records = ahead;
        } else if batch.record_count > 1 {
            budget_bytes = size_bytes / 2;
        } else {
            return Err(BatchError::TooLarge {
                offset: batch.last_source_offset,
                bytes: batch.bytes.len(),
                max_bytes: options.max_message_bytes,
            });
        }
    }
    if let Some(last) = rebuilt.last_mut() {
        last.last_source_offset = last.last_source_offset.max(open.last_offset());
    }
    Ok(rebuilt)
}

/// Takes records until the budget is used up, but always one.
fn fill(
    open: &OpenBatch<'_>,
    records: &mut OpenRecords<'_>,
    budget_bytes: usize,
    options: &RebuildOptions,
) -> Result<Draft, BatchError> {
    let mut draft = Draft::with_capacity(open.payload_bytes().min(budget_bytes));
    loop {
        let before = records.clone();
        let Some(record) = records.next().transpose()? else { break };
        if record.offset < options.start_offset {
            continue;
        }
        let needed = record.body.len() + RawRecord::MAX_OVERHEAD_BYTES;
        if !draft.is_empty() && draft.size_bytes() + needed > budget_bytes {
            *records = before;
            break;
        }
        let timestamp = open.timestamp_ms(&record, options.append_time);
        draft.push(record.offset, timestamp, record.attributes, record.body);
    }
    Ok(draft)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::decide::{Context, Decision, decide};
    use crate::batch::draft::OffsetRun;
    use crate::batch::header::BatchHeader;
    use crate::batch::sample::{self, CODECS, Sample};
    use crate::batch::txn_filter::Verdict;
    use proptest::prelude::*;

    const OPTIONS: RebuildOptions = RebuildOptions {
        start_offset: 0,
        append_time: AppendTime::Keep,
        max_message_bytes: 1_048_588,
        max_open_bytes: 16 << 20,
    };

    fn offsets(runs: &[OffsetRun]) -> Vec<i64> {
        let run = |run: &OffsetRun| run.source_first..run.source_first + i64::from(run.count);
        runs.iter().flat_map(run).collect()
    }

    /// What comes out decodes to `expected`, batch after batch, and every batch can be sealed.
    fn assert_rebuilt(rebuilt: &[Rebuilt], expected: &[Sample]) {
        let mut seen = Vec::new();
        for batch in rebuilt {
            let entry = Entry::new(batch.bytes.clone()).unwrap();
            let header = BatchHeader::parse(&batch.bytes).unwrap();
            assert_eq!((header.base_offset(), header.producer_id()), (0, -1));
            assert_eq!(header.max_timestamp(), batch.max_timestamp_ms);
            let context = Context {
                fetch_offset: 0,
                max_message_bytes: OPTIONS.max_message_bytes,
                append_time: AppendTime::Keep,
                verdict: Verdict::Keep,
            };
            assert_eq!(decide(&entry, &context), Decision::Seal);
            let records = sample::decoded(&entry);
            assert_eq!(records.len(), batch.record_count as usize);
            let max = records.iter().map(|r| r.timestamp).fold(-1, i64::max);
            assert_eq!(max, batch.max_timestamp_ms);
            let sources = offsets(&batch.runs);
            assert_eq!(sources.len(), records.len());
            seen.extend(records.into_iter().zip(sources).map(|(r, offset)| Sample { offset, ..r }));
        }
        assert_eq!(seen, expected);
    }

    proptest! {
        #[test]
        fn sparse_batches_become_dense(
            samples in sample::samples(),
            codec in sample::codec(),
            start_offset in 0i64..2000,
            append_time in prop::option::of(any::<i64>()),
            gone in 0..3,
        ) {
            let entry = sample::cleaned_entry(&samples, codec, append_time, gone);
            let options = RebuildOptions { start_offset, ..OPTIONS };
            let expected: Vec<_> = samples
                .into_iter()
                .filter(|sample| sample.offset >= start_offset)
                .map(|s| Sample { timestamp: append_time.unwrap_or(s.timestamp), ..s })
                .collect();
            let rebuilt = rewrite(&entry, &options).unwrap();
            assert_rebuilt(&rebuilt, &expected);
            if let Some(last) = rebuilt.last() {
                prop_assert_eq!(last.last_source_offset, entry.last_offset());
            }
        }

        #[test]
        fn what_is_too_large_is_split(
            samples in sample::samples(),
            codec in sample::codec(),
            max_message_bytes in 400usize..2000,
        ) {
            let entry = sample::entry(&samples, codec, None);
            let options = RebuildOptions { max_message_bytes, ..OPTIONS };
            match rewrite(&entry, &options) {
                Ok(rebuilt) => {
                    prop_assert!(rebuilt.iter().all(|b| b.bytes.len() <= max_message_bytes));
                    assert_rebuilt(&rebuilt, &samples);
                }
                Err(BatchError::TooLarge { offset, bytes, max_bytes }) => {
                    prop_assert!(bytes > max_bytes);
                    prop_assert!(samples.iter().any(|sample| sample.offset == offset));
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }

        #[test]
        fn damaged_entries_never_panic_and_never_pass(
            samples in sample::samples(),
            codec in sample::codec(),
            at: prop::sample::Index,
            bits in 1u8..,
        ) {
            let mut bytes = sample::entry(&samples, codec, None).bytes().to_vec();
            let at = 21 + at.index(bytes.len() - 21);
            bytes[at] ^= bits;
            let damaged = Entry::new(bytes.clone().into()).unwrap();
            let refused = matches!(rewrite(&damaged, &OPTIONS), Err(BatchError::Checksum { .. }));
            prop_assert!(refused);
            sample::seal(&mut bytes);
            let damaged = Entry::new(bytes.into()).unwrap();
            let options = RebuildOptions { max_open_bytes: 1 << 20, ..OPTIONS };
            if let Ok(rebuilt) = rewrite(&damaged, &options) {
                prop_assert!(rebuilt.iter().all(|b| b.bytes.len() <= options.max_message_bytes));
            }
        }
    }

    #[test]
    fn producer_times_come_back_when_append_times_need_not_be_kept() {
        let samples = [Sample::new(5, 70), Sample::new(9, 60)];
        let entry = sample::entry(&samples, Compression::Lz4, Some(1_000));
        let options = RebuildOptions { append_time: AppendTime::Release, ..OPTIONS };
        assert_rebuilt(&rewrite(&entry, &options).unwrap(), &samples);
    }

    #[test]
    fn one_record_that_does_not_fit_is_named() {
        let mut samples = vec![Sample::new(5, 0), Sample::new(6, 0), Sample::new(7, 0)];
        samples[1].value = Some((0..5000u32).flat_map(|i| (i * i).to_le_bytes()).collect());
        for codec in CODECS {
            let entry = sample::entry(&samples, codec, None);
            let options = RebuildOptions { max_message_bytes: 900, ..OPTIONS };
            let error = rewrite(&entry, &options).unwrap_err();
            assert!(matches!(error, BatchError::TooLarge { offset: 6, .. }), "{codec:?} {error}");
        }
    }

    #[test]
    fn offsets_that_do_not_grow_are_damage() {
        let samples = [Sample::new(5, 0), Sample::new(5, 0)];
        let entry = sample::entry(&samples, Compression::None, None);
        assert!(matches!(rewrite(&entry, &OPTIONS), Err(BatchError::Records { .. })));
    }

    #[test]
    fn an_empty_batch_gives_nothing() {
        let mut bytes =
            sample::entry(&[Sample::new(5, 0)], Compression::Zstd, None).bytes()[..61].to_vec();
        bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
        bytes[57..61].copy_from_slice(&0i32.to_be_bytes());
        sample::seal(&mut bytes);
        assert_eq!(rewrite(&Entry::new(bytes.into()).unwrap(), &OPTIONS), Ok(vec![]));
    }
}
