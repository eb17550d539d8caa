//! The topics that hold the state of replication: found, or created where they are missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol_client::ClientError;
use protocol_client::client::{Client, NewTopic};
use protocol_client::cluster::metadata::Topics as Asked;
use protocol_client::wire::error_code::ErrorCode;

/// How often the cluster is asked again until it shows what was just created.
const LOOKS: u32 = 40;
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Creates a compacted topic if it is not there; answers how many partitions it has. -1 as the number of partitions or as
/// the replication factor leaves it to the broker, and `cleanup.policy` is `compact` whatever `configs` says.
pub(super) async fn ensure_internal_topic(
    client: &Client,
    name: &str,
    partitions: i32,
    replication_factor: i16,
    configs: &BTreeMap<String, String>,
) -> Result<i32, ClientError> {
    let name: Arc<str> = name.into();
    for _ in 0..LOOKS {
        let view = client.refresh(Asked::All, client.view().generation).await?;
        let there = view.topics.get(&name).filter(|topic| topic.error == ErrorCode::NONE);
        if let Some(count) = there.map(|topic| topic.partitions.len()).filter(|count| *count > 0) {
            return Ok(i32::try_from(count).unwrap_or(i32::MAX));
        }
        let mut configs = configs.clone();
        configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
        let topic = NewTopic {
            name: name.clone(),
            partitions: Some(partitions).filter(|count| *count > 0),
            replication_factor: Some(replication_factor).filter(|factor| *factor > 0),
            configs,
        };
        for (_, created) in client.create_topics(&[topic], false).await {
            match created {
                Err(error) if error.code() != Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Err(ClientError::unknown(format!("topic {name}, although it was created")))
}
