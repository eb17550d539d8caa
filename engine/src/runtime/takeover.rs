//! Whether MirrorMaker 2 still does what a flow is about to do.

use protocol_client::ClientError;
use protocol_client::client::{Client, GroupDescription};
use tracing::warn;

use super::tell::refusal;
use crate::config::FlowConfig;
use crate::error::EngineError;

/// The members of the group of Connect workers that replicated until now, at the target; 0 if that is not told.
pub(super) async fn workers(
    flow: &str,
    config: &FlowConfig,
    client: &Client,
) -> Result<usize, ClientError> {
    let (group, cluster) = (&config.worker_group, &config.target.alias);
    let described = client.describe_groups(std::slice::from_ref(group)).await.remove(group);
    match described {
        None => Ok(0),
        Some(Ok(GroupDescription { members, .. })) => Ok(members.len()),
        Some(Err(error)) if error.retryable() => Err(error),
        Some(Err(error)) => {
            let what = refusal(&error, "DESCRIBE", &format!("group {group}"));
            warn!(
                flow,
                "cluster {cluster}: it is not known whether MirrorMaker 2 still runs: {what}"
            );
            Ok(0)
        }
    }
}

/// Two replicators would write everything twice: refuses to start beside `members` workers, or warns if that is
/// `forced`.
pub(super) fn judge(
    flow: &str,
    config: &FlowConfig,
    members: usize,
    forced: bool,
) -> Result<(), EngineError> {
    if members == 0 {
        return Ok(());
    }
    let (group, cluster) = (&config.worker_group, &config.target.alias);
    let count = match members {
        1 => "1 member".to_owned(),
        _ => format!("{members} members"),
    };
    if forced {
        warn!(
            flow,
            "cluster {cluster}: MirrorMaker 2 still runs, group {group} has {count}; started all the same, as --force says"
        );
        return Ok(());
    }
    Err(EngineError::Refused {
        cluster: cluster.clone(),
        what: format!(
            "MirrorMaker 2 still replicates {flow}: its group {group} has {count}; stop it first (killed workers leave after \
             10 s), or start with --force if these are not its workers"
        ),
    })
}
