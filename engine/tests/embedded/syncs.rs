//! The offset-syncs topic: what Java reads of it, and what the next start does.

use embedded_broker::Cluster;
use engine::index::{OffsetIndex, Translation};
use engine::records::OffsetSync;
use protocol_client::batch::BatchBuilder;

use crate::setup::{Clusters, eventually, stop, until};

const ON_SOURCE: &str = "mm2-offset-syncs.target.internal";
const ON_TARGET: &str = "mm2-offset-syncs.source.internal";
const EAGER: &str = "offset.lag.max = 0";

/// The last record of each key, decoded.
fn last_sync(cluster: &Cluster, topic: &str, of: &str) -> Option<(OffsetSync, OffsetIndex)> {
    let records = cluster.records(topic, 0).ok()?;
    let mut decoded = records.into_iter().filter_map(|(_, record)| {
        let value = record.value?;
        let sync = OffsetSync::decode(&record.key?, &value).ok()?;
        let (_, index) = sync.decode_index(&value).ok()??;
        Some((sync, index))
    });
    decoded.rfind(|(sync, _)| sync.topic == of)
}

/// The offsets of a partition's records on both sides, in order.
fn pairs(clusters: &Clusters, topic: &str) -> Vec<(i64, i64)> {
    let offsets = |cluster: &Cluster, topic: &str| {
        let records = cluster.records(topic, 0).expect("it is there");
        records.into_iter().map(|(offset, _)| offset).collect::<Vec<_>>()
    };
    let source = offsets(&clusters.source, topic);
    let target = offsets(&clusters.target, &format!("source.{topic}"));
    assert_eq!(source.len(), target.len());
    source.into_iter().zip(target).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_survives_restarts_on_either_side() {
    for (location, topic) in [("source", ON_SOURCE), ("target", ON_TARGET)] {
        let mut clusters = Clusters::start(1).await;
        clusters.create("orders", 1);
        let config = format!("{EAGER}\noffset-syncs.topic.location = {location}");
        clusters.write("orders", 0, 3, 10);
        let engine = clusters.mirror(&config);
        clusters.assert_mirrored("orders", 0).await;
        stop(engine).await;
        let last = |clusters: &Clusters| match location {
            "source" => last_sync(&clusters.source, topic, "orders"),
            _ => last_sync(&clusters.target, topic, "orders"),
        };
        let (sync, first) = last(&clusters).expect("it is written at the end");
        assert_eq!((sync.upstream_offset, sync.downstream_offset), (29, 29), "{location}");
        assert_eq!(first.breakpoints(), 1);

        let engine = clusters.mirror(&config);
        until(&engine, "the partition", |all| all.iter().any(|at| &*at.source.topic == "orders"))
            .await;
        clusters.write("orders", 0, 2, 10);
        clusters.assert_mirrored("orders", 0).await;
        stop(engine).await;
        let (_, second) = last(&clusters).expect("as before");
        assert_eq!(second.start(), Some((0, 0)), "the history is not lost");
        for (source, target) in pairs(&clusters, "orders") {
            assert_eq!(second.translate(source), Translation::Exact(target));
        }
    }
}

/// The process ends without a word: the logs are compared from where the stored index ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_no_gap_in_an_index() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 1);
    for round in 0..5 {
        clusters.write("orders", 0, 3 + round, 7);
        let engine = clusters.mirror(EAGER);
        clusters.assert_mirrored("orders", 0).await;
        // Without a first record a position that is stored may be all that is left of the first rounds.
        if round == 0 {
            let source = &clusters.source;
            eventually("a record", || last_sync(source, ON_SOURCE, "orders").is_some()).await;
        }
        drop(engine);
    }
    let engine = clusters.mirror(EAGER);
    until(&engine, "the partition", |all| {
        all.iter().any(|at| &*at.source.topic == "orders" && at.target_next.is_some())
    })
    .await;
    stop(engine).await;
    let (_, index) = last_sync(&clusters.source, ON_SOURCE, "orders").expect("the end writes it");
    for (source, target) in pairs(&clusters, "orders") {
        assert_eq!(index.translate(source), Translation::Exact(target));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn turned_off_nothing_is_created() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 1);
    clusters.write("orders", 0, 1, 5);
    let engine = clusters.mirror("emit.offset-syncs.enabled = false");
    clusters.assert_mirrored("orders", 0).await;
    stop(engine).await;
    for cluster in [&clusters.source, &clusters.target] {
        let ends = [ON_SOURCE, ON_TARGET].map(|topic| cluster.end_offset(topic, 0));
        assert_eq!(ends, [None, None]);
    }
}

/// Somebody wrote nonsense into the topic; the rest of it counts.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_records_in_the_topic_do_no_harm() {
    let mut clusters = Clusters::start(1).await;
    clusters.create("orders", 1);
    clusters.write("orders", 0, 1, 5);
    let engine = clusters.mirror(EAGER);
    clusters.assert_mirrored("orders", 0).await;
    stop(engine).await;
    let mut batch = BatchBuilder::new();
    batch.push(Some(b"nonsense"), Some(b"nonsense"), &[], 0);
    batch.push(None, None, &[], 0);
    let bytes = batch.build().expect("records were pushed").bytes;
    clusters.source.append(ON_SOURCE, 0, &bytes, false).expect("it is there");
    let engine = clusters.mirror(EAGER);
    clusters.write("orders", 0, 1, 5);
    clusters.assert_mirrored("orders", 0).await;
    stop(engine).await;
    let (sync, index) = last_sync(&clusters.source, ON_SOURCE, "orders").expect("it is written");
    assert_eq!((sync.upstream_offset, index.start()), (9, Some((0, 0))));
}
