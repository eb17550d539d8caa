//! Keeps the offset-syncs topic of one flow: reads it at the start, and writes the indexes to it as they grow.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use protocol_client::ClientError;
use protocol_client::client::{Client, ConfigResource};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::attempts::{Retryable, until_works};
use super::clock::Clock;
use super::indexes::ask_all;
use super::internal_topics::ensure_internal_topic;
use super::shard_task::Command;
use super::tell::{Troubles, refusal};
use crate::config::OffsetSyncsConfig;
use crate::flow::settings::TargetLimits;
use crate::flow::shard::Which;
use crate::index::OffsetIndex;
use crate::model::TopicIds;
use crate::syncs::emission::{Due, Emission};
use crate::syncs::ledger::Ledger;
use crate::syncs::{Named, store};

/// How often it is looked at what has changed.
const LOOK: Duration = Duration::from_secs(1);

/// The longest wait behind a write that failed.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Indexes that are copied and written at once: they may take 256 KiB each.
const AT_ONCE: usize = 64;

/// What the offset syncs of a flow are kept with.
#[derive(Debug, Clone)]
pub(super) struct SyncsSetup {
    pub(super) flow: Arc<str>,
    pub(super) config: OffsetSyncsConfig,
    /// The alias of the cluster that the topic is on.
    pub(super) alias: String,
    /// A client of that cluster.
    pub(super) client: Client,
    pub(super) clock: Clock,
    pub(super) shards: Vec<mpsc::UnboundedSender<Command>>,
}

/// The offset syncs of a running flow; without a topic nothing is known and nothing written.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    ledger: Ledger,
    /// Asks the task that writes to write what is left and to end.
    stop: Option<oneshot::Sender<oneshot::Sender<()>>>,
}

impl Syncs {
    /// Reads the topic, which is created if it is not there, and starts to write to it. What the cluster refuses is told,
    /// and the flow goes on without.
    pub(super) async fn open(setup: SyncsSetup) -> Self {
        match setup.open().await {
            Ok(ledger) => {
                let (stop, stopped) = oneshot::channel();
                let max_message_bytes = setup.max_message_bytes().await;
                let emission = Emission::new(setup.config.lag_max, max_message_bytes, &ledger);
                let writer = Writer { setup, emission, troubles: Troubles::default() };
                tokio::task::spawn_local(writer.run(stopped));
                Self { ledger, stop: Some(stop) }
            }
            Err(trouble) => {
                let flow = &*setup.flow;
                warn!(
                    flow,
                    "{trouble}; without it, where consumer groups stand is exact only for what is copied from now on"
                );
                Self::default()
            }
        }
    }

    /// What is known of a partition from before. It is handed out once.
    pub(super) fn take(&mut self, topic: &Arc<str>, index: i32, ids: TopicIds) -> OffsetIndex {
        self.ledger.take(&(topic.clone(), index), ids)
    }

    /// Writes what is not written yet.
    pub(super) async fn finish(&mut self) {
        let (done, all_done) = oneshot::channel();
        if let Some(stop) = self.stop.take()
            && stop.send(done).is_ok()
        {
            let _ = all_done.await;
        }
    }
}

/// A request that failed, and what to do about it.
struct Failed {
    error: ClientError,
    what: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Retryable for Failed {
    fn is_retryable(&self) -> bool {
        self.error.retryable()
    }
}

impl SyncsSetup {
    async fn open(&self) -> Result<Ledger, String> {
        let OffsetSyncsConfig { topic, replication_factor, topic_configs, .. } = &self.config;
        let (flow, alias) = (&*self.flow, &self.alias);
        let ensured = until_works(flow, alias, async || {
            ensure_internal_topic(&self.client, topic, 1, *replication_factor, topic_configs)
                .await
                .map_err(|error| self.failed(error, "CREATE"))
        });
        ensured.await.map_err(|error| {
            format!(
                "{error} ({topic} is created with offset-syncs.topic.replication.factor = {replication_factor})"
            )
        })?;
        let read = until_works(flow, alias, async || {
            let read = store::read(&self.client, topic).await;
            read.map_err(|error| self.failed(error, "READ"))
        });
        let ledger = read.await.map_err(|error| error.to_string())?;
        if let Some(skipped) = ledger.skipped() {
            let (records, offset, why) = (skipped.count, skipped.first_offset, &skipped.why);
            warn!(
                flow,
                topic,
                partition = 0,
                offset,
                "{records} records are no offset syncs and were skipped; the first: {why}"
            );
        }
        Ok(ledger)
    }

    fn failed(&self, error: ClientError, operation: &str) -> Failed {
        let topic = format!("topic {}", self.config.topic);
        let what = refusal(&error, operation, &topic);
        Failed { error, what: format!("{topic}, where it is kept which offset is which: {what}") }
    }

    /// What the topic takes; Kafka's default where that is not told.
    async fn max_message_bytes(&self) -> usize {
        let key = "max.message.bytes";
        let resource = ConfigResource::Topic(self.config.topic.clone());
        let described = self.client.describe_configs(&[resource], Some(&[key])).await;
        let configs = described.into_values().find_map(Result::ok).unwrap_or_default();
        let value = configs.get(key).and_then(|entry| entry.value.as_deref());
        let default = TargetLimits::default().max_message_bytes;
        value.and_then(|bytes| bytes.parse().ok()).unwrap_or(default)
    }
}

struct Writer {
    setup: SyncsSetup,
    emission: Emission,
    troubles: Troubles,
}

impl Writer {
    async fn run(mut self, mut stop: oneshot::Receiver<oneshot::Sender<()>>) {
        tokio::select! {
            biased;
            stopped = &mut stop => {
                if let Ok(done) = stopped {
                    self.flush(true).await;
                    // Nobody waits for it any longer.
                    let _ = done.send(());
                }
            }
            () = self.write() => {}
        }
    }

    async fn write(&mut self) {
        let mut wait = LOOK;
        loop {
            sleep(wait).await;
            wait = match self.flush(false).await {
                true => LOOK,
                false => (wait * 2).min(MAX_WAIT),
            };
        }
    }

    /// Writes what is due; answers whether that worked.
    async fn flush(&mut self, is_last: bool) -> bool {
        // An answer may have been lost together with the flush that asked for it.
        let which = if is_last { Which::All } else { Which::Changed };
        let states = ask_all(&self.setup.shards, |answer| Command::SyncStates(which, answer)).await;
        let due = self.emission.due(states, self.setup.clock.now(), is_last);
        let names: Vec<Named> = due.keys().cloned().collect();
        for names in names.chunks(AT_ONCE) {
            if let Err(error) = self.write_some(names, &due).await {
                self.tell(&self.setup.failed(error, "WRITE"));
                return false;
            }
        }
        if !names.is_empty() && self.troubles.are_over() {
            info!(flow = %self.setup.flow, "offset syncs are written again");
        }
        true
    }

    async fn write_some(
        &mut self,
        names: &[Named],
        ids: &BTreeMap<Named, TopicIds>,
    ) -> Result<(), ClientError> {
        let ask = |answer| Command::Indexes(names.to_vec(), answer);
        let indexes = ask_all(&self.setup.shards, ask).await;
        self.emission.keep_only(names, &indexes);
        let due = indexes.into_iter().map(|(partition, index)| {
            let ids = ids.get(&partition).copied().unwrap_or_default();
            Due { partition, ids, index }
        });
        let due: Vec<Due> = due.collect();
        let SyncsSetup { client, config, clock, .. } = &self.setup;
        let written = self.emission.encode(&due, clock.now(), clock.wall_ms());
        let written = written.map_err(|error| ClientError::invalid(error.to_string()))?;
        store::write(client, &config.topic, &written.batches).await?;
        self.emission.commit(written);
        Ok(())
    }

    fn tell(&mut self, failed: &Failed) {
        let (flow, cluster) = (&*self.setup.flow, &self.setup.alias);
        if self.troubles.is_new(&failed.what) {
            warn!(flow, "cluster {cluster}: {failed}; tried again until it can be written");
        } else {
            debug!(flow, "cluster {cluster}: {failed}");
        }
    }
}
