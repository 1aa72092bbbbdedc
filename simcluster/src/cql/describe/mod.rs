//! DESCRIBE: what a client is shown of the schema.
//!
//! Rows are `(keyspace_name, type, name)` and, where elements are described and not only listed, `create_statement`.
//! Names are written as CQL needs them and ordered without regard to case. All texts are those of Apache Cassandra 5.0.

mod create;
#[cfg(test)]
mod tests;

use super::ast::{Describe, Name};
use super::parser::not_modelled;
use super::system::is_system;
use super::{Action, Answer, BindOptions};
use crate::protocol::{ColumnSpec, ResultRows, ServerError};
use crate::schema::functions::{Aggregate, Function, unfrozen};
use crate::schema::views::View;
use crate::schema::{Dialect, Index, Keyspace, Schema, Table};
use crate::types::{CqlType, UserType, Value, codec, quote_name};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// What DESCRIBE CLUSTER tells beside constants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The configured name.
    pub name: String,
    /// For each token in decimal the replicas of the range that ends there, as `/address:storage_port`.
    pub range_ownership: BTreeMap<String, Vec<String>>,
}

/// A DESCRIBE CLUSTER, which only the node can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeCluster {
    keyspace: Option<String>,
}

impl DescribeCluster {
    /// The keyspace whose range ownership is to be told: the one in use, unless it is Cassandra's own.
    #[must_use]
    pub fn ownership_keyspace(&self) -> Option<&str> {
        self.keyspace.as_deref()
    }

    /// The answer. The range ownership is left out if [`Self::ownership_keyspace`] is `None`.
    #[must_use]
    pub fn answer(&self, facts: &ClusterFacts) -> ResultRows {
        let text_type = || CqlType::Text;
        let mut columns = vec![("cluster", text_type()), ("partitioner", text_type()), ("snitch", text_type())];
        let mut row = vec![text(&facts.name), text("Murmur3Partitioner"), text("DynamicEndpointSnitch")];
        if self.keyspace.is_some() {
            let ownership = CqlType::map(CqlType::Text, CqlType::list(CqlType::Text, false), false);
            columns.push(("range_ownership", ownership));
            let list = |replicas: &Vec<String>| {
                let replicas: Vec<Value> = replicas.iter().map(|replica| text(replica)).collect();
                Some(codec::join_collection(replicas.len(), &replicas))
            };
            let parts: Vec<Value> =
                facts.range_ownership.iter().flat_map(|(token, replicas)| [text(token), list(replicas)]).collect();
            row.push(Some(codec::join_collection(facts.range_ownership.len(), &parts)));
        }
        ResultRows { columns: column_specs(columns), rows: vec![row], paging_state: None }
    }
}

/// What executing a DESCRIBE does.
///
/// # Errors
///
/// As Cassandra: what is described does not exist, no keyspace is in use, a wrong or outdated paging state.
pub(super) fn action(
    schema: &Schema,
    keyspace: Option<&str>,
    what: &Describe,
    with_internals: bool,
    options: &BindOptions,
) -> Result<Action, ServerError> {
    if *what == Describe::Cluster {
        let keyspace = keyspace.filter(|name| !is_system(name)).map(ToOwned::to_owned);
        return Ok(Action::DescribeCluster(DescribeCluster { keyspace }));
    }
    let rows = page(schema, describe(schema, keyspace, what, with_internals)?, options)?;
    Ok(Action::Answer(Answer::Rows(rows)))
}

/// All rows that describe something other than the cluster.
///
/// # Errors
///
/// As Cassandra: what is described does not exist, or no keyspace is in use.
pub(super) fn describe(
    schema: &Schema,
    keyspace: Option<&str>,
    what: &Describe,
    with_internals: bool,
) -> Result<ResultRows, ServerError> {
    let look = Look { schema, keyspace };
    let (elements, is_listing) = match what {
        Describe::Cluster => (Vec::new(), true),
        Describe::Functions => (look.list(|k| functions(k, None))?, true),
        Describe::Aggregates => (look.list(|k| aggregates(k, None))?, true),
        Describe::Keyspaces => (by_name(&schema.keyspaces).into_iter().map(Element::Keyspace).collect(), true),
        Describe::Tables => {
            (look.list(|k| by_name(&k.tables).into_iter().map(|t| table_element(k, t)).collect())?, true)
        }
        Describe::Types => (look.list(|k| by_name(&k.types).into_iter().map(Element::Type).collect())?, true),
        Describe::Schema { full } => {
            let shown = by_name(&schema.keyspaces).into_iter().filter(|k| *full || !is_system(&k.name));
            (shown.flat_map(|k| keyspace_elements(k, false)).collect(), false)
        }
        Describe::Keyspace { name, only } => (keyspace_elements(look.named(name.as_deref())?, *only), false),
        Describe::Table(name) => (look.table(name)?, false),
        Describe::Type(name) => (look.user_type(name)?, false),
        Describe::Index(name) => (look.index(name)?, false),
        Describe::View(name) => (look.view(name)?, false),
        Describe::Function(name) => (look.overloads(name, "User defined function", functions)?, false),
        Describe::Aggregate(name) => (look.overloads(name, "User defined aggregate", aggregates)?, false),
        Describe::Anything(name) => (look.anything(name)?, false),
    };
    let drops_several =
        |element: &&Element<'_>| matches!(element, Element::Table { table, .. } if table.dropped.len() > 1);
    if with_internals && elements.iter().any(|element| drops_several(&element)) {
        return Err(not_modelled("the order of several dropped columns"));
    }
    let mut columns = vec![("keyspace_name", CqlType::Text), ("type", CqlType::Text), ("name", CqlType::Text)];
    if !is_listing {
        columns.push(("create_statement", CqlType::Text));
    }
    let rows = elements.iter().map(|element| element.row(is_listing, with_internals, schema.dialect)).collect();
    Ok(ResultRows { columns: column_specs(columns), rows, paging_state: None })
}

/// Cuts the page that was asked for out of all rows.
///
/// As in Cassandra a page that is full announces another, even if none is left, and pages do not span schema changes.
fn page(schema: &Schema, mut all: ResultRows, options: &BindOptions) -> Result<ResultRows, ServerError> {
    let mut offset = 0;
    if let Some(state) = &options.paging_state {
        let (version, from) = read_paging_state(state)
            .ok_or_else(|| ServerError::Protocol("Invalid value for the paging state".into()))?;
        if version != schema.version {
            return Err(invalid(
                "The schema has changed since the previous page of the DESCRIBE statement result. Please retry the \
                 DESCRIBE statement.",
            ));
        }
        offset = usize::try_from(from).unwrap_or(usize::MAX);
    }
    all.rows.drain(..offset.min(all.rows.len()));
    if let Some(size) = options.page_size.filter(|size| *size > 0) {
        let size = size as usize;
        all.rows.truncate(size);
        if all.rows.len() == size {
            let mut state = BytesMut::with_capacity(24);
            state.put_slice(schema.version.as_bytes());
            state.put_u64(offset.saturating_add(size) as u64);
            all.paging_state = Some(state.freeze());
        }
    }
    Ok(all)
}

fn read_paging_state(state: &[u8]) -> Option<(Uuid, u64)> {
    let (version, offset) = state.split_at_checked(16)?;
    Some((Uuid::from_slice(version).ok()?, u64::from_be_bytes(offset.try_into().ok()?)))
}

/// A schema seen from a connection.
#[derive(Clone, Copy, Debug)]
struct Look<'a> {
    schema: &'a Schema,
    keyspace: Option<&'a str>,
}

impl<'a> Look<'a> {
    /// The keyspace of that name, or the one in use.
    fn named(self, name: Option<&str>) -> Result<&'a Keyspace, ServerError> {
        let name = name.or(self.keyspace).ok_or_else(|| invalid("No keyspace specified and no current keyspace"))?;
        let found =
            self.schema.keyspaces.get(name).ok_or_else(|| invalid(format!("'{name}' not found in keyspaces")))?;
        Ok(found)
    }

    /// Elements of the keyspace in use, or of all.
    fn list(self, of: impl Fn(&'a Keyspace) -> Vec<Element<'a>>) -> Result<Vec<Element<'a>>, ServerError> {
        Ok(match self.keyspace {
            Some(name) => of(self.named(Some(name))?),
            None => by_name(&self.schema.keyspaces).into_iter().flat_map(of).collect(),
        })
    }

    fn table(self, name: &Name) -> Result<Vec<Element<'a>>, ServerError> {
        let keyspace = self.named(name.keyspace.as_deref())?;
        let table = keyspace.tables.get(&name.name);
        table
            .map(|table| table_elements(keyspace, table))
            .ok_or_else(|| invalid(format!("Table '{}' not found in keyspace '{}'", name.name, keyspace.name)))
    }

    fn view(self, name: &Name) -> Result<Vec<Element<'a>>, ServerError> {
        let keyspace = self.named(name.keyspace.as_deref())?;
        let found = keyspace.views.get(&name.name).ok_or_else(|| self.missing(name, "Materialized view"))?;
        Ok(vec![Element::View(found)])
    }

    fn user_type(self, name: &Name) -> Result<Vec<Element<'a>>, ServerError> {
        let keyspace = self.named(name.keyspace.as_deref())?;
        let found = keyspace.types.get(&name.name).ok_or_else(|| self.missing(name, "User defined type"))?;
        Ok(vec![Element::Type(found)])
    }

    /// All functions or aggregates of one name.
    fn overloads(
        self,
        name: &Name,
        what: &str,
        of: fn(&'a Keyspace, Option<&str>) -> Vec<Element<'a>>,
    ) -> Result<Vec<Element<'a>>, ServerError> {
        let found = of(self.named(name.keyspace.as_deref())?, Some(&name.name));
        if found.is_empty() { Err(self.missing(name, what)) } else { Ok(found) }
    }

    fn index(self, name: &Name) -> Result<Vec<Element<'a>>, ServerError> {
        let keyspace = self.named(name.keyspace.as_deref())?;
        find_index(keyspace, &name.name).ok_or_else(|| self.missing(name, "Table for existing index"))
    }

    /// A keyspace of that name, or else a table, index or view of the keyspace in use.
    fn anything(self, name: &Name) -> Result<Vec<Element<'a>>, ServerError> {
        if name.keyspace.is_none() {
            if let Some(keyspace) = self.schema.keyspaces.get(&name.name) {
                return Ok(keyspace_elements(keyspace, false));
            }
            if self.keyspace.is_none() {
                return Err(invalid(format!("'{}' not found in keyspaces", name.name)));
            }
        }
        let keyspace = self.named(name.keyspace.as_deref())?;
        if let Some(table) = keyspace.tables.get(&name.name) {
            return Ok(table_elements(keyspace, table));
        }
        let view = || keyspace.views.get(&name.name).map(|view| vec![Element::View(view)]);
        find_index(keyspace, &name.name)
            .or_else(view)
            .ok_or_else(|| invalid(format!("'{}' not found in keyspace '{}'", name.name, keyspace.name)))
    }

    /// The error for an element that its keyspace does not have; or the keyspace itself is missing.
    fn missing(self, name: &Name, what: &str) -> ServerError {
        match self.named(name.keyspace.as_deref()) {
            Ok(keyspace) => invalid(format!("{what} '{}' not found in '{}'", name.name, keyspace.name)),
            Err(error) => error,
        }
    }
}

/// Something that has a row of its own.
#[derive(Clone, Copy, Debug)]
enum Element<'a> {
    Keyspace(&'a Keyspace),
    Type(&'a UserType),
    Table { table: &'a Table, is_virtual: bool },
    Index { table: &'a Table, name: &'a str, index: &'a Index },
    View(&'a View),
    Function(&'a Function),
    Aggregate(&'a Aggregate),
}

impl Element<'_> {
    fn row(self, is_listing: bool, with_internals: bool, dialect: Dialect) -> Vec<Value> {
        let (keyspace, kind, name) = match self {
            Self::Keyspace(keyspace) => (&keyspace.name, "keyspace", keyspace.name.as_str()),
            Self::Type(user_type) => (&user_type.keyspace, "type", user_type.name.as_str()),
            Self::Table { table, .. } => (&table.keyspace, "table", table.name.as_str()),
            Self::Index { table, name, .. } => (&table.keyspace, "index", name),
            Self::View(view) => (&view.table.keyspace, "materialized_view", view.table.name.as_str()),
            Self::Function(function) => (&function.keyspace, "function", function.name.as_str()),
            Self::Aggregate(aggregate) => (&aggregate.keyspace, "aggregate", aggregate.name.as_str()),
        };
        let shown = match self {
            Self::Function(Function { argument_types, .. }) | Self::Aggregate(Aggregate { argument_types, .. }) => {
                let types: Vec<_> = argument_types.iter().map(unfrozen).collect();
                format!("{}({})", quote_name(name), types.join(", "))
            }
            _ => quote_name(name),
        };
        let mut row = vec![text(&quote_name(keyspace)), text(kind), text(&shown)];
        if !is_listing {
            row.push(text(&match self {
                Self::Keyspace(keyspace) => create::keyspace(keyspace),
                Self::Type(user_type) => create::user_type(user_type),
                Self::Table { table, is_virtual } => create::table(table, is_virtual, with_internals, dialect),
                Self::Index { table, name, index } => create::index(table, name, index),
                Self::View(view) => create::view(view, with_internals, dialect),
                Self::Function(function) => create::function(function),
                Self::Aggregate(aggregate) => create::aggregate(aggregate),
            }));
        }
        row
    }
}

/// A keyspace and, unless only it is wanted, everything in it.
fn keyspace_elements(keyspace: &Keyspace, only: bool) -> Vec<Element<'_>> {
    let mut elements = vec![Element::Keyspace(keyspace)];
    if !only {
        elements.extend(types_after_what_they_use(keyspace).into_iter().map(Element::Type));
        elements.extend(functions(keyspace, None));
        elements.extend(aggregates(keyspace, None));
        elements.extend(by_name(&keyspace.tables).into_iter().flat_map(|t| table_elements(keyspace, t)));
    }
    elements
}

/// Functions of a keyspace, or those of one name.
fn functions<'a>(keyspace: &'a Keyspace, name: Option<&str>) -> Vec<Element<'a>> {
    let wanted = |function: &&Arc<Function>| name.is_none_or(|name| function.name == name);
    let mut found: Vec<&Arc<Function>> = keyspace.functions.values().filter(wanted).collect();
    found.sort_by_cached_key(|function| ordered_name(&function.name, &function.argument_types));
    found.into_iter().map(|function| Element::Function(function)).collect()
}

/// Aggregates of a keyspace, or those of one name.
fn aggregates<'a>(keyspace: &'a Keyspace, name: Option<&str>) -> Vec<Element<'a>> {
    let wanted = |aggregate: &&Arc<Aggregate>| name.is_none_or(|name| aggregate.name == name);
    let mut found: Vec<&Arc<Aggregate>> = keyspace.aggregates.values().filter(wanted).collect();
    found.sort_by_cached_key(|aggregate| ordered_name(&aggregate.name, &aggregate.argument_types));
    found.into_iter().map(|aggregate| Element::Aggregate(aggregate)).collect()
}

/// The name by which functions are ordered: overloads by the types of their arguments, as they are described.
fn ordered_name(name: &str, types: &[CqlType]) -> String {
    let types: Vec<_> = types.iter().map(unfrozen).collect();
    format!("{name}({})", types.join(", ")).to_lowercase()
}

fn table_element<'a>(keyspace: &Keyspace, table: &'a Table) -> Element<'a> {
    Element::Table { table, is_virtual: keyspace.is_virtual }
}

/// A table, its indexes and its views.
fn table_elements<'a>(keyspace: &'a Keyspace, table: &'a Table) -> Vec<Element<'a>> {
    let mut elements = vec![table_element(keyspace, table)];
    let mut indexes: Vec<(&String, &Index)> = table.indexes.iter().collect();
    indexes.sort_by_key(|(name, _)| name.to_lowercase());
    elements.extend(indexes.into_iter().map(|(name, index)| Element::Index { table, name, index }));
    elements.extend(by_name(&keyspace.views).into_iter().filter(|view| view.is_of(table)).map(Element::View));
    elements
}

fn find_index<'a>(keyspace: &'a Keyspace, name: &str) -> Option<Vec<Element<'a>>> {
    keyspace.tables.values().find_map(|table| {
        let (name, index) = table.indexes.get_key_value(name)?;
        Some(vec![Element::Index { table, name, index }])
    })
}

/// In an order in which they can be created.
fn types_after_what_they_use(keyspace: &Keyspace) -> Vec<&UserType> {
    fn visit<'a>(keyspace: &'a Keyspace, name: &str, done: &mut Vec<&'a UserType>) {
        let Some(user_type) = keyspace.types.get(name) else { return };
        if done.iter().any(|present| present.name == name) {
            return;
        }
        for (_, field) in &user_type.fields {
            let mut used = Vec::new();
            field.user_types(&mut used);
            used.iter().for_each(|inner| visit(keyspace, &inner.name, done));
        }
        done.push(user_type);
    }
    let mut done = Vec::new();
    keyspace.types.keys().for_each(|name| visit(keyspace, name, &mut done));
    done
}

/// The values in the order of their names without regard to case.
fn by_name<T>(map: &BTreeMap<String, Arc<T>>) -> Vec<&T> {
    let mut sorted: Vec<(&String, &Arc<T>)> = map.iter().collect();
    sorted.sort_by_key(|(name, _)| name.to_lowercase());
    sorted.into_iter().map(|(_, value)| &**value).collect()
}

fn column_specs(columns: Vec<(&str, CqlType)>) -> Arc<[ColumnSpec]> {
    let spec = |(name, cql_type): (&str, CqlType)| ColumnSpec {
        keyspace: "system".to_owned(),
        table: "describe".to_owned(),
        name: name.to_owned(),
        cql_type,
    };
    columns.into_iter().map(spec).collect()
}

fn text(text: &str) -> Value {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}
