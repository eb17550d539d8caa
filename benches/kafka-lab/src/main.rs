//! `kafka-lab`: real Kafka by hand. Fetches the jars, or runs clusters until Enter is pressed.

use anyhow::{Result, bail};
use kafka_lab::{ClusterBuilder, Distribution, Version};

const USAGE: &str = "\
usage: kafka-lab fetch             fetch the jars of every version
       kafka-lab start VERSION...  start one cluster per version (4.3.1, 3.9.2, 2.8.2)
example: cargo run -p kafka-lab -- start 4.3.1 4.3.1";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((command, [])) if command == "fetch" => fetch(),
        Some((command, versions)) if command == "start" && !versions.is_empty() => start(versions),
        _ => bail!("{USAGE}"),
    }
}

fn fetch() -> Result<()> {
    for version in Version::ALL {
        Distribution::prepare(version)?;
    }
    Ok(())
}

fn start(names: &[String]) -> Result<()> {
    let mut clusters = Vec::new();
    for name in names {
        let Some(version) = Version::ALL.into_iter().find(|version| version.name() == name) else {
            bail!("no version {name}\n{USAGE}");
        };
        let cluster = ClusterBuilder::new(version).start()?;
        println!("Kafka {name} listens on {}", cluster.bootstrap());
        clusters.push(cluster);
    }
    println!("Enter ends them");
    std::io::stdin().read_line(&mut String::new())?;
    clusters.into_iter().try_for_each(kafka_lab::KafkaCluster::stop)
}
