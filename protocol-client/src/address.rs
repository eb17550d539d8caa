//! Where a broker listens.

use std::fmt;
use std::str::FromStr;

use crate::error::ClientError;

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
