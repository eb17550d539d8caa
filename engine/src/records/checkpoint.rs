//! Checkpoints: a consumer group's position on both sides
//! (`org.apache.kafka.connect.mirror.Checkpoint`).

use super::RecordError;
use super::fields::{Fields, put_string};

/// One record of a checkpoints topic. Offsets are positions: the next record to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The consumer group.
    pub group: String,
    /// The topic, as the target calls it.
    pub topic: String,
    /// The partition, the same on both sides.
    pub partition: i32,
    /// The group's position on the source.
    pub upstream_offset: i64,
    /// The position on the target that says the same.
    pub downstream_offset: i64,
    /// The metadata that the group committed with its position; empty if none.
    pub metadata: String,
}

impl Checkpoint {
    /// The record's key. Fails only if a name is longer than 32767 bytes.
    pub fn encode_key(&self) -> Result<Vec<u8>, RecordError> {
        let mut out = Vec::with_capacity(self.group.len() + self.topic.len() + 8);
        put_string(&mut out, "group", &self.group)?;
        put_string(&mut out, "topic", &self.topic)?;
        out.extend_from_slice(&self.partition.to_be_bytes());
        Ok(out)
    }

    /// The record's value, version 0. Fails only if the metadata is longer than 32767 bytes.
    pub fn encode_value(&self) -> Result<Vec<u8>, RecordError> {
        let mut out = Vec::with_capacity(self.metadata.len() + 20);
        out.extend_from_slice(&0i16.to_be_bytes());
        out.extend_from_slice(&self.upstream_offset.to_be_bytes());
        out.extend_from_slice(&self.downstream_offset.to_be_bytes());
        put_string(&mut out, "metadata", &self.metadata)?;
        Ok(out)
    }

    /// Reads a record's key: group, topic and partition.
    pub fn decode_key(key: &[u8]) -> Result<(String, String, i32), RecordError> {
        let mut key = Fields::new(key);
        Ok((key.string("group")?, key.string("topic")?, key.i32("partition")?))
    }

    /// Reads a record.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, RecordError> {
        let mut value = Fields::new(value);
        value.version_zero()?;
        let (group, topic, partition) = Self::decode_key(key)?;
        Ok(Self {
            group,
            topic,
            partition,
            upstream_offset: value.i64("upstreamOffset")?,
            downstream_offset: value.i64("offset")?,
            metadata: value.string("metadata")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_java() {
        let checkpoint = Checkpoint {
            group: "g1".to_owned(),
            topic: "A.t".to_owned(),
            partition: 2,
            upstream_offset: 10,
            downstream_offset: 5,
            metadata: String::new(),
        };
        let key = b"\0\x02g1\0\x03A.t\0\0\0\x02";
        let value = b"\0\0\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0\x05\0\0";
        assert_eq!(checkpoint.encode_key().as_deref(), Ok(&key[..]));
        assert_eq!(checkpoint.encode_value().as_deref(), Ok(&value[..]));
        assert_eq!(Checkpoint::decode(key, value), Ok(checkpoint));
    }

    #[test]
    fn newer_versions_are_errors() {
        assert_eq!(
            Checkpoint::decode(b"", b"\0\x01"),
            Err(RecordError::UnknownVersion { version: 1 })
        );
    }
}
