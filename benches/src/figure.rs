//! Figures as they are printed: over several rounds, in MiB, with three digits that count.

use serde_json::{Value, json};

/// One figure, measured once a round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(Vec<f64>);

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }

    /// The middle value; of an even number the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let upper = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[upper],
            _ => f64::midpoint(sorted[upper - 1], sorted[upper]),
        }
    }

    /// `median (min-max)`.
    pub(crate) fn text(&self, decimals: usize) -> String {
        let (median, min, max) = (self.median(), self.min(), self.max());
        format!("{median:.decimals$} ({min:.decimals$}-{max:.decimals$})")
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "median": self.median(), "min": self.min(), "max": self.max(), "all": self.0 })
    }
}

/// Three figures that count.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let mut series = Series::default();
        [4.0, 1.0, 2.0].iter().for_each(|value| series.push(*value));
        assert_eq!(series.text(1), "2.0 (1.0-4.0)");
        series.push(3.0);
        assert_eq!(series.median(), 2.5);
    }
}
