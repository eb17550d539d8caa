//! One request for each API and version, with nothing in it that its version does not have.

use bytes::Bytes;
use embedded_broker::ApiKey;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// A request that touches topic `t`, whose id is given, group `g`, or transactional id `x`.
pub(crate) fn request(api: ApiKey, version: i16, id: Uuid) -> RequestKind {
    data(api, version, id)
        .or_else(|| group(api, version))
        .or_else(|| groups(api))
        .or_else(|| topic(api, version))
        .or_else(|| transaction(api))
        .unwrap_or_else(|| panic!("no request for {api:?}: add one"))
}

pub(crate) fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic_name() -> TopicName {
    TopicName(text("t"))
}

fn group_id() -> GroupId {
    GroupId(text("g"))
}

fn txn_id() -> TransactionalId {
    TransactionalId(text("x"))
}

/// Requests about data.
fn data(api: ApiKey, version: i16, id: Uuid) -> Option<RequestKind> {
    let by_id = |from: i16| match version >= from {
        true => (TopicName::default(), id),
        false => (topic_name(), Uuid::nil()),
    };
    Some(match api {
        ApiKey::ApiVersions if version < 3 => RequestKind::ApiVersions(Default::default()),
        ApiKey::ApiVersions => RequestKind::ApiVersions(
            ApiVersionsRequest::default()
                .with_client_software_name(text("test"))
                .with_client_software_version(text("1")),
        ),
        ApiKey::Produce => {
            let (name, id) = by_id(13);
            let data = produce_request::PartitionProduceData::default();
            let data = data.with_records(Some(Bytes::from_static(b"no batch")));
            let topic = produce_request::TopicProduceData::default();
            let topic = topic.with_name(name).with_topic_id(id).with_partition_data(vec![data]);
            RequestKind::Produce(
                ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]),
            )
        }
        ApiKey::Fetch => {
            let (name, id) = by_id(13);
            let asked = fetch_request::FetchPartition::default().with_partition_max_bytes(1 << 20);
            let topic = fetch_request::FetchTopic::default();
            let topic = topic.with_topic(name).with_topic_id(id).with_partitions(vec![asked]);
            let request = FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![topic]);
            let request =
                if version < 15 { request.with_replica_id(BrokerId(-1)) } else { request };
            RequestKind::Fetch(request.with_session_epoch(if version < 7 { -1 } else { 0 }))
        }
        ApiKey::ListOffsets => {
            let asked = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1);
            let topic = list_offsets_request::ListOffsetsTopic::default();
            let topic = topic.with_name(topic_name()).with_partitions(vec![asked]);
            RequestKind::ListOffsets(ListOffsetsRequest::default().with_topics(vec![topic]))
        }
        ApiKey::OffsetForLeaderEpoch => {
            let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default();
            let topic = topic.with_topic(topic_name()).with_partitions(vec![Default::default()]);
            let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
            RequestKind::OffsetForLeaderEpoch(request)
        }
        ApiKey::Metadata => RequestKind::Metadata(if version == 0 {
            MetadataRequest::default().with_topics(Some(Vec::new()))
        } else {
            MetadataRequest::default().with_topics(None)
        }),
        ApiKey::DeleteRecords => {
            let topic = delete_records_request::DeleteRecordsTopic::default();
            let topic = topic.with_name(topic_name()).with_partitions(vec![Default::default()]);
            RequestKind::DeleteRecords(DeleteRecordsRequest::default().with_topics(vec![topic]))
        }
        ApiKey::DescribeProducers => {
            let topic = describe_producers_request::TopicRequest::default();
            let topic = topic.with_name(topic_name()).with_partition_indexes(vec![0, 9]);
            RequestKind::DescribeProducers(
                DescribeProducersRequest::default().with_topics(vec![topic]),
            )
        }
        _ => return None,
    })
}

/// Requests of group members.
fn group(api: ApiKey, version: i16) -> Option<RequestKind> {
    Some(match api {
        ApiKey::OffsetCommit => {
            let row = offset_commit_request::OffsetCommitRequestPartition::default();
            let topic = offset_commit_request::OffsetCommitRequestTopic::default();
            let topic =
                topic.with_name(topic_name()).with_partitions(vec![row.with_committed_offset(3)]);
            let request = OffsetCommitRequest::default().with_group_id(group_id());
            let request = request.with_generation_id_or_member_epoch(-1).with_topics(vec![topic]);
            RequestKind::OffsetCommit(request)
        }
        ApiKey::OffsetFetch if version >= 8 => {
            let asked = offset_fetch_request::OffsetFetchRequestGroup::default();
            let groups = vec![asked.with_group_id(group_id()).with_topics(None)];
            RequestKind::OffsetFetch(OffsetFetchRequest::default().with_groups(groups))
        }
        ApiKey::OffsetFetch => {
            let topic = offset_fetch_request::OffsetFetchRequestTopic::default();
            let topic = topic.with_name(topic_name()).with_partition_indexes(vec![0]);
            let request = OffsetFetchRequest::default().with_group_id(group_id());
            RequestKind::OffsetFetch(request.with_topics(Some(vec![topic])))
        }
        ApiKey::FindCoordinator if version >= 4 => RequestKind::FindCoordinator(
            FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]),
        ),
        ApiKey::FindCoordinator => {
            RequestKind::FindCoordinator(FindCoordinatorRequest::default().with_key(text("g")))
        }
        ApiKey::JoinGroup => {
            let protocol = join_group_request::JoinGroupRequestProtocol::default();
            let request = JoinGroupRequest::default()
                .with_group_id(GroupId(StrBytes::from_string(format!("join-{version}"))))
                .with_session_timeout_ms(6000)
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol.with_name(text("range"))]);
            let timeout = if version >= 1 { 6000 } else { -1 };
            RequestKind::JoinGroup(request.with_rebalance_timeout_ms(timeout))
        }
        ApiKey::SyncGroup => {
            RequestKind::SyncGroup(SyncGroupRequest::default().with_group_id(group_id()))
        }
        ApiKey::Heartbeat => {
            RequestKind::Heartbeat(HeartbeatRequest::default().with_group_id(group_id()))
        }
        ApiKey::LeaveGroup if version >= 3 => {
            let member = leave_group_request::MemberIdentity::default();
            let request = LeaveGroupRequest::default().with_group_id(group_id());
            RequestKind::LeaveGroup(request.with_members(vec![member.with_member_id(text("m"))]))
        }
        ApiKey::LeaveGroup => {
            RequestKind::LeaveGroup(LeaveGroupRequest::default().with_group_id(group_id()))
        }
        _ => return None,
    })
}

/// Requests about groups.
fn groups(api: ApiKey) -> Option<RequestKind> {
    Some(match api {
        ApiKey::DescribeGroups => RequestKind::DescribeGroups(
            DescribeGroupsRequest::default().with_groups(vec![group_id(), GroupId(text("none"))]),
        ),
        ApiKey::ListGroups => RequestKind::ListGroups(Default::default()),
        ApiKey::DeleteGroups => RequestKind::DeleteGroups(
            DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text("none"))]),
        ),
        ApiKey::OffsetDelete => {
            RequestKind::OffsetDelete(OffsetDeleteRequest::default().with_group_id(group_id()))
        }
        _ => return None,
    })
}

/// Requests of administrators.
fn topic(api: ApiKey, version: i16) -> Option<RequestKind> {
    Some(match api {
        ApiKey::CreateTopics => {
            let spec = create_topics_request::CreatableTopic::default()
                .with_name(TopicName(StrBytes::from_string(format!("created-{version}"))))
                .with_num_partitions(2)
                .with_replication_factor(1);
            RequestKind::CreateTopics(CreateTopicsRequest::default().with_topics(vec![spec]))
        }
        ApiKey::DeleteTopics if version >= 6 => {
            let gone = delete_topics_request::DeleteTopicState::default();
            let gone = vec![gone.with_name(Some(TopicName(text("none"))))];
            RequestKind::DeleteTopics(DeleteTopicsRequest::default().with_topics(gone))
        }
        ApiKey::DeleteTopics => RequestKind::DeleteTopics(
            DeleteTopicsRequest::default().with_topic_names(vec![TopicName(text("none"))]),
        ),
        ApiKey::CreatePartitions => {
            let more = create_partitions_request::CreatePartitionsTopic::default();
            let more = more.with_name(topic_name()).with_count(1).with_assignments(None);
            RequestKind::CreatePartitions(
                CreatePartitionsRequest::default().with_topics(vec![more]),
            )
        }
        ApiKey::DescribeConfigs => {
            let topic = describe_configs_request::DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text("t"))
                .with_configuration_keys(None);
            let node = topic.clone().with_resource_type(4).with_resource_name(text("0"));
            let request = DescribeConfigsRequest::default().with_resources(vec![topic, node]);
            RequestKind::DescribeConfigs(request.with_include_synonyms(true))
        }
        ApiKey::AlterConfigs => {
            let resource = alter_configs_request::AlterConfigsResource::default();
            let resource = resource.with_resource_type(2).with_resource_name(text("t"));
            RequestKind::AlterConfigs(AlterConfigsRequest::default().with_resources(vec![resource]))
        }
        ApiKey::IncrementalAlterConfigs => {
            let row = incremental_alter_configs_request::AlterableConfig::default();
            let row = row.with_name(text("retention.ms")).with_value(Some(text("x")));
            let resource = incremental_alter_configs_request::AlterConfigsResource::default();
            let resource = resource.with_resource_type(2).with_resource_name(text("t"));
            let resources = vec![resource.with_configs(vec![row])];
            let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
            RequestKind::IncrementalAlterConfigs(request)
        }
        ApiKey::DescribeCluster => RequestKind::DescribeCluster(Default::default()),
        ApiKey::DescribeAcls => RequestKind::DescribeAcls(
            DescribeAclsRequest::default()
                .with_resource_type_filter(1)
                .with_pattern_type_filter(3)
                .with_operation(1)
                .with_permission_type(1),
        ),
        ApiKey::DescribeTopicPartitions => {
            let request = DescribeTopicPartitionsRequest::default();
            let request = request.with_response_partition_limit(1).with_cursor(None);
            RequestKind::DescribeTopicPartitions(request)
        }
        _ => return None,
    })
}

/// Requests of transactional producers.
fn transaction(api: ApiKey) -> Option<RequestKind> {
    Some(match api {
        ApiKey::InitProducerId => {
            let request = InitProducerIdRequest::default().with_transaction_timeout_ms(1000);
            RequestKind::InitProducerId(request.with_transactional_id(Some(txn_id())))
        }
        ApiKey::AddPartitionsToTxn => {
            let topic = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default();
            let topic = topic.with_name(topic_name()).with_partitions(vec![0, 9]);
            RequestKind::AddPartitionsToTxn(
                AddPartitionsToTxnRequest::default()
                    .with_v3_and_below_transactional_id(txn_id())
                    .with_v3_and_below_topics(vec![topic]),
            )
        }
        ApiKey::AddOffsetsToTxn => RequestKind::AddOffsetsToTxn(
            AddOffsetsToTxnRequest::default()
                .with_transactional_id(txn_id())
                .with_group_id(group_id()),
        ),
        ApiKey::EndTxn => {
            RequestKind::EndTxn(EndTxnRequest::default().with_transactional_id(txn_id()))
        }
        ApiKey::TxnOffsetCommit => {
            let row = txn_offset_commit_request::TxnOffsetCommitRequestPartition::default();
            let topic = txn_offset_commit_request::TxnOffsetCommitRequestTopic::default();
            let topic = topic.with_name(topic_name()).with_partitions(vec![row]);
            RequestKind::TxnOffsetCommit(
                TxnOffsetCommitRequest::default()
                    .with_transactional_id(txn_id())
                    .with_group_id(group_id())
                    .with_topics(vec![topic]),
            )
        }
        _ => return None,
    })
}
