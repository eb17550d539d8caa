//! The demo as a person starts it: it mirrors, and it says that what arrived is right.

use std::process::Command;

#[test]
fn the_demo_verifies_what_it_mirrored() {
    let output = Command::new(env!("CARGO_BIN_EXE_kmirror"))
        .args(["demo", "--seconds", "1", "--rate", "2000", "--json"])
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(result["verified"], true, "{result}");
    assert_eq!(result["source_records"], result["target_records"]);
    assert!(result["source_records"].as_u64().is_some_and(|records| records >= 1_000), "{result}");
    assert!(result["first_record_ms"].as_f64().is_some(), "{result}");
}

#[test]
fn the_table_names_every_partition() {
    let output = Command::new(env!("CARGO_BIN_EXE_kmirror"))
        .args(["demo", "--seconds", "1", "--rate", "1000"])
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    for partition in ["orders-0", "orders-2", "payments-1", "source.payments-1"] {
        assert!(text.contains(partition), "{partition} is not in:\n{text}");
    }
    assert!(text.contains("verified: every record arrived once, in order, unchanged"), "{text}");
}
