//! `docs/config.md` says what the table of keys says.

use std::fs;
use std::path::PathBuf;

use engine::config::docs;

#[test]
fn config_md_is_fresh() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    if std::env::var_os("KMIRROR_UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("docs")).expect("docs");
        fs::write(&path, docs::markdown()).expect("docs/config.md");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == docs::markdown(),
        "docs/config.md is not what the table says: KMIRROR_UPDATE=1 cargo test -p engine writes it"
    );
}
