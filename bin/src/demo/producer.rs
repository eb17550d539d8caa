//! The demo's producer: keyed records in batches of changing size and codec, at a steady rate.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use protocol_client::BrokerAddress;
use protocol_client::batch::record::Header;
use protocol_client::batch::{BatchBuilder, Compression, HEADER_BYTES};
use protocol_client::client::{Client, ClientOptions};
use protocol_client::cluster::TopicPartition;
use tokio::task::JoinHandle;

use super::{DemoOptions, TOPICS};

/// Time between two rounds of batches.
const ROUND: Duration = Duration::from_millis(20);
const CODECS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

/// A producer at work.
pub(super) struct Producer(JoinHandle<Result<()>>);

impl Producer {
    /// Waits until everything is produced.
    pub(super) async fn finish(self) -> Result<()> {
        self.0.await.context("the producer")?
    }
}

/// Starts to produce.
pub(super) fn start(bootstrap: &str, options: DemoOptions) -> Result<Producer> {
    let addresses: Result<Vec<BrokerAddress>, _> = bootstrap.split(',').map(str::parse).collect();
    let client = Client::new(ClientOptions { bootstrap: addresses?, ..ClientOptions::default() });
    Ok(Producer(tokio::spawn(produce(client, options))))
}

async fn produce(client: Client, options: DemoOptions) -> Result<()> {
    let partitions: Vec<TopicPartition> = TOPICS
        .iter()
        .flat_map(|(topic, count)| (0..*count).map(move |index| TopicPartition::new(*topic, index)))
        .collect();
    let rounds = Duration::from_secs(options.seconds).as_millis() / ROUND.as_millis();
    let per_round = f64::from(options.rate) * ROUND.as_secs_f64() / partitions.len() as f64;
    let mut made: BTreeMap<&TopicPartition, f64> = BTreeMap::new();
    let mut ticker = tokio::time::interval(ROUND);
    for round in 0..rounds {
        ticker.tick().await;
        for (nth, partition) in partitions.iter().enumerate() {
            let due = made.entry(partition).or_default();
            let first = due.floor() as u64;
            *due += per_round;
            let batch = batch(nth, round, first..due.floor() as u64)?;
            if let Some((header, payload)) = batch {
                client.produce(partition, header, payload).await.context("producing")?;
            }
        }
    }
    Ok(())
}

/// One batch of numbered records; `None` when none is due.
fn batch(
    nth: usize,
    round: u128,
    numbers: std::ops::Range<u64>,
) -> Result<Option<([u8; HEADER_BYTES], bytes::Bytes)>> {
    if numbers.is_empty() {
        return Ok(None);
    }
    let mut batch = BatchBuilder::with_compression(CODECS[(nth + round as usize) % CODECS.len()]);
    for number in numbers {
        let key = format!("key-{}", number % 97);
        let value = format!(
            r#"{{"number":{number},"customer":"cust-{}","amount":{}.99}}"#,
            number % 977,
            number % 499
        );
        let headers: [Header<'_>; 1] = [(b"source", Some(b"kmirror demo"))];
        batch.push(Some(key.as_bytes()), Some(value.as_bytes()), &headers, wall_ms());
    }
    let built = batch.build()?;
    let header = *built.bytes.first_chunk::<HEADER_BYTES>().context("a batch has a header")?;
    Ok(Some((header, built.bytes.slice(HEADER_BYTES..))))
}

#[expect(clippy::disallowed_methods, reason = "records carry the time at which they are made")]
fn wall_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
