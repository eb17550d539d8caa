//! Characters of a Java pattern, with `\Q…\E` already taken apart, and a cursor over them.

use super::RegexError;

/// One character of the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// The character.
    pub(super) c: char,
    /// Whether it stood between `\Q` and `\E` and stands for itself.
    pub(super) quoted: bool,
    /// Its position in the pattern, in characters.
    pub(super) at: usize,
}

/// Resolves quoting before anything else, as `Pattern.RemoveQEQuoting` does.
pub(super) fn tokenize(java: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(java.len());
    let mut chars = java.chars().enumerate().peekable();
    let mut quoted = false;
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|&(_, next)| next);
        match (quoted, c, next) {
            (true, '\\', Some('E')) => {
                chars.next();
                quoted = false;
            }
            (true, _, _) => tokens.push(Token { c, quoted: true, at }),
            (false, '\\', Some('Q')) => {
                chars.next();
                quoted = true;
            }
            (false, '\\', Some(escaped)) => {
                chars.next();
                tokens.push(Token { c, quoted: false, at });
                tokens.push(Token { c: escaped, quoted: false, at: at + 1 });
            }
            (false, _, _) => tokens.push(Token { c, quoted: false, at }),
        }
    }
    tokens
}

/// Walks over the tokens; syntax is only seen in what is not quoted.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    tokens: &'a [Token],
    next: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(tokens: &'a [Token]) -> Self {
        Self { tokens, next: 0 }
    }

    /// The token in front, whatever it is.
    pub(super) fn peek(&self) -> Option<Token> {
        self.tokens.get(self.next).copied()
    }

    /// The syntax character `ahead` tokens further on, if it is one.
    pub(super) fn syntax_at(&self, ahead: usize) -> Option<char> {
        self.tokens.get(self.next + ahead).filter(|token| !token.quoted).map(|token| token.c)
    }

    /// The syntax character in front, if it is one.
    pub(super) fn syntax(&self) -> Option<char> {
        self.syntax_at(0)
    }

    /// Takes the token in front.
    pub(super) fn bump(&mut self) -> Option<Token> {
        let token = self.peek();
        self.next += usize::from(token.is_some());
        token
    }

    /// Takes the syntax character `c` if it is in front.
    pub(super) fn eat(&mut self, c: char) -> bool {
        let found = self.syntax() == Some(c);
        self.next += usize::from(found);
        found
    }

    /// Takes syntax characters as long as `wanted` holds, at most `most`.
    pub(super) fn take_while(&mut self, most: usize, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while taken.chars().count() < most
            && let Some(c) = self.syntax().filter(|&c| wanted(c))
        {
            taken.push(c);
            self.next += 1;
        }
        taken
    }

    /// Takes blanks and comments, which `(?x)` allows.
    pub(super) fn skip_comments(&mut self) {
        while let Some(c) = self.syntax() {
            match c {
                ' ' | '\t' | '\n' | '\x0B' | '\x0C' | '\r' => self.next += 1,
                '#' => {
                    let end = |c| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
                    while self.peek().is_some_and(|token| !end(token.c)) {
                        self.next += 1;
                    }
                }
                _ => return,
            }
        }
    }

    /// Where the cursor stands, in characters of the pattern.
    pub(super) fn position(&self) -> usize {
        self.peek()
            .map_or_else(|| self.tokens.last().map_or(0, |last| last.at + 1), |token| token.at)
    }

    pub(super) fn syntax_error(&self, problem: &'static str) -> RegexError {
        RegexError::Syntax { position: self.position(), problem }
    }
}

/// The numeric escapes `\0n`, `\xhh`, `\x{h…h}`, `\uhhhh`, `\cX`; the cursor stands behind the
/// letter.
pub(super) fn coded_char(
    cursor: &mut Cursor<'_>,
    letter: char,
    at: usize,
) -> Result<Option<char>, RegexError> {
    let hex = |c: char| c.is_ascii_hexdigit();
    let bad = |problem| RegexError::Syntax { position: at, problem };
    let code = match letter {
        '0' => {
            let first = cursor.take_while(1, |c| c.is_digit(8));
            let most = if matches!(first.as_str(), "0" | "1" | "2" | "3") { 2 } else { 1 };
            let rest = cursor.take_while(most, |c| c.is_digit(8));
            u32::from_str_radix(&(first + &rest), 8).map_err(|_| bad("illegal octal escape"))?
        }
        'x' if cursor.eat('{') => {
            let digits = cursor.take_while(8, hex);
            if !cursor.eat('}') {
                return Err(bad("unclosed hexadecimal escape"));
            }
            u32::from_str_radix(&digits, 16).map_err(|_| bad("illegal hexadecimal escape"))?
        }
        'x' | 'u' => {
            let width = if letter == 'x' { 2 } else { 4 };
            let digits = cursor.take_while(width, hex);
            if digits.len() != width {
                return Err(bad("illegal hexadecimal or Unicode escape"));
            }
            u32::from_str_radix(&digits, 16).map_err(|_| bad("illegal hexadecimal escape"))?
        }
        'c' => match cursor.bump() {
            Some(token) => u32::from(token.c) ^ 64,
            None => return Err(bad("illegal control escape")),
        },
        _ => return Ok(None),
    };
    match char::from_u32(code) {
        Some(c) => Ok(Some(c)),
        None if (0xD800..0xE000).contains(&code) => {
            Err(RegexError::Unsupported { position: at, construct: "a surrogate escape" })
        }
        None => Err(bad("the code point is out of range")),
    }
}

/// The one-letter escapes that stand for one character.
pub(super) fn named_char(letter: char) -> Option<char> {
    Some(match letter {
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        'f' => '\x0C',
        'a' => '\x07',
        'e' => '\x1B',
        other if !other.is_ascii_alphanumeric() => other,
        _ => return None,
    })
}
