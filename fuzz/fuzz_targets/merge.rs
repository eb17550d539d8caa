//! A sequence of operations that append records, start batches and leave holes: what is merged
//! is the concatenation of its parts.
#![no_main]

use kmirror_fuzz::{Input, OPTIONS, Records, records, sealed};
use libfuzzer_sys::fuzz_target;
use protocol_client::batch::{BatchBuilder, Compression, Entry, RebuildOptions, merge};

struct Log {
    run: Vec<Entry>,
    codec: Compression,
    open: BatchBuilder,
    next_offset: i64,
}

impl Log {
    /// Ends the open batch, if it has records, and changes the codec.
    fn cut(&mut self, codec: Compression) {
        let open = std::mem::replace(&mut self.open, BatchBuilder::with_compression(codec));
        self.codec = codec;
        let Ok(built) = open.build() else { return };
        let mut bytes = built.bytes.to_vec();
        bytes[..8].copy_from_slice(&self.next_offset.to_be_bytes());
        self.next_offset += i64::from(built.record_count);
        self.run.extend(sealed(bytes));
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0 => self.cut(self.codec),
            1 => {
                let codec = input.codec();
                self.cut(codec);
            }
            2 => {
                self.cut(self.codec);
                self.next_offset += i64::from(input.byte());
            }
            kind => {
                let mut time = [0; 8];
                let given = input.bytes(usize::from(kind));
                time[..given.len()].copy_from_slice(given);
                let length = usize::from(input.byte());
                let value = input.bytes(length);
                let key = (kind == 3).then_some(&value[..value.len() / 2]);
                self.open.push(key, Some(value), &[(value, key)], i64::from_le_bytes(time));
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let max_message_bytes = 200 + usize::from(input.byte()) * 64;
    let codec = input.codec();
    let open = BatchBuilder::with_compression(codec);
    let mut log = Log { run: Vec::new(), codec, open, next_offset: 0 };
    while !input.0.is_empty() {
        log.step(&mut input);
    }
    log.cut(codec);
    let options = RebuildOptions { max_message_bytes, ..OPTIONS };
    let mut rest = &log.run[..];
    while !rest.is_empty() {
        let Some(merged) = merge(rest, &options).expect("good entries") else {
            rest = &rest[1..];
            continue;
        };
        assert!(merged.entry_count >= 2 && merged.batch.bytes.len() <= max_message_bytes);
        let (run, behind) = rest.split_at(merged.entry_count);
        let expected: Records =
            run.iter().flat_map(|entry| records(entry).expect("a good batch")).collect();
        let entry = Entry::new(merged.batch.bytes).expect("one whole batch");
        let offsets =
            merged.batch.runs.iter().flat_map(|run| (run.source_first..).take(run.count as usize));
        let seen: Records = records(&entry)
            .expect("a good batch")
            .into_iter()
            .zip(offsets)
            .map(|((_, timestamp, body), offset)| (offset, timestamp, body))
            .collect();
        assert_eq!(seen, expected);
        rest = behind;
    }
});
