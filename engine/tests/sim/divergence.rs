//! Logs that lost or changed what was copied: what the shard does must follow from the policies.

use bytes::Bytes;
use engine::flow::event::{Divergence, Effect, Event, Failure, Happening, Start};
use engine::flow::settings::{DivergencePolicy, GapPolicy, ShardSettings};
use engine::flow::shard::PartitionState;
use engine::index::{OffsetIndex, Translation};
use engine::model::{Pair, Side};
use engine::positions::ledger::Position;
use protocol_client::batch::{Entry, walk};
use protocol_client::client::ReadChunk;
use protocol_client::wire::error_code::ErrorCode;
use protocol_client::wire::fetch::Diverging;
use protocol_client::wire::produce::RawProduce;

use crate::rig::{Asked, Rig, SOURCE_ID, TARGET_ID, batches, sized, stamps};

/// One partition that has copied batches of 1, 2, 3 and 4 records to offsets 0, 1, 3 and 6.
fn copied(settings: ShardSettings) -> Rig {
    let mut rig = Rig::running(settings, 1);
    rig.bring(batches(0, &[1, 2, 3, 4]));
    let first = rig.produces().remove(0);
    rig.answer_produce(&first, Ok(0));
    for (asked, base_offset) in rig.produces().iter().zip([1, 3, 6]) {
        rig.answer_produce(asked, Ok(base_offset));
    }
    assert_eq!(rig.position(), 10);
    rig
}

fn resuming() -> ShardSettings {
    ShardSettings { on_divergence: DivergencePolicy::Resume, ..ShardSettings::default() }
}

/// The end is asked for until it is believed.
fn insist_on_end(rig: &mut Rig, end: i64) -> usize {
    let mut asked = 0;
    for _ in 0..20 {
        asked += rig.say_ends(end);
        rig.pass(5_000);
    }
    asked
}

#[test]
fn a_new_leader_is_asked_for_its_end_and_a_log_that_was_cut_stops_the_partition() {
    let mut rig = copied(ShardSettings::default());
    rig.lead(Side::Target, &[2]);
    rig.connect_all();
    let asked = insist_on_end(&mut rig, 6);
    assert!((4..10).contains(&asked), "an end may lag for a moment: {asked}");
    assert_eq!(rig.progress(0).state, PartitionState::Failed);
    let divergence = Divergence::Truncated { expected: 10, end: 6 };
    assert!(rig.happenings().contains(&Happening::Failed(Failure::Diverged(divergence))));
}

/// The batch is not in the log, and under the old epoch the target may take what comes next for something else.
#[test]
fn a_producer_that_the_target_has_forgotten_waits_for_its_next_epoch() {
    let (mut rig, last) = out_of_order(ShardSettings::default());
    assert_eq!(rig.say_log(&[Some(&last)]), 1, "that the last record is there is looked at once");
    // As long as followers may lag, the end may hide what was appended.
    let asked: usize = (0..3).map(|_| insist_on_end(&mut rig, 11)).sum();
    assert!(asked > 30, "{asked}");
    assert!(rig.produces().is_empty(), "its epoch is spent");
    assert!(rig.renew(1));
    let again = rig.produces().remove(0);
    rig.answer_produce(&again, Ok(11));
    assert_eq!((rig.position(), rig.progress(0).target_next), (12, Some(12)));
}

/// A record stands at offset 10, and the broker counts otherwise when the next one comes. The log is as long as it was.
fn out_of_order(settings: ShardSettings) -> (Rig, Asked<RawProduce>) {
    let mut rig = copied(settings);
    rig.bring(batches(10, &[1]));
    let last = rig.produces().remove(0);
    rig.answer_produce(&last, Ok(10));
    rig.bring(batches(11, &[1]));
    let next = rig.produces().remove(0);
    rig.answer_produce(&next, Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    rig.pass(5_000);
    assert_eq!(rig.say_ends(11), 1);
    (rig, last)
}

/// Others have written as much as the cut took, so the end alone would tell nothing.
#[test]
fn a_cut_that_others_have_filled_shows_by_sequence_numbers() {
    for settings in [ShardSettings::default(), resuming()] {
        let policy = settings.on_divergence;
        let (mut rig, _) = out_of_order(settings);
        assert_eq!(rig.say_log(&[None]), 1);
        let divergence = Divergence::Differs { source_offset: 10, target_offset: 10 };
        let told = match policy {
            DivergencePolicy::Fail => Happening::Failed(Failure::Diverged(divergence)),
            DivergencePolicy::Resume => Happening::Diverged(divergence),
        };
        assert!(rig.happenings().contains(&told));
    }
}

#[test]
fn a_cut_that_others_fill_while_the_end_is_in_doubt_shows() {
    let mut rig = copied(ShardSettings::default());
    rig.lead(Side::Target, &[2]);
    rig.connect_all();
    assert_eq!(rig.say_ends(6), 1);
    rig.pass(5_000);
    assert_eq!(rig.say_ends(10), 1, "it is asked again");
    assert_eq!(rig.say_log(&[None]), 1);
    let divergence = Divergence::Differs { source_offset: 9, target_offset: 9 };
    assert!(rig.happenings().contains(&Happening::Failed(Failure::Diverged(divergence))));
}

#[test]
fn with_resume_what_the_cut_took_is_copied_again() {
    let mut rig = copied(resuming());
    rig.lead(Side::Target, &[2]);
    rig.connect_all();
    insist_on_end(&mut rig, 6);
    rig.connect_all();
    assert_eq!(rig.progress(0).pair(), None, "nothing is stored of what is not known");
    compare(&mut rig, &batches(0, &[1, 2, 3, 4]), &batches(0, &[1, 2, 3]));
    assert_eq!((rig.position(), rig.progress(0).target_next), (6, Some(6)));
    // What was asked for before is of no use any more.
    rig.bring(batches(10, &[1]));
    rig.bring(batches(6, &[4]));
    assert!(rig.produces().is_empty(), "the target may take its first batches for repeated ones");
    assert!(rig.renew(1));
    assert!(rig.produces().is_empty(), "it would be compared with the wrong place");
    assert_eq!(rig.store(), [(6, 6)]);
    let again = rig.produces().remove(0);
    rig.answer_produce(&again, Ok(6));
    assert_eq!((rig.position(), rig.progress(0).target_next), (10, Some(10)));
    let index = rig.shard.index_of(&"orders".into(), 0).expect("it is there");
    assert_eq!(index.translate(7), Translation::Exact(7));
}

/// Lets the logs be compared up to their ends.
fn compare(rig: &mut Rig, source: &Bytes, target: &Bytes) {
    while rig.say_whole_log(Side::Target, target) + rig.say_whole_log(Side::Source, source) > 0 {}
}

/// The marker that shut out an earlier instance, or whatever others wrote, makes the log as long as it was.
#[test]
fn what_stands_behind_a_cut_hides_nothing() {
    let mut rig = copied(resuming());
    rig.lead(Side::Target, &[2]);
    rig.connect_all();
    let mut target = batches(0, &[1, 2]).to_vec();
    target.extend_from_slice(&sized(3, &[1], 30_000));
    insist_on_end(&mut rig, 4);
    compare(&mut rig, &batches(0, &[1, 2, 3, 4]), &target.into());
    assert_eq!((rig.position(), rig.progress(0).target_next), (3, Some(4)));
    let index = rig.shard.index_of(&"orders".into(), 0).expect("it is there");
    assert_eq!(
        [1, 2].map(|at| index.translate(at)),
        [Translation::Exact(1), Translation::Exact(2)]
    );
}

/// The index is older than what is stored, and so older than the cut.
#[test]
fn what_a_cut_has_left_behind_the_index_does_not_come_again() {
    let mut rig = started_with(resuming(), 10, 10, |index| index.append(0, 0, 1));
    insist_on_end(&mut rig, 6);
    compare(&mut rig, &batches(0, &[1, 2, 3, 4]), &batches(0, &[1, 2, 3]));
    assert_eq!((rig.position(), rig.progress(0).target_next), (6, Some(6)));
}

/// Others have filled the end up again: that the log was cut shows before the index gets to know what it holds now.
#[test]
fn of_a_target_that_was_cut_and_filled_again_the_index_has_what_stands_there_now() {
    let source = batches(0, &[6, 4, 1_500]);
    let ends = source.len() - batches(6, &[4, 1_500]).len();
    let mut target = source[..ends].to_vec();
    target.extend_from_slice(&sized(6, &[1], 30_000));
    target.extend_from_slice(&moved(&batches(6, &[4]), 7));
    target.extend_from_slice(&moved(&batches(10, &[1_500]), 11));
    let mut rig = started_with(resuming(), 10, 10, |index| index.append(0, 0, 10));
    rig.say_ends(1_511);
    for _ in 0..9 {
        compare(&mut rig, &source, &target.clone().into());
        rig.say_ends(1_511);
        rig.pass(5_000);
    }
    let divergence = Divergence::Differs { source_offset: 9, target_offset: 9 };
    assert!(rig.happenings().contains(&Happening::Diverged(divergence)));
    assert_eq!((rig.position(), rig.progress(0).target_next), (1_510, Some(1_511)));
    let index = rig.shard.index_of(&"orders".into(), 0).expect("it is there");
    assert_eq!(
        [5, 7, 9, 1_500].map(|at| index.translate(at)),
        [5, 8, 10, 1_501].map(Translation::Exact)
    );
}

/// A batch as it is at another offset.
fn moved(batch: &Bytes, to: i64) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[..8].copy_from_slice(&to.to_be_bytes());
    bytes.into()
}

/// Retention has taken the rest.
#[test]
fn of_a_target_that_was_cut_and_is_empty_the_index_is_believed() {
    let mut rig = copied(resuming());
    rig.lead(Side::Target, &[2]);
    rig.connect_all();
    insist_on_end(&mut rig, 6);
    compare(&mut rig, &batches(0, &[1, 2, 3, 4]), &Bytes::new());
    rig.pass(60_000);
    let empty = nothing_before(6);
    let reads = rig.take(|effect| match effect {
        Effect::ReadLog(key, Side::Target, ..) => Some(*key),
        _ => None,
    });
    for key in reads {
        rig.feed(Event::LogRead(key, Side::Target, Ok(Box::new(empty.clone()))));
    }
    assert_eq!((rig.position(), rig.progress(0).target_next), (6, Some(6)));
}

/// A log that was compacted and cut may end with offsets that nothing stands at.
#[test]
fn a_hole_at_the_end_of_the_target_is_believed_after_some_doubts() {
    let log = batches(0, &[2]);
    let mut rig = started(ShardSettings::default(), 2, 2);
    let mut reads = 0;
    while rig.progress(0).target_next.is_none() {
        rig.say_ends(3);
        let keys = rig.take(|effect| match effect {
            Effect::ReadLog(key, Side::Target, ..) => Some(*key),
            _ => None,
        });
        for key in keys {
            reads += 1;
            let hole = ReadChunk { high_watermark: 3, last_stable_offset: 3, ..nothing_before(2) };
            rig.feed(Event::LogRead(key, Side::Target, Ok(Box::new(hole))));
        }
        rig.say_whole_log(Side::Source, &log);
        rig.pass(5_000);
        assert!(reads < 20, "it is never believed");
    }
    assert!(reads > 3, "{reads}");
    assert_eq!((rig.position(), rig.progress(0).target_next), (2, Some(3)));
}

/// A marker stands behind what is stored: a log without it was cut, and the marker took the place of a record.
#[test]
fn a_marker_that_stands_too_early_tells_of_a_cut() {
    let mut rig = Rig::new(ShardSettings::default());
    rig.lead(Side::Source, &[1]);
    rig.lead(Side::Target, &[1]);
    let (source_id, target_id) = (SOURCE_ID, TARGET_ID);
    let pair = Pair { source_next: 10, source_epoch: -1, target_next: 10, source_id, target_id };
    rig.add_marked(0, pair);
    rig.connect_all();
    for _ in 0..100 {
        rig.say_ends(10);
        rig.pass(10_000);
    }
    let divergence = Divergence::Truncated { expected: 11, end: 10 };
    assert!(rig.happenings().contains(&Happening::Failed(Failure::Diverged(divergence))));
}

#[test]
fn an_answer_below_what_is_known_tells_of_a_cut() {
    let mut rig = copied(ShardSettings::default());
    rig.bring(batches(10, &[2]));
    let asked = rig.produces().remove(0);
    rig.answer_produce(&asked, Ok(6));
    let divergence = Divergence::Truncated { expected: 10, end: 6 };
    assert!(rig.happenings().contains(&Happening::Failed(Failure::Diverged(divergence))));
    assert_eq!(rig.position(), 10, "nothing behind it is believed");
}

#[test]
fn a_source_that_was_cut_is_told_and_what_it_holds_now_is_copied_or_not() {
    for on_gap in [GapPolicy::Continue, GapPolicy::Fail] {
        let mut rig = copied(ShardSettings { on_gap, ..ShardSettings::default() });
        let asked = rig.fetches().pop().expect("the next records are asked for");
        rig.answer_diverging(asked.lane, Diverging { epoch: 1, end_offset: 6 });
        let told = rig.happenings();
        match on_gap {
            GapPolicy::Continue => {
                assert!(told.contains(&Happening::SourceTruncated { from: 6, to: 10 }), "{told:?}");
                rig.bring(batches(6, &[2]));
                assert!(rig.produces().is_empty(), "it would be compared with the wrong place");
                assert_eq!(rig.store(), [(6, 10)]);
                let again = rig.produces().remove(0);
                assert_eq!(stamps(&again.request)[0].2, 2);
                rig.answer_produce(&again, Ok(10));
                assert_eq!((rig.position(), rig.progress(0).target_next), (8, Some(12)));
            }
            GapPolicy::Fail => {
                let failure = Failure::SourceTruncated { from: 6, to: 10 };
                assert!(told.contains(&Happening::Failed(failure)), "{told:?}");
            }
        }
    }
}

#[test]
fn a_source_that_ends_before_the_position_is_believed_after_some_doubts() {
    let mut rig = copied(ShardSettings::default());
    let out_of_range = ErrorCode::OFFSET_OUT_OF_RANGE;
    let mut asked = 0;
    while rig.position() == 10 {
        assert!(asked < 10, "it never believes it");
        // A broker answers for a partition with an error whether it is asked for again or not.
        for fetch in rig.fetches() {
            rig.answer_fetch(fetch.lane, vec![(0, out_of_range, Default::default())]);
        }
        asked += rig.say_ranges(0, 6);
        rig.pass(2_000);
    }
    assert!((3..6).contains(&asked), "{asked}");
    assert!(rig.happenings().contains(&Happening::SourceTruncated { from: 6, to: 10 }));
    assert_eq!(rig.position(), 6);
}

/// Where it goes on is stored when that is known: when all that was sent has its answer.
#[test]
fn what_is_under_way_arrives_before_it_is_stored_where_a_partition_goes_back_to() {
    let mut rig = copied(ShardSettings::default());
    rig.bring(batches(10, &[2]));
    let under_way = rig.produces().remove(0);
    let asked = rig.fetches().pop().expect("the next records are asked for");
    rig.answer_diverging(asked.lane, Diverging { epoch: 1, end_offset: 6 });
    assert_eq!((rig.store(), rig.position()), (Vec::new(), 10));
    rig.answer_produce(&under_way, Ok(10));
    assert_eq!((rig.store(), rig.position()), (vec![(6, 12)], 6));
    let index = rig.shard.index_of(&"orders".into(), 0).expect("it is there");
    assert_eq!(index.translate(8), Translation::Behind(12));
}

/// Something else was stored than what it waits for.
#[test]
fn a_partition_goes_on_only_when_it_is_stored_where_it_stands() {
    let mut rig = copied(ShardSettings::default());
    let asked = rig.fetches().pop().expect("the next records are asked for");
    rig.answer_diverging(asked.lane, Diverging { epoch: 1, end_offset: 6 });
    let progress = rig.progress(0);
    let pair = progress.pair().expect("it is known");
    rig.feed(Event::Stored(progress.source, Pair { source_next: 10, ..pair }));
    rig.bring(batches(6, &[2]));
    assert!(rig.produces().is_empty());
    assert_eq!(rig.store(), [(6, 10)]);
    assert_eq!(rig.produces().len(), 1);
}

/// A leader of another line of history: it knows nothing of the last epoch, and has more of the one before (KIP-595).
#[test]
fn a_source_whose_new_leader_has_a_longer_log_of_an_earlier_epoch_was_cut() {
    let mut rig = Rig::running(ShardSettings::default(), 1);
    rig.bring(in_epoch(&batches(0, &[1, 2, 3]), 1));
    let first = rig.produces().remove(0);
    rig.answer_produce(&first, Ok(0));
    rig.bring(in_epoch(&batches(6, &[4]), 2));
    for (asked, base_offset) in rig.produces().iter().zip([1, 3, 6]) {
        rig.answer_produce(asked, Ok(base_offset));
    }
    assert_eq!(rig.position(), 10);
    let asked = rig.fetches().pop().expect("the next records are asked for");
    assert_eq!(asked.request.topics[0].partitions[0].last_fetched_epoch, 2);
    rig.answer_diverging(asked.lane, Diverging { epoch: 1, end_offset: 50 });
    assert!(rig.happenings().contains(&Happening::SourceTruncated { from: 6, to: 10 }));
    let next = rig.fetches().pop().expect("the next records are asked for");
    let next = &next.request.topics[0].partitions[0];
    assert_eq!((next.offset, next.last_fetched_epoch), (6, 1));
}

fn in_epoch(batches: &Bytes, epoch: i32) -> Bytes {
    let mut all = Vec::new();
    for entry in walk(batches) {
        let mut bytes = entry.expect("a batch").bytes().to_vec();
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        all.extend(bytes);
    }
    all.into()
}

/// The window is full, so the rest waits in the queue.
#[test]
fn what_was_queued_from_before_a_cut_of_the_source_is_not_forgotten() {
    let mut rig = Rig::running(ShardSettings::default(), 1);
    rig.bring(batches(0, &[1, 2, 3, 4]));
    let first = rig.produces().remove(0);
    let asked = rig.fetches().pop().expect("the next records are asked for");
    rig.answer_diverging(asked.lane, Diverging { epoch: 1, end_offset: 6 });
    rig.answer_produce(&first, Ok(0));
    assert_eq!((rig.store(), rig.position()), (vec![(1, 1)], 1));
    let next = rig.fetches().pop().expect("the next records are asked for");
    assert_eq!(next.request.topics[0].partitions[0].offset, 1);
}

/// A partition that starts with a stored pair.
fn started(settings: ShardSettings, source_next: i64, target_next: i64) -> Rig {
    started_with(settings, source_next, target_next, |_| {})
}

/// The same with an index that was stored too.
fn started_with(
    settings: ShardSettings,
    source_next: i64,
    target_next: i64,
    fill: impl FnOnce(&mut OffsetIndex),
) -> Rig {
    let mut rig = Rig::new(settings);
    rig.lead(Side::Source, &[1]);
    rig.lead(Side::Target, &[1]);
    let (source_id, target_id) = (SOURCE_ID, TARGET_ID);
    let source_epoch = -1;
    let pair = Pair { source_next, source_epoch, target_next, source_id, target_id };
    let mut index = OffsetIndex::default();
    fill(&mut index);
    rig.add_with(0, Start::Pair(pair), index);
    rig.connect_all();
    rig
}

#[test]
fn the_stored_epoch_shows_a_source_that_was_cut_and_grew_again_meanwhile() {
    let mut rig = Rig::new(ShardSettings::default());
    rig.lead(Side::Source, &[1]);
    rig.lead(Side::Target, &[1]);
    let (source_id, target_id) = (SOURCE_ID, TARGET_ID);
    let pair = Pair { source_next: 10, source_epoch: 3, target_next: 10, source_id, target_id };
    rig.add(0, Start::Pair(pair));
    rig.connect_all();
    rig.say_ends(10);
    let fetch = rig.fetches().remove(0);
    assert_eq!(fetch.request.topics[0].partitions[0].last_fetched_epoch, 3);
    assert_eq!(rig.progress(0).pair(), Some(pair), "it is stored again");
    rig.answer_diverging(fetch.lane, Diverging { epoch: 3, end_offset: 8 });
    assert!(rig.happenings().contains(&Happening::SourceTruncated { from: 8, to: 10 }));
    assert_eq!(rig.progress(0).pair(), Some(Pair { source_next: 8, ..pair }));
}

#[test]
fn a_target_that_ends_before_the_stored_pair_stops_the_partition() {
    let mut rig = started(ShardSettings::default(), 10, 10);
    insist_on_end(&mut rig, 4);
    let divergence = Divergence::Truncated { expected: 10, end: 4 };
    assert!(rig.happenings().contains(&Happening::Failed(Failure::Diverged(divergence))));
}

/// Comparing may begin before what is stored, where the index ends: a position stored meanwhile would go back.
#[test]
fn of_what_is_still_compared_nothing_is_stored() {
    let log = batches(0, &[2, 3, 4]);
    let mut rig = started(ShardSettings::default(), 2, 2);
    assert_eq!(Position::of(&rig.progress(0)), None);
    rig.say_ends(9);
    rig.say_whole_log(Side::Target, &log);
    assert_eq!(Position::of(&rig.progress(0)), None);
    while rig.say_whole_log(Side::Target, &log) + rig.say_whole_log(Side::Source, &log) > 0 {}
    let pair = Position::of(&rig.progress(0)).and_then(|at| at.pair);
    assert_eq!(pair.map(|pair| (pair.source_next, pair.target_next)), Some((9, 9)));
}

/// MirrorMaker 2, should it go on, has the stored position alone.
#[test]
fn drained_means_that_what_a_former_run_left_is_known() {
    let log = batches(0, &[2, 3, 4]);
    let drained =
        |rig: &mut Rig| rig.take(|effect| matches!(effect, Effect::Drained).then_some(())).len();
    let mut rig = started(ShardSettings::default(), 2, 2);
    rig.feed(Event::Drain);
    assert_eq!(drained(&mut rig), 0);
    rig.say_ends(9);
    rig.say_whole_log(Side::Target, &log);
    assert_eq!(drained(&mut rig), 0);
    while rig.say_whole_log(Side::Target, &log) + rig.say_whole_log(Side::Source, &log) > 0 {}
    assert_eq!((drained(&mut rig), rig.position()), (1, 9));
}

/// What was fetched before the logs were compared says nothing about where copying goes on.
#[test]
fn behind_what_was_compared_no_epoch_is_known() {
    let log = batches(0, &[2, 3, 4]);
    let mut rig = started(ShardSettings::default(), 2, 2);
    rig.bring(batches(2, &[3]));
    rig.say_ends(9);
    while rig.say_whole_log(Side::Target, &log) + rig.say_whole_log(Side::Source, &log) > 0 {}
    assert_eq!((rig.position(), rig.progress(0).target_next), (9, Some(9)));
    // What was asked for meanwhile is of no use any more.
    rig.bring(batches(5, &[4]));
    let next = rig.fetches().pop().expect("the next records are asked for");
    let asked = next.request.topics[0].partitions[0];
    assert_eq!((asked.offset, asked.last_fetched_epoch), (9, -1));
}

/// What is read of a log that begins and ends here.
fn nothing_before(end: i64) -> ReadChunk {
    ReadChunk {
        from: end,
        next: end,
        entries: Vec::new(),
        aborted: Vec::new(),
        high_watermark: end,
        last_stable_offset: end,
        log_start: end,
    }
}

/// The index is older than the stored pair, and the target has lost everything by age meanwhile.
#[test]
fn what_the_target_lost_up_to_the_stored_pair_does_not_come_again() {
    let mut rig = started_with(ShardSettings::default(), 9, 9, |index| index.append(0, 0, 2));
    rig.say_ends(9);
    let chunk = nothing_before(9);
    while rig.progress(0).target_next.is_none() {
        let reads = rig.take(|effect| match effect {
            Effect::ReadLog(key, Side::Target, ..) => Some(*key),
            _ => None,
        });
        for key in &reads {
            rig.feed(Event::LogRead(*key, Side::Target, Ok(Box::new(chunk.clone()))));
        }
        let others = rig.say_whole_log(Side::Source, &batches(0, &[2, 3, 4]));
        assert!(reads.len() + others > 0, "it waits for nothing");
    }
    assert_eq!((rig.position(), rig.progress(0).target_next), (9, Some(9)));
}

/// The index ends before what is stored, and somebody wrote behind that: what is stored stays true.
#[test]
fn records_of_others_behind_the_stored_pair_do_not_send_a_partition_back() {
    let ours = batches(0, &[2, 3]);
    let mut target = ours.to_vec();
    target.extend_from_slice(&sized(5, &[1], 30_000));
    let mut rig = started_with(ShardSettings::default(), 6, 5, |index| index.append(0, 0, 2));
    rig.say_ends(6);
    // At the source a marker stands at offset 5.
    compare(&mut rig, &ours, &target.into());
    assert_eq!((rig.position(), rig.progress(0).target_next), (6, Some(6)));
}

/// The index is older than the stored pair, and the source has lost what was copied since.
#[test]
fn where_copies_stand_whose_source_is_gone_is_not_made_up() {
    let mut rig = started_with(ShardSettings::default(), 9, 7, |index| index.append(0, 0, 2));
    rig.say_ends(7);
    let (source, target) = (batches(9, &[1]), batches(0, &[2, 3, 2]));
    while rig.say_whole_log(Side::Target, &target) + rig.say_whole_log(Side::Source, &source) > 0 {}
    assert_eq!((rig.position(), rig.progress(0).target_next), (9, Some(7)));
    rig.bring(source);
    let asked = rig.produces().remove(0);
    rig.answer_produce(&asked, Ok(7));
    let index = rig.shard.index_of(&"orders".into(), 0).expect("it is there");
    assert_eq!(index.translate(2), Translation::Exact(2));
    assert_eq!(index.translate(9), Translation::Exact(7));
    for position in 3..9 {
        assert_eq!(index.translate(position), Translation::Behind(2), "{position}");
    }
}

/// The source begins within a batch, which a broker gives whole. What it holds before that was never copied.
#[test]
fn what_the_source_has_lost_of_its_first_batch_is_not_looked_for() {
    let (source, target) = (sized(0, &[5], 500), moved(&sized(3, &[2], 200), 1));
    let mut rig = started(ShardSettings::default(), 1, 1);
    rig.say_ends(3);
    rig.say_whole_log(Side::Target, &target);
    let reads = rig.take(|effect| match effect {
        Effect::ReadLog(key, Side::Source, ..) => Some(*key),
        _ => None,
    });
    let entries = vec![Entry::new(source).expect("a batch")];
    let (high_watermark, last_stable_offset) = (5, 5);
    let chunk =
        ReadChunk { next: 5, entries, high_watermark, last_stable_offset, ..nothing_before(3) };
    rig.feed(Event::LogRead(reads[0], Side::Source, Ok(Box::new(chunk))));
    assert_eq!((rig.position(), rig.progress(0).target_next), (5, Some(3)));
}

/// Copies stand behind the stored pair, and the source has lost what they were made of: what is stored next must not say
/// that they stand before the position.
#[test]
fn copies_whose_source_is_gone_stay_behind_the_stored_pair() {
    let mut rig = started_with(ShardSettings::default(), 2, 2, |index| index.append(0, 0, 2));
    rig.say_ends(7);
    let (source, target) = (batches(9, &[1]), batches(2, &[3, 2]));
    while rig.say_whole_log(Side::Target, &target) + rig.say_whole_log(Side::Source, &source) > 0 {}
    assert_eq!((rig.position(), rig.progress(0).target_next), (2, Some(2)));
    rig.bring(source);
    assert_eq!((rig.position(), rig.progress(0).target_next), (2, Some(2)));
    let asked = rig.produces().remove(0);
    rig.answer_produce(&asked, Ok(7));
    assert_eq!((rig.position(), rig.progress(0).target_next), (10, Some(8)));
    let index = rig.shard.index_of(&"orders".into(), 0).expect("it is there");
    assert_eq!(
        (index.translate(2), index.translate(5)),
        (Translation::Exact(2), Translation::Behind(2))
    );
    assert_eq!(index.translate(9), Translation::Exact(7));
}

#[test]
fn partitions_take_turns_to_compare_their_logs() {
    let mut rig = Rig::new(ShardSettings::default());
    rig.lead(Side::Source, &[1; 100]);
    rig.lead(Side::Target, &[1; 100]);
    for index in 0..100 {
        rig.add(
            index,
            Start::Pair(Pair { source_id: SOURCE_ID, target_id: TARGET_ID, ..Pair::NOWHERE }),
        );
    }
    rig.connect_all();
    rig.say_ends(5);
    let reads = rig.effects.iter().filter(|effect| matches!(effect, Effect::ReadLog(..)));
    assert_eq!(reads.count(), 8, "each holds memory");
    assert_eq!(rig.fetches().len(), 1, "nothing is fetched for them meanwhile");
    let key = rig.effects.iter().find_map(|effect| match effect {
        Effect::ReadLog(key, ..) => Some(*key),
        _ => None,
    });
    rig.feed(Event::Remove(key.expect("one reads")));
    let reads = rig.effects.iter().filter(|effect| matches!(effect, Effect::ReadLog(..)));
    assert_eq!(reads.count(), 9, "the next one has its turn");
}
