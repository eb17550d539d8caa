//! What forwarding costs per batch: walking, deciding, patching; and what merging and rewriting
//! cost where a batch cannot stay sealed.

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use protocol_client::batch::codec::Decompressor;
use protocol_client::batch::{
    AppendTime, BatchBuilder, BatchHeader, Compression, Context, Entry, OpenBatch, ProducerStamp,
    RebuildOptions, Verdict, crc, decide, merge, patch, rewrite, walk,
};
use std::hint::black_box;

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];
const OPTIONS: RebuildOptions = RebuildOptions {
    start_offset: 0,
    append_time: AppendTime::Keep,
    max_message_bytes: 4 << 20,
    max_open_bytes: 64 << 20,
};

/// A record value of about `bytes` bytes that compresses as JSON does.
fn value(i: u64, bytes: usize) -> Vec<u8> {
    let noise = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut value = format!("{{\"order\":{i},\"customer\":\"{noise:016x}\",\"state\":\"paid\",");
    let mut item = noise;
    while value.len() < bytes {
        item = item.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        value.push_str(&format!("\"price\":{},\"amount\":{},", item >> 50, item >> 60));
    }
    value.truncate(bytes);
    value.into_bytes()
}

fn batch(offset: u64, records: u64, record_bytes: usize, codec: Compression) -> Entry {
    let mut builder = BatchBuilder::with_compression(codec);
    for i in offset..offset + records {
        let time = 1_795_000_000_000 + i as i64;
        builder.push(Some(&i.to_be_bytes()), Some(&value(i, record_bytes)), &[], time);
    }
    let mut bytes = builder.build().expect("a valid batch").bytes.to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    Entry::new(bytes.into()).expect("a whole batch")
}

fn headers(c: &mut Criterion) {
    let stamp = ProducerStamp { producer_id: 4711, epoch: 1, base_sequence: 77 };
    let mut group = c.benchmark_group("patch");
    for kib in [1, 16, 1024] {
        let entry = batch(0, 1, kib << 10, Compression::None);
        group.bench_function(BenchmarkId::from_parameter(format!("{kib} KiB")), |b| {
            b.iter(|| {
                let header = BatchHeader::parse(black_box(entry.bytes())).expect("a batch");
                patch(&header, black_box(stamp))
            });
        });
    }
    group.finish();
    c.bench_function("shift by 4 bytes of length", |b| {
        b.iter(|| crc::shift(black_box(0xDEAD_BEEF), black_box(0x0102_0304)));
    });

    let parts: Vec<u8> =
        (0..64).flat_map(|i| batch(i * 16, 16, 1000, Compression::None).bytes().to_vec()).collect();
    let blob = Bytes::from(parts);
    let context = Context {
        fetch_offset: 0,
        max_message_bytes: 1 << 20,
        append_time: AppendTime::Keep,
        verdict: Verdict::Keep,
    };
    c.bench_function("walk and decide 64 batches of 16 KiB", |b| {
        b.iter(|| {
            let sealed = |entry: Result<Entry, _>| decide(&entry.expect("a batch"), &context);
            walk(black_box(&blob)).map(sealed).collect::<Vec<_>>()
        });
    });
}

fn merging(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge batches of one 200-byte record");
    group.throughput(Throughput::Elements(1000));
    for codec in CODECS {
        let run: Vec<Entry> = (0..1000).map(|i| batch(i, 1, 190, codec)).collect();
        group.bench_function(codec.name(), |b| {
            b.iter(|| merge(black_box(&run), &OPTIONS).expect("good batches").expect("a merge"));
        });
    }
    group.finish();
}

fn opening(c: &mut Criterion) {
    let mut group = c.benchmark_group("open a batch of one 200-byte record");
    for codec in CODECS {
        let entry = batch(0, 1, 190, codec);
        let mut decompressor = Decompressor::default();
        group.bench_function(codec.name(), |b| {
            b.iter(|| {
                let open = OpenBatch::open_with(&mut decompressor, black_box(&entry), 1 << 20);
                open.expect("a good batch").records().count()
            });
        });
    }
    group.finish();
}

fn rewriting(c: &mut Criterion) {
    let mut group = c.benchmark_group("rewrite a batch of 1 MiB");
    group.throughput(Throughput::Bytes(1 << 20));
    group.sample_size(20);
    for codec in CODECS {
        let entry = batch(0, 1024, 1000, codec);
        group.bench_function(codec.name(), |b| {
            b.iter_batched(
                || entry.clone(),
                |entry| rewrite(black_box(&entry), &OPTIONS).expect("a good batch"),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, headers, opening, merging, rewriting);
criterion_main!(benches);
