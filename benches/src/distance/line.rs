//! A long line between this network namespace and another: two TUN devices, and threads that hold packets back.
//!
//! No proxy: TCP of both ends sees the delay, the rate and the losses of a full queue, with its own windows. It needs
//! root, because devices and namespaces do.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_lab::Place;
use tappers::{Interface, Tun};

use crate::usage;

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 98, 77, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 98, 77, 2);
/// What waits for the line at most; what comes on top is lost, as in a router.
const QUEUE_BYTES: f64 = 8.0 * 1024.0 * 1024.0;
const MAX_PACKET_BYTES: usize = 65_536;

/// What the line is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) mbit_per_s: f64,
    pub(crate) mtu: u16,
}

/// The line, and the namespace at its far end. Both go when this is dropped.
#[derive(Debug)]
pub(crate) struct Line {
    namespace: String,
    /// One way, in microseconds.
    delay_us: Arc<AtomicU64>,
}

impl Line {
    /// Lays the line.
    ///
    /// # Errors
    /// This is not root, or the kernel or `ip` lacks something.
    pub(crate) fn lay(shape: Shape) -> Result<Self> {
        let pid = std::process::id();
        let namespace = format!("kmirror-bench-{pid}");
        ip(&format!("netns add {namespace}"))?;
        let delay_us = Arc::new(AtomicU64::new(0));
        let line = Self { namespace, delay_us };
        let (near, far) = (device(&format!("kmn{pid}"))?, device(&format!("kmf{pid}"))?);
        let namespace = &line.namespace;
        // The far device goes on talking to this process from within the namespace.
        ip(&format!("link set kmf{pid} netns {namespace}"))?;
        line.raise("", &format!("kmn{pid}"), NEAR, shape.mtu)?;
        line.raise(&format!("-n {namespace} "), &format!("kmf{pid}"), FAR, shape.mtu)?;
        ip(&format!("-n {namespace} link set lo up"))?;
        let (near, far) = (Arc::new(near), Arc::new(far));
        line.carry(near.clone(), far.clone(), shape);
        line.carry(far, near, shape);
        Ok(line)
    }

    /// The far end.
    pub(crate) fn far(&self) -> Place {
        Place { namespace: self.namespace.clone(), address: FAR }
    }

    /// Sets the time that a packet takes to the other end and its answer back.
    pub(crate) fn set_round_trip(&self, round_trip: Duration) {
        self.delay_us.store(round_trip.as_micros() as u64 / 2, Ordering::Relaxed);
    }

    fn raise(&self, within: &str, device: &str, address: Ipv4Addr, mtu: u16) -> Result<()> {
        ip(&format!("{within}addr add {address}/24 dev {device}"))?;
        ip(&format!("{within}link set {device} mtu {mtu} txqueuelen 20000 up"))
    }

    fn carry(&self, from: Arc<Tun>, to: Arc<Tun>, shape: Shape) {
        let (sender, receiver) = channel();
        let delay_us = self.delay_us.clone();
        // Both end with the process: a device that is gone is the end of its threads, and nobody waits for them.
        std::thread::spawn(move || read(&from, &sender, &delay_us, shape));
        std::thread::spawn(move || write(&to, &receiver));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // What is gone already need not go.
        let _ = ip(&format!("netns del {}", self.namespace));
    }
}

type Packet = (Instant, Vec<u8>);

/// Takes packets, one after the other at the line's rate, and says when each arrives at the other end.
fn read(from: &Tun, sender: &Sender<Packet>, delay_us: &AtomicU64, shape: Shape) {
    let mut buffer = vec![0; MAX_PACKET_BYTES];
    let mut free_at = usage::now();
    while let Ok(length) = from.recv(&mut buffer) {
        let Some(sent) = transmit(usage::now(), free_at, length, shape) else { continue };
        free_at = sent;
        let due = sent + Duration::from_micros(delay_us.load(Ordering::Relaxed));
        if sender.send((due, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

/// When the last bit of a packet is on the line; `None` if the queue before it is full.
fn transmit(now: Instant, free_at: Instant, length: usize, shape: Shape) -> Option<Instant> {
    let bytes_per_s = shape.mbit_per_s * 125_000.0;
    let begin = free_at.max(now);
    let queued = (begin - now).as_secs_f64() * bytes_per_s;
    (queued <= QUEUE_BYTES).then(|| begin + Duration::from_secs_f64(length as f64 / bytes_per_s))
}

fn write(to: &Tun, receiver: &Receiver<Packet>) {
    while let Ok((due, packet)) = receiver.recv() {
        let wait = due.saturating_duration_since(usage::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        // A device that does not take it loses it, as any line may.
        let _ = to.send(&packet);
    }
}

fn device(name: &str) -> Result<Tun> {
    let device = Interface::new(name).and_then(Tun::new_named);
    device.with_context(|| format!("cannot make the TUN device {name}"))
}

fn ip(args: &str) -> Result<()> {
    let output = Command::new("ip").args(args.split(' ')).output().context("cannot run ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {args}: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_queue_up_to_a_limit() {
        let shape = Shape { mbit_per_s: 8.0, mtu: 1500 };
        let now = usage::now();
        let first = transmit(now, now, 1_000_000, shape).expect("room");
        assert_eq!(first - now, Duration::from_secs(1));
        let second = transmit(now, first, 1_000_000, shape).expect("room");
        assert_eq!(second - now, Duration::from_secs(2));
        assert_eq!(transmit(now, now + Duration::from_secs(9), 1, shape), None);
        let idle = now + Duration::from_secs(5);
        assert_eq!(transmit(idle, first, 1_000_000, shape), Some(idle + Duration::from_secs(1)));
    }
}
