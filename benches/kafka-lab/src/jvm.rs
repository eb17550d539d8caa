//! How Java is started: small and quick for tests, or as Kafka's own scripts do; here, or in a network namespace.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::process::Command;

/// A network namespace, and the address that brokers have in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name that `ip netns` knows it by; empty for the namespace of this process.
    pub namespace: String,
    /// Where brokers listen for clients.
    pub address: Ipv4Addr,
}

impl Default for Place {
    fn default() -> Self {
        Self { namespace: String::new(), address: Ipv4Addr::LOCALHOST }
    }
}

/// A Java virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jvm {
    /// The maximum heap, in MiB.
    pub heap_mb: u32,
    /// How it is tuned.
    pub tuning: Tuning,
    /// Where it runs.
    pub place: Place,
}

/// What a virtual machine is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tuning {
    /// A quick start and little memory.
    Test,
    /// What Kafka's scripts say (`kafka-run-class.sh`): for whatever is to be measured.
    Server,
}

impl From<u32> for Jvm {
    /// A heap of so many MiB, for a test.
    fn from(heap_mb: u32) -> Self {
        Self { heap_mb, tuning: Tuning::Test, place: Place::default() }
    }
}

impl Jvm {
    /// As Kafka's scripts start it, with a heap of so many MiB.
    pub fn server(heap_mb: u32) -> Self {
        Self { tuning: Tuning::Server, ..heap_mb.into() }
    }

    /// `java` with its options up to the class path.
    pub(crate) fn command(&self, class_path: &str) -> Command {
        let mut java = Command::new("java");
        java.arg(format!("-Xmx{}m", self.heap_mb));
        match self.tuning {
            Tuning::Test => {
                java.args(["-Xms32m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
            }
            Tuning::Server => {
                java.args(["-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]);
                java.args(["-XX:InitiatingHeapOccupancyPercent=35", "-Djava.awt.headless=true"]);
                java.arg("-XX:+ExplicitGCInvokesConcurrent");
            }
        }
        java.args(["-cp", class_path]);
        self.place.enter(&java)
    }
}

impl Place {
    /// The same command, to be run in there. `ip` becomes the program, so the process id is its.
    pub(crate) fn enter(&self, command: &Command) -> Command {
        let mut within = match self.namespace.as_str() {
            "" => Command::new(command.get_program()),
            name => {
                let mut ip = Command::new("ip");
                ip.args(["netns", "exec", name].map(OsStr::new)).arg(command.get_program());
                ip
            }
        };
        within.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => within.env(name, value),
                None => within.env_remove(name),
            };
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_entered_by_ip() {
        let mut java = Command::new("java");
        java.args(["-cp", "x"]).env("A", "1");
        let there = Place { namespace: "far".to_owned(), address: Ipv4Addr::new(10, 0, 0, 1) };
        let within = there.enter(&java);
        let args: Vec<_> = within.get_args().collect();
        assert_eq!(
            (within.get_program(), args.as_slice()),
            (
                OsStr::new("ip"),
                ["netns", "exec", "far", "java", "-cp", "x"].map(OsStr::new).as_slice()
            )
        );
        assert_eq!(Place::default().enter(&java).get_program(), "java");
        assert_eq!(within.get_envs().count(), 1);
    }
}
