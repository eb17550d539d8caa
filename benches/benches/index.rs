//! What an offset index costs: an acknowledged run, a translation, and bytes for each breakpoint.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use engine::index::OffsetIndex;

/// Records in a row, offsets missing behind them at the source, and at the target.
type Pattern = (i64, i64, i64);

const PATTERNS: [(&str, Pattern); 3] = [
    ("a marker after ten records", (10, 1, 0)),
    ("markers on both sides", (10, 1, 1)),
    ("a batch of 500, compacted", (500, 37, 0)),
];

fn index((count, source_hole, target_hole): Pattern, breakpoints: i64) -> OffsetIndex {
    let mut index = OffsetIndex::new(usize::MAX);
    index.begin(0, 0);
    for i in 0..breakpoints {
        let (source, target) = (i * (count + source_hole), i * (count + target_hole));
        index.append(source, target, count as u32);
    }
    index
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    group.bench_function("contiguous", |b| {
        let mut index = OffsetIndex::default();
        let mut next = 0;
        b.iter(|| {
            index.append(black_box(next), black_box(next), 500);
            next += 500;
        });
    });
    group.bench_function("breakpoint", |b| {
        let mut index = OffsetIndex::default();
        let mut batch = 0;
        b.iter(|| {
            index.append(black_box(batch * 11), black_box(batch * 10), 10);
            batch += 1;
        });
    });
    group.finish();
}

fn translate(c: &mut Criterion) {
    let mut group = c.benchmark_group("translate");
    for (name, pattern) in PATTERNS {
        let breakpoints = 100_000;
        let index = index(pattern, breakpoints);
        let bytes = index.memory_bytes() as f64 / breakpoints as f64;
        println!("{name}: {bytes:.2} bytes of memory for each breakpoint");
        let encoded = index.encode(usize::MAX).len() as f64 / breakpoints as f64;
        println!("{name}: {encoded:.2} bytes encoded");
        let end = index.end().expect("records were appended");
        let mut position = 0;
        let mut random = move |end: i64| {
            position = (position + 7_046_029_254_386_353 % end) % end;
            position
        };
        group.bench_function(BenchmarkId::new("there", name), |b| {
            b.iter_batched(
                || random(end.0),
                |position| index.translate(position),
                BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("back", name), |b| {
            b.iter_batched(
                || random(end.1),
                |position| index.translate_back(position),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn restore(c: &mut Criterion) {
    let index = index(PATTERNS[0].1, 100_000);
    let bytes = index.encode(usize::MAX);
    let mut group = c.benchmark_group("100 000 breakpoints");
    group.bench_function("encode", |b| b.iter(|| black_box(&index).encode(usize::MAX)));
    group.bench_function("decode", |b| b.iter(|| OffsetIndex::decode(black_box(&bytes))));
    group.finish();
}

criterion_group!(benches, append, translate, restore);
criterion_main!(benches);
