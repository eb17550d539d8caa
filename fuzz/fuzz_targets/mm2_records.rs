//! Any bytes as the records that MirrorMaker 2 keeps its state in: what decodes encodes again.
#![no_main]

use engine::records::checkpoint::Checkpoint;
use engine::records::connect_offset::{ConnectOffsetKey, ConnectOffsetValue};
use engine::records::heartbeat::Heartbeat;
use engine::records::offset_sync::OffsetSync;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((split, data)) = data.split_first() else { return };
    let (key, value) = data.split_at(usize::from(*split).min(data.len()));
    if let Ok(sync) = OffsetSync::decode(key, value) {
        let key = sync.encode_key().expect("it was decoded");
        assert_eq!(OffsetSync::decode(&key, &sync.encode_value()).as_ref(), Ok(&sync));
    }
    if let Ok(checkpoint) = Checkpoint::decode(key, value) {
        let key = checkpoint.encode_key().expect("it was decoded");
        let value = checkpoint.encode_value().expect("it was decoded");
        assert_eq!(Checkpoint::decode(&key, &value).as_ref(), Ok(&checkpoint));
    }
    if let Ok(heartbeat) = Heartbeat::decode(key, value) {
        let key = heartbeat.encode_key().expect("it was decoded");
        assert_eq!(Heartbeat::decode(&key, &heartbeat.encode_value()).as_ref(), Ok(&heartbeat));
    }
    if let Ok(key) = ConnectOffsetKey::decode(key) {
        assert_eq!(ConnectOffsetKey::decode(&key.encode()).as_ref(), Ok(&key));
        let _ = key.source_partition();
    }
    if let Ok(Some(value)) = ConnectOffsetValue::decode(value) {
        assert_eq!(ConnectOffsetValue::decode(&value.encode()).as_ref(), Ok(&Some(value)));
    }
});
