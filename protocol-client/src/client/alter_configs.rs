//! IncrementalAlterConfigs, versions 0-1 (KIP-339): changes only what it names. Brokers without it
//! are older than 2.3 and get a capability gap; AlterConfigs would reset what it does not name.

use std::collections::BTreeMap;

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};

use super::Client;
use super::convert::text;
use super::describe_configs::{ConfigResource, by_owner};
use super::routing::{Outcome, Outcomes, each_of, outcome};
use crate::error::ClientError;

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// The setting.
    pub name: String,
    /// What to do with it.
    pub operation: ConfigOperation,
}

/// What to do with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigOperation {
    /// Give it this value.
    Set(String),
    /// Go back to the default.
    Delete,
    /// Add this value to a list.
    Append(String),
    /// Take this value out of a list.
    Subtract(String),
}

impl Client {
    /// Changes settings, or with `validate_only` checks whether they could be changed.
    pub async fn alter_configs(
        &self,
        changes: &BTreeMap<ConfigResource, Vec<ConfigChange>>,
        validate_only: bool,
    ) -> BTreeMap<ConfigResource, Result<(), ClientError>> {
        let mut attempts = self.attempts(changes.keys().cloned().collect());
        while let Some(pending) = attempts.next().await {
            let mut outcomes = Outcomes::new();
            for (owner, share) in by_owner(&pending) {
                let wanted = share.iter().map(|resource| {
                    let (kind, name) = resource.to_wire();
                    AlterConfigsResource::default()
                        .with_resource_type(kind)
                        .with_resource_name(text(&name))
                        .with_configs(changes[resource].iter().map(alterable).collect())
                });
                let request = IncrementalAlterConfigsRequest::default()
                    .with_resources(wanted.collect())
                    .with_validate_only(validate_only);
                outcomes.extend(each_of(&share, self.alter_configs_once(owner, request).await));
            }
            attempts.settle(pending, Ok(outcomes));
        }
        attempts.finish()
    }

    async fn alter_configs_once(
        &self,
        owner: Option<i32>,
        request: IncrementalAlterConfigsRequest,
    ) -> Outcome<Outcomes<ConfigResource, ()>> {
        let connection = self.config_owner(owner).await?;
        let answer = connection.call(request).await?;
        let altered = answer.responses.iter().filter_map(|one| {
            let resource = ConfigResource::from_wire(one.resource_type, &one.resource_name)?;
            let (code, message) = (one.error_code, one.error_message.as_deref());
            let result =
                outcome::<IncrementalAlterConfigsRequest, _>(&connection, code, message, ());
            Some((resource, result))
        });
        Ok(altered.collect())
    }
}

fn alterable(change: &ConfigChange) -> AlterableConfig {
    let (number, value) = match &change.operation {
        ConfigOperation::Set(value) => (0, Some(text(value))),
        ConfigOperation::Delete => (1, None),
        ConfigOperation::Append(value) => (2, Some(text(value))),
        ConfigOperation::Subtract(value) => (3, Some(text(value))),
    };
    AlterableConfig::default()
        .with_name(text(&change.name))
        .with_config_operation(number)
        .with_value(value)
}
