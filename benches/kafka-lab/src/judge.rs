//! What the peer finds out about a topic and its mirror, and about the groups that read them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::load::{Comparison, Isolation};
use crate::peer::{Fields, Peer};

/// Positions of a consumer group: topic and partition, and the offset that is read next.
pub type Positions = BTreeMap<(String, u32), u64>;

/// A topic on one cluster and its mirror on another.
#[derive(Debug, Clone, Copy)]
pub struct Mirrored<'a> {
    /// Bootstrap address and topic on the source.
    pub source: (&'a str, &'a str),
    /// Which records of the source count.
    pub isolation: Isolation,
    /// Bootstrap address and topic on the target.
    pub target: (&'a str, &'a str),
    /// Which records of the target count.
    pub target_isolation: Isolation,
}

impl Mirrored<'_> {
    fn fields(&self, patience: Duration) -> Vec<(String, String)> {
        let fields = [
            ("source", self.source.0),
            ("source_topic", self.source.1),
            ("target", self.target.0),
            ("target_topic", self.target.1),
            ("isolation", self.isolation.name()),
            ("target_isolation", self.target_isolation.name()),
            ("wait_ms", &patience.as_millis().to_string()),
        ];
        fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }
}

impl Peer {
    /// Compares `source.1` on the cluster `source.0` with its mirror `target.1` on `target.0`, of which all
    /// records are read. Waits up to `patience` for the target to appear and to hold as many as the source.
    ///
    /// # Errors
    /// As [`Peer::compare_mirrored`].
    pub fn compare(
        &self,
        source: (&str, &str),
        target: (&str, &str),
        isolation: Isolation,
        patience: Duration,
    ) -> Result<Comparison> {
        let target_isolation = Isolation::ReadUncommitted;
        self.compare_mirrored(&Mirrored { source, isolation, target, target_isolation }, patience)
    }

    /// Compares a topic with its mirror, once that had up to `patience` to catch up.
    ///
    /// # Errors
    /// A topic cannot be read to its end. That the two differ is an answer, not an error.
    pub fn compare_mirrored(
        &self,
        mirrored: &Mirrored<'_>,
        patience: Duration,
    ) -> Result<Comparison> {
        Comparison::parse(&self.call("compare", mirrored.fields(patience))?)
    }

    /// The first difference of a topic and its mirror when cleaners may have been at either: a record that
    /// came back or came twice, or a key whose newest record is not the same. Empty when there is none. The
    /// timestamps of the load must number its records ([`crate::Load::first_timestamp_ms`]).
    ///
    /// # Errors
    /// A topic cannot be read to its end.
    pub fn compare_compacted(&self, mirrored: &Mirrored<'_>, patience: Duration) -> Result<String> {
        let answer = self.call("compare-compacted", mirrored.fields(patience))?;
        answer.get("difference").cloned().context("the answer has no difference")
    }

    /// For each position (partition and offset) at the source the positions of the target from which a
    /// reader goes on with exactly the record that comes next at the source.
    ///
    /// # Errors
    /// The two hold different records, those left aside that the source never had.
    pub fn next_records(
        &self,
        mirrored: &Mirrored<'_>,
        positions: &[(u32, u64)],
        patience: Duration,
    ) -> Result<BTreeMap<(u32, u64), RangeInclusive<u64>>> {
        let asked: Vec<_> = positions.iter().map(|(p, offset)| format!("{p}:{offset}")).collect();
        let mut fields = mirrored.fields(patience);
        fields.push(("positions".to_owned(), asked.join(",")));
        let answer = self.call("next-records", fields)?;
        answer
            .iter()
            .map(|(position, range)| {
                let (partition, offset) = position.split_once(':').context("partition:offset")?;
                let (first, last) = range.split_once('-').context("first-last")?;
                Ok(((partition.parse()?, offset.parse()?), first.parse()?..=last.parse()?))
            })
            .collect()
    }

    /// Commits positions on behalf of groups without members.
    ///
    /// # Errors
    /// Kafka refuses it.
    pub fn commit(&self, bootstrap: &str, groups: &BTreeMap<String, Positions>) -> Result<()> {
        let mut fields = vec![("bootstrap".to_owned(), bootstrap.to_owned())];
        fields.extend(groups.iter().map(|(group, positions)| {
            let written = positions.iter().map(|((t, p), offset)| format!("{t}:{p}:{offset}"));
            (format!("group.{group}"), written.collect::<Vec<_>>().join(","))
        }));
        self.call("commit", fields).map(drop)
    }

    /// What groups have committed, as Kafka's Admin client tells it.
    ///
    /// # Errors
    /// Kafka refuses to tell.
    pub fn committed(
        &self,
        bootstrap: &str,
        groups: &[&str],
    ) -> Result<BTreeMap<String, Positions>> {
        parse(&self.call_with("committed", bootstrap, &[("groups", &groups.join(","))])?)
    }

    /// What `RemoteClusterUtils.translateOffsets` of MirrorMaker 2's client library answers on the target
    /// for the groups that match the Java pattern `groups`, with `alias` for the source.
    ///
    /// # Errors
    /// The checkpoints cannot be read.
    pub fn translated(
        &self,
        bootstrap: &str,
        alias: &str,
        groups: &str,
    ) -> Result<BTreeMap<String, Positions>> {
        let fields = [("alias", alias), ("pattern", groups)];
        parse(&self.call_with("translated", bootstrap, &fields)?)
    }

    /// The last sync of each partition in an offset-syncs topic, as MirrorMaker 2's own class reads it: upstream and
    /// downstream offset of one record.
    ///
    /// # Errors
    /// The topic cannot be read, or the class finds something else in it.
    pub fn offset_syncs(&self, bootstrap: &str, topic: &str) -> Result<OffsetSyncs> {
        let syncs = self.call_with("offset-syncs", bootstrap, &[("topic", topic)])?;
        let one = |(place, offsets): (&String, &String)| -> Result<_> {
            let (topic, partition) = place.rsplit_once(':').context("topic:partition")?;
            let (upstream, downstream) = offsets.split_once(':').context("up:down")?;
            let place = (topic.to_owned(), partition.parse()?);
            Ok((place, (upstream.parse()?, downstream.parse()?)))
        };
        syncs.iter().map(one).collect()
    }
}

/// Upstream and downstream offset of the last synced record, by topic and partition of the source.
pub type OffsetSyncs = BTreeMap<(String, u32), (u64, u64)>;

fn parse(fields: &Fields) -> Result<BTreeMap<String, Positions>> {
    let one = |written: &str| -> Result<((String, u32), u64)> {
        let mut parts = written.split(':');
        let mut next = || parts.next().context("topic:partition:offset");
        Ok(((next()?.to_owned(), next()?.parse()?), next()?.parse()?))
    };
    fields
        .iter()
        .map(|(group, positions)| {
            let positions = positions.split(',').filter(|written| !written.is_empty());
            Ok((group.clone(), positions.map(one).collect::<Result<_>>()?))
        })
        .collect()
}
