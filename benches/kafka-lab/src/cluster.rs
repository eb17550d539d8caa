//! Clusters of one or three brokers on loopback.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::distribution::{Distribution, Version, lab_dir};
use crate::jvm::Jvm;
use crate::process::JavaProcess;
use crate::settings::{self, NodePorts};
use crate::{ports, probe};

const START_TIMEOUT: Duration = Duration::from_secs(90);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const HEAP_MB: u32 = 160;

/// What a cluster is to be like.
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    version: Version,
    nodes: usize,
    jvm: Jvm,
    overrides: BTreeMap<String, String>,
}

impl ClusterBuilder {
    /// One broker of `version` with a heap of 160 MiB.
    pub fn new(version: Version) -> Self {
        Self { version, nodes: 1, jvm: HEAP_MB.into(), overrides: BTreeMap::new() }
    }

    /// How many brokers: 1 or 3.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// A broker property on top of the lab's own.
    #[must_use]
    pub fn property(mut self, key: &str, value: &str) -> Self {
        self.overrides.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The maximum heap of a broker, in MiB.
    #[must_use]
    pub fn heap_mb(mut self, heap_mb: u32) -> Self {
        self.jvm.heap_mb = heap_mb;
        self
    }

    /// How brokers are started, and where; instead of small ones on the loopback.
    #[must_use]
    pub fn jvm(mut self, jvm: Jvm) -> Self {
        self.jvm = jvm;
        self
    }

    /// Starts the cluster and waits until every broker answers and knows the others.
    ///
    /// # Errors
    /// The jars cannot be had, or a broker does not come up; the message holds the end of its log.
    pub fn start(self) -> Result<KafkaCluster> {
        ensure!(matches!(self.nodes, 1 | 3), "a cluster has 1 or 3 brokers, not {}", self.nodes);
        let distribution = Distribution::prepare(self.version)?;
        let dir = lab_dir("cluster")?;
        let mut cluster = KafkaCluster {
            distribution,
            ports: (0..self.nodes)
                .map(|_| Ok(NodePorts { client: ports::free()?, controller: ports::free()? }))
                .collect::<Result<_>>()?,
            jvm: self.jvm,
            nodes: (0..self.nodes).map(|_| None).collect(),
            zookeeper: None,
            dir,
        };
        cluster.prepare(&self.overrides)?;
        for node in 1..=self.nodes {
            cluster.launch(node)?;
        }
        for node in 1..=self.nodes {
            cluster.await_ready(node)?;
        }
        Ok(cluster)
    }
}

/// Running brokers. Nodes are numbered from 1. All of them are killed when this is dropped, and their
/// data goes with it unless a test is failing.
#[derive(Debug)]
pub struct KafkaCluster {
    distribution: Distribution,
    ports: Vec<NodePorts>,
    jvm: Jvm,
    nodes: Vec<Option<JavaProcess>>,
    zookeeper: Option<JavaProcess>,
    dir: TempDir,
}

impl KafkaCluster {
    /// `host:port` of every broker, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        let all: Vec<_> =
            self.ports.iter().map(|p| format!("{}:{}", self.jvm.place.address, p.client)).collect();
        all.join(",")
    }

    /// The jars that it runs.
    pub fn distribution(&self) -> &Distribution {
        &self.distribution
    }

    /// Runs one of Kafka's command line classes of this cluster's version and returns its output.
    ///
    /// # Errors
    /// As [`Distribution::tool`].
    pub fn tool(&self, class: &str, args: &[&str]) -> Result<String> {
        self.distribution.tool(class, args)
    }

    /// Where broker `node` keeps its partitions.
    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.path().join(format!("data-{node}"))
    }

    /// What broker `node` has logged.
    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(self.path().join(format!("broker-{node}.log"))).unwrap_or_default()
    }

    /// The process of broker `node`, while it is up.
    pub fn process(&mut self, node: usize) -> Option<&mut JavaProcess> {
        self.nodes.get_mut(node.checked_sub(1)?)?.as_mut()
    }

    /// Ends broker `node` with SIGTERM: a clean shutdown.
    ///
    /// # Errors
    /// It is not up, or does not end in time.
    pub fn terminate(&mut self, node: usize) -> Result<()> {
        self.take(node)?.terminate(STOP_TIMEOUT).map(drop)
    }

    /// Ends broker `node` with SIGKILL: a crash.
    ///
    /// # Errors
    /// It is not up.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.take(node)?.kill()
    }

    /// Starts broker `node` again, on its ports and data, and waits until it answers.
    ///
    /// # Errors
    /// It is up already, or does not come up.
    pub fn restart(&mut self, node: usize) -> Result<()> {
        ensure!(self.process(node).is_none(), "broker {node} is up");
        self.launch(node)?;
        self.await_ready(node)
    }

    /// Ends all brokers with SIGTERM, side by side.
    ///
    /// # Errors
    /// One of them does not end in time.
    pub fn stop(mut self) -> Result<()> {
        for process in self.nodes.iter_mut().flatten() {
            process.signal("TERM")?;
        }
        for process in self.nodes.iter_mut().flatten() {
            process.terminate(STOP_TIMEOUT)?;
        }
        Ok(())
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn take(&mut self, node: usize) -> Result<JavaProcess> {
        let slot = self.nodes.get_mut(node.wrapping_sub(1)).and_then(Option::take);
        slot.with_context(|| format!("broker {node} is not up"))
    }

    /// Writes the properties files, formats the log directories or starts ZooKeeper.
    fn prepare(&mut self, overrides: &BTreeMap<String, String>) -> Result<()> {
        let version = self.distribution.version();
        fs::write(self.path().join("log4j2.yaml"), settings::log4j2("SYSTEM_OUT", "INFO"))?;
        fs::write(self.path().join("log4j.properties"), settings::LOG4J)?;
        let zookeeper = if version.needs_zookeeper() { Some(ports::free()?) } else { None };
        for node in 1..=self.ports.len() {
            let text = settings::broker(
                version,
                node,
                &self.ports,
                zookeeper,
                self.jvm.place.address,
                overrides,
            );
            fs::write(self.properties(node), text)?;
        }
        match zookeeper {
            Some(port) => self.start_zookeeper(port),
            None => self.format(),
        }
    }

    fn properties(&self, node: usize) -> PathBuf {
        self.path().join(format!("broker-{node}.properties"))
    }

    fn format(&self) -> Result<()> {
        for node in 1..=self.ports.len() {
            let mut command = self.distribution.java(&64.into());
            command.current_dir(self.path()).args(["kafka.tools.StorageTool", "format"]);
            // Any 16 bytes in URL-safe base64: clusters of a test never meet.
            command.args(["-t", "bGFiLWthZmthLWxhYi1sYQ", "-c"]).arg(self.properties(node));
            let output = command.output().context("cannot run java")?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "cannot format the log directory: {said}");
        }
        Ok(())
    }

    fn start_zookeeper(&mut self, port: u16) -> Result<()> {
        fs::write(self.path().join("zookeeper.properties"), settings::zookeeper(port))?;
        let mut process = self.spawn(
            "zookeeper",
            &96.into(),
            &["org.apache.zookeeper.server.quorum.QuorumPeerMain", "zookeeper.properties"],
        )?;
        process.wait_until(START_TIMEOUT, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })?;
        self.zookeeper = Some(process);
        Ok(())
    }

    fn launch(&mut self, node: usize) -> Result<()> {
        let properties = self.properties(node).display().to_string();
        let name = format!("broker-{node}");
        let process = self.spawn(&name, &self.jvm, &["kafka.Kafka", &properties])?;
        self.nodes[node - 1] = Some(process);
        Ok(())
    }

    fn spawn(&self, name: &str, jvm: &Jvm, main: &[&str]) -> Result<JavaProcess> {
        let options = settings::logging_options();
        JavaProcess::start(&self.distribution, name, self.path(), jvm, &options, main)
    }

    fn await_ready(&mut self, node: usize) -> Result<()> {
        let at = (self.jvm.place.address, self.ports[node - 1].client);
        let brokers = self.ports.len() as i32;
        let up = self.nodes.iter().flatten().count() as i32;
        let process = self.process(node).context("it was launched")?;
        process.wait_until(START_TIMEOUT, || {
            probe::answers(at)
                && probe::brokers_known(at).is_some_and(|known| known >= up.min(brokers))
        })
    }
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        self.nodes.clear();
        self.zookeeper = None;
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            println!("the brokers' logs and data stay in {}", self.path().display());
        }
    }
}
