//! Kill anything at any moment: the target still holds every record once, in order. kmirror and the brokers
//! of both clusters are ended with SIGKILL under a load of every kind.
//!
//! `KMIRROR_KILLS` and `KMIRROR_BROKER_KILLS` say how often (before a release 100 and 20), `KMIRROR_BROKERS`
//! (1 or 3) how many brokers a cluster has, `KMIRROR_SEED` at which moments.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use kafka_lab::{ClusterBuilder, Isolation, Load, Mirrored, Pending, Shape, Version, available};

use crate::support::{COMMON, Clusters, Dice, Mirror, PATIENCE, count, eventually};

/// A topic of the load, and the flow that mirrors it.
struct Kind {
    alias: &'static str,
    load: Load,
    compacted: bool,
}

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PARTITIONS: u32 = 3;
/// How long the next commit is waited for.
const COMMIT: Duration = Duration::from_secs(2);

/// The logs say what was copied since positions were stored.
#[test]
fn whatever_is_killed_nothing_is_lost_or_repeated() -> Result<()> {
    Storm::run(1, "", Isolation::ReadUncommitted)
}

/// Data and positions in one transaction: a reader of the target sees what is committed, and that once.
#[test]
fn whatever_is_killed_each_record_is_committed_once() -> Result<()> {
    let settings = "target.exactly.once.source.support = enabled\n\
                    prompt.exactly.once.source.support = enabled\n";
    Storm::run(3, settings, Isolation::ReadCommitted)
}

/// Everything that a run needs.
struct Storm {
    clusters: Clusters,
    mirror: Mirror,
    dice: Dice,
    kinds: Vec<Kind>,
    target_isolation: Isolation,
}

impl Storm {
    fn run(seed: u64, settings: &str, target_isolation: Isolation) -> Result<()> {
        /// One at a time: each keeps the machine busy.
        static TURN: Mutex<()> = Mutex::new(());
        if !available() {
            return Ok(());
        }
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut storm = Self::start(seed, settings, target_isolation)?;
        let loads = storm.produce()?;
        storm.rage(count("KMIRROR_KILLS", 8), count("KMIRROR_BROKER_KILLS", 2))?;
        for load in loads {
            storm.clusters.peer.stop(load)?.assert_complete();
        }
        storm.judge()?;
        storm.mirror.terminate()
    }

    fn start(seed: u64, settings: &str, target_isolation: Isolation) -> Result<Self> {
        let nodes = usize::try_from(count("KMIRROR_BROKERS", 1))?;
        // A broker that comes back waits for the end of the session that it had before.
        let session = ("broker.session.timeout.ms", "3000");
        let builder =
            || ClusterBuilder::new(Version::V4_3_1).nodes(nodes).property(session.0, session.1);
        let clusters = Clusters::build(builder(), builder())?;
        let kinds = kinds()?;
        let source = clusters.source.bootstrap();
        let target = clusters.target.bootstrap();
        for bootstrap in [&source, &target] {
            clusters.peer.configure_brokers(bootstrap, &[("log.cleaner.backoff.ms", "500")])?;
        }
        let compacted = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "1000"),
            ("min.cleanable.dirty.ratio", "0"),
        ];
        for kind in &kinds {
            let configs = if kind.compacted { &compacted[..] } else { &[] };
            clusters.create(&kind.load.topic, PARTITIONS, configs)?;
        }
        // Two names for one source: what is read under each has its own isolation. And two for the target: one
        // flow stores positions as by default, the other all the time.
        let mirror = Mirror::start(&format!(
            "clusters = committed, all, target, prompt\n\
             all.bootstrap.servers = {source}\n\
             committed.bootstrap.servers = {source}\n\
             target.bootstrap.servers = {target}\n\
             prompt.bootstrap.servers = {target}\n\
             prompt.offset.flush.interval.ms = 200\n\
             committed.consumer.isolation.level = read_committed\n\
             committed->target.enabled = true\n\
             committed->target.topics = committed-.*\n\
             all->prompt.enabled = true\n\
             all->prompt.topics = all-.*\n\
             refresh.topics.interval.seconds = 1\n\
             emit.heartbeats.enabled = false\n\
             {COMMON}{settings}"
        ))?;
        Ok(Self { clusters, mirror, dice: Dice::seeded(seed), kinds, target_isolation })
    }

    fn produce(&self) -> Result<Vec<Pending>> {
        let source = self.clusters.source.bootstrap();
        self.kinds
            .iter()
            .map(|kind| self.clusters.peer.produce_beside(&source, &kind.load))
            .collect()
    }

    /// Kills kmirror so often, and brokers so often between, at random moments: while it starts, recovers,
    /// forwards, and while a broker is away.
    fn rage(&mut self, mut kills: u64, mut broker_kills: u64) -> Result<()> {
        self.await_progress()?;
        while kills + broker_kills > 0 {
            if self.dice.below(kills + broker_kills) < broker_kills {
                broker_kills -= 1;
                kills -= self.kill_broker(kills)?;
            } else {
                kills -= 1;
                self.kill_mirror()?;
            }
            // Most of the time it shall have something on its way again.
            if self.dice.below(4) > 0 {
                self.await_progress()?;
            }
            self.dice.sleep_below(1500);
        }
        Ok(())
    }

    fn kill_mirror(&mut self) -> Result<()> {
        self.mirror.kill()?;
        self.mirror.restart()
    }

    /// Returns how often kmirror was killed while the broker was away.
    fn kill_broker(&mut self, kills_left: u64) -> Result<u64> {
        let source = self.dice.below(2) == 0;
        let nodes = count("KMIRROR_BROKERS", 1);
        let node = 1 + usize::try_from(self.dice.below(nodes))?;
        let killed = self.dice.below(2).min(kills_left);
        if self.target_isolation == Isolation::ReadCommitted && self.dice.below(2) == 0 {
            // A coordinator that ends here has decided about transactions that no partition knows the end of.
            self.mirror.await_next("commits", COMMIT)?;
            self.dice.sleep_below(15);
        }
        self.cluster(source).kill(node)?;
        self.dice.sleep_below(1500);
        for _ in 0..killed {
            self.kill_mirror()?;
            self.dice.sleep_below(1000);
        }
        self.cluster(source).restart(node)?;
        Ok(killed)
    }

    fn cluster(&mut self, source: bool) -> &mut kafka_lab::KafkaCluster {
        if source { &mut self.clusters.source } else { &mut self.clusters.target }
    }

    /// Waits until more of some topic has arrived.
    fn await_progress(&mut self) -> Result<()> {
        let kind = &self.kinds[usize::try_from(self.dice.below(self.kinds.len() as u64))?];
        let (peer, target) = (&self.clusters.peer, self.clusters.target.bootstrap());
        let mirrored = format!("{}.{}", kind.alias, kind.load.topic);
        let held = || -> Result<u64> {
            let exists = peer.topics(&target)?.contains(&mirrored);
            Ok(if exists { peer.end_offsets(&target, &mirrored)?.values().sum() } else { 0 })
        };
        let before = held()?;
        eventually(&format!("{mirrored} grows beyond {before}"), || Ok(held()? > before))
    }

    fn judge(&mut self) -> Result<()> {
        let (source, target) = (self.clusters.source.bootstrap(), self.clusters.target.bootstrap());
        let mut faults = Vec::new();
        for kind in &self.kinds {
            let mirrored = format!("{}.{}", kind.alias, kind.load.topic);
            let pair = Mirrored {
                source: (&source, &kind.load.topic),
                isolation: match kind.alias {
                    "committed" => Isolation::ReadCommitted,
                    _ => Isolation::ReadUncommitted,
                },
                target: (&target, &mirrored),
                target_isolation: self.target_isolation,
            };
            if kind.compacted {
                let difference = self.clusters.peer.compare_compacted(&pair, PATIENCE)?;
                if !difference.is_empty() {
                    faults.push(difference);
                }
                continue;
            }
            let seen = self.clusters.peer.compare_mirrored(&pair, PATIENCE)?;
            println!("{mirrored}: {} records", seen.source_records);
            ensure!(seen.source_records > 0, "{mirrored}: nothing was produced");
            if !seen.first_difference.is_empty() {
                faults.push(format!("{seen:#?}"));
            }
        }
        assert!(faults.is_empty(), "{}\nkmirror logged:\n{}", faults.join("\n"), self.mirror.log());
        self.mirror.ensure_running()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "records whose time is long past could be cleaned away"
)]
fn kinds() -> Result<Vec<Kind>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let kind = |alias: &'static str, name: &str, load: Load| Kind {
        alias,
        load: Load { topic: format!("{alias}-{name}"), records: u64::MAX / 2, ..load },
        compacted: false,
    };
    let load = Load { rate: 150, shape: Shape::Mixed, ..Load::of("") };
    let mut kinds: Vec<_> = CODECS
        .iter()
        .map(|codec| kind("committed", codec, Load { codec, linger_ms: 20, ..load.clone() }))
        .collect();
    let tiny = Load { rate: 100, linger_ms: 0, batch_bytes: 1, ..load.clone() };
    kinds.push(kind("committed", "tiny", tiny.clone()));
    kinds.push(kind("all", "tiny", Load { codec: "lz4", ..tiny }));
    let transactions = Load { transaction_records: 20, codec: "lz4", ..load.clone() };
    kinds.push(kind("committed", "transactions", transactions.clone()));
    kinds.push(kind("all", "transactions", transactions));
    let first_timestamp_ms = u64::try_from(now.as_millis())?;
    let updates = Load { keys: 300, first_timestamp_ms, rate: 400, codec: "zstd", ..load };
    kinds.push(Kind { compacted: true, ..kind("committed", "compacted", updates) });
    Ok(kinds)
}
