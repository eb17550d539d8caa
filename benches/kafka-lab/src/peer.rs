//! Kafka's own Java clients in one process that answers commands: no JVM start per step of a test.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;

use crate::distribution::{Distribution, Version, lab_dir};
use crate::load::{Load, Produced};
use crate::settings;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(180);
const HEAP_MB: u32 = 384;

/// The named values of an answer.
pub(crate) type Fields = BTreeMap<String, String>;
type Answer = Result<Fields, String>;
type Waiting = Arc<Mutex<HashMap<u64, Sender<Answer>>>>;

/// A Java process with the clients of Kafka 4.3.1, which speak to brokers from 2.1 on. Commands may be
/// given from several threads and run side by side.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    input: Mutex<Option<ChildStdin>>,
    next_id: AtomicU64,
    waiting: Waiting,
    _dir: TempDir,
}

impl Peer {
    /// Starts the process.
    ///
    /// # Errors
    /// The jars cannot be had, or Java cannot be started.
    pub fn start() -> Result<Self> {
        let distribution = Distribution::prepare(Version::V4_3_1)?;
        let dir = lab_dir("peer")?;
        fs::write(dir.path().join("log4j2.yaml"), settings::log4j2("SYSTEM_ERR", "WARN"))?;
        let mut command = distribution.java(&HEAP_MB.into());
        command.current_dir(&dir).args(settings::logging_options()).arg("lab.Peer");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.path().join("peer.log"))?)
            .spawn()
            .context("cannot run java")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the output is a pipe")?;
        let waiting = Waiting::default();
        let answers = Arc::clone(&waiting);
        thread::spawn(move || distribute(output, &answers));
        Ok(Self { child, input: Mutex::new(input), next_id: AtomicU64::new(1), waiting, _dir: dir })
    }

    /// Creates a topic with topic configurations and waits for the leaders of its partitions. The
    /// replication factor is the broker's default.
    ///
    /// # Errors
    /// Kafka refuses it, or no leader appears.
    pub fn create_topic(
        &self,
        bootstrap: &str,
        topic: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        let mut fields = vec![
            ("bootstrap".to_owned(), bootstrap.to_owned()),
            ("topic".to_owned(), topic.to_owned()),
            ("partitions".to_owned(), partitions.to_string()),
            ("replication".to_owned(), "-1".to_owned()),
        ];
        fields.extend(configs.iter().map(|(k, v)| (format!("config.{k}"), (*v).to_owned())));
        self.call("create", fields).map(drop)
    }

    /// Raises the number of partitions of a topic.
    ///
    /// # Errors
    /// Kafka refuses it.
    pub fn grow_topic(&self, bootstrap: &str, topic: &str, partitions: u32) -> Result<()> {
        let partitions = partitions.to_string();
        self.call_with("grow", bootstrap, &[("topic", topic), ("partitions", &partitions)])
            .map(drop)
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// Kafka refuses it.
    pub fn delete_topic(&self, bootstrap: &str, topic: &str) -> Result<()> {
        self.call_with("delete", bootstrap, &[("topic", topic)]).map(drop)
    }

    /// Deletes the records of a partition before an offset, as retention does.
    ///
    /// # Errors
    /// Kafka refuses it.
    pub fn delete_records(
        &self,
        bootstrap: &str,
        topic: &str,
        partition: u32,
        before: u64,
    ) -> Result<()> {
        let (partition, before) = (partition.to_string(), before.to_string());
        let fields = [("topic", topic), ("partition", &*partition), ("before", &*before)];
        self.call_with("delete-records", bootstrap, &fields).map(drop)
    }

    /// Sets configurations of a topic.
    ///
    /// # Errors
    /// Kafka refuses them.
    pub fn configure_topic(
        &self,
        bootstrap: &str,
        topic: &str,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        self.configure(bootstrap, ("topic", topic), configs)
    }

    /// Sets dynamic configurations of all brokers of a cluster.
    ///
    /// # Errors
    /// Kafka refuses them.
    pub fn configure_brokers(&self, bootstrap: &str, configs: &[(&str, &str)]) -> Result<()> {
        self.configure(bootstrap, ("broker", ""), configs)
    }

    /// The effective configuration of a topic.
    ///
    /// # Errors
    /// Kafka refuses to tell.
    pub fn topic_config(&self, bootstrap: &str, topic: &str) -> Result<BTreeMap<String, String>> {
        self.call_with("describe-config", bootstrap, &[("topic", topic)])
    }

    /// The names of all topics that are not internal to the cluster.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub fn topics(&self, bootstrap: &str) -> Result<Vec<String>> {
        let fields = self.call_with("list", bootstrap, &[])?;
        let names = fields.get("topics").context("the answer has no topics")?;
        Ok(names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// The log end offset of each partition of a topic.
    ///
    /// # Errors
    /// The topic does not exist or the cluster does not answer.
    pub fn end_offsets(&self, bootstrap: &str, topic: &str) -> Result<BTreeMap<u32, u64>> {
        let fields = self.call_with("offsets", bootstrap, &[("topic", topic)])?;
        fields.iter().map(|(partition, end)| Ok((partition.parse()?, end.parse()?))).collect()
    }

    /// Produces a load to its end.
    ///
    /// # Errors
    /// The producer cannot be started or a transaction fails. Refused records are counted, not errors.
    pub fn produce(&self, bootstrap: &str, load: &Load) -> Result<Produced> {
        self.produce_beside(bootstrap, load)?.wait()
    }

    /// Starts to produce a load, and goes on.
    ///
    /// # Errors
    /// The Java process has ended.
    pub fn produce_beside(&self, bootstrap: &str, load: &Load) -> Result<Pending> {
        let mut fields = load.fields();
        fields.push(("bootstrap".to_owned(), bootstrap.to_owned()));
        let (id, answer) = self.send("produce", &fields)?;
        Ok(Pending { id, answer })
    }

    /// Ends a load before all its records are sent, and waits until those that are sent are settled.
    ///
    /// # Errors
    /// As [`Peer::produce`].
    pub fn stop(&self, load: Pending) -> Result<Produced> {
        self.call("stop", vec![("load".to_owned(), load.id.to_string())])?;
        load.wait()
    }

    fn configure(
        &self,
        bootstrap: &str,
        resource: (&str, &str),
        configs: &[(&str, &str)],
    ) -> Result<()> {
        let mut fields = vec![
            ("bootstrap".to_owned(), bootstrap.to_owned()),
            (resource.0.to_owned(), resource.1.to_owned()),
        ];
        fields.extend(configs.iter().map(|(k, v)| (format!("config.{k}"), (*v).to_owned())));
        self.call("configure", fields).map(drop)
    }

    pub(crate) fn call_with(
        &self,
        name: &str,
        bootstrap: &str,
        fields: &[(&str, &str)],
    ) -> Result<Fields> {
        let mut all = vec![("bootstrap".to_owned(), bootstrap.to_owned())];
        all.extend(fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        self.call(name, all)
    }

    pub(crate) fn call(&self, name: &str, fields: Vec<(String, String)>) -> Result<Fields> {
        receive(&self.send(name, &fields)?.1)
    }

    fn send(&self, name: &str, fields: &[(String, String)]) -> Result<(u64, Receiver<Answer>)> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut line = format!("{id}\t{name}");
        for (key, value) in fields {
            ensure!(!value.contains(['\t', '\n']), "{key} has a tab or a line end");
            line.push_str(&format!("\t{key}={value}"));
        }
        line.push('\n');
        let (sender, receiver) = mpsc::channel();
        held(&self.waiting).insert(id, sender);
        let mut input = held(&self.input);
        let input = input.as_mut().context("the peer's input is open while it lives")?;
        input.write_all(line.as_bytes()).context("the Java peer has ended")?;
        Ok((id, receiver))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The end of its input ends it; the kill is for a peer that hangs.
        held(&self.input).take();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A load that is being produced.
#[derive(Debug)]
pub struct Pending {
    id: u64,
    answer: Receiver<Answer>,
}

impl Pending {
    /// Waits for the end of the load.
    ///
    /// # Errors
    /// As [`Peer::produce`].
    pub fn wait(self) -> Result<Produced> {
        Produced::parse(&receive(&self.answer)?)
    }
}

fn receive(answer: &Receiver<Answer>) -> Result<Fields> {
    let answer = answer.recv_timeout(ANSWER_TIMEOUT).context("the Java peer does not answer")?;
    answer.map_err(|message| anyhow!(message))
}

/// Hands each answer to the one who waits for it; all of them learn it when the process ends.
fn distribute(output: ChildStdout, waiting: &Waiting) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let mut parts = line.split('\t');
        let id = parts.next().and_then(|id| id.parse().ok());
        let Some(sender) = id.and_then(|id: u64| held(waiting).remove(&id)) else {
            continue;
        };
        let answer = match parts.next() {
            Some("ok") => Ok(parts
                .filter_map(|field| field.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()),
            _ => Err(parts.collect::<Vec<_>>().join(" ")),
        };
        // Whoever gave up waiting does not want it any more.
        let _ = sender.send(answer);
    }
    held(waiting).clear();
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
