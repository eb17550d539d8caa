//! Names and kinds of topics are those that Kafka's own policies answer.

use std::fs;
use std::path::PathBuf;

use engine::policy::naming::{Naming, PolicyKind};

#[test]
fn answers_are_those_of_kafka() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/naming.txt");
    let text = fs::read_to_string(path).expect("golden file");
    let mut count = 0;
    for line in text.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        let [policy, separator, topic, ..] = fields[..] else { panic!("{line}") };
        let kind = match policy {
            "Identity" => PolicyKind::Identity,
            _ => PolicyKind::Default,
        };
        let naming = Naming::new(kind, "source", "target").with_separator(separator, true);
        let text = |name: Option<&str>| name.unwrap_or("null").to_owned();
        let ours = [
            policy.to_owned(),
            separator.to_owned(),
            topic.to_owned(),
            text(naming.topic_source(topic)),
            text(naming.upstream_topic(topic)),
            naming.original_topic(topic).to_owned(),
            naming.remote_topic(topic),
            naming.is_heartbeats_topic(topic).to_string(),
            naming.is_checkpoints_topic(topic).to_string(),
            naming.is_mm2_internal_topic(topic).to_string(),
            naming.is_internal_topic(topic).to_string(),
            naming.checkpoints_topic(),
            naming.offset_syncs_topic_on_source(),
        ];
        assert_eq!(ours.join("|"), line);
        count += 1;
    }
    assert!(count > 200, "only {count} lines");
}
