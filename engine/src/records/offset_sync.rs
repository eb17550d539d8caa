//! Offset syncs: the same record's offset on both sides
//! (`org.apache.kafka.connect.mirror.OffsetSync`), and the index that kmirror keeps behind it.
//!
//! Java reads 16 bytes of a value and leaves the rest alone. There stand a version (one byte, 1), the ids of the topic
//! at the source and at the target (16 bytes each, nil where there are none), and the index as [`OffsetIndex::encode`]
//! writes it.

use uuid::Uuid;

use super::RecordError;
use super::fields::{Fields, put_string};
use crate::index::{IndexError, OffsetIndex};
use crate::model::TopicIds;

/// What Java reads of a value, in bytes.
const PLAIN_BYTES: usize = 16;

const EXTENSION_VERSION: u8 = 1;

/// What stands in a value before the index, in bytes.
const BEFORE_INDEX_BYTES: usize = PLAIN_BYTES + 1 + 2 * 16;

/// One record of an offset-syncs topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetSync {
    /// The topic, as the source calls it.
    pub topic: String,
    /// The partition, the same on both sides.
    pub partition: i32,
    /// The record's offset on the source.
    pub upstream_offset: i64,
    /// The record's offset on the target.
    pub downstream_offset: i64,
}

impl OffsetSync {
    /// The record's key. Fails only if the topic's name is longer than 32767 bytes.
    pub fn encode_key(&self) -> Result<Vec<u8>, RecordError> {
        let mut out = Vec::with_capacity(self.topic.len() + 6);
        put_string(&mut out, "topic", &self.topic)?;
        out.extend_from_slice(&self.partition.to_be_bytes());
        Ok(out)
    }

    /// The record's value: 16 bytes.
    pub fn encode_value(&self) -> Vec<u8> {
        [self.upstream_offset.to_be_bytes(), self.downstream_offset.to_be_bytes()].concat()
    }

    /// As [`Self::encode_value`], with the index behind it, thinned if the value would take more than about `max_bytes`.
    pub fn encode_with_index(
        &self,
        ids: TopicIds,
        index: &OffsetIndex,
        max_bytes: usize,
    ) -> Vec<u8> {
        let mut value = self.encode_value();
        value.push(EXTENSION_VERSION);
        value.extend_from_slice(ids.source.as_bytes());
        value.extend_from_slice(ids.target.as_bytes());
        value.extend(index.encode(max_bytes.saturating_sub(BEFORE_INDEX_BYTES)));
        value
    }

    /// The index behind the value that [`Self::decode`] reads, and the ids of the topic; none if the value ends
    /// there, as MirrorMaker 2's do.
    ///
    /// # Errors
    /// Something else stands there: bytes of a newer version, or of somebody else.
    pub fn decode_index(
        &self,
        value: &[u8],
    ) -> Result<Option<(TopicIds, OffsetIndex)>, IndexError> {
        let Some((version, rest)) = value.get(PLAIN_BYTES..).and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        if *version != EXTENSION_VERSION {
            return Err(IndexError::UnknownVersion(*version));
        }
        let (source, rest) = rest.split_first_chunk().ok_or(IndexError::Damaged)?;
        let (target, index) = rest.split_first_chunk().ok_or(IndexError::Damaged)?;
        let ids = TopicIds { source: Uuid::from_bytes(*source), target: Uuid::from_bytes(*target) };
        let index = OffsetIndex::decode(index)?;
        match index.last_pair() {
            Some(last) if last == (self.upstream_offset, self.downstream_offset) => {
                Ok(Some((ids, index)))
            }
            _ => Err(IndexError::Damaged),
        }
    }

    /// Reads a record. Like Java, bytes behind the known fields are left alone.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, RecordError> {
        let mut key = Fields::new(key);
        let mut value = Fields::new(value);
        Ok(Self {
            topic: key.string("topic")?,
            partition: key.i32("partition")?,
            upstream_offset: value.i64("upstreamOffset")?,
            downstream_offset: value.i64("offset")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_java() {
        let sync = OffsetSync {
            topic: "topic-1".to_owned(),
            partition: 7,
            upstream_offset: 3,
            downstream_offset: 4,
        };
        let key = b"\0\x07topic-1\0\0\0\x07";
        let value = b"\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04";
        assert_eq!(sync.encode_key().as_deref(), Ok(&key[..]));
        assert_eq!(sync.encode_value(), value);
        assert_eq!(OffsetSync::decode(key, value), Ok(sync.clone()));
        assert_eq!(OffsetSync::decode(key, &[&value[..], b"more"].concat()), Ok(sync));
    }

    #[test]
    fn an_index_stands_behind_what_java_reads() {
        let mut index = OffsetIndex::default();
        index.begin(0, 0);
        index.append(0, 0, 4);
        index.append(5, 4, 4);
        let (upstream_offset, downstream_offset) = index.last_pair().unwrap();
        let sync =
            OffsetSync { topic: "t".to_owned(), partition: 0, upstream_offset, downstream_offset };
        let ids = TopicIds { source: Uuid::from_u128(7), target: Uuid::from_u128(8) };
        let mut value = sync.encode_with_index(ids, &index, 1000);
        assert_eq!(value[..16], sync.encode_value());
        assert_eq!(OffsetSync::decode(&sync.encode_key().unwrap(), &value).as_ref(), Ok(&sync));
        let (found, restored) = sync.decode_index(&value).unwrap().unwrap();
        assert_eq!((found, restored.encode(1000)), (ids, index.encode(1000)));
        assert!(sync.decode_index(&value[..16]).unwrap().is_none());
        let other = OffsetSync { upstream_offset: 3, ..sync.clone() };
        assert_eq!(other.decode_index(&value).err(), Some(IndexError::Damaged));
        for end in 17..value.len() {
            assert_eq!(sync.decode_index(&value[..end]).err(), Some(IndexError::Damaged));
        }
        value[16] = 9;
        assert_eq!(sync.decode_index(&value).err(), Some(IndexError::UnknownVersion(9)));
    }

    #[test]
    fn foreign_records_are_errors() {
        assert_eq!(
            OffsetSync::decode(b"\0\x07top", b""),
            Err(RecordError::Truncated { field: "topic" })
        );
        assert_eq!(
            OffsetSync::decode(b"\xff\xff", b""),
            Err(RecordError::BadString { field: "topic" })
        );
        assert_eq!(
            OffsetSync::decode(b"\0\x01t\0\0\0\0", b"\0\0\0\0\0\0\0\x03\0"),
            Err(RecordError::Truncated { field: "offset" })
        );
        let long = OffsetSync {
            topic: "t".repeat(40_000),
            partition: 0,
            upstream_offset: 0,
            downstream_offset: 0,
        };
        assert_eq!(long.encode_key(), Err(RecordError::TooLong { field: "topic" }));
    }
}
