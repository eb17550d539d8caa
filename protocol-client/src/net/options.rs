//! What a connection is opened with.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::conn::handshake::Security;
use crate::error::ClientError;
use crate::wire::frame::FramePool;

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerAddress {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for BrokerAddress {
    type Err = ClientError;

    /// Reads `host:port` or `[v6-address]:port`.
    fn from_str(text: &str) -> Result<Self, ClientError> {
        let bad = |what| ClientError::invalid(format!("{what} in broker address {text:?}"));
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(|| bad("no port"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(host) => host,
            None if host.contains(':') => return Err(bad("no brackets around the IPv6 address")),
            None => host,
        };
        if host.is_empty() {
            return Err(bad("no host"));
        }
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| bad("bad port"))?;
        Ok(Self { host: host.to_owned(), port })
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back() {
        for text in ["b1.example:9092", "127.0.0.1:1", "[::1]:9092"] {
            let address: BrokerAddress = text.parse().expect("good");
            assert_eq!(address.to_string(), text);
        }
        assert_eq!("[::1]:9092".parse::<BrokerAddress>().expect("good").host, "::1");
        for text in ["", "host", ":9092", "host:", "host:0", "host:70000", "::1:9092"] {
            assert!(text.parse::<BrokerAddress>().is_err(), "{text:?} was accepted");
        }
    }
}
