//! `docs/config.md`, written from the table of keys.

use std::fmt::Write;

use super::keys::{self, Key, Kind, Places, Status};

const HEAD: &str = "# Configuration

Written from the table in `engine/src/config/keys`; `KMIRROR_UPDATE=1 cargo test -p engine` writes it anew.

kmirror reads the `mm2.properties` that MirrorMaker 2 reads in its dedicated mode: the same syntax
(`java.util.Properties`), the same precedence, the union of the keys of the releases 2.4 to 4.3.
`kmirror check FILE` says what a file comes to, line by line, without connecting to anything.

## How to read a key

| written | counts for |
|---|---|
| `key` | every flow, or the process |
| `A.key` | the cluster A; as a worker's key for the flows into A |
| `A.consumer.key` | what reads from A |
| `B.producer.key`, `A->B.producer.override.key` | what writes to B |
| `A->B.key` | the flow from A to B |

The narrower place wins: `A->B.key` over `key`, `A.consumer.key` over `A.key`. Of the settings of a cluster only
`bootstrap.servers`, `security.protocol`, `ssl.*` and `sasl.*` are handed down to its clients, and only those are
taken from the top level when a cluster does not set them. `offset.storage.*` without prefix beats `B.offset.storage.*`.

A flow runs if `A->B.enabled` (or `enabled`) is true. `${provider:path:key}` in a value is replaced by what a
configuration provider of Kafka (files, directories, environment) says.
";

const BANDWIDTH: &str = "
## Limits of bandwidth

`kmirror.bandwidth.limit` bounds what is carried, in bytes per second:

| written | bounds |
|---|---|
| `A->B.kmirror.bandwidth.limit` | the flow from A to B, over all its threads and connections |
| `kmirror.bandwidth.limit` | each flow that has no limit of its own |
| `A.kmirror.bandwidth.limit` | what all flows of the process together read from and write to A |

A flow heeds its own limit and those of both its clusters. A value is a rate, and behind it, separated by commas, times of
the day at which another rate holds:

```
A->B.kmirror.bandwidth.limit = 50MB/s, 08:00-18:00 10MB/s, 22:00-05:00 unlimited
B.kmirror.bandwidth.limit = 400Mbit/s, 09:00-17:00+02:00 100Mbit/s
```

- Units: `B/s`, `kB/s`, `MB/s`, `GB/s` (1000), `KiB/s`, `MiB/s`, `GiB/s` (1024), `bit/s`, `kbit/s`, `Mbit/s`, `Gbit/s`; a
  number alone is bytes per second; `unlimited` is no limit. The smallest rate is 1000 bytes per second.
- Times are UTC, or at the offset that stands behind them (`+02:00`, which does not follow summer time). A window may go
  over midnight; windows must not overlap. A change holds at once, also for what waits already.
- Counted is what fetch answers bring, as it is on the wire. It counts for the source when it is read, and for the target
  at the same moment: what is merged or written again may take a little more or less there. Reading waits, so nothing
  piles up in memory behind a limit.
- A limit holds over seconds: a tenth of a second's worth (64 KiB at least) may come at once. A broker sends one whole
  batch at least, however little it is asked for; what is too much is made up for before the next request.
- Answers end where the limit does, mostly within a batch, and that batch is read again: where a tenth of a second's worth
  is not much more than a batch, a good part of the limit goes there.
- Flows that have something to read get the same share of the limit of a cluster, unless one needs less; and so do the
  threads of a flow.
- Not limited: metadata and administration, positions, offset syncs, groups and heartbeats, reading both logs back after a
  crash, and `kmirror verify`.
";

/// The whole document.
pub fn markdown() -> String {
    let mut out = String::from(HEAD);
    section(&mut out, "kmirror's own keys", |key| key.name.starts_with("kmirror."));
    out.push_str(BANDWIDTH);
    section(&mut out, "Clusters and flows", |key| {
        !key.name.starts_with("kmirror.")
            && (key.places.meet(Places::FLOW) || key.places == Places::FILE)
    });
    section(&mut out, "Positions", |key| {
        let of_worker = ["group.id", "exactly.once.source.support"].contains(&key.name);
        key.name.starts_with("offset.") || (of_worker && key.places == Places::CLUSTER)
    });
    section(&mut out, "Connections, reading and writing", |key| {
        is_client(key) && !key.name.starts_with("kmirror.")
    });
    let unheard = "Known, and not acted upon: a file that sets one of them earns a warning that says \
     what happens instead.";
    statuses(&mut out, "Keys that are not acted upon", unheard, |status| match status {
        Status::WarnIgnored(instead) => Some(instead),
        _ => None,
    });
    let refused = "A file that sets one of them (to another value than the one named) is not run.";
    statuses(&mut out, "Keys that are refused", refused, |status| match status {
        Status::Refused { why, .. } => Some(why),
        _ => None,
    });
    let inert = "These have no effect.";
    statuses(&mut out, "Keys without effect", inert, |status| match status {
        Status::Inert(why) => Some(why),
        _ => None,
    });
    out
}

fn is_client(key: &Key) -> bool {
    key.places.meet(Places::CONSUMER.and(Places::PRODUCER).and(Places::ADMIN))
}

fn section(out: &mut String, title: &str, wanted: impl Fn(&Key) -> bool) {
    let rows: Vec<&Key> =
        keys::table().iter().filter(|key| key.status == Status::Honored && wanted(key)).collect();
    line(out, format_args!("\n## {title}\n\n| key | where | default | values | what it does |"));
    line(out, format_args!("|---|---|---|---|---|"));
    for key in rows {
        let default = match key.default {
            "" => String::new(),
            default => code(default),
        };
        let aliases: String =
            key.aliases.iter().map(|name| format!(", before: {}", code(name))).collect();
        let doc = format!("{}{aliases}", escaped(key.doc));
        let (name, place, kind) = (code(key.name), places(key.places), kind(key.kind));
        line(out, format_args!("| {name} | {place} | {default} | {kind} | {doc} |"));
    }
}

fn statuses(
    out: &mut String,
    title: &str,
    text: &str,
    why: impl Fn(Status) -> Option<&'static str>,
) {
    line(out, format_args!("\n## {title}\n\n{text}\n\n| key | where | why |\n|---|---|---|"));
    for key in keys::table() {
        let Some(why) = why(key.status) else { continue };
        let agreed = match key.agrees.iter().find(|value| !value.is_empty()) {
            Some(value) => format!(" ({} is fine)", code(value)),
            None => String::new(),
        };
        let (name, place, why) = (code(key.name), places(key.places), escaped(why));
        line(out, format_args!("| {name}{agreed} | {place} | {why} |"));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a string takes everything");
}

fn places(places: Places) -> String {
    let spellings = [
        (Places::FILE, "`key`"),
        (Places::CLUSTER, "`A.`"),
        (Places::FLOW, "`A->B.`"),
        (Places::CONSUMER, "`A.consumer.`"),
        (Places::PRODUCER, "`B.producer.`"),
        (Places::ADMIN, "`A.admin.`"),
    ];
    let fitting = spellings.iter().filter(|(place, _)| places.meet(*place));
    fitting.map(|(_, spelling)| *spelling).collect::<Vec<_>>().join(" ")
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true, false".to_owned(),
        Kind::Number { min, max } => format!("{min} to {max}"),
        Kind::Text => "text".to_owned(),
        Kind::Name => "text, not empty".to_owned(),
        Kind::List => "list".to_owned(),
        Kind::Patterns => "list of regular expressions".to_owned(),
        Kind::Brokers => "list of host:port".to_owned(),
        Kind::Rates => {
            "a rate, and [times of the day](#limits-of-bandwidth) with others".to_owned()
        }
        Kind::Choice(words) | Kind::Class(words) => {
            words.iter().map(|word| code(word)).collect::<Vec<_>>().join(", ")
        }
    }
}

fn code(text: &str) -> String {
    format!("`{}`", escaped(text))
}

/// A bar would end the cell of a table.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
