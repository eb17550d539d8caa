//! Messages of format 0 and 1, turned into the records of a version 2 payload.
//!
//! A message is `offset | size | crc | magic | attributes | [timestamp] | key | value`; a compressed
//! one wraps a set of messages in its value: Kafka's `LegacyRecord` and
//! `AbstractLegacyRecordBatch.DeepRecordsIterator`.

use super::codec::{Decompressor, Framing};
use super::error::BatchError;
use super::header::{Compression, LOG_OVERHEAD_BYTES, MAGIC_AT};
use super::open::OpenBatch;
use super::record::{self, RawRecord};
use super::walk::{self, Entry, Magic};

/// Bit 3 of the attributes of a format 1 message: the timestamp is the append time.
const APPEND_TIME: u8 = 0x08;

struct Message<'a> {
    offset: i64,
    magic: Magic,
    codec: Compression,
    is_append_time: bool,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// Decodes one whole entry.
    fn decode(entry: &'a [u8], base_offset: i64) -> Result<Self, BatchError> {
        let wrong = || BatchError::records(base_offset, "a message's fields do not fit its size");
        let offset = i64::from_be_bytes(*entry.first_chunk().ok_or_else(wrong)?);
        let mut rest = entry.get(MAGIC_AT..).ok_or_else(wrong)?;
        let [magic, attributes] = *take::<2>(&mut rest).ok_or_else(wrong)?;
        let magic = Magic::try_from(magic)?;
        let codec = Compression::from_attributes(i16::from(attributes))
            .filter(|codec| *codec != Compression::Zstd)
            .ok_or_else(|| BatchError::records(base_offset, "its codec is unknown"))?;
        let timestamp = match magic {
            Magic::V0 => -1,
            _ => i64::from_be_bytes(*take(&mut rest).ok_or_else(wrong)?),
        };
        let key = take_nullable(&mut rest).ok_or_else(wrong)?;
        let value = take_nullable(&mut rest).ok_or_else(wrong)?;
        if !rest.is_empty() {
            return Err(wrong());
        }
        let is_append_time = magic == Magic::V1 && attributes & APPEND_TIME != 0;
        Ok(Self { offset, magic, codec, is_append_time, timestamp, key, value })
    }
}

fn take<'a, const N: usize>(input: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (bytes, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(bytes)
}

fn take_nullable<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = i32::from_be_bytes(*take(input)?);
    if length == -1 {
        return Some(None);
    }
    let (bytes, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
    *input = rest;
    Some(Some(bytes))
}

/// Opens a message, or all messages that it wraps; its checksum has been verified.
pub(super) fn open(
    decompressor: &mut Decompressor,
    entry: &Entry,
    max_bytes: usize,
) -> Result<OpenBatch<'static>, BatchError> {
    let at = entry.base_offset();
    let outer = Message::decode(entry.bytes(), at)?;
    let codec = outer.codec;
    let append_time_ms = outer.is_append_time.then_some(outer.timestamp);
    let unpacked;
    let messages = if outer.codec == Compression::None {
        vec![outer]
    } else {
        let packed = outer.value.ok_or_else(|| {
            BatchError::records(at, "a compressed message has no value to unpack")
        })?;
        let framing = if outer.magic == Magic::V0 { Framing::Magic0 } else { Framing::Standard };
        unpacked = decompressor
            .decompress(outer.codec, framing, packed, max_bytes)
            .map_err(BatchError::codec(at))?;
        inner_messages(&outer, &unpacked)?
    };
    let mut open = encode(&messages, at)?;
    open.codec = codec;
    open.append_time_ms = append_time_ms;
    Ok(open)
}

/// The messages inside a wrapper, with absolute offsets.
fn inner_messages<'a>(outer: &Message<'_>, set: &'a [u8]) -> Result<Vec<Message<'a>>, BatchError> {
    let wrong = |what| BatchError::records(outer.offset, what);
    let mut messages = Vec::new();
    let mut rest = set;
    while !rest.is_empty() {
        let length = walk::entry_bytes(rest, LOG_OVERHEAD_BYTES)?
            .ok_or_else(|| wrong("a message inside a compressed one is cut off"))?;
        let (entry, behind) = rest.split_at(length);
        rest = behind;
        let message = Message::decode(entry, outer.offset)?;
        if message.magic != outer.magic {
            return Err(wrong("a compressed message wraps messages of another format"));
        }
        if message.codec != Compression::None {
            return Err(wrong("a compressed message wraps a compressed message"));
        }
        messages.push(message);
    }
    let last = messages.last().ok_or_else(|| wrong("a compressed message wraps none"))?.offset;
    // A producer leaves offset 0 on the wrapper; a broker writes that of the last message.
    let base = match outer.magic {
        Magic::V1 if outer.offset == 0 => 0,
        Magic::V1 => outer.offset.saturating_sub(last),
        _ => -1,
    };
    if base > 0 {
        for message in &mut messages {
            message.offset = message.offset.saturating_add(base);
        }
    }
    Ok(messages)
}

/// Encodes messages as version 2 records, deltas counted from the first.
fn encode(messages: &[Message<'_>], at: i64) -> Result<OpenBatch<'static>, BatchError> {
    let (base_offset, base_timestamp) =
        messages.first().map_or((at, -1), |first| (first.offset, first.timestamp));
    let mut payload = Vec::new();
    let mut body = Vec::new();
    let mut last_offset = base_offset;
    for (i, message) in messages.iter().enumerate() {
        if i > 0 && message.offset <= last_offset {
            return Err(BatchError::records(at, "the offsets inside a message do not grow"));
        }
        last_offset = message.offset;
        let delta = message.offset.checked_sub(base_offset).and_then(|d| i32::try_from(d).ok());
        let offset_delta = delta.ok_or_else(|| {
            BatchError::records(at, "the offsets inside a message lie too far apart")
        })?;
        let timestamp_delta = message.timestamp.wrapping_sub(base_timestamp);
        body.clear();
        record::encode_body(&mut body, message.key, message.value, &[]);
        RawRecord { attributes: 0, timestamp_delta, offset_delta, body: &body }
            .encode(&mut payload);
    }
    Ok(OpenBatch {
        base_offset,
        last_offset,
        base_timestamp,
        count: messages.len(),
        codec: Compression::None,
        append_time_ms: None,
        payload: payload.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::codec::compress;
    use crate::batch::crc;
    use crate::batch::decide::AppendTime;
    use crate::batch::record::RecordBody;
    use proptest::prelude::*;

    const CODECS: [Compression; 4] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4];

    /// Offset, timestamp, key, value.
    type Plain = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

    fn message(magic: u8, attributes: u8, plain: &Plain) -> Vec<u8> {
        let (offset, timestamp, key, value) = plain;
        let mut checked = vec![magic, attributes];
        if magic == 1 {
            checked.extend(timestamp.to_be_bytes());
        }
        for bytes in [key, value] {
            let length = bytes.as_ref().map_or(-1, |bytes| bytes.len() as i32);
            checked.extend(length.to_be_bytes());
            checked.extend(bytes.iter().flatten());
        }
        let mut message = offset.to_be_bytes().to_vec();
        message.extend((checked.len() as i32 + 4).to_be_bytes());
        message.extend(crc::crc32_ieee(&checked).to_be_bytes());
        message.extend(checked);
        message
    }

    /// Messages in a wrapper whose inner offsets are what the format says.
    fn wrapper(magic: u8, codec: Compression, append_time: bool, inner: &[Plain]) -> Vec<u8> {
        let base = if magic == 1 { inner[0].0 } else { 0 };
        let set: Vec<u8> = inner
            .iter()
            .flat_map(|(offset, t, k, v)| {
                message(magic, 0, &(offset - base, *t, k.clone(), v.clone()))
            })
            .collect();
        let mut packed = Vec::new();
        compress(codec, &set, &mut packed).unwrap();
        let attributes = codec.code() as u8 | if append_time { APPEND_TIME } else { 0 };
        message(magic, attributes, &(inner[inner.len() - 1].0, 777, None, Some(packed)))
    }

    fn opened(bytes: Vec<u8>) -> Result<Vec<Plain>, BatchError> {
        let entry = Entry::new(bytes.into())?;
        let open = OpenBatch::open(&entry, 1 << 20)?;
        open.records()
            .map(|record| {
                let record = record?;
                let body = RecordBody::decode(record.body, 0)?;
                let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                let timestamp = open.timestamp_ms(&record, AppendTime::Keep);
                Ok((record.offset, timestamp, owned(body.key), owned(body.value)))
            })
            .collect()
    }

    fn messages() -> impl Strategy<Value = Vec<Plain>> {
        let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..50));
        let one = (1i64..5, any::<i64>(), bytes(), bytes());
        (0i64..1000, prop::collection::vec(one, 1..10)).prop_map(|(mut offset, messages)| {
            let place = |(step, timestamp, key, value)| {
                offset += step;
                (offset, timestamp, key, value)
            };
            messages.into_iter().map(place).collect()
        })
    }

    proptest! {
        #[test]
        fn wrapped_messages_come_back(
            inner in messages(),
            codec in prop::sample::select(&CODECS[1..]),
            magic in 0u8..2,
            append_time: bool,
        ) {
            let append_time = append_time && magic == 1;
            let seen = opened(wrapper(magic, codec, append_time, &inner)).unwrap();
            let time = |timestamp| match (magic, append_time) {
                (0, _) => -1,
                (_, true) => 777,
                _ => timestamp,
            };
            let expected: Vec<Plain> =
                inner.into_iter().map(|(offset, t, k, v)| (offset, time(t), k, v)).collect();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn plain_messages_come_back(inner in messages(), append_time: bool) {
            let attributes = if append_time { APPEND_TIME } else { 0 };
            for plain in inner {
                prop_assert_eq!(opened(message(1, attributes, &plain)), Ok(vec![plain.clone()]));
                let (offset, _, key, value) = plain;
                let plain = (offset, -1, key, value);
                prop_assert_eq!(opened(message(0, 0, &plain)), Ok(vec![plain]));
            }
        }

        #[test]
        fn damaged_messages_never_panic(
            inner in messages(),
            codec in prop::sample::select(&CODECS[..]),
            magic in 0u8..2,
            at: prop::sample::Index,
            byte: u8,
        ) {
            let mut bytes = wrapper(magic, codec, false, &inner);
            let at = 16 + at.index(bytes.len() - 16);
            bytes[at] = byte;
            let crc = crc::crc32_ieee(&bytes[16..]);
            bytes[12..16].copy_from_slice(&crc.to_be_bytes());
            if let Ok(seen) = opened(bytes) {
                prop_assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0));
            }
        }
    }

    fn plain(offset: i64) -> Plain {
        (offset, 5, None, Some(b"v".to_vec()))
    }

    #[test]
    fn a_wrapper_at_offset_0_leaves_inner_offsets_alone() {
        let mut bytes = wrapper(1, Compression::Gzip, false, &[plain(0), plain(1), plain(2)]);
        bytes[..8].copy_from_slice(&0i64.to_be_bytes());
        let offsets: Vec<i64> = opened(bytes).unwrap().iter().map(|plain| plain.0).collect();
        assert_eq!(offsets, [0, 1, 2]);
    }

    #[test]
    fn sets_that_no_client_writes_are_refused() {
        let wrap = |set: &[u8]| {
            let mut packed = Vec::new();
            compress(Compression::Gzip, set, &mut packed).unwrap();
            opened(message(1, 1, &(9, 0, None, Some(packed))))
        };
        let good = message(1, 0, &plain(0));
        assert_eq!(wrap(&good).unwrap().len(), 1);
        assert!(wrap(&[]).is_err());
        assert!(wrap(&good[..good.len() - 1]).is_err());
        assert!(wrap(&message(0, 0, &plain(0))).is_err());
        assert!(wrap(&wrapper(1, Compression::Gzip, false, &[plain(0)])).is_err());
        assert!(wrap(&[good.clone(), good].concat()).is_err());
        assert!(opened(message(1, 1, &(9, 0, None, None))).is_err());
        assert!(opened(message(1, 4, &plain(0))).is_err());
    }
}
