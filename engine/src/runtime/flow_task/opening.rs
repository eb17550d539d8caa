//! What a flow opens before it looks for topics; none of it waits for another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol_client::ClientError;
use protocol_client::client::{CoordinatorKind, TransactionEnd};
use protocol_client::cluster::TopicPartition;
use protocol_client::cluster::metadata::Topics;
use tokio::time::timeout;
use tracing::warn;

use super::super::internal_topics::ensure_internal_topic;
use super::super::producers::{self, FlowProducer};
use super::super::syncs_task::Syncs;
use super::super::unended::{self, Holder};
use super::{FlowSetup, until_works};
use crate::config::PositionsConfig;
use crate::error::EngineError;
use crate::positions::ledger::Ledger;
use crate::positions::store::PositionStore;

/// How long the coordinator of transactions is looked for while something else is waited for.
const WARM_UP: Duration = Duration::from_secs(1);

impl FlowSetup {
    /// Takes over transactional ids from whoever has them, and notes how their last transactions end.
    pub(super) async fn take_over(&self, ids: &[String]) -> Result<Vec<Holder>, EngineError> {
        let Self { name, config, clients, .. } = self;
        let timeout_ms = producers::timeout_ms(config);
        // In an attempt after the first one the coordinator may know nothing of earlier transactions any more.
        let mut ends = BTreeMap::new();
        let identities = until_works(name, &config.target.alias, async || {
            let mut found = unended::ends(&clients.target, ids).await?;
            found.append(&mut ends);
            ends = found;
            producers::take_over(&clients.target, ids, timeout_ms).await
        })
        .await?;
        let holders = ids.iter().zip(identities).map(|(id, identity)| Holder {
            transactional_id: id.clone(),
            identity,
            ended: ends.get(id).copied(),
        });
        Ok(holders.collect())
    }

    /// Finds or creates the topic of positions, and reads it; before that, what the holders have ended ends there.
    pub(super) async fn open_positions(
        &self,
        holders: &[Holder],
    ) -> Result<PositionStore, EngineError> {
        let Self { name, config, clients, .. } = self;
        let (client, alias) = (&clients.target, &config.target.alias);
        let topic: Arc<str> = config.positions.topic.as_str().into();
        let PositionsConfig { partitions, replication_factor, topic_configs, .. } =
            &config.positions;
        let ensure = async || {
            ensure_internal_topic(client, &topic, *partitions, *replication_factor, topic_configs)
                .await
        };
        let partitions = until_works(name, alias, ensure).await.map_err(|error| {
            error.about(&format!(
                "topic {topic}, where positions are kept (created with {alias}.offset.storage.replication.factor = {replication_factor})"
            ))
        })?;
        until_works(name, alias, async || self.end_positions(holders, &topic, partitions).await)
            .await?;
        let store = until_works(name, alias, async || {
            let ledger = Ledger::new(&config.connector, &config.source.alias);
            PositionStore::open(client.clone(), topic.clone(), partitions, ledger).await
        })
        .await?;
        if store.skipped() > 0 {
            warn!(flow = %name, %topic, "{} records are no positions and were skipped", store.skipped());
        }
        Ok(store)
    }

    /// Positions are written when everything has arrived that they are about, so they count unless they were revoked.
    async fn end_positions(
        &self,
        holders: &[Holder],
        topic: &Arc<str>,
        partitions: i32,
    ) -> Result<(), ClientError> {
        if holders.is_empty() {
            return Ok(());
        }
        let places = (0..partitions).map(|index| TopicPartition::new(topic.clone(), index));
        let end =
            |holder: &Holder, _: &TopicPartition, _| holder.ended.unwrap_or(TransactionEnd::Commit);
        unended::settle(&self.clients.target, &self.name, holders, places, end).await
    }

    /// Whether the target has no topic of positions, so that nothing can be known of any partition.
    pub(super) async fn is_first_start(&self) -> Result<bool, EngineError> {
        let (target, alias) = (&self.clients.target, &self.config.target.alias);
        let look = async || target.refresh(Topics::All, target.view().generation).await;
        let view = until_works(&self.name, alias, look).await?;
        Ok(!view.topics.contains_key(self.config.positions.topic.as_str()))
    }

    pub(super) async fn open_syncs(&self) -> Result<Syncs, EngineError> {
        Ok(match self.syncs() {
            Some(setup) => Syncs::open(setup).await,
            None => Syncs::default(),
        })
    }

    /// Has the target find the coordinator of the flow's transactional ids. Whoever needs it finds out what is wrong.
    pub(super) async fn warm_up(&self) -> Result<(), EngineError> {
        let ids = [producers::transactional_id(&self.config, 0)];
        let asked = self.clients.target.find_coordinators(CoordinatorKind::Transaction, &ids);
        drop(timeout(WARM_UP, asked).await);
        Ok(())
    }

    /// The flow's producer; none if its shards have their own.
    pub(super) async fn start_producer(
        &self,
        has_transactions: bool,
    ) -> Result<Option<FlowProducer>, EngineError> {
        if has_transactions {
            return Ok(None);
        }
        let Self { name, config, clients, .. } = self;
        let id = producers::transactional_id(config, 0);
        let start = async || FlowProducer::start(clients.target.clone(), name, id.clone()).await;
        until_works(name, &config.target.alias, start).await.map(Some)
    }
}
