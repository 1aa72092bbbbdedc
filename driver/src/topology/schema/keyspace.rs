//! Keyspaces and user-defined types.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{AggregateMetadata, FunctionMetadata, FunctionSignature, TableMetadata, ViewMetadata, share_equal};
use crate::topology::Replication;
use crate::value::UserType;

/// One keyspace with everything in it.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyspaceMetadata {
    /// Name, as written in lower case or within quotes.
    pub name: Arc<str>,
    /// Placement of replicas.
    pub replication: Replication,
    /// The `replication` options as the server stores them; empty for a virtual keyspace.
    pub replication_options: BTreeMap<String, String>,
    /// Whether writes go to the commit log.
    pub durable_writes: bool,
    /// Whether the keyspace is one of the server's virtual ones, which hold no data of their own.
    pub is_virtual: bool,
    /// Whether the contents were read. The session's [`KeyspaceFilter`](super::KeyspaceFilter) decides; of other
    /// keyspaces only name and replication are known.
    pub is_loaded: bool,
    /// Tables by name, without views.
    pub tables: BTreeMap<Arc<str>, Arc<TableMetadata>>,
    /// Materialized views by name.
    pub views: BTreeMap<Arc<str>, Arc<ViewMetadata>>,
    /// User-defined types by name.
    pub user_types: BTreeMap<Arc<str>, Arc<UserTypeMetadata>>,
    /// User-defined functions by name and argument types.
    pub functions: BTreeMap<FunctionSignature, Arc<FunctionMetadata>>,
    /// User-defined aggregates by name and argument types.
    pub aggregates: BTreeMap<FunctionSignature, Arc<AggregateMetadata>>,
}

impl KeyspaceMetadata {
    /// A keyspace of which nothing but the name is known yet.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            replication: Replication::Local,
            replication_options: BTreeMap::new(),
            durable_writes: true,
            is_virtual: false,
            is_loaded: false,
            tables: BTreeMap::new(),
            views: BTreeMap::new(),
            user_types: BTreeMap::new(),
            functions: BTreeMap::new(),
            aggregates: BTreeMap::new(),
        }
    }

    /// Materialized views of a table, by name.
    pub fn views_of<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a Arc<ViewMetadata>> {
        self.views.values().filter(move |view| &*view.base_table == table)
    }

    pub(super) fn share_with(&mut self, old: &Self) {
        share_equal(&mut self.tables, &old.tables);
        share_equal(&mut self.views, &old.views);
        share_equal(&mut self.user_types, &old.user_types);
        share_equal(&mut self.functions, &old.functions);
        share_equal(&mut self.aggregates, &old.aggregates);
    }
}

/// One user-defined type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserTypeMetadata {
    /// Type texts of the fields, in order, by name.
    pub fields: Vec<(Arc<str>, Arc<str>)>,
    /// The type as values use it. A field whose type could not be resolved has [`crate::value::CqlType::Custom`].
    pub user_type: Arc<UserType>,
}
