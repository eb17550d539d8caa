//! Raw bytes as the records of a batch of any codec: rewritten under small limits, nothing is
//! lost, reordered or larger than allowed.
#![no_main]

use kmirror_fuzz::{Input, OPTIONS, records, sealed};
use libfuzzer_sys::fuzz_target;
use protocol_client::batch::{BatchError, Entry, RebuildOptions, codec, rewrite};

fn batch(input: &mut Input<'_>) -> Option<Entry> {
    let codec = input.codec();
    let attributes = codec.code() | i16::from(input.byte() & 0x58);
    let count = i32::from(input.byte());
    let hole = i32::from(input.byte());
    let mut bytes = vec![0; 61];
    bytes[16] = 2;
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    bytes[23..27].copy_from_slice(&(count - 1 + hole).to_be_bytes());
    let times = input.bytes(16);
    bytes[27..27 + times.len()].copy_from_slice(times);
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    codec::compress(codec, input.0, &mut bytes).ok()?;
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    sealed(bytes)
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let start_offset = i64::from(input.byte() % 8);
    let max_message_bytes = 70 + usize::from(input.byte()) * 4;
    let Some(entry) = batch(&mut input) else { return };
    let options = RebuildOptions { start_offset, max_message_bytes, ..OPTIONS };
    let rebuilt = rewrite(&entry, &options);
    let Ok(expected) = records(&entry) else {
        assert!(rebuilt.is_err());
        return;
    };
    let rebuilt = match rebuilt {
        Ok(rebuilt) => rebuilt,
        Err(BatchError::TooLarge { bytes, max_bytes, .. }) => {
            assert!(bytes > max_bytes);
            return;
        }
        Err(other) => panic!("what can be read can be rewritten: {other}"),
    };
    let mut seen = Vec::new();
    for batch in rebuilt {
        assert!(batch.bytes.len() <= max_message_bytes);
        let entry = Entry::new(batch.bytes).expect("one whole batch");
        assert!(entry.header().expect("version 2").is_dense());
        seen.extend(records(&entry).expect("a good batch").into_iter().map(|(_, t, b)| (t, b)));
    }
    let kept = expected.into_iter().filter(|(offset, ..)| *offset >= start_offset);
    assert!(kept.map(|(_, t, b)| (t, b)).eq(seen));
});
