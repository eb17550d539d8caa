//! A fetched blob: walked, decided about, patched. Nothing panics, nothing is counted twice, and
//! a patched checksum is right exactly when the original was.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol_client::batch::{
    AppendTime, Context, ProducerStamp, TxnFilter, Verdict, crc, decide, patch, walk,
};

fuzz_target!(|data: &[u8]| {
    let blob = Bytes::copy_from_slice(data);
    let mut filter = TxnFilter::default();
    let mut entries = walk(&blob);
    let mut walked = 0;
    for entry in entries.by_ref() {
        let Ok(entry) = entry else { break };
        walked += entry.bytes().len();
        let verdict = filter.judge(&entry).unwrap_or(Verdict::Keep);
        let _ = decide(
            &entry,
            &Context {
                fetch_offset: 100,
                max_message_bytes: 1000,
                append_time: AppendTime::Keep,
                verdict,
            },
        );
        let Some(header) = entry.header() else { continue };
        let stamp = ProducerStamp { producer_id: 1 << 40, epoch: 2, base_sequence: 3 };
        let mut patched = entry.bytes().to_vec();
        patched[..61].copy_from_slice(&patch(&header, stamp));
        assert_eq!(crc::verify(&patched).is_ok(), crc::verify(entry.bytes()).is_ok());
    }
    assert_eq!(walked + entries.rest_bytes(), data.len());
});
