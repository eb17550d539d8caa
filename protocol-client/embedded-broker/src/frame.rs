//! Frames: a request's bytes to a typed request, a response to the pieces of its frame.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use thiserror::Error;

use crate::core::versions::{self, Profile};
use crate::core::{Response, unsupported_api_versions};
use crate::fetch_frame::{self, PieceWriter};
use crate::guard;

/// Why a connection is closed because of a request: the client must be mended.
#[derive(Debug, Error)]
pub(crate) enum FrameError {
    /// Nobody can tell what it asks.
    #[error("the request is shorter than its header")]
    Short,
    /// A broker closes the connection on these.
    #[error("API {api} version {version} is not served")]
    Unsupported { api: i16, version: i16 },
    /// An array claims more elements than the request has bytes.
    #[error("an array of API {api} claims more elements than the request can hold")]
    Count { api: i16 },
    /// The bytes are not the message that they claim to be.
    #[error("API {api} version {version}: {what}")]
    Malformed { api: i16, version: i16, what: String },
}

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: StrBytes,
    /// `None` for ApiVersions in a version that is not known here.
    pub(crate) request: Option<RequestKind>,
}

/// Reads a request.
pub(crate) fn decode(mut frame: Bytes, profile: Profile) -> Result<Incoming, FrameError> {
    let head = frame.first_chunk::<8>().ok_or(FrameError::Short)?;
    let key = i16::from_be_bytes([head[0], head[1]]);
    let version = i16::from_be_bytes([head[2], head[3]]);
    let correlation_id = i32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let unsupported = FrameError::Unsupported { api: key, version };
    let Ok(api) = ApiKey::try_from(key) else { return Err(unsupported) };
    let Some((min, max)) = versions::accepted(profile, api) else { return Err(unsupported) };
    if api == ApiKey::ApiVersions && version > max {
        let client_id = StrBytes::default();
        return Ok(Incoming { api, version: 0, correlation_id, client_id, request: None });
    }
    if !(min..=max).contains(&version) {
        return Err(unsupported);
    }
    let malformed = |what: String| FrameError::Malformed { api: key, version, what };
    let header = RequestHeader::decode(&mut frame, api.request_header_version(version))
        .map_err(|error| malformed(error.to_string()))?;
    guard::check_count(api, version, &frame).map_err(|_| FrameError::Count { api: key })?;
    let request = RequestKind::decode(api, &mut frame, version)
        .map_err(|error| malformed(error.to_string()))?;
    let client_id = header.client_id.unwrap_or_default();
    Ok(Incoming { api, version, correlation_id, client_id, request: Some(request) })
}

/// Writes the frame of a response.
///
/// # Errors
/// When the response holds a field that its version does not have: an error of this crate.
pub(crate) fn encode(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    response: Response,
) -> Result<Pieces, String> {
    let mut out = PieceWriter::default();
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header
        .encode(out.buffer(), api.response_header_version(version))
        .map_err(|error| error.to_string())?;
    match response {
        Response::Message(message) => {
            message.encode(out.buffer(), version).map_err(|error| format!("{error:#}"))?;
        }
        Response::Fetch(reply) => fetch_frame::encode(reply, version, &mut out),
    }
    Ok(Pieces::frame(out.finish()))
}

/// The answer to ApiVersions in a version that is not known.
pub(crate) fn unsupported(profile: Profile) -> Response {
    let message = unsupported_api_versions(profile);
    Response::Message(Box::new(ResponseKind::ApiVersions(message)))
}

/// A frame in pieces, written with few system calls and without being put together.
#[derive(Debug)]
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

impl Pieces {
    fn frame(pieces: Vec<Bytes>) -> Self {
        let body: usize = pieces.iter().map(Bytes::len).sum();
        let mut size = BytesMut::with_capacity(4);
        size.put_i32(i32::try_from(body).unwrap_or(i32::MAX));
        let mut all = VecDeque::with_capacity(pieces.len() + 1);
        all.push_back(size.freeze());
        all.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
        Self { pieces: all, remaining: body + 4 }
    }

    /// The first half of the frame, in one piece.
    pub(crate) fn first_half(mut self) -> Bytes {
        let half = (self.remaining / 2).max(1);
        self.copy_to_bytes(half)
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while let Some(front) = self.pieces.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.pieces);
        filled.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }
}
