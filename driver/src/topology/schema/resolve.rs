//! Finds what the type texts of a keyspace mean.
//!
//! Types and columns name user-defined types of their keyspace in any order, and one of those may change alone, so
//! meaning is found when a keyspace is complete, from the texts that the metadata keeps.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{KeyspaceMetadata, TableMetadata, UserTypeMetadata};
use crate::topology::parse_cql_type;
use crate::value::{CqlType, UserType};

type UserTypes = BTreeMap<Arc<str>, Arc<UserTypeMetadata>>;

impl KeyspaceMetadata {
    /// Gives user-defined types and columns the types that their texts mean. Objects that need nothing stay shared.
    ///
    /// Answers whether every name was found; one that was not becomes [`CqlType::Custom`].
    pub(crate) fn resolve_types(&mut self) -> bool {
        let is_complete = Cell::new(true);
        let mut resolver = Resolver { keyspace: &self.name, texts: &self.user_types, done: BTreeMap::new() };
        for name in self.user_types.keys() {
            resolver.user_type(name, &mut BTreeSet::new());
        }
        let resolved = resolver.done;
        let parse = |text: &str| {
            let find = |name: &str| {
                let found = resolved.get(name).cloned();
                // Dense tables of 3.11 have a column of this type, which no user can name.
                is_complete.set(is_complete.get() && (found.is_some() || name == "empty"));
                found
            };
            parse_cql_type(text, &find).unwrap_or_else(|_| CqlType::Custom(text.into()))
        };
        for (name, metadata) in &mut self.user_types {
            let Some(user_type) = resolved.get(name) else { continue };
            for (_, text) in &metadata.fields {
                // Counts names that are missing.
                parse(text);
            }
            if metadata.user_type != *user_type {
                Arc::make_mut(metadata).user_type = Arc::clone(user_type);
            }
        }
        for table in self.tables.values_mut() {
            if table.columns.iter().any(|column| may_change(&column.cql_type)) {
                resolve_columns(Arc::make_mut(table), &parse);
            }
        }
        for view in self.views.values_mut() {
            if view.table.columns.iter().any(|column| may_change(&column.cql_type)) {
                resolve_columns(&mut Arc::make_mut(view).table, &parse);
            }
        }
        is_complete.get()
    }

    /// User-defined types in an order in which they can be created, otherwise by name.
    #[must_use]
    pub fn user_types_in_order(&self) -> Vec<&Arc<UserTypeMetadata>> {
        fn visit<'a>(
            types: &'a UserTypes,
            metadata: &'a Arc<UserTypeMetadata>,
            seen: &mut BTreeSet<&'a str>,
            done: &mut Vec<&'a Arc<UserTypeMetadata>>,
        ) {
            if !seen.insert(&metadata.user_type.name) {
                return;
            }
            for (_, field) in &metadata.user_type.fields {
                each_user_type(field, &mut |inner| {
                    if let Some(inner) = types.get(&inner.name) {
                        visit(types, inner, seen, done);
                    }
                });
            }
            done.push(metadata);
        }
        let (mut seen, mut done) = (BTreeSet::new(), Vec::new());
        for metadata in self.user_types.values() {
            visit(&self.user_types, metadata, &mut seen, &mut done);
        }
        done
    }
}

fn resolve_columns(table: &mut TableMetadata, parse: &dyn Fn(&str) -> CqlType) {
    for column in &mut table.columns {
        if may_change(&column.cql_type) {
            column.cql_type = parse(&column.type_text);
        }
    }
}

/// Whether a type depends on user-defined types, or was not found.
fn may_change(cql_type: &CqlType) -> bool {
    match cql_type {
        CqlType::Native(_) => false,
        CqlType::List(inner) | CqlType::Set(inner) | CqlType::Vector { element: inner, .. } => may_change(inner),
        CqlType::Map(key, value) => may_change(key) || may_change(value),
        CqlType::Tuple(parts) => parts.iter().any(may_change),
        CqlType::UserDefined(_) | CqlType::Custom(_) => true,
    }
}

fn each_user_type<'a>(cql_type: &'a CqlType, visit: &mut dyn FnMut(&'a UserType)) {
    match cql_type {
        CqlType::Native(_) | CqlType::Custom(_) => {}
        CqlType::List(inner) | CqlType::Set(inner) | CqlType::Vector { element: inner, .. } => {
            each_user_type(inner, visit);
        }
        CqlType::Map(key, value) => {
            each_user_type(key, visit);
            each_user_type(value, visit);
        }
        CqlType::Tuple(parts) => parts.iter().for_each(|part| each_user_type(part, visit)),
        CqlType::UserDefined(user_type) => visit(user_type),
    }
}

struct Resolver<'a> {
    keyspace: &'a Arc<str>,
    texts: &'a UserTypes,
    done: BTreeMap<Arc<str>, Arc<UserType>>,
}

impl<'a> Resolver<'a> {
    /// Resolves a type after those it uses. `open` holds those being resolved: a server that told of a circle would
    /// not be followed around it.
    fn user_type(&mut self, name: &str, open: &mut BTreeSet<&'a str>) {
        let Some((name, metadata)) = self.texts.get_key_value(name) else { return };
        if self.done.contains_key(name) || !open.insert(name) {
            return;
        }
        let mut fields = Vec::with_capacity(metadata.fields.len());
        for (field, text) in &metadata.fields {
            for used in self.names_in(text) {
                self.user_type(&used, open);
            }
            let parsed = parse_cql_type(text, &|name| self.done.get(name).cloned());
            fields.push((Arc::clone(field), parsed.unwrap_or_else(|_| CqlType::Custom(Arc::clone(text)))));
        }
        open.remove(&**name);
        let user_type = UserType { keyspace: Arc::clone(self.keyspace), name: Arc::clone(name), fields };
        self.done.insert(Arc::clone(name), Arc::new(user_type));
    }

    fn names_in(&self, text: &str) -> BTreeSet<String> {
        let names = std::cell::RefCell::new(BTreeSet::new());
        // An unreadable text is reported where it is used.
        let _ = parse_cql_type(text, &|name| {
            names.borrow_mut().insert(name.to_owned());
            None
        });
        names.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::test_table;

    fn user_type(name: &str, fields: &[(&str, &str)]) -> Arc<UserTypeMetadata> {
        let fields = fields.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
        let user_type = Arc::new(UserType { keyspace: "k".into(), name: name.into(), fields: Vec::new() });
        Arc::new(UserTypeMetadata { fields, user_type })
    }

    fn keyspace(types: &[Arc<UserTypeMetadata>]) -> KeyspaceMetadata {
        let mut keyspace = KeyspaceMetadata::new("k");
        for metadata in types {
            keyspace.user_types.insert(Arc::clone(&metadata.user_type.name), Arc::clone(metadata));
        }
        keyspace
    }

    #[test]
    fn types_that_use_each_other_are_resolved_in_any_order_of_names() {
        let mut keyspace = keyspace(&[user_type("a", &[("x", "frozen<z>")]), user_type("z", &[("y", "int")])]);
        keyspace.tables.insert("t".into(), Arc::new(test_table("k", "t", &[("c", "map<text, frozen<a>>")])));

        assert!(keyspace.resolve_types());

        assert_eq!(keyspace.user_types["a"].user_type.fields[0].1.to_string(), "k.z");
        assert_eq!(keyspace.tables["t"].columns[0].cql_type.to_string(), "map<text, k.a>");
        let order: Vec<_> = keyspace.user_types_in_order().iter().map(|t| t.user_type.name.to_string()).collect();
        assert_eq!(order, ["z", "a"]);
    }

    #[test]
    fn a_changed_type_changes_the_columns_that_use_it_and_no_others() {
        let mut keyspace = keyspace(&[user_type("a", &[("x", "int")])]);
        keyspace.tables.insert("t".into(), Arc::new(test_table("k", "t", &[("c", "frozen<list<frozen<a>>>")])));
        keyspace.tables.insert("u".into(), Arc::new(test_table("k", "u", &[("c", "int")])));
        keyspace.resolve_types();
        let unchanged = Arc::clone(&keyspace.tables["u"]);

        keyspace.user_types.insert("a".into(), user_type("a", &[("x", "int"), ("y", "text")]));
        assert!(keyspace.resolve_types());

        let CqlType::List(element) = &keyspace.tables["t"].columns[0].cql_type else { panic!("not a list") };
        let CqlType::UserDefined(a) = &**element else { panic!("not a user type") };
        assert_eq!(a.fields.len(), 2);
        assert!(Arc::ptr_eq(&keyspace.tables["u"], &unchanged));
    }

    #[test]
    fn a_name_that_is_missing_is_told_and_a_circle_ends() {
        let mut missing = keyspace(&[user_type("a", &[("x", "frozen<nowhere>")])]);
        assert!(!missing.resolve_types());

        let mut circle = keyspace(&[user_type("a", &[("x", "frozen<b>")]), user_type("b", &[("x", "frozen<a>")])]);
        circle.resolve_types();
        assert_eq!(circle.user_types_in_order().len(), 2);
    }
}
