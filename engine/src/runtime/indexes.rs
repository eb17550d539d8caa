//! Asks the shards of a flow which offset is which.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::shard_task::Command;
use crate::index::{OffsetIndex, Translation};
use crate::model::Side;

/// A position of which the other side's is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// The topic, as the source of the flow calls it.
    pub(super) topic: Arc<str>,
    /// The partition's number.
    pub(super) index: i32,
    /// The side that the position is of.
    pub(super) side: Side,
    /// The next offset to read there.
    pub(super) position: i64,
}

impl Ask {
    pub(super) fn answer(&self, index: &OffsetIndex) -> Translation {
        match self.side {
            Side::Source => index.translate(self.position),
            Side::Target => index.translate_back(self.position),
        }
    }
}

/// The indexes of one flow, wherever they are.
#[derive(Debug, Clone)]
pub(super) struct Indexes {
    shards: Vec<mpsc::UnboundedSender<Command>>,
}

impl Indexes {
    pub(super) fn new(shards: Vec<mpsc::UnboundedSender<Command>>) -> Self {
        Self { shards }
    }

    /// The answers in the order of the questions; [`Translation::Unknown`] for a partition that is not replicated.
    pub(super) async fn translate(&self, asks: &[Ask]) -> Vec<Translation> {
        let mut all = vec![Translation::Unknown; asks.len()];
        let answers = ask_all(&self.shards, |answer| Command::Translate(asks.to_vec(), answer));
        for (number, translation) in answers.await {
            if let Some(place) = all.get_mut(number) {
                *place = translation;
            }
        }
        all
    }
}

/// Asks all shards the same, at once, and puts their answers together; a shard that is gone says nothing.
pub(super) async fn ask_all<T>(
    shards: &[mpsc::UnboundedSender<Command>],
    command: impl Fn(oneshot::Sender<Vec<T>>) -> Command,
) -> Vec<T> {
    let mut answers = Vec::with_capacity(shards.len());
    for shard in shards {
        let (answer, answered) = oneshot::channel();
        if shard.send(command(answer)).is_ok() {
            answers.push(answered);
        }
    }
    let mut all = Vec::new();
    for answered in answers {
        all.extend(answered.await.unwrap_or_default());
    }
    all
}
