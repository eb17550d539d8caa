//! The wire client against real brokers of the oldest and the newest release: every call it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use kafka_lab::{ClusterBuilder, Version, available};
use protocol_client::ClientError;
use protocol_client::batch::{
    BatchBuilder, BatchHeader, ProducerStamp, TxnFilter, Verdict, patch, patch_in_transaction, walk,
};
use protocol_client::client::{
    Client, ClientOptions, ConfigChange, ConfigOperation, ConfigResource, ConfigSource,
    EpochQuestion, NewTopic, OffsetSpec, OffsetToCommit, ProducerIdentity, ProducerRequest,
    ReadLimits, TransactionEnd,
};
use protocol_client::cluster::TopicPartition;
use protocol_client::cluster::metadata::Topics;
use protocol_client::conn::fetch_session::{FetchLimits, FetchSession, SessionTopic, Want};
use protocol_client::net::ConnectionOptions;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::Isolation;
use tokio::runtime::Runtime;

fn place(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn one<K: Ord, T>(outcomes: BTreeMap<K, Result<T, ClientError>>) -> Result<T, ClientError> {
    assert_eq!(outcomes.len(), 1);
    outcomes.into_values().next().expect("one outcome")
}

fn against(version: Version) -> Result<()> {
    if !available() {
        return Ok(());
    }
    let cluster = ClusterBuilder::new(version).start()?;
    let bootstrap: Result<Vec<_>, _> = cluster.bootstrap().split(',').map(str::parse).collect();
    let bootstrap = bootstrap?;
    Runtime::new()?.block_on(async {
        let client = Client::new(ClientOptions {
            bootstrap,
            unknown_topic_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(30),
            ..ClientOptions::default()
        });
        topics(&client).await?;
        records(&client).await?;
        sessions(&client).await?;
        groups(&client).await?;
        producers(&client).await?;
        fences(&client).await?;
        transactions(&client).await?;
        one(client.delete_topics(&[Arc::from("t")]).await)?;
        client.close().await;
        anyhow::Ok(())
    })?;
    cluster.stop()
}

#[test]
fn every_call_works_on_kafka_4_3() -> Result<()> {
    against(Version::V4_3_1)
}

#[test]
fn every_call_works_on_kafka_2_8() -> Result<()> {
    against(Version::V2_8_2)
}

async fn topics(client: &Client) -> Result<()> {
    let topic = NewTopic {
        name: Arc::from("t"),
        partitions: Some(1),
        replication_factor: None,
        configs: [("retention.ms".to_owned(), "-1".to_owned())].into(),
    };
    let topics = [topic];
    one(client.create_topics(&topics, true).await)?;
    one(client.create_topics(&topics, false).await)?;
    let again = one(client.create_topics(&topics, false).await).expect_err("exists");
    assert_eq!(again.code(), Some(ErrorCode::TOPIC_ALREADY_EXISTS));
    one(client.create_partitions(&[(Arc::from("t"), 3)].into()).await)?;
    let mut view = client.refresh(Topics::All, client.view().generation).await?;
    // A broker answers for the controller before it has applied the change itself.
    for _ in 0..100 {
        if view.topics.get("t").is_some_and(|topic| topic.partitions.len() == 3) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        view = client.refresh(Topics::All, view.generation).await?;
    }
    assert_eq!(view.topics["t"].partitions.len(), 3);
    assert!(view.cluster_id.is_some() && view.controller.is_some());

    let resource = ConfigResource::Topic("t".to_owned());
    let operation = ConfigOperation::Set("compact,delete".to_owned());
    let change = ConfigChange { name: "cleanup.policy".to_owned(), operation };
    one(client.alter_configs(&[(resource.clone(), vec![change])].into(), false).await)?;
    let configs = one(client.describe_configs(&[resource], None).await)?;
    assert_eq!(configs["retention.ms"].source, ConfigSource::DynamicTopic);
    assert_eq!(configs["segment.bytes"].source, ConfigSource::Default);
    let node = *view.nodes.keys().next().expect("a node");
    let brokers = [ConfigResource::Broker(node)];
    let configs = one(client.describe_configs(&brokers, Some(&["broker.id", "node.id"])).await)?;
    assert!(!configs.is_empty());
    let description = client.describe_cluster().await?;
    assert_eq!(description.nodes.len(), view.nodes.len());
    Ok(())
}

fn batch(records: usize) -> Result<([u8; 61], bytes::Bytes)> {
    let mut builder = BatchBuilder::new();
    for at in 0..records {
        builder.push(Some(b"key"), Some(b"value"), &[], 1_700_000_000_000 + at as i64);
    }
    let whole = builder.build()?.bytes;
    Ok((whole[..61].try_into()?, whole.slice(61..)))
}

async fn append(client: &Client, partition: i32, records: usize) -> Result<i64> {
    let (header, payload) = batch(records)?;
    Ok(client.produce(&place(partition), header, payload).await?.base_offset)
}

async fn records(client: &Client) -> Result<()> {
    assert_eq!(append(client, 1, 3).await?, 0);
    assert_eq!(append(client, 1, 2).await?, 3);
    let mut reader = client.read(place(1), 0, ReadLimits::default()).await?;
    let mut offsets = Vec::new();
    while let Some(chunk) = reader.next_chunk().await? {
        offsets.extend(chunk.entries.iter().map(|entry| entry.base_offset()));
    }
    assert_eq!(offsets, [0, 3]);

    let isolation = Isolation::ReadCommitted;
    let list = async |spec| one(client.list_offsets_of([place(1)], spec, isolation).await);
    assert_eq!(list(OffsetSpec::Earliest).await?.offset, 0);
    assert_eq!(list(OffsetSpec::Latest).await?.offset, 5);
    assert_eq!(list(OffsetSpec::Timestamp(1_700_000_000_001)).await?.offset, 1);
    assert_eq!(list(OffsetSpec::Timestamp(1_800_000_000_000)).await?.offset, -1);
    let question = EpochQuestion { epoch: 0, current_leader_epoch: -1 };
    let end = one(client.leader_epoch_ends([(place(1), question)].into()).await)?;
    assert_eq!(end.end_offset, 5);
    assert_eq!(one(client.describe_producers([place(1)]).await)?, []);
    assert_eq!(one(client.delete_records([(place(1), 3)].into()).await)?, 3);
    assert_eq!(list(OffsetSpec::Earliest).await?.offset, 3);
    Ok(())
}

/// Two partitions in one session; what comes is what was appended, once.
async fn sessions(client: &Client) -> Result<()> {
    let view = client.topics(&[Arc::from("t")]).await?;
    let topic = SessionTopic { name: Arc::from("t"), id: view.topics["t"].id };
    let want =
        |offset| Want { offset, leader_epoch: -1, last_fetched_epoch: -1, max_bytes: 1 << 20 };
    let limits = FetchLimits {
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: Isolation::ReadUncommitted,
        rack: String::new(),
    };
    let node = view.leader_or_why(&place(0))?;
    let connection = client.connect_to(node, &Arc::new(ConnectionOptions::default())).await?;
    let mut session = FetchSession::default();
    let mut positions = BTreeMap::from([(0, 0), (2, 0)]);
    for (partition, offset) in &positions {
        session.set(*partition as u32, &topic, *partition, want(*offset));
    }
    let mut sessions = Vec::new();
    for round in 0..8 {
        append(client, (round % 2) * 2, 5).await?;
        let request = session.next_request(&limits).expect("something is wanted");
        let answer = connection.start_fetch(&request).await?;
        sessions.push(answer.session_id);
        for fetched in session.accept(answer)? {
            ensure!(fetched.partition.error.is_ok(), "{}", fetched.partition.error);
            let position = positions.get_mut(&(fetched.key as i32)).expect("wanted");
            for entry in walk(&fetched.partition.records) {
                let entry = entry?;
                assert_eq!(entry.base_offset(), *position);
                *position = entry.next_offset();
            }
            session.set(fetched.key, &topic, fetched.key as i32, want(*position));
        }
    }
    assert_eq!(positions, BTreeMap::from([(0, 20), (2, 20)]));
    assert!(sessions[0] != 0 && sessions.iter().all(|id| *id == sessions[0]), "{sessions:?}");
    Ok(())
}

async fn groups(client: &Client) -> Result<()> {
    let commit = |offset| OffsetToCommit { offset, leader_epoch: -1, metadata: "m".to_owned() };
    let offsets = [(place(0), commit(5)), (place(2), commit(7))].into();
    for (partition, committed) in client.commit_group_offsets("g", offsets).await? {
        ensure!(committed.is_ok(), "{partition}: {committed:?}");
    }
    let wanted = [("g".to_owned(), None), ("unknown".to_owned(), None)].into();
    let fetched = client.fetch_group_offsets(&wanted, true).await;
    let ours = fetched["g"].as_ref().expect("fetched");
    assert_eq!(ours[&place(2)].as_ref().expect("committed").offset, 7);
    assert!(fetched["unknown"].as_ref().expect("no error").is_empty());
    let listed = client.list_groups(&["Empty"], &[]).await?;
    let listed: Vec<_> = listed.into_values().flat_map(|groups| groups.expect("listed")).collect();
    assert_eq!(listed.iter().map(|group| &*group.id).collect::<Vec<_>>(), ["g"]);
    let ids = ["g".to_owned(), "unknown".to_owned()];
    let described = client.describe_groups(&ids).await;
    assert_eq!(described["g"].as_ref().expect("described").state, "Empty");
    assert_eq!(described["unknown"].as_ref().expect("described").state, "Dead");
    one(client.delete_group_offsets("g", vec![place(0)]).await?)?;
    one(client.delete_groups(&["g".to_owned()]).await)?;
    Ok(())
}

async fn producers(client: &Client) -> Result<()> {
    let fresh = client.init_idempotent_producer().await?;
    assert_eq!(fresh.epoch, 0);
    let request = ProducerRequest {
        transactional_id: "mirror".to_owned(),
        transaction_timeout_ms: 60_000,
        current: None,
    };
    let first = client.init_transactional_producer(request.clone()).await?;
    let second = client.init_transactional_producer(request.clone()).await?;
    assert_eq!((second.id, second.epoch), (first.id, first.epoch + 1));
    client.init_transactional_producer(request.clone()).await?;
    let stale = ProducerRequest { current: Some(first), ..request };
    let fenced = client.init_transactional_producer(stale).await.expect_err("two epochs behind");
    assert_eq!(fenced.code(), Some(ErrorCode::PRODUCER_FENCED));
    Ok(())
}

fn stamp(producer: ProducerIdentity, base_sequence: i32) -> ProducerStamp {
    ProducerStamp { producer_id: producer.id, epoch: producer.epoch, base_sequence }
}

/// Two holders of one transactional id that write without transactions: the second one shuts out the first.
async fn fences(client: &Client) -> Result<()> {
    let write = async |producer, sequence| {
        let (header, payload) = batch(2)?;
        let header = patch(&BatchHeader::of(&header), stamp(producer, sequence));
        anyhow::Ok(client.produce(&place(0), header, payload).await)
    };
    let old = client.fence("fenced", 60_000, &[]).await?;
    let first = write(old, 5).await??.base_offset;
    let new = client.fence("fenced", 60_000, &[place(0), place(1)]).await?;
    assert_eq!((new.id, new.epoch), (old.id, old.epoch + 1));
    let refused = write(old, 7).await?.expect_err("an old epoch");
    assert_eq!(refused.code(), Some(ErrorCode::INVALID_PRODUCER_EPOCH));
    let refused = write(new, 7).await?.expect_err("not the first");
    assert_eq!(refused.code(), Some(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(write(new, 0).await??.base_offset, first + 3);
    let fenced = client.add_partitions_to_txn("fenced", old, &[place(0)]).await;
    assert!(fenced.expect_err("an old epoch").code().is_some_and(ErrorCode::is_fenced));
    Ok(())
}

/// What is aborted is named, what is committed is read; both ends may be asked for twice.
async fn transactions(client: &Client) -> Result<()> {
    let (id, partition) = ("transactions", place(2));
    let producer = client.fence(id, 60_000, &[]).await?;
    let edge = client.read_at(&partition, 0, ReadLimits::default()).await?.high_watermark;
    for (sequence, end) in [(0, TransactionEnd::Abort), (3, TransactionEnd::Commit)] {
        client.add_partitions_to_txn(id, producer, &[partition.clone(), place(0)]).await?;
        let (header, payload) = batch(3)?;
        let header = patch_in_transaction(&BatchHeader::of(&header), stamp(producer, sequence));
        client.produce_in(id, &partition, header, payload).await?;
        client.end_txn(id, producer, end).await?;
        client.end_txn(id, producer, end).await?;
    }
    let limits = ReadLimits { isolation: Isolation::ReadCommitted, ..ReadLimits::default() };
    let (mut from, mut verdicts) = (edge, Vec::new());
    // The times of markers and records lie years apart, so that brokers put them in segments of their own, and an answer
    // ends with a segment.
    while from < edge + 8 {
        let chunk = client.read_at(&partition, from, limits).await?;
        assert!(chunk.next > from && chunk.last_stable_offset == edge + 8, "{chunk:?}");
        from = chunk.next;
        let mut filter = TxnFilter::new(chunk.aborted);
        for entry in &chunk.entries {
            verdicts.push((entry.is_control(), filter.judge(entry)?));
        }
    }
    let marker = (true, Verdict::Keep);
    assert_eq!(verdicts, [(false, Verdict::Aborted), marker, (false, Verdict::Keep), marker]);
    Ok(())
}
