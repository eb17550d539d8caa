//! Heartbeats: proof that a flow is alive (`org.apache.kafka.connect.mirror.Heartbeat`).

use super::RecordError;
use super::fields::{Fields, put_string};

/// One record of a heartbeats topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The alias of the cluster that the flow reads.
    pub source: String,
    /// The alias of the cluster that the flow writes.
    pub target: String,
    /// When it was sent, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl Heartbeat {
    /// The record's key. Fails only if an alias is longer than 32767 bytes.
    pub fn encode_key(&self) -> Result<Vec<u8>, RecordError> {
        let mut out = Vec::with_capacity(self.source.len() + self.target.len() + 4);
        put_string(&mut out, "sourceClusterAlias", &self.source)?;
        put_string(&mut out, "targetClusterAlias", &self.target)?;
        Ok(out)
    }

    /// The record's value, version 0.
    pub fn encode_value(&self) -> Vec<u8> {
        [&0i16.to_be_bytes()[..], &self.timestamp_ms.to_be_bytes()].concat()
    }

    /// Reads a record.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, RecordError> {
        let mut key = Fields::new(key);
        let mut value = Fields::new(value);
        value.version_zero()?;
        Ok(Self {
            source: key.string("sourceClusterAlias")?,
            target: key.string("targetClusterAlias")?,
            timestamp_ms: value.i64("timestamp")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_java() {
        let heartbeat = Heartbeat {
            source: "A".to_owned(),
            target: "B".to_owned(),
            timestamp_ms: 1_700_000_000_000,
        };
        let key = b"\0\x01A\0\x01B";
        let value = b"\0\0\0\0\x01\x8b\xcf\xe5\x68\0";
        assert_eq!(heartbeat.encode_key().as_deref(), Ok(&key[..]));
        assert_eq!(heartbeat.encode_value(), value);
        assert_eq!(Heartbeat::decode(key, value), Ok(heartbeat));
    }
}
