//! Statements prepared behind the scenes for text with values: bounded, least recently used out first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::statement::PreparedStatement;

/// Prepared statements by keyspace and text.
pub(super) struct PreparedCache {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<(Option<String>, Arc<str>), (PreparedStatement, u64)>,
    uses: u64,
}

impl PreparedCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), inner: Mutex::default() }
    }

    pub(super) fn get(&self, keyspace: Option<&str>, text: &Arc<str>) -> Option<PreparedStatement> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.uses += 1;
        let uses = inner.uses;
        let key = (keyspace.map(str::to_owned), Arc::clone(text));
        let (statement, last_use) = inner.entries.get_mut(&key)?;
        *last_use = uses;
        Some(statement.clone())
    }

    pub(super) fn insert(&self, keyspace: Option<&str>, text: &Arc<str>, statement: PreparedStatement) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.uses += 1;
        let uses = inner.uses;
        if inner.entries.len() >= self.capacity {
            let oldest = inner.entries.iter().min_by_key(|(_, (_, last_use))| *last_use).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                inner.entries.remove(&oldest);
            }
        }
        inner.entries.insert((keyspace.map(str::to_owned), Arc::clone(text)), (statement, uses));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::PreparedState;

    fn statement(text: &str) -> PreparedStatement {
        let state = PreparedState {
            id: bytes::Bytes::new(),
            result_metadata_id: None,
            variables: [].into(),
            result_columns: None,
            routing: None,
            is_counter: false,
        };
        PreparedStatement::new(text.into(), None, state)
    }

    #[test]
    fn least_recently_used_statement_leaves_a_full_cache() {
        let cache = PreparedCache::new(2);
        let texts: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
        cache.insert(None, &texts[0], statement("a"));
        cache.insert(None, &texts[1], statement("b"));
        assert!(cache.get(None, &texts[0]).is_some());

        cache.insert(None, &texts[2], statement("c"));

        assert!(cache.get(None, &texts[0]).is_some());
        assert!(cache.get(None, &texts[1]).is_none());
        assert!(cache.get(Some("k"), &texts[2]).is_none(), "another keyspace is another statement");
    }
}
