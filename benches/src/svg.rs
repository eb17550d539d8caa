//! Bar charts as SVG, with nothing but what a browser knows: readable on a light and on a dark page.

use std::fmt::Write;

use crate::figure::short;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 180.0;
const RIGHT: f64 = 90.0;
const BAR: f64 = 15.0;
const GAP: f64 = 16.0;
const TOP: f64 = 66.0;
const COLORS: [&str; 6] = ["#2f7ed8", "#d9822b", "#8a5fb5", "#3b9c6b", "#c14b5a", "#7a7a7a"];
/// A logarithmic axis begins a bit below the smallest value, so that this too has a bar.
const BELOW: f64 = 0.6;

/// Groups of bars, one bar of each series in every group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bars {
    pub(crate) title: String,
    /// What the values are, below the title.
    pub(crate) unit: String,
    pub(crate) groups: Vec<String>,
    /// A name and one value for each group; none where nothing was measured.
    pub(crate) series: Vec<(String, Vec<Option<f64>>)>,
    pub(crate) logarithmic: bool,
}

impl Bars {
    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let group = self.series.len() as f64 * BAR + GAP;
        let height = TOP + group * self.groups.len() as f64 + 8.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <style>text{{fill:#24292f}}@media(prefers-color-scheme:dark){{text{{fill:#d0d7de}}}}</style>\n"
        );
        put(&mut svg, 8.0, 20.0, "font-size=\"15\" font-weight=\"bold\"", &self.title);
        put(&mut svg, 8.0, 37.0, "opacity=\"0.75\"", &self.unit);
        let mut x = LEFT;
        // A single series needs no name.
        let named = self.series.iter().filter(|(name, _)| !name.is_empty());
        for ((name, _), color) in named.zip(COLORS.iter().cycle()) {
            box_(&mut svg, x, 46.0, 10.0, color, 10.0);
            put(&mut svg, x + 14.0, 55.0, "", name);
            x += 30.0 + 6.6 * name.chars().count() as f64;
        }
        for (at, name) in self.groups.iter().enumerate() {
            let y = TOP + group * at as f64;
            let middle = y + (group - GAP) / 2.0 + 4.0;
            put(&mut svg, LEFT - 10.0, middle, "text-anchor=\"end\"", name);
            for (nth, (_, values)) in self.series.iter().enumerate() {
                let Some(value) = values.get(at).copied().flatten() else { continue };
                let y = y + BAR * nth as f64;
                let width = self.length(value);
                box_(&mut svg, LEFT, y, width, COLORS[nth % COLORS.len()], BAR - 2.0);
                put(&mut svg, LEFT + width + 5.0, y + 10.5, "font-size=\"11\"", &short(value));
            }
        }
        svg + "</svg>\n"
    }

    fn length(&self, value: f64) -> f64 {
        let values = self.series.iter().flat_map(|(_, values)| values.iter().flatten());
        let positive = values.copied().filter(|value| *value > 0.0);
        let (least, most) = positive
            .fold((f64::INFINITY, f64::MIN_POSITIVE), |(low, high), next| {
                (low.min(next), high.max(next))
            });
        let share = if self.logarithmic {
            let floor = least * BELOW;
            (value.max(floor) / floor).ln() / (most / floor).ln()
        } else {
            value / most
        };
        (share * (WIDTH - LEFT - RIGHT)).max(1.0)
    }
}

fn put(svg: &mut String, x: f64, y: f64, style: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    // Writing to a string cannot fail.
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{text}</text>");
}

fn box_(svg: &mut String, x: f64, y: f64, width: f64, color: &str, height: f64) {
    let at = format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"");
    let _ = writeln!(svg, "<rect {at} fill=\"{color}\"/>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_is_that_of_the_largest_value_and_nothing_breaks_the_markup() {
        let mut bars = Bars {
            title: "a < b & c".to_owned(),
            groups: vec!["one".to_owned(), "two".to_owned()],
            series: vec![
                ("x".to_owned(), vec![Some(1.0), None]),
                ("y".to_owned(), vec![Some(100.0), Some(10.0)]),
            ],
            ..Bars::default()
        };
        assert_eq!(bars.length(100.0), WIDTH - LEFT - RIGHT);
        assert!(bars.length(1.0) < 10.0);
        bars.logarithmic = true;
        assert!(bars.length(1.0) > 40.0 && bars.length(10.0) > 250.0);
        let svg = bars.svg();
        assert!(svg.contains("a &lt; b &amp; c") && svg.ends_with("</svg>\n"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 5);
    }
}
