//! The index against a model that keeps every pair.

use proptest::prelude::*;

use super::*;

/// Every forwarded record, and the ends.
#[derive(Debug, Default)]
struct Model {
    pairs: Vec<(i64, i64)>,
    source_next: i64,
    target_end: i64,
}

/// What happens to a partition.
#[derive(Debug, Clone)]
enum Step {
    /// Holes on both sides, then records.
    Append {
        source_hole: i64,
        target_hole: i64,
        count: u32,
    },
    Pass(i64),
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let hole = || prop_oneof![4 => Just(0_i64), 4 => Just(1), 2 => 2..90_i64];
    let step = prop_oneof![
        9 => (hole(), hole(), prop_oneof![Just(10_u32), 1..60_u32])
            .prop_map(|(source_hole, target_hole, count)| Step::Append { source_hole, target_hole, count }),
        1 => (1..20_i64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..most)
}

fn play(index: &mut OffsetIndex, start: (i64, i64), steps: &[Step]) -> Model {
    index.begin(start.0, start.1);
    let mut model = Model { pairs: Vec::new(), source_next: start.0, target_end: start.1 };
    go_on(index, &mut model, steps);
    model
}

fn go_on(index: &mut OffsetIndex, model: &mut Model, steps: &[Step]) {
    for step in steps {
        match *step {
            Step::Append { source_hole, target_hole, count } => {
                let source = model.source_next + source_hole;
                let target = model.target_end + target_hole;
                index.append(source, target, count);
                model.pairs.extend((0..i64::from(count)).map(|i| (source + i, target + i)));
                model.source_next = source + i64::from(count);
                model.target_end = target + i64::from(count);
            }
            Step::Pass(further) => {
                model.source_next += further;
                index.pass(model.source_next);
            }
        }
    }
}

impl Model {
    fn translate(&self, source: i64) -> i64 {
        let behind = self.pairs.partition_point(|pair| pair.0 < source);
        self.pairs.get(behind).map_or(self.target_end, |pair| pair.1)
    }

    fn translate_back(&self, target: i64) -> i64 {
        let behind = self.pairs.partition_point(|pair| pair.1 < target);
        self.pairs.get(behind).map_or(self.source_next, |pair| pair.0)
    }

    /// Whether readers at both positions have the same records before them.
    fn parts_at(&self, source: i64, target: i64) -> bool {
        self.pairs.partition_point(|pair| pair.0 < source)
            == self.pairs.partition_point(|pair| pair.1 < target)
    }

    fn check_exact(&self, index: &OffsetIndex, start: (i64, i64)) -> Result<(), TestCaseError> {
        for source in start.0..=self.source_next {
            prop_assert_eq!(index.translate(source), Translation::Exact(self.translate(source)));
        }
        for target in start.1..=self.target_end {
            let back = Translation::Exact(self.translate_back(target));
            prop_assert_eq!(index.translate_back(target), back);
        }
        self.check_ends(index, start)
    }

    fn check_ends(&self, index: &OffsetIndex, start: (i64, i64)) -> Result<(), TestCaseError> {
        prop_assert_eq!(index.end(), Some((self.source_next, self.target_end)));
        prop_assert_eq!(index.start(), Some(start));
        prop_assert_eq!(index.translate(start.0 - 1), Translation::Unknown);
        prop_assert_eq!(index.translate_back(start.1 - 1), Translation::Unknown);
        let ahead = (index.translate(self.source_next + 1), index.translate(i64::MAX));
        let waits = Translation::Behind(self.target_end);
        prop_assert_eq!(ahead, (waits, waits));
        let waits = Translation::Behind(self.source_next);
        prop_assert_eq!(index.translate_back(i64::MAX), waits);
        Ok(())
    }

    /// Never ahead, growing, and exact where it says so. Answers how many positions are exact.
    fn check_honest(&self, index: &OffsetIndex, start: (i64, i64)) -> Result<usize, TestCaseError> {
        let mut exact = 0;
        let mut last = i64::MIN;
        for source in start.0..=self.source_next {
            let answer = index.translate(source);
            let target = answer.position().expect("behind the start");
            prop_assert!(
                target >= last && target <= self.translate(source),
                "{source}: {answer:?}"
            );
            if answer.is_exact() {
                prop_assert!(self.parts_at(source, target), "{source}: {answer:?}");
                exact += 1;
            }
            last = target;
        }
        let mut last = i64::MIN;
        for target in start.1..=self.target_end {
            let answer = index.translate_back(target);
            let source = answer.position().expect("behind the start");
            prop_assert!(
                source >= last && source <= self.translate_back(target),
                "{target}: {answer:?}"
            );
            if answer.is_exact() {
                prop_assert!(self.parts_at(source, target), "{target}: {answer:?}");
            }
            last = source;
        }
        self.check_ends(index, start)?;
        Ok(exact)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_position_is_exact(
        start in (0..1000_i64, 0..1000_i64), steps in steps(300),
    ) {
        let mut index = OffsetIndex::default();
        let model = play(&mut index, start, &steps);
        model.check_exact(&index, start)?;
        prop_assert_eq!(index.last_pair().is_some(), !model.pairs.is_empty());
        if let Some(last) = index.last_pair() {
            prop_assert_eq!(Some(&last), model.pairs.last());
        }
        let restored = OffsetIndex::decode(&index.encode(usize::MAX)).unwrap();
        model.check_exact(&restored, start)?;
    }

    #[test]
    fn short_of_memory_it_is_honest(
        start in (0..1000_i64, 0..1000_i64), steps in steps(300), max_bytes in 0..1500_usize,
    ) {
        let mut index = OffsetIndex::new(max_bytes);
        let model = play(&mut index, start, &steps);
        model.check_honest(&index, start)?;
        let mut roomy = OffsetIndex::default();
        play(&mut roomy, start, &steps);
        let encoded = roomy.encode(max_bytes);
        prop_assert!(encoded.len() <= max_bytes.max(90));
        let mut restored = OffsetIndex::decode(&encoded).unwrap();
        let mut model = model;
        model.check_honest(&restored, start)?;
        go_on(&mut restored, &mut model, &steps);
        model.check_honest(&restored, start)?;
    }

    #[test]
    fn resumed_within_itself_it_forgets_what_comes_again(
        steps in steps(300), again in steps(50), cut in 0.0..1.0_f64, back in 0..100_i64,
        max_bytes in prop_oneof![Just(DEFAULT_MAX_BYTES), 0..900_usize],
    ) {
        let start = (5, 7);
        let mut index = OffsetIndex::new(max_bytes);
        let mut model = play(&mut index, start, &steps);
        let kept = (model.pairs.len() as f64 * cut) as usize;
        let pair = model.pairs.get(kept).copied();
        // A pair as positions have it: behind a record on both sides, or before the next.
        let at = match (kept.checked_sub(1).and_then(|last| model.pairs.get(last)), pair) {
            (Some(last), _) if back % 2 == 0 => (last.0 + 1, last.1 + 1),
            (_, Some(next)) => next,
            (_, None) => (model.source_next, model.target_end),
        };
        index.resume(at.0, at.1);
        model.pairs.truncate(kept);
        prop_assert_eq!(index.start(), Some(start), "the history stays");
        (model.source_next, model.target_end) = at;
        go_on(&mut index, &mut model, &again);
        if max_bytes == DEFAULT_MAX_BYTES {
            for source in start.0..=model.source_next {
                let answer = index.translate(source);
                prop_assert!(answer.is_exact());
                prop_assert!(model.parts_at(source, answer.position().unwrap_or(-1)));
            }
        }
        for source in start.0..=model.source_next {
            let answer = index.translate(source);
            prop_assert!(answer.position().unwrap_or(0) <= model.translate(source));
            prop_assert!(!answer.is_exact() || model.parts_at(source, answer.position().unwrap_or(-1)));
        }
    }

    #[test]
    fn resumed_behind_its_end_it_knows_the_gap_roughly(
        before in steps(100), unseen in steps(30), after in steps(100),
    ) {
        let start = (5, 7);
        let mut index = OffsetIndex::default();
        let mut model = play(&mut index, start, &before);
        let lost = model.source_next;
        go_on(&mut OffsetIndex::default(), &mut model, &unseen);
        let (source, target) = (model.source_next, model.target_end);
        index.resume(source, target);
        go_on(&mut index, &mut model, &after);
        for position in start.0..=model.source_next {
            let answer = index.translate(position);
            prop_assert!(answer.position().unwrap_or(i64::MAX) <= model.translate(position));
            prop_assert!(answer.is_exact() || (position > lost && position < source));
            prop_assert!(!answer.is_exact() || model.parts_at(position, answer.position().unwrap_or(-1)));
        }
    }

    #[test]
    fn any_bytes_are_an_index_or_none(
        steps in steps(100), at in 0..2000_usize, byte: u8, cut in 0..2000_usize,
    ) {
        let mut index = OffsetIndex::default();
        play(&mut index, (3, 4), &steps);
        let mut bytes = index.encode(usize::MAX);
        let length = bytes.len();
        prop_assert!(OffsetIndex::decode(&bytes[..cut % length]).is_err() || cut % length == 0);
        bytes[at % length] = byte;
        if let Ok(index) = OffsetIndex::decode(&bytes) {
            let mut last = i64::MIN;
            for position in 0..2000 {
                let Some(target) = index.translate(position).position() else { continue };
                prop_assert!(target >= last);
                last = target;
            }
        }
    }
}

#[test]
fn a_partition_without_gaps_has_one_breakpoint() {
    let mut index = OffsetIndex::default();
    index.begin_at_start(100, 0);
    let empty = index.memory_bytes();
    for batch in 0..1_000_000 {
        index.append(100 + batch * 500, batch * 500, 500);
    }
    assert_eq!((index.breakpoints(), index.memory_bytes()), (1, empty));
    assert_eq!(index.translate(100 + 123_456_789), Translation::Exact(123_456_789));
    assert_eq!(index.end(), Some((500_000_100, 500_000_000)));
    assert_eq!(index.encode(1000).len(), 11);
}

#[test]
fn before_the_start_there_is_nothing_or_nothing_known() {
    let mut index = OffsetIndex::default();
    assert_eq!(index.translate(0), Translation::Unknown);
    assert_eq!(index.translate_back(0), Translation::Unknown);
    assert_eq!(OffsetIndex::decode(&index.encode(100)).unwrap().end(), None);
    index.begin_at_start(100, 7);
    assert_eq!(index.translate(3), Translation::Exact(7));
    index.append(105, 9, 1);
    assert_eq!(index.translate(3), Translation::Exact(9));
    assert_eq!(index.translate(100), Translation::Exact(9), "nothing of ours is at 7 and 8");
    assert_eq!(index.translate_back(0), Translation::Exact(105));
    let restored = OffsetIndex::decode(&index.encode(100)).unwrap();
    assert_eq!(restored.translate(3), Translation::Exact(9));
    index.begin(100, 7);
    assert_eq!(index.translate(3), Translation::Unknown);
}

#[test]
fn a_side_that_goes_back_starts_it_anew() {
    let mut index = OffsetIndex::default();
    index.begin(0, 0);
    index.append(0, 0, 100);
    index.append(50, 100, 10);
    assert_eq!((index.start(), index.end()), (Some((50, 100)), Some((60, 110))));
    index.append(60, 30, 10);
    assert_eq!((index.start(), index.end()), (Some((60, 30)), Some((70, 40))));
    index.resume(70, 35);
    assert_eq!((index.start(), index.end()), (Some((70, 35)), Some((70, 35))));
    assert_eq!(index.last_pair(), None);
}

/// As when MirrorMaker 2 went on where kmirror stopped, and kmirror takes over again.
#[test]
fn behind_an_interruption_nothing_counts_as_a_hole() {
    let mut index = OffsetIndex::default();
    index.begin(0, 0);
    index.append(0, 0, 10);
    index.interrupt();
    index.pass(100);
    assert_eq!(index.end(), Some((10, 10)));
    index.append(150, 120, 10);
    let answers = [5, 10, 11, 149, 150, 155, 160].map(|position| index.translate(position));
    use Translation::{Behind, Exact};
    let expected =
        [Exact(5), Exact(10), Behind(10), Behind(10), Exact(120), Exact(125), Exact(130)];
    assert_eq!(answers, expected);
    index.append(161, 130, 1);
    assert_eq!(index.translate(160), Exact(130), "a hole again");
    index.interrupt();
    index.append(162, 131, 1);
    assert_eq!(index.translate(162), Exact(131), "nobody went on");
    index.interrupt();
    index.append(20, 200, 1);
    assert_eq!(index.start(), Some((20, 200)), "others began anew");
}

/// Twice in a row: what was passed between the two stays part of the whole.
#[test]
fn what_was_passed_before_a_gap_is_kept() {
    let mut index = OffsetIndex::default();
    index.begin(0, 0);
    index.append(0, 0, 10);
    index.resume(20, 15);
    index.pass(30);
    index.resume(50, 40);
    index.append(50, 40, 10);
    let answers = [20, 25, 30, 50, 55].map(|position| index.translate(position));
    use Translation::Exact;
    assert_eq!(answers, [Exact(15), Exact(15), Exact(15), Exact(40), Exact(45)]);
}

/// Several foreign batches, then a stored pair from before them.
#[test]
fn a_pair_before_foreign_records_agrees() {
    let mut index = OffsetIndex::default();
    index.begin(0, 0);
    index.append(0, 0, 10);
    index.append(10, 13, 10);
    index.resume(10, 10);
    assert_eq!((index.start(), index.end()), (Some((0, 0)), Some((10, 10))));
}

#[test]
fn offsets_that_cannot_be_are_left_out() {
    let mut index = OffsetIndex::default();
    index.append(-1, 5, 1);
    index.append(5, i64::MAX, 1);
    assert_eq!(index.end(), None);
    index.begin(MAX_OFFSET, MAX_OFFSET);
    index.append(MAX_OFFSET, MAX_OFFSET, u32::MAX);
    index.append(i64::MAX, i64::MAX, u32::MAX);
    index.pass(i64::MAX);
    assert_eq!(index.end().map(|end| end.0), Some(MAX_OFFSET + i64::from(u32::MAX)));
    for position in [i64::MIN, -1, i64::MAX] {
        let _ = (index.translate(position), index.translate_back(position));
    }
}

#[test]
fn newer_versions_are_told_from_damage() {
    let mut index = OffsetIndex::default();
    index.append(1, 1, 1);
    let mut bytes = index.encode(1000);
    assert!(OffsetIndex::decode(&bytes).is_ok());
    bytes.push(0);
    assert_eq!(OffsetIndex::decode(&bytes).err(), Some(IndexError::Damaged));
    bytes[0] = 2;
    assert_eq!(OffsetIndex::decode(&bytes).err(), Some(IndexError::UnknownVersion(2)));
}

/// A marker after every ten records, as with transactions of ten.
#[test]
fn breakpoints_of_transactions_are_small_and_recent_history_stays_exact() {
    let mut index = OffsetIndex::default();
    index.begin(0, 0);
    let transactions = 100_000_i64;
    for i in 0..transactions {
        index.append(i * 11, i * 10, 10);
    }
    let bytes = index.memory_bytes() as f64 / transactions as f64;
    assert!(bytes < 3.0, "{bytes} bytes for each breakpoint");
    assert_eq!(index.breakpoints() as i64, transactions);

    for i in transactions..10 * transactions {
        index.append(i * 11, i * 10, 10);
    }
    assert!(index.memory_bytes() < DEFAULT_MAX_BYTES * 5 / 4);
    let first_exact = (0..1_000_000).rev().find(|i| !index.translate(i * 11 + 3).is_exact());
    assert!(first_exact.is_some_and(|i| i < 920_000), "{first_exact:?}");
    for i in [0, 5, 500, 77_777, 500_000, 800_000] {
        let (answer, truth): (i64, i64) =
            (index.translate(i * 11 + 3).position().unwrap(), i * 10 + 3);
        assert!(
            answer <= truth && answer > truth - (10_000_000 - truth) / 1000,
            "{i}: {answer} of {truth}"
        );
    }
}

/// The source's log was cut twice, once in a closed segment; the target keeps the copies.
#[test]
fn what_a_cut_source_held_behind_belongs_to_no_position() {
    use Translation::{Behind, Exact};
    let mut index = OffsetIndex::default();
    index.begin_at_start(0, 0);
    index.append(0, 0, 10);
    index.append(11, 10, 10);
    index.go_back(15, 20);
    assert_eq!((index.start(), index.end()), (Some((0, 0)), Some((15, 20))));
    index.append(15, 20, 5);
    let answers = [9, 10, 11, 14, 15, 19, 25].map(|position| index.translate(position));
    assert_eq!(
        answers,
        [Exact(9), Exact(10), Exact(10), Exact(13), Exact(20), Exact(24), Behind(25)]
    );
    let back = [13, 14, 19, 20].map(|position| index.translate_back(position));
    assert_eq!(back, [Exact(14), Exact(15), Exact(15), Exact(15)]);
    index.go_back(5, 30);
    index.append(5, 30, 1);
    assert_eq!([4, 5, 6].map(|at| index.translate(at)), [Exact(4), Exact(30), Exact(31)]);
    let bytes = index.encode(usize::MAX);
    let again = OffsetIndex::decode(&bytes).expect("it was encoded");
    assert_eq!([4, 5, 6].map(|at| again.translate(at)), [Exact(4), Exact(30), Exact(31)]);
}
