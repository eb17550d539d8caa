//! From an address to a connected stream that has finished its handshake.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::driver::poll_frame;
use super::options::ConnectionOptions;
use crate::address::BrokerAddress;
use crate::conn::handshake::{Handshake, MAX_HANDSHAKE_FRAME_BYTES, Step};
use crate::error::{ClientError, Fault};
use crate::wire::api::Capabilities;
use crate::wire::frame::FrameAssembler;

/// Connects to the first address of the broker that answers.
pub(super) async fn dial(
    address: &BrokerAddress,
    options: &ConnectionOptions,
) -> Result<TcpStream, ClientError> {
    let found = lookup_host((address.host.as_str(), address.port)).await;
    let found: Vec<SocketAddr> =
        found.map_err(|error| Fault::Resolve { reason: error.to_string() })?.collect();
    let started = Instant::now();
    let mut last = Fault::Resolve { reason: "the name has no address".to_owned() };
    for (at, target) in found.iter().enumerate() {
        // A dead first address must leave time for the second.
        let left = options.connect_timeout.saturating_sub(started.elapsed());
        let share = left / u32::try_from(found.len() - at).unwrap_or(u32::MAX);
        last = match timeout(share, connect(*target, options)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => Fault::Connect { reason: error.to_string() },
            Err(_) => Fault::Connect { reason: format!("{target} does not answer") },
        };
    }
    Err(last.into())
}

async fn connect(target: SocketAddr, options: &ConnectionOptions) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(u32::try_from(bytes).unwrap_or(u32::MAX))?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(u32::try_from(bytes).unwrap_or(u32::MAX))?;
    }
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(options.keepalive);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// Runs the handshake. The assembler may hold bytes of the next frame afterwards.
pub(super) async fn shake_hands<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut T,
    assembler: &mut FrameAssembler,
    options: &ConnectionOptions,
) -> Result<Capabilities, ClientError> {
    assembler.set_max_frame_bytes(MAX_HANDSHAKE_FRAME_BYTES.min(options.max_frame_bytes));
    let mut handshake = Handshake::new(&options.client_id, options.security);
    while let Step::Exchange(frame) = handshake.next_step()? {
        let written = stream.write_all(&frame).await;
        written.map_err(|error| Fault::Disconnected { reason: error.to_string() })?;
        let answer = poll_fn(|cx| poll_frame(cx, stream, assembler)).await?;
        handshake.receive(answer)?;
    }
    assembler.set_max_frame_bytes(options.max_frame_bytes);
    Ok(handshake.finish().expect("the last step was Ready"))
}
