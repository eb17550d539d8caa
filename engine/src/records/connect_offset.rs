//! Source offsets of Kafka Connect, as they stand in `mm2-offsets.<source>.internal`.
//!
//! Connect looks offsets up by the bytes of the key, and compaction keeps one record per key: a
//! position that is to be found by MirrorMaker 2 must be written with exactly Java's bytes, to the
//! partition Java would choose.

use serde_json::{Map, Value, json};

use super::{RecordError, jackson, murmur2};

/// The key of a source offset: the connector's name and what Connect calls a source partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOffsetKey {
    /// The connector, `MirrorSourceConnector` in a dedicated process.
    pub connector: String,
    members: Map<String, Value>,
}

/// The partition of the source that a key of the source connector names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePartition<'a> {
    /// The alias of the source.
    pub cluster: &'a str,
    /// The topic, as the source calls it.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: i32,
}

impl ConnectOffsetKey {
    /// The key under which `MirrorSourceConnector` keeps the position of one partition.
    pub fn source(connector: &str, partition: SourcePartition<'_>) -> Self {
        let SourcePartition { cluster, topic, partition } = partition;
        let members = json!({"cluster": cluster, "topic": topic, "partition": partition});
        Self::with_members(connector, members)
    }

    /// A key of other members.
    pub(super) fn with_members(connector: &str, members: Value) -> Self {
        let members = match members {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        Self { connector: connector.to_owned(), members }
    }

    /// The key's bytes, members in the order of Java's `HashMap`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = String::new();
        let members = Value::Object(self.members.clone());
        jackson::write(&mut out, &Value::Array(vec![self.connector.as_str().into(), members]));
        out.into_bytes()
    }

    /// The partition of the offsets topic that Java writes this key to.
    pub fn topic_partition(&self, partitions: i32) -> Option<i32> {
        murmur2::partition_for(&self.encode(), partitions)
    }

    /// Reads a key, whatever connector it belongs to and in whatever order its members come.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let bad = |why: &str| RecordError::BadJson(why.to_owned());
        match serde_json::from_slice(bytes) {
            Err(error) => Err(RecordError::BadJson(error.to_string())),
            Ok(Value::Array(mut parts)) if parts.len() == 2 => match (parts.pop(), parts.pop()) {
                (Some(Value::Object(members)), Some(Value::String(connector))) => {
                    Ok(Self { connector, members })
                }
                _ => Err(bad("the key is not a connector's name and its partition")),
            },
            Ok(_) => Err(bad("the key is not an array of two")),
        }
    }

    /// A member that is a text.
    pub fn member(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str()
    }

    /// The partition, if the key has the members of the source connector's keys.
    pub fn source_partition(&self) -> Option<SourcePartition<'_>> {
        Some(SourcePartition {
            cluster: self.members.get("cluster")?.as_str()?,
            topic: self.members.get("topic")?.as_str()?,
            partition: i32::try_from(self.members.get("partition")?.as_i64()?).ok()?,
        })
    }
}

/// The value of a source offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOffsetValue {
    members: Map<String, Value>,
}

impl ConnectOffsetValue {
    /// The value that says: `offset` is the last offset of the source that was replicated.
    pub fn new(offset: i64) -> Self {
        Self { members: Map::from_iter([("offset".to_owned(), offset.into())]) }
    }

    /// The last offset of the source that was replicated; reading goes on one behind it.
    pub fn offset(&self) -> Option<i64> {
        self.members.get("offset")?.as_i64()
    }

    /// The value's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = String::new();
        jackson::write(&mut out, &Value::Object(self.members.clone()));
        out.into_bytes()
    }

    /// Reads a value. Empty and `null` values are tombstones: there is no offset.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, RecordError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        match serde_json::from_slice(bytes) {
            Err(error) => Err(RecordError::BadJson(error.to_string())),
            Ok(Value::Null) => Ok(None),
            Ok(Value::Object(members)) => Ok(Some(Self { members })),
            Ok(_) => Err(RecordError::BadJson("the value is not an object".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the fuzz target `mm2_records`.
    #[test]
    fn a_number_that_is_no_offset_keeps_its_value() {
        let bytes = br#"{"offset":500000000000000000000000000052978480}"#;
        let value = ConnectOffsetValue::decode(bytes).expect("JSON").expect("no tombstone");
        assert_eq!(value.offset(), None);
        assert_eq!(ConnectOffsetValue::decode(&value.encode()), Ok(Some(value)));
    }

    #[test]
    fn bytes_of_java() {
        let partition = SourcePartition { cluster: "A", topic: "t", partition: 0 };
        let key = ConnectOffsetKey::source("MirrorSourceConnector", partition);
        let bytes = br#"["MirrorSourceConnector",{"cluster":"A","partition":0,"topic":"t"}]"#;
        assert_eq!(key.encode(), bytes);
        assert_eq!(key.topic_partition(25), Some(7));
        let shuffled = br#" ["MirrorSourceConnector", {"topic":"t","cluster":"A","partition":0}]"#;
        let read = ConnectOffsetKey::decode(shuffled).expect("shuffled");
        assert_eq!(read.source_partition(), Some(partition));
        assert_eq!(read.encode(), bytes);
        assert_eq!(ConnectOffsetValue::new(41).encode(), br#"{"offset":41}"#);
    }

    #[test]
    fn keys_of_other_connectors() {
        let bytes =
            br#"["MirrorHeartbeatConnector",{"sourceClusterAlias":"A","targetClusterAlias":"B"}]"#;
        let key = ConnectOffsetKey::decode(bytes).expect("heartbeat");
        assert_eq!(key.source_partition(), None);
        assert_eq!(key.encode(), bytes);
    }

    #[test]
    fn tombstones_and_foreign_records() {
        assert_eq!(ConnectOffsetValue::decode(b""), Ok(None));
        assert_eq!(ConnectOffsetValue::decode(b"null"), Ok(None));
        assert!(matches!(ConnectOffsetValue::decode(b"[1"), Err(RecordError::BadJson(_))));
        assert!(matches!(ConnectOffsetValue::decode(b"7"), Err(RecordError::BadJson(_))));
        for key in [&b"{}"[..], b"[\"a\"]", b"[1,{}]", b"[\"a\",[]]", b"\xff"] {
            assert!(matches!(ConnectOffsetKey::decode(key), Err(RecordError::BadJson(_))));
        }
        let value = ConnectOffsetValue::decode(br#"{"offset":"7"}"#).expect("object");
        assert_eq!(value.and_then(|value| value.offset()), None);
        let huge = br#"["c",{"cluster":"A","topic":"t","partition":99999999999}]"#;
        assert_eq!(ConnectOffsetKey::decode(huge).expect("object").source_partition(), None);
    }
}
