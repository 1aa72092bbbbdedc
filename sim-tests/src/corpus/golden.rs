//! Golden files: statements with the answers a real Cassandra gave.
//!
//! ```text
//! # Recorded from Apache Cassandra 5.0.8.
//!
//! > --@ bind 1
//! > SELECT v FROM t WHERE k = ?;
//! rows of types_t.t: v text
//!   'a'
//! ```

use std::fmt::Write;

/// A statement and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Directives and text, line by line.
    pub statement: Vec<String>,
    /// The answer, line by line.
    pub answer: Vec<String>,
}

/// The text of a golden file.
#[must_use]
pub fn to_text(recorded_from: &str, blocks: &[Block]) -> String {
    let mut text = format!("# Recorded from {recorded_from} by `cargo xtask cassandra record`: do not edit.\n");
    for block in blocks {
        text.push('\n');
        for line in &block.statement {
            let _ = writeln!(text, "{}", format!("> {line}").trim_end()); // Writing to a String cannot fail.
        }
        for line in &block.answer {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// The blocks of a golden file.
#[must_use]
pub fn from_text(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let statement = line.strip_prefix("> ").or_else(|| (line == ">").then_some(""));
        match (statement, blocks.last_mut()) {
            (Some(statement), Some(block)) if block.answer.is_empty() => block.statement.push(statement.into()),
            (Some(statement), _) => {
                blocks.push(Block { statement: vec![statement.into()], answer: Vec::new() });
            }
            (None, Some(block)) => block.answer.push(line.into()),
            (None, None) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let block = |statement: &[&str], answer: &[&str]| Block {
            statement: statement.iter().map(ToString::to_string).collect(),
            answer: answer.iter().map(ToString::to_string).collect(),
        };
        let blocks = [
            block(&["--@ bind 1", "SELECT", "", "  1;"], &["rows: a int", "  1"]),
            block(&["USE x;"], &["set keyspace x", "warning: # y"]),
        ];
        assert_eq!(from_text(&to_text("somewhere", &blocks)), blocks);
    }
}
