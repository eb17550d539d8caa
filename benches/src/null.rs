//! kmirror's engine between two null brokers: one serves made-up batches without end, the other discards what it gets.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::child::{Child, Stretch};

/// Until records flow as they will.
pub(crate) const WARM_UP: Duration = Duration::from_millis(400);

/// Ten thousand partitions do not begin at once, and how they do is not what is measured.
const WARM_UP_PER_PARTITION: Duration = Duration::from_micros(500);

/// What the null brokers hold, and the lines that kmirror's file has besides.
pub(crate) struct NullTopic<'a> {
    /// At each end.
    pub(crate) brokers: u32,
    pub(crate) partitions: u32,
    pub(crate) batch_records: u32,
    pub(crate) record_bytes: u32,
    pub(crate) codec: &'a str,
    pub(crate) properties: &'a [String],
}

/// kmirror between null brokers, played by this program or by another build of it.
pub(crate) fn measure(
    topic: &NullTopic<'_>,
    program: Option<&Path>,
    stretch: Duration,
) -> Result<Stretch> {
    let warm_up = WARM_UP + WARM_UP_PER_PARTITION * topic.partitions;
    Played::start(topic, program)?.engine.measure(warm_up, stretch)
}

/// kmirror and two null brokers.
pub(crate) struct Played {
    pub(crate) engine: Child,
    pub(crate) target: Child,
    _source: Child,
}

impl Played {
    /// Starts all three; records flow at once.
    pub(crate) fn start(topic: &NullTopic<'_>, program: Option<&Path>) -> Result<Self> {
        let NullTopic { partitions, batch_records, record_bytes, codec, .. } = topic;
        let brokers = topic.brokers.to_string();
        let batches = format!(
            "bench:{partitions}:batch.records={batch_records}:record.bytes={record_bytes}:codec={codec}"
        );
        let source = Child::start(&["broker", "--brokers", &brokers, "--endless", &batches])?;
        let null = format!("source.bench:{partitions}");
        let target = Child::start(&["broker", "--brokers", &brokers, "--null", &null])?;
        let text = properties(&source, &target, topic.properties);
        let engine = Child::start_of(program, &["engine", &text])?;
        Ok(Self { engine, target, _source: source })
    }
}

fn properties(source: &Child, target: &Child, more: &[String]) -> String {
    format!(
        "clusters = source, target\n\
         source.bootstrap.servers = {}\n\
         target.bootstrap.servers = {}\n\
         source->target.enabled = true\n\
         source->target.topics = bench\n\
         replication.factor = 1\n\
         offset-syncs.topic.replication.factor = 1\n\
         offset.storage.replication.factor = 1\n\
         {}\n",
        source.greeting,
        target.greeting,
        more.join("\n")
    )
}
