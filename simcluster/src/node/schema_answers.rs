//! Answers to reads of `system_schema`, remembered.
//!
//! Every session reads the whole schema, mostly rows of system keyspaces that are the same in every cluster: of a
//! short simulation this was a third of the work. What is remembered is the body of an answer, by everything that it
//! is a function of; an answer from memory and one from the store are the same bytes.
//!
//! # Invariants
//!
//! - The contents of a node's schema tables are named by the sum of the hashes of the mutations that made them: equal
//!   sums mean equal rows, because merging is commutative and none of these rows expires.
//! - Whether an answer is remembered decides nothing: requests draw what they draw either way.

use super::config::ReleaseLine;
use crate::protocol::{Parameters, WireValues};
use crate::storage::Mutation;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Names the contents of a node's schema tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SchemaContents(u64);

impl SchemaContents {
    /// Contents that nothing is known about: equal only to those of the same life of the same node.
    pub(super) fn unknown(node: u32, generation: u32) -> Self {
        let mut hasher = DefaultHasher::new();
        (node, generation).hash(&mut hasher);
        Self(hasher.finish())
    }

    /// Notes a mutation of a schema table.
    pub(super) fn apply(&mut self, mutation: &Mutation) {
        let mut hasher = DefaultHasher::new();
        mutation.hash(&mut hasher);
        self.0 = self.0.wrapping_add(hasher.finish() | 1);
    }
}

/// Everything that the body of an answer is a function of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    line: ReleaseLine,
    contents: SchemaContents,
    version: u8,
    skip_metadata: bool,
    page_size: Option<u32>,
    text: String,
}

impl Question {
    /// The question that a QUERY asks, if its answer may be remembered: a plain first page of a table of
    /// `system_schema`, without functions and values.
    pub(super) fn of(
        line: ReleaseLine,
        contents: SchemaContents,
        version: u8,
        text: &str,
        parameters: &Parameters,
    ) -> Option<Self> {
        // The first FROM is the statement's own: without a parenthesis no literal can come before it.
        let source = text.split_once(" FROM ").map_or("", |(_, source)| source);
        let is_plain = text.starts_with("SELECT ") && source.starts_with("system_schema.") && !text.contains('(');
        let has_values = parameters.values != WireValues::Positional(Vec::new());
        let is_elsewhen = parameters.paging_state.is_some() || parameters.now_in_seconds.is_some();
        (is_plain && !has_values && !is_elsewhen).then(|| Self {
            line,
            contents,
            version,
            skip_metadata: parameters.skip_metadata,
            page_size: parameters.page_size,
            text: text.to_owned(),
        })
    }
}

thread_local! {
    static REMEMBERED: RefCell<BTreeMap<Question, Bytes>> = const { RefCell::new(BTreeMap::new()) };
}

/// The remembered body of the answer to a question.
pub(super) fn recall(question: &Question) -> Option<Bytes> {
    REMEMBERED.with_borrow(|remembered| remembered.get(question).cloned())
}

/// Remembers the body of the answer to a question; what is remembered in all stays small.
pub(super) fn remember(question: Question, body: Bytes) {
    REMEMBERED.with_borrow_mut(|remembered| {
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(question, body);
    });
}

const REMEMBERED_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
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
        Question::of(ReleaseLine::V50, SchemaContents::default(), 5, text, &asked)
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
