//! What administrators ask, and what clients see of what befalls a cluster, without sockets.

use kafka_protocol::ResponseError as KafkaError;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::super::testing::{Batch, NOW, ask, fetch, fetch_request, produce};
use super::super::topics::topic_name as name;
use super::super::versions::Profile;
use super::super::{Broker, TopicSpec};
use super::text;
use crate::options::BrokerOptions;

fn cluster(nodes: usize) -> Broker {
    let mut broker = Broker::new(BrokerOptions { nodes, ..BrokerOptions::default() });
    broker.create_topic(TopicSpec::new("t", 3)).expect("new");
    broker
}

macro_rules! ask {
    ($broker:expr, $node:expr, $api:ident, $version:expr, $request:expr) => {
        match ask($broker, $node, ApiKey::$api, $version, RequestKind::$api($request)) {
            ResponseKind::$api(response) => response,
            other => panic!("another answer: {other:?}"),
        }
    };
}

fn create(broker: &mut Broker, topic: create_topics_request::CreatableTopic, check: bool) -> i16 {
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_validate_only(check);
    ask!(broker, 0, CreateTopics, 7, request).topics[0].error_code
}

fn creatable(topic: &str, partitions: i32, replicas: i16) -> create_topics_request::CreatableTopic {
    create_topics_request::CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

fn config(key: &str, value: &str) -> create_topics_request::CreatableTopicConfig {
    let row = create_topics_request::CreatableTopicConfig::default();
    row.with_name(text(key)).with_value(Some(text(value)))
}

#[test]
fn topics_are_created_as_asked_or_refused() {
    let mut broker = cluster(3);
    assert_eq!(create(&mut broker, creatable("u", 4, 2), true), 0);
    assert!(broker.topic("u").is_none(), "only checked");
    assert_eq!(create(&mut broker, creatable("u", 4, 2), false), 0);
    let topic = broker.topic("u").expect("created");
    let replicas: Vec<_> = topic.partitions.iter().map(|p| p.replicas.clone()).collect();
    assert_eq!(replicas, [[0, 1], [1, 2], [2, 0], [0, 1]]);
    for (topic, error) in [
        (creatable("u", 1, 1), KafkaError::TopicAlreadyExists),
        (creatable("v", 0, 1), KafkaError::InvalidPartitions),
        (creatable("v", 1, 4), KafkaError::InvalidReplicationFactor),
        (creatable("a/b", 1, 1), KafkaError::InvalidTopicException),
        (
            creatable("v", 1, 1).with_configs(vec![config("retention.mss", "5")]),
            KafkaError::InvalidConfig,
        ),
        (
            creatable("v", 1, 1).with_configs(vec![config("retention.ms", "x")]),
            KafkaError::InvalidConfig,
        ),
    ] {
        assert_eq!(create(&mut broker, topic, false), error.code());
    }
    let row = create_topics_request::CreatableReplicaAssignment::default();
    let assigned = creatable("v", -1, -1).with_assignments(vec![
        row.clone().with_partition_index(0).with_broker_ids(vec![BrokerId(2), BrokerId(1)]),
        row.clone().with_partition_index(1).with_broker_ids(vec![BrokerId(0), BrokerId(2)]),
    ]);
    assert_eq!(create(&mut broker, assigned, false), 0);
    assert_eq!(broker.partition("v", 0).and_then(|p| p.leader), Some(2));
    let gap = creatable("w", -1, -1)
        .with_assignments(vec![row.with_partition_index(1).with_broker_ids(vec![BrokerId(0)])]);
    assert_eq!(create(&mut broker, gap, false), KafkaError::InvalidReplicaAssignment.code());
}

#[test]
fn before_kraft_only_the_controller_creates() {
    let options = BrokerOptions { nodes: 2, profile: Profile::V2_8, ..BrokerOptions::default() };
    let mut broker = Broker::new(options);
    let request = CreateTopicsRequest::default().with_topics(vec![creatable("u", 1, 1)]);
    let answer = ask!(&mut broker, 1, CreateTopics, 7, request);
    assert_eq!(answer.topics[0].error_code, KafkaError::NotController.code());
}

#[test]
fn metadata_names_errors_and_creates_only_when_allowed() {
    let options = BrokerOptions { auto_create_topics: true, ..BrokerOptions::default() };
    let mut broker = Broker::new(options);
    let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name("new")));
    let request = |create: bool| {
        let request = MetadataRequest::default().with_topics(Some(vec![topic.clone()]));
        request.with_allow_auto_topic_creation(create)
    };
    let answer = ask!(&mut broker, 0, Metadata, 12, request(false));
    assert_eq!(answer.topics[0].error_code, KafkaError::UnknownTopicOrPartition.code());
    let answer = ask!(&mut broker, 0, Metadata, 12, request(true));
    assert_eq!((answer.topics[0].error_code, answer.topics[0].partitions.len()), (0, 1));
    let unknown = metadata_request::MetadataRequestTopic::default()
        .with_name(None)
        .with_topic_id(uuid::Uuid::from_u128(3));
    let request = MetadataRequest::default().with_topics(Some(vec![unknown]));
    let answer = ask!(&mut broker, 0, Metadata, 12, request);
    assert_eq!(answer.topics[0].error_code, KafkaError::UnknownTopicId.code());
}

#[test]
fn dead_nodes_leave_metadata_and_hand_over_what_they_lead() {
    let mut broker = Broker::new(BrokerOptions { nodes: 2, ..BrokerOptions::default() });
    broker.create_topic(TopicSpec::new("both", 1).replicas(2)).expect("new");
    broker.create_topic(TopicSpec::new("alone", 1)).expect("new");
    broker.kill_node(0);
    let answer = ask!(&mut broker, 1, Metadata, 12, MetadataRequest::default().with_topics(None));
    assert_eq!((answer.brokers.len(), answer.controller_id.0), (1, 1));
    let partitions: Vec<_> = answer.topics.iter().map(|topic| &topic.partitions[0]).collect();
    let told = |nth: usize| {
        let told: &metadata_response::MetadataResponsePartition = partitions[nth];
        (told.error_code, told.leader_id.0, told.leader_epoch, told.isr_nodes.len())
    };
    assert_eq!(told(0), (KafkaError::LeaderNotAvailable.code(), -1, 1, 0));
    assert_eq!(told(1), (0, 1, 1, 1));
    broker.restart_node(0, false);
    assert_eq!(
        broker.partition("alone", 0).map(|p| (p.leader, p.leader_epoch)),
        Some((Some(0), 2))
    );
}

#[test]
fn a_topic_that_comes_back_has_another_id() {
    let mut broker = cluster(1);
    let first = broker.topic("t").expect("there").id;
    let gone = delete_topics_request::DeleteTopicState::default().with_topic_id(first);
    let request = DeleteTopicsRequest::default().with_topics(vec![gone.with_name(None)]);
    let answer = ask!(&mut broker, 0, DeleteTopics, 6, request.clone());
    assert_eq!(answer.responses[0].name, Some(name("t")));
    let again = ask!(&mut broker, 0, DeleteTopics, 6, request);
    assert_eq!(again.responses[0].error_code, KafkaError::UnknownTopicId.code());
    let second = broker.create_topic(TopicSpec::new("t", 3)).expect("new");
    assert_ne!(first, second);
}

#[test]
fn partitions_grow_and_never_shrink() {
    let mut broker = cluster(1);
    for (count, error) in [(3, 37), (2, 37), (5, 0)] {
        let more = create_partitions_request::CreatePartitionsTopic::default()
            .with_name(name("t"))
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![more]);
        let answer = ask!(&mut broker, 0, CreatePartitions, 3, request);
        assert_eq!(answer.results[0].error_code, error, "to {count}");
    }
    assert_eq!(broker.topic("t").map(|topic| topic.partitions.len()), Some(5));
}

fn alter(broker: &mut Broker, operation: i8, key: &str, value: Option<&str>) -> i16 {
    let row = incremental_alter_configs_request::AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(operation)
        .with_value(value.map(text));
    let resource = incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"))
        .with_configs(vec![row]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    ask!(broker, 0, IncrementalAlterConfigs, 1, request).responses[0].error_code
}

fn shown(broker: &mut Broker, key: &str) -> (Option<StrBytes>, i8) {
    let resource = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"))
        .with_configuration_keys(Some(vec![text(key)]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let mut answer = ask!(broker, 0, DescribeConfigs, 4, request);
    let row = answer.results[0].configs.remove(0);
    (row.value, row.config_source)
}

#[test]
fn configs_are_set_appended_and_deleted_one_by_one() {
    let mut broker = cluster(1);
    let value = |value: &str, source| (Some(text(value)), source);
    assert_eq!(shown(&mut broker, "cleanup.policy"), value("delete", 5));
    assert_eq!(alter(&mut broker, 2, "cleanup.policy", Some("compact")), 0);
    assert_eq!(shown(&mut broker, "cleanup.policy"), value("delete,compact", 1));
    assert_eq!(alter(&mut broker, 3, "cleanup.policy", Some("delete")), 0);
    assert_eq!(shown(&mut broker, "cleanup.policy"), value("compact", 1));
    assert_eq!(alter(&mut broker, 1, "cleanup.policy", None), 0);
    assert_eq!(shown(&mut broker, "cleanup.policy"), value("delete", 5));
    let invalid = KafkaError::InvalidConfig.code();
    assert_eq!(alter(&mut broker, 0, "max.message.bytes", Some("many")), invalid);
    assert_eq!(alter(&mut broker, 2, "max.message.bytes", Some("5")), invalid);
    assert_eq!(alter(&mut broker, 0, "max.message.byte", Some("5")), invalid);
}

#[test]
fn the_old_way_of_altering_replaces_everything() {
    let mut broker = cluster(1);
    alter(&mut broker, 0, "retention.ms", Some("5"));
    let row = alter_configs_request::AlterableConfig::default();
    let row = row.with_name(text("segment.bytes")).with_value(Some(text("2000000")));
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"))
        .with_configs(vec![row]);
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = ask!(&mut broker, 0, AlterConfigs, 2, request);
    assert_eq!(answer.responses[0].error_code, 0);
    assert_eq!(shown(&mut broker, "retention.ms").1, 5);
    assert_eq!(shown(&mut broker, "segment.bytes"), (Some(text("2000000")), 1));
}

#[test]
fn topics_are_described_in_pages() {
    let mut broker = cluster(1);
    broker.create_topic(TopicSpec::new("u", 2)).expect("new");
    let mut request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(2);
    request.cursor = None;
    let mut seen = Vec::new();
    for _ in 0..10 {
        let answer = ask!(&mut broker, 0, DescribeTopicPartitions, 0, request.clone());
        for topic in &answer.topics {
            let name = topic.name.clone().expect("named").to_string();
            seen.extend(topic.partitions.iter().map(|p| (name.clone(), p.partition_index)));
        }
        let Some(next) = answer.next_cursor else { break };
        request.cursor = Some(
            describe_topic_partitions_request::Cursor::default()
                .with_topic_name(next.topic_name)
                .with_partition_index(next.partition_index),
        );
    }
    let all = [("t", 0), ("t", 1), ("t", 2), ("u", 0), ("u", 1)];
    assert_eq!(seen, all.map(|(topic, partition)| (topic.to_owned(), partition)));
}

#[test]
fn offsets_are_kept_for_groups_and_gone_with_them() {
    let mut broker = cluster(1);
    let group = || GroupId(text("g"));
    let row = offset_commit_request::OffsetCommitRequestPartition::default();
    let rows = vec![
        row.clone().with_partition_index(1).with_committed_offset(42),
        row.clone().with_partition_index(9).with_committed_offset(1),
        row.with_partition_index(2).with_committed_metadata(Some(text(&"x".repeat(4097)))),
    ];
    let topic = offset_commit_request::OffsetCommitRequestTopic::default();
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic.with_name(name("t")).with_partitions(rows)]);
    let answer = ask!(&mut broker, 0, OffsetCommit, 8, request);
    let errors: Vec<i16> =
        answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    let unknown = KafkaError::UnknownTopicOrPartition.code();
    assert_eq!(errors, [0, unknown, KafkaError::OffsetMetadataTooLarge.code()]);
    let request = OffsetFetchRequest::default().with_group_id(group()).with_topics(None);
    let answer = ask!(&mut broker, 0, OffsetFetch, 7, request);
    assert_eq!(answer.topics[0].partitions[0].committed_offset, 42);
    let listed = ask!(&mut broker, 0, ListGroups, 5, ListGroupsRequest::default());
    assert_eq!(listed.groups[0].group_state.as_str(), "Empty");
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    assert_eq!(ask!(&mut broker, 0, DeleteGroups, 2, request.clone()).results[0].error_code, 0);
    let again = ask!(&mut broker, 0, DeleteGroups, 2, request).results[0].error_code;
    assert_eq!(again, KafkaError::GroupIdNotFound.code());
}

#[test]
fn groups_are_served_by_their_coordinator_alone() {
    let mut broker = cluster(3);
    let find = |broker: &mut Broker| {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
        ask!(broker, 0, FindCoordinator, 4, request).coordinators[0].node_id.0
    };
    let home = find(&mut broker);
    let request = HeartbeatRequest::default().with_group_id(GroupId(text("g")));
    let elsewhere = (home + 1) % 3;
    let answer = ask!(&mut broker, elsewhere, Heartbeat, 4, request);
    assert_eq!(answer.error_code, KafkaError::NotCoordinator.code());
    broker.kill_node(home);
    let next = find(&mut broker);
    assert!(next != home && next >= 0);
}

/// Epoch, last sequence of each producer of partition 0 of `t`, as DescribeProducers tells.
fn producers(broker: &mut Broker) -> Vec<(i64, i32, i32)> {
    let topic = describe_producers_request::TopicRequest::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let answer = ask!(broker, 0, DescribeProducers, 0, request);
    let active = &answer.topics[0].partitions[0].active_producers;
    active.iter().map(|at| (at.producer_id.0, at.producer_epoch, at.last_sequence)).collect()
}

/// What ListOffsets says for -1 (latest) or -2 (earliest).
fn edge(broker: &mut Broker, which: i64) -> i64 {
    let asked = list_offsets_request::ListOffsetsPartition::default().with_timestamp(which);
    let topic = list_offsets_request::ListOffsetsTopic::default()
        .with_name(name("t"))
        .with_partitions(vec![asked.with_current_leader_epoch(-1)]);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    ask!(broker, 0, ListOffsets, 7, request).topics[0].partitions[0].offset
}

/// Where an epoch ended, as OffsetForLeaderEpoch tells: the epoch and its end.
fn end_of_epoch(broker: &mut Broker, epoch: i32) -> (i32, i64) {
    let asked = offset_for_leader_epoch_request::OffsetForLeaderPartition::default()
        .with_current_leader_epoch(-1)
        .with_leader_epoch(epoch);
    let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
        .with_topic(name("t"))
        .with_partitions(vec![asked]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    let answer = ask!(broker, 0, OffsetForLeaderEpoch, 4, request);
    let found = &answer.topics[0].partitions[0];
    (found.leader_epoch, found.end_offset)
}

#[test]
fn an_unclean_election_takes_records_and_what_was_known_of_their_producers() {
    let mut broker = cluster(1);
    for sequence in [0, 10, 20] {
        produce(&mut broker, Batch::from_producer(10, 7, 0, sequence).bytes());
    }
    produce(&mut broker, Batch::from_producer(5, 8, 3, 0).bytes());
    assert!(broker.truncate("t", 0, 12), "the batch around the offset goes with it");
    assert_eq!((edge(&mut broker, -2), edge(&mut broker, -1)), (0, 10));
    assert_eq!(producers(&mut broker), [(7, 0, 9)]);
    assert_eq!((end_of_epoch(&mut broker, 0), end_of_epoch(&mut broker, 1)), ((0, 10), (1, 10)));
    let late = produce(&mut broker, Batch::from_producer(10, 7, 0, 20).bytes());
    assert_eq!(late.0, KafkaError::OutOfOrderSequenceNumber.code());
    assert_eq!(produce(&mut broker, Batch::from_producer(10, 7, 0, 10).bytes()), (0, 10));
    let zombie = produce(&mut broker, Batch::from_producer(5, 8, 2, 40).bytes());
    assert_eq!(zombie, (0, 20), "who is forgotten is fenced no more");
    assert_eq!(end_of_epoch(&mut broker, 0), (0, 10));
    assert_eq!(end_of_epoch(&mut broker, 1), (1, 25));
}

#[test]
fn an_expired_producer_is_neither_fenced_nor_told_from_a_new_one() {
    let mut broker = cluster(1);
    produce(&mut broker, Batch::from_producer(2, 7, 1, 0).bytes());
    let older = Batch::from_producer(2, 7, 0, 50).bytes();
    assert_eq!(produce(&mut broker, older.clone()).0, KafkaError::InvalidProducerEpoch.code());
    broker.expire_producers(NOW + 999, 1000);
    assert_eq!(producers(&mut broker), [(7, 1, 1)]);
    broker.expire_producers(NOW + 1001, 1000);
    assert_eq!(producers(&mut broker), []);
    assert_eq!(produce(&mut broker, older), (0, 2));
}

#[test]
fn a_high_watermark_that_lags_hides_what_was_appended() {
    let mut broker = cluster(1);
    produce(&mut broker, Batch::from_producer(3, 7, 0, 0).bytes());
    broker.hold_high_watermark("t", 0, Some(3));
    let short = produce(&mut broker, Batch::from_producer(3, 7, 0, 3).bytes());
    assert_eq!(short.0, KafkaError::NotEnoughReplicasAfterAppend.code());
    assert_eq!(edge(&mut broker, -1), 3);
    assert_eq!(producers(&mut broker), [(7, 0, 5)], "the leader knows better than it tells");
    let reply = fetch(&mut broker, fetch_request(0, 3, 1 << 20));
    let part = &reply.topics[0].partitions[0];
    assert_eq!((part.error_code, part.pieces.len(), part.high_watermark), (0, 0, 3));
    broker.hold_high_watermark("t", 0, None);
    assert_eq!(edge(&mut broker, -1), 6);
}

#[test]
fn retention_moves_the_start_and_nothing_else() {
    let mut broker = cluster(1);
    for sequence in [0, 5] {
        produce(&mut broker, Batch::from_producer(5, 7, 0, sequence).bytes());
    }
    assert_eq!(broker.delete_records("t", 0, 7), Ok(7));
    assert_eq!((edge(&mut broker, -2), edge(&mut broker, -1)), (7, 10));
    assert_eq!(producers(&mut broker), [(7, 0, 9)]);
    let reply = fetch(&mut broker, fetch_request(0, 7, 1 << 20));
    assert_eq!(reply.topics[0].partitions[0].pieces.len(), 1, "the batch around the start");
    let reply = fetch(&mut broker, fetch_request(0, 6, 1 << 20));
    assert_eq!(reply.topics[0].partitions[0].error_code, KafkaError::OffsetOutOfRange.code());
}
