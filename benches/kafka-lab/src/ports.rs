//! Ports on loopback for brokers.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below Linux' ephemeral range (32768 and up): a port from that range can be taken by any outgoing
/// connection while its broker is down, even by a client that connects to itself by chance.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that nobody listens on and that this process has not handed out lately.
pub(crate) fn free() -> Result<u16> {
    let span = LAST - FIRST;
    // Processes that run side by side start their search at different places.
    let place_of_process = (std::process::id().wrapping_mul(97) % u32::from(span)) as u16;
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = (u32::from(place_of_process) + u32::from(step)) % u32::from(span);
        let port = FIRST + offset as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {LAST}")
}
