//! Answers to reads of `system_schema`, remembered.
//!
//! Every session reads the whole schema, mostly rows of system keyspaces that are the same in every cluster: of a
//! short simulation this was a third of the work. What is remembered is the body of an answer, by everything that it
//! is a function of; an answer from memory and one from the store are the same bytes.
//!
//! # Invariants
//!
//! - Whether an answer is remembered decides nothing: requests draw what they draw either way.

use super::schema_contents::SchemaContents;
use crate::protocol::{Parameters, WireValues};
use crate::remembered::Remembered;
use bytes::Bytes;

/// Everything that the body of an answer is a function of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    contents: SchemaContents,
    version: u8,
    skip_metadata: bool,
    page_size: Option<u32>,
    text: String,
}

impl Question {
    /// The question that a QUERY asks, if its answer may be remembered: a plain first page of a table of
    /// `system_schema`, without functions and values.
    pub(super) fn of(contents: SchemaContents, version: u8, text: &str, parameters: &Parameters) -> Option<Self> {
        // The first FROM is the statement's own: without a parenthesis no literal can come before it.
        let source = text.split_once(" FROM ").map_or("", |(_, source)| source);
        let is_plain = text.starts_with("SELECT ") && source.starts_with("system_schema.") && !text.contains('(');
        let has_values = parameters.values != WireValues::Positional(Vec::new());
        let is_elsewhen = parameters.paging_state.is_some() || parameters.now_in_seconds.is_some();
        (is_plain && !has_values && !is_elsewhen).then(|| Self {
            contents,
            version,
            skip_metadata: parameters.skip_metadata,
            page_size: parameters.page_size,
            text: text.to_owned(),
        })
    }
}

thread_local! {
    static BODIES: Remembered<Question, Bytes> = const { Remembered::new(256) };
}

/// The remembered body of the answer to a question.
pub(super) fn recall(question: &Question) -> Option<Bytes> {
    BODIES.with(|bodies| bodies.recall(question))
}

/// Remembers the body of the answer to a question.
pub(super) fn remember(question: Question, body: Bytes) {
    BODIES.with(|bodies| bodies.remember(question, body));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::config::ReleaseLine;
    use crate::protocol::Consistency;

    fn question(text: &str, parameters: impl FnOnce(&mut Parameters)) -> Option<Question> {
        let mut asked = Parameters {
            consistency: Consistency::One,
            values: WireValues::Positional(Vec::new()),
            skip_metadata: false,
            page_size: Some(5_000),
            paging_state: None,
            serial_consistency: None,
            timestamp: None,
            keyspace: None,
            now_in_seconds: None,
        };
        parameters(&mut asked);
        Question::of(SchemaContents::of_system(ReleaseLine::V50), 5, text, &asked)
    }

    #[test]
    fn only_plain_first_pages_of_schema_tables_are_remembered() {
        let text = "SELECT * FROM system_schema.tables WHERE keyspace_name = 'ks'";
        assert!(question(text, |_| {}).is_some());
        assert!(question(text, |asked| asked.paging_state = Some(Bytes::new())).is_none());
        assert!(question(text, |asked| asked.now_in_seconds = Some(1)).is_none());
        assert!(question("SELECT writetime(id) FROM system_schema.tables", |_| {}).is_none());
        assert!(question("SELECT v FROM ks.t WHERE v = ' FROM system_schema.tables'", |_| {}).is_none());
        assert!(question("SELECT * FROM system.local", |_| {}).is_none());
        assert_ne!(question(text, |_| {}), question(text, |asked| asked.page_size = None));
    }
}
