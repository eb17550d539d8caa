//! Single situations, played by hand: what the shard does must follow from the rules its files state.

use std::collections::BTreeSet;
use std::time::Duration;

use engine::flow::budget::Budget;
use engine::flow::event::{Coordinate, Effect, Event, Failure, Happening, Producer, Start};
use engine::flow::settings::{Boundary, RoundSettings, ShardSettings};
use engine::flow::shard::PartitionState;
use engine::model::{Pair, Side};
use protocol_client::wire::error_code::ErrorCode;
use uuid::Uuid;

use crate::rig::{Rig, SOURCE_ID, batches, sized, stamps};

const NOT_ENOUGH_REPLICAS: ErrorCode = ErrorCode(19);
const MESSAGE_TOO_LARGE: ErrorCode = ErrorCode(10);
const OUT_OF_ORDER: ErrorCode = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;

/// A rig with one partition whose target has acknowledged offset 0, so that whole windows go out.
fn established() -> Rig {
    let mut rig = Rig::running(ShardSettings::default(), 1);
    rig.bring(batches(0, &[1]));
    let first = rig.produces().remove(0);
    rig.answer_produce(&first, Ok(0));
    assert_eq!(rig.position(), 1);
    rig
}

#[test]
fn a_target_that_refuses_for_now_is_asked_ever_less_often_and_people_hear_of_it() {
    let mut rig = Rig::running(ShardSettings::default(), 1);
    rig.bring(batches(0, &[1]));
    let mut requests = 0;
    for _ in 0..1_000 {
        for asked in rig.produces() {
            requests += 1;
            rig.answer_produce(&asked, Err(NOT_ENOUGH_REPLICAS));
        }
        rig.say_ends(0);
        rig.pass(10);
        for asked in rig.fetches() {
            let wanted = asked.request.topics.iter().flat_map(|topic| &topic.partitions);
            let records = wanted.map(|part| (0, ErrorCode::NONE, batches(part.offset, &[1])));
            let records = records.take(1).collect();
            rig.answer_fetch(asked.lane, records);
        }
    }
    assert!((5..30).contains(&requests), "{requests} requests in 10 s");
    let told = rig.happenings();
    assert!(told.contains(&Happening::TargetAway(NOT_ENOUGH_REPLICAS)), "{told:?}");
    assert_eq!(rig.progress(0).state, PartitionState::Retrying);
}

#[test]
fn a_failed_partition_does_not_make_the_others_be_polled() {
    let mut rig = Rig::running(ShardSettings::default(), 2);
    let asked = rig.fetches().remove(0);
    let denied = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    rig.answer_fetch(asked.lane, vec![(0, denied, Default::default())]);
    assert_eq!(rig.progress(0).state, PartitionState::Failed);
    let next = rig.fetches().remove(0);
    assert_eq!(next.request.max_wait_ms, ShardSettings::default().fetch_max_wait_ms);
    assert_eq!(next.request.forgotten.len(), 1, "it leaves the session");
}

#[test]
fn a_full_partition_may_come_back_soon() {
    let settings = ShardSettings { budget: Budget::alone(8 << 20), ..ShardSettings::default() };
    let mut rig = Rig::running(settings, 2);
    rig.bring(sized(0, &[1, 1, 1], 600_000));
    let next = rig.fetches().remove(0);
    assert!(next.request.max_wait_ms <= 5, "{}", next.request.max_wait_ms);
}

#[test]
fn a_partition_without_leader_is_told_of_and_metadata_is_not_asked_for_all_the_time() {
    for side in [Side::Source, Side::Target] {
        let mut rig = Rig::running(ShardSettings::default(), 1);
        rig.refreshes(side);
        rig.lead(side, &[-1]);
        let mut refreshes = 0;
        for _ in 0..1_000 {
            rig.pass(10);
            if rig.refreshes(side) > 0 {
                refreshes += 1;
                rig.lead(side, &[-1]);
            }
        }
        assert!((5..30).contains(&refreshes), "{refreshes} refreshes in 10 s");
        let told = rig.happenings();
        let away = match side {
            Side::Source => Happening::SourceAway(ErrorCode::LEADER_NOT_AVAILABLE),
            Side::Target => Happening::TargetAway(ErrorCode::LEADER_NOT_AVAILABLE),
        };
        assert_eq!(told.iter().filter(|what| **what == away).count(), 1, "{told:?}");
        assert_eq!(rig.progress(0).state, PartitionState::Retrying);
    }
}

#[test]
fn a_connection_that_is_away_shows_in_the_state() {
    let mut rig = Rig::running(ShardSettings::default(), 1);
    assert_eq!(rig.progress(0).state, PartitionState::Running);
    let lane = rig.fetches().remove(0).lane;
    rig.feed(Event::LaneDown(lane));
    assert_eq!(rig.progress(0).state, PartitionState::Retrying);
    rig.pass(100);
    rig.connect_all();
    assert_eq!(rig.progress(0).state, PartitionState::Running);
}

#[test]
fn a_partition_whose_target_has_no_leader_pins_nothing() {
    let mut rig = established();
    rig.bring(batches(1, &[1; 20]));
    assert!(rig.shard.held_bytes() > 300_000);
    let under_way = rig.produces();
    rig.lead(Side::Target, &[-1]);
    // What is in the window stays, as copies of its own.
    assert!(rig.shard.held_bytes() < 120_000, "{}", rig.shard.held_bytes());
    assert!(!under_way.is_empty());
}

#[test]
fn a_partition_that_comes_to_a_dead_lane_is_not_fetched() {
    let mut rig = Rig::running(ShardSettings::default(), 2);
    rig.lead(Side::Target, &[1, 2]);
    let dead = rig.connects();
    rig.feed(Event::LaneDown(dead[0]));
    rig.lead(Side::Target, &[2, 2]);
    let asked = rig.fetches().remove(0);
    rig.answer_fetch(asked.lane, vec![(0, ErrorCode::NONE, batches(0, &[1; 20]))]);
    assert_eq!(rig.shard.held_bytes(), 0);
    assert!(rig.fetches().is_empty(), "nobody can take records");
    rig.pass(100);
    rig.connect_all();
    assert_eq!(rig.fetches().len(), 1);
}

#[test]
fn an_offset_that_is_out_of_range_for_one_broker_only_is_no_reason_to_hurry() {
    let mut rig = Rig::running(ShardSettings::default(), 1);
    let mut fetches = 0;
    for _ in 0..1_000 {
        for asked in rig.fetches() {
            fetches += 1;
            let error = ErrorCode::OFFSET_OUT_OF_RANGE;
            rig.answer_fetch(asked.lane, vec![(0, error, Default::default())]);
        }
        rig.say_ranges(0, 100);
        rig.pass(10);
    }
    assert!((5..30).contains(&fetches), "{fetches} fetches in 10 s");
    assert_eq!(rig.position(), 0);
    assert!(!rig.happenings().is_empty());
}

#[test]
fn a_broker_that_refuses_whole_fetches_is_left_alone_for_a_while() {
    let mut rig = Rig::running(ShardSettings::default(), 1);
    let mut fetches = 0;
    for _ in 0..1_000 {
        for asked in rig.fetches() {
            fetches += 1;
            let answer = protocol_client::wire::fetch::RawFetchAnswer {
                throttle: Duration::ZERO,
                error: ErrorCode::UNKNOWN_SERVER_ERROR,
                session_id: 0,
                partitions: Vec::new(),
                frame_bytes: 20,
                waited: None,
            };
            rig.feed(Event::Fetched(asked.lane, answer));
        }
        rig.pass(10);
        rig.connect_all();
    }
    assert!((5..30).contains(&fetches), "{fetches} fetches in 10 s");
    assert_eq!(rig.shard.held_bytes(), 0);
}

#[test]
fn batches_behind_one_that_is_refused_for_now_keep_their_sequence_numbers() {
    let mut rig = established();
    rig.bring(batches(1, &[2, 3, 4]));
    let asked = rig.produces();
    assert_eq!(asked.len(), 3);
    let before: Vec<_> = asked.iter().flat_map(|asked| stamps(&asked.request)).collect();
    rig.answer_produce(&asked[0], Err(NOT_ENOUGH_REPLICAS));
    rig.answer_produce(&asked[1], Err(OUT_OF_ORDER));
    rig.answer_produce(&asked[2], Err(OUT_OF_ORDER));
    rig.pass(200);
    assert_eq!(rig.say_ends(1), 1);
    let again: Vec<_> = rig.produces().iter().flat_map(|asked| stamps(&asked.request)).collect();
    assert_eq!(before, again);
}

#[test]
fn a_refused_batch_stops_the_partition_behind_what_was_appended() {
    let mut rig = established();
    rig.bring(batches(1, &[2, 3, 4]));
    let asked = rig.produces();
    rig.answer_produce(&asked[0], Err(ErrorCode(7)));
    rig.answer_produce(&asked[1], Err(MESSAGE_TOO_LARGE));
    rig.answer_produce(&asked[2], Err(OUT_OF_ORDER));
    rig.pass(200);
    // The first one is in the log although its answer was a timeout.
    rig.say_ends(3);
    rig.say_log(&[Some(&asked[0])]);
    assert_eq!(rig.progress(0).state, PartitionState::Failed);
    assert_eq!(rig.position(), 3);
    assert_eq!(rig.shard.held_bytes(), 0);
    let told = rig.happenings();
    let refused = Failure::Refused { source_offset: 3, error: MESSAGE_TOO_LARGE, message: None };
    assert!(told.contains(&Happening::Failed(refused)), "{told:?}");
}

#[test]
fn a_source_that_fails_does_not_make_what_is_under_way_be_forgotten() {
    let mut rig = established();
    rig.bring(batches(1, &[2, 3]));
    let under_way = rig.produces();
    assert_eq!(under_way.len(), 2);
    let asked = rig.fetches().pop().expect("the next records are asked for");
    let denied = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    rig.answer_fetch(asked.lane, vec![(0, denied, Default::default())]);
    assert_eq!(rig.progress(0).state, PartitionState::Failed);
    rig.answer_produce(&under_way[0], Ok(1));
    rig.answer_produce(&under_way[1], Ok(3));
    assert_eq!(rig.position(), 6);
    assert_eq!(rig.shard.held_bytes(), 0);
}

#[test]
fn the_answer_to_an_earlier_sending_is_not_taken_for_the_present_one() {
    let mut rig = established();
    rig.bring(batches(1, &[2]));
    let first = rig.produces().remove(0);
    rig.lead(Side::Target, &[2]);
    rig.connect_all();
    rig.say_ends(1);
    let second = rig.produces().remove(0);
    assert_eq!(stamps(&first.request), stamps(&second.request));
    rig.answer_produce(&first, Err(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    assert_eq!(rig.say_ends(1), 0, "the second sending is still under way");
    rig.answer_produce(&second, Ok(1));
    assert_eq!(rig.position(), 3);
}

#[test]
fn lanes_are_never_confused_with_earlier_ones() {
    let mut rig = Rig::running(ShardSettings::default(), 1);
    let mut seen = BTreeSet::new();
    for round in 0..6 {
        let node = 2 + round % 2;
        rig.lead(Side::Source, &[node]);
        rig.lead(Side::Target, &[node]);
        for lane in rig.connects() {
            assert!(seen.insert(lane), "{lane:?} came twice");
        }
    }
}

#[test]
fn a_connection_that_comes_too_late_is_closed() {
    let mut rig = Rig::running(ShardSettings::default(), 1);
    rig.lead(Side::Target, &[2]);
    let late = rig.connects()[0];
    rig.lead(Side::Target, &[1]);
    rig.effects.clear();
    rig.feed(Event::LaneUp(late));
    let closed = rig.take(|effect| match effect {
        Effect::Close(lane, ..) => Some(*lane),
        _ => None,
    });
    assert_eq!(closed, vec![late]);
}

#[test]
fn a_tiny_budget_still_moves_records() {
    let settings = ShardSettings { budget: Budget::alone(10_000), ..ShardSettings::default() };
    let mut rig = Rig::running(settings, 1);
    rig.bring(batches(0, &[5]));
    assert!(rig.fetches().is_empty(), "the budget is used up");
    let asked = rig.produces().remove(0);
    rig.answer_produce(&asked, Ok(0));
    assert_eq!(rig.fetches().len(), 1);
}

#[test]
fn lanes_take_turns_when_the_budget_is_for_one_only() {
    let settings = ShardSettings { budget: Budget::alone(1_000), ..ShardSettings::default() };
    let mut rig = Rig::new(settings);
    rig.lead(Side::Source, &[1, 2, 3]);
    rig.lead(Side::Target, &[1, 1, 1]);
    (0..3).for_each(|index| rig.add(index, Start::Pair(Pair::NOWHERE)));
    rig.connect_all();
    rig.say_ends(0);
    let mut nodes = Vec::new();
    for _ in 0..6 {
        let asked = rig.fetches();
        assert_eq!(asked.len(), 1, "the budget is respected");
        nodes.push(asked[0].lane.node);
        rig.answer_fetch(asked[0].lane, Vec::new());
    }
    let all: BTreeSet<i32> = nodes.iter().copied().collect();
    assert_eq!(all.len(), 3, "{nodes:?}");
}

#[test]
fn a_recreated_topic_is_not_mixed_with_the_one_before() {
    for side in [Side::Source, Side::Target] {
        let mut rig = established();
        let topic = if side == Side::Source { "orders" } else { "copy" };
        rig.lead_topic(side, topic, Uuid::from_u128(77), &[1]);
        assert_eq!(rig.progress(0).state, PartitionState::Failed);
        let told = rig.happenings();
        assert!(told.contains(&Happening::Failed(Failure::Recreated(side))), "{told:?}");
        assert_eq!(rig.position(), 1);
    }
}

#[test]
fn an_older_view_does_not_undo_a_newer_one() {
    let mut rig = Rig::running(ShardSettings::default(), 1);
    let mut other = Rig::running(ShardSettings::default(), 1);
    let _ = other.connects();
    rig.lead(Side::Source, &[2]);
    rig.connect_all();
    // The same generation as the one in force, as it was before the leader moved.
    rig.rewind_views(Side::Source, 2);
    rig.lead(Side::Source, &[1]);
    assert!(rig.connects().is_empty(), "the partition stays on node 2");
}

#[test]
fn a_damaged_batch_is_fetched_again_three_times() {
    let mut rig = established();
    for attempt in 0..4 {
        assert_ne!(rig.progress(0).state, PartitionState::Failed, "attempt {attempt}");
        assert_eq!(rig.produces().len(), 0);
        rig.bring(batches(1, &[2]));
        let asked = rig.produces().remove(0);
        rig.answer_produce(&asked, Err(ErrorCode::CORRUPT_MESSAGE));
        rig.bring(batches(3, &[1]));
        rig.pass(3_000);
    }
    assert_eq!(rig.progress(0).state, PartitionState::Failed);
    assert_eq!(rig.position(), 1);
    assert_eq!(rig.shard.held_bytes(), 0);
}

#[test]
fn a_damaged_batch_among_small_ones_stops_nobody_before_it() {
    let mut rig = established();
    let mut records = sized(1, &[1, 1, 1], 100).to_vec();
    let last = records.len() - 1;
    records[last] ^= 1;
    rig.bring(records.into());
    let good = rig.produces();
    let sizes: Vec<_> = good.iter().flat_map(|asked| stamps(&asked.request)).collect();
    assert!(!sizes.is_empty(), "the good ones are sent");
    assert_ne!(rig.progress(0).state, PartitionState::Failed);
}

#[test]
fn records_that_are_no_whole_batch_do_not_make_a_circle() {
    let mut rig = established();
    let whole = batches(1, &[5]);
    let mut fetches = 0;
    for _ in 0..1_000 {
        for asked in rig.fetches() {
            fetches += 1;
            let cut = whole.slice(..whole.len() - 1);
            rig.answer_fetch(asked.lane, vec![(0, ErrorCode::NONE, cut)]);
        }
        rig.pass(10);
    }
    assert!(fetches < 30, "{fetches} fetches in 10 s");
    assert_eq!(rig.progress(0).state, PartitionState::Failed);
    assert_eq!(rig.position(), 1);
}

#[test]
fn a_slow_target_frees_the_frames_of_others() {
    let mut rig = established();
    rig.bring(batches(1, &[1; 20]));
    let held = rig.shard.held_bytes();
    let under_way = rig.produces();
    rig.pass(6_000);
    assert!(rig.shard.held_bytes() < held / 3, "{} of {held}", rig.shard.held_bytes());
    let first = under_way.first().expect("a window is under way");
    rig.answer_produce(first, Ok(1));
    assert_eq!(rig.position(), 2);
}

#[test]
fn a_lone_small_batch_stays_sealed_and_a_run_is_merged() {
    let mut rig = established();
    rig.bring(sized(1, &[1], 100));
    let alone = rig.produces().remove(0);
    rig.answer_produce(&alone, Ok(1));
    let delivered = rig.progress(0).delivered;
    assert_eq!((delivered.sealed_batches, delivered.merged_batches), (2, 0));
    rig.bring(sized(2, &[1; 9], 100));
    let run = rig.produces();
    assert_eq!(stamps(&run[0].request)[0].2, 9);
    rig.answer_produce(&run[0], Ok(2));
    assert_eq!(rig.progress(0).delivered.merged_batches, 1);
    assert_eq!(rig.position(), 11);
}

#[test]
fn an_unclear_window_is_settled_by_the_end_of_the_log() {
    for appended in 0..=3usize {
        let counts = [2, 3, 4];
        let mut rig = established();
        rig.bring(batches(1, &counts));
        let asked = rig.produces();
        rig.feed(Event::LaneDown(asked[0].lane));
        let records: u32 = counts[..appended].iter().sum();
        rig.say_ends(1 + i64::from(records));
        let there: Vec<_> = asked[..appended].iter().map(Some).collect();
        assert_eq!(rig.say_log(&there), usize::from(appended > 0));
        assert_eq!(rig.position(), 1 + i64::from(records));
        rig.pass(2_000);
        rig.connect_all();
        let again: Vec<i32> = rig
            .produces()
            .iter()
            .flat_map(|asked| stamps(&asked.request))
            .map(|(_, _, records)| records)
            .collect();
        let rest: Vec<i32> = counts[appended..].iter().map(|count| *count as i32).collect();
        assert_eq!(again, rest);
    }
}

#[test]
fn a_foreign_writer_makes_nobody_believe_that_batches_arrived() {
    let mut rig = established();
    rig.bring(batches(1, &[5, 5]));
    let asked = rig.produces();
    rig.feed(Event::LaneDown(asked[0].lane));
    // Somebody else wrote three records; ours are not there.
    rig.say_ends(4);
    rig.say_log(&[None; 3]);
    assert_eq!(rig.position(), 1);
    let foreign = Happening::Foreign { from: 1, to: 4, offsets: 3 };
    assert!(rig.happenings().contains(&foreign));
    rig.pass(2_000);
    rig.connect_all();
    let again = rig.produces();
    let same: Vec<_> = asked.iter().flat_map(|asked| stamps(&asked.request)).collect();
    assert_eq!(same, again.iter().flat_map(|asked| stamps(&asked.request)).collect::<Vec<_>>());
    rig.answer_produce(&again[0], Ok(4));
    rig.answer_produce(&again[1], Ok(9));
    assert_eq!(rig.position(), 11);
    assert_eq!(rig.progress(0).target_next, Some(14));
}

#[test]
fn as_many_foreign_records_as_were_sent_fool_nobody() {
    let mut rig = established();
    rig.bring(batches(1, &[2]));
    let asked = rig.produces();
    rig.feed(Event::LaneDown(asked[0].lane));
    rig.say_ends(3);
    rig.say_log(&[None; 2]);
    assert_eq!(rig.position(), 1);
    rig.pass(2_000);
    rig.connect_all();
    let again = rig.produces();
    rig.feed(Event::LaneDown(again[0].lane));
    rig.say_ends(7);
    rig.say_log(&[None, Some(&asked[0]), None]);
    assert_eq!((rig.position(), rig.progress(0).target_next), (3, Some(7)));
}

#[test]
fn an_answer_at_the_wrong_place_proves_nothing() {
    let mut rig = established();
    rig.bring(batches(1, &[5, 5]));
    let asked = rig.produces();
    // The broker forgot the producer between the two: it refused the first and took the second.
    rig.answer_produce(&asked[0], Err(NOT_ENOUGH_REPLICAS));
    rig.answer_produce(&asked[1], Ok(1));
    rig.pass(200);
    rig.say_ends(6);
    rig.say_log(&[Some(&asked[1])]);
    assert_eq!(
        rig.position(),
        1,
        "the end fits the first batch, but it is the second that is there"
    );
}

/// A partition has joined a round, and its lane is away before it sends: the round ends without it.
#[test]
fn what_waits_in_a_round_that_is_undone_is_not_forgotten() {
    let transaction_timeout = Duration::from_secs(60);
    let rounds = Some(RoundSettings { boundary: Boundary::Poll, transaction_timeout });
    let mut rig = Rig::running(ShardSettings { rounds, ..ShardSettings::default() }, 1);
    let asked = |rig: &mut Rig| {
        rig.take(|effect| match effect {
            Effect::Coordinate(what) => Some(what.clone()),
            _ => None,
        })
    };
    rig.bring(batches(0, &[1, 2]));
    assert_eq!(asked(&mut rig), [Coordinate::Add(vec![0])]);
    rig.lead(Side::Target, &[2]);
    rig.feed(Event::Coordinated(Ok(())));
    assert!(rig.produces().is_empty(), "nobody is there yet");
    for _ in 0..20 {
        rig.pass(1_000);
    }
    assert_eq!(asked(&mut rig), [Coordinate::Commit]);
    rig.feed(Event::Coordinated(Err(Some(ErrorCode::INVALID_TXN_STATE))));
    for _ in 0..20 {
        rig.pass(1_000);
    }
    assert_eq!(asked(&mut rig), [Coordinate::Renew { anew: false }]);
    rig.connect_all();
    rig.say_ends(0);
    // What was asked for before is of no use any more.
    rig.bring(batches(3, &[1]));
    rig.bring(batches(0, &[1, 2]));
    assert!(rig.shard.held_bytes() > 0, "records wait for the next round");
    rig.feed(Event::Producer(Producer { id: 1, epoch: 1, is_named: true }));
    rig.feed(Event::Coordinated(Ok(())));
    assert_eq!(rig.position(), 0);
}

#[test]
fn drained_means_that_nothing_is_open() {
    let mut rig = established();
    rig.bring(batches(1, &[2, 3]));
    let under_way = rig.produces();
    rig.feed(Event::Drain);
    let drained =
        |rig: &mut Rig| rig.take(|effect| matches!(effect, Effect::Drained).then_some(())).len();
    assert_eq!(drained(&mut rig), 0);
    rig.answer_produce(&under_way[0], Ok(1));
    assert_eq!(drained(&mut rig), 0);
    rig.answer_produce(&under_way[1], Ok(3));
    assert_eq!(drained(&mut rig), 1);
    assert_eq!(rig.position(), 6);
    assert!(rig.fetches().len() <= 1, "nothing new is asked for");
}

#[test]
fn many_partitions_in_trouble_share_one_refresh() {
    let mut rig = Rig::running(ShardSettings::default(), 500);
    rig.refreshes(Side::Source);
    let asked = rig.fetches().remove(0);
    let error = ErrorCode::NOT_LEADER_OR_FOLLOWER;
    let parts = (0..500).map(|index| (index, error, Default::default())).collect();
    rig.answer_fetch(asked.lane, parts);
    assert!(rig.fetches().is_empty(), "all are in backoff, and out of the session");
    rig.pass(200);
    assert_eq!(rig.refreshes(Side::Source), 1);
}

#[test]
fn the_rig_names_topics_by_id() {
    let mut rig = Rig::running(ShardSettings::default(), 1);
    let asked = rig.fetches().remove(0);
    assert_eq!(asked.request.topics[0].id, SOURCE_ID);
}
