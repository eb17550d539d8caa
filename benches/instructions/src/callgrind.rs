//! What callgrind wrote, added up (valgrind manual, "Callgrind Format Specification").

/// What a scenario took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Instructions of the program itself.
    pub(crate) instructions: u64,
    /// Calls of the allocator for memory.
    pub(crate) allocations: u64,
}

const ALLOCATING: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// Adds up a profile without compression of names: cost lines below `ob=PROGRAM`, and calls of allocating functions.
pub(crate) fn counts(profile: &str, program: &str) -> Counts {
    let mut counts = Counts::default();
    let mut is_ours = false;
    let mut callee = "";
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        if let Some(object) = line.strip_prefix("ob=") {
            is_ours = object == program;
        } else if let Some(function) = line.strip_prefix("cfn=") {
            callee = function;
        } else if let Some(calls) = line.strip_prefix("calls=") {
            // The next line is what the callee cost, which stands at the callee already.
            lines.next();
            let number = calls.split(' ').next().and_then(|number| number.parse::<u64>().ok());
            if is_ours && ALLOCATING.contains(&callee) {
                counts.allocations += number.unwrap_or(0);
            }
        } else if is_ours && line.starts_with(|first: char| first.is_ascii_digit()) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            counts.instructions += cost.unwrap_or(0);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_program_counts_and_only_once() {
        let profile = "version: 1\npositions: line\nevents: Ir\n\n\
                       ob=/bin/us\nfl=a.rs\nfn=work\n16 400\ncob=/lib/libc.so\ncfl=m.c\ncfn=malloc\n\
                       calls=50 10\n17 9000\n18 5\ncfn=helper\ncalls=3 1\n20 70\n\n\
                       ob=/lib/libc.so\nfl=m.c\nfn=malloc\n10 9000\ncfn=malloc\ncalls=9 1\n11 1\n\n\
                       ob=/bin/us\nfl=a.rs\nfn=helper\n3 70\ntotals: 9475\n";
        let expected = Counts { instructions: 475, allocations: 50 };
        assert_eq!(counts(profile, "/bin/us"), expected);
    }
}
