//! What a connection is opened with.

use std::time::Duration;

use crate::conn::handshake::Security;
use crate::wire::frame::FramePool;

/// Settings of a connection. The defaults suit the control plane.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// The name this client is known by in the broker's logs and quotas. Not `__admin_client`,
    /// which lets brokers accept writes to their internal topics.
    pub client_id: String,
    /// Limit for resolving, connecting and the handshake together.
    pub connect_timeout: Duration,
    /// Limit for each answer, on top of what the request itself lets the broker wait.
    pub request_timeout: Duration,
    /// The largest answer accepted once the handshake is over, in bytes.
    pub max_frame_bytes: usize,
    /// Requests sent and not yet answered; further ones queue up here. At least 1.
    pub max_in_flight: usize,
    /// Requests queued behind those. At least 1.
    pub max_queued: usize,
    /// Size of the socket's send buffer; `None` leaves it to the kernel's autotuning.
    pub send_buffer_bytes: Option<usize>,
    /// Size of the socket's receive buffer; `None` leaves it to the kernel's autotuning.
    pub receive_buffer_bytes: Option<usize>,
    /// Idle time before TCP probes the peer.
    pub keepalive: Duration,
    /// How the connection is protected.
    pub security: Security,
    /// Where large answers get their memory from; shared by the clones of these options.
    pub frame_pool: FramePool,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            client_id: "kmirror".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_frame_bytes: 128 << 20,
            max_in_flight: 16,
            max_queued: 1024,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            keepalive: Duration::from_secs(60),
            security: Security::Plaintext,
            frame_pool: FramePool::default(),
        }
    }
}
