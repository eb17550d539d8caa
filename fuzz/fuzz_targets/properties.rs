//! Any bytes as a properties file: every entry and every error has its line.
#![no_main]

use engine::config::properties::{parse_bytes, parse_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let lines = 1 + data.iter().filter(|byte| matches!(**byte, b'\n' | b'\r')).count();
    let (entries, errors) = parse_bytes(data);
    for line in entries.iter().map(|entry| entry.line).chain(errors.iter().map(|e| e.line())) {
        assert!(line >= 1 && line as usize <= lines);
    }
    if data.is_ascii() {
        let text = std::str::from_utf8(data).expect("ASCII");
        assert_eq!(parse_text(text), (entries, errors));
    } else {
        parse_text(&String::from_utf8_lossy(data));
    }
});
