//! The place in a page where a report is kept: between two marks, with the plots in the directory named like the page.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::page::Page;
use super::write_plots;

const BEGIN: &str = "<!-- report: begin -->\n";
const END: &str = "<!-- report: end -->";

/// Whether the file has a place for a report.
///
/// # Errors
/// It has not, or it cannot be read.
pub(super) fn check(file: &Path) -> Result<()> {
    replace(&read(file)?, "").map(|_| ()).with_context(|| file.display().to_string())
}

/// Puts a report there.
///
/// # Errors
/// The file has no place for it, or cannot be read or written.
pub(super) fn put(file: &Path, page: &Page) -> Result<()> {
    let name = file.file_stem().context("a file has a name")?;
    let dir = file.with_file_name(name);
    write_plots(page, &dir)?;
    let report = page.text(&format!("{}/", name.to_string_lossy()));
    Ok(fs::write(file, replace(&read(file)?, &report)?)?)
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| file.display().to_string())
}

/// The page with `report` between the marks instead of what was there.
fn replace(page: &str, report: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("no line {BEGIN:?}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no {END:?} after it"))?;
    Ok(format!("{before}{BEGIN}\n{report}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let once = replace(&page, "new\n").expect("it has marks");
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n\n{END}\nafter\n"));
        assert_eq!(replace(&once, "new\n").expect("it has marks"), once);
        assert!(replace("no marks", "new").is_err());
        assert!(replace(&format!("{END}\n{BEGIN}"), "new").is_err());
    }
}
