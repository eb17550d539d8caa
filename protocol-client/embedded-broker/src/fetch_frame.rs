//! Encodes a fetch answer into pieces, so that records go from the log to the socket uncopied.
//!
//! Schema: Kafka's `FetchResponse.json`, versions 4-18.

use bytes::{BufMut, Bytes, BytesMut};

use crate::core::{FetchPartitionReply, FetchReply, LeaderHint};

/// Pieces up to this size are copied together: cheaper than one more entry of a vectored write.
const COPY_MAX_BYTES: usize = 1024;

/// Collects small pieces in one buffer and passes large ones through.
#[derive(Debug, Default)]
pub(crate) struct PieceWriter {
    done: Vec<Bytes>,
    current: BytesMut,
}

impl PieceWriter {
    /// The buffer for whatever is written value by value.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.current
    }

    fn push(&mut self, piece: Bytes) {
        if piece.len() <= COPY_MAX_BYTES {
            self.current.put_slice(&piece);
            return;
        }
        if !self.current.is_empty() {
            self.done.push(self.current.split().freeze());
        }
        self.done.push(piece);
    }

    /// All pieces in order.
    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        if !self.current.is_empty() {
            self.done.push(self.current.freeze());
        }
        self.done
    }
}

/// Writes the body of a fetch answer.
pub(crate) fn encode(reply: FetchReply, version: i16, out: &mut PieceWriter) {
    let flexible = version >= 12;
    out.buffer().put_i32(0);
    if version >= 7 {
        out.buffer().put_i16(reply.error_code);
        out.buffer().put_i32(reply.session_id);
    }
    put_count(out.buffer(), flexible, reply.topics.len());
    for topic in reply.topics {
        if version >= 13 {
            out.buffer().put_slice(topic.id.as_bytes());
        } else {
            put_text(out.buffer(), flexible, &topic.name);
        }
        put_count(out.buffer(), flexible, topic.partitions.len());
        for partition in topic.partitions {
            encode_partition(partition, version, out);
        }
        if flexible {
            out.buffer().put_u8(0);
        }
    }
    if version >= 16 && !reply.endpoints.is_empty() {
        let mut field = BytesMut::new();
        put_endpoints(&mut field, &reply.endpoints);
        out.buffer().put_u8(1);
        put_tag(out.buffer(), 0, &field);
    } else if flexible {
        out.buffer().put_u8(0);
    }
}

fn encode_partition(partition: FetchPartitionReply, version: i16, out: &mut PieceWriter) {
    let flexible = version >= 12;
    let buffer = out.buffer();
    buffer.put_i32(partition.index);
    buffer.put_i16(partition.error_code);
    buffer.put_i64(partition.high_watermark);
    buffer.put_i64(partition.last_stable_offset);
    if version >= 5 {
        buffer.put_i64(partition.log_start_offset);
    }
    match &partition.aborted {
        None if flexible => buffer.put_u8(0),
        None => buffer.put_i32(-1),
        Some(aborted) => {
            put_count(buffer, flexible, aborted.len());
            for &(producer_id, first_offset) in aborted {
                buffer.put_i64(producer_id);
                buffer.put_i64(first_offset);
                if flexible {
                    buffer.put_u8(0);
                }
            }
        }
    }
    if version >= 11 {
        buffer.put_i32(-1);
    }
    put_count(buffer, flexible, partition.pieces.iter().map(Bytes::len).sum());
    let (diverging, leader) = (partition.diverging, partition.current_leader);
    for piece in partition.pieces {
        out.push(piece);
    }
    if flexible {
        let buffer = out.buffer();
        buffer.put_u8(u8::from(diverging.is_some()) + u8::from(leader.is_some()));
        if let Some((epoch, end_offset)) = diverging {
            let mut field = BytesMut::new();
            field.put_i32(epoch);
            field.put_i64(end_offset);
            field.put_u8(0);
            put_tag(buffer, 0, &field);
        }
        if let Some((node, epoch)) = leader {
            let mut field = BytesMut::new();
            field.put_i32(node);
            field.put_i32(epoch);
            field.put_u8(0);
            put_tag(buffer, 1, &field);
        }
    }
}

fn put_endpoints(field: &mut BytesMut, endpoints: &[LeaderHint]) {
    put_count(field, true, endpoints.len());
    for endpoint in endpoints {
        field.put_i32(endpoint.node);
        put_text(field, true, &endpoint.host);
        field.put_i32(i32::from(endpoint.port));
        field.put_u8(0);
        field.put_u8(0);
    }
}

fn put_tag(buffer: &mut BytesMut, tag: u32, field: &[u8]) {
    put_uvarint(buffer, tag);
    put_uvarint(buffer, field.len() as u32);
    buffer.put_slice(field);
}

/// The length of an array or of bytes.
fn put_count(buffer: &mut BytesMut, flexible: bool, count: usize) {
    if flexible {
        put_uvarint(buffer, count as u32 + 1);
    } else {
        buffer.put_i32(count as i32);
    }
}

fn put_text(buffer: &mut BytesMut, flexible: bool, text: &str) {
    if flexible {
        put_uvarint(buffer, text.len() as u32 + 1);
    } else {
        buffer.put_i16(text.len() as i16);
    }
    buffer.put_slice(text.as_bytes());
}

fn put_uvarint(buffer: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::FetchTopicReply;
    use kafka_protocol::messages::fetch_response::FetchResponse;
    use kafka_protocol::messages::{ProducerId, TopicName};
    use kafka_protocol::protocol::{Decodable, StrBytes};
    use uuid::Uuid;

    fn reply(version: i16) -> FetchReply {
        let partition = FetchPartitionReply {
            index: 3,
            error_code: 6,
            high_watermark: 10,
            last_stable_offset: 9,
            log_start_offset: 1,
            diverging: (version >= 12).then_some((4, 5)),
            current_leader: (version >= 12).then_some((2, 7)),
            aborted: Some(vec![(100, 5)]),
            pieces: vec![Bytes::from(vec![1u8; 61]), Bytes::from(vec![2u8; 5000])],
        };
        let empty = FetchPartitionReply::default();
        let topic = FetchTopicReply {
            name: TopicName(StrBytes::from_static_str(if version < 13 { "topic" } else { "" })),
            id: if version < 13 { Uuid::nil() } else { Uuid::from_u128(77) },
            partitions: vec![partition, empty],
        };
        let hint = LeaderHint { node: 2, host: "127.0.0.1".to_owned(), port: 9092 };
        let endpoints = if version >= 16 { vec![hint] } else { Vec::new() };
        let session_id = if version >= 7 { 9 } else { 0 };
        FetchReply { error_code: 0, session_id, topics: vec![topic], endpoints }
    }

    #[test]
    fn every_version_decodes_to_what_was_meant() {
        for version in 4..=18 {
            let mut out = PieceWriter::default();
            encode(reply(version), version, &mut out);
            let mut whole = BytesMut::new();
            for piece in out.finish() {
                whole.put_slice(&piece);
            }
            let mut bytes = whole.freeze();
            let decoded = FetchResponse::decode(&mut bytes, version).expect("decodes");
            assert!(bytes.is_empty(), "version {version} has bytes left");
            assert_eq!(decoded.session_id, if version >= 7 { 9 } else { 0 });
            let partition = &decoded.responses[0].partitions[0];
            assert_eq!((partition.partition_index, partition.error_code), (3, 6));
            assert_eq!((partition.high_watermark, partition.last_stable_offset), (10, 9));
            let aborted = partition.aborted_transactions.as_ref().expect("listed");
            assert_eq!((aborted[0].producer_id, aborted[0].first_offset), (ProducerId(100), 5));
            assert_eq!(partition.records.as_ref().map(Bytes::len), Some(5061));
            assert_eq!(decoded.responses[0].partitions[1].aborted_transactions, None);
            if version >= 12 {
                assert_eq!(partition.diverging_epoch.end_offset, 5);
                assert_eq!(partition.current_leader.leader_id.0, 2);
            }
            if version >= 13 {
                assert_eq!(decoded.responses[0].topic_id, Uuid::from_u128(77));
            }
            if version >= 16 {
                assert_eq!(decoded.node_endpoints[0].port, 9092);
            }
        }
    }
}
