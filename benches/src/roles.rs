//! What the processes of a run do: null brokers, the engine, the raw relay and its two ends.

use std::io::{BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use embedded_broker::{BrokerOptions, Cluster, ClusterOptions, EndlessTopic, TopicSpec};
use engine::config::{Input, NoSurroundings, resolve};
use engine::runtime::Engine;
use protocol_client::batch::BatchBuilder;
use tokio::runtime::{Builder, Runtime};

use crate::child::Done;

/// What the two ends of the relay write and read at a time.
const END_BUFFER_BYTES: usize = 1 << 20;

/// A process of a run.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// An embedded broker that serves made-up batches, or discards what it gets
    Broker {
        /// `EndlessTopic` in its text form
        #[arg(long, value_parser = EndlessTopic::parse)]
        endless: Option<EndlessTopic>,
        /// `TopicSpec` in its text form
        #[arg(long, value_parser = TopicSpec::parse)]
        null: Option<TopicSpec>,
        /// How many ordinary topics it has besides
        #[arg(long, default_value_t = 0)]
        topics: i32,
        /// How many brokers it is
        #[arg(long, default_value_t = 1)]
        brokers: usize,
        /// And how many partitions each of them has
        #[arg(long, default_value_t = 1)]
        partitions: i32,
        /// How many records it appends to them in a second
        #[arg(long, default_value_t = 0)]
        trickle: i32,
    },
    /// kmirror's engine with the text of an mm2.properties
    Engine {
        /// The text
        properties: String,
    },
    /// Sends to whoever connects
    Sender,
    /// Discards what it gets
    Receiver,
    /// Reads from one address, writes to another
    Relay {
        /// Where it reads
        from: SocketAddr,
        /// Where it writes
        to: SocketAddr,
        /// Its one buffer
        buffer_bytes: usize,
    },
}

/// Plays a role until the standard input ends.
pub(crate) fn run(role: Role) -> Result<()> {
    match role {
        Role::Broker { endless, null, topics, brokers, partitions, trickle } => {
            broker(endless, null, brokers, Many { topics, partitions, trickle })
        }
        Role::Engine { properties } => engine(&properties),
        Role::Sender => end_of_relay(send),
        Role::Receiver => end_of_relay(discard),
        Role::Relay { from, to, buffer_bytes } => relay(from, to, buffer_bytes),
    }
}

/// Greets, then answers every line with what is done.
fn serve(greeting: &str, mut done: impl FnMut() -> Result<Done>) -> Result<()> {
    println!("{greeting}");
    for line in std::io::stdin().lock().lines() {
        line?;
        let Done { records, bytes } = done()?;
        println!("{records} {bytes}");
    }
    Ok(())
}

/// One worker thread, so that a broker never takes more than one core from what is measured.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// Ordinary topics, `many0` and so on.
struct Many {
    topics: i32,
    partitions: i32,
    trickle: i32,
}

impl Many {
    fn create(&self, cluster: &Cluster) -> Result<()> {
        for number in 0..self.topics {
            let spec = TopicSpec::new(&format!("many{number}"), self.partitions);
            cluster.create_topic(spec).map_err(|(error, what)| anyhow!("{error}: {what}"))?;
        }
        Ok(())
    }

    /// Appends one record after the other, to another partition each time, until the process ends.
    fn feed(&self, cluster: &Cluster) -> Result<()> {
        let mut batch = BatchBuilder::new();
        batch.push(None, Some(&[7; 200]), &[], 0);
        let batch = batch.build().context("a record was pushed")?.bytes;
        let all = self.topics * self.partitions;
        let mut at = 0;
        loop {
            // A step that is prime to the number of all comes by everywhere.
            at = (at + 7919) % all;
            let topic = format!("many{}", at / self.partitions);
            cluster.append(&topic, at % self.partitions, &batch, false).context("it exists")?;
            thread::sleep(Duration::from_secs(1) / self.trickle.unsigned_abs());
        }
    }
}

fn broker(
    endless: Option<EndlessTopic>,
    null: Option<TopicSpec>,
    brokers: usize,
    many: Many,
) -> Result<()> {
    let runtime = runtime()?;
    let options = BrokerOptions { nodes: brokers, ..BrokerOptions::default() };
    let options = ClusterOptions { broker: options, ..ClusterOptions::default() };
    let cluster = runtime.block_on(Cluster::start(options))?;
    if let Some(endless) = endless {
        let created = cluster.with(|broker, _| broker.create_endless(&endless));
        created.map_err(|(error, what)| anyhow!("{error}: {what}"))?;
    }
    if let Some(spec) = null {
        let name = spec.name.clone();
        cluster.create_topic(spec).map_err(|(error, what)| anyhow!("{error}: {what}"))?;
        cluster.make_null(&name, None);
    }
    many.create(&cluster)?;
    let cluster = Arc::new(cluster);
    if many.trickle > 0 {
        let cluster = Arc::clone(&cluster);
        thread::spawn(move || {
            if let Err(error) = many.feed(&cluster) {
                eprintln!("no more records: {error:#}");
            }
        });
    }
    serve(&cluster.bootstrap(), || Ok(Done::default()))
}

fn engine(properties: &str) -> Result<()> {
    let input = Input { file: "mm2.properties", bytes: properties.as_bytes(), clusters: None };
    let resolution = resolve(input, &NoSurroundings);
    for finding in &resolution.findings {
        eprintln!("{finding}");
    }
    let replication = resolution.replication.context("the configuration has errors")?;
    let runtime = runtime()?;
    let mut engine = runtime.block_on(async { Engine::start(replication) })?;
    serve("started", || {
        runtime.block_on(async {
            if let Ok(error) = tokio::time::timeout(Duration::ZERO, engine.failed()).await {
                bail!(error);
            }
            let flows = engine.progress().await;
            let partitions = flows.iter().flat_map(|flow| &flow.partitions);
            Ok(partitions.fold(Done::default(), |sum, partition| Done {
                records: sum.records + partition.delivered.records,
                bytes: sum.bytes + partition.delivered.bytes,
            }))
        })
    })
}

fn end_of_relay(work: fn(TcpStream) -> std::io::Result<()>) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        // An end of the relay that goes away is the end of its measurement.
        for stream in listener.incoming().flatten() {
            let _ = work(stream);
        }
    });
    serve(&address.to_string(), || Ok(Done::default()))
}

fn send(mut stream: TcpStream) -> std::io::Result<()> {
    let buffer = vec![b'k'; END_BUFFER_BYTES];
    loop {
        stream.write_all(&buffer)?;
    }
}

fn discard(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; END_BUFFER_BYTES];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

/// The least that a program can do that carries bytes from one socket to another through its own memory.
fn relay(from: SocketAddr, to: SocketAddr, buffer_bytes: usize) -> Result<()> {
    let mut source = TcpStream::connect(from)?;
    let mut target = TcpStream::connect(to)?;
    let carried = Arc::new(AtomicU64::new(0));
    let count = carried.clone();
    thread::spawn(move || -> std::io::Result<()> {
        let mut buffer = vec![0; buffer_bytes];
        loop {
            let read = source.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            target.write_all(&buffer[..read])?;
            count.fetch_add(read as u64, Ordering::Relaxed);
        }
    });
    serve("started", || Ok(Done { records: 0, bytes: carried.load(Ordering::Relaxed) }))
}
