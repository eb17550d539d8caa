//! THE table of control-plane APIs: name and schema of the response (see [`crate::wire::guard`]).
//!
//! Source: Kafka's `clients/src/main/resources/common/message/*Response.json`; a test encodes
//! every response in every version and walks it.

use std::sync::LazyLock;

use kafka_protocol::messages::ApiKey;

#[cfg(test)]
use crate::wire::api::is_flexible;
use crate::wire::api::{Api, ApiId};
use crate::wire::guard::Schema;

macro_rules! api {
    ($name:ident, $request:ident, $response:ident, $schema:literal, $throttle:expr) => {
        impl Api for kafka_protocol::messages::$request {
            const ID: ApiId = ApiId { key: ApiKey::$name as i16, name: stringify!($name) };

            type Response = kafka_protocol::messages::$response;

            fn schema() -> &'static Schema {
                static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::parse($schema));
                &SCHEMA
            }

            fn throttle_time_ms(response: &Self::Response) -> i32 {
                $throttle(response)
            }
        }
    };
}

/// APIs whose answer says for how long the client should hold back.
macro_rules! throttled {
    ($($name:ident: $request:ident, $response:ident, $schema:literal;)*) => {
        $(api!($name, $request, $response, $schema, |response: &Self::Response| {
            response.throttle_time_ms
        });)*

        #[cfg(test)]
        fn check_throttled() {
            $(tests::check::<kafka_protocol::messages::$request>($schema);)*
        }
    };
}

/// APIs that never throttle.
macro_rules! silent {
    ($($name:ident: $request:ident, $response:ident, $schema:literal;)*) => {
        $(api!($name, $request, $response, $schema, |_: &Self::Response| 0);)*

        #[cfg(test)]
        fn check_silent() {
            $(tests::check::<kafka_protocol::messages::$request>($schema);)*
        }
    };
}

silent! {
    SaslHandshake: SaslHandshakeRequest, SaslHandshakeResponse, "h *s";
    SaslAuthenticate: SaslAuthenticateRequest, SaslAuthenticateResponse, "h s y l1+";
}

throttled! {
    ApiVersions: ApiVersionsRequest, ApiVersionsResponse,
        "h [h h h] i1+ <0:[s h h] 1:l 2:[s h h] 3:b>";
    ListOffsets: ListOffsetsRequest, ListOffsetsResponse, "i2+ [s [i h l l i4+]]";
    Metadata: MetadataRequest, MetadataResponse,
        "i3+ [i s i s1+] s2+ i1+ [h s u10+ b1+ [h i i i7+ *i *i *i5+] i8+] i8-10 h13+";
    OffsetCommit: OffsetCommitRequest, OffsetCommitResponse, "i3+ [s [i h]]";
    OffsetFetch: OffsetFetchRequest, OffsetFetchResponse,
        "i3+ [s [i l i5+ s h]]-7 h2-7 [s [s [i l i s h]] h]8+";
    FindCoordinator: FindCoordinatorRequest, FindCoordinatorResponse,
        "i1+ h-3 s1-3 i-3 s-3 i-3 [s i s i h s]4+";
    JoinGroup: JoinGroupRequest, JoinGroupResponse, "i2+ h i s7+ s s b9+ s [s s5+ y]";
    Heartbeat: HeartbeatRequest, HeartbeatResponse, "i1+ h";
    LeaveGroup: LeaveGroupRequest, LeaveGroupResponse, "i1+ h [s s h]3+";
    SyncGroup: SyncGroupRequest, SyncGroupResponse, "i1+ h s5+ s5+ y";
    DescribeGroups: DescribeGroupsRequest, DescribeGroupsResponse,
        "i1+ [h s6+ s s s s [s s4+ s s y y] i3+]";
    ListGroups: ListGroupsRequest, ListGroupsResponse, "i1+ h [s s s4+ s5+]";
    CreateTopics: CreateTopicsRequest, CreateTopicsResponse,
        "i [s u7+ h s i5+ h5+ [s s b b b]5+ <0:h>]";
    DeleteTopics: DeleteTopicsRequest, DeleteTopicsResponse, "i [s u6+ h s5+]";
    DeleteRecords: DeleteRecordsRequest, DeleteRecordsResponse, "i [s [i l h]]";
    InitProducerId: InitProducerIdRequest, InitProducerIdResponse, "i h l h";
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        "i [s [h i i l]]";
    AddPartitionsToTxn: AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
        "i h4+ [s [s [i h]]]4+ [s [i h]]-3";
    AddOffsetsToTxn: AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, "i h";
    EndTxn: EndTxnRequest, EndTxnResponse, "i h l5+ h5+";
    TxnOffsetCommit: TxnOffsetCommitRequest, TxnOffsetCommitResponse, "i [s [i h]]";
    DescribeAcls: DescribeAclsRequest, DescribeAclsResponse, "i h s [b s b [s s b b]]";
    CreateAcls: CreateAclsRequest, CreateAclsResponse, "i [h s]";
    DeleteAcls: DeleteAclsRequest, DeleteAclsResponse, "i [h s [h s b s b s s b b]]";
    DescribeConfigs: DescribeConfigsRequest, DescribeConfigsResponse,
        "i [h s b s [s s b b b [s s b] b3+ s3+]]";
    CreatePartitions: CreatePartitionsRequest, CreatePartitionsResponse, "i [s h s]";
    DeleteGroups: DeleteGroupsRequest, DeleteGroupsResponse, "i [s h]";
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
        "i [h s b s]";
    OffsetDelete: OffsetDeleteRequest, OffsetDeleteResponse, "h i [s [i h]]";
    DescribeClientQuotas: DescribeClientQuotasRequest, DescribeClientQuotasResponse,
        "i h s [[s s] [s d]]";
    AlterClientQuotas: AlterClientQuotasRequest, AlterClientQuotasResponse, "i [h s [s s]]";
    DescribeUserScramCredentials: DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
        "i h s [s h s [b i]]";
    AlterUserScramCredentials: AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
        "i [s h s]";
    DescribeCluster: DescribeClusterRequest, DescribeClusterResponse,
        "i h s b1+ s i [i s i s b2+] i";
    DescribeProducers: DescribeProducersRequest, DescribeProducersResponse,
        "i [s [i h s [l i i l i l]]]";
    DescribeTransactions: DescribeTransactionsRequest, DescribeTransactionsResponse,
        "i [h s s i l l h [s *i]]";
    ListTransactions: ListTransactionsRequest, ListTransactionsResponse, "i h *s [s l s]";
    ConsumerGroupDescribe: ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
        "i [h s s s i i s [s s s i s s *s s ([u s *i]) ([u s *i]) b1+] i]";
    DescribeTopicPartitions: DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
        "i [h s u b [h i i i *i *i *i *i *i] i] ?(s i)";
    DescribeShareGroupOffsets: DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse,
        "i [s [s u [i l i h s]] h s]";
    AlterShareGroupOffsets: AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse,
        "i h s [s u [i h s]]";
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, Bytes, BytesMut};
    use kafka_protocol::protocol::{Decodable, Encodable};

    use crate::wire::guard::testing::sample;

    /// Makes a message by the schema and asks `kafka-protocol` whether it sees the same message:
    /// it must read all of it and write the same bytes again.
    pub(super) fn check<R>(text: &str)
    where
        R: Api,
        R::Response: Encodable,
    {
        for version in R::VERSIONS.min..=R::VERSIONS.max {
            let flexible = is_flexible::<R>(version);
            let what = format!("{} v{version} {text}", R::ID.name);
            let body = sample(R::schema(), version, flexible);
            let mut rest = Bytes::from(body.clone());
            let decoded = R::Response::decode(&mut rest, version);
            let decoded = decoded.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(rest.len(), 0, "{what}: decoder stopped early");
            let mut encoded = BytesMut::new();
            decoded.encode(&mut encoded, version).expect("encodes what it decoded");
            assert_eq!(encoded, body, "{what}: encoder disagrees");
            assert_eq!(R::schema().check(&encoded, version, flexible), Ok(()), "{what}");
            for cut in 0..body.len() {
                let refused = R::schema().check(&body[..cut], version, flexible);
                assert!(refused.is_err(), "{what}: cut at {cut} was accepted");
            }
        }
    }

    #[test]
    fn every_schema_is_the_one_kafka_protocol_decodes() {
        check_throttled();
        check_silent();
    }

    #[test]
    fn default_answers_pass() {
        let mut encoded = BytesMut::new();
        let answer = kafka_protocol::messages::MetadataResponse::default();
        answer.encode(&mut encoded, 12).expect("a default answer encodes");
        let schema = kafka_protocol::messages::MetadataRequest::schema();
        assert_eq!(schema.check(&encoded, 12, true), Ok(()));
        encoded.put_u8(0);
        assert!(schema.check(&encoded, 12, true).is_err());
    }
}
