//! The schema of the cluster as plain values, as read from `system_schema` and `system_virtual_schema`.
//!
//! Every object is shared: a new picture of the cluster keeps the objects that did not change, so that comparing two
//! pictures, and holding several, is cheap.
//!
//! # Source
//!
//! `system_schema` of Cassandra 3.0 and later, `system_virtual_schema` of 4.0 and later.

mod change;
mod filter;
mod function;
mod keyspace;
mod options;
mod resolve;
mod table;

pub use change::{ObjectChange, SchemaChange};
pub use filter::KeyspaceFilter;
pub use function::{AggregateMetadata, FunctionMetadata, FunctionSignature};
pub use keyspace::{KeyspaceMetadata, UserTypeMetadata};
pub use options::TableOptions;
#[cfg(test)]
pub(crate) use table::test_table;
pub use table::{ColumnKind, ColumnMetadata, IndexMetadata, TableMetadata, TriggerMetadata, ViewMetadata};

use std::collections::BTreeMap;
use std::sync::Arc;

/// All keyspaces of the cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schema {
    /// Keyspaces by name.
    pub keyspaces: BTreeMap<Arc<str>, Arc<KeyspaceMetadata>>,
}

impl Schema {
    /// Finds a keyspace.
    #[must_use]
    pub fn keyspace(&self, name: &str) -> Option<&Arc<KeyspaceMetadata>> {
        self.keyspaces.get(name)
    }

    /// Finds a table.
    #[must_use]
    pub fn table(&self, keyspace: &str, table: &str) -> Option<&Arc<TableMetadata>> {
        self.keyspaces.get(keyspace)?.tables.get(table)
    }

    /// Takes over the objects of `previous` that are equal to those here.
    pub(crate) fn share_with(&mut self, previous: &Self) {
        for (name, keyspace) in &mut self.keyspaces {
            let Some(old) = previous.keyspaces.get(name) else { continue };
            if keyspace == old {
                *keyspace = Arc::clone(old);
            } else {
                Arc::make_mut(keyspace).share_with(old);
            }
        }
    }
}

/// Replaces each value by the old one of its key if they are equal.
fn share_equal<K: Ord, V: PartialEq>(new: &mut BTreeMap<K, Arc<V>>, old: &BTreeMap<K, Arc<V>>) {
    for (key, value) in new {
        if let Some(known) = old.get(key)
            && known == value
        {
            *value = Arc::clone(known);
        }
    }
}
