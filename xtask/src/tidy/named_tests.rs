//! The tests that a document names as proof exist.

use super::Finding;
use super::sources::Sources;
use std::collections::BTreeSet;

/// Test names are sentences: what has fewer words is the name of something else.
const WORDS_MIN: usize = 4;

/// Finds names of tests that no source file has.
pub fn check(sources: &Sources, document: &str, text: &str) -> Vec<Finding> {
    let functions: BTreeSet<&str> = sources.files.iter().flat_map(|source| functions(&source.text)).collect();
    missing(&functions, document, text)
}

fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.split("fn ").skip(1).filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next())
}

fn missing(functions: &BTreeSet<&str>, document: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // Between backticks is every other piece.
        for name in line.split('`').skip(1).step_by(2) {
            let is_sentence = name.split('_').count() >= WORDS_MIN
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if is_sentence && !functions.contains(name) {
                findings.push(Finding {
                    file: document.into(),
                    line: index + 1,
                    message: format!("there is no test `{name}`: name the one that shows it now"),
                });
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_test_that_does_not_exist_is_found_by_line() {
        let functions: BTreeSet<&str> = functions("async fn a_test_that_exists() {} fn other() {}").collect();
        let text = "| row | `a_test_that_exists` |\n| row | `a_test_that_is_gone`, `short_name` |\n";
        let found = missing(&functions, "RULES.md", text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "RULES.md");
        assert_eq!((found[0].line, found[0].message.contains("a_test_that_is_gone")), (2, true));
    }
}
