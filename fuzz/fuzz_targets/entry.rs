//! Entries of any format behind a right checksum: opened, and rewritten to the same records.
#![no_main]

use kmirror_fuzz::{OPTIONS, records, sealed_entries};
use libfuzzer_sys::fuzz_target;
use protocol_client::batch::{Entry, rewrite};

fuzz_target!(|data: &[u8]| {
    for entry in sealed_entries(data) {
        let Ok(expected) = records(&entry) else {
            assert!(rewrite(&entry, &OPTIONS).is_err());
            continue;
        };
        let expected = expected.into_iter().filter(|(offset, ..)| *offset >= 0);
        let mut seen = Vec::new();
        for batch in rewrite(&entry, &OPTIONS).expect("what can be read can be rewritten") {
            let rebuilt = Entry::new(batch.bytes).expect("one whole batch");
            let offsets =
                batch.runs.iter().flat_map(|run| (run.source_first..).take(run.count as usize));
            let records = records(&rebuilt).expect("a good batch");
            assert_eq!(records.len(), batch.record_count as usize);
            seen.extend(records.into_iter().zip(offsets).map(|((_, t, b), offset)| (offset, t, b)));
        }
        assert!(expected.eq(seen));
    }
});
