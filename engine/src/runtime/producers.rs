//! Who writes for a flow: a producer with a transactional id, so that brokers shut out an instance that was replaced.
//!
//! An id, not transactions: records are written without them unless the configuration asks. The coordinator gives each
//! instance the next epoch, and a partition that has seen a later epoch takes nothing of an earlier one
//! (`ProducerAppendInfo`). Partitions see it with the first record, or with the marker of an empty transaction.

use std::time::Duration;

use protocol_client::ClientError;
use protocol_client::client::{Client, ProducerIdentity, ProducerRequest, TransactionEnd};
use protocol_client::cluster::TopicPartition;
use protocol_client::wire::error_code::ErrorCode;
use tokio::time::timeout;
use tracing::warn;

use crate::config::FlowConfig;
use crate::flow::event::Producer;
use crate::records::pair::EndedProducer;

/// How long a coordinator of transactions may take to be found: a cluster that never had one makes a topic for them
/// first, and one that cannot will not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// After how long the target ends an empty transaction that is left alone.
const MARKING_TIMEOUT_MS: i32 = 10_000;

/// The producer of a flow.
#[derive(Debug)]
pub(super) struct FlowProducer {
    client: Client,
    /// None if the target does not let us have it.
    transactional_id: Option<String>,
    identity: ProducerIdentity,
    /// Who it was at first: the epochs behind that are all of this instance.
    began: ProducerIdentity,
}

/// The transactional id of a flow's producer.
pub(super) fn transactional_id(config: &FlowConfig, number: usize) -> String {
    let (source, target) = (&config.source.alias, &config.target.alias);
    format!("kmirror-{}-{source}-{target}-{number}", config.connector)
}

/// Takes over transactional ids from whoever has them, which ends what they have open: committed if that was asked for,
/// else aborted.
///
/// # Errors
/// One of them cannot be had.
pub(super) async fn take_over(
    client: &Client,
    ids: &[String],
    transaction_timeout_ms: i32,
) -> Result<Vec<ProducerIdentity>, ClientError> {
    let mut identities = Vec::with_capacity(ids.len());
    for id in ids {
        let wanted = ProducerRequest { transaction_timeout_ms, ..request(id, None) };
        identities.push(client.init_transactional_producer(wanted).await?);
    }
    Ok(identities)
}

/// After how long the target aborts a transaction of the flow, in milliseconds.
pub(super) fn timeout_ms(config: &FlowConfig) -> i32 {
    let timeout = config.exactly_once.as_ref().map(|one| one.rounds.transaction_timeout);
    let timeout_ms = timeout.map(|timeout| i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
    timeout_ms.unwrap_or(MARKING_TIMEOUT_MS)
}

impl FlowProducer {
    /// Takes over from whoever wrote for the flow before. What cannot be had costs a warning and the protection, not the
    /// flow.
    ///
    /// # Errors
    /// The target gives no producer id at all.
    pub(super) async fn start(
        client: Client,
        flow: &str,
        transactional_id: String,
    ) -> Result<Self, ClientError> {
        let wanted = request(&transactional_id, None);
        let why = match timeout(PATIENCE, client.init_transactional_producer(wanted)).await {
            Ok(Ok(identity)) => {
                let transactional_id = Some(transactional_id);
                return Ok(Self { client, transactional_id, identity, began: identity });
            }
            Ok(Err(error))
                if error.code() == Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED) =>
            {
                format!("{error}; add the ACL `WRITE on TransactionalId {transactional_id}`")
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!(
                "no coordinator within {PATIENCE:?}; look at __transaction_state, \
                 transaction.state.log.replication.factor must not exceed the number of brokers"
            ),
        };
        warn!(
            flow,
            "brokers do not shut out a second instance of this flow, start no other: {why}"
        );
        let identity = client.init_idempotent_producer().await?;
        Ok(Self { client, transactional_id: None, identity, began: identity })
    }

    /// Who it is at present.
    pub(super) fn producer(&self) -> Producer {
        let ProducerIdentity { id, epoch } = self.identity;
        Producer { id, epoch, is_named: self.transactional_id.is_some() }
    }

    /// Whether nothing that was sent under an earlier epoch can still arrive: there was none, or it ended in good order
    /// and this instance began with the next.
    pub(super) fn follows(&self, ended: impl FnOnce(&str) -> Option<EndedProducer>) -> bool {
        let before = self.began.epoch.checked_sub(1).filter(|epoch| *epoch >= 0);
        match (&self.transactional_id, before) {
            (Some(id), Some(epoch)) => {
                ended(id) == Some(EndedProducer { id: self.began.id, epoch })
            }
            // There is nobody, or nothing to shut them out with.
            (None, _) | (_, None) => true,
        }
    }

    /// Goes on under the next epoch, or another id.
    ///
    /// # Errors
    /// [`ErrorCode::is_fenced`] if another instance has taken over.
    pub(super) async fn renew(&mut self) -> Result<Producer, ClientError> {
        self.identity = match &self.transactional_id {
            Some(id) => {
                let wanted = request(id, Some(self.identity));
                self.client.init_transactional_producer(wanted).await?
            }
            None => self.client.init_idempotent_producer().await?,
        };
        Ok(self.producer())
    }

    /// Shuts out earlier epochs from partitions, and finds out whether another instance has taken over. Costs an offset
    /// of each.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn mark(&self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        match &self.transactional_id {
            Some(id) => {
                let end = TransactionEnd::Commit;
                self.client.mark(id, self.identity, partitions, end).await
            }
            None => Ok(()),
        }
    }

    /// What to note when everything that was sent has been answered.
    pub(super) fn ended(&self) -> Option<(String, EndedProducer)> {
        let ProducerIdentity { id, epoch } = self.identity;
        self.transactional_id.clone().map(|name| (name, EndedProducer { id, epoch }))
    }
}

fn request(transactional_id: &str, current: Option<ProducerIdentity>) -> ProducerRequest {
    ProducerRequest {
        transactional_id: transactional_id.to_owned(),
        transaction_timeout_ms: MARKING_TIMEOUT_MS,
        current,
    }
}
