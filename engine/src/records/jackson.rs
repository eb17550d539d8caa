//! JSON as Connect's `JsonConverter` writes it: Jackson's escaping, members in the order of a Java
//! `HashMap`.

use serde_json::{Map, Value};

/// Writes a value without blanks.
pub(super) fn write(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                write(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => write_object(out, members),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

fn write_object(out: &mut String, members: &Map<String, Value>) {
    out.push('{');
    for (i, name) in hash_map_order(members).into_iter().enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        write_string(out, name);
        out.push(':');
        write(out, members.get(name).unwrap_or(&Value::Null));
    }
    out.push('}');
}

/// Jackson escapes quotes, backslashes and control characters, and writes what lies beyond the
/// basic plane as two escaped surrogates (`UTF8JsonGenerator`).
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x08' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\x0C' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' || u32::from(c) > 0xFFFF => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04X}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The order in which `java.util.HashMap` iterates: by bucket, and within a bucket as inserted.
fn hash_map_order(members: &Map<String, Value>) -> Vec<&String> {
    // A table of 16 buckets doubles when it is more than three quarters full.
    let mut buckets: u32 = 16;
    while members.len() > (buckets as usize) * 3 / 4 {
        buckets *= 2;
    }
    let mut names: Vec<&String> = members.keys().collect();
    names.sort_by_key(|name| {
        let hash = name
            .encode_utf16()
            .fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
        (hash ^ (hash >> 16)) & (buckets - 1)
    });
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str) -> String {
        let mut out = String::new();
        write(&mut out, &serde_json::from_str(json).expect("test JSON"));
        out
    }

    #[test]
    fn members_come_in_hash_map_order() {
        assert_eq!(
            written(r#"{"topic":"t","foo":"bar","partition":0,"cluster":"A"}"#),
            r#"{"cluster":"A","partition":0,"foo":"bar","topic":"t"}"#
        );
        assert_eq!(
            written(r#"{"group":"g","topic":"t","partition":1}"#),
            r#"{"partition":1,"topic":"t","group":"g"}"#
        );
        assert_eq!(written(r#"{"z":1,"offset":5}"#), r#"{"offset":5,"z":1}"#);
    }

    #[test]
    fn strings_are_escaped_as_jackson_does() {
        assert_eq!(
            written(r#""a\"\\/\b\t\n\f\r\u001f\u007fé日😀""#),
            "\"a\\\"\\\\/\\b\\t\\n\\f\\r\\u001F\u{7f}é日\\uD83D\\uDE00\""
        );
    }
}
