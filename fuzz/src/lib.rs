//! What the targets share: batches made from raw bytes, and what a reader sees of them.

use bytes::Bytes;
use protocol_client::batch::record::RecordBody;
use protocol_client::batch::{
    AppendTime, BatchError, Compression, Entry, Magic, OpenBatch, RebuildOptions, crc, walk,
};

/// Most that any target lets an entry be when opened, in bytes.
pub const MAX_OPEN_BYTES: usize = 1 << 20;

/// Options under which everything fits.
pub const OPTIONS: RebuildOptions = RebuildOptions {
    start_offset: 0,
    append_time: AppendTime::Keep,
    max_message_bytes: 4 << 20,
    max_open_bytes: MAX_OPEN_BYTES,
};

/// Hands out the input piece by piece; zeros follow its end.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// At most `length` bytes.
    pub fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (first, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        first
    }

    /// A codec.
    pub fn codec(&mut self) -> Compression {
        Compression::from_attributes(i16::from(self.byte() % 5)).unwrap_or(Compression::None)
    }
}

/// The whole entries of a blob under checksums that are right, so that what lies behind them is reached.
pub fn sealed_entries(blob: &[u8]) -> Vec<Entry> {
    let blob = Bytes::copy_from_slice(blob);
    walk(&blob).map_while(Result::ok).filter_map(|entry| sealed(entry.bytes().to_vec())).collect()
}

/// Writes the checksum that belongs to an entry's bytes.
pub fn sealed(mut bytes: Vec<u8>) -> Option<Entry> {
    let entry = Entry::new(bytes.clone().into()).ok()?;
    let (at, crc) = match entry.magic() {
        Magic::V0 | Magic::V1 => (12, crc::crc32_ieee(&bytes[16..])),
        Magic::V2 => (17, crc::crc32c(&bytes[21..])),
    };
    bytes[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    Entry::new(bytes.into()).ok()
}

/// Offset, timestamp and body of every record.
pub type Records = Vec<(i64, i64, Vec<u8>)>;

/// What a reader sees of an entry.
pub fn records(entry: &Entry) -> Result<Records, BatchError> {
    let open = OpenBatch::open(entry, MAX_OPEN_BYTES)?;
    open.records()
        .map(|record| {
            let record = record?;
            // Whether the body decodes does not matter here, only that it is safe to try.
            if let Ok(body) = RecordBody::decode(record.body, 0) {
                assert!(body.headers().all(|(name, _)| name.len() <= record.body.len()));
            }
            let timestamp = open.timestamp_ms(&record, AppendTime::Keep);
            Ok((record.offset, timestamp, record.body.to_vec()))
        })
        .collect()
}
