//! Names of the topics that MirrorMaker 2 keeps its own state in (`MirrorConnectorConfig`,
//! `MirrorMakerConfig`).

/// The heartbeats topic; no policy renames it where it is written.
pub const HEARTBEATS: &str = "heartbeats";

/// Where Connect keeps the source offsets of the flows that read `source`; lies on the target.
pub fn offsets_topic(source: &str) -> String {
    format!("mm2-offsets.{source}.internal")
}

/// The group id of the Connect workers of the flows that read `source`; a group of the target.
pub fn worker_group(source: &str) -> String {
    format!("{source}-mm2")
}

/// The offset-syncs topic that names `other`: the cluster of the flow that it is not on.
pub fn offset_syncs_topic(other: &str, separator: &str) -> String {
    format!("mm2-offset-syncs{separator}{other}{separator}internal")
}

/// The checkpoints topic of the flows that read `source`; lies on the target.
pub fn checkpoints_topic(source: &str, separator: &str) -> String {
    format!("{source}{}", checkpoints_suffix(separator))
}

/// How the names of checkpoints topics end.
pub(super) fn checkpoints_suffix(separator: &str) -> String {
    format!("{separator}checkpoints{separator}internal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_default_separator() {
        assert_eq!(offsets_topic("A"), "mm2-offsets.A.internal");
        assert_eq!(worker_group("A"), "A-mm2");
        assert_eq!(offset_syncs_topic("B", "."), "mm2-offset-syncs.B.internal");
        assert_eq!(checkpoints_topic("A", "."), "A.checkpoints.internal");
        assert_eq!(offset_syncs_topic("B", "_"), "mm2-offset-syncs_B_internal");
        assert_eq!(checkpoints_topic("A", "_"), "A_checkpoints_internal");
    }
}
