//! Where a partition stands on both sides: kmirror's own records in the offsets topic, beside those of MirrorMaker 2.
//!
//! Connect's key holds the source's half alone. After a crash the target's log says what was copied since, if it is known
//! where in it to begin; so the pair of both offsets is kept under a key of its own, which Connect passes over because no
//! connector has that name.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::connect_offset::{ConnectOffsetKey, SourcePartition};
use super::{RecordError, jackson};
use crate::model::Pair;

/// What the connector's name has behind it in the keys of kmirror's own records.
const SUFFIX: &str = ".kmirror";

/// The last epoch that a producer of kmirror had when it ended in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedProducer {
    /// Its producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// The name under which the connector's pairs are kept.
pub fn owner(connector: &str) -> String {
    format!("{connector}{SUFFIX}")
}

/// The key of a partition's pair.
pub fn key(connector: &str, partition: SourcePartition<'_>) -> ConnectOffsetKey {
    ConnectOffsetKey::source(&owner(connector), partition)
}

/// The key under which the end of a producer is noted.
pub fn producer_key(connector: &str, transactional_id: &str) -> ConnectOffsetKey {
    ConnectOffsetKey::with_members(&owner(connector), json!({"producer": transactional_id}))
}

/// The value's bytes.
pub fn encode(pair: &Pair) -> Vec<u8> {
    let Pair { source_next, source_epoch, target_next, source_id, target_id } = pair;
    written(json!({
        "source": source_next,
        "source.epoch": source_epoch,
        "target": target_next,
        "source.id": source_id.to_string(),
        "target.id": target_id.to_string(),
    }))
}

/// Reads a value; none for a tombstone.
///
/// # Errors
/// Something else than a pair.
pub fn decode(bytes: &[u8]) -> Result<Option<Pair>, RecordError> {
    let Some(members) = members(bytes)? else { return Ok(None) };
    let number = |name| members.get(name).and_then(Value::as_i64).filter(|at| *at >= 0);
    let id = |name| members.get(name).and_then(Value::as_str).and_then(|id| id.parse().ok());
    let pair = || {
        Some(Pair {
            source_next: number("source")?,
            source_epoch: number("source.epoch").and_then(|at| at.try_into().ok()).unwrap_or(-1),
            target_next: number("target")?,
            source_id: id("source.id").unwrap_or(Uuid::nil()),
            target_id: id("target.id").unwrap_or(Uuid::nil()),
        })
    };
    pair().map(Some).ok_or_else(|| RecordError::BadJson("not a pair".to_owned()))
}

impl EndedProducer {
    /// The value's bytes.
    pub fn encode(&self) -> Vec<u8> {
        written(json!({"id": self.id, "epoch": self.epoch}))
    }

    /// Reads a value; none for a tombstone.
    ///
    /// # Errors
    /// Something else than such a note.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, RecordError> {
        let Some(members) = members(bytes)? else { return Ok(None) };
        let number = |name| members.get(name).and_then(Value::as_i64);
        let epoch = number("epoch").and_then(|epoch| i16::try_from(epoch).ok());
        match (number("id"), epoch) {
            (Some(id), Some(epoch)) => Ok(Some(Self { id, epoch })),
            _ => Err(RecordError::BadJson("not the end of a producer".to_owned())),
        }
    }
}

fn written(value: Value) -> Vec<u8> {
    let mut out = String::new();
    jackson::write(&mut out, &value);
    out.into_bytes()
}

fn members(bytes: &[u8]) -> Result<Option<Map<String, Value>>, RecordError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match serde_json::from_slice(bytes) {
        Err(error) => Err(RecordError::BadJson(error.to_string())),
        Ok(Value::Null) => Ok(None),
        Ok(Value::Object(members)) => Ok(Some(members)),
        Ok(_) => Err(RecordError::BadJson("the value is not an object".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let (source_id, target_id) = (Uuid::from_u128(7), Uuid::nil());
        let pair = Pair { source_next: 42, source_epoch: 3, target_next: 57, source_id, target_id };
        assert_eq!(decode(&encode(&pair)), Ok(Some(pair)));
        let ended = EndedProducer { id: 1000, epoch: 3 };
        assert_eq!(EndedProducer::decode(&ended.encode()), Ok(Some(ended)));
        assert_eq!(decode(b""), Ok(None));
        assert_eq!(EndedProducer::decode(b"null"), Ok(None));
    }

    #[test]
    fn foreign_values_are_errors() {
        for bytes in
            [&b"{}"[..], b"7", b"{\"source\":-1,\"target\":1}", b"\xff", b"{\"epoch\":70000}"]
        {
            assert!(decode(bytes).is_err());
            assert!(EndedProducer::decode(bytes).is_err());
        }
    }

    #[test]
    fn no_connector_has_the_name() {
        let at = SourcePartition { cluster: "A", topic: "t", partition: 0 };
        let key = key("MirrorSourceConnector", at);
        assert_eq!(key.connector, "MirrorSourceConnector.kmirror");
        assert_eq!(key.source_partition(), Some(at));
        let of_producer = producer_key("c", "id-0");
        assert_eq!(of_producer.member("producer"), Some("id-0"));
        assert_eq!(of_producer.source_partition(), None);
    }
}
