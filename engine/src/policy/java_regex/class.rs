//! Character classes: `[…]`, `\d`, `\p{…}`, written for the target engines code point by code
//! point.

use super::RegexError;
use super::parse::{Flags, MAX_DEPTH};
use super::tokens::{Cursor, coded_char, named_char};

/// ASCII word characters, as an item of a class.
pub(super) const WORD: &str = "0-9A-Za-z_";
/// What ends a line in Java, as an item of a class.
pub(super) const LINE_END: &str = r"\n\r\x{85}\x{2028}\x{2029}";
const VERTICAL: &str = r"\n\x{B}\x{C}\r\x{85}\x{2028}\x{2029}";
const HORIZONTAL: &str = r"\t\x{20}\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}";
const SPACE: &str = r"\x{20}\t\n\x{B}\x{C}\r";
const PUNCT: &str = r"\x{21}-\x{2F}\x{3A}-\x{40}\x{5B}-\x{60}\x{7B}-\x{7E}";

/// A code point written so that no engine reads it as syntax.
pub(super) fn code_point(c: char) -> String {
    match c.is_ascii_alphanumeric() {
        true => c.to_string(),
        false => format!("\\x{{{:X}}}", u32::from(c)),
    }
}

/// Reads a class; the cursor stands behind its `[`.
pub(super) fn bracketed(
    cursor: &mut Cursor<'_>,
    flags: Flags,
    depth: usize,
) -> Result<String, RegexError> {
    let negated = cursor.eat('^');
    let body = operands(cursor, flags, depth)?;
    if !cursor.eat(']') {
        return Err(cursor.syntax_error("unclosed character class"));
    }
    Ok(format!("[{}{body}]", if negated { "^" } else { "" }))
}

/// `a&&b&&c` up to the closing bracket, which stays.
fn operands(cursor: &mut Cursor<'_>, flags: Flags, depth: usize) -> Result<String, RegexError> {
    let mut all = Vec::new();
    loop {
        let at = cursor.position();
        let items = union(cursor, flags, depth, all.is_empty())?;
        if items.is_empty() {
            return Err(match cursor.syntax() {
                None => cursor.syntax_error("unclosed character class"),
                Some(_) => RegexError::Unsupported {
                    position: at,
                    construct: "an empty side of `&&` in a class",
                },
            });
        }
        all.push(items);
        if !(cursor.syntax() == Some('&') && cursor.syntax_at(1) == Some('&')) {
            break;
        }
        cursor.bump();
        cursor.bump();
    }
    Ok(match all.len() {
        1 => all.concat(),
        _ => all.iter().map(|items| format!("[{items}]")).collect::<Vec<_>>().join("&&"),
    })
}

/// Items up to `]`, `&&` or the end. Only a class that is empty so far takes `]` literally.
fn union(
    cursor: &mut Cursor<'_>,
    flags: Flags,
    depth: usize,
    first: bool,
) -> Result<String, RegexError> {
    if depth > MAX_DEPTH {
        return Err(cursor.syntax_error("the pattern is nested too deeply"));
    }
    let mut items = String::new();
    loop {
        if flags.comments {
            cursor.skip_comments();
        }
        let Some(token) = cursor.peek() else { break };
        match cursor.syntax() {
            Some(']') if !(first && items.is_empty()) => break,
            Some('&') if cursor.syntax_at(1) == Some('&') => break,
            Some('[') => {
                cursor.bump();
                items += &bracketed(cursor, flags, depth + 1)?;
            }
            Some('\\') => match escape(cursor, flags)? {
                Item::Set(set) => items += &set,
                Item::Char(c) => items += &range(cursor, flags, c, token.at)?,
            },
            _ => {
                cursor.bump();
                items += &range(cursor, flags, token.c, token.at)?;
            }
        }
    }
    Ok(items)
}

enum Item {
    Char(char),
    Set(String),
}

/// Reads an escape inside a class; the cursor stands on the backslash.
fn escape(cursor: &mut Cursor<'_>, flags: Flags) -> Result<Item, RegexError> {
    let at = cursor.position();
    cursor.bump();
    let Some(letter) = cursor.bump().map(|token| token.c) else {
        return Err(cursor.syntax_error("the pattern ends with a backslash"));
    };
    if let Some(set) = predefined(cursor, letter, flags, at)? {
        if letter == 'v' && cursor.syntax() == Some('-') {
            return Err(RegexError::Unsupported { position: at, construct: r"`\v` in a range" });
        }
        return Ok(Item::Set(set));
    }
    if let Some(c) = coded_char(cursor, letter, at)? {
        return Ok(Item::Char(c));
    }
    match letter {
        'N' => Err(RegexError::Unsupported { position: at, construct: r"`\N{…}`" }),
        _ => named_char(letter)
            .map(Item::Char)
            .ok_or(RegexError::Syntax { position: at, problem: "illegal escape in a class" }),
    }
}

/// `c` or `c-d`; the cursor stands behind `c`.
fn range(
    cursor: &mut Cursor<'_>,
    flags: Flags,
    low: char,
    at: usize,
) -> Result<String, RegexError> {
    let dash = cursor.syntax() == Some('-');
    if !dash || matches!(cursor.syntax_at(1), Some('[' | ']')) {
        return Ok(span(flags, low, low));
    }
    cursor.bump();
    let high = match (cursor.syntax(), cursor.peek()) {
        (Some('\\'), _) => match escape(cursor, flags)? {
            Item::Char(c) => Some(c),
            Item::Set(_) => None,
        },
        (_, Some(token)) => {
            cursor.bump();
            Some(token.c)
        }
        (_, None) => return Err(cursor.syntax_error("unclosed character class")),
    };
    match high.filter(|&high| high >= low) {
        Some(high) => Ok(span(flags, low, high)),
        None => Err(RegexError::Syntax { position: at, problem: "illegal character range" }),
    }
}

/// A range with its counterparts in the other case: of ASCII letters only, unless `(?u)` is on.
fn span(flags: Flags, low: char, high: char) -> String {
    let one = |low: char, high: char| match low == high {
        true => code_point(low),
        false => format!("{}-{}", code_point(low), code_point(high)),
    };
    let mut text = one(low, high);
    if flags.ignore_case {
        for (first, last, flip) in [
            ('a', 'z', char::to_ascii_uppercase as fn(&char) -> char),
            ('A', 'Z', char::to_ascii_lowercase),
        ] {
            let (from, to) = (low.max(first), high.min(last));
            if from <= to {
                text += &one(flip(&from), flip(&to));
            }
        }
    }
    text
}

/// `\d \w \s \h \v` with their negations and `\p \P`, as an item of a class; none if it is another
/// letter.
pub(super) fn predefined(
    cursor: &mut Cursor<'_>,
    letter: char,
    flags: Flags,
    at: usize,
) -> Result<Option<String>, RegexError> {
    let items = match letter.to_ascii_lowercase() {
        'd' => "0-9".to_owned(),
        'w' => WORD.to_owned(),
        's' => SPACE.to_owned(),
        'h' => HORIZONTAL.to_owned(),
        'v' => VERTICAL.to_owned(),
        'p' => property(cursor, flags, at)?,
        _ => return Ok(None),
    };
    Ok(Some(match letter.is_ascii_uppercase() {
        true => format!("[^{items}]"),
        false => items,
    }))
}

/// The name behind `\p`, as an item of a class.
fn property(cursor: &mut Cursor<'_>, flags: Flags, at: usize) -> Result<String, RegexError> {
    let syntax = |problem| RegexError::Syntax { position: at, problem };
    let name = match cursor.eat('{') {
        true => {
            let name = cursor.take_while(100, |c| c != '}');
            if !cursor.eat('}') {
                return Err(syntax("unclosed character property"));
            }
            name
        }
        false => cursor.take_while(1, |_| true),
    };
    let known = match name.split_once('=') {
        Some(("sc" | "script", script)) => script_class(script),
        Some(("gc" | "general_category", category)) => category_class(category, flags),
        Some(_) => None,
        None => match name.strip_prefix("Is") {
            Some(rest) => binary_class(rest)
                .or_else(|| category_class(rest, flags))
                .or_else(|| script_class(rest)),
            None => posix_class(&name, flags).or_else(|| category_class(&name, flags)),
        },
    };
    let foreign = ["In", "blk", "block", "java", "Is"].iter().any(|start| name.starts_with(start));
    known.ok_or_else(|| match foreign {
        true => RegexError::Unsupported { position: at, construct: "this character property" },
        false => syntax("unknown character property"),
    })
}

fn posix_class(name: &str, flags: Flags) -> Option<String> {
    let items = match name {
        "Lower" | "Upper" if flags.ignore_case => "A-Za-z",
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "ASCII" => r"\x{0}-\x{7F}",
        "Alpha" => "A-Za-z",
        "Digit" => "0-9",
        "Alnum" => "0-9A-Za-z",
        "Punct" => PUNCT,
        "Graph" => r"\x{21}-\x{7E}",
        "Print" => r"\x{20}-\x{7E}",
        "Blank" => r"\x{20}\t",
        "Cntrl" => r"\x{0}-\x{1F}\x{7F}",
        "XDigit" => "0-9A-Fa-f",
        "Space" => SPACE,
        "L1" => r"\x{0}-\x{FF}",
        "all" => r"\x{0}-\x{10FFFF}",
        "LD" => r"\p{L}\p{Nd}",
        _ => return None,
    };
    Some(items.to_owned())
}

fn category_class(name: &str, flags: Flags) -> Option<String> {
    const CATEGORIES: &str = "Cn Lu Ll Lt Lm Lo Mn Me Mc Nd Nl No Zs Zl Zp Cc Cf Co Pd Ps Pe Pc Po \
                              Sm Sc Sk So Pi Pf L M N Z P S";
    match name {
        "LC" => Some(r"\p{Lu}\p{Ll}\p{Lt}".to_owned()),
        "Lu" | "Ll" | "Lt" if flags.ignore_case => Some(r"\p{Lu}\p{Ll}\p{Lt}".to_owned()),
        _ => CATEGORIES.split_whitespace().any(|one| one == name).then(|| format!(r"\p{{{name}}}")),
    }
}

fn binary_class(name: &str) -> Option<String> {
    let target = match name.to_ascii_uppercase().as_str() {
        "ALPHABETIC" => "Alphabetic",
        "LETTER" => "L",
        "IDEOGRAPHIC" => "Ideographic",
        "LOWERCASE" => "Lowercase",
        "UPPERCASE" => "Uppercase",
        "TITLECASE" => "Lt",
        "WHITE_SPACE" | "WHITESPACE" => "White_Space",
        "CONTROL" => "Cc",
        "PUNCTUATION" => "P",
        "DIGIT" => "Nd",
        _ => return None,
    };
    Some(format!(r"\p{{{target}}}"))
}

fn script_class(name: &str) -> Option<String> {
    let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    let class = format!(r"\p{{Script={name}}}");
    (word && regex::Regex::new(&class).is_ok()).then_some(class)
}
