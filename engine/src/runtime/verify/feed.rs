//! Reads a log piece by piece, one ahead of whoever takes them.

use protocol_client::ClientError;
use protocol_client::client::{Client, ReadLimits, Reader};
use protocol_client::cluster::TopicPartition;
use protocol_client::wire::fetch::Isolation;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::matching::Chunk;

/// One log, read ahead by one piece.
pub(super) struct Feed {
    client: Client,
    pub(super) partition: TopicPartition,
    pub(super) limits: ReadLimits,
    pieces: Option<mpsc::Receiver<Result<Chunk, ClientError>>>,
    reading: Option<AbortHandle>,
    next: i64,
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}

impl Feed {
    pub(super) fn new(client: &Client, partition: &TopicPartition, isolation: Isolation) -> Self {
        Self {
            client: client.clone(),
            partition: partition.clone(),
            limits: ReadLimits { isolation, ..ReadLimits::default() },
            pieces: None,
            reading: None,
            next: -1,
        }
    }

    /// What stands at `from`; a jump begins to read anew.
    pub(super) async fn chunk(&mut self, from: i64) -> Result<Chunk, ClientError> {
        if self.next != from || self.pieces.is_none() {
            if let Some(reading) = self.reading.take() {
                reading.abort();
            }
            let (sender, pieces) = mpsc::channel(1);
            let (client, partition) = (self.client.clone(), self.partition.clone());
            let reading = tokio::spawn(read(client, partition, from, self.limits, sender));
            self.reading = Some(reading.abort_handle());
            self.pieces = Some(pieces);
        }
        let piece = match &mut self.pieces {
            Some(pieces) => pieces.recv().await,
            None => None,
        };
        let chunk = piece.unwrap_or_else(|| Err(ClientError::unexpected("reading has ended")))?;
        self.next = chunk.entries.last().map_or(from, |entry| entry.next_offset());
        if chunk.end.is_some() {
            self.pieces = None;
        }
        Ok(chunk)
    }
}

/// Reads to the end of a log as it is now.
async fn read(
    client: Client,
    partition: TopicPartition,
    from: i64,
    limits: ReadLimits,
    pieces: mpsc::Sender<Result<Chunk, ClientError>>,
) {
    let mut reader: Reader = match client.read(partition, from, limits).await {
        Ok(reader) => reader,
        Err(error) => {
            // Nobody waits any more if this fails.
            let _ = pieces.send(Err(error)).await;
            return;
        }
    };
    loop {
        let piece = reader.next_chunk().await.map(|piece| {
            let piece = piece.map(|piece| (piece.from, piece.entries, piece.aborted));
            let (start, entries, aborted) = piece.unwrap_or_default();
            let end = (reader.position() >= reader.end()).then(|| reader.end());
            Chunk { start, entries, aborted, end }
        });
        let is_last = piece.as_ref().map_or(true, |piece| piece.end.is_some());
        if pieces.send(piece).await.is_err() || is_last {
            return;
        }
    }
}
