//! Tables in Markdown, lined up so that they can be read as they are.

/// A row of a table.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A table whose first row is its head; a row that is shorter than another has empty cells at its end.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |at: usize| rows.iter().filter_map(move |row| Some(row.get(at)?.chars().count())).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cell = |(at, width): (usize, &usize)| {
            let text = row.get(at).map_or("", String::as_str);
            format!("| {text:<width$} ")
        };
        widths.iter().enumerate().map(cell).collect::<String>() + "|\n"
    };
    let Some((head, body)) = rows.split_first() else { return String::new() };
    let rule: String = widths.iter().map(|width| format!("|{}", "-".repeat(width + 2))).collect();
    line(head) + &rule + "|\n" + &body.iter().map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_below_a_head_and_its_rule() {
        let rows = [row(["name", "n"]), row(["ä", "1234"]), row(["b"])];
        let text = "| name | n    |\n|------|------|\n| ä    | 1234 |\n| b    |      |\n";
        assert_eq!(table(&rows), text);
    }
}
