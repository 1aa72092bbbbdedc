//! What changed between two schemas, as the events that tell clients of it.

use crate::cql::string_hash_order;
use crate::protocol::SchemaChangeEvent;
use crate::schema::functions::Signature;
use crate::schema::views::View;
use crate::schema::{Keyspace, Schema, Table};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The changes from `old` to `new`: what is created after its keyspace, what is dropped before it.
pub(super) fn diff(old: &Schema, new: &Schema) -> Vec<SchemaChangeEvent> {
    let mut events = Vec::new();
    for (name, keyspace) in &old.keyspaces {
        match new.keyspaces.get(name) {
            None => drop_keyspace(keyspace, &mut events),
            Some(changed) if !Arc::ptr_eq(keyspace, changed) => diff_keyspace(keyspace, changed, &mut events),
            Some(_) => {}
        }
    }
    for (name, keyspace) in &new.keyspaces {
        if !old.keyspaces.contains_key(name) {
            events.push(event("CREATED", "KEYSPACE", name, ""));
            let empty = Keyspace {
                replication: keyspace.replication.clone(),
                durable_writes: keyspace.durable_writes,
                ..Keyspace::empty(name)
            };
            diff_keyspace(&empty, keyspace, &mut events);
        }
    }
    events
}

/// Cassandra tells of all that goes with a keyspace, in this order.
fn drop_keyspace(old: &Keyspace, events: &mut Vec<SchemaChangeEvent>) {
    let name = old.name.as_str();
    let empty = BTreeMap::new();
    diff_functions(&old.aggregates, &BTreeMap::new(), "AGGREGATE", name, events);
    diff_functions(&old.functions, &BTreeMap::new(), "FUNCTION", name, events);
    diff_views(old, &Keyspace::empty(name), events);
    diff_maps(&old.tables, &empty, is_same_table, "TABLE", name, events);
    diff_maps(&old.types, &BTreeMap::new(), |a, b| a == b, "TYPE", name, events);
    events.push(event("DROPPED", "KEYSPACE", name, ""));
}

fn diff_keyspace(old: &Keyspace, new: &Keyspace, events: &mut Vec<SchemaChangeEvent>) {
    let keyspace = new.name.as_str();
    if old.replication != new.replication || old.durable_writes != new.durable_writes {
        events.push(event("UPDATED", "KEYSPACE", keyspace, ""));
    }
    diff_maps(&old.types, &new.types, |a, b| a == b, "TYPE", keyspace, events);
    diff_functions(&old.functions, &new.functions, "FUNCTION", keyspace, events);
    diff_functions(&old.aggregates, &new.aggregates, "AGGREGATE", keyspace, events);
    diff_maps(&old.tables, &new.tables, is_same_table, "TABLE", keyspace, events);
    diff_views(old, new, events);
}

/// Clients are told of views as of tables, in the order of a hash map.
fn diff_views(old: &Keyspace, new: &Keyspace, events: &mut Vec<SchemaChangeEvent>) {
    let start = events.len();
    diff_maps(&old.views, &new.views, is_same_view, "TABLE", &new.name, events);
    let told = events.split_off(start);
    let order = string_hash_order(told.iter().map(|event| event.name.as_str()));
    events.extend(order.into_iter().map(|place| told[place].clone()));
}

fn diff_maps<T>(
    old: &BTreeMap<String, Arc<T>>,
    new: &BTreeMap<String, Arc<T>>,
    is_same: impl Fn(&T, &T) -> bool,
    target: &'static str,
    keyspace: &str,
    events: &mut Vec<SchemaChangeEvent>,
) {
    for (name, was) in old {
        match new.get(name) {
            None => events.push(event("DROPPED", target, keyspace, name)),
            Some(is) if !Arc::ptr_eq(was, is) && !is_same(was, is) => {
                events.push(event("UPDATED", target, keyspace, name));
            }
            Some(_) => {}
        }
    }
    for name in new.keys().filter(|name| !old.contains_key(*name)) {
        events.push(event("CREATED", target, keyspace, name));
    }
}

fn diff_functions<T: PartialEq>(
    old: &BTreeMap<Signature, Arc<T>>,
    new: &BTreeMap<Signature, Arc<T>>,
    target: &'static str,
    keyspace: &str,
    events: &mut Vec<SchemaChangeEvent>,
) {
    let told = |change, (name, arguments): &Signature| SchemaChangeEvent {
        arguments: arguments.clone(),
        ..event(change, target, keyspace, name)
    };
    for (signature, was) in old {
        match new.get(signature) {
            None => events.push(told("DROPPED", signature)),
            Some(is) if !Arc::ptr_eq(was, is) && was != is => events.push(told("UPDATED", signature)),
            Some(_) => {}
        }
    }
    for signature in new.keys().filter(|signature| !old.contains_key(*signature)) {
        events.push(told("CREATED", signature));
    }
}

fn is_same_table(a: &Table, b: &Table) -> bool {
    a.id == b.id
        && a.columns == b.columns
        && a.partition_key_len == b.partition_key_len
        && a.clustering_len == b.clustering_len
        && a.options == b.options
        && a.indexes == b.indexes
}

fn is_same_view(a: &View, b: &View) -> bool {
    is_same_table(&a.table, &b.table)
        && a.base_id == b.base_id
        && a.includes_all == b.includes_all
        && a.where_clause == b.where_clause
}

fn event(change: &'static str, target: &'static str, keyspace: &str, name: &str) -> SchemaChangeEvent {
    SchemaChangeEvent { change, target, keyspace: keyspace.to_owned(), name: name.to_owned(), arguments: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Dialect;
    use uuid::Uuid;

    fn table(id: u128) -> Arc<Table> {
        Arc::new(Table {
            keyspace: "k".into(),
            name: "t".into(),
            id: Uuid::from_u128(id),
            columns: Vec::new(),
            partition_key_len: 0,
            clustering_len: 0,
            options: Arc::default(),
            indexes: BTreeMap::new(),
            dropped: BTreeMap::new(),
            is_counter: false,
        })
    }

    fn schema(tables: &[(&str, Arc<Table>)], durable_writes: bool) -> Schema {
        let keyspace = Keyspace {
            name: "k".into(),
            replication: BTreeMap::new(),
            durable_writes,
            tables: tables.iter().map(|(name, table)| ((*name).to_owned(), table.clone())).collect(),
            ..Keyspace::empty("k")
        };
        Schema {
            keyspaces: [("k".to_owned(), Arc::new(keyspace))].into(),
            version: Uuid::nil(),
            dialect: Dialect::default(),
        }
    }

    fn told(old: &Schema, new: &Schema) -> Vec<String> {
        diff(old, new).iter().map(|e| format!("{} {} {}", e.change, e.target, e.name)).collect()
    }

    #[test]
    fn keyspaces_are_created_before_their_tables_and_dropped_after_them() {
        let (empty, full) = (Schema::default(), schema(&[("a", table(1)), ("b", table(2))], true));
        assert_eq!(told(&empty, &full), ["CREATED KEYSPACE ", "CREATED TABLE a", "CREATED TABLE b"]);
        assert_eq!(told(&full, &empty), ["DROPPED TABLE a", "DROPPED TABLE b", "DROPPED KEYSPACE "]);
        assert!(told(&full, &full.clone()).is_empty());
    }

    #[test]
    fn views_come_after_tables_in_the_order_of_a_hash_map_and_go_before_them() {
        let view = |name: &str| {
            let base = table(1);
            let view = View {
                table: Arc::new(Table::empty("k", name)),
                base_id: base.id,
                base_name: base.name.clone(),
                includes_all: true,
                where_clause: String::new(),
            };
            (name.to_owned(), Arc::new(view))
        };
        let mut full = schema(&[("t", table(1))], true);
        if let Some(keyspace) = full.keyspaces.get_mut("k") {
            Arc::make_mut(keyspace).views = [view("v1"), view("x")].into();
        }
        let empty = Schema::default();
        assert_eq!(
            told(&empty, &full),
            ["CREATED KEYSPACE ", "CREATED TABLE t", "CREATED TABLE x", "CREATED TABLE v1"]
        );
        assert_eq!(
            told(&full, &empty),
            ["DROPPED TABLE x", "DROPPED TABLE v1", "DROPPED TABLE t", "DROPPED KEYSPACE "]
        );
    }

    #[test]
    fn a_table_created_again_is_updated_and_other_tables_are_not() {
        let old = schema(&[("a", table(1)), ("b", table(2))], true);
        let new = schema(&[("a", table(3)), ("b", table(2)), ("c", table(4))], false);
        assert_eq!(told(&old, &new), ["UPDATED KEYSPACE ", "UPDATED TABLE a", "CREATED TABLE c"]);
    }
}
