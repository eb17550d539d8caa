//! Looks through a response before it is decoded.
//!
//! `kafka-protocol` reserves memory for as many array items as the message claims to have, and the
//! process dies when that fails. So each response is first walked by its schema, without any
//! allocation: every count, length and tagged field must fit into the bytes that are there.
//!
//! A schema is a short string, one sign per field in the order of the wire:
//!
//! | sign | field | | sign | field |
//! |---|---|---|---|---|
//! | `b` | int8, boolean | | `s` | string, null allowed |
//! | `h` | int16 | | `y` | bytes, null allowed |
//! | `i` | int32 | | `*x` | array of the primitive `x` |
//! | `l`, `d` | int64, float64 | | `[..]` | array of structures |
//! | `u` | uuid | | `(..)`, `?(..)` | structure, nullable structure |
//!
//! A field may carry the versions it exists in: `3+`, `-7`, `8-10`. The known tagged fields of a
//! structure stand last, as `<0:field 1:field>`. Lengths are compact and structures end with
//! tagged fields exactly in the flexible versions (KIP-482).

use std::iter::Peekable;
use std::str::Chars;

use crate::wire::primitives::{Cursor, WireError};

/// No cluster has this many topics, partitions, groups or members in one answer; a hostile peer
/// could otherwise turn a frame of tiny items into many times its size in memory.
const MAX_ITEMS: usize = 1 << 21;

/// The schema of one response, for all its versions.
#[derive(Debug)]
pub struct Schema {
    root: Structure,
}

#[derive(Debug, Default)]
struct Structure {
    fields: Vec<Field>,
    tagged: Vec<(u32, Field)>,
}

#[derive(Debug)]
struct Field {
    kind: Kind,
    min_version: i16,
    max_version: i16,
}

#[derive(Debug)]
enum Kind {
    Fixed(usize),
    String,
    Bytes,
    Primitives(Box<Self>),
    Structures(Structure),
    One(Structure),
    Nullable(Structure),
}

impl Field {
    fn exists_in(&self, version: i16) -> bool {
        (self.min_version..=self.max_version).contains(&version)
    }
}

impl Schema {
    /// Reads a schema. The schemas are constants of this crate, so a mistake in one is a bug.
    ///
    /// # Panics
    /// On a sign that is not in the table above.
    pub fn parse(text: &str) -> Self {
        let mut signs = text.chars().peekable();
        let root = structure(&mut signs);
        assert!(signs.next().is_none(), "unbalanced schema {text:?}");
        Self { root }
    }

    /// Checks that `body` is one message of this schema and nothing else.
    pub fn check(&self, body: &[u8], version: i16, flexible: bool) -> Result<(), WireError> {
        let mut cursor = Cursor::new(body);
        let mut walk = Walk { version, flexible, items_left: MAX_ITEMS };
        walk.structure(&self.root, &mut cursor)?;
        cursor.finish()
    }
}

struct Walk {
    version: i16,
    flexible: bool,
    items_left: usize,
}

impl Walk {
    fn structure(&mut self, one: &Structure, cursor: &mut Cursor<'_>) -> Result<(), WireError> {
        for field in &one.fields {
            if field.exists_in(self.version) {
                self.kind(&field.kind, cursor)?;
            }
        }
        if !self.flexible {
            return Ok(());
        }
        cursor.tagged(|tag, content| {
            self.charge(1)?;
            let known = one.tagged.iter().find(|(known, _)| *known == tag);
            let Some((_, field)) = known.filter(|(_, field)| field.exists_in(self.version)) else {
                return Ok(false);
            };
            self.kind(&field.kind, content)?;
            Ok(true)
        })
    }

    fn kind(&mut self, kind: &Kind, cursor: &mut Cursor<'_>) -> Result<(), WireError> {
        match kind {
            Kind::Fixed(bytes) => cursor.take(*bytes).map(drop),
            Kind::String if self.flexible => cursor.compact_str().map(drop),
            Kind::Bytes if self.flexible => cursor.compact_bytes().map(drop),
            Kind::String => plain(cursor, |cursor| cursor.i16().map(i64::from)),
            Kind::Bytes => plain(cursor, |cursor| cursor.i32().map(i64::from)),
            Kind::Primitives(item) => {
                for _ in 0..self.count(cursor)? {
                    self.kind(item, cursor)?;
                }
                Ok(())
            }
            Kind::Structures(item) => {
                for _ in 0..self.count(cursor)? {
                    self.structure(item, cursor)?;
                }
                Ok(())
            }
            Kind::One(one) => self.structure(one, cursor),
            Kind::Nullable(one) => match cursor.i8()? {
                present if present < 0 => Ok(()),
                _ => self.structure(one, cursor),
            },
        }
    }

    fn count(&mut self, cursor: &mut Cursor<'_>) -> Result<usize, WireError> {
        let count = if self.flexible { cursor.compact_count() } else { cursor.plain_count() };
        let count = count?.unwrap_or(0);
        self.charge(count)?;
        Ok(count)
    }

    fn charge(&mut self, items: usize) -> Result<(), WireError> {
        let left = self.items_left.checked_sub(items);
        self.items_left = left.ok_or(WireError::Items { limit: MAX_ITEMS })?;
        Ok(())
    }
}

fn plain(
    cursor: &mut Cursor<'_>,
    length: impl FnOnce(&mut Cursor<'_>) -> Result<i64, WireError>,
) -> Result<(), WireError> {
    let at = cursor.at();
    match length(cursor)? {
        -1 => Ok(()),
        length => {
            let bytes = usize::try_from(length).map_err(|_| WireError::Length { at, length })?;
            cursor.take(bytes).map(drop)
        }
    }
}

type Signs<'a> = Peekable<Chars<'a>>;

fn structure(signs: &mut Signs<'_>) -> Structure {
    let mut parsed = Structure::default();
    loop {
        match signs.peek() {
            Some(' ') => {
                signs.next();
            }
            Some('<') => {
                signs.next();
                parsed.tagged = tagged(signs);
            }
            None | Some(']' | ')') => return parsed,
            Some(_) => parsed.fields.push(field(signs)),
        }
    }
}

fn tagged(signs: &mut Signs<'_>) -> Vec<(u32, Field)> {
    let mut fields = Vec::new();
    while signs.next_if_eq(&'>').is_none() {
        let tag = number(signs).expect("a tagged field starts with its tag");
        expect(signs, ':');
        fields.push((u32::from(tag.unsigned_abs()), field(signs)));
        signs.next_if_eq(&' ');
    }
    fields
}

fn field(signs: &mut Signs<'_>) -> Field {
    let kind = kind(signs);
    let min = number(signs);
    let open = signs.next_if_eq(&'+').is_some();
    let ranged = signs.next_if_eq(&'-').is_some();
    let max = if ranged { number(signs) } else { min.filter(|_| !open) };
    Field { kind, min_version: min.unwrap_or(0), max_version: max.unwrap_or(i16::MAX) }
}

fn kind(signs: &mut Signs<'_>) -> Kind {
    match signs.next() {
        Some('b') => Kind::Fixed(1),
        Some('h') => Kind::Fixed(2),
        Some('i') => Kind::Fixed(4),
        Some('l' | 'd') => Kind::Fixed(8),
        Some('u') => Kind::Fixed(16),
        Some('s') => Kind::String,
        Some('y') => Kind::Bytes,
        Some('*') => Kind::Primitives(Box::new(kind(signs))),
        Some('[') => Kind::Structures(closed(signs, ']')),
        Some('(') => Kind::One(closed(signs, ')')),
        Some('?') => {
            expect(signs, '(');
            Kind::Nullable(closed(signs, ')'))
        }
        other => panic!("{other:?} is no sign of a schema"),
    }
}

fn closed(signs: &mut Signs<'_>, end: char) -> Structure {
    let inner = structure(signs);
    expect(signs, end);
    inner
}

fn expect(signs: &mut Signs<'_>, sign: char) {
    assert_eq!(signs.next(), Some(sign), "schema is missing a sign");
}

fn number(signs: &mut Signs<'_>) -> Option<i16> {
    let mut value = None;
    while let Some(digit) = signs.peek().and_then(|sign| sign.to_digit(10)) {
        value = Some(value.unwrap_or(0) * 10 + digit as i16);
        signs.next();
    }
    value
}

#[cfg(test)]
pub(crate) mod testing {
    use bytes::{BufMut, BytesMut};

    use super::*;
    use crate::wire::primitives::{put_compact_length, put_uvarint};

    /// A message with two items in every array and every known tagged field set.
    pub(crate) fn sample(schema: &Schema, version: i16, flexible: bool) -> Vec<u8> {
        let mut out = BytesMut::new();
        Sampler { version, flexible, turn: 0 }.structure(&schema.root, &mut out);
        out.to_vec()
    }

    struct Sampler {
        version: i16,
        flexible: bool,
        turn: u8,
    }

    impl Sampler {
        fn structure(&mut self, one: &Structure, out: &mut BytesMut) {
            let version = self.version;
            for field in one.fields.iter().filter(|field| field.exists_in(version)) {
                self.kind(&field.kind, out);
            }
            if !self.flexible {
                return;
            }
            let tagged = one.tagged.iter().filter(|(_, field)| field.exists_in(version));
            let tagged: Vec<_> = tagged.collect();
            put_uvarint(out, tagged.len() as u32);
            for (tag, field) in tagged {
                let mut content = BytesMut::new();
                self.kind(&field.kind, &mut content);
                put_uvarint(out, *tag);
                put_uvarint(out, content.len() as u32);
                out.put_slice(&content);
            }
        }

        fn kind(&mut self, kind: &Kind, out: &mut BytesMut) {
            self.turn = self.turn.wrapping_add(1);
            match kind {
                Kind::Fixed(1) => out.put_u8(1),
                Kind::Fixed(bytes) => out.put_bytes(self.turn & 0x3f, *bytes),
                Kind::String | Kind::Bytes => {
                    let text = format!("text {}", self.turn);
                    match (self.flexible, matches!(kind, Kind::String)) {
                        (true, _) => put_compact_length(out, text.len()),
                        (false, true) => out.put_i16(text.len() as i16),
                        (false, false) => out.put_i32(text.len() as i32),
                    }
                    out.put_slice(text.as_bytes());
                }
                Kind::Primitives(item) => {
                    self.two(out);
                    self.kind(item, out);
                    self.kind(item, out);
                }
                Kind::Structures(item) => {
                    self.two(out);
                    self.structure(item, out);
                    self.structure(item, out);
                }
                Kind::One(one) => self.structure(one, out),
                Kind::Nullable(one) => {
                    out.put_i8(1);
                    self.structure(one, out);
                }
            }
        }

        fn two(&self, out: &mut BytesMut) {
            if self.flexible { put_compact_length(out, 2) } else { out.put_i32(2) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_choose_the_fields() {
        let schema = Schema::parse("i3+ h-1 b2 l2-3");
        assert_eq!(schema.check(&[0; 2], 0, false), Ok(()));
        assert_eq!(schema.check(&[0; 9], 2, false), Ok(()));
        assert_eq!(schema.check(&[0; 12], 3, false), Ok(()));
        assert_eq!(schema.check(&[0; 4], 4, false), Ok(()));
        assert_eq!(schema.check(&[0; 5], 4, false), Err(WireError::Trailing { bytes: 1 }));
    }

    #[test]
    fn hostile_counts_are_refused_in_both_encodings() {
        let schema = Schema::parse("[h s]");
        let plain = schema.check(&[0x7f, 0xff, 0xff, 0xff], 0, false);
        assert!(matches!(plain, Err(WireError::Count { count: 0x7fff_ffff, .. })), "{plain:?}");
        let compact = schema.check(&[0xff, 0xff, 0xff, 0xff, 0x0f], 0, true);
        assert!(matches!(compact, Err(WireError::Count { .. })), "{compact:?}");
        let negative = schema.check(&(-2i32).to_be_bytes(), 0, false);
        assert_eq!(negative, Err(WireError::Length { at: 0, length: -2 }));
    }

    #[test]
    fn known_tags_are_walked_and_unknown_ones_skipped() {
        let schema = Schema::parse("<1:[h]>");
        assert_eq!(schema.check(&[1, 9, 2, 0xff, 0xff], 0, true), Ok(()));
        let hostile = [1, 1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(schema.check(&hostile, 0, true), Err(WireError::Count { .. })));
        let longer = [1, 1, 2, 1, 0];
        let refused = Err(WireError::TaggedSize { tag: 1, left: 1 });
        assert_eq!(schema.check(&longer, 0, true), refused);
        assert!(matches!(schema.check(&[65], 0, true), Err(WireError::TaggedFields { .. })));
    }

    #[test]
    fn millions_of_tiny_items_are_refused() {
        let schema = Schema::parse("[*b]");
        let mut body = (MAX_ITEMS as i32 + 1).to_be_bytes().to_vec();
        body.resize(body.len() + 4 * (MAX_ITEMS + 1), 0);
        assert_eq!(schema.check(&body, 0, false), Err(WireError::Items { limit: MAX_ITEMS }));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let schema = Schema::parse("h [s y *i [u b]2+ ?(s) <0:[s h] 3:l>] (i d)");
            for version in 0..4 {
                let _ = schema.check(&bytes, version, version > 1);
            }
        }
    }
}
