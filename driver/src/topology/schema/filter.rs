//! Which keyspaces are read in full.

/// Which keyspaces have their contents read; of the others only name and replication are, which routing needs.
///
/// Default: all. A pattern is a name in which `*` stands for any characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyspaceFilter {
    only: Option<Vec<String>>,
    except: Vec<String>,
}

impl KeyspaceFilter {
    /// Every keyspace.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// No keyspace: schema metadata is off.
    #[must_use]
    pub fn none() -> Self {
        Self { only: Some(Vec::new()), except: Vec::new() }
    }

    /// The keyspaces that match one of the patterns.
    #[must_use]
    pub fn only<S: Into<String>>(patterns: impl IntoIterator<Item = S>) -> Self {
        Self { only: Some(patterns.into_iter().map(Into::into).collect()), except: Vec::new() }
    }

    /// Leaves out the keyspaces that match one of the patterns, whatever else was said.
    #[must_use]
    pub fn except<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.except.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Whether a keyspace has its contents read.
    #[must_use]
    pub fn admits(&self, keyspace: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, keyspace));
        self.only.as_deref().is_none_or(any) && !any(&self.except)
    }

    /// Whether nothing has its contents read.
    pub(crate) fn is_none(&self) -> bool {
        self.only.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether everything has its contents read.
    pub(crate) fn is_all(&self) -> bool {
        self.only.is_none() && self.except.is_empty()
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters_and_nothing_else_does() {
        for (pattern, name, expected) in [
            ("app", "app", true),
            ("app", "apple", false),
            ("app*", "apple", true),
            ("*_test", "a_test", true),
            ("*_test", "a_test_b", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "ac", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn exceptions_count_more_than_what_is_admitted() {
        let filter = KeyspaceFilter::only(["app*"]).except(["app_old"]);

        assert!(filter.admits("app_new"));
        assert!(!filter.admits("app_old"));
        assert!(!filter.admits("other"));
        assert!(!KeyspaceFilter::none().admits("app"));
        assert!(KeyspaceFilter::all().admits("app"));
    }
}
