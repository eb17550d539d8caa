//! Include and exclude lists: `topics`, `groups`, `config.properties.exclude`.
//!
//! As `DefaultTopicFilter` and `DefaultConfigPropertyFilter` do: the entries of a list are joined
//! with `|` into one pattern (an inline flag of one entry reaches into the next), a name must match
//! as a whole, an empty list matches nothing, and exclude beats include.

use super::java_regex::{Pattern, RegexError};

/// A list of Java patterns, joined into one.
#[derive(Debug, Clone)]
pub struct PatternList {
    /// None for an empty list, which matches nothing.
    pattern: Option<Pattern>,
}

impl PatternList {
    /// Compiles the entries of a list, as `MirrorUtils.compilePatternList` does.
    pub fn new<S: AsRef<str>>(entries: &[S]) -> Result<Self, RegexError> {
        let entries: Vec<&str> = entries.iter().map(AsRef::as_ref).collect();
        let pattern = match entries.is_empty() {
            true => None,
            false => Some(Pattern::new(&entries.join("|"))?),
        };
        Ok(Self { pattern })
    }

    /// Whether one of the entries matches the whole name.
    pub fn matches(&self, name: &str) -> Result<bool, RegexError> {
        self.pattern.as_ref().map_or(Ok(false), |pattern| pattern.matches(name))
    }
}

/// Which topics (or groups) are selected: included and not excluded.
#[derive(Debug, Clone)]
pub struct NameFilter {
    include: PatternList,
    exclude: PatternList,
}

impl NameFilter {
    /// A filter from its two lists.
    pub fn new(include: PatternList, exclude: PatternList) -> Self {
        Self { include, exclude }
    }

    /// Whether the name is selected.
    pub fn selects(&self, name: &str) -> Result<bool, RegexError> {
        Ok(self.include.matches(name)? && !self.exclude.matches(name)?)
    }
}

/// Which properties of a topic are carried over to the target: all but the excluded ones.
#[derive(Debug, Clone)]
pub struct ConfigPropertyFilter {
    exclude: PatternList,
}

impl ConfigPropertyFilter {
    /// A filter from `config.properties.exclude`.
    pub fn new(exclude: PatternList) -> Self {
        Self { exclude }
    }

    /// Whether the property is carried over.
    pub fn carries(&self, property: &str) -> Result<bool, RegexError> {
        Ok(!self.exclude.matches(property)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> NameFilter {
        NameFilter::new(
            PatternList::new(include).expect("include"),
            PatternList::new(exclude).expect("exclude"),
        )
    }

    #[test]
    fn exclude_beats_include() {
        let filter = filter(&["orders.*", "payments"], &[".*-tmp"]);
        assert_eq!(filter.selects("orders-eu"), Ok(true));
        assert_eq!(filter.selects("payments"), Ok(true));
        assert_eq!(filter.selects("payments2"), Ok(false));
        assert_eq!(filter.selects("orders-tmp"), Ok(false));
    }

    #[test]
    fn empty_lists_match_nothing() {
        assert_eq!(filter(&[], &[]).selects("a"), Ok(false));
        assert_eq!(filter(&[".*"], &[]).selects("a"), Ok(true));
        let carries_all = ConfigPropertyFilter::new(PatternList::new::<&str>(&[]).expect("empty"));
        assert_eq!(carries_all.carries("retention.ms"), Ok(true));
    }

    #[test]
    fn a_flag_of_one_entry_reaches_the_next() {
        assert_eq!(filter(&["(?i)a", "b"], &[]).selects("B"), Ok(true));
        assert_eq!(filter(&["a", "(?i)b"], &[]).selects("A"), Ok(false));
    }
}
