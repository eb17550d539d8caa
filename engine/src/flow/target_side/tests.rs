//! What the target half of a partition makes of answers, ends and logs.

use proptest::prelude::*;
use protocol_client::batch::BatchBuilder;

use super::*;
use crate::flow::budget::Budget;

const TIMED_OUT: ErrorCode = ErrorCode::REQUEST_TIMED_OUT;
const OUT_OF_ORDER: ErrorCode = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;

/// A target whose log ended at 100, with these batches in the window, all sent in requests 0, 1, 2, ….
fn sent(counts: &[u32], frames: &mut Frames) -> TargetSide {
    let mut target = TargetSide::new(OffsetIndex::default());
    target.start(100);
    target.index_mut().begin(0, 100);
    target.established = true;
    for (request, count) in counts.iter().enumerate() {
        push(&mut target, *count, frames);
        assert!(target.send_next(request as u64).is_some());
    }
    target
}

fn push(target: &mut TargetSide, count: u32, frames: &mut Frames) {
    let mut batch = BatchBuilder::new();
    (0..count).for_each(|_| batch.push(None, Some(b"value"), &[], 5));
    let bytes = batch.build().unwrap().bytes;
    let charge = frames.own(bytes.len());
    let source_first = i64::from(target.next_sequence);
    let mut bytes = bytes.to_vec();
    bytes[..8].copy_from_slice(&source_first.to_be_bytes());
    target.push(Draft::sealed(source_first, &bytes.into(), charge).unwrap(), (7, 0));
}

/// Of the window, what the target's log holds from `base_offset` on: batches of ours by their place in the window,
/// `None` for one record of somebody else.
fn log(target: &TargetSide, mut base_offset: i64, batches: &[Option<usize>]) -> Vec<Entry> {
    let mut foreign = BatchBuilder::new();
    foreign.push(None, Some(b"foreign"), &[], 5);
    let foreign = foreign.build().unwrap().bytes;
    let entry = |at: &Option<usize>| {
        let mut bytes = match at.map(|at| &target.window[at]) {
            Some(batch) => [&batch.header[..], &batch.payload].concat(),
            None => foreign.to_vec(),
        };
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        let entry = Entry::new(bytes.into()).unwrap();
        base_offset = entry.next_offset();
        entry
    };
    batches.iter().map(entry).collect()
}

/// The log ends here, and holds this behind what is known.
fn settle(target: &mut TargetSide, batches: &[Option<usize>], frames: &mut Frames) -> Step {
    let from = target.target_next.unwrap();
    let entries = log(target, from, batches);
    let end = entries.last().map_or(from, Entry::next_offset);
    match target.on_end(end, frames) {
        Step::Read(from) => {
            assert_eq!(Some(from), target.target_next);
            target.on_log(&entries, end, frames)
        }
        step => step,
    }
}

fn sequences(target: &TargetSide) -> Vec<i32> {
    target.window.iter().map(|batch| batch.stamp.base_sequence).collect()
}

#[test]
fn batches_leave_from_the_front_only() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let mut target = sent(&[2, 3], &mut frames);
    assert_eq!(target.on_answer(1, Ok(102), &mut frames), Step::Nothing);
    assert_eq!((target.window.len(), target.target_next()), (2, Some(100)));
    assert_eq!(target.on_answer(0, Ok(100), &mut frames), Step::Nothing);
    assert_eq!((target.window.len(), target.target_next()), (0, Some(105)));
    assert_eq!(target.delivered().records, 5);
    assert_eq!(frames.used_bytes(), 0);
}

#[test]
fn until_the_first_acknowledgement_one_batch_is_under_way() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let mut target = TargetSide::new(OffsetIndex::default());
    assert!(!target.has_room(), "the target's end is not known");
    target.start(0);
    push(&mut target, 1, &mut frames);
    target.send_next(0);
    assert!(!target.has_room());
    target.on_answer(0, Ok(0), &mut frames);
    for request in 1..=WINDOW_BATCHES as u64 {
        assert!(target.has_room());
        push(&mut target, 1, &mut frames);
        target.send_next(request);
    }
    assert!(!target.has_room(), "everything has a limit");
}

#[test]
fn an_answer_counts_for_its_own_sending() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let mut target = sent(&[2], &mut frames);
    assert_eq!(target.on_leader_moved(), Step::AskEnd);
    assert_eq!(target.on_end(100, &mut frames), Step::Settled);
    target.send_next(9);
    assert_eq!(target.on_answer(0, Err(TIMED_OUT), &mut frames), Step::Nothing);
    assert_eq!(target.phase(), Phase::Ready);
    target.on_answer(9, Ok(100), &mut frames);
    assert!(target.is_empty());
}

#[test]
fn the_first_error_decides() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let mut target = sent(&[2, 3, 4], &mut frames);
    target.on_answer(0, Err(TIMED_OUT), &mut frames);
    target.on_answer(1, Err(OUT_OF_ORDER), &mut frames);
    let step = target.on_answer(2, Err(ErrorCode(10)), &mut frames);
    assert_eq!(step, Step::AskLater(TIMED_OUT));
    let refused = Step::Refused { source_offset: 5, error: ErrorCode(10) };
    assert_eq!(settle(&mut target, &[Some(0), Some(1)], &mut frames), refused);
    target.clear(&mut frames);
    assert_eq!(target.next_sequence, 5, "what follows takes the place of what was given up");
}

#[test]
fn a_lost_sequence_is_believed_late_and_starts_a_new_epoch() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let mut target = sent(&[2, 3], &mut frames);
    target.on_answer(0, Err(OUT_OF_ORDER), &mut frames);
    target.on_answer(1, Err(OUT_OF_ORDER), &mut frames);
    for _ in 0..DOUBTS_ABOUT_SEQUENCE {
        assert!(matches!(target.on_end(100, &mut frames), Step::AskLater(_)));
    }
    assert_eq!(target.on_end(100, &mut frames), Step::Settled);
    assert_eq!((target.take_spent(), target.take_spent()), (Some(Spent::Lost), None));
    assert!(!target.has_unsent() && !target.has_room(), "it would be refused");
    target.on_producer((7, 1));
    assert_eq!((sequences(&target), target.producer), (vec![0, 2], Some((7, 1))));
    assert!(target.window.iter().all(|batch| batch.stamp.epoch == 1));
    target.send_next(5);
    assert!(!target.has_unsent(), "the new epoch is not known to the broker yet");
}

#[test]
fn an_epoch_that_is_refused_is_spent_at_once() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let mut target = sent(&[2], &mut frames);
    target.on_producer((7, 1));
    assert_eq!(target.producer, Some((7, 0)), "its own is as good as any");
    target.on_answer(0, Err(ErrorCode::INVALID_PRODUCER_EPOCH), &mut frames);
    assert_eq!(target.on_end(100, &mut frames), Step::Settled);
    assert_eq!(target.take_spent(), Some(Spent::Refused));
}

#[test]
fn foreign_batches_are_stepped_over_and_the_index_stays_exact() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let mut target = sent(&[1, 3], &mut frames);
    target.on_leader_moved();
    // As many foreign records as the first batch has: only the stamps tell them apart.
    assert_eq!(settle(&mut target, &[None], &mut frames), Step::Settled);
    assert_eq!(sequences(&target), [0, 1]);
    assert_eq!(target.take_foreign(), Some((100, 101, 1)));
    target.send_next(7);
    target.send_next(8);
    target.on_leader_moved();
    assert_eq!(settle(&mut target, &[None, Some(0), None, Some(1)], &mut frames), Step::Settled);
    assert!(target.is_empty());
    assert_eq!(target.take_foreign(), Some((101, 104, 2)));
    let translated = |position| target.index().translate(position).position();
    assert_eq!([translated(0), translated(1), translated(4)], [Some(102), Some(104), Some(107)]);
}

#[test]
fn what_was_compacted_meanwhile_is_proven_by_what_came_after() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let mut target = sent(&[2, 1, 3], &mut frames);
    target.on_leader_moved();
    assert_eq!(target.on_end(106, &mut frames), Step::Read(100));
    let last = log(&target, 103, &[Some(2)]);
    assert_eq!(target.on_log(&last, 106, &mut frames), Step::Settled);
    assert!(target.is_empty());
    assert_eq!((target.target_next(), target.take_foreign()), (Some(106), None));
    // Without room before it, those before it are not there.
    let mut target = sent(&[2, 1], &mut frames);
    target.on_leader_moved();
    target.on_end(101, &mut frames);
    let second = log(&target, 100, &[Some(1)]);
    assert_eq!(target.on_log(&second, 101, &mut frames), Step::Settled);
    assert_eq!(target.first_offset(), Some(0));
}

#[test]
fn an_answer_behind_what_was_expected_tells_of_others() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let mut target = sent(&[2], &mut frames);
    target.on_answer(0, Ok(103), &mut frames);
    assert_eq!((target.take_foreign(), target.target_next()), (Some((100, 103, 3)), Some(105)));
    assert_eq!(target.index().translate(1).position(), Some(104));
}

#[test]
fn an_answer_before_what_is_known_is_not_believed() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let mut target = sent(&[2], &mut frames);
    let shrank = Step::TargetShrank { expected: 100, end: 98 };
    assert_eq!(target.on_answer(0, Ok(98), &mut frames), shrank);
}

#[test]
fn a_log_that_is_too_short_is_believed_after_some_doubts() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let mut target = sent(&[2], &mut frames);
    target.on_leader_moved();
    for _ in 0..DOUBTS_ABOUT_LOSS {
        assert!(matches!(target.on_end(99, &mut frames), Step::AskLater(_)));
    }
    let shrank = Step::TargetShrank { expected: 100, end: 99 };
    assert_eq!(target.on_end(99, &mut frames), shrank);
}

/// A batch of two records has arrived at 100, and then the log was too short once, or the broker counted otherwise.
fn suspicious(has_sequence_trouble: bool, frames: &mut Frames) -> (TargetSide, Vec<Entry>) {
    let mut target = sent(&[2, 1], frames);
    let ours = log(&target, 100, &[Some(0)]);
    target.on_answer(0, Ok(100), frames);
    if has_sequence_trouble {
        assert_eq!(target.on_answer(1, Err(OUT_OF_ORDER), frames), Step::AskLater(OUT_OF_ORDER));
    } else {
        assert_eq!(target.on_leader_moved(), Step::AskEnd);
        assert!(matches!(target.on_end(101, frames), Step::AskLater(_)));
    }
    (target, ours)
}

#[test]
fn a_log_that_is_suspected_of_a_cut_must_still_hold_our_last_record() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    for has_sequence_trouble in [true, false] {
        let (mut target, ours) = suspicious(has_sequence_trouble, &mut frames);
        assert_eq!(target.on_end(102, &mut frames), Step::Read(101));
        let settled = target.on_log(&ours, 102, &mut frames);
        assert!(!matches!(settled, Step::Overwritten { .. }), "{settled:?}");
        assert!(!matches!(target.on_end(102, &mut frames), Step::Read(_)), "it has been seen");

        let (mut target, _) = suspicious(has_sequence_trouble, &mut frames);
        target.on_end(102, &mut frames);
        let others = log(&target, 101, &[None]);
        let overwritten = Step::Overwritten { source_offset: 1, target_offset: 101 };
        assert_eq!(target.on_log(&others, 102, &mut frames), overwritten);
        // It stays suspect as long as nobody has decided what to do.
        assert_eq!(target.on_end(103, &mut frames), Step::Read(101));
    }
}

#[test]
fn a_hole_where_our_last_record_was_is_the_cleaners() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let (mut target, _) = suspicious(false, &mut frames);
    assert_eq!(target.on_end(103, &mut frames), Step::Read(101));
    let behind = log(&target, 102, &[None]);
    assert_eq!(target.on_log(&behind, 103, &mut frames), Step::Settled);
    assert_eq!(target.target_next(), Some(103));
}

#[test]
fn sequence_numbers_wrap_to_zero() {
    assert_eq!(sequence_after(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 1, 5), 3);
}

proptest! {
    /// Whatever prefix was appended, whoever wrote between, and whichever answers came: exactly the rest is sent
    /// again.
    #[test]
    fn the_log_settles_every_loss(
        counts in prop::collection::vec(1u32..6, 1..=WINDOW_BATCHES),
        appended in 0..=WINDOW_BATCHES,
        heard in prop::collection::vec(any::<bool>(), WINDOW_BATCHES),
        foreign in prop::collection::vec(any::<bool>(), WINDOW_BATCHES),
    ) {
        let appended = appended.min(counts.len());
        let mut frames = Frames::new(Budget::alone(1 << 20));
        let mut target = sent(&counts, &mut frames);
        let mut order = Vec::new();
        for (at, foreign) in foreign.iter().enumerate().take(appended) {
            order.extend(foreign.then_some(None));
            order.push(Some(at));
        }
        let entries = log(&target, 100, &order);
        let end = entries.last().map_or(100, Entry::next_offset);
        let ours = entries.iter().filter(|entry| {
            entry.header().is_some_and(|header| header.producer_id() == 7)
        });
        for (request, entry) in ours.enumerate() {
            if heard[request] {
                target.on_answer(request as u64, Ok(entry.base_offset()), &mut frames);
            }
        }
        if target.on_leader_moved() == Step::AskEnd {
            let mut step = target.on_end(end, &mut frames);
            for entry in &entries {
                if let Step::Read(from) = step && entry.base_offset() >= from {
                    step = target.on_log(
                        std::slice::from_ref(entry), entry.next_offset(), &mut frames);
                }
            }
            prop_assert_eq!(step, Step::Settled);
        }
        prop_assert_eq!(target.target_next(), Some(end));
        let rest: Vec<u32> = target.window.iter().map(|batch| batch.records).collect();
        prop_assert_eq!(&rest[..], &counts[appended..]);
        target.clear(&mut frames);
        prop_assert_eq!(frames.used_bytes(), 0);
    }
}

/// Its copies are not others', and what is stored is up to it.
#[test]
fn a_later_epoch_of_our_producer_in_the_log_is_another_instance() {
    let mut frames = Frames::new(Budget::alone(1 << 20));
    let mut target = sent(&[2], &mut frames);
    target.on_leader_moved();
    let mut bytes = log(&target, 100, &[Some(0)]).remove(0).bytes().to_vec();
    bytes[51..53].copy_from_slice(&1_i16.to_be_bytes());
    let later = Entry::new(bytes.into()).unwrap();
    assert_eq!(target.on_end(102, &mut frames), Step::Read(100));
    assert_eq!(target.on_log(&[later], 102, &mut frames), Step::Nothing);
    assert_eq!((target.take_spent(), target.target_next()), (Some(Spent::Refused), Some(100)));
}
