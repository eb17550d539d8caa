//! A connection against peers that answer well, badly, late or not at all.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{
    ApiVersionsResponse, FetchResponse, MetadataRequest, MetadataResponse,
};
use kafka_protocol::protocol::Encodable;
use protocol_client::net::{BrokerAddress, Connection, ConnectionOptions};
use protocol_client::wire::fetch::{FetchPartition, FetchTopic, RawFetch};
use protocol_client::wire::produce::{ProducePartition, RawProduce};
use protocol_client::{Actor, ClientError, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

const FETCH: i16 = 1;
const METADATA: i16 = 3;

/// Offers Produce up to 12, Fetch up to 17, Metadata up to 12 and ApiVersions up to 3.
fn versions(error: i16, version: i16) -> Bytes {
    let api = |key: i16, min, max| {
        ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
    };
    let apis = vec![api(0, 3, 12), api(FETCH, 4, 17), api(METADATA, 0, 12), api(18, 0, 3)];
    let answer = ApiVersionsResponse::default().with_api_keys(apis).with_error_code(error);
    let mut body = BytesMut::new();
    answer.encode(&mut body, version).expect("encodes");
    body.freeze()
}

struct Peer(TcpStream);

struct Asked {
    key: i16,
    version: i16,
    id: i32,
    frame: Vec<u8>,
}

impl Peer {
    async fn read(&mut self) -> Asked {
        let size = self.0.read_i32().await.expect("a request");
        let mut frame = vec![0; size as usize];
        self.0.read_exact(&mut frame).await.expect("a whole request");
        let short = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
        let id = i32::from_be_bytes(frame[4..8].try_into().expect("4 bytes"));
        Asked { key: short(0), version: short(2), id, frame }
    }

    async fn write(&mut self, id: i32, tagged: bool, body: &[u8]) {
        let mut frame = BytesMut::new();
        frame.put_i32((4 + usize::from(tagged) + body.len()) as i32);
        frame.put_i32(id);
        frame.put_bytes(0, usize::from(tagged));
        frame.put_slice(body);
        self.0.write_all(&frame).await.expect("the client reads");
    }

    /// Refuses version 4 as an older broker does, then answers in version 3.
    async fn shake_hands(&mut self) {
        let first = self.read().await;
        assert_eq!((first.key, first.version), (18, 4));
        self.write(first.id, false, &versions(35, 0)).await;
        let second = self.read().await;
        assert_eq!((second.key, second.version), (18, 3));
        self.write(second.id, false, &versions(0, 3)).await;
    }

    async fn answer_metadata(&mut self, throttle_ms: i32) {
        let asked = self.read().await;
        assert_eq!((asked.key, asked.version), (METADATA, 12));
        let mut body = BytesMut::new();
        let answer = MetadataResponse::default()
            .with_controller_id(asked.id.into())
            .with_throttle_time_ms(throttle_ms);
        answer.encode(&mut body, 12).expect("encodes");
        self.write(asked.id, true, &body).await;
    }
}

fn options() -> ConnectionOptions {
    ConnectionOptions {
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(5),
        ..ConnectionOptions::default()
    }
}

async fn listen<F, Fut>(peer: F) -> BrokerAddress
where
    F: FnOnce(Peer) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("the client connects");
        peer(Peer(stream)).await;
    });
    BrokerAddress { host: "127.0.0.1".to_owned(), port }
}

async fn connect<F, Fut>(options: ConnectionOptions, peer: F) -> Result<Connection, ClientError>
where
    F: FnOnce(Peer) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let address = listen(peer).await;
    Connection::open(&address, &Arc::new(options)).await
}

async fn connect_shaken<F, Fut>(options: ConnectionOptions, peer: F) -> Connection
where
    F: FnOnce(Peer) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let opened = connect(options, |mut stream| async move {
        stream.shake_hands().await;
        peer(stream).await;
    });
    opened.await.expect("a good handshake")
}

fn fetch() -> RawFetch {
    let partition = FetchPartition {
        index: 0,
        offset: 0,
        leader_epoch: -1,
        last_fetched_epoch: -1,
        max_bytes: 1 << 20,
    };
    let topic = FetchTopic { name: Arc::from("t"), id: Uuid::nil(), partitions: vec![partition] };
    RawFetch { max_bytes: 1 << 20, topics: vec![topic], ..RawFetch::default() }
}

#[tokio::test]
async fn answers_come_back_in_order_and_the_end_is_told() {
    let connection = connect_shaken(options(), |mut peer| async move {
        for _ in 0..3 {
            peer.answer_metadata(0).await;
        }
    })
    .await;
    let calls = (0..3).map(|_| connection.call(MetadataRequest::default()));
    let answers = futures_of(calls).await;
    let ids: Vec<i32> =
        answers.into_iter().map(|answer| answer.expect("answered").controller_id.0).collect();
    assert_eq!(ids, [0, 1, 2]);
    let reason = connection.closed().await;
    assert!(matches!(reason.fault(), Fault::Disconnected { .. }), "{reason}");
    assert!(connection.is_closed());
    let late = connection.call(MetadataRequest::default()).await.expect_err("closed");
    assert!(late.retryable());
    assert_eq!(late.broker(), Some(&**connection.broker()));
}

async fn futures_of<T>(calls: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut calls: Vec<_> = calls.map(Box::pin).collect();
    // Each call enqueues at its first poll, so polling in turn fixes the order on the wire.
    let mut answers: Vec<Option<T>> = calls.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (call, answer) in calls.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let std::task::Poll::Ready(ready) = call.as_mut().poll(cx)
            {
                *answer = Some(ready);
            }
        }
        if answers.iter().all(Option::is_some) {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
    answers.into_iter().flatten().collect()
}

#[tokio::test]
async fn large_answers_are_slices_of_one_pooled_frame() {
    let options = options();
    let pool = options.frame_pool.clone();
    let connection = connect_shaken(options, |mut peer| async move {
        let asked = peer.read().await;
        assert_eq!((asked.key, asked.version), (FETCH, 12));
        let records = |index: u8| {
            PartitionData::default()
                .with_partition_index(index.into())
                .with_records(Some(Bytes::from(vec![index; 300_000])))
        };
        let mut topic = FetchableTopicResponse::default();
        topic.topic.0 = kafka_protocol::protocol::StrBytes::from_static_str("t");
        let topic = topic.with_partitions(vec![records(0), records(1)]);
        let mut body = BytesMut::new();
        let answer = FetchResponse::default().with_responses(vec![topic]);
        answer.encode(&mut body, 12).expect("encodes");
        tokio::time::sleep(Duration::from_millis(20)).await;
        peer.write(asked.id, true, &body).await;
    })
    .await;
    let answer = connection.start_fetch(&fetch()).await.expect("answered");
    assert!(answer.waited.is_some_and(|waited| waited >= Duration::from_millis(15)));
    assert_eq!(answer.partitions[1].records, vec![1; 300_000]);
    assert!(pool.lent_bytes() >= answer.frame_bytes);
    let kept = answer.partitions[1].records.slice(10..20);
    drop(answer);
    assert!(pool.lent_bytes() > 0, "a slice holds the frame");
    drop(kept);
    assert_eq!(pool.lent_bytes(), 0);
    assert!(pool.kept_bytes() > 0);
}

#[tokio::test]
async fn payloads_arrive_whole() {
    let (told, heard) = tokio::sync::oneshot::channel();
    let connection = connect_shaken(options(), |mut peer| async move {
        told.send(peer.read().await.frame).expect("the test waits");
    })
    .await;
    let payload = Bytes::from((0..2_000_000u32).map(|at| at as u8).collect::<Vec<u8>>());
    let partition = |index| ProducePartition {
        topic: Arc::from("t"),
        topic_id: Uuid::nil(),
        index,
        header: [9; 61],
        payload: payload.clone(),
    };
    let partitions = vec![partition(0), partition(1)];
    let request = RawProduce { timeout_ms: 1000, partitions, ..RawProduce::default() };
    let pending = connection.start_produce(&request);
    let frame = heard.await.expect("a request");
    assert!(frame.len() > 4_000_000);
    let found = frame
        .windows(61 + 1000)
        .filter(|window| window[..61] == [9; 61] && window[61..] == payload[..1000]);
    assert_eq!(found.count(), 2);
    let lost = pending.await.expect_err("the peer hung up");
    assert_eq!((lost.actor(), lost.api()), (Actor::Network, Some("Produce")));
}

#[tokio::test]
async fn silence_ends_in_a_timeout_that_reaches_every_waiter() {
    let options = ConnectionOptions { request_timeout: Duration::from_millis(50), ..options() };
    let connection = connect_shaken(options, |mut peer| async move {
        peer.read().await;
        std::future::pending().await
    })
    .await;
    let first = connection.start_fetch(&fetch());
    let second = connection.start_fetch(&fetch());
    let error = first.await.expect_err("silence");
    assert!(matches!(error.fault(), Fault::Timeout { .. }), "{error}");
    assert_eq!(error.api(), Some("Fetch"));
    assert_eq!(second.await.expect_err("poisoned"), error);
    assert_eq!(connection.closed().await, error);
}

#[tokio::test]
async fn damaged_answers_end_the_connection() {
    type Reply = fn(i32) -> Vec<u8>;
    let cases: [(&str, Reply); 6] = [
        ("cut off at byte", |id| frame(id, &[0, 0, 0])),
        ("items claimed", |id| frame(id, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("correlation id", |id| frame(id + 1, &[0; 20])),
        ("at most 134217728 are accepted", |_| i32::MAX.to_be_bytes().to_vec()),
        ("negative size", |_| vec![0xff; 8]),
        ("inside an answer", |id| frame(id, &[0; 20])[..10].to_vec()),
    ];
    for (expected, reply) in cases {
        let connection = connect_shaken(options(), move |mut peer| async move {
            let asked = peer.read().await;
            peer.0.write_all(&reply(asked.id)).await.expect("the client reads");
        })
        .await;
        let error = connection.call(MetadataRequest::default()).await.expect_err(expected);
        assert!(error.to_string().contains(expected), "{error} instead of {expected}");
        connection.closed().await;
    }
}

fn frame(id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = (5 + body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(&id.to_be_bytes());
    frame.push(0);
    frame.extend_from_slice(body);
    frame
}

#[tokio::test]
async fn hostile_handshakes_are_refused() {
    let huge = connect(options(), |mut peer| async move {
        peer.read().await;
        peer.0.write_all(&(2i32 << 20).to_be_bytes()).await.expect("the client reads");
        std::future::pending().await
    });
    let error = huge.await.expect_err("too large before the handshake is over");
    assert!(error.to_string().contains("at most 1048576"), "{error}");

    let count = connect(options(), |mut peer| async move {
        let asked = peer.read().await;
        peer.write(asked.id, false, &[0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]).await;
    });
    assert_eq!(count.await.expect_err("2^31 APIs").actor(), Actor::Peer);

    let http = connect(options(), |mut peer| async move {
        peer.read().await;
        peer.0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("the client reads");
    });
    assert_eq!(http.await.expect_err("not Kafka").actor(), Actor::Peer);

    let silent = ConnectionOptions { connect_timeout: Duration::from_millis(50), ..options() };
    let silent = connect(silent, |_peer| std::future::pending());
    let error = silent.await.expect_err("silence");
    assert!(error.retryable(), "{error}");
}

#[tokio::test]
async fn a_refused_connection_names_the_broker() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let address = BrokerAddress { host: "127.0.0.1".to_owned(), port };
    let error = Connection::open(&address, &Arc::new(options())).await.expect_err("nobody listens");
    assert_eq!(error.broker(), Some(&*format!("127.0.0.1:{port}")));
    assert!(matches!(error.fault(), Fault::Connect { .. }), "{error}");
}

#[tokio::test]
async fn throttling_is_obeyed() {
    let connection = connect_shaken(options(), |mut peer| async move {
        peer.answer_metadata(80).await;
        peer.answer_metadata(0).await;
    })
    .await;
    let started = tokio::time::Instant::now();
    connection.call(MetadataRequest::default()).await.expect("answered");
    connection.call(MetadataRequest::default()).await.expect("answered");
    assert!(started.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn closing_fails_whoever_waits_and_a_full_queue_says_so() {
    let options = ConnectionOptions { max_in_flight: 1, max_queued: 1, ..options() };
    let connection = connect_shaken(options, |mut peer| async move {
        peer.read().await;
        std::future::pending().await
    })
    .await;
    let first = connection.start_fetch(&fetch());
    tokio::task::yield_now().await;
    let second = connection.start_fetch(&fetch());
    let third = connection.start_fetch(&fetch());
    let full = third.await.expect_err("no room");
    assert_eq!(full.fault(), &Fault::QueueFull { limit: 1 });
    connection.close();
    for waiting in [first, second] {
        assert_eq!(waiting.await.expect_err("closed").fault(), &Fault::Closed);
    }
}

#[tokio::test]
async fn unfit_requests_fail_before_they_are_sent() {
    let connection = connect_shaken(options(), |_peer| std::future::pending()).await;
    let mut twice = fetch();
    twice.topics.push(twice.topics[0].clone());
    let error = connection.start_fetch(&twice).await.expect_err("named twice");
    assert_eq!((error.actor(), error.api()), (Actor::Caller, Some("Fetch")));
    let gap = connection
        .call(kafka_protocol::messages::DescribeClusterRequest::default())
        .await
        .expect_err("not offered");
    assert_eq!(gap.actor(), Actor::Operator);
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_connection_after_the_last_answer() {
    let (told, heard) = tokio::sync::oneshot::channel();
    let connection = connect_shaken(options(), |mut peer| async move {
        peer.answer_metadata(0).await;
        told.send(peer.0.read_u8().await.is_err()).expect("the test waits");
    })
    .await;
    let call = tokio::spawn({
        let connection = connection.clone();
        async move { connection.call(MetadataRequest::default()).await }
    });
    drop(connection);
    assert!(call.await.expect("no panic").is_ok());
    assert!(heard.await.expect("the peer tells"), "the stream was closed");
}
