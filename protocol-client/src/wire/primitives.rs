//! Kafka's primitive types: a checked reader over borrowed bytes, and writers.
//!
//! Encodings: <https://kafka.apache.org/protocol#protocol_types>.

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

/// More tagged fields than this in one structure is not a message but an attack (KIP-482 names
/// no limit; Kafka itself defines at most four).
pub const MAX_TAGGED_FIELDS: u32 = 64;

/// Bytes that do not follow the schema they should follow. Positions count from the start of the
/// message body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("cut off at byte {at}, {wanted} more bytes expected")]
    Truncated {
        /// Where the field starts.
        at: usize,
        /// How many bytes it needs.
        wanted: usize,
    },
    /// A length is negative and does not mean null.
    #[error("impossible length {length} at byte {at}")]
    Length {
        /// Where the length stands.
        at: usize,
        /// The length.
        length: i64,
    },
    /// An array claims more items than the message has bytes.
    #[error("{count} items claimed at byte {at} with {remaining} bytes left")]
    Count {
        /// Where the count stands.
        at: usize,
        /// The count.
        count: u64,
        /// The bytes behind it.
        remaining: usize,
    },
    /// A message holds more items than any cluster has.
    #[error("more than {limit} items in one message")]
    Items {
        /// The limit.
        limit: usize,
    },
    /// A variable-length integer does not end within five bytes or overflows.
    #[error("bad variable-length integer at byte {at}")]
    Varint {
        /// Where it starts.
        at: usize,
    },
    /// A string is not UTF-8.
    #[error("string at byte {at} is not UTF-8")]
    Utf8 {
        /// Where the string starts.
        at: usize,
    },
    /// A field that must have a value is null.
    #[error("field at byte {at} is null")]
    Null {
        /// Where the field starts.
        at: usize,
    },
    /// One structure carries more tagged fields than allowed.
    #[error("{count} tagged fields claimed at byte {at}, at most {MAX_TAGGED_FIELDS} are accepted")]
    TaggedFields {
        /// Where the count stands.
        at: usize,
        /// The count.
        count: u32,
    },
    /// A tagged field is longer or shorter than its content.
    #[error("tagged field {tag} has {left} bytes too many")]
    TaggedSize {
        /// The tag.
        tag: u32,
        /// Bytes left over behind its content.
        left: usize,
    },
    /// The message ended before the frame did.
    #[error("{bytes} bytes left behind the message")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The decoder of the message types refused what the guard let through.
    #[error("{0}")]
    Decoder(String),
}

/// A checked reader. Every method either advances behind a whole field or fails.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads `bytes` from the start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The position of the next byte.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| WireError::Truncated {
            at: self.at,
            wanted: length.saturating_sub(self.remaining()),
        })?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("take returns exactly the bytes asked for"))
    }

    /// An `int8`, or a boolean.
    pub fn i8(&mut self) -> Result<i8, WireError> {
        self.array().map(i8::from_be_bytes)
    }

    /// An `int16`.
    pub fn i16(&mut self) -> Result<i16, WireError> {
        self.array().map(i16::from_be_bytes)
    }

    /// An `int32`.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    /// An `int64`.
    pub fn i64(&mut self) -> Result<i64, WireError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A `uuid`.
    pub fn uuid(&mut self) -> Result<Uuid, WireError> {
        self.array().map(Uuid::from_bytes)
    }

    /// An unsigned varint of at most 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, WireError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| WireError::Varint { at: start });
            }
        }
        Err(WireError::Varint { at: start })
    }

    /// The length before a compact string, bytes or array; `None` is null.
    fn compact_length(&mut self) -> Result<Option<usize>, WireError> {
        Ok(self.uvarint()?.checked_sub(1).map(|length| length as usize))
    }

    /// Compact nullable bytes.
    pub fn compact_bytes(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        match self.compact_length()? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    /// A compact nullable string.
    pub fn compact_str(&mut self) -> Result<Option<&'a str>, WireError> {
        let start = self.at;
        let Some(bytes) = self.compact_bytes()? else { return Ok(None) };
        str::from_utf8(bytes).map(Some).map_err(|_| WireError::Utf8 { at: start })
    }

    /// The count of a compact nullable array, bounded by the bytes that are left.
    pub fn compact_count(&mut self) -> Result<Option<usize>, WireError> {
        let at = self.at;
        let count = self.compact_length()?;
        count.map(|count| self.plausible(at, count)).transpose()
    }

    /// The `int32` count of a nullable array, bounded by the bytes that are left.
    pub fn plain_count(&mut self) -> Result<Option<usize>, WireError> {
        let at = self.at;
        match self.i32()? {
            -1 => Ok(None),
            count => {
                let length = i64::from(count);
                let count = usize::try_from(count).map_err(|_| WireError::Length { at, length })?;
                self.plausible(at, count).map(Some)
            }
        }
    }

    fn plausible(&self, at: usize, count: usize) -> Result<usize, WireError> {
        let remaining = self.remaining();
        if count > remaining {
            return Err(WireError::Count { at, count: count as u64, remaining });
        }
        Ok(count)
    }

    /// Walks the tagged fields at the end of a flexible structure (KIP-482). `known` is given each
    /// tag with a cursor over its content and says whether it read it; what it reads it must read
    /// to the end.
    pub fn tagged<E: From<WireError>>(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<bool, E>,
    ) -> Result<(), E> {
        let at = self.at;
        let count = self.uvarint()?;
        if count > MAX_TAGGED_FIELDS {
            return Err(WireError::TaggedFields { at, count }.into());
        }
        for _ in 0..count {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let mut content = Cursor::new(self.take(size)?);
            if known(tag, &mut content)? && content.remaining() > 0 {
                return Err(WireError::TaggedSize { tag, left: content.remaining() }.into());
            }
        }
        Ok(())
    }

    /// Steps over tagged fields that nobody here reads.
    pub fn skip_tagged(&mut self) -> Result<(), WireError> {
        self.tagged(|_, _| Ok(false))
    }

    /// Fails unless everything has been read.
    pub fn finish(&self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            bytes => Err(WireError::Trailing { bytes }),
        }
    }
}

/// Writes an unsigned varint.
pub fn put_uvarint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Writes the length before a compact string, bytes or array. Callers keep lengths below 2 GiB.
pub fn put_compact_length(out: &mut BytesMut, length: usize) {
    put_uvarint(out, u32::try_from(length + 1).expect("lengths in requests are below 2 GiB"));
}

/// Writes a compact string.
pub fn put_compact_str(out: &mut BytesMut, text: &str) {
    put_compact_length(out, text.len());
    out.put_slice(text.as_bytes());
}

/// Writes "no tagged fields".
pub fn put_no_tags(out: &mut BytesMut) {
    out.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn uvarints_come_back(value: u32) {
            let mut out = BytesMut::new();
            put_uvarint(&mut out, value);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.uvarint(), Ok(value));
            prop_assert_eq!(cursor.finish(), Ok(()));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut cursor = Cursor::new(&bytes);
            let _ = cursor.clone().skip_tagged();
            let _ = cursor.clone().plain_count();
            let _ = cursor.clone().compact_count();
            let _ = cursor.clone().compact_str();
            let _ = cursor.uvarint();
        }
    }

    #[test]
    fn a_varint_beyond_32_bits_is_refused() {
        let mut five = Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]);
        assert_eq!(five.uvarint(), Err(WireError::Varint { at: 0 }));
        let mut six = Cursor::new(&[0x80; 6]);
        assert_eq!(six.uvarint(), Err(WireError::Varint { at: 0 }));
    }

    #[test]
    fn a_count_larger_than_the_message_is_refused() {
        let mut cursor = Cursor::new(&[0x7f, 0xff, 0xff, 0xff, 0]);
        let refused = WireError::Count { at: 0, count: 0x7fff_ffff, remaining: 1 };
        assert_eq!(cursor.plain_count(), Err(refused));
    }
}
