//! Whether a broker answers: two requests by hand, so that the lab does not depend on the client that
//! it helps to test. Layout: the Kafka protocol guide, request header version 1.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(2);
const MAX_FRAME_BYTES: usize = 1 << 20;

/// Whether ApiVersions version 0 (key 18) is answered without an error.
pub(crate) fn answers(at: (Ipv4Addr, u16)) -> bool {
    ask(at, 18, 0, &[]).is_some_and(|body| body.starts_with(&[0, 0]))
}

/// How many brokers Metadata version 1 (key 3), asked for no topic, lists.
pub(crate) fn brokers_known(at: (Ipv4Addr, u16)) -> Option<i32> {
    let body = ask(at, 3, 1, &[0, 0, 0, 0])?;
    Some(i32::from_be_bytes(*body.first_chunk()?))
}

fn ask(at: (Ipv4Addr, u16), api_key: i16, version: i16, body: &[u8]) -> Option<Vec<u8>> {
    let address = SocketAddr::from(at);
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    let mut request = Vec::new();
    request.extend_from_slice(&(10 + body.len() as i32).to_be_bytes());
    request.extend_from_slice(&api_key.to_be_bytes());
    request.extend_from_slice(&version.to_be_bytes());
    request.extend_from_slice(&7i32.to_be_bytes());
    request.extend_from_slice(&(-1i16).to_be_bytes());
    request.extend_from_slice(body);
    stream.write_all(&request).ok()?;

    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok()?;
    let mut answer = vec![0; length.min(MAX_FRAME_BYTES)];
    stream.read_exact(&mut answer).ok()?;
    Some(answer.get(4..)?.to_vec())
}
