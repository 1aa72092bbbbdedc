//! What changed between two schemas, object by object.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    AggregateMetadata, FunctionMetadata, KeyspaceMetadata, Schema, TableMetadata, UserTypeMetadata, ViewMetadata,
};

/// What became of one object.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ObjectChange<T> {
    Created { new: Arc<T> },
    Updated { old: Arc<T>, new: Arc<T> },
    Dropped { old: Arc<T> },
}

impl<T> ObjectChange<T> {
    /// The object before the change.
    #[must_use]
    pub fn old(&self) -> Option<&Arc<T>> {
        match self {
            Self::Created { .. } => None,
            Self::Updated { old, .. } | Self::Dropped { old } => Some(old),
        }
    }

    /// The object after the change.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "the counterpart of `old`")]
    pub fn new(&self) -> Option<&Arc<T>> {
        match self {
            Self::Created { new } | Self::Updated { new, .. } => Some(new),
            Self::Dropped { .. } => None,
        }
    }
}

/// One change of the schema.
///
/// A keyspace is updated if it itself changes, not if something in it does. Whatever is in a keyspace is created
/// after and dropped before it. A change of an index is an update of its table.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub enum SchemaChange {
    Keyspace(ObjectChange<KeyspaceMetadata>),
    UserType(ObjectChange<UserTypeMetadata>),
    Table(ObjectChange<TableMetadata>),
    View(ObjectChange<ViewMetadata>),
    Function(ObjectChange<FunctionMetadata>),
    Aggregate(ObjectChange<AggregateMetadata>),
}

impl SchemaChange {
    /// The changes from one schema to another. Equal schemas have none; an object is compared only if it is not shared.
    #[must_use]
    pub fn between(old: &Schema, new: &Schema) -> Vec<Self> {
        let mut changes = Vec::new();
        for (name, keyspace) in &old.keyspaces {
            match new.keyspaces.get(name) {
                Some(next) if Arc::ptr_eq(keyspace, next) => {}
                Some(next) => {
                    if !is_same_keyspace(keyspace, next) {
                        let (old, new) = (Arc::clone(keyspace), Arc::clone(next));
                        changes.push(Self::Keyspace(ObjectChange::Updated { old, new }));
                    }
                    contents(keyspace, next, &mut changes);
                }
                None => {
                    contents(keyspace, &KeyspaceMetadata::new(name), &mut changes);
                    changes.push(Self::Keyspace(ObjectChange::Dropped { old: Arc::clone(keyspace) }));
                }
            }
        }
        for (name, keyspace) in &new.keyspaces {
            if !old.keyspaces.contains_key(name) {
                changes.push(Self::Keyspace(ObjectChange::Created { new: Arc::clone(keyspace) }));
                contents(&KeyspaceMetadata::new(name), keyspace, &mut changes);
            }
        }
        changes
    }
}

fn is_same_keyspace(a: &KeyspaceMetadata, b: &KeyspaceMetadata) -> bool {
    (&a.replication_options, a.durable_writes, a.is_loaded) == (&b.replication_options, b.durable_writes, b.is_loaded)
}

fn contents(old: &KeyspaceMetadata, new: &KeyspaceMetadata, changes: &mut Vec<SchemaChange>) {
    objects(&old.user_types, &new.user_types, SchemaChange::UserType, changes);
    objects(&old.functions, &new.functions, SchemaChange::Function, changes);
    objects(&old.aggregates, &new.aggregates, SchemaChange::Aggregate, changes);
    objects(&old.tables, &new.tables, SchemaChange::Table, changes);
    objects(&old.views, &new.views, SchemaChange::View, changes);
}

fn objects<K: Ord, V: PartialEq>(
    old: &BTreeMap<K, Arc<V>>,
    new: &BTreeMap<K, Arc<V>>,
    change: impl Fn(ObjectChange<V>) -> SchemaChange,
    changes: &mut Vec<SchemaChange>,
) {
    for (key, was) in old {
        match new.get(key) {
            None => changes.push(change(ObjectChange::Dropped { old: Arc::clone(was) })),
            Some(is) if Arc::ptr_eq(was, is) || was == is => {}
            Some(is) => changes.push(change(ObjectChange::Updated { old: Arc::clone(was), new: Arc::clone(is) })),
        }
    }
    for (key, is) in new {
        if !old.contains_key(key) {
            changes.push(change(ObjectChange::Created { new: Arc::clone(is) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::test_table;

    fn schema(keyspaces: &[(&str, &[&str])]) -> Schema {
        let mut schema = Schema::default();
        for (name, tables) in keyspaces {
            let mut keyspace = KeyspaceMetadata::new(name);
            for table in *tables {
                keyspace.tables.insert((*table).into(), Arc::new(test_table(name, table, &[])));
            }
            schema.keyspaces.insert((*name).into(), Arc::new(keyspace));
        }
        schema
    }

    fn told(old: &Schema, new: &Schema) -> Vec<String> {
        let verb = |is_old: bool, is_new: bool| match (is_old, is_new) {
            (false, _) => "created",
            (true, true) => "updated",
            (true, false) => "dropped",
        };
        SchemaChange::between(old, new)
            .iter()
            .map(|change| match change {
                SchemaChange::Keyspace(change) => {
                    let name = change.new().or(change.old()).map(|keyspace| keyspace.name.to_string());
                    format!("{} {}", verb(change.old().is_some(), change.new().is_some()), name.unwrap())
                }
                SchemaChange::Table(change) => {
                    let name = change.new().or(change.old()).map(|table| format!("{}.{}", table.keyspace, table.name));
                    format!("{} {}", verb(change.old().is_some(), change.new().is_some()), name.unwrap())
                }
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn contents_are_created_after_and_dropped_before_their_keyspace() {
        let (empty, full) = (Schema::default(), schema(&[("a", &["t", "u"])]));

        assert_eq!(told(&empty, &full), ["created a", "created a.t", "created a.u"]);
        assert_eq!(told(&full, &empty), ["dropped a.t", "dropped a.u", "dropped a"]);
    }

    #[test]
    fn only_what_differs_is_a_change_and_equal_objects_become_shared() {
        let old = schema(&[("a", &["t", "u"]), ("b", &["v"])]);
        let mut new = schema(&[("a", &["t", "u"]), ("b", &["v"])]);
        let changed = Arc::make_mut(new.keyspaces.get_mut("a").unwrap());
        Arc::make_mut(changed.tables.get_mut("t").unwrap()).is_counter = true;

        new.share_with(&old);

        assert_eq!(told(&old, &new), ["updated a.t"]);
        assert!(Arc::ptr_eq(&old.keyspaces["b"], &new.keyspaces["b"]));
        assert!(Arc::ptr_eq(&old.keyspaces["a"].tables["u"], &new.keyspaces["a"].tables["u"]));
    }
}
