//! Any bytes as the answer of a broker: decoded or refused, without a reservation that the bytes
//! do not pay for.
#![no_main]

use bytes::Bytes;
use kafka_protocol::messages as m;
use kmirror_fuzz::Input;
use libfuzzer_sys::fuzz_target;
use protocol_client::wire::api::Api;
use protocol_client::wire::fetch::RawFetchAnswer;
use protocol_client::wire::message::decode_body;

fn decode<R: Api>(body: Bytes, version: u8) {
    let (min, max) = (R::VERSIONS.min, R::VERSIONS.max);
    let version = min + i16::from(version) % (max - min + 1);
    let _ = decode_body::<R>(body, version);
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (api, version) = (input.byte(), input.byte());
    let body = Bytes::copy_from_slice(input.0);
    match api % 16 {
        0 => decode::<m::ApiVersionsRequest>(body, version),
        1 => decode::<m::SaslHandshakeRequest>(body, version),
        2 => decode::<m::SaslAuthenticateRequest>(body, version),
        3 => decode::<m::MetadataRequest>(body, version),
        4 => decode::<m::ListOffsetsRequest>(body, version),
        5 => decode::<m::FindCoordinatorRequest>(body, version),
        6 => decode::<m::OffsetFetchRequest>(body, version),
        7 => decode::<m::OffsetCommitRequest>(body, version),
        8 => decode::<m::ListGroupsRequest>(body, version),
        9 => decode::<m::DescribeGroupsRequest>(body, version),
        10 => decode::<m::DescribeConfigsRequest>(body, version),
        11 => decode::<m::CreateTopicsRequest>(body, version),
        12 => decode::<m::DescribeAclsRequest>(body, version),
        13 => decode::<m::InitProducerIdRequest>(body, version),
        _ => {
            let version = 12 + i16::from(version % 7);
            let Ok(answer) = RawFetchAnswer::decode(version, &body) else { return };
            let records: usize = answer.partitions.iter().map(|p| p.records.len()).sum();
            assert!(records <= body.len());
        }
    }
});
