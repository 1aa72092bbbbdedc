//! Which parts of the schema are to be read again.
//!
//! # Invariants
//!
//! - Scopes only grow when they merge, and their size is bounded: many objects become their keyspace, many keyspaces
//!   become everything.

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::response::{SchemaChange, SchemaTarget};

/// Parts of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SchemaScope {
    All,
    Keyspaces(BTreeMap<String, KeyspaceScope>),
}

/// Parts of one keyspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyspaceScope {
    Whole,
    /// None of them is the keyspace itself.
    Objects(BTreeSet<SchemaTarget>),
}

impl SchemaScope {
    pub(crate) fn object(keyspace: &str, target: SchemaTarget) -> Self {
        let scope = match target {
            SchemaTarget::Keyspace => KeyspaceScope::Whole,
            object => KeyspaceScope::Objects([object].into()),
        };
        Self::Keyspaces([(keyspace.to_owned(), scope)].into())
    }

    /// Both scopes, as far as there are any.
    pub(crate) fn joined(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(mut both), Some(other)) => {
                both.merge(other);
                Some(both)
            }
            (one, None) | (None, one) => one,
        }
    }

    /// Adds what another scope covers.
    pub(crate) fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::Keyspaces(known), Self::Keyspaces(more)) => {
                for (name, scope) in more {
                    match known.get_mut(&name) {
                        Some(present) => present.merge(scope),
                        None => drop(known.insert(name, scope)),
                    }
                }
                if known.len() > KEYSPACES_MAX {
                    *self = Self::All;
                }
            }
        }
    }
}

impl KeyspaceScope {
    fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Whole, _) => {}
            (_, Self::Whole) => *self = Self::Whole,
            (Self::Objects(known), Self::Objects(more)) => {
                known.extend(more);
                if known.len() > OBJECTS_MAX {
                    *self = Self::Whole;
                }
            }
        }
    }
}

impl From<&SchemaChange> for SchemaScope {
    fn from(change: &SchemaChange) -> Self {
        Self::object(&change.keyspace, change.target.clone())
    }
}

/// Keyspaces past which everything is read instead.
const KEYSPACES_MAX: usize = 16;
/// Objects of a keyspace past which the keyspace is read instead: each costs up to five queries.
const OBJECTS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn keyspace(name: &str) -> SchemaScope {
        SchemaScope::object(name, SchemaTarget::Keyspace)
    }

    fn table(number: usize) -> SchemaTarget {
        SchemaTarget::Table(format!("t{number}"))
    }

    #[test]
    fn objects_merge_until_reading_their_keyspace_is_cheaper() {
        let mut scope = SchemaScope::object("k", table(0));
        for number in 0..OBJECTS_MAX {
            scope.merge(SchemaScope::object("k", table(number)));
        }
        let objects = (0..OBJECTS_MAX).map(table).collect();
        assert_eq!(scope, SchemaScope::Keyspaces([("k".to_owned(), KeyspaceScope::Objects(objects))].into()));

        scope.merge(SchemaScope::object("k", table(OBJECTS_MAX)));

        assert_eq!(scope, keyspace("k"));
    }

    #[test]
    fn a_keyspace_covers_its_objects_and_everything_covers_all() {
        let mut scope = keyspace("k");
        scope.merge(SchemaScope::object("k", table(1)));
        assert_eq!(scope, keyspace("k"));
        scope.merge(SchemaScope::All);
        scope.merge(keyspace("k"));
        assert_eq!(scope, SchemaScope::All);
    }

    #[test]
    fn many_keyspaces_become_everything() {
        let mut scope = keyspace("k");
        for number in 0..KEYSPACES_MAX {
            scope.merge(SchemaScope::object(&number.to_string(), table(0)));
        }
        assert_eq!(scope, SchemaScope::All);
    }
}
