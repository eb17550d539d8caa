//! What people read in the log about data lanes and partitions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use protocol_client::conn::fetch_session::SessionError;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::{ClientError, Fault};
use tracing::{debug, error, info, warn};

use crate::flow::event::{Happening, LaneId, NodeId, Report};
use crate::model::Side;

/// Something happened to a partition.
pub(super) fn report(flow: &str, report: &Report) {
    let (source, target, what) = (&report.source, &report.target, &report.what);
    match what {
        Happening::Started { .. } => debug!(flow, %source, %target, "{what}"),
        Happening::Recovered => info!(flow, %source, %target, "{what}"),
        // Said of the broker already, once for all its partitions.
        Happening::TargetAway(ErrorCode::NETWORK_EXCEPTION)
        | Happening::SourceAway(ErrorCode::NETWORK_EXCEPTION) => {
            debug!(flow, %source, %target, "{what}");
        }
        Happening::TargetAway(_) | Happening::SourceAway(_) => {
            warn!(flow, %source, %target, "{what}")
        }
        Happening::Gap { .. } | Happening::MayRepeat { .. } | Happening::Failed(_) => {
            error!(flow, %source, %target, "{what}");
        }
    }
}

/// Brokers that people were told about, shared by all lanes of a flow: each trouble is told once.
#[derive(Debug, Clone, Default)]
pub(super) struct Troubles(Arc<Mutex<BTreeSet<(Side, NodeId)>>>);

impl Troubles {
    /// A data connection could not be opened or is lost; it is opened again with backoff.
    pub(super) fn lane_failed(&self, flow: &str, lane: LaneId, error: &ClientError) {
        // A connection that this side closed is no trouble.
        if *error.fault() == Fault::Closed {
            return;
        }
        if self.with(|told| told.insert((lane.side, lane.node))) {
            warn!(
                flow,
                "{} broker {}: {error}; reconnecting until it answers", lane.side, lane.node
            );
        } else {
            debug!(flow, side = %lane.side, node = lane.node, attempt = lane.incarnation, "no connection: {error}");
        }
    }

    /// A broker that answers, but not what was asked for; its connection is closed and opened again with backoff.
    pub(super) fn lane_refused(&self, flow: &str, lane: LaneId, error: &SessionError) {
        if self.with(|told| told.insert((lane.side, lane.node))) {
            warn!(flow, "{} broker {}: {error}; trying again until it works", lane.side, lane.node);
        }
    }

    /// A data connection is ready.
    pub(super) fn lane_up(&self, flow: &str, lane: LaneId) {
        if self.with(|told| told.remove(&(lane.side, lane.node))) {
            info!(flow, "{} broker {} answers again", lane.side, lane.node);
        }
    }

    fn with<R>(&self, action: impl FnOnce(&mut BTreeSet<(Side, NodeId)>) -> R) -> R {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A cluster's metadata could not be had; it is asked for again.
pub(super) fn refresh_failed(flow: &str, side: Side, error: &ClientError) {
    debug!(flow, %side, "metadata could not be refreshed: {error}");
}
