//! From `kmirror.bandwidth.limit` to the limits that flows share.

use std::collections::BTreeMap;

use super::clock::Clock;
use crate::config::{FlowConfig, ProcessConfig};
use crate::flow::bandwidth::{Bandwidth, Limit, Schedule};

/// The limits of clusters, by alias.
#[derive(Debug)]
pub(super) struct ClusterLimits(BTreeMap<String, Limit>);

impl ClusterLimits {
    pub(super) fn new(process: &ProcessConfig, clock: Clock) -> Self {
        let limits = process.cluster_bandwidth.iter();
        Self(limits.map(|(alias, rates)| (alias.clone(), limit(rates, clock))).collect())
    }

    /// The limits that a flow is under: its own, and those of its clusters.
    pub(super) fn of(&self, config: &FlowConfig, clock: Clock) -> Option<Bandwidth> {
        let own = config.bandwidth.as_ref().map(|rates| limit(rates, clock));
        let both = [&config.source, &config.target];
        let shared = both.into_iter().filter_map(|cluster| self.0.get(&cluster.alias).cloned());
        Bandwidth::new(own, shared.collect())
    }
}

fn limit(rates: &Schedule, clock: Clock) -> Limit {
    Limit::new(rates.clone(), clock.wall_start_ms())
}
