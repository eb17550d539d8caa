//! Which node coordinates a group or a transactional id.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::{GroupId, TransactionalId};

use super::groups::Group;
use super::{Broker, Call, NodeId};

impl Broker {
    /// The node for a key: fixed while it runs, otherwise the next one.
    pub(super) fn coordinator(&self, key: &str) -> Option<NodeId> {
        let hash = key
            .bytes()
            .fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let count = self.nodes.len();
        let first = hash as usize % count.max(1);
        let turn = self.nodes.iter().cycle().skip(first).take(count);
        turn.filter(|(_, node)| node.alive).map(|(&id, _)| id).next()
    }

    fn check_coordinator(&self, call: &Call, key: &str) -> Result<(), KafkaError> {
        call.injected_any()?;
        match self.coordinator(key) {
            Some(node) if node == call.node => Ok(()),
            _ => Err(KafkaError::NotCoordinator),
        }
    }

    /// Whether this node coordinates the group.
    pub(super) fn check_group(&self, call: &Call, group: &GroupId) -> Result<(), KafkaError> {
        if group.is_empty() {
            return Err(KafkaError::InvalidGroupId);
        }
        self.check_coordinator(call, group)
    }

    /// Whether this node coordinates the transactional id.
    pub(super) fn check_txn(&self, call: &Call, id: &TransactionalId) -> Result<(), KafkaError> {
        if id.is_empty() {
            return Err(KafkaError::InvalidRequest);
        }
        self.check_coordinator(call, id)
    }

    /// Does something to a group, which is created for it, and wakes whoever waited for that.
    pub(super) fn with_group<R>(
        &mut self,
        id: &GroupId,
        action: impl FnOnce(&mut Group) -> R,
    ) -> R {
        let group = self.groups.entry(id.clone()).or_default();
        let result = action(group);
        let woken = group.take_woken();
        self.woken.extend(woken);
        result
    }

    /// Ends what has run out of time: members, rebalances, transactions.
    pub fn tick(&mut self, now_ms: i64) {
        for group in self.groups.values_mut() {
            group.tick(now_ms);
            self.woken.extend(group.take_woken());
        }
        self.expire_transactions(now_ms);
    }
}
