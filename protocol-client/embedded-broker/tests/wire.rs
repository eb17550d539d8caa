//! The broker over real sockets: every version that it offers is asked once, faults cut what they are meant to cut.

mod requests;

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use embedded_broker::core::versions;
use embedded_broker::{ApiKey, BrokerOptions, Cluster, ClusterOptions, Fault, FaultAction};
use embedded_broker::{Profile, TopicSpec};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::requests::{request, text};

/// A connection that asks one thing at a time.
struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    async fn connect(cluster: &Cluster, node: usize) -> Self {
        let stream = TcpStream::connect(cluster.addresses()[node]).await.expect("listens");
        Self { stream, correlation_id: 0 }
    }

    async fn send(&mut self, api: ApiKey, version: i16, request: &RequestKind) {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(text("test")));
        let mut body = BytesMut::new();
        header.encode(&mut body, api.request_header_version(version)).expect("encodes");
        request.encode(&mut body, version).expect("encodes");
        let mut frame = BytesMut::new();
        frame.put_i32(body.len() as i32);
        frame.put_slice(&body);
        self.stream.write_all(&frame).await.expect("writes");
    }

    async fn receive(&mut self) -> Option<Bytes> {
        let size = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(size).ok()?];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(Bytes::from(frame))
    }

    async fn ask(&mut self, api: ApiKey, version: i16, request: &RequestKind) -> ResponseKind {
        self.send(api, version, request).await;
        let receive = tokio::time::timeout(Duration::from_secs(10), self.receive());
        let answer = receive.await.expect("in time");
        let mut answer = answer.unwrap_or_else(|| panic!("{api:?} {version} closed"));
        let header_version = api.response_header_version(version);
        let header = ResponseHeader::decode(&mut answer, header_version).expect("decodes");
        assert_eq!(header.correlation_id, self.correlation_id);
        let response = ResponseKind::decode(api, &mut answer, version).expect("decodes");
        assert!(!answer.has_remaining(), "{api:?} {version} has bytes left");
        response
    }
}

#[tokio::test]
async fn every_offered_version_of_every_api_is_answered() {
    for profile in [Profile::V2_8, Profile::V3_9, Profile::V4_0, Profile::V4_2] {
        let broker = BrokerOptions { profile, ..BrokerOptions::default() };
        let options = ClusterOptions { broker, ..ClusterOptions::default() };
        let cluster = Cluster::start(options).await.expect("starts");
        let id = cluster.create_topic(TopicSpec::new("t", 3)).expect("new");
        let mut client = Client::connect(&cluster, 0).await;
        for (api, _, _) in versions::advertised(profile) {
            let (min, max) = versions::accepted(profile, api).expect("offered");
            for version in min..=max {
                client.ask(api, version, &request(api, version, id)).await;
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let cluster = Cluster::start(ClusterOptions::nodes(1)).await.expect("starts");
    let mut client = Client::connect(&cluster, 0).await;
    let mut frame = BytesMut::new();
    frame.put_i32(11);
    frame.put_slice(&[0, 18, 0, 99, 0, 0, 0, 5, 0xff, 0xff, 0]);
    client.stream.write_all(&frame).await.expect("writes");
    let mut answer = client.receive().await.expect("answered");
    assert_eq!(answer.get_i32(), 5);
    let answer = ApiVersionsResponse::decode(&mut answer, 0).expect("decodes");
    assert_eq!((answer.error_code, answer.api_keys[0].max_version), (35, 4));
    client.ask(ApiKey::ApiVersions, 0, &RequestKind::ApiVersions(Default::default())).await;
}

#[tokio::test]
async fn bytes_that_are_no_request_close_the_connection() {
    let cluster = Cluster::start(ClusterOptions::nodes(1)).await.expect("starts");
    let absurd_count = [&[0u8, 3, 0, 1, 0, 0, 0, 5, 0xff, 0xff][..], &[0x7f; 4]].concat();
    for body in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 3], &[0xff; 40], &absurd_count] {
        let mut client = Client::connect(&cluster, 0).await;
        let mut frame = BytesMut::new();
        frame.put_i32(body.len() as i32);
        frame.put_slice(body);
        client.stream.write_all(&frame).await.expect("writes");
        assert_eq!(client.receive().await, None);
    }
    let mut client = Client::connect(&cluster, 0).await;
    client.stream.write_all(&i32::MAX.to_be_bytes()).await.expect("writes");
    assert_eq!(client.receive().await, None);
}

#[tokio::test]
async fn faults_and_dead_nodes_reach_the_socket() {
    let cluster = Cluster::start(ClusterOptions::nodes(2)).await.expect("starts");
    let metadata = RequestKind::Metadata(MetadataRequest::default().with_topics(None));
    let fault = |action| cluster.fault(Fault::new(ApiKey::Metadata, action).node(1));

    fault(FaultAction::CutMidFrame);
    let mut client = Client::connect(&cluster, 1).await;
    client.send(ApiKey::Metadata, 9, &metadata).await;
    let mut got = Vec::new();
    client.stream.read_to_end(&mut got).await.expect("closed");
    let announced = i32::from_be_bytes([got[0], got[1], got[2], got[3]]) as usize;
    assert!(got.len() > 4 && got.len() < announced + 4);

    fault(FaultAction::Drop);
    let mut client = Client::connect(&cluster, 1).await;
    client.send(ApiKey::Metadata, 9, &metadata).await;
    assert_eq!(client.receive().await, None);

    fault(FaultAction::Silence);
    let mut client = Client::connect(&cluster, 1).await;
    client.send(ApiKey::Metadata, 9, &metadata).await;
    let silence = tokio::time::timeout(Duration::from_millis(50), client.receive()).await;
    assert!(silence.is_err());

    let mut client = Client::connect(&cluster, 1).await;
    cluster.kill_node(1);
    assert_eq!(client.receive().await, None);
    let mut client = Client::connect(&cluster, 1).await;
    assert_eq!(client.receive().await, None);
    cluster.restart_node(1, false);
    let mut client = Client::connect(&cluster, 1).await;
    client.ask(ApiKey::Metadata, 9, &metadata).await;
}

#[tokio::test]
async fn a_waiting_fetch_is_answered_by_an_append() {
    let cluster = Cluster::start(ClusterOptions::nodes(1)).await.expect("starts");
    let id = cluster.create_topic(TopicSpec::new("t", 1)).expect("new");
    let mut client = Client::connect(&cluster, 0).await;
    let RequestKind::Fetch(fetch) = request(ApiKey::Fetch, 13, id) else { panic!("a fetch") };
    let fetch = RequestKind::Fetch(fetch.with_max_wait_ms(30_000).with_min_bytes(1));
    client.send(ApiKey::Fetch, 13, &fetch).await;
    let early = tokio::time::timeout(Duration::from_millis(30), client.stream.readable()).await;
    assert!(early.is_err(), "nothing to answer yet");
    let mut builder = protocol_client::batch::BatchBuilder::new();
    builder.push(None, Some(b"value"), &[], 0);
    let batch = builder.build().expect("a batch").bytes;
    assert_eq!(cluster.append("t", 0, &batch, false), Some(1));
    let mut answer = client.receive().await.expect("answered");
    ResponseHeader::decode(&mut answer, 1).expect("decodes");
    let answer = FetchResponse::decode(&mut answer, 13).expect("decodes");
    let records = answer.responses[0].partitions[0].records.as_ref().expect("records");
    assert_eq!(records[16..], batch[16..]);
}
