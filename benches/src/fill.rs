//! Fills a topic of a real cluster with copies of one batch, as fast as the broker takes them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use protocol_client::batch::BatchBuilder;
use protocol_client::client::{Client, ClientOptions, NewTopic, OffsetSpec};
use protocol_client::cluster::{Backoff, TopicPartition};
use protocol_client::net::{ConnectionOptions, Pending};
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::Isolation;
use protocol_client::wire::produce::{
    Acks, BATCH_HEADER_BYTES, ProducePartition, RawProduce, RawProduceAnswer,
};

const IN_FLIGHT: usize = 4;
/// The largest time span that Kafka's settings take, in milliseconds.
const NEVER: &str = "9223372036854775807";
/// When all records of a bench were written, or the first.
pub(crate) const TIMESTAMP_MS: i64 = 1_795_000_000_000;

/// What a topic is filled with: the same batch over and over, one per partition and request, as a broker
/// demands it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling {
    pub(crate) topic: &'static str,
    pub(crate) partitions: i32,
    pub(crate) batches_per_partition: u32,
    pub(crate) batch_records: u32,
    pub(crate) record_bytes: usize,
}

impl Filling {
    pub(crate) fn records(&self) -> u64 {
        let batches =
            u64::from(self.partitions.unsigned_abs()) * u64::from(self.batches_per_partition);
        batches * u64::from(self.batch_records)
    }

    /// Length of one batch.
    pub(crate) fn batch_bytes(&self) -> Result<usize> {
        Ok(self.batch()?.len())
    }

    fn batch(&self) -> Result<Bytes> {
        let mut builder = BatchBuilder::new();
        for record in 0..self.batch_records {
            builder.push(
                None,
                Some(&noise(u64::from(record), self.record_bytes)),
                &[],
                TIMESTAMP_MS,
            );
        }
        Ok(builder.build()?.bytes)
    }
}

/// Letters in no order: nothing on the way gains by compressing them.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = seed + 1;
    let letter = |_| {
        noise =
            noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b' ' + (noise >> 58) as u8
    };
    (0..bytes).map(letter).collect()
}

/// A client of the cluster behind `bootstrap`.
pub(crate) fn client(bootstrap: &str) -> Result<Client> {
    let bootstrap = bootstrap.split(',').map(str::parse).collect::<Result<_, _>>()?;
    // Polling for a topic that is about to appear must not wait long in between.
    let pause = Duration::from_millis(5);
    let backoff = Backoff { initial: pause, max: pause };
    Ok(Client::new(ClientOptions { bootstrap, backoff, ..ClientOptions::default() }))
}

/// Creates the topic and fills it.
pub(crate) async fn fill(client: &Client, filling: &Filling) -> Result<()> {
    let batch = filling.batch()?;
    let last = filling.batches_per_partition;
    let same = |_, round| Ok((round < last).then(|| batch.clone()));
    fill_with(client, filling.topic, filling.partitions, same).await
}

/// Creates a topic and fills it with the batches that `batch` makes for a partition and a round, until it makes no more.
pub(crate) async fn fill_with(
    client: &Client,
    topic: &str,
    partitions: i32,
    mut batch: impl FnMut(i32, u32) -> Result<Option<Bytes>>,
) -> Result<()> {
    let name: Arc<str> = topic.into();
    let topic = NewTopic {
        name: name.clone(),
        partitions: Some(partitions),
        replication_factor: Some(1),
        // Whatever day it is: the records are not too old to be kept, and not from too far ahead to be taken.
        configs: [("retention.ms", "-1"), ("message.timestamp.after.max.ms", NEVER)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    };
    let mut created = client.create_topics(&[topic], false).await;
    let topic_id = created.remove(&name).context("an answer for the topic")??.id;
    let leader = leader(client, &name, partitions).await?;
    let connection = client.connect_to(leader, &Arc::new(ConnectionOptions::default())).await?;
    let mut under_way: VecDeque<Pending<RawProduceAnswer>> = VecDeque::new();
    for round in 0.. {
        let mut request = RawProduce {
            acks: Acks::All,
            timeout_ms: connection.request_timeout_ms(),
            transactional_id: None,
            partitions: Vec::new(),
        };
        for index in 0..partitions {
            let Some(bytes) = batch(index, round)? else { continue };
            let header = *bytes.first_chunk::<BATCH_HEADER_BYTES>().context("a whole batch")?;
            let payload = bytes.slice(BATCH_HEADER_BYTES..);
            let topic = name.clone();
            request.partitions.push(ProducePartition { topic, topic_id, index, header, payload });
        }
        if request.partitions.is_empty() {
            break;
        }
        under_way.push_back(connection.start_produce(&request));
        if under_way.len() > IN_FLIGHT
            && let Some(oldest) = under_way.pop_front()
        {
            expect_appended(oldest).await?;
        }
    }
    for pending in under_way {
        expect_appended(pending).await?;
    }
    Ok(())
}

/// The one node that leads every partition; the clusters of a run have no other. It is asked about each, so all
/// are ready afterwards.
pub(crate) async fn leader(client: &Client, topic: &Arc<str>, partitions: i32) -> Result<i32> {
    let asked = (0..partitions).map(|index| TopicPartition::new(topic.clone(), index));
    let ends = client.list_offsets_of(asked, OffsetSpec::Latest, Isolation::ReadUncommitted).await;
    for end in ends.into_values() {
        end?;
    }
    let first = TopicPartition::new(topic.clone(), 0);
    Ok(client.view().leader_or_why(&first)?)
}

async fn expect_appended(pending: Pending<RawProduceAnswer>) -> Result<()> {
    for partition in pending.await?.partitions {
        ensure!(
            partition.error == ErrorCode::NONE,
            "partition {}: {:?}",
            partition.index,
            partition.error
        );
    }
    Ok(())
}
