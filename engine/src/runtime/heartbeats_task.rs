//! Writes the heartbeats of one pair of clusters: a record per interval that says when it was written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol_client::client::Client;
use protocol_client::cluster::TopicPartition;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::clock::Clock;
use super::clusters;
use super::internal_topics::{self, ensure_internal_topic};
use super::tell::{Troubles, refusal};
use crate::config::HeartbeatsConfig;
use crate::policy::internal_topics::HEARTBEATS;
use crate::records::heartbeat::Heartbeat;

/// The longest wait behind one that failed.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Writes heartbeats until it is told to stop; trouble is told, never final.
pub(super) async fn run<T>(
    config: HeartbeatsConfig,
    clock: Clock,
    mut stop: watch::Receiver<Option<T>>,
) {
    let client = clusters::heartbeats_client(&config);
    let mut heart = Heart { flow: config.id().into(), config, client, clock, has_topic: false };
    tokio::select! {
        biased;
        _ = stop.wait_for(Option::is_some) => {}
        () = heart.beat() => {}
    }
}

struct Heart {
    flow: Arc<str>,
    config: HeartbeatsConfig,
    client: Client,
    clock: Clock,
    has_topic: bool,
}

impl Heart {
    async fn beat(&mut self) {
        let interval = self.config.interval;
        let mut troubles = Troubles::default();
        let mut wait = interval;
        loop {
            tokio::time::sleep(wait).await;
            let written = self.write().await;
            let (flow, cluster) = (&*self.flow, &self.config.target.alias);
            match written {
                Ok(()) => {
                    wait = interval;
                    if troubles.are_over() {
                        info!(flow, "heartbeats are written again");
                    }
                }
                Err(trouble) => {
                    wait = (wait * 2).min(MAX_WAIT).max(interval);
                    if troubles.is_new(&trouble) {
                        warn!(
                            flow,
                            "cluster {cluster}: no heartbeats are written: {trouble}; tried again until they can"
                        );
                    } else {
                        debug!(flow, "no heartbeat: {trouble}");
                    }
                }
            }
        }
    }

    async fn write(&mut self) -> Result<(), String> {
        let topic = format!("topic {HEARTBEATS} of cluster {}", self.config.target.alias);
        if !self.has_topic {
            let factor = self.config.replication_factor;
            let configs = BTreeMap::new();
            ensure_internal_topic(&self.client, HEARTBEATS, 1, factor, &configs).await.map_err(
                |error| {
                    let what = refusal(&error, "CREATE", &topic);
                    format!("{what} ({topic} is created with heartbeats.topic.replication.factor = {factor})")
                },
            )?;
            self.has_topic = true;
        }
        let heartbeat = Heartbeat {
            source: self.config.source.clone(),
            target: self.config.target.alias.clone(),
            timestamp_ms: self.clock.wall_ms(),
        };
        let key = heartbeat.encode_key().map_err(|error| error.to_string())?;
        let record = (key, Some(heartbeat.encode_value()));
        let partition = TopicPartition::new(HEARTBEATS, 0);
        let now_ms = heartbeat.timestamp_ms;
        let written = internal_topics::append(&self.client, &partition, [record], now_ms).await;
        written.map_err(|error| {
            self.has_topic = false;
            refusal(&error, "WRITE", &topic)
        })
    }
}
