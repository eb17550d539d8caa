//! Our patterns answer what `java.util.regex` answers, on a fixed list and on random patterns and
//! names.
//!
//! Needs `javac` and `java` (17 or later); says SKIPPED where they are missing.

mod java;

use std::fmt::Write;

use engine::policy::java_regex::{Pattern, RegexError};
use fastrand::Rng;

const RANDOM_PATTERNS: usize = 2500;
const SUBJECTS_OF_EACH: usize = 5;

/// Patterns that are worth naming, of all kinds of syntax.
const FIXED: &[&str] = &[
    "",
    ".*",
    "a|b",
    "|a",
    "a|",
    "()",
    "(|a)b",
    "orders.*",
    r".*[\-\.]internal",
    r".*\.replica",
    "__.*",
    "^a$",
    "a$|b",
    "(a$)",
    "(?:a$)*",
    "a$\n",
    "a^",
    "(^a)b",
    "^*a",
    "$a",
    r"\Aa\z",
    r"a\Z",
    r"a\Z\n",
    r"\Ga",
    "(?i)ab|1",
    "a|(?i)b|a",
    "((?i)a)b",
    "(?i:a)b",
    "(?-i)a",
    "(?i-i)a",
    "(?i)[a-b]+",
    "(?i)[^a]",
    "(?i)[A-b]",
    "(?i)\\p{Lower}",
    "(?i)\\p{Upper}",
    "(?i)\\p{Lu}",
    "(?s).",
    "(?s-s:.)",
    ".",
    "(?d).",
    "(?x)a b # c",
    "(?x)[a b]",
    "(?x)a\\ b",
    "(?x) a + ",
    r"\Qa.b\E",
    r"\Qa.b",
    r"\Q\E",
    r"\Qa\E*",
    r"[\Qa-b\E]",
    r"\Qa\Eb+",
    r"x\E",
    r"\Q.\E\Q1\E",
    "a++",
    "a*+a",
    "a?+a",
    "a{1,2}+a",
    "(?>a|ab)b",
    "(?>a*)a",
    "a+?b",
    "a{2}",
    "a{2,}",
    "a{1,2}",
    "a{1,2}?",
    "a{,2}",
    "a{2,1}",
    "a{",
    "{",
    "{1}",
    "a{x}",
    "a{1|2}",
    "a**",
    "a+*",
    "*a",
    "+a",
    "?a",
    "a???",
    "a{2}{3}",
    "a{2}*",
    "(?i)*a",
    "[ab]",
    "[^ab]",
    "[a-b1]",
    "[]a]",
    "[^]a]",
    "[a-]",
    "[-a]",
    "[a-",
    "[]",
    "[^]",
    "[a",
    "[a&&b]",
    "[ab&&[b]]",
    "[ab&&[^b]]",
    "[a-z&&b&&[b]]",
    "[^a&&b]",
    "[^a&&[^b]]",
    "[a&b]",
    "[&a]",
    "[a[b]]",
    "[a[^b]]",
    "[^a[b]]",
    "[a&&[b]c]",
    "[[a]&&[ab]1]",
    "[b-a]",
    r"[\d-z]",
    r"[a\]b]",
    r"[\w&&[^1]]",
    r"[^\d]",
    r"[^\D]",
    "[[:alpha:]]+",
    "[a^]",
    "[a|b]",
    "[.]",
    "[*+?]",
    r"[\b]",
    r"[\A]",
    r"\d+",
    r"\D",
    r"\w+",
    r"\W",
    r"\s",
    r"\S",
    r"\h",
    r"\H",
    r"\v",
    r"\V",
    r"\R",
    r"\R\n",
    r"\bab\b",
    r"a\b.",
    r"a\Bb",
    r"\B",
    r"\b",
    r"\p{Alpha}",
    r"\p{Punct}+",
    r"\p{Digit}",
    r"\p{XDigit}",
    r"\P{Alpha}",
    r"\p{L}",
    r"\pL",
    r"\PL",
    r"\p{IsL}",
    r"\p{IsLatin}",
    r"\p{IsAlphabetic}",
    r"\p{script=Latin}",
    r"\p{gc=Lu}",
    r"\p{Foo}",
    r"\p{",
    r"\p{LC}",
    r"\p{ASCII}",
    r"\p{Cntrl}",
    r"\p{Graph}",
    r"\p{Print}",
    r"\p{Blank}",
    r"\p{Space}",
    r"\p{all}",
    r"\p{L1}",
    r"\x61",
    r"\x{61}",
    r"\u0061",
    r"\061",
    r"\0141",
    r"\08",
    r"\x6",
    r"\x{110000}",
    r"\cA",
    r"\t",
    r"\e",
    r"\a",
    r"\q",
    r"\_",
    r"\-",
    r"\\",
    "\\",
    r"(a)\1",
    r"(a)(b)\2\1",
    r"(a)?\1",
    r"(a|b)\1",
    r"(?<n>a)\k<n>",
    r"\k<n>",
    "(?<n>a)(?<n>b)",
    "(?<1>a)",
    r"(a)\11",
    r"(a\1)",
    "(?=a)ab",
    "(?!a)b",
    "a(?<=a)b",
    "b(?<!a)a",
    "(?<=a|bb)a",
    "(?<=a*)b",
    "(?!foo).*",
    "^(?!.*tmp).*$",
    "(a",
    "a)",
    "(?a)",
    "(?i",
    "(?<a",
    "(?",
    "a}",
    "]",
    "a]b}",
    "(a*)*",
    "(a*)+b",
    "(a|b)*ab",
    "(?:a|ab)(?:b|)",
    "((a)|b)+",
    "a.b",
    "a-b",
    "é",
    "(?i)É",
    "(?iu)É",
    "[à-ü]",
    "日.",
    "\u{1F600}",
    "[\u{1F600}]",
    ".{2}",
    "(?u)a",
    "(?m)a",
    "a{0}",
    "a{0,0}b",
    "(?:)*",
    "(?i)k",
    "(?iu)k",
    "a#b",
    "(?x)a#b\n1",
    "a\nb",
    "\n",
    "\r\n",
    "a\\\nb",
];

/// Names that tell those patterns apart.
const SUBJECTS: &[&str] = &[
    "",
    "a",
    "b",
    "ab",
    "ba",
    "aa",
    "aaa",
    "aab",
    "abab",
    "A",
    "B",
    "AB",
    "aB",
    "1",
    "11",
    "a1",
    "_",
    "-",
    ".",
    "a.b",
    "axb",
    "a-b",
    "a_b",
    "]",
    "}",
    "a]",
    "a]b}",
    "&",
    "^",
    "|",
    ":",
    "alpha",
    "orders",
    "orders.v1",
    "foobar",
    "my-tmp-x",
    "mm2-offsets.A.internal",
    "x.replica",
    "__consumer_offsets",
    "\n",
    "a\n",
    "a\r\n",
    "\r\n",
    "a\r",
    "\u{85}",
    "\u{2028}",
    "\t",
    " ",
    "a b",
    "é",
    "É",
    "ü",
    "日本",
    "\u{1F600}",
    "k",
    "K",
    "\u{212A}",
    "\u{7}",
    "\u{1}",
    "\u{1B}",
    "\\",
    "a\nb",
    "a#b",
];

#[test]
fn answers_are_those_of_java() {
    let Some(oracle) = java::Oracle::compiled("java_regex") else { return };
    let questions = questions();
    let mut answers = oracle.ask(&input(&questions)).into_iter();
    let mut wrong = String::new();
    let mut refused = 0;
    for (pattern, subjects) in &questions {
        let compiled = Pattern::new(pattern);
        refused += usize::from(matches!(compiled, Err(RegexError::Unsupported { .. })));
        let disagreed = subjects.iter().zip(&mut answers).filter_map(|(subject, answer)| {
            let ours = compiled.clone().and_then(|compiled| compiled.matches(subject));
            let known = differs_on_purpose(pattern, subject);
            (!known && !agrees(answer, &ours)).then_some((subject, answer, ours))
        });
        let disagreed: Vec<_> = disagreed.collect();
        if let Some((subject, answer, ours)) = disagreed.first() {
            writeln!(wrong, "{pattern:?} on {subject:?}: java {answer}, ours {ours:?}")
                .expect("string");
        }
    }
    assert_eq!(answers.next(), None);
    assert!(wrong.is_empty(), "0 no, 1 yes, 2 syntax error\n{wrong}");
    assert!(refused * 20 < questions.len(), "{refused} of {} refused", questions.len());
}

/// Words are ASCII in JDK 19 and later, and here; in JDK 17 `\b` knows other letters.
fn differs_on_purpose(pattern: &str, subject: &str) -> bool {
    !subject.is_ascii() && (pattern.contains(r"\b") || pattern.contains(r"\B"))
}

fn agrees(java: u8, ours: &Result<bool, RegexError>) -> bool {
    match (java, ours) {
        (0 | 1, Ok(matched)) => *matched == (java == 1),
        (0 | 1, Err(RegexError::Unsupported { .. })) => true,
        (2, Err(RegexError::Syntax { .. } | RegexError::Unsupported { .. })) => true,
        (3, _) => true,
        _ => false,
    }
}

fn input(questions: &[(String, Vec<String>)]) -> Vec<u8> {
    let count: usize = questions.iter().map(|(_, subjects)| subjects.len()).sum();
    let mut input = u32::try_from(count).expect("count").to_be_bytes().to_vec();
    for (pattern, subjects) in questions {
        for text in subjects.iter().flat_map(|subject| [pattern, subject]) {
            java::put(&mut input, text.as_bytes());
        }
    }
    input
}

/// Patterns, each with the names to try it on.
fn questions() -> Vec<(String, Vec<String>)> {
    let subjects: Vec<String> = SUBJECTS.iter().map(|subject| (*subject).to_owned()).collect();
    let mut questions: Vec<_> =
        FIXED.iter().map(|pattern| ((*pattern).to_owned(), subjects.clone())).collect();
    let mut rng = Rng::with_seed(20_261_121);
    for _ in 0..RANDOM_PATTERNS {
        let mut random = Random { rng: &mut rng, groups: 0 };
        let pattern = random.alternation(3);
        let subjects = (0..SUBJECTS_OF_EACH).map(|_| subject(&mut rng)).collect();
        questions.push((pattern, subjects));
    }
    questions
}

fn subject(rng: &mut Rng) -> String {
    let alphabet: Vec<char> = "aaabbbAB12._-\n é".chars().collect();
    (0..rng.usize(0..7)).map(|_| alphabet[rng.usize(0..alphabet.len())]).collect()
}

/// Makes patterns that are mostly valid, out of everything that is translated.
struct Random<'a> {
    rng: &'a mut Rng,
    groups: usize,
}

impl Random<'_> {
    fn one<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.rng.usize(0..texts.len())]
    }

    fn alternation(&mut self, depth: usize) -> String {
        let branches = if self.rng.u8(0..4) == 0 { 2 } else { 1 };
        (0..branches).map(|_| self.sequence(depth)).collect::<Vec<_>>().join("|")
    }

    fn sequence(&mut self, depth: usize) -> String {
        (0..self.rng.usize(0..4)).map(|_| self.atom(depth) + self.quantifier()).collect()
    }

    fn quantifier(&mut self) -> &'static str {
        const QUANTIFIERS: &[&str] = &[
            "*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "+?", "??", "{1,2}?", "*+", "++", "?+",
            "{1,2}+",
        ];
        match self.rng.u8(0..3) {
            0 => self.one(QUANTIFIERS),
            _ => "",
        }
    }

    fn atom(&mut self, depth: usize) -> String {
        const PLAIN: &[&str] = &[
            "a",
            "b",
            "1",
            "A",
            "é",
            "_",
            "-",
            ".",
            ".",
            r"\.",
            r"\d",
            r"\w",
            r"\W",
            r"\s",
            r"\p{Lower}",
            r"\P{Alpha}",
            r"\x61",
            r"\Qa.\E",
            r"\b",
            r"\B",
            "^",
            "$",
            "}",
            "]",
            r"\n",
            r"\z",
            r"\Z",
            "(?i)",
            "(?-i)",
            "(?s)",
        ];
        match self.rng.u8(0..12) {
            0..7 => self.one(PLAIN).to_owned(),
            7 | 8 => self.class(2),
            _ if depth == 0 => "a".to_owned(),
            9 => {
                let open =
                    self.one(&["(?:", "(?i:", "(?>", "(?=", "(?!", "(?<=a|", "(?<!b|", "(?s-i:"]);
                // Java wants to know how long a look-behind can be.
                let behind = open.starts_with("(?<");
                let body = if behind { "b.".to_owned() } else { self.alternation(depth - 1) };
                format!("{open}{body})")
            }
            10 if self.groups > 0 && self.rng.bool() => format!(r"(?-i:\{})", self.groups),
            _ => {
                let body = self.alternation(depth - 1);
                self.groups += 1;
                format!("({body})")
            }
        }
    }

    fn class(&mut self, depth: usize) -> String {
        let open = self.one(&["[", "[^"]);
        let mut body: String = (0..self.rng.usize(1..4)).map(|_| self.class_item(depth)).collect();
        if self.rng.u8(0..4) == 0 {
            body += "&&";
            body += &self.class_item(depth);
        }
        format!("{open}{body}]")
    }

    fn class_item(&mut self, depth: usize) -> String {
        const ITEMS: &[&str] = &[
            "a",
            "b",
            "a-b",
            "A-Z",
            r"\d",
            r"\W",
            r"\.",
            ".",
            "_",
            r"\-",
            r"\p{Upper}",
            r"\Q-]\E",
            "é",
            "0-9",
            "*",
        ];
        match depth > 0 && self.rng.u8(0..5) == 0 {
            true => self.class(depth - 1),
            false => self.one(ITEMS).to_owned(),
        }
    }
}
