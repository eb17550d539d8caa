//! The wire client against the embedded broker, as the oldest and the newest release it passes for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use embedded_broker::{
    ApiKey, Cluster, ClusterOptions, Fault, FaultAction, KafkaError, Profile, TopicSpec,
};
use protocol_client::batch::{
    BatchBuilder, BatchHeader, ProducerStamp, patch, patch_in_transaction,
};
use protocol_client::client::{
    Client, ClientOptions, ConfigChange, ConfigOperation, ConfigResource, ConfigSource,
    EpochQuestion, NewTopic, OffsetSpec, OffsetToCommit, ProducerIdentity, ProducerRequest,
    ReadLimits, TransactionEnd,
};
use protocol_client::cluster::metadata::Topics;
use protocol_client::cluster::{Backoff, TopicPartition};
use protocol_client::conn::fetch_session::{FetchLimits, FetchSession, SessionTopic, Want};
use protocol_client::net::{Connection, ConnectionOptions};
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::Isolation;
use protocol_client::{Actor, ClientError};

const PROFILES: [Profile; 3] = [Profile::V2_8, Profile::V3_9, Profile::V4_2];

async fn cluster(nodes: usize, profile: Profile) -> Cluster {
    let mut options = ClusterOptions::nodes(nodes);
    options.broker.profile = profile;
    Cluster::start(options).await.expect("free ports")
}

fn client(cluster: &Cluster) -> Client {
    let bootstrap = cluster.bootstrap();
    Client::new(ClientOptions {
        bootstrap: bootstrap.split(',').map(|one| one.parse().expect("an address")).collect(),
        connection: ConnectionOptions {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            ..ConnectionOptions::default()
        },
        backoff: Backoff { initial: Duration::from_millis(5), max: Duration::from_millis(50) },
        call_timeout: Duration::from_secs(10),
        unknown_topic_timeout: Duration::from_millis(30),
        ..ClientOptions::default()
    })
}

async fn for_each_profile<Fut: Future<Output = ()>>(test: impl Fn(Cluster, Client) -> Fut) {
    for profile in PROFILES {
        let cluster = cluster(3, profile).await;
        let client = client(&cluster);
        test(cluster, client).await;
    }
}

fn place(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn one<K: Ord, T>(outcomes: BTreeMap<K, Result<T, ClientError>>) -> Result<T, ClientError> {
    assert_eq!(outcomes.len(), 1);
    outcomes.into_values().next().expect("one outcome")
}

/// A batch of `records` records, as its header and its payload.
fn batch(records: usize) -> ([u8; 61], bytes::Bytes) {
    let mut builder = BatchBuilder::new();
    for at in 0..records {
        builder.push(Some(b"key"), Some(format!("value {at}").as_bytes()), &[], 1_000 + at as i64);
    }
    let built = builder.build().expect("a batch");
    let whole = built.bytes;
    (whole[..61].try_into().expect("a header"), whole.slice(61..))
}

async fn produce(client: &Client, partition: &TopicPartition, records: usize) -> i64 {
    let (header, payload) = batch(records);
    client.produce(partition, header, payload).await.expect("appended").base_offset
}

async fn read_offsets(client: &Client, partition: TopicPartition, from: i64) -> Vec<i64> {
    let mut reader = client.read(partition, from, ReadLimits::default()).await.expect("readable");
    let mut offsets = Vec::new();
    while let Some(chunk) = reader.next_chunk().await.expect("read") {
        offsets.extend(chunk.entries.iter().map(|entry| entry.base_offset()));
    }
    assert_eq!(reader.position(), reader.end());
    offsets
}

#[tokio::test]
async fn topics_are_created_grown_configured_and_deleted() {
    for_each_profile(async |_cluster, client| {
        let name: Arc<str> = Arc::from("orders");
        let topic = NewTopic {
            name: Arc::clone(&name),
            partitions: Some(2),
            replication_factor: Some(1),
            configs: [("retention.ms".to_owned(), "1234".to_owned())].into(),
        };
        let topics = [topic];
        one(client.create_topics(&topics, true).await).expect("could be created");
        assert!(client.all_topics().await.expect("metadata").topics.is_empty());
        one(client.create_topics(&topics, false).await).expect("created");
        let again = one(client.create_topics(&topics, false).await).expect_err("exists");
        assert_eq!(again.code(), Some(ErrorCode::TOPIC_ALREADY_EXISTS));

        let totals = [(Arc::clone(&name), 4)].into();
        one(client.create_partitions(&totals).await).expect("grown");
        let generation = client.view().generation;
        let view = client.refresh(Topics::All, generation).await.expect("metadata");
        assert_eq!(view.topics[&name].partitions.len(), 4);
        assert!(view.cluster_id.is_some());
        assert_eq!(view.nodes.len(), 3);

        let resource = ConfigResource::Topic("orders".to_owned());
        let set = ConfigOperation::Set("compact".to_owned());
        let change = ConfigChange { name: "cleanup.policy".to_owned(), operation: set };
        let changes = [(resource.clone(), vec![change])].into();
        one(client.alter_configs(&changes, false).await).expect("altered");
        let configs = one(client.describe_configs(&[resource], None).await).expect("described");
        assert_eq!(configs["cleanup.policy"].value.as_deref(), Some("compact"));
        assert_eq!(configs["retention.ms"].value.as_deref(), Some("1234"));
        assert_eq!(configs["retention.ms"].source, ConfigSource::DynamicTopic);

        one(client.delete_topics(&[Arc::clone(&name)]).await).expect("deleted");
        let generation = client.view().generation;
        let named = Topics::Named([Arc::clone(&name)].into());
        let view = client.refresh(named, generation).await.expect("metadata");
        assert_eq!(view.topics[&name].error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    })
    .await;
}

#[tokio::test]
async fn what_is_produced_can_be_read_and_asked_about() {
    for_each_profile(async |cluster, client| {
        cluster.create_topic(TopicSpec::new("t", 3).replicas(3)).expect("a new topic");
        let partition = place("t", 1);
        assert_eq!(produce(&client, &partition, 3).await, 0);
        assert_eq!(produce(&client, &partition, 2).await, 3);
        assert_eq!(read_offsets(&client, partition.clone(), 0).await, [0, 3]);
        assert_eq!(read_offsets(&client, partition.clone(), 4).await, [3]);
        assert_eq!(read_offsets(&client, place("t", 0), 0).await, [0; 0]);

        let isolation = Isolation::ReadCommitted;
        let specs =
            [(partition.clone(), OffsetSpec::Latest), (place("t", 2), OffsetSpec::Earliest)];
        let listed = client.list_offsets(specs.into(), isolation).await;
        assert_eq!(listed[&partition].as_ref().expect("listed").offset, 5);
        assert_eq!(listed[&place("t", 2)].as_ref().expect("listed").offset, 0);
        let at = OffsetSpec::Timestamp(1_001);
        let listed = one(client.list_offsets_of([partition.clone()], at, isolation).await);
        assert_eq!(listed.expect("listed").offset, 1);
        let unknown = one(client.list_offsets_of([place("t", 9)], at, isolation).await);
        let code = unknown.expect_err("no such partition").code();
        assert_eq!(code, Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));

        let question = EpochQuestion { epoch: 0, current_leader_epoch: -1 };
        let ends = client.leader_epoch_ends([(partition.clone(), question)].into()).await;
        assert_eq!(one(ends).expect("told").end_offset, 5);
        let producers = one(client.describe_producers([partition.clone()]).await);
        assert_eq!(producers.expect("described"), []);
        let first = one(client.delete_records([(partition.clone(), 3)].into()).await);
        assert_eq!(first.expect("deleted"), 3);
        assert_eq!(read_offsets(&client, partition, 0).await, [3]);
    })
    .await;
}

#[tokio::test]
async fn the_largest_timestamp_is_a_gap_on_old_brokers() {
    let cluster = cluster(1, Profile::V2_8).await;
    cluster.create_topic(TopicSpec::new("t", 1)).expect("a new topic");
    let client = client(&cluster);
    let asked = [place("t", 0)];
    let isolation = Isolation::ReadUncommitted;
    let gap = one(client.list_offsets_of(asked, OffsetSpec::MaxTimestamp, isolation).await);
    let gap = gap.expect_err("too old");
    assert_eq!(gap.actor(), Actor::Operator);
    assert!(gap.to_string().contains("this client speaks 7-10"), "{gap}");
}

#[tokio::test]
async fn groups_are_committed_listed_described_and_deleted() {
    for_each_profile(async |cluster, client| {
        cluster.create_topic(TopicSpec::new("t", 3)).expect("a new topic");
        let commit = |offset| OffsetToCommit { offset, leader_epoch: -1, metadata: "m".to_owned() };
        let offsets = [(place("t", 0), commit(5)), (place("t", 2), commit(7))];
        let committed = client.commit_group_offsets("g", offsets.into()).await.expect("accepted");
        assert!(committed.len() == 2 && committed.values().all(Result::is_ok), "{committed:?}");

        let some = Some(vec![place("t", 0), place("t", 1)]);
        let wanted = [("g".to_owned(), None), ("unknown".to_owned(), None)].into();
        let fetched = client.fetch_group_offsets(&wanted, true).await;
        let all = fetched["g"].as_ref().expect("fetched");
        assert_eq!(all.len(), 2);
        assert_eq!(all[&place("t", 2)].as_ref().expect("committed").offset, 7);
        assert_eq!(all[&place("t", 2)].as_ref().expect("committed").metadata, "m");
        assert!(fetched["unknown"].as_ref().expect("no error").is_empty());
        let fetched = one(client.fetch_group_offsets(&[("g".to_owned(), some)].into(), true).await);
        assert!(fetched.expect("fetched").keys().eq([&place("t", 0)]));

        let listed = client.list_groups(&[], &[]).await.expect("listed");
        assert_eq!(listed.len(), 3);
        let groups: Vec<_> =
            listed.into_values().flat_map(|groups| groups.expect("listed")).collect();
        assert_eq!(groups.len(), 1);
        assert_eq!((&*groups[0].id, groups[0].state.as_deref()), ("g", Some("Empty")));

        let ids = ["g".to_owned(), "unknown".to_owned()];
        let described = client.describe_groups(&ids).await;
        assert_eq!(described["g"].as_ref().expect("described").state, "Empty");
        assert_eq!(described["unknown"].as_ref().expect("described").state, "Dead");

        let deleted = client.delete_group_offsets("g", vec![place("t", 0)]).await;
        one(deleted.expect("accepted")).expect("deleted");
        one(client.delete_groups(&["g".to_owned()]).await).expect("deleted");
        let fetched = one(client.fetch_group_offsets(&[("g".to_owned(), None)].into(), true).await);
        assert!(fetched.expect("no error").is_empty());
    })
    .await;
}

#[tokio::test]
async fn producers_get_ids_and_fence_each_other() {
    for_each_profile(async |_cluster, client| {
        let first = client.init_idempotent_producer().await.expect("an id");
        let second = client.init_idempotent_producer().await.expect("an id");
        assert!(first.id != second.id && second.epoch == 0);
        let request = ProducerRequest {
            transactional_id: "mirror".to_owned(),
            transaction_timeout_ms: 60_000,
            current: None,
        };
        let first = client.init_transactional_producer(request.clone()).await.expect("an id");
        let second = client.init_transactional_producer(request).await.expect("an id");
        assert_eq!((second.id, second.epoch), (first.id, first.epoch + 1));
        let description = client.describe_cluster().await.expect("described");
        assert_eq!(description.nodes.len(), 3);
    })
    .await;
}

fn stamp(producer: ProducerIdentity, base_sequence: i32) -> ProducerStamp {
    ProducerStamp { producer_id: producer.id, epoch: producer.epoch, base_sequence }
}

#[tokio::test]
async fn a_fence_shuts_out_who_was_there_before_also_without_transactions() {
    for_each_profile(async |cluster, client| {
        cluster.create_topic(TopicSpec::new("t", 2)).expect("a new topic");
        let (all, timeout_ms) = ([place("t", 0), place("t", 1)], 60_000);
        let write = async |producer, sequence| {
            let (header, payload) = batch(2);
            let header = patch(&BatchHeader::of(&header), stamp(producer, sequence));
            client.produce(&all[0], header, payload).await
        };
        let old = client.fence("mirror", timeout_ms, &[]).await.expect("an id");
        assert_eq!(write(old, 7).await.expect("appended").base_offset, 0);
        let new = client.fence("mirror", timeout_ms, &all).await.expect("fenced");
        assert_eq!((new.id, new.epoch), (old.id, old.epoch + 1));
        assert_eq!(cluster.end_offset("t", 1), Some(1), "the marker");
        let refused = write(old, 9).await.expect_err("an old epoch").code().expect("a code");
        assert_eq!(refused, ErrorCode::INVALID_PRODUCER_EPOCH);
        assert!(refused.is_fenced());
        let refused = write(new, 9).await.expect_err("not the first").code();
        assert_eq!(refused, Some(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
        assert_eq!(write(new, 0).await.expect("appended").base_offset, 3);
        let fenced = client.add_partitions_to_txn("mirror", old, &all).await;
        assert!(fenced.expect_err("an old epoch").code().is_some_and(ErrorCode::is_fenced));
    })
    .await;
}

#[tokio::test]
async fn what_is_committed_is_read_and_what_is_aborted_is_named() {
    for_each_profile(async |cluster, client| {
        cluster.create_topic(TopicSpec::new("t", 1)).expect("a new topic");
        let (id, partition) = ("mirror", place("t", 0));
        let producer = client.fence(id, 60_000, &[]).await.expect("an id");
        for (sequence, end) in [(0, TransactionEnd::Abort), (3, TransactionEnd::Commit)] {
            let added = [partition.clone()];
            client.add_partitions_to_txn(id, producer, &added).await.expect("added");
            let (header, payload) = batch(3);
            let header = patch_in_transaction(&BatchHeader::of(&header), stamp(producer, sequence));
            client.produce_in(id, &partition, header, payload).await.expect("appended");
            let before = client.read_at(&partition, 0, ReadLimits::default()).await.expect("read");
            assert_eq!(before.last_stable_offset, before.high_watermark - 3);
            // The answer may be lost: asking again answers the same.
            let actions = [FaultAction::ApplyThenDrop, FaultAction::Drop];
            for action in actions {
                cluster.fault(Fault::new(ApiKey::EndTxn, action));
            }
            client.end_txn(id, producer, end).await.expect("ended");
        }
        let again = client.end_txn(id, producer, TransactionEnd::Abort).await;
        assert_eq!(again.expect_err("ended").code(), Some(ErrorCode::INVALID_TXN_STATE));
        let limits = ReadLimits { isolation: Isolation::ReadCommitted, ..ReadLimits::default() };
        let chunk = client.read_at(&partition, 0, limits).await.expect("read");
        assert_eq!((chunk.next, chunk.last_stable_offset, chunk.log_start), (8, 8, 0));
        let aborted: Vec<_> =
            chunk.aborted.iter().map(|one| (one.producer_id, one.first_offset)).collect();
        assert_eq!(aborted, [(producer.id, 0)]);
    })
    .await;
}

#[tokio::test]
async fn a_partition_that_is_not_there_is_named() {
    let cluster = cluster(1, Profile::V4_2).await;
    cluster.create_topic(TopicSpec::new("t", 1)).expect("a new topic");
    let client = client(&cluster);
    let refused = client.fence("mirror", 60_000, &[place("t", 0), place("u", 7)]).await;
    let refused = refused.expect_err("there is no u");
    assert_eq!(refused.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert!(refused.to_string().contains("u-7"), "{refused}");
}

#[tokio::test]
async fn many_partitions_are_looked_back_at_over_few_connections() {
    let cluster = cluster(3, Profile::V4_2).await;
    cluster.create_topic(TopicSpec::new("t", 60).replicas(3)).expect("a new topic");
    let client = client(&cluster);
    for index in 0..60 {
        produce(&client, &place("t", index), 1 + index as usize).await;
    }
    cluster.fault(Fault::new(ApiKey::Fetch, FaultAction::Drop));
    cluster.move_leader("t", 5, 0);
    cluster.move_leader("t", 6, 0);
    let reads = (0..60).map(|index| {
        let client = client.clone();
        tokio::spawn(async move {
            let at = place("t", index);
            let chunk = client.read_at(&at, 0, ReadLimits::default()).await.expect("read");
            assert_eq!((chunk.from, chunk.next), (0, i64::from(index) + 1));
            let end = client.read_at(&at, chunk.next, ReadLimits::default()).await.expect("read");
            assert!(end.entries.is_empty() && end.next == chunk.next);
            assert_eq!(end.high_watermark, chunk.next);
        })
    });
    for read in reads.collect::<Vec<_>>() {
        read.await.expect("no panic");
    }
    let beyond = client.read_at(&place("t", 0), 99, ReadLimits::default()).await;
    assert_eq!(beyond.expect_err("no such offset").code(), Some(ErrorCode::OFFSET_OUT_OF_RANGE));
}

#[tokio::test]
async fn passing_trouble_is_sat_out() {
    let cluster = cluster(3, Profile::V4_2).await;
    let client = client(&cluster);
    cluster.create_topic(TopicSpec::new("t", 1).replicas(3)).expect("a new topic");
    let partition = place("t", 0);
    produce(&client, &partition, 1).await;
    let (leader, _) = cluster.leader("t", 0).expect("a leader");
    assert!(cluster.move_leader("t", 0, (leader + 1) % 3));
    let asked = [partition.clone()];
    let latest = client.list_offsets_of(asked, OffsetSpec::Latest, Isolation::ReadUncommitted);
    assert_eq!(one(latest.await).expect("asked again").offset, 1);
    assert_eq!(read_offsets(&client, partition, 0).await, [0]);

    let refuse = |api, error| cluster.fault(Fault::new(api, FaultAction::Error(error)));
    refuse(ApiKey::CreateTopics, KafkaError::NotController);
    let topic = NewTopic {
        name: Arc::from("u"),
        partitions: None,
        replication_factor: None,
        configs: BTreeMap::new(),
    };
    one(client.create_topics(&[topic], false).await).expect("created at the second attempt");

    refuse(ApiKey::OffsetCommit, KafkaError::NotCoordinator);
    let commit = OffsetToCommit { offset: 1, leader_epoch: -1, metadata: String::new() };
    let committed = client.commit_group_offsets("g", [(place("t", 0), commit)].into()).await;
    one(committed.expect("accepted")).expect("committed at the second attempt");

    for action in [FaultAction::Drop, FaultAction::CutMidFrame] {
        cluster.fault(Fault::new(ApiKey::DescribeConfigs, action));
        let resource = ConfigResource::Topic("t".to_owned());
        one(client.describe_configs(&[resource], None).await).expect("asked again");
    }
}

#[tokio::test]
async fn an_unclear_produce_is_not_repeated() {
    let cluster = cluster(1, Profile::V4_2).await;
    let client = client(&cluster);
    cluster.create_topic(TopicSpec::new("t", 1)).expect("a new topic");
    cluster.fault(Fault::new(ApiKey::Produce, FaultAction::ApplyThenDrop));
    let (header, payload) = batch(1);
    let lost = client.produce(&place("t", 0), header, payload).await.expect_err("unclear");
    assert_eq!(lost.actor(), Actor::Network);
    assert_eq!(cluster.end_offset("t", 0), Some(1));
    let away = FaultAction::Error(KafkaError::NotEnoughReplicas);
    cluster.fault(Fault::new(ApiKey::Produce, away));
    assert_eq!(produce(&client, &place("t", 0), 1).await, 1);
}

#[tokio::test]
async fn a_dead_node_is_asked_no_more() {
    let cluster = cluster(3, Profile::V4_2).await;
    let client = client(&cluster);
    cluster.create_topic(TopicSpec::new("t", 6).replicas(3)).expect("a new topic");
    let all = || (0..6).map(|index| place("t", index));
    let isolation = Isolation::ReadUncommitted;
    client.list_offsets_of(all(), OffsetSpec::Latest, isolation).await;
    cluster.kill_node(0);
    let listed = client.list_offsets_of(all(), OffsetSpec::Latest, isolation).await;
    assert!(listed.values().all(Result::is_ok), "{listed:?}");
    let listed = client.list_groups(&[], &[]).await.expect("listed");
    assert!(listed.values().all(Result::is_ok), "{listed:?}");
}

#[tokio::test]
async fn many_refreshes_become_few() {
    let cluster = cluster(1, Profile::V4_2).await;
    let client = client(&cluster);
    for number in 0..20 {
        cluster.create_topic(TopicSpec::new(&format!("t{number}"), 1)).expect("a new topic");
    }
    client.describe_cluster().await.expect("connected");
    let before = cluster.requests(ApiKey::Metadata);
    let waiting: Vec<_> = (0..100)
        .map(|number| {
            let client = client.clone();
            let name: Arc<str> = Arc::from(format!("t{}", number % 20));
            tokio::spawn(async move {
                let view = client.topics(&[Arc::clone(&name)]).await.expect("metadata");
                assert!(view.topics[&name].error.is_ok());
            })
        })
        .collect();
    for one in waiting {
        one.await.expect("no panic");
    }
    let asked = cluster.requests(ApiKey::Metadata) - before;
    assert!(asked <= 3, "{asked} requests");
}

#[tokio::test]
async fn a_fetch_session_follows_several_partitions() {
    for_each_profile(async |cluster, client| {
        cluster.create_topic(TopicSpec::new("t", 4)).expect("a new topic");
        let view = client.topics(&[Arc::from("t")]).await.expect("metadata");
        let topic = SessionTopic { name: Arc::from("t"), id: view.topics["t"].id };
        let wanted =
            |offset| Want { offset, leader_epoch: -1, last_fetched_epoch: -1, max_bytes: 1 << 20 };
        let limits = FetchLimits {
            max_wait_ms: 20,
            min_bytes: 1,
            max_bytes: 1 << 20,
            isolation: Isolation::ReadUncommitted,
            rack: String::new(),
        };
        let mut lanes: BTreeMap<i32, (Connection, FetchSession)> = BTreeMap::new();
        for index in 0..4 {
            let (leader, _) = view.leader(&place("t", index)).expect("a leader");
            let lane = match lanes.entry(leader) {
                Entry::Occupied(lane) => lane.into_mut(),
                Entry::Vacant(place) => {
                    let options = Arc::new(ConnectionOptions::default());
                    let connection = client.connect_to(leader, &options).await.expect("open");
                    place.insert((connection, FetchSession::default()))
                }
            };
            lane.1.set(index as u32, &topic, index, wanted(0));
        }
        let mut positions = [0i64; 4];
        for round in 0..6i64 {
            produce(&client, &place("t", (round % 4) as i32), 2).await;
            for (connection, session) in lanes.values_mut() {
                let request = session.next_request(&limits).expect("something is wanted");
                let answer = connection.start_fetch(&request).await.expect("answered");
                for fetched in session.accept(answer).expect("accepted") {
                    assert!(fetched.partition.error.is_ok());
                    let position = &mut positions[fetched.key as usize];
                    for entry in protocol_client::batch::walk(&fetched.partition.records) {
                        *position = entry.expect("whole").next_offset();
                    }
                    session.set(fetched.key, &topic, fetched.key as i32, wanted(*position));
                }
            }
        }
        assert_eq!(positions, [4, 4, 2, 2]);
    })
    .await;
}
