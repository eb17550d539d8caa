//! What people read in the log about data lanes and partitions.

use protocol_client::ClientError;
use tracing::{debug, error, info, warn};

use crate::flow::event::{Happening, LaneId, Report};
use crate::model::Side;

/// Something happened to a partition.
pub(super) fn report(flow: &str, report: &Report) {
    let (source, target, what) = (&report.source, &report.target, &report.what);
    match what {
        Happening::Started { .. } => debug!(flow, %source, %target, "{what}"),
        Happening::Recovered => info!(flow, %source, %target, "{what}"),
        Happening::TargetAway(_) | Happening::SourceAway(_) => {
            warn!(flow, %source, %target, "{what}")
        }
        Happening::Gap { .. } | Happening::MayRepeat { .. } | Happening::Failed(_) => {
            error!(flow, %source, %target, "{what}");
        }
    }
}

/// A data connection could not be opened or is lost; it is opened again with backoff.
pub(super) fn lane_failed(flow: &str, lane: LaneId, error: &ClientError) {
    debug!(flow, side = %lane.side, node = lane.node, attempt = lane.incarnation, "connection lost: {error}");
}

/// A cluster's metadata could not be had; it is asked for again.
pub(super) fn refresh_failed(flow: &str, side: Side, error: &ClientError) {
    debug!(flow, %side, "metadata could not be refreshed: {error}");
}
