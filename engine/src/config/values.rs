//! Values as `ConfigDef.parseType` reads them: trimmed, then by kind.

use std::fmt;

use super::keys::Kind;
use super::rates;
use crate::policy::filters::PatternList;

/// One broker of a bootstrap list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerAddress {
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What is wrong with a value, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueProblem {
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// Splits a LIST value: at commas, blanks around them gone; nothing is an empty list.
pub fn list(value: &str) -> Vec<String> {
    match value.trim() {
        "" => Vec::new(),
        text => text.split(',').map(|entry| entry.trim().to_owned()).collect(),
    }
}

/// Reads a boolean as `ConfigDef` does.
pub fn boolean(value: &str) -> Option<bool> {
    match value.trim() {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Reads a boolean as `Boolean.parseBoolean` does, which does not trim: `"true "` is false.
pub fn untrimmed_boolean(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

/// Reads a whole number.
pub fn number(value: &str) -> Option<i64> {
    value.trim().parse().ok()
}

/// Reads a list of brokers as `ClientUtils.parseAndValidateAddresses` does: an optional `NAME://`,
/// a host, a port.
pub fn brokers(value: &str) -> Result<Vec<BrokerAddress>, ValueProblem> {
    let entries = list(value);
    if entries.is_empty() {
        return Err(problem_with("no broker is named", "name at least one broker as host:port"));
    }
    entries.iter().map(|entry| broker(entry)).collect()
}

fn broker(entry: &str) -> Result<BrokerAddress, ValueProblem> {
    let bad = || {
        problem_with(
            format!("`{entry}` is not a broker"),
            "write host:port, or [address]:port for IPv6, separated by commas",
        )
    };
    let address = entry.split_once("://").map_or(entry, |(_, address)| address);
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let port = port.parse().ok().filter(|&port| port > 0).ok_or_else(bad)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ipv6 = bare.unwrap_or_default();
    let valid = match bare {
        Some(_) => ipv6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._%".contains(&b))
        }
    };
    match valid {
        true => Ok(BrokerAddress { host: bare.unwrap_or(host).to_owned(), port }),
        false => Err(bad()),
    }
}

/// What is wrong with a value of this kind, if anything.
pub fn problem(kind: Kind, value: &str) -> Option<ValueProblem> {
    let text = value.trim();
    let found = match kind {
        Kind::Text | Kind::List => None,
        Kind::Name if text.is_empty() => {
            Some(problem_with("the value is empty", "write one or remove the line"))
        }
        Kind::Name => None,
        Kind::Bool => boolean(text).is_none().then(|| {
            problem_with(format!("`{text}` is neither true nor false"), "write true or false")
        }),
        Kind::Number { min, max } => number_problem(text, min, max),
        Kind::Brokers => brokers(text).err(),
        Kind::Rates => rates::schedule(text).err(),
        Kind::Patterns => patterns_problem(text),
        Kind::Choice(words) => (!words.iter().any(|word| word.eq_ignore_ascii_case(text)))
            .then(|| unknown_choice(text, words)),
        Kind::Class(classes) => (!classes.contains(&text)).then(|| {
            problem_with(
                format!("the Java class `{text}` cannot be loaded"),
                format!("use {}", classes.join(" or ")),
            )
        }),
    };
    found.map(|found| match text.contains(" #") && !matches!(kind, Kind::Patterns) {
        true => ValueProblem {
            remedy: "put the comment on a line of its own; behind a value it belongs to the value"
                .to_owned(),
            ..found
        },
        false => found,
    })
}

fn problem_with(problem: impl Into<String>, remedy: impl Into<String>) -> ValueProblem {
    ValueProblem { problem: problem.into(), remedy: remedy.into() }
}

fn unknown_choice(text: &str, words: &[&str]) -> ValueProblem {
    problem_with(
        format!("`{text}` is not a value of this key"),
        format!("use {}", words.join(" or ")),
    )
}

fn number_problem(text: &str, min: i64, max: i64) -> Option<ValueProblem> {
    let remedy = format!("write a whole number from {min} to {max}");
    match number(text) {
        None => Some(problem_with(format!("`{text}` is not a whole number"), remedy)),
        Some(number) if number < min || number > max => {
            Some(problem_with(format!("{number} is out of range"), remedy))
        }
        Some(_) => None,
    }
}

fn patterns_problem(text: &str) -> Option<ValueProblem> {
    let error = PatternList::new(&list(text)).err()?;
    let remedy = match comma_inside_brackets(text) {
        true => {
            "write the pattern without a comma: the list is split at every comma, even \
             inside brackets"
        }
        false => "correct the regular expression; in a file, two backslashes stand for one",
    };
    Some(problem_with(format!("the patterns cannot be used: {error}"), remedy))
}

/// Whether a comma that splits the list stands inside a bracket of a pattern.
pub fn comma_inside_brackets(text: &str) -> bool {
    let mut depth = 0usize;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth > 0 => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_as_in_java() {
        assert_eq!(list(" a , b,c "), ["a", "b", "c"]);
        assert_eq!(list("  "), Vec::<String>::new());
        assert_eq!(list("a,"), ["a", ""]);
    }

    #[test]
    fn two_ways_to_read_a_boolean() {
        assert_eq!(boolean(" TRUE "), Some(true));
        assert_eq!(boolean("yes"), None);
        assert!(untrimmed_boolean("True"));
        assert!(!untrimmed_boolean("true "));
    }

    #[test]
    fn brokers_of_all_spellings() {
        let parsed = brokers("a:1, PLAINTEXT://b.c:2,[::1]:3,127.0.0.1:4").expect("valid");
        let text: Vec<_> = parsed.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["a:1", "b.c:2", "[::1]:3", "127.0.0.1:4"]);
        for bad in ["", "a", "a:", ":1", "a:0", "a:70000", "a b:1", "::1:9092", "a:1,,b:2"] {
            assert!(brokers(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn commas_in_patterns() {
        assert!(problem(Kind::Patterns, "a{1,2}").is_some_and(|p| p.remedy.contains("comma")));
        assert!(problem(Kind::Patterns, "[a,b]").is_none());
        assert!(comma_inside_brackets("[a,b]"));
        assert!(!comma_inside_brackets(r"a\{1,2"));
        assert!(problem(Kind::Patterns, "*.orders").is_some());
    }

    #[test]
    fn a_comment_behind_a_value_is_pointed_out() {
        let found = problem(Kind::Bool, "true # yes").expect("no boolean");
        assert!(found.remedy.contains("comment"), "{found:?}");
    }
}
