//! Java's regular expressions, as MirrorMaker 2's topic, group and property lists use them.
//!
//! A pattern is translated into the syntax of the `regex` crate, or of `fancy-regex` where it looks
//! around, refers back or is possessive. Matching is `Matcher.matches()`: the whole name or
//! nothing. What Java accepts and neither engine can express is refused with its position, never
//! approximated.
//!
//! One deliberate difference: `\b` is a boundary of ASCII words, as in JDK 19 and later
//! (JDK-8264160).

mod class;
mod parse;
mod tokens;

use thiserror::Error;

/// Steps a backtracking match may take before it is given up: some 50 ms on one name.
const BACKTRACK_LIMIT: usize = 1_000_000;

/// Why a pattern cannot be used, or a match cannot be decided. Positions count characters from 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegexError {
    /// `java.util.regex.Pattern` refuses the pattern as well.
    #[error("{problem} at character {position}")]
    Syntax {
        /// Where, in characters from the start of the pattern.
        position: usize,
        /// What Java says about it, in short.
        problem: &'static str,
    },
    /// Java understands it, kmirror does not.
    #[error("{construct} at character {position} is Java syntax that kmirror does not support")]
    Unsupported {
        /// Where, in characters from the start of the pattern.
        position: usize,
        /// What it is.
        construct: &'static str,
    },
    /// The engine refused the translated pattern, because of its size for example.
    #[error("the pattern cannot be compiled: {0}")]
    Engine(String),
    /// Matching one name took more steps than are allowed.
    #[error("the pattern takes too many steps on {subject:?}; simplify its nested repetitions")]
    TooManySteps {
        /// The name that could not be decided.
        subject: String,
    },
}

/// A compiled Java pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    java: String,
    engine: Engine,
}

#[derive(Debug, Clone)]
enum Engine {
    Automaton(regex::Regex),
    Backtracking(fancy_regex::Regex),
}

impl Pattern {
    /// Compiles a pattern as `Pattern.compile(java)` does, without flags.
    pub fn new(java: &str) -> Result<Self, RegexError> {
        let tokens = tokens::tokenize(java);
        let plain = parse::translate(&tokens, parse::Dialect::Automaton)?;
        let engine = match plain.needs_backtracking {
            false => regex::Regex::new(&whole(&plain.text))
                .map(Engine::Automaton)
                .map_err(|error| RegexError::Engine(last_line(&error.to_string())))?,
            true => {
                let rich = parse::translate(&tokens, parse::Dialect::Backtracking)?;
                fancy_regex::RegexBuilder::new(&whole(&rich.text))
                    .backtrack_limit(BACKTRACK_LIMIT)
                    .build()
                    .map(Engine::Backtracking)
                    .map_err(|error| RegexError::Engine(last_line(&error.to_string())))?
            }
        };
        Ok(Self { java: java.to_owned(), engine })
    }

    /// Whether the pattern matches the whole of `subject`.
    pub fn matches(&self, subject: &str) -> Result<bool, RegexError> {
        match &self.engine {
            Engine::Automaton(regex) => Ok(regex.is_match(subject)),
            Engine::Backtracking(regex) => regex
                .is_match(subject)
                .map_err(|_| RegexError::TooManySteps { subject: subject.to_owned() }),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.java
    }
}

fn whole(body: &str) -> String {
    format!(r"\A(?:{body})\z")
}

/// Engine messages draw the translated pattern first; the reason is their last line.
fn last_line(message: &str) -> String {
    message.lines().last().unwrap_or(message).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(java: &str, subject: &str) -> bool {
        Pattern::new(java).expect(java).matches(subject).expect(subject)
    }

    fn refused(java: &str) -> RegexError {
        Pattern::new(java).err().unwrap_or_else(|| panic!("{java} compiles"))
    }

    #[test]
    fn whole_names_only() {
        assert!(matches("orders.*", "orders-eu"));
        assert!(!matches("orders", "my-orders"));
        assert!(matches("a|b.*", "bc"));
        assert!(!matches("a|b", "ab"));
        assert!(matches("", ""));
        assert!(!matches("", "a"));
    }

    #[test]
    fn defaults_of_mirror_maker() {
        let exclude = r".*[-.]internal|.*\.replica|__.*";
        assert!(matches(exclude, "mm2-offsets.A.internal"));
        assert!(matches(exclude, "__consumer_offsets"));
        assert!(matches(exclude, "a.replica"));
        assert!(!matches(exclude, "internal-orders"));
    }

    #[test]
    fn flags_leak_into_what_follows() {
        assert!(matches("(?i)a|b", "B"));
        assert!(matches("a|(?i)b|c", "C"));
        assert!(!matches("a|(?i)b|c", "A"));
        assert!(matches("(?:(?i)a)b", "Ab"));
        assert!(!matches("(?:(?i)a)b", "AB"));
        assert!(matches("(?i)[a-c]+(?-i)d", "AbCd"));
        assert!(matches("(?i:k)", "K"));
        assert!(!matches("(?i)k", "\u{212A}"));
    }

    #[test]
    fn java_only_syntax() {
        assert!(matches(r"\Qa.b\E.*", "a.bc"));
        assert!(!matches(r"\Qa.b\E", "axb"));
        assert!(matches(r"(?!foo).*", "bar"));
        assert!(!matches(r"(?!foo).*", "foobar"));
        assert!(!matches("a++a", "aaa"));
        assert!(matches("[a-z&&[^b]]+", "ac"));
        assert!(!matches("[a-z&&[^b]]+", "abc"));
        assert!(matches(r"(a|b)\1", "bb"));
        assert!(!matches(r"\d", "\u{663}"));
        assert!(matches(r"[[:alpha:]]+", "alph:"));
        assert!(matches(r"\p{Alpha}\p{IsLatin}\p{L}", "aéz"));
        assert!(matches(r"a\x2e\u0062\cA\07", "a.b\u{1}\u{7}"));
        assert!(matches("[]a]+", "]a"));
        assert!(matches("(?x) a b # c", "ab"));
        assert!(matches("a}]", "a}]"));
        assert!(matches("foo$", "foo"));
        assert!(matches("^foo$\n", "foo\n"));
        assert!(!matches("foo$", "foo\n"));
        assert!(matches(r"\w+\b-\bx\B.", "a-xy"));
    }

    #[test]
    fn errors_name_the_place() {
        assert_eq!(refused("a**"), RegexError::Syntax { position: 2, problem: "dangling `*`" });
        assert!(matches!(refused("(a"), RegexError::Syntax { .. }));
        assert!(matches!(refused("a)"), RegexError::Syntax { position: 1, .. }));
        assert!(matches!(refused("[a"), RegexError::Syntax { .. }));
        assert!(matches!(refused("a{1|2}"), RegexError::Syntax { .. }));
        assert!(matches!(refused("*.orders"), RegexError::Syntax { position: 0, .. }));
        assert!(matches!(refused(r"\p{InGreek}"), RegexError::Unsupported { position: 0, .. }));
        assert!(matches!(refused(r"\X"), RegexError::Unsupported { .. }));
        assert!(matches!(refused("(?:a{1000}){1000}"), RegexError::Engine(_)));
        assert!(refused(&"(".repeat(10_000)).to_string().contains("nested"));
    }

    #[test]
    fn backtracking_is_capped() {
        let slow = Pattern::new(r"(x+x+)+\1y").expect("compiles");
        assert!(matches!(slow.matches(&"x".repeat(60)), Err(RegexError::TooManySteps { .. })));
    }
}
