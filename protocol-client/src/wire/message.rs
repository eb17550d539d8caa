//! Requests into frames, and bodies into responses of `kafka-protocol`.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, HeaderVersion};

use crate::error::ClientError;
use crate::wire::api::{Api, ApiId, is_flexible};
use crate::wire::primitives::WireError;

/// What most requests take: several batches of a produce request, their payloads aside.
const USUAL_BYTES: usize = 512;

/// Starts a frame: a place for its size, then the request header (version 1, or 2 with its empty
/// tagged fields for flexible requests).
pub fn begin_frame(
    api: ApiId,
    version: i16,
    flexible: bool,
    correlation_id: i32,
    client_id: &str,
) -> BytesMut {
    let mut frame = BytesMut::with_capacity(USUAL_BYTES);
    frame.put_i32(0);
    frame.put_i16(api.key);
    frame.put_i16(version);
    frame.put_i32(correlation_id);
    let client_id = &client_id.as_bytes()[..client_id.len().min(i16::MAX as usize)];
    frame.put_i16(client_id.len() as i16);
    frame.put_slice(client_id);
    if flexible {
        frame.put_u8(0);
    }
    frame
}

/// Writes the size into the place kept for it at the start of `head`; `rest` is how many bytes
/// follow in other pieces.
pub fn set_frame_size(head: &mut BytesMut, rest: usize) -> Result<(), ClientError> {
    let bytes = head.len() - 4 + rest;
    let size = i32::try_from(bytes);
    let size = size.map_err(|_| ClientError::invalid(format!("a request of {bytes} bytes")))?;
    head[..4].copy_from_slice(&size.to_be_bytes());
    Ok(())
}

/// A whole frame with `request` in `version`.
pub fn encode_frame<R: Api>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &str,
) -> Result<Bytes, ClientError> {
    let flexible = is_flexible::<R>(version);
    let mut frame = begin_frame(R::ID, version, flexible, correlation_id, client_id);
    // The encoder refuses fields that the version does not have, and null where there is none.
    let encoded = request.encode(&mut frame, version);
    encoded.map_err(|error| ClientError::invalid(format!("version {version}: {error}")))?;
    set_frame_size(&mut frame, 0)?;
    Ok(frame.freeze())
}

/// Whether the response header of `R` in `version` ends with tagged fields.
pub fn tagged_header<R: Api>(version: i16) -> bool {
    R::Response::header_version(version) >= 1
}

/// The response in `body`, which is looked through first.
pub fn decode_body<R: Api>(mut body: Bytes, version: i16) -> Result<R::Response, WireError> {
    R::schema().check(&body, version, is_flexible::<R>(version))?;
    let decoded = R::Response::decode(&mut body, version);
    decoded.map_err(|error| WireError::Decoder(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse, RequestHeader};
    use kafka_protocol::protocol::{Encodable, decode_request_header_from_buffer};

    #[test]
    fn headers_read_back() {
        for version in [5, 12] {
            let frame = encode_frame(&MetadataRequest::default(), version, 77, "me");
            let mut frame = frame.expect("encodes");
            let mut rest = frame.split_off(4);
            assert_eq!(frame[..], (rest.len() as i32).to_be_bytes());
            let header: RequestHeader =
                decode_request_header_from_buffer(&mut rest).expect("decodes");
            assert_eq!(header.request_api_key, ApiKey::Metadata as i16);
            assert_eq!((header.request_api_version, header.correlation_id), (version, 77));
            assert_eq!(header.client_id.expect("given").as_str(), "me");
            MetadataRequest::decode(&mut rest, version).expect("decodes");
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn the_decoder_never_sees_a_hostile_count() {
        let mut body = BytesMut::new();
        MetadataResponse::default().encode(&mut body, 1).expect("encodes");
        body[..4].copy_from_slice(&i32::MAX.to_be_bytes());
        let refused = decode_body::<MetadataRequest>(body.freeze(), 1);
        assert!(matches!(refused, Err(WireError::Count { .. })));
    }

    #[test]
    fn fields_of_another_version_are_the_callers_mistake() {
        let request = MetadataRequest::default().with_allow_auto_topic_creation(false);
        let refused = encode_frame(&request, 1, 0, "me").expect_err("unknown to version 1");
        assert_eq!(refused.actor(), crate::error::Actor::Caller);
    }
}
