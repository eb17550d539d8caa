//! Logs for the tests of matching: encoded batches, and a mirror that makes a copy of a log in every
//! way that a target's log comes about.

use engine::matching::{Ask, Chunk, MatchError, MatchSettings, Matcher, Outcome, Start};
use fastrand::Rng;
use protocol_client::batch::record::{self, RawRecord};
use protocol_client::batch::{AbortedTransaction, Compression, Entry, codec, crc};

pub(crate) const OWN: i64 = 7;
pub(crate) const FOREIGN: i64 = 99;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) value: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) base: i64,
    pub(crate) last: i64,
    pub(crate) records: Vec<Record>,
    pub(crate) codec: Compression,
    pub(crate) base_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) attributes: i16,
    pub(crate) append_time: Option<i64>,
}

pub(crate) const TRANSACTIONAL: i16 = 0x10;
pub(crate) const CONTROL: i16 = 0x30;
const COMMIT_KEY: [u8; 4] = [0, 0, 0, 1];
const ABORT_KEY: [u8; 4] = [0, 0, 0, 0];

impl Batch {
    pub(crate) fn new(records: Vec<Record>, codec: Compression, producer_id: i64) -> Self {
        Self {
            base: records[0].offset,
            last: records[records.len() - 1].offset,
            base_timestamp: records[0].timestamp,
            records,
            codec,
            producer_id,
            attributes: 0,
            append_time: None,
        }
    }

    pub(crate) fn marker(offset: i64, producer_id: i64, commit: bool) -> Self {
        let value = if commit { COMMIT_KEY } else { ABORT_KEY }.to_vec();
        let mut batch =
            Self::new(vec![Record { offset, timestamp: 1, value }], Compression::None, producer_id);
        batch.attributes = CONTROL;
        batch
    }

    pub(crate) fn entry(&self) -> Entry {
        let mut payload = Vec::new();
        for one in &self.records {
            let mut body = Vec::new();
            // A marker says in its key what it is.
            let key = if self.attributes == CONTROL { &one.value[..] } else { b"key" };
            record::encode_body(&mut body, Some(key), Some(&one.value), &[]);
            RawRecord {
                attributes: 0,
                timestamp_delta: one.timestamp - self.base_timestamp,
                offset_delta: (one.offset - self.base) as i32,
                body: &body,
            }
            .encode(&mut payload);
        }
        let max = self.records.iter().map(|one| one.timestamp).fold(-1, i64::max);
        let append = if self.append_time.is_some() { 0x08 } else { 0 };
        let attributes = self.codec.code() | self.attributes | append;
        let mut bytes = vec![0; 61];
        bytes[..8].copy_from_slice(&self.base.to_be_bytes());
        bytes[16] = 2;
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&((self.last - self.base) as i32).to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.append_time.unwrap_or(max).to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[57..61].copy_from_slice(&(self.records.len() as i32).to_be_bytes());
        if !self.records.is_empty() {
            codec::compress(self.codec, &payload, &mut bytes).unwrap();
        }
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        Entry::new(bytes.into()).unwrap()
    }

    fn is_data(&self) -> bool {
        self.attributes != CONTROL
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) batches: Vec<Batch>,
    pub(crate) aborted: Vec<AbortedTransaction>,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Log {
    pub(crate) fn push(&mut self, mut batch: Batch) -> i64 {
        let shift = self.end - batch.base;
        for one in &mut batch.records {
            one.offset += shift;
        }
        (batch.base, batch.last) = (batch.base + shift, batch.last + shift);
        self.end = batch.last + 1;
        self.batches.push(batch);
        self.end
    }

    /// Records with timestamps and values of their own.
    pub(crate) fn write(&mut self, values: &[&str]) {
        self.write_as(values, -1, Compression::None);
    }

    pub(crate) fn write_as(&mut self, values: &[&str], producer_id: i64, codec: Compression) {
        let record = |(i, value): (usize, &&str)| Record {
            offset: self.end + i as i64,
            timestamp: 1_000,
            value: value.as_bytes().to_vec(),
        };
        let records = values.iter().enumerate().map(record).collect();
        self.push(Batch::new(records, codec, producer_id));
    }

    /// Whether a read_committed reader sees the batch.
    fn sees(&self, batch: &Batch) -> bool {
        batch.is_data()
            && !(batch.attributes & TRANSACTIONAL != 0
                && self.aborted.iter().any(|one| one.producer_id == batch.producer_id))
    }

    pub(crate) fn visible(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter().filter(|batch| self.sees(batch))
    }

    /// The cleaner: removes records, leaves offsets.
    pub(crate) fn compact(&mut self, rng: &mut Rng, keep: impl Fn(i64) -> bool) {
        for batch in self.batches.iter_mut().filter(|batch| batch.is_data()) {
            let before = batch.records.len();
            batch.records.retain(|one| keep(one.offset));
            if batch.records.len() != before {
                batch.base_timestamp = batch.records.first().map_or(-1, |one| one.timestamp);
            }
        }
        let forgotten = rng.bool();
        self.batches.retain(|batch| !batch.records.is_empty() || forgotten);
    }

    /// Retention: nothing below this offset is left.
    pub(crate) fn truncate_head(&mut self, start: i64) {
        self.start = start;
        self.batches.retain(|batch| batch.last >= start);
    }

    /// A broker's answer.
    pub(crate) fn chunk(&self, from: i64, end: i64, limit: usize) -> Chunk {
        let mut entries: Vec<Entry> = self
            .batches
            .iter()
            .filter(|batch| batch.last >= from && batch.base < end)
            .map(Batch::entry)
            .collect();
        let end = (entries.len() <= limit).then_some(self.end);
        entries.truncate(limit);
        Chunk { start: from, entries, aborted: self.aborted.clone(), end }
    }
}

/// Feeds a matcher until it is done; also how many batches it asked for.
pub(crate) fn drive(
    source: &Log,
    target: &Log,
    start: Start,
    settings: MatchSettings,
    limit: usize,
) -> Result<Outcome, MatchError> {
    let mut matcher = Matcher::new(start, target.end, settings);
    for _ in 0..100_000 {
        match matcher.ask() {
            Ask::Source { from } => {
                matcher.source(source.chunk(from.max(source.start), i64::MAX, limit))?;
            }
            Ask::Target { from } => {
                matcher.target(target.chunk(from.max(target.start), target.end, limit))?;
            }
            Ask::Nothing => return Ok(matcher.finish()),
        }
    }
    panic!("it asks for ever: {:?}", matcher.ask());
}

pub(crate) fn own() -> MatchSettings {
    MatchSettings { own_producers: [OWN].into(), ..MatchSettings::default() }
}

pub(crate) fn pair(source: i64, target: i64) -> Start {
    Start::Pair { source, target, last: None }
}
