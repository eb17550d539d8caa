//! Which versions of which API are spoken with one broker.

use std::collections::BTreeMap;
use std::fmt;

use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, VersionRange};

use crate::wire::guard::Schema;

/// An API of the control plane: a request and response of `kafka-protocol` together with the
/// schema that guards the response. [`crate::wire::schemas`] lists all that exist.
pub trait Api: Message + Encodable + HeaderVersion + Send {
    /// Key and name.
    const ID: ApiId;

    /// What the broker answers with.
    type Response: Message + Decodable + HeaderVersion + Send + 'static;

    /// What the bytes of the response must look like before they are decoded.
    fn schema() -> &'static Schema;

    /// For how long the broker wants no further request on the connection (KIP-219), in
    /// milliseconds.
    fn throttle_time_ms(response: &Self::Response) -> i32;
}

/// Whether this version of an API uses compact lengths and tagged fields (KIP-482). Asked of the
/// request, because the response header of ApiVersions stays at version 0 for ever.
pub fn is_flexible<R: Api>(version: i16) -> bool {
    R::header_version(version) >= 2
}

/// An API's key on the wire, with its name for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiId {
    /// The key.
    pub key: i16,
    /// The name, as in Kafka's protocol guide.
    pub name: &'static str,
}

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionSpan {
    /// The oldest version.
    pub min: i16,
    /// The newest version.
    pub max: i16,
}

impl VersionSpan {
    /// The newest version in both ranges.
    pub fn best(self, other: Self) -> Option<i16> {
        let max = self.max.min(other.max);
        (max >= self.min.max(other.min)).then_some(max)
    }
}

impl From<VersionRange> for VersionSpan {
    fn from(range: VersionRange) -> Self {
        Self { min: range.min, max: range.max }
    }
}

impl fmt::Display for VersionSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

/// The broker and this client have no version of an API in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the broker offers {}, this client speaks {spoken}; {}",
    offered.map_or_else(|| format!("no {api}"), |span| format!("{api} in versions {span}")),
    match offered {
        Some(_) => "use a broker between 2.8 and 4.x",
        None => "name a broker's client listener, not a controller's, of Kafka 2.8 or later",
    }
)]
pub struct Gap {
    /// The API's name.
    pub api: &'static str,
    /// What the broker offers, if it knows the API.
    pub offered: Option<VersionSpan>,
    /// What this client speaks.
    pub spoken: VersionSpan,
}

/// What one broker said it can do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    apis: BTreeMap<i16, VersionSpan>,
    features: BTreeMap<String, i16>,
}

impl Capabilities {
    /// Reads the broker's answer to ApiVersions. Finalized features count only if their epoch is
    /// not negative (KIP-584).
    pub fn new(answer: &ApiVersionsResponse) -> Self {
        let span = |min, max| VersionSpan { min, max };
        let apis = answer.api_keys.iter();
        let finalized = answer.finalized_features.iter();
        Self {
            apis: apis.map(|api| (api.api_key, span(api.min_version, api.max_version))).collect(),
            features: finalized
                .filter(|_| answer.finalized_features_epoch >= 0)
                .map(|feature| (feature.name.to_string(), feature.max_version_level))
                .collect(),
        }
    }

    /// The versions the broker offers of the API with this key.
    pub fn offered(&self, key: i16) -> Option<VersionSpan> {
        self.apis.get(&key).copied()
    }

    /// The level of a feature the whole cluster agreed on, such as `transaction.version`.
    pub fn feature(&self, name: &str) -> Option<i16> {
        self.features.get(name).copied()
    }

    /// The newest version of `R` that both sides speak.
    pub fn version<R: Api>(&self) -> Result<i16, Gap> {
        // `ApiKey::valid_versions` also lists versions that the request cannot be encoded in.
        self.version_of(R::ID, <R as Message>::VERSIONS.into())
    }

    /// The newest version of `api` in `spoken` that the broker offers.
    pub fn version_of(&self, api: ApiId, spoken: VersionSpan) -> Result<i16, Gap> {
        let offered = self.offered(api.key);
        offered.and_then(|offered| offered.best(spoken)).ok_or(Gap {
            api: api.name,
            offered,
            spoken,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::{InitProducerIdRequest, MetadataRequest};

    fn offering(key: i16, min: i16, max: i16) -> Capabilities {
        let api = ApiVersion::default().with_api_key(key).with_min_version(min);
        let api = api.with_max_version(max);
        Capabilities::new(&ApiVersionsResponse::default().with_api_keys(vec![api]))
    }

    #[test]
    fn the_newest_common_version_wins() {
        assert_eq!(offering(3, 0, 11).version::<MetadataRequest>(), Ok(11));
        assert_eq!(offering(3, 0, 99).version::<MetadataRequest>(), Ok(13));
    }

    #[test]
    fn versions_that_only_the_response_knows_are_not_used() {
        assert_eq!(offering(22, 0, 6).version::<InitProducerIdRequest>(), Ok(5));
    }

    #[test]
    fn a_gap_names_both_ranges() {
        let gap = offering(3, 20, 21).version::<MetadataRequest>().expect_err("nothing common");
        let text = gap.to_string();
        assert!(text.contains("Metadata in versions 20-21"), "{text}");
        assert!(text.contains("speaks 0-13"), "{text}");
        let gap = offering(18, 0, 4).version::<MetadataRequest>().expect_err("not offered");
        assert!(gap.to_string().contains("no Metadata"));
    }
}
