//! Our lexer reads what `java.util.Properties` reads, on random bytes that are rich in syntax.

mod java;

use std::collections::BTreeMap;

use engine::config::properties::{SyntaxError, parse_bytes};
use fastrand::Rng;

const FILES: usize = 20_000;

#[test]
fn entries_are_those_of_java() {
    let Some(oracle) = java::Oracle::compiled("java_properties") else { return };
    let mut rng = Rng::with_seed(20_261_121);
    let files: Vec<Vec<u8>> = (0..FILES).map(|_| file(&mut rng)).collect();
    let mut input = u32::try_from(FILES).expect("count").to_be_bytes().to_vec();
    for file in &files {
        java::put(&mut input, file);
    }
    let answers = oracle.ask(&input);
    let mut rest = answers.as_slice();
    let (mut read, mut refused) = (0, 0);
    for file in &files {
        let shown = String::from_utf8_lossy(file);
        let (entries, errors) = parse_bytes(file);
        let theirs = answer(&mut rest);
        if errors.iter().any(|error| matches!(error, SyntaxError::LoneSurrogate { .. })) {
            continue;
        }
        assert_eq!(theirs.is_none(), !errors.is_empty(), "{shown:?}: {errors:?}");
        let Some(theirs) = theirs else {
            refused += 1;
            continue;
        };
        let ours: BTreeMap<_, _> =
            entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        assert_eq!(ours, theirs, "{shown:?}");
        read += 1;
    }
    assert!(read > FILES / 2 && refused > FILES / 100, "{read} read, {refused} refused");
}

fn file(rng: &mut Rng) -> Vec<u8> {
    const PIECES: &[&str] = &[
        "a",
        "b",
        "key",
        "=",
        "=",
        ":",
        " ",
        "\t",
        "\x0C",
        "\n",
        "\n",
        "\r",
        "\r\n",
        "\\",
        "\\",
        "\\\n",
        "\\\r\n",
        "\\\r",
        "#",
        "!",
        "\\u0041",
        "\\u00e4",
        "\\uD83D\\uDE00",
        "\\u00",
        "\\n",
        "\\t",
        "\\=",
        "\\:",
        "\\ ",
        "\\#",
        ".*",
        "->",
        ",",
    ];
    let mut file = Vec::new();
    for _ in 0..rng.usize(0..14) {
        match rng.u8(0..30) {
            0 => file.push(rng.u8(128..)),
            _ => file.extend(PIECES[rng.usize(0..PIECES.len())].as_bytes()),
        }
    }
    file
}

/// The next file's entries; none if Java refused the file.
fn answer(rest: &mut &[u8]) -> Option<BTreeMap<String, String>> {
    let count = i32::from_be_bytes(take(rest, 4).try_into().expect("four bytes"));
    let count = usize::try_from(count).ok()?;
    Some((0..count).map(|_| (text(rest), text(rest))).collect())
}

fn text(rest: &mut &[u8]) -> String {
    let length = u32::from_be_bytes(take(rest, 4).try_into().expect("four bytes"));
    String::from_utf8(take(rest, length as usize).to_vec()).expect("UTF-8")
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at_checked(length).expect("a whole answer");
    *rest = left;
    taken
}
