//! Any text as a Java pattern: translated or refused, and matching ends.
#![no_main]

use engine::policy::java_regex::Pattern;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    let (pattern, subject) = data.split_once('\n').unwrap_or((data, "orders.eu-1"));
    if let Ok(compiled) = Pattern::new(pattern) {
        assert_eq!(compiled.as_str(), pattern);
        let _ = compiled.matches(subject);
        let _ = compiled.matches("");
    }
});
