//! Records of a version 2 batch: borrowed decoding and encoding.
//!
//! A record is `length | attributes | timestampDelta | offsetDelta | key | value | headers`, with
//! zig-zag varints: Kafka's `DefaultRecord`. Header names are kept as bytes, in order, with
//! duplicates: a copy must not lose what a map or a string would.

use super::copy;
use super::error::BatchError;
use super::varint;

/// A header: its name's bytes and its value.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// A record with its deltas read and its body (key, value, headers) untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Attributes of the record: unused so far by Kafka.
    pub attributes: i8,
    /// Milliseconds since the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Key, value and headers as they are encoded.
    pub body: &'a [u8],
}

/// Key, value and headers of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordBody<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none for a tombstone.
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    header_count: usize,
}

/// Iterator over the records of an uncompressed payload.
///
/// Strict: an error is the last item, and a payload that does not hold exactly the promised
/// number of records is one.
#[derive(Debug, Clone)]
pub struct RawRecords<'a> {
    payload: &'a [u8],
    left: usize,
    base_offset: i64,
}

impl<'a> RawRecords<'a> {
    /// Reads `count` records from `payload`; `base_offset` is for errors only.
    pub fn new(payload: &'a [u8], count: usize, base_offset: i64) -> Self {
        Self { payload, left: count, base_offset }
    }

    fn fail(&mut self, what: &'static str) -> Option<Result<RawRecord<'a>, BatchError>> {
        (self.payload, self.left) = (&[], 0);
        Some(Err(BatchError::records(self.base_offset, what)))
    }
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.payload.is_empty() {
                return None;
            }
            return self.fail("it holds more records than its header says");
        }
        match take_record(&mut self.payload) {
            Some(record) => {
                self.left -= 1;
                Some(Ok(record))
            }
            None if self.payload.is_empty() => {
                self.fail("it holds fewer records than its header says")
            }
            None => self.fail("a record is cut off or has an impossible length"),
        }
    }
}

#[inline]
fn take_record<'a>(payload: &mut &'a [u8]) -> Option<RawRecord<'a>> {
    let mut rest = *payload;
    let length = usize::try_from(varint::take_i32(&mut rest)?).ok()?;
    let (mut record, rest) = rest.split_at_checked(length)?;
    let attributes = *record.split_off_first()? as i8;
    let timestamp_delta = varint::take_i64(&mut record)?;
    let offset_delta = varint::take_i32(&mut record)?;
    *payload = rest;
    Some(RawRecord { attributes, timestamp_delta, offset_delta, body: record })
}

impl<'a> RecordBody<'a> {
    /// Decodes the body of a record of the batch at `base_offset`.
    ///
    /// # Errors
    /// [`BatchError::Records`] when a length or the number of headers cannot be.
    pub fn decode(body: &'a [u8], base_offset: i64) -> Result<Self, BatchError> {
        Self::take(body).ok_or_else(|| {
            BatchError::records(base_offset, "a record's key, value or headers do not fit it")
        })
    }

    fn take(mut body: &'a [u8]) -> Option<Self> {
        let key = take_nullable(&mut body)?;
        let value = take_nullable(&mut body)?;
        let header_count = usize::try_from(varint::take_i32(&mut body)?).ok()?;
        let mut rest = body;
        for _ in 0..header_count {
            take_header(&mut rest)?;
        }
        rest.is_empty().then_some(Self { key, value, headers: body, header_count })
    }

    /// The headers in their order, duplicates included.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = Header<'a>> + use<'a> {
        let mut rest = self.headers;
        // Decoding walked over every header already, so each can be taken again.
        (0..self.header_count).map(move |_| take_header(&mut rest).unwrap_or_default())
    }
}

fn take_header<'a>(input: &mut &'a [u8]) -> Option<Header<'a>> {
    Some((take_nullable(input)??, take_nullable(input)?))
}

fn take_nullable<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::take_i32(input)?;
    if length == -1 {
        return Some(None);
    }
    let (bytes, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
    *input = rest;
    Some(Some(bytes))
}

/// Appends the encoded key, value and headers to `out`.
pub fn encode_body(
    out: &mut Vec<u8>,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header<'_>],
) {
    put_nullable(out, key);
    put_nullable(out, value);
    varint::put(out, headers.len() as i64);
    for (name, value) in headers {
        put_nullable(out, Some(name));
        put_nullable(out, *value);
    }
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

impl RawRecord<'_> {
    /// Most bytes that a record can take besides its body: length, attributes and deltas.
    pub const MAX_OVERHEAD_BYTES: usize = 5 + 1 + varint::MAX_BYTES + 5;

    /// Appends the encoded record to `out`.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let offset_delta = i64::from(self.offset_delta);
        let deltas = varint::size(self.timestamp_delta) + varint::size(offset_delta);
        let mut head = [0; copy::PIECE_BYTES];
        let mut at = varint::write(&mut head, 0, (1 + deltas + self.body.len()) as i64);
        head[at] = self.attributes as u8;
        at = varint::write(&mut head, at + 1, self.timestamp_delta);
        at = varint::write(&mut head, at, offset_delta);
        copy::append_head(out, &head, at);
        copy::append(out, self.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..100)
    }

    fn record() -> impl Strategy<Value = Owned> {
        let maybe = || prop::option::of(bytes());
        (maybe(), maybe(), prop::collection::vec((bytes(), maybe()), 0..5))
    }

    fn encoded(records: &[(i64, i32, Owned)]) -> Vec<u8> {
        let mut payload = Vec::new();
        for (timestamp_delta, offset_delta, (key, value, headers)) in records {
            let headers: Vec<Header<'_>> =
                headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
            let mut body = Vec::new();
            encode_body(&mut body, key.as_deref(), value.as_deref(), &headers);
            let (timestamp_delta, offset_delta) = (*timestamp_delta, *offset_delta);
            let record = RawRecord { attributes: 0, timestamp_delta, offset_delta, body: &body };
            let before = payload.len();
            record.encode(&mut payload);
            assert!(payload.len() - before <= body.len() + RawRecord::MAX_OVERHEAD_BYTES);
        }
        payload
    }

    proptest! {
        #[test]
        fn records_come_back(
            records in prop::collection::vec((any::<i64>(), any::<i32>(), record()), 0..8),
        ) {
            let payload = encoded(&records);
            let mut decoded = Vec::new();
            for record in RawRecords::new(&payload, records.len(), 0) {
                let record = record.unwrap();
                let body = RecordBody::decode(record.body, 0).unwrap();
                let headers =
                    body.headers().map(|(name, v)| (name.to_vec(), v.map(<[u8]>::to_vec)));
                let parts =
                    (body.key.map(<[u8]>::to_vec), body.value.map(<[u8]>::to_vec), headers.collect());
                decoded.push((record.timestamp_delta, record.offset_delta, parts));
            }
            prop_assert_eq!(decoded, records);
        }

        #[test]
        fn a_wrong_count_is_an_error(
            records in prop::collection::vec((any::<i64>(), any::<i32>(), record()), 1..8),
            count in 0usize..20,
        ) {
            let payload = encoded(&records);
            let ok = RawRecords::new(&payload, count, 0).all(|record| record.is_ok());
            prop_assert_eq!(ok, count == records.len());
        }

        #[test]
        fn any_bytes_end(payload in bytes(), count in 0usize..1000) {
            for record in RawRecords::new(&payload, count, 0).flatten() {
                if let Ok(body) = RecordBody::decode(record.body, 0) {
                    let length: usize = body.headers().map(|(name, _)| name.len()).sum();
                    prop_assert!(length <= payload.len());
                }
            }
        }
    }

    #[test]
    fn a_null_header_name_is_an_error() {
        assert!(RecordBody::decode(&[1, 1, 2, 1, 1], 0).is_err());
        assert!(RecordBody::decode(&[1, 1, 2, 0, 1], 0).is_ok());
        assert!(RecordBody::decode(&[1, 1, 1], 0).is_err());
    }
}
