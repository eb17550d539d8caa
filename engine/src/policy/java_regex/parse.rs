//! The grammar of `java.util.regex.Pattern`, rewritten as it is read.

use super::RegexError;
use super::class::{LINE_END, WORD, bracketed, code_point, predefined};
use super::tokens::{Cursor, Token, coded_char, named_char};

/// How deep groups and classes may nest.
pub(super) const MAX_DEPTH: usize = 100;

/// What the text is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The `regex` crate: linear time.
    Automaton,
    /// `fancy-regex`: groups are captured, boundaries become look-arounds.
    Backtracking,
}

/// A translated pattern.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) text: String,
    /// Whether something in it needs [`Dialect::Backtracking`].
    pub(super) needs_backtracking: bool,
}

/// A piece of the translation.
#[derive(Debug)]
struct Piece {
    text: String,
    /// Whether it never takes a character; neither engine repeats such a piece as Java does.
    empty: bool,
}

impl Piece {
    fn taking(text: impl Into<String>) -> Self {
        Self { text: text.into(), empty: false }
    }

    fn empty(text: impl Into<String>) -> Self {
        Self { text: text.into(), empty: true }
    }
}

/// The inline flags `(?idmsuxU)`, as far as they change what is written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    unicode_case: bool,
    dot_all: bool,
    unix_lines: bool,
    multi_line: bool,
    pub(super) comments: bool,
}

pub(super) fn translate(tokens: &[Token], dialect: Dialect) -> Result<Translation, RegexError> {
    let mut parser = Parser {
        cursor: Cursor::new(tokens),
        flags: Flags::default(),
        dialect,
        needs_backtracking: false,
        groups: 0,
        names: Vec::new(),
        open_groups: Vec::new(),
        reference_at: None,
        repeats_empty_capture: false,
    };
    let text = parser.alternation(0)?.text;
    match (parser.cursor.peek(), parser.reference_at) {
        (Some(_), _) => Err(parser.cursor.syntax_error("unmatched `)`")),
        (None, Some(position)) if parser.repeats_empty_capture => {
            let construct = "a reference beside a repeated group that takes nothing";
            Err(RegexError::Unsupported { position, construct })
        }
        _ => Ok(Translation { text, needs_backtracking: parser.needs_backtracking }),
    }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    flags: Flags,
    dialect: Dialect,
    needs_backtracking: bool,
    groups: usize,
    names: Vec<(String, usize)>,
    /// The groups that the cursor is inside of.
    open_groups: Vec<usize>,
    /// Where the first reference to a group stands.
    reference_at: Option<usize>,
    repeats_empty_capture: bool,
}

impl Parser<'_> {
    fn alternation(&mut self, depth: usize) -> Result<Piece, RegexError> {
        if depth > MAX_DEPTH {
            return Err(self.cursor.syntax_error("the pattern is nested too deeply"));
        }
        let mut all = self.sequence(depth)?;
        while self.cursor.eat('|') {
            let branch = self.sequence(depth)?;
            all.text = format!("{}|{}", all.text, branch.text);
            all.empty &= branch.empty;
        }
        Ok(all)
    }

    fn sequence(&mut self, depth: usize) -> Result<Piece, RegexError> {
        let mut all = Piece::empty("");
        loop {
            if self.flags.comments {
                self.cursor.skip_comments();
            }
            let Some(token) = self.cursor.peek() else { return Ok(all) };
            let groups_before = self.groups;
            let atom = match self.cursor.syntax() {
                Some('|' | ')') => return Ok(all),
                Some('(') => match self.group(depth)? {
                    Some(group) => group,
                    None => continue,
                },
                Some('[') => {
                    self.cursor.bump();
                    let class = bracketed(&mut self.cursor, self.flags, depth)?;
                    Piece::taking(self.folded(class))
                }
                Some('\\') => self.escape()?,
                Some('^' | '$') => Piece::empty(self.anchor(depth)?),
                Some('.') => {
                    self.cursor.bump();
                    Piece::taking(self.dot())
                }
                Some('*' | '+' | '?' | '{') => return Err(self.nothing_to_repeat()),
                _ => {
                    self.cursor.bump();
                    Piece::taking(self.literal(token.c))
                }
            };
            let atom = self.repeated(atom, groups_before)?;
            all.text += &atom.text;
            all.empty &= atom.empty;
        }
    }

    fn nothing_to_repeat(&self) -> RegexError {
        let position = self.cursor.position();
        let problem = match self.cursor.syntax() {
            Some('*') => "dangling `*`",
            Some('+') => "dangling `+`",
            Some('?') => "dangling `?`",
            // Java repeats the empty pattern here.
            _ if self.cursor.syntax_at(1).is_some_and(|c| c.is_ascii_digit()) => {
                let construct = "a count with nothing in front of it";
                return RegexError::Unsupported { position, construct };
            }
            _ => "illegal repetition",
        };
        RegexError::Syntax { position, problem }
    }

    fn literal(&self, c: char) -> String {
        match (self.flags.ignore_case, self.flags.unicode_case) {
            (true, true) => self.folded(code_point(c)),
            (true, false) if c.is_ascii_alphabetic() => {
                format!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase())
            }
            _ => code_point(c),
        }
    }

    /// Java folds beyond ASCII only with `(?u)`; then the engine's folding is the same.
    fn folded(&self, text: String) -> String {
        match self.flags.ignore_case && self.flags.unicode_case {
            true => format!("(?i:{text})"),
            false => text,
        }
    }

    fn dot(&self) -> String {
        match (self.flags.dot_all, self.flags.unix_lines) {
            (true, _) => r"[\x{0}-\x{10FFFF}]".to_owned(),
            (false, true) => r"[^\n]".to_owned(),
            (false, false) => format!("[^{LINE_END}]"),
        }
    }

    fn anchor(&mut self, depth: usize) -> Result<String, RegexError> {
        let position = self.cursor.position();
        let start = self.cursor.eat('^');
        if self.flags.multi_line {
            let construct = "an anchor under `(?m)`";
            return Err(RegexError::Unsupported { position, construct });
        }
        if start {
            return Ok(r"\A".to_owned());
        }
        self.cursor.bump();
        // The whole name is matched, so what ends a branch of the outermost level ends the name.
        match depth == 0 && matches!(self.cursor.syntax(), None | Some('|')) {
            true if self.cursor.peek().is_none_or(|token| !token.quoted) => Ok(r"\z".to_owned()),
            _ => Ok(self.end_or_last_line_end()),
        }
    }

    /// `$` and `\Z`: the end, or in front of a line terminator that is the last thing there is.
    fn end_or_last_line_end(&mut self) -> String {
        self.needs_backtracking = true;
        match self.flags.unix_lines {
            true => r"(?=\n?\z)".to_owned(),
            false => format!(r"(?:(?=(?:\r\n|[{LINE_END}])?\z)(?!(?<=\r)\n))"),
        }
    }

    fn escape(&mut self) -> Result<Piece, RegexError> {
        let at = self.cursor.position();
        self.cursor.bump();
        let Some(letter) = self.cursor.bump().map(|token| token.c) else {
            return Err(self.cursor.syntax_error("the pattern ends with a backslash"));
        };
        if let Some(set) = predefined(&mut self.cursor, letter, self.flags, at)? {
            return Ok(Piece::taking(self.folded(format!("[{set}]"))));
        }
        if let Some(c) = coded_char(&mut self.cursor, letter, at)? {
            return Ok(Piece::taking(self.literal(c)));
        }
        let unsupported = |construct| RegexError::Unsupported { position: at, construct };
        match letter {
            'A' | 'G' => Ok(Piece::empty(r"\A")),
            'z' => Ok(Piece::empty(r"\z")),
            'Z' => Ok(Piece::empty(self.end_or_last_line_end())),
            'b' if self.cursor.syntax() == Some('{') => Err(unsupported(r"`\b{g}`")),
            'b' | 'B' => Ok(Piece::empty(self.word_boundary(letter == 'b'))),
            'R' => Ok(Piece::taking(r"(?:\r\n|[\n\x{B}\x{C}\r\x{85}\x{2028}\x{2029}])")),
            'X' => Err(unsupported(r"`\X`")),
            'N' => Err(unsupported(r"`\N{…}`")),
            'k' => self.named_reference(at).map(Piece::taking),
            '1'..='9' => self.numbered_reference(letter, at).map(Piece::taking),
            _ => named_char(letter)
                .map(|c| Piece::taking(self.literal(c)))
                .ok_or(RegexError::Syntax { position: at, problem: "illegal escape" }),
        }
    }

    fn word_boundary(&mut self, at_boundary: bool) -> String {
        match (at_boundary, self.dialect) {
            (true, Dialect::Automaton) => r"(?-u:\b)".to_owned(),
            (true, Dialect::Backtracking) => {
                format!("(?:(?<=[{WORD}])(?![{WORD}])|(?<![{WORD}])(?=[{WORD}]))")
            }
            (false, _) => {
                self.needs_backtracking = true;
                format!("(?:(?<=[{WORD}])(?=[{WORD}])|(?<![{WORD}])(?![{WORD}]))")
            }
        }
    }

    fn numbered_reference(&mut self, first: char, at: usize) -> Result<String, RegexError> {
        let mut number = first.to_digit(10).unwrap_or(0) as usize;
        while let Some(digit) = self.cursor.syntax().and_then(|c| c.to_digit(10))
            && number * 10 + digit as usize <= self.groups
        {
            number = number * 10 + digit as usize;
            self.cursor.bump();
        }
        self.reference(number, at)
    }

    fn named_reference(&mut self, at: usize) -> Result<String, RegexError> {
        let problem = "`\\k` is not followed by the name of a group in `<>`";
        let name = self
            .cursor
            .eat('<')
            .then(|| self.cursor.take_while(100, |c| c.is_ascii_alphanumeric()))
            .filter(|_| self.cursor.eat('>'));
        let number = self.names.iter().find(|(known, _)| Some(known) == name.as_ref());
        match number {
            Some(&(_, number)) => self.reference(number, at),
            None => Err(RegexError::Syntax { position: at, problem }),
        }
    }

    fn reference(&mut self, number: usize, at: usize) -> Result<String, RegexError> {
        if number > self.groups || self.open_groups.contains(&number) {
            let construct = "a reference to a group that does not end before it";
            return Err(RegexError::Unsupported { position: at, construct });
        }
        if self.flags.ignore_case {
            let construct = "a reference under `(?i)`";
            return Err(RegexError::Unsupported { position: at, construct });
        }
        self.needs_backtracking = true;
        self.reference_at.get_or_insert(at);
        Ok(match self.dialect {
            Dialect::Backtracking => format!(r"(?:\{number})"),
            Dialect::Automaton => String::new(),
        })
    }

    /// A group, or none if it only set flags for what follows.
    fn group(&mut self, depth: usize) -> Result<Option<Piece>, RegexError> {
        let at = self.cursor.position();
        self.cursor.bump();
        let outer = self.flags;
        let outer_groups = self.groups;
        let open = match self.cursor.eat('?') {
            false => self.capture(None),
            true => match self.special_group(at)? {
                Some(open) => open,
                None => return Ok(None),
            },
        };
        let looks_around = matches!(&*open, "(?=" | "(?!" | "(?<=" | "(?<!");
        let captures = self.groups > outer_groups;
        if captures {
            self.open_groups.push(self.groups);
        }
        let body = self.alternation(depth + 1)?;
        if captures {
            self.open_groups.pop();
        }
        if !self.cursor.eat(')') {
            return Err(RegexError::Syntax { position: at, problem: "unclosed group" });
        }
        self.flags = outer;
        let empty = body.empty || looks_around;
        Ok(Some(Piece { text: format!("{open}{})", body.text), empty }))
    }

    fn capture(&mut self, name: Option<String>) -> String {
        self.groups += 1;
        self.names.extend(name.map(|name| (name, self.groups)));
        match self.dialect {
            Dialect::Automaton => "(?:".to_owned(),
            Dialect::Backtracking => "(".to_owned(),
        }
    }

    /// What stands behind `(?`; none if it was `(?flags)`.
    fn special_group(&mut self, at: usize) -> Result<Option<String>, RegexError> {
        let fancy = match (self.cursor.syntax(), self.cursor.syntax_at(1)) {
            (Some('='), _) => Some("(?="),
            (Some('!'), _) => Some("(?!"),
            (Some('>'), _) => Some("(?>"),
            (Some('<'), Some('=')) => Some("(?<="),
            (Some('<'), Some('!')) => Some("(?<!"),
            _ => None,
        };
        if let Some(open) = fancy {
            for _ in 2..open.len() {
                self.cursor.bump();
            }
            self.needs_backtracking = true;
            return Ok(Some(open.to_owned()));
        }
        if self.cursor.eat('<') {
            let name = self.cursor.take_while(100, |c| c.is_ascii_alphanumeric());
            let valid = name.starts_with(|c: char| c.is_ascii_alphabetic());
            let taken = self.names.iter().any(|(known, _)| *known == name);
            if !valid || taken || !self.cursor.eat('>') {
                return Err(RegexError::Syntax { position: at, problem: "bad group name" });
            }
            return Ok(Some(self.capture(Some(name))));
        }
        let before = self.flags;
        self.read_flags(at)?;
        match self.cursor.bump().map(|token| token.c) {
            Some(')') => Ok(None),
            Some(':') => Ok(Some("(?:".to_owned())),
            _ => {
                self.flags = before;
                Err(RegexError::Syntax { position: at, problem: "unknown group type" })
            }
        }
    }

    fn read_flags(&mut self, at: usize) -> Result<(), RegexError> {
        let mut on = true;
        loop {
            match self.cursor.syntax() {
                Some('i') => self.flags.ignore_case = on,
                Some('u') => self.flags.unicode_case = on,
                Some('s') => self.flags.dot_all = on,
                Some('d') => self.flags.unix_lines = on,
                Some('m') => self.flags.multi_line = on,
                Some('x') => self.flags.comments = on,
                Some('-') if on => on = false,
                Some('U' | 'c') => {
                    let construct = "the flag `U` or `c`";
                    return Err(RegexError::Unsupported { position: at, construct });
                }
                _ => return Ok(()),
            }
            self.cursor.bump();
        }
    }

    /// Applies the quantifier behind an atom, if there is one.
    fn repeated(&mut self, atom: Piece, groups_before: usize) -> Result<Piece, RegexError> {
        if self.flags.comments {
            self.cursor.skip_comments();
        }
        let count = match self.cursor.syntax() {
            Some(c @ ('*' | '+' | '?')) => {
                self.cursor.bump();
                c.to_string()
            }
            Some('{') => self.counted()?,
            _ => return Ok(atom),
        };
        let lazy = self.cursor.eat('?');
        let possessive = !lazy && self.cursor.eat('+');
        if self.cursor.syntax() == Some('{') {
            let position = self.cursor.position();
            let construct = "a count behind a quantifier";
            return Err(RegexError::Unsupported { position, construct });
        }
        let repeated = match atom.empty {
            true => {
                self.repeats_empty_capture |= self.groups > groups_before;
                repeated_empty(&atom.text, &count, lazy)
            }
            false => format!("(?:{}){count}{}", atom.text, if lazy { "?" } else { "" }),
        };
        self.needs_backtracking |= possessive;
        let text = if possessive { format!("(?>{repeated})") } else { repeated };
        Ok(Piece { text, ..atom })
    }

    fn counted(&mut self) -> Result<String, RegexError> {
        let at = self.cursor.position();
        let syntax = |problem| RegexError::Syntax { position: at, problem };
        self.cursor.bump();
        let low = self.cursor.take_while(10, |c| c.is_ascii_digit());
        let low: u32 = low.parse().map_err(|_| syntax("illegal repetition"))?;
        let comma = self.cursor.eat(',');
        let high = self.cursor.take_while(10, |c| c.is_ascii_digit());
        if !self.cursor.eat('}') {
            return Err(syntax("unclosed counted repetition"));
        }
        match (comma, high.is_empty()) {
            (false, _) => Ok(format!("{{{low}}}")),
            (true, true) => Ok(format!("{{{low},}}")),
            (true, false) => {
                let high: u32 = high.parse().map_err(|_| syntax("illegal repetition"))?;
                match high < low {
                    true => Err(syntax("illegal repetition range")),
                    false => Ok(format!("{{{low},{high}}}")),
                }
            }
        }
    }
}

/// What takes nothing needs to be tried once, or not at all if the count allows it.
fn repeated_empty(text: &str, count: &str, lazy: bool) -> String {
    let optional = matches!(count, "*" | "?") || count.starts_with("{0");
    match (optional, lazy) {
        (false, _) => format!("(?:{text})"),
        (true, false) => format!("(?:(?:{text})|)"),
        (true, true) => format!("(?:|(?:{text}))"),
    }
}
