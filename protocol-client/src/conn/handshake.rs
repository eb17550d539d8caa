//! From a connected stream to one that may carry requests.
//!
//! The steps in order: secure the stream, learn the broker's versions, authenticate, ready. The
//! machine names the step; the shell carries it out and reports back. What a step needs is decided
//! by [`Security`], which has one variant so far: on a plain listener the stream stays as it is
//! and nobody authenticates.

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::{Message, StrBytes};

use crate::conn::machine::read_header;
use crate::error::ClientError;
use crate::wire::api::{Api, Capabilities};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::{decode_body, encode_frame};
use crate::wire::primitives::Cursor;

/// Frames before the end of the handshake are small; a larger one is an attack or not Kafka.
pub const MAX_HANDSHAKE_FRAME_BYTES: usize = 1 << 20;

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Security {
    /// No encryption, no authentication (`security.protocol=PLAINTEXT`).
    #[default]
    Plaintext,
}

/// What the shell does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write this frame, then read one and hand it to [`Handshake::receive`].
    Exchange(Bytes),
    /// Nothing: the connection is ready.
    Ready,
}

/// The machine: alternate [`next_step`](Self::next_step) and [`receive`](Self::receive) until it
/// is ready, then [`finish`](Self::finish).
#[derive(Debug)]
pub struct Handshake {
    client_id: String,
    security: Security,
    state: State,
    correlation_id: i32,
}

#[derive(Debug)]
enum State {
    /// Asking for the versions with this version of ApiVersions.
    Versions {
        version: i16,
    },
    Ready(Capabilities),
}

impl Handshake {
    /// A handshake on a stream that is secured already as `security` demands.
    pub fn new(client_id: &str, security: Security) -> Self {
        let version = ApiVersionsRequest::VERSIONS.max;
        let state = State::Versions { version };
        Self { client_id: client_id.to_owned(), security, state, correlation_id: 0 }
    }

    /// What to do now.
    pub fn next_step(&self) -> Result<Step, ClientError> {
        match self.state {
            State::Versions { version } => self.ask_versions(version).map(Step::Exchange),
            State::Ready(_) => Ok(Step::Ready),
        }
    }

    fn ask_versions(&self, version: i16) -> Result<Bytes, ClientError> {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = StrBytes::from_static_str("kmirror");
            request.client_software_version = StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
        }
        encode_frame(&request, version, self.correlation_id, &self.client_id)
    }

    /// Takes the broker's answer to the frame of the last step.
    pub fn receive(&mut self, frame: Bytes) -> Result<(), ClientError> {
        match self.state {
            State::Versions { version } => {
                self.state = self
                    .learn_versions(version, frame)
                    .map_err(|error| error.during(ApiVersionsRequest::ID.name))?;
                self.correlation_id += 1;
                Ok(())
            }
            State::Ready(_) => Err(ClientError::unexpected("an answer that nobody asked for")),
        }
    }

    fn learn_versions(&self, version: i16, frame: Bytes) -> Result<State, ClientError> {
        // The header of this one response has no tagged fields in any version.
        let start = read_header(&frame, self.correlation_id, false)?;
        let body = frame.slice(start..);
        let error = ErrorCode(Cursor::new(&body).i16()?);
        // A broker that does not know the version answers in version 0, with its own range.
        let refused = error == ErrorCode::UNSUPPORTED_VERSION;
        let answer = decode_body::<ApiVersionsRequest>(body, if refused { 0 } else { version })?;
        let capabilities = Capabilities::new(&answer);
        if refused {
            return self.lower_version(version, &capabilities);
        }
        error.ok().map_err(|code| ClientError::refused(code, None))?;
        Ok(self.after_versions(capabilities))
    }

    fn lower_version(&self, tried: i16, theirs: &Capabilities) -> Result<State, ClientError> {
        // Brokers before 2.4 leave the range out; all of them know version 0.
        let known = theirs.offered(ApiVersionsRequest::ID.key).map_or(0, |span| span.max);
        if known >= tried || known < 0 {
            let reason = format!("version {tried} refused while {known} is offered");
            return Err(ClientError::unexpected(reason));
        }
        Ok(State::Versions { version: known })
    }

    fn after_versions(&self, capabilities: Capabilities) -> State {
        match self.security {
            Security::Plaintext => State::Ready(capabilities),
        }
    }

    /// What the broker can do, once [`Step::Ready`] was reached.
    pub fn finish(self) -> Option<Capabilities> {
        match self.state {
            State::Ready(capabilities) => Some(capabilities),
            State::Versions { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, BytesMut};
    use kafka_protocol::messages::ApiVersionsResponse;
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::protocol::Encodable;
    use proptest::prelude::*;

    fn reply(correlation_id: i32, version: i16, error: i16, max: i16) -> Bytes {
        let api = |key, max| ApiVersion::default().with_api_key(key).with_max_version(max);
        let answer = ApiVersionsResponse::default()
            .with_error_code(error)
            .with_api_keys(vec![api(18, max), api(3, 12)]);
        let mut frame = BytesMut::new();
        frame.put_i32(correlation_id);
        answer.encode(&mut frame, version).expect("encodes");
        frame.freeze()
    }

    fn asked_version(handshake: &Handshake) -> i16 {
        match handshake.next_step().expect("encodes") {
            Step::Exchange(frame) => i16::from_be_bytes([frame[6], frame[7]]),
            Step::Ready => panic!("not ready yet"),
        }
    }

    #[test]
    fn the_newest_version_is_tried_first() {
        let mut handshake = Handshake::new("me", Security::Plaintext);
        assert_eq!(asked_version(&handshake), 4);
        handshake.receive(reply(0, 4, 0, 4)).expect("a good answer");
        assert_eq!(handshake.next_step(), Ok(Step::Ready));
        let capabilities = handshake.finish().expect("ready");
        assert_eq!(capabilities.offered(3).map(|span| span.max), Some(12));
    }

    #[test]
    fn an_older_broker_is_asked_again_in_its_own_version() {
        let mut handshake = Handshake::new("me", Security::Plaintext);
        handshake.receive(reply(0, 0, 35, 3)).expect("a downgrade");
        assert_eq!(asked_version(&handshake), 3);
        handshake.receive(reply(1, 3, 0, 3)).expect("a good answer");
        assert_eq!(handshake.next_step(), Ok(Step::Ready));
    }

    #[test]
    fn a_broker_that_refuses_what_it_offers_ends_the_handshake() {
        let mut handshake = Handshake::new("me", Security::Plaintext);
        let refused = handshake.receive(reply(0, 0, 35, 4)).expect_err("a loop");
        assert!(refused.to_string().contains("refused while 4 is offered"), "{refused}");
    }

    #[test]
    fn other_errors_and_hostile_counts_are_reported() {
        let mut handshake = Handshake::new("me", Security::Plaintext);
        let refused = handshake.receive(reply(0, 4, 42, 4)).expect_err("an error code");
        assert_eq!(refused.code(), Some(ErrorCode(42)));
        let mut handshake = Handshake::new("me", Security::Plaintext);
        let frame = [0, 0, 0, 0, 0, 35, 0x7f, 0xff, 0xff, 0xff];
        let refused = handshake.receive(Bytes::copy_from_slice(&frame)).expect_err("2^31 APIs");
        assert_eq!(refused.actor(), crate::error::Actor::Peer);
    }

    proptest! {
        #[test]
        fn random_answers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut frame = vec![0; 4];
            frame.extend_from_slice(&bytes);
            let _ = Handshake::new("me", Security::Plaintext).receive(Bytes::from(frame));
        }
    }
}
