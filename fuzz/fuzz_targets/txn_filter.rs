//! A sequence of transactions of several producers: wherever a response starts, the filter drops
//! what lies in an aborted transaction, and nothing else.
#![no_main]

use kmirror_fuzz::{Input, sealed};
use libfuzzer_sys::fuzz_target;
use protocol_client::batch::{AbortedTransaction, BatchBuilder, Entry, TxnFilter, Verdict};

const PRODUCERS: usize = 4;

fn entry(offset: i64, producer_id: i64, attributes: u8, key: &[u8]) -> Entry {
    let mut builder = BatchBuilder::new();
    builder.push(Some(key), None, &[], 0);
    let mut bytes = builder.build().expect("a record").bytes.to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes[22] = attributes;
    bytes[43..51].copy_from_slice(&producer_id.to_be_bytes());
    sealed(bytes).expect("a whole batch")
}

/// A partition's log with what became of each entry.
#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    is_aborted: Vec<bool>,
    open: [Vec<usize>; PRODUCERS],
    aborted: Vec<(AbortedTransaction, i64)>,
}

impl Log {
    fn step(&mut self, byte: u8) {
        let offset = self.entries.len() as i64;
        let producer = usize::from(byte) % PRODUCERS;
        let producer_id = producer as i64;
        self.is_aborted.push(false);
        match byte / 64 {
            0 | 1 => {
                self.open[producer].push(offset as usize);
                self.entries.push(entry(offset, producer_id, 0x10, b"record"));
            }
            2 => self.entries.push(entry(offset, producer_id, 0, b"record")),
            _ => {
                let commits = byte & 0x20 != 0;
                let records = std::mem::take(&mut self.open[producer]);
                if let Some(first) = records.first().filter(|_| !commits) {
                    let first_offset = *first as i64;
                    let transaction = AbortedTransaction { first_offset, producer_id };
                    self.aborted.push((transaction, offset));
                    records.iter().for_each(|at| self.is_aborted[*at] = true);
                }
                let key = [0, 0, 0, u8::from(commits)];
                self.entries.push(entry(offset, producer_id, 0x30, &key));
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let start = usize::from(input.byte());
    let mut log = Log::default();
    input.0.iter().take(300).for_each(|byte| log.step(*byte));
    // A broker names the aborted transactions that overlap the response, in any order.
    let overlapping = log.aborted.iter().filter(|(_, end)| *end >= start as i64);
    let mut filter = TxnFilter::new(overlapping.map(|(transaction, _)| *transaction).collect());
    for (entry, is_aborted) in log.entries.iter().zip(&log.is_aborted).skip(start) {
        let verdict = filter.judge(entry).expect("good entries");
        assert_eq!(verdict == Verdict::Aborted, *is_aborted, "offset {}", entry.base_offset());
    }
});
