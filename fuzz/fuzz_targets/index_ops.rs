//! A sequence of operations on an offset index against a list of all pairs; and any bytes as a stored index: what
//! decodes encodes again and answers in order.
#![no_main]

use engine::index::{OffsetIndex, Translation};
use kmirror_fuzz::Input;
use libfuzzer_sys::fuzz_target;

#[derive(Default)]
struct Model {
    pairs: Vec<(i64, i64)>,
    start: (i64, i64),
    end: (i64, i64),
}

impl Model {
    fn check(&self, index: &OffsetIndex, source: i64) {
        let behind = self.pairs.partition_point(|pair| pair.0 < source);
        let truth = self.pairs.get(behind).map_or(self.end.1, |pair| pair.1);
        match index.translate(source) {
            Translation::Exact(target) => {
                let there = self.pairs.partition_point(|pair| pair.1 < target);
                assert_eq!((behind, target <= truth), (there, true), "{source} is not {target}");
            }
            Translation::Behind(target) => assert!(target <= truth, "{source} is not {target}"),
            Translation::Unknown => assert!(source < self.start.0, "{source} is known"),
        }
    }

    fn step(&mut self, index: &mut OffsetIndex, input: &mut Input<'_>) {
        let (kind, size) = (input.byte(), i64::from(input.byte()));
        match kind % 8 {
            0 => {
                self.end.0 += size;
                index.pass(self.end.0);
            }
            1 => *index = OffsetIndex::decode(&index.encode(usize::MAX)).expect("just encoded"),
            2 => {
                // The records behind the pair come again.
                let kept = self.pairs.len().saturating_sub(size as usize);
                if let Some(at) = self.pairs.get(kept) {
                    self.end = *at;
                    index.resume(self.end.0, self.end.1);
                    self.pairs.truncate(kept);
                }
            }
            holes => {
                let source = self.end.0 + i64::from(holes & 1) * size;
                let target = self.end.1 + i64::from(holes & 2) * size;
                let count = 1 + i64::from(input.byte() % 32);
                index.append(source, target, count as u32);
                self.pairs.extend((0..count).map(|i| (source + i, target + i)));
                self.end = (source + count, target + count);
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(index) = OffsetIndex::decode(data) {
        let encoded = index.encode(usize::MAX);
        let again = OffsetIndex::decode(&encoded).expect("just encoded");
        assert_eq!(again.encode(usize::MAX), encoded);
        let (start, end) = (index.start().unwrap_or_default(), index.end().unwrap_or_default());
        let positions = (0..64).map(|i| start.0 + (end.0 - start.0) / 64 * i);
        let targets = positions.map(|source| index.translate(source).position().unwrap_or(0));
        assert!(targets.is_sorted());
    }
    let mut input = Input(data);
    let mut index = OffsetIndex::new(usize::from(input.byte()) * 16);
    index.begin(3, 5);
    let mut model = Model { start: (3, 5), end: (3, 5), ..Model::default() };
    while !input.0.is_empty() && model.pairs.len() < 4096 {
        model.step(&mut index, &mut input);
        model.check(&index, model.end.0);
    }
    for source in 0..=model.end.0.min(4096) {
        model.check(&index, source);
    }
    // What others wrote behind the last record of ours may count or not.
    let end = index.end().expect("it was begun");
    assert_eq!(end.0, model.end.0);
    assert!(end.1 <= model.end.1 && model.pairs.last().is_none_or(|last| last.1 < end.1));
});
