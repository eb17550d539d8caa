//! The primitive types of Kafka's protocol that the records are made of: big-endian integers and
//! short strings.

use super::RecordError;

/// Reads fields one after the other.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], RecordError> {
        let (bytes, rest) =
            self.rest.split_first_chunk::<N>().ok_or(RecordError::Truncated { field })?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn i16(&mut self, field: &'static str) -> Result<i16, RecordError> {
        self.take(field).map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, RecordError> {
        self.take(field).map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, RecordError> {
        self.take(field).map(i64::from_be_bytes)
    }

    pub(super) fn string(&mut self, field: &'static str) -> Result<String, RecordError> {
        let bad = RecordError::BadString { field };
        let length = usize::try_from(self.i16(field)?).map_err(|_| bad.clone())?;
        let (bytes, rest) =
            self.rest.split_at_checked(length).ok_or(RecordError::Truncated { field })?;
        self.rest = rest;
        String::from_utf8(bytes.to_vec()).map_err(|_| bad)
    }

    /// The version that checkpoint and heartbeat values begin with.
    pub(super) fn version_zero(&mut self) -> Result<(), RecordError> {
        match self.i16("version")? {
            0 => Ok(()),
            version => Err(RecordError::UnknownVersion { version }),
        }
    }
}

/// Appends a string with its length.
pub(super) fn put_string(
    out: &mut Vec<u8>,
    field: &'static str,
    text: &str,
) -> Result<(), RecordError> {
    let length = i16::try_from(text.len()).map_err(|_| RecordError::TooLong { field })?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}
