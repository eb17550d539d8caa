//! The numbers that a scenario is held to: benches/instructions.txt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::callgrind::Counts;
use crate::scenarios::Scenario;

/// How much more a scenario may cost.
const TOLERANCE: f64 = 1.03;
/// Below so many, a few allocations more are more than the tolerance and still nothing.
const FEW: u64 = 100;
const HEAD: &str = "\
# What the scenarios of benches/instructions execute, counted by valgrind: instructions of our own code, and allocations.
# `make guard` compares, `make guard-accept` writes this file.
";

/// What was committed, by scenario.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed(BTreeMap<String, Counts>);

impl Committed {
    pub(crate) fn read() -> Result<Self> {
        let path = path();
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let one = |line: &str| {
            let mut fields = line.split_whitespace();
            let name = fields.next()?.to_owned();
            let mut number = || fields.next()?.parse().ok();
            Some((name, Counts { instructions: number()?, allocations: number()? }))
        };
        let all = lines.map(|line| one(line).with_context(|| format!("not understood: {line}")));
        Ok(Self(all.collect::<Result<_>>()?))
    }

    pub(crate) fn write(counts: &[(&Scenario, Counts)]) -> Result<()> {
        println!("{}", Self::head());
        let known = Self::read().unwrap_or_default();
        let mut text = HEAD.to_owned();
        for (scenario, counts) in counts {
            println!("{}", known.line(scenario, *counts));
            let Counts { instructions, allocations } = counts;
            text += &format!("{:<20} {instructions:>12} {allocations:>9}\n", scenario.name);
        }
        Ok(std::fs::write(path(), text)?)
    }

    pub(crate) fn is_worse(&self, scenario: &str, now: Counts) -> bool {
        let Some(before) = self.0.get(scenario) else { return true };
        let worse = |now: u64, before: u64| now as f64 > before as f64 * TOLERANCE;
        worse(now.instructions, before.instructions)
            || (now.allocations > before.allocations + FEW
                && worse(now.allocations, before.allocations))
    }

    pub(crate) fn head() -> String {
        let names = ["scenario", "instructions", "change", "allocations", "change"];
        let [scenario, instructions, change, allocations, change_too] = names;
        format!(
            "{scenario:<20} {instructions:>12} {change:>8} {allocations:>11} {change_too:>8}  per unit"
        )
    }

    /// A scenario beside what was committed.
    pub(crate) fn line(&self, scenario: &Scenario, now: Counts) -> String {
        let before = self.0.get(scenario.name).copied().unwrap_or_default();
        let change = |now: u64, before: u64| match before {
            _ if now == before => "0".to_owned(),
            0 => "new".to_owned(),
            _ => format!("{:+.1} %", (now as f64 / before as f64 - 1.0) * 100.0),
        };
        let Counts { instructions, allocations } = now;
        let (units, unit) = scenario.units;
        format!(
            "{:<20} {instructions:>12} {:>8} {allocations:>11} {:>8}  {:.0} and {:.2} per {unit}",
            scenario.name,
            change(instructions, before.instructions),
            change(allocations, before.allocations),
            instructions as f64 / units as f64,
            allocations as f64 / units as f64,
        )
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../instructions.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_percent_more_are_too_many() {
        let committed = Committed::parse("# head\na 1000 5000\n\nb 7 7\n").expect("two lines");
        let counts = |instructions, allocations| Counts { instructions, allocations };
        assert!(!committed.is_worse("a", counts(1030, 5000)));
        assert!(committed.is_worse("a", counts(1031, 5000)));
        assert!(committed.is_worse("a", counts(900, 5200)));
        assert!(!committed.is_worse("b", counts(7, 50)), "a handful is nothing");
        assert!(committed.is_worse("c", counts(1, 1)), "what was never accepted");
        assert!(Committed::parse("a 1000\n").is_err());
    }
}
