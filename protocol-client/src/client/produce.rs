//! Produces single batches to whoever leads: for internal topics, not for the data plane.

use std::sync::Arc;

use bytes::Bytes;

use super::{Client, Purpose};
use crate::cluster::TopicPartition;
use crate::cluster::metadata::{Freshness, Topics};
use crate::error::ClientError;
use crate::wire::error_code::ErrorCode;
use crate::wire::produce::{
    Acks, BATCH_HEADER_BYTES, PRODUCE, ProducePartition, ProducedPartition, RawProduce,
};

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// The offset of its first record.
    pub base_offset: i64,
    /// The time of the append in milliseconds; -1 unless the topic uses it.
    pub log_append_time_ms: i64,
}

impl Client {
    /// Appends one encoded batch to a partition, acknowledged by all replicas in sync.
    ///
    /// Tried again only while it is certain that nothing was appended; what comes of an unclear
    /// failure (see [`ErrorCode::may_have_appended`], timeouts, lost connections) is the caller's
    /// to decide.
    pub async fn produce(
        &self,
        partition: &TopicPartition,
        header: [u8; BATCH_HEADER_BYTES],
        payload: Bytes,
    ) -> Result<Produced, ClientError> {
        self.produce_with(None, partition, header, payload).await
    }

    /// Like [`produce`](Self::produce), in the transaction of a producer whom the header names; the partition was added
    /// to it.
    pub async fn produce_in(
        &self,
        transactional_id: &str,
        partition: &TopicPartition,
        header: [u8; BATCH_HEADER_BYTES],
        payload: Bytes,
    ) -> Result<Produced, ClientError> {
        self.produce_with(Some(transactional_id.into()), partition, header, payload).await
    }

    async fn produce_with(
        &self,
        transactional_id: Option<Arc<str>>,
        partition: &TopicPartition,
        header: [u8; BATCH_HEADER_BYTES],
        payload: Bytes,
    ) -> Result<Produced, ClientError> {
        let mut generation = None;
        let mut attempts = self.attempts(vec![()]);
        while attempts.next().await.is_some() {
            let id = transactional_id.clone();
            let batch = (header, payload.clone());
            let produced = self.produce_once(id, partition, batch, &mut generation).await;
            match produced {
                Ok(produced) => attempts.settle_one(Ok(produced)),
                Err((error, Sent::Perhaps)) if is_unclear(&error) => return Err(error),
                Err((error, _)) => attempts.settle_one(Err(error)),
            }
        }
        attempts.finish_one()
    }

    async fn produce_once(
        &self,
        transactional_id: Option<Arc<str>>,
        partition: &TopicPartition,
        (header, payload): ([u8; BATCH_HEADER_BYTES], Bytes),
        generation: &mut Option<u64>,
    ) -> Result<Produced, (ClientError, Sent)> {
        let unsent = |error| (error, Sent::No);
        let topics = Topics::Named([Arc::clone(&partition.topic)].into());
        let freshness = match *generation {
            Some(used) => Freshness::NewerThan(used),
            None => Freshness::WithinAge(self.options().metadata_max_age),
        };
        let view = self.refresh_once(&topics, freshness).await.map_err(unsent)?;
        *generation = Some(view.generation);
        let leader = view.leader_or_why(partition).map_err(unsent)?;
        let connection = self.node_for(Purpose::Produce, leader).await.map_err(unsent)?;
        let topic_id = view.topics.get(&partition.topic).map(|topic| topic.id).unwrap_or_default();
        let request = RawProduce {
            acks: Acks::All,
            timeout_ms: connection.request_timeout_ms(),
            transactional_id,
            partitions: vec![ProducePartition {
                topic: Arc::clone(&partition.topic),
                topic_id,
                index: partition.partition,
                header,
                payload,
            }],
        };
        let answer = connection.start_produce(&request).await;
        let answer = answer.map_err(|error| (error, Sent::Perhaps))?;
        let one = answer.partitions.into_iter().next().expect("an answer has what was asked for");
        accept(one)
            .map_err(|error| (error.at(connection.broker()).during(PRODUCE.name), Sent::Perhaps))
    }
}

/// Whether a failed request may have reached the broker.
enum Sent {
    No,
    Perhaps,
}

fn is_unclear(error: &ClientError) -> bool {
    error.code().is_none_or(ErrorCode::may_have_appended)
}

fn accept(one: ProducedPartition) -> Result<Produced, ClientError> {
    match one.error {
        ErrorCode::NONE => Ok(Produced {
            base_offset: one.base_offset,
            log_append_time_ms: one.log_append_time_ms,
        }),
        code => Err(ClientError::refused(code, one.message)),
    }
}
