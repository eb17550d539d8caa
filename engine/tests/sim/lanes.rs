//! Several lanes to one source broker, answer by answer.

use bytes::Bytes;
use engine::flow::budget::Budget;
use engine::flow::event::{Event, LaneId};
use engine::flow::settings::ShardSettings;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::RawFetch;

use crate::rig::{Asked, Rig, batches};

/// Three lanes, of which none asks for more than five batches.
fn rig(partitions: i32) -> Rig {
    let settings = ShardSettings {
        least_fetch_lanes: 3,
        most_fetch_lanes: 3,
        fetch_max_bytes: 100_000,
        ..ShardSettings::default()
    };
    Rig::running(settings, partitions)
}

fn offset(asked: &Asked<RawFetch>) -> i64 {
    asked.request.topics[0].partitions[0].offset
}

/// A partition that has filled its lane twice, and what is asked for then.
fn split() -> (Rig, Vec<Asked<RawFetch>>) {
    let mut rig = rig(1);
    rig.bring(batches(0, &[1; 4]));
    rig.bring(batches(4, &[1; 4]));
    let asked = rig.fetches();
    assert_eq!(asked.iter().map(offset).collect::<Vec<_>>(), [8, 12, 16]);
    (rig, asked)
}

fn answer(rig: &mut Rig, lane: LaneId, first: i64, count: usize) {
    rig.answer_fetch(lane, vec![(0, ErrorCode::NONE, batches(first, &vec![1; count]))]);
}

/// Acknowledges what is sent until nothing more is; answers where the partition stands then.
fn deliver(rig: &mut Rig) -> i64 {
    for _ in 0..100 {
        for asked in rig.produces() {
            let base_offset = rig.position();
            rig.answer_produce(&asked, Ok(base_offset));
        }
    }
    rig.position()
}

#[test]
fn partitions_are_spread_over_lanes() {
    let mut rig = rig(6);
    let mut lanes: Vec<(u16, usize)> = Vec::new();
    for asked in rig.fetches() {
        lanes.push((asked.lane.number, asked.request.topics[0].partitions.len()));
    }
    assert_eq!(lanes, [(0, 2), (1, 2), (2, 2)]);
}

#[test]
fn spans_are_handed_over_in_order_whenever_they_come() {
    let (mut rig, asked) = split();
    assert_eq!(deliver(&mut rig), 8);
    answer(&mut rig, asked[2].lane, 16, 4);
    answer(&mut rig, asked[1].lane, 12, 4);
    assert_eq!(deliver(&mut rig), 8, "what comes first is not there");
    let ahead: Vec<i64> = rig.fetches().iter().map(offset).collect();
    assert_eq!(ahead, [20, 24, 28, 32, 36], "each has two under way");
    answer(&mut rig, asked[0].lane, 8, 4);
    assert_eq!(deliver(&mut rig), 20);
}

#[test]
fn a_guess_within_a_batch_and_a_hole_cost_nothing_but_bytes() {
    let (mut rig, asked) = split();
    // The batch that holds offset 12 begins at 11, and what follows ends before offset 16.
    answer(&mut rig, asked[1].lane, 11, 3);
    let hole = rig.fetches();
    assert_eq!(hole.iter().map(offset).collect::<Vec<_>>(), [14, 20, 24]);
    // The first span is shorter than was thought.
    answer(&mut rig, asked[0].lane, 8, 2);
    assert_eq!(deliver(&mut rig), 10);
    let head = rig.fetches();
    assert_eq!(head.iter().map(offset).collect::<Vec<_>>(), [10, 28]);
    // The log lacks offsets 16 and 17.
    answer(&mut rig, asked[2].lane, 18, 2);
    answer(&mut rig, hole[0].lane, 14, 2);
    answer(&mut rig, head[0].lane, 10, 1);
    assert_eq!(deliver(&mut rig), 20);
}

#[test]
fn the_span_of_a_lost_lane_is_read_by_another() {
    let (mut rig, asked) = split();
    rig.feed(Event::LaneDown(asked[0].lane));
    answer(&mut rig, asked[1].lane, 12, 4);
    let next = rig.fetches();
    assert_eq!((next[0].lane, offset(&next[0])), (asked[1].lane, 8));
    answer(&mut rig, next[0].lane, 8, 4);
    assert_eq!(deliver(&mut rig), 16);
}

#[test]
fn trouble_brings_a_partition_back_to_its_own_lane() {
    let (mut rig, asked) = split();
    answer(&mut rig, asked[1].lane, 12, 4);
    let behind = rig.fetches();
    assert_eq!((behind[0].lane.number, offset(&behind[0])), (0, 20));
    let error = vec![(0, ErrorCode(74), Bytes::new())];
    rig.answer_fetch(asked[0].lane, error);
    let own = rig.fetches();
    assert_eq!((own.len(), own[0].lane.number, offset(&own[0])), (1, 0, 8));
    // What else is under way is not wanted any more.
    answer(&mut rig, behind[0].lane, 20, 4);
    answer(&mut rig, asked[2].lane, 16, 4);
    assert_eq!(deliver(&mut rig), 8);
    answer(&mut rig, own[0].lane, 8, 2);
    assert_eq!(deliver(&mut rig), 10);
}

/// What is asked for of a partition by each lane.
fn offsets_of(index: i32, asked: &[Asked<RawFetch>]) -> Vec<(u16, i64)> {
    let mut found = Vec::new();
    for one in asked {
        for part in one.request.topics.iter().flat_map(|topic| &topic.partitions) {
            if part.index == index {
                found.push((one.lane.number, part.offset));
            }
        }
    }
    found
}

#[test]
fn a_lane_that_helps_goes_on_with_partitions_of_its_own() {
    let mut rig = rig(2);
    let asked = rig.fetches();
    let (own, other) = (asked[0].lane, asked[1].lane);
    answer(&mut rig, own, 0, 4);
    let _ = rig.fetches();
    answer(&mut rig, own, 4, 4);
    // The broker may hold what the other lane has asked for: a span would wait behind it.
    assert_eq!(offsets_of(0, &rig.fetches()), [(0, 8), (2, 12)]);
    rig.answer_fetch(other, vec![(1, ErrorCode::NONE, batches(0, &[1]))]);
    let asked = rig.fetches();
    assert!(offsets_of(0, &asked).contains(&(1, 20)), "{asked:?}");
    assert_eq!(offsets_of(1, &asked), [(1, 1)]);
    let waits = asked.iter().filter(|one| one.lane == other).map(|one| one.request.max_wait_ms);
    assert_eq!(waits.collect::<Vec<_>>(), [0, 0], "neither keeps the other waiting");
    answer(&mut rig, other, 20, 4);
    rig.answer_fetch(other, vec![(1, ErrorCode::NONE, batches(1, &[1]))]);
    let asked = rig.fetches();
    assert_eq!(offsets_of(1, &asked), [(1, 2)]);
    assert!(offsets_of(0, &asked).iter().any(|(lane, _)| *lane == 1), "{asked:?}");
}

#[test]
fn what_comes_while_the_target_is_slow_waits_and_is_not_read_again() {
    let settings = ShardSettings {
        least_fetch_lanes: 3,
        most_fetch_lanes: 3,
        fetch_max_bytes: 100_000,
        // Of one partition a sixteenth may wait in its queue.
        budget: Budget::alone(1_600_000),
        ..ShardSettings::default()
    };
    let mut rig = Rig::running(settings, 1);
    rig.bring(batches(0, &[1; 4]));
    assert_eq!(deliver(&mut rig), 4);
    rig.bring(batches(4, &[1; 4]));
    let mut asked = rig.fetches();
    let mut next = 8;
    // The target answers nothing, and yet the lanes go on until what waits fills the memory.
    while let Some(one) = asked.iter().find(|one| offset(one) == next) {
        answer(&mut rig, one.lane, next, 4);
        next += 4;
        asked.retain(|one| offset(one) >= next);
        asked.extend(rig.fetches());
    }
    assert!((40..=80).contains(&next), "{next} batches of 20 KB");
    assert!(rig.shard.held_bytes() <= 1_700_000);
    assert_eq!(deliver(&mut rig), next, "all of it arrives, and none is asked for again");
    assert!(rig.fetches().iter().all(|one| offset(one) >= next));
}
