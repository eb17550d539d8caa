//! A backlog much larger than the memory that kmirror may take.

use anyhow::Result;
use kafka_lab::{Load, available};

use crate::support::{Clusters, Mirror};

const MIB: u64 = 1 << 20;

#[test]
fn a_backlog_flows_within_bounded_memory() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let clusters = Clusters::shared()?;
    clusters.create("backlog", 10, &[])?;
    let load = Load { records: 200_000, value_bytes: 1000, ..Load::of("backlog") };
    let load = Load { batch_bytes: 65_536, linger_ms: 20, ..load };
    clusters.peer.produce(&clusters.source.bootstrap(), &load)?.assert_complete();

    let flow = clusters.flow("volume", "volume-target", "backlog");
    let mut mirror = Mirror::start(&format!("{flow}kmirror.memory.bytes = {}\n", 32 * MIB))?;
    clusters.compare("backlog", "volume.backlog")?.assert_equal(200_000);
    let peak = mirror.peak_resident_bytes()?;
    assert!(peak < (32 + 64) * MIB, "peak resident memory: {} MiB", peak / MIB);
    mirror.terminate()
}
