//! ApiVersions (18), versions 0-4: the ranges of the profile.
//!
//! A version above those is answered by the shell, in version 0 with UNSUPPORTED_VERSION (KIP-511).
//! Left out: features are never finalized, so there is no KIP-848 and no transaction version 2.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, ResponseKind};

use super::super::{Broker, Call, Outcome, versions};
use super::code;

pub(in crate::core) fn handle(
    broker: &Broker,
    call: &Call,
    request: &ApiVersionsRequest,
) -> Outcome {
    let software = [&request.client_software_name, &request.client_software_version];
    let legal = |name: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        name.bytes().all(inner) && !name.starts_with(['.', '-']) && !name.ends_with(['.', '-'])
    };
    let named = software.iter().all(|name| !name.is_empty() && legal(name));
    let result = match call.injected_any() {
        Ok(()) if call.version >= 3 && !named => Err(KafkaError::InvalidRequest),
        result => result,
    };
    let keys = versions::advertised(broker.profile()).map(|(api, min, max)| {
        let range = ApiVersion::default().with_api_key(api as i16);
        range.with_min_version(min).with_max_version(max)
    });
    let response = ApiVersionsResponse::default().with_error_code(code(result));
    Outcome::message(ResponseKind::ApiVersions(match result {
        Ok(()) => response.with_api_keys(keys.collect()),
        Err(_) => response,
    }))
}

/// The answer to a version that is too high: the one range that the client needs, in version 0.
pub(crate) fn unsupported(profile: versions::Profile) -> ApiVersionsResponse {
    let (min, max) = versions::accepted(profile, ApiKey::ApiVersions).unwrap_or((0, 0));
    let range = ApiVersion::default().with_api_key(ApiKey::ApiVersions as i16);
    ApiVersionsResponse::default()
        .with_error_code(KafkaError::UnsupportedVersion.code())
        .with_api_keys(vec![range.with_min_version(min).with_max_version(max)])
}
