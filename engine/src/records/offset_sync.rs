//! Offset syncs: the same record's offset on both sides
//! (`org.apache.kafka.connect.mirror.OffsetSync`).

use super::RecordError;
use super::fields::{Fields, put_string};

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
