//! DescribeAcls (29), versions 1-3: SECURITY_DISABLED, as of a broker without an authorizer.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::{DescribeAclsResponse, ResponseKind};

use super::super::{Call, Outcome};
use super::text;

pub(in crate::core) fn handle(call: &Call) -> Outcome {
    let error = call.injected_any().err().unwrap_or(KafkaError::SecurityDisabled);
    let response = DescribeAclsResponse::default()
        .with_error_code(error.code())
        .with_error_message(Some(text("No Authorizer is configured on the broker")));
    Outcome::message(ResponseKind::DescribeAcls(response))
}
