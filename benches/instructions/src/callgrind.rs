//! What callgrind wrote, added up (valgrind manual, "Callgrind Format Specification").

use std::collections::BTreeMap;

/// What a scenario took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Instructions of the program itself.
    pub(crate) instructions: u64,
    /// Calls of the allocator for memory.
    pub(crate) allocations: u64,
}

const ALLOCATING: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// Adds up a profile by instruction and without compression: cost lines below `ob=PROGRAM`, and how often allocating
/// functions were entered, which is what their first instruction cost. callgrind's own numbers of calls are of the whole
/// run, not of what is collected.
pub(crate) fn counts(profile: &str, program: &str) -> Counts {
    let mut counts = Counts::default();
    let mut entries: BTreeMap<&str, BTreeMap<u64, u64>> = BTreeMap::new();
    let mut is_ours = false;
    let mut function = "";
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        if let Some(object) = line.strip_prefix("ob=") {
            is_ours = object == program;
        } else if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if line.starts_with("calls=") {
            // The next line is what the callee cost, which stands at the callee already.
            lines.next();
        } else if let Some((address, cost)) = cost_of(line) {
            if is_ours {
                counts.instructions += cost;
            } else if ALLOCATING.contains(&function) {
                *entries.entry(function).or_default().entry(address).or_default() += cost;
            }
        }
    }
    let entered = entries.values().filter_map(|costs| costs.values().next());
    counts.allocations = entered.sum();
    counts
}

/// `0xADDRESS LINE COST`.
fn cost_of(line: &str) -> Option<(u64, u64)> {
    let mut columns = line.strip_prefix("0x")?.split(' ');
    let address = u64::from_str_radix(columns.next()?, 16).ok()?;
    Some((address, columns.nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_program_counts_and_only_once() {
        let profile = "version: 1\npositions: instr line\nevents: Ir\n\n\
                       ob=/bin/us\nfl=a.rs\nfn=work\n0x10 16 400\ncob=/lib/libc.so\ncfl=m.c\ncfn=malloc\n\
                       calls=70 0x900\n0x11 17 9000\n0x12 18 5\ncfn=helper\ncalls=3 0x20\n0x13 20 70\n\n\
                       ob=/lib/libc.so\nfl=m.c\nfn=malloc\n0x904 11 8950\n0x900 10 50\ncfn=more\n\
                       calls=9 0xa00\n0x908 11 9\nfn=more\n0xa00 1 9\n\n\
                       ob=/bin/us\nfl=a.rs\nfn=helper\n0x20 3 70\ntotals: 9475\n";
        let expected = Counts { instructions: 475, allocations: 50 };
        assert_eq!(counts(profile, "/bin/us"), expected);
    }
}
