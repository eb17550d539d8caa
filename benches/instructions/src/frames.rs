//! Fetch answers as a broker sends them: the body of version 16 (Kafka's `FetchResponse.json`).

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// The version that is spoken: topics by id.
pub(crate) const FETCH_VERSION: i16 = 16;

/// What is sent of one partition.
pub(crate) struct Part {
    pub(crate) index: i32,
    pub(crate) high_watermark: i64,
    pub(crate) records: Vec<Bytes>,
}

/// The body of an answer within a session.
pub(crate) fn answer(session: i32, topic: Uuid, parts: &[Part]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_i32(0);
    body.put_i16(0);
    body.put_i32(session);
    put_length(&mut body, usize::from(!parts.is_empty()));
    if !parts.is_empty() {
        body.put_slice(topic.as_bytes());
        put_length(&mut body, parts.len());
        for part in parts {
            put_part(&mut body, part);
        }
        body.put_u8(0);
    }
    body.put_u8(0);
    body.freeze()
}

fn put_part(body: &mut BytesMut, part: &Part) {
    body.put_i32(part.index);
    body.put_i16(0);
    body.put_i64(part.high_watermark);
    body.put_i64(part.high_watermark);
    body.put_i64(0);
    // No aborted transactions, no preferred replica.
    body.put_u8(0);
    body.put_i32(-1);
    put_length(body, part.records.iter().map(Bytes::len).sum());
    part.records.iter().for_each(|piece| body.put_slice(piece));
    body.put_u8(0);
}

/// A length in the compact encoding: one more than it is, seven bits to a byte.
fn put_length(body: &mut BytesMut, length: usize) {
    let mut rest = length + 1;
    while rest >= 0x80 {
        body.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    body.put_u8(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol_client::wire::fetch::RawFetchAnswer;

    #[test]
    fn the_client_reads_it() {
        let records = vec![Bytes::from(vec![7; 100]), Bytes::from(vec![8; 100])];
        let part = Part { index: 3, high_watermark: 9, records };
        let body = answer(5, Uuid::from_u128(1), &[part]);
        let read = RawFetchAnswer::decode(FETCH_VERSION, &body).expect("an answer");
        assert_eq!((read.session_id, read.partitions.len()), (5, 1));
        let partition = &read.partitions[0];
        assert_eq!((partition.index, partition.high_watermark), (3, 9));
        assert_eq!((partition.records.len(), partition.records[150]), (200, 8));
        let empty = RawFetchAnswer::decode(FETCH_VERSION, &answer(5, Uuid::nil(), &[]));
        assert!(empty.is_ok_and(|answer| answer.partitions.is_empty()));
    }
}
