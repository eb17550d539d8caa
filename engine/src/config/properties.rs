//! The lexer of `.properties` files, exactly as `java.util.Properties.load` reads them, with line
//! numbers.
//!
//! Pure: bytes in, entries out. The quirks are Java's and files in the wild rely on them: `=`, `:`
//! or blanks separate, `#` comments only at the start of a line, trailing blanks belong to the
//! value, an unknown escape loses its backslash, bytes are ISO-8859-1.

use thiserror::Error;

/// One `key = value` of a file, unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line (from 1) on which the entry begins.
    pub line: u32,
    /// The key, unescaped.
    pub key: String,
    /// The value, unescaped, with the blanks that stand behind it.
    pub value: String,
}

/// What `java.util.Properties` would refuse, or could not hand on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SyntaxError {
    /// `\u` without four hexadecimal digits.
    #[error("`\\u` is not followed by four hexadecimal digits")]
    BadUnicodeEscape {
        /// The line (from 1) on which the entry begins.
        line: u32,
    },
    /// A `\u` escape for one half of a surrogate pair, without the other.
    #[error("a `\\u` escape is one half of a surrogate pair, the other half is missing")]
    LoneSurrogate {
        /// The line (from 1) on which the entry begins.
        line: u32,
    },
}

impl SyntaxError {
    /// The line (from 1) on which the faulty entry begins.
    pub fn line(&self) -> u32 {
        match self {
            Self::BadUnicodeEscape { line } | Self::LoneSurrogate { line } => *line,
        }
    }
}

/// Reads a file as Java does from a stream: every byte is one ISO-8859-1 character.
///
/// Entries come in the order of the file, duplicates included; Java keeps the last of them.
pub fn parse_bytes(bytes: &[u8]) -> (Vec<Entry>, Vec<SyntaxError>) {
    parse_chars(bytes.iter().map(|&byte| char::from(byte)))
}

/// Reads a text as Java does from a reader: `FileConfigProvider` decodes its files as UTF-8.
pub fn parse_text(text: &str) -> (Vec<Entry>, Vec<SyntaxError>) {
    parse_chars(text.chars())
}

fn parse_chars(chars: impl Iterator<Item = char>) -> (Vec<Entry>, Vec<SyntaxError>) {
    let mut entries = Vec::new();
    let mut errors = Vec::new();
    for line in logical_lines(chars) {
        match entry(&line) {
            Ok(entry) => entries.push(entry),
            Err(error) => errors.push(error),
        }
    }
    (entries, errors)
}

/// A logical line: continuations joined, comments and blank lines gone, escapes still in place.
#[derive(Default)]
struct LogicalLine {
    number: u32,
    chars: Vec<char>,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0C')
}

/// Follows `Properties.LineReader.readLine` of JDK 17 step by step.
fn logical_lines(chars: impl Iterator<Item = char>) -> Vec<LogicalLine> {
    let mut chars = chars.peekable();
    let mut lines = Vec::new();
    let mut line = LogicalLine::default();
    let mut number = 1;
    let mut skip_blanks = true;
    let mut continued = false;
    let mut after_backslash = false;

    while let Some(c) = chars.next() {
        let here = number;
        let line_end = matches!(c, '\n' | '\r');
        let last = chars.peek().is_none();
        if line_end {
            if c == '\r' {
                chars.next_if_eq(&'\n');
            }
            number += 1;
        }
        if skip_blanks {
            if is_blank(c) || (line_end && !continued) {
                continue;
            }
            skip_blanks = false;
            continued = false;
        }
        if line.chars.is_empty() && matches!(c, '#' | '!') {
            while chars.next_if(|c| !matches!(c, '\n' | '\r')).is_some() {}
            skip_blanks = true;
        } else if !line_end {
            if line.chars.is_empty() {
                line.number = here;
            }
            line.chars.push(c);
            after_backslash = c == '\\' && !after_backslash;
        } else if line.chars.is_empty() {
            skip_blanks = true;
        } else if after_backslash && !last {
            line.chars.pop();
            skip_blanks = true;
            continued = true;
            after_backslash = false;
        } else if !after_backslash {
            lines.push(std::mem::take(&mut line));
            skip_blanks = true;
        }
    }
    // A lone backslash at the very end is an entry without key to Java.
    if !line.chars.is_empty() {
        if after_backslash {
            line.chars.pop();
        }
        lines.push(line);
    }
    lines
}

/// Splits a logical line as `Properties.load0` does: the first separator that is not escaped ends
/// the key.
fn entry(line: &LogicalLine) -> Result<Entry, SyntaxError> {
    let chars = &line.chars;
    let mut after_backslash = false;
    let key_end = chars
        .iter()
        .position(|&c| {
            let ends = !after_backslash && (matches!(c, '=' | ':') || is_blank(c));
            after_backslash = c == '\\' && !after_backslash;
            ends
        })
        .unwrap_or(chars.len());
    let (key, rest) = chars.split_at(key_end);
    let mut separator_seen = false;
    let blanks = rest
        .iter()
        .take_while(|&&c| {
            let separator = matches!(c, '=' | ':') && !separator_seen;
            separator_seen |= separator;
            separator || is_blank(c)
        })
        .count();
    Ok(Entry {
        line: line.number,
        key: unescape(key, line.number)?,
        value: unescape(rest.get(blanks..).unwrap_or_default(), line.number)?,
    })
}

fn unescape(chars: &[char], line: u32) -> Result<String, SyntaxError> {
    let mut units = Vec::with_capacity(chars.len());
    let mut buffer = [0; 2];
    let mut rest = chars.iter().copied();
    while let Some(c) = rest.next() {
        let plain = match (c, c == '\\') {
            (_, false) => c,
            (_, true) => match rest.next() {
                Some('u') => {
                    units.push(
                        unicode_escape(&mut rest).ok_or(SyntaxError::BadUnicodeEscape { line })?,
                    );
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0C',
                Some(other) => other,
                None => break,
            },
        };
        units.extend_from_slice(plain.encode_utf16(&mut buffer));
    }
    String::from_utf16(&units).map_err(|_| SyntaxError::LoneSurrogate { line })
}

fn unicode_escape(chars: &mut impl Iterator<Item = char>) -> Option<u16> {
    let mut unit = 0u16;
    for _ in 0..4 {
        let digit = chars.next()?.to_digit(16)?;
        unit = (unit << 4) | u16::try_from(digit).ok()?;
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(bytes: &[u8]) -> Vec<(u32, String, String)> {
        let (entries, errors) = parse_bytes(bytes);
        assert_eq!(errors, []);
        entries.into_iter().map(|e| (e.line, e.key, e.value)).collect()
    }

    fn one(bytes: &[u8]) -> (String, String) {
        let all = pairs(bytes);
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().map(|(_, key, value)| (key, value)).expect("one entry")
    }

    fn own(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_are_equals_colon_and_blanks() {
        for text in ["a=b", "a:b", "a b", "a\tb", "a\x0Cb", "a = b", "a : b", "  a \t= \x0C b"] {
            assert_eq!(one(text.as_bytes()), own("a", "b"), "{text:?}");
        }
        assert_eq!(one(b"a==b"), own("a", "=b"));
        assert_eq!(one(b"a = : b"), own("a", ": b"));
        assert_eq!(one(b"a"), own("a", ""));
        assert_eq!(one(b"=b"), own("", "b"));
        assert_eq!(one(b"a\\=b=c"), own("a=b", "c"));
        assert_eq!(one(b"A->B.enabled = true"), own("A->B.enabled", "true"));
    }

    #[test]
    fn trailing_blanks_and_comments_belong_to_the_value() {
        assert_eq!(one(b"a = true "), own("a", "true "));
        assert_eq!(one(b"a = true # yes"), own("a", "true # yes"));
    }

    #[test]
    fn comments_only_at_the_start_of_a_line() {
        assert_eq!(pairs(b"# a=b\n  ! c=d\n\n  \t\nx=y"), [(5, "x".into(), "y".into())]);
        assert_eq!(one(b"a = b\\\n# c"), own("a", "b# c"));
        // Java's reader forgets that a line was continued when nothing stood on it.
        assert_eq!(pairs(b"\\\n# gone\na=b"), [(3, "a".into(), "b".into())]);
    }

    #[test]
    fn continuation_joins_lines_and_keeps_the_first_number() {
        let expected = [(1, "a".into(), "b,c".into()), (3, "d".into(), "e".into())];
        for end in ["\n", "\r", "\r\n"] {
            let text = format!("a = b,\\{end}     c{end}d=e{end}");
            let expected: &[(u32, String, String)] = &expected;
            let numbers = pairs(text.as_bytes());
            assert_eq!(numbers, expected, "{end:?}");
        }
        assert_eq!(one(b"a=b\\\\\n"), own("a", "b\\"));
        assert_eq!(one(b"a=b\\"), own("a", "b"));
        assert_eq!(
            pairs(b"a=b\\\n\nc=d"),
            [(1, "a".into(), "b".into()), (3, "c".into(), "d".into())]
        );
    }

    #[test]
    fn escapes() {
        assert_eq!(one(br"a=\t\n\r\f\.\z\\"), own("a", "\t\n\r\x0C.z\\"));
        assert_eq!(one(br"a=.*[\-\.]internal"), own("a", ".*[-.]internal"));
        assert_eq!(one(br"a=d\\..*"), own("a", r"d\..*"));
        assert_eq!(one(br"a=\u00e4\uD83D\uDE00"), own("a", "\u{e4}\u{1F600}"));
        assert_eq!(one(b"a=\xe4\xc3"), own("a", "\u{e4}\u{c3}"));
    }

    #[test]
    fn bad_escapes_are_errors_with_their_line() {
        let (entries, errors) = parse_bytes(b"x=y\na=\\u12\nb=\\uD83D\nc=\\u00zz");
        assert_eq!(entries.len(), 1);
        assert_eq!(
            errors,
            [
                SyntaxError::BadUnicodeEscape { line: 2 },
                SyntaxError::LoneSurrogate { line: 3 },
                SyntaxError::BadUnicodeEscape { line: 4 },
            ]
        );
    }

    #[test]
    fn readers_decode_utf8() {
        assert_eq!(parse_text("a=\u{65e5}").0[0].value, "\u{65e5}");
    }

    proptest! {
        #[test]
        fn never_panics_and_lines_rise(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (entries, _) = parse_bytes(&bytes);
            prop_assert!(entries.windows(2).all(|pair| pair[0].line < pair[1].line));
        }

        #[test]
        fn escaped_text_comes_back(
            key in "[a-z =:#!\\\\\n\t]{1,20}",
            value in "[ -~\n\u{e4}]{0,40}",
        ) {
            let escape = |text: &str| text.chars().fold(String::new(), |mut out, c| {
                match c {
                    '\n' => out.push_str("\\n"),
                    '\t' => out.push_str("\\t"),
                    c if c.is_ascii() && !c.is_ascii_alphanumeric() => out.extend(['\\', c]),
                    c => out.extend(format!("\\u{:04x}", u32::from(c)).chars()),
                }
                out
            });
            let text = format!("{}={}", escape(&key), escape(&value));
            prop_assert_eq!(one(text.as_bytes()), (key, value));
        }
    }
}
