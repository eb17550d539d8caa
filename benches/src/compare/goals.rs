//! The figures that something is aimed at, most of them ratios of the tuned MirrorMaker 2 and kmirror.

use super::Measured;
use super::contender::Contender;
use super::tables::cpu;
use crate::figure::mib;
use crate::goal::Goal;

/// Those that were measured.
pub(super) fn all(measured: &Measured) -> Vec<(Goal, f64)> {
    let mut goals = Vec::new();
    for (set, goal) in [("none", Goal::CpuNone), ("lz4", Goal::CpuLz4), ("zstd", Goal::CpuZstd)] {
        if let Some((ours, theirs)) = measured.pair(set) {
            goals.push((goal, cpu(theirs) / cpu(ours)));
        }
    }
    if let Some((ours, theirs)) = measured.pair("tiny") {
        goals.extend([
            (Goal::TinySpeed, ours.records_per_second() / theirs.records_per_second()),
            (Goal::TinyCpu, cpu(theirs) / cpu(ours)),
            (Goal::TinyTargetCpu, ours.target_cpu_seconds / theirs.target_cpu_seconds),
        ]);
    }
    if let Some((ours, theirs)) = measured.pair("none") {
        let peak = ours.peak_resident_bytes;
        goals.extend([
            (Goal::PeakMemory, theirs.peak_resident_bytes as f64 / peak as f64),
            (Goal::PeakMib, mib(peak)),
            (Goal::Start, ours.first_record_seconds),
        ]);
        if let Some((ours, theirs)) = ours.idle.zip(theirs.idle) {
            let memory = theirs.resident_bytes as f64 / ours.resident_bytes as f64;
            goals.extend([(Goal::IdleMemory, memory), (Goal::IdleCpu, ours.cpu * 100.0)]);
        }
    }
    goals.extend(latency(measured).map(|ratio| (Goal::Latency, ratio)));
    goals
}

/// At the top rate.
fn latency(measured: &Measured) -> Option<f64> {
    let top = measured.latencies.top_rate()?;
    let at_top = |wanted| {
        let mut all = measured.latencies.all.iter();
        all.find(|one| one.contender == wanted && one.rate == top).map(|one| one.p99)
    };
    Some(at_top(Contender::Tuned)? / at_top(Contender::Kmirror)?)
}
