//! CREATE, ALTER and DROP MATERIALIZED VIEW, and what views mean for the tables they are made from.
//!
//! Views are metadata: nothing fills them, and reading one is refused as not modelled.

use super::keyspaces::is_local_system;
use super::properties::{first_table_properties, table_properties};
use super::{Change, Changes, event, invalid};
use crate::cql::ast::{CreateView, InValues, Name, Properties, Relation, Selector, TableChange, Term};
use crate::cql::java::hash_order;
use crate::cql::parser::{not_modelled, parse_relations};
use crate::cql::relations::{self, Context, StatementKind};
use crate::cql::row::time_uuid;
use crate::cql::system::is_system;
use crate::cql::terms::Checker;
use crate::cql::{show, system};
use crate::protocol::ServerError;
use crate::schema::views::View;
use crate::schema::{Column, ColumnKind, Keyspace, Table, options};
use crate::storage::Mutation;
use crate::types::{CqlType, quote_name};
use std::sync::Arc;
use uuid::Uuid;

/// What clients that create a view are warned of.
pub(super) const WARNING: &str = "Materialized views are experimental and are not recommended for production use.";

impl Change<'_> {
    pub(super) fn create_view(&self, create: &CreateView) -> Result<Option<Changes>, ServerError> {
        let keyspace_name = create.name.keyspace.as_deref().or(self.keyspace).unwrap_or_default();
        if create.base.keyspace.as_ref().is_some_and(|keyspace| keyspace != keyspace_name) {
            return Err(invalid("Cannot create a materialized view on a table in a different keyspace"));
        }
        if create.has_markers {
            return Err(invalid("Bind variables are not allowed in CREATE MATERIALIZED VIEW statements"));
        }
        if is_system(keyspace_name) && !is_local_system(keyspace_name) {
            return Err(ServerError::Unauthorized(format!(
                "Cannot ALTER <table {keyspace_name}.{}>",
                create.base.name
            )));
        }
        let name = &create.name.name;
        let keyspace = self.existing_keyspace(self.keyspace_of(&create.name)?)?;
        let base_name = &create.base.name;
        let base =
            keyspace.tables.get(base_name).ok_or_else(|| invalid(format!("Base table '{base_name}' doesn't exist")))?;
        if keyspace.tables.contains_key(name) {
            return Err(invalid(format!(
                "Cannot create materialized view '{name}' - a table with the same name already exists"
            )));
        }
        if keyspace.views.contains_key(name) {
            if create.if_not_exists {
                return Ok(None);
            }
            return Err(ServerError::AlreadyExists {
                keyspace: keyspace_name.to_owned(),
                table: name.clone(),
                message: format!("Cannot add already existing table \"{name}\" to keyspace \"{keyspace_name}\""),
            });
        }
        check_base(name, base)?;
        let selected = selected_columns(create, base)?;
        let columns = key_and_others(create, &selected)?;
        check_key(create, base)?;
        self.check_where(create, base)?;
        let mut table = Table {
            id: Uuid::from_slice(&time_uuid(self.timestamp, self.entropy % 10, self.entropy)).unwrap_or_default(),
            columns,
            options: options::defaults(),
            ..Table::empty(keyspace_name, name)
        };
        set_properties(&mut table, &create.properties)?;
        table.arrange();
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(ServerError::Config(format!(
                "{keyspace_name}.{name}: Table name must not be empty or not contain non-alphanumeric-underscore characters (got \"{name}\")"
            )));
        }
        let view = View {
            table: Arc::new(table),
            base_id: base.id,
            base_name: base_name.clone(),
            includes_all: create.selectors.is_none(),
            where_clause: where_clause(&create.relations)?,
        };
        let rows = system::view_rows(self.schema, &view, self.timestamp);
        Ok(Some((rows, event("CREATED", "TABLE", keyspace_name, name))))
    }

    pub(super) fn alter_view(
        &self,
        name: &Name,
        if_exists: bool,
        properties: &Properties,
    ) -> Result<Option<Changes>, ServerError> {
        let Some(found) = self.existing_view(name, if_exists)? else { return Ok(None) };
        let mut table = Table::clone(&found.table);
        table_properties(&mut table, properties)?;
        check_grace(&table, "a materialized view")?;
        if table.options.get("default_time_to_live").is_some_and(|ttl| ttl != "0") {
            return Err(invalid(
                "Forbidden default_time_to_live detected for a materialized view. Data in a materialized view always expire at the same time than the corresponding data in the parent table. default_time_to_live must be set to zero, see CASSANDRA-12868 for more information",
            ));
        }
        if table.options == found.table.options {
            return Ok(None);
        }
        let event = event("UPDATED", "TABLE", &table.keyspace, &table.name);
        let view = View { table: Arc::new(table), ..View::clone(found) };
        Ok(Some((system::view_rows(self.schema, &view, self.timestamp), event)))
    }

    pub(super) fn drop_view(&self, name: &Name, if_exists: bool) -> Result<Option<Changes>, ServerError> {
        let Some(view) = self.existing_view(name, if_exists)? else { return Ok(None) };
        let (keyspace, name) = (view.table.keyspace.as_str(), view.table.name.as_str());
        let rows = [("views", "view_name"), ("columns", "table_name")]
            .iter()
            .filter_map(|(table, column)| self.deletion(table, &[("keyspace_name", keyspace), (column, name)]));
        Ok(Some((rows.collect(), event("DROPPED", "TABLE", keyspace, name))))
    }

    fn existing_view(&self, name: &Name, if_exists: bool) -> Result<Option<&Arc<View>>, ServerError> {
        let keyspace = name.keyspace.as_deref().or(self.keyspace).unwrap_or_default();
        if is_local_system(keyspace) {
            return Err(invalid(format!("System keyspace '{keyspace}' is not user-modifiable")));
        }
        let found = self.schema.keyspaces.get(keyspace).and_then(|keyspace| keyspace.views.get(&name.name));
        if found.is_none() && !if_exists {
            return Err(invalid(format!("Materialized view '{keyspace}.{}' doesn't exist", name.name)));
        }
        Ok(found)
    }

    /// Refuses a statement about tables that names a view.
    pub(super) fn check_no_view(&self, name: &Name, statement: &str, instead: &str) -> Result<(), ServerError> {
        let keyspace = self.schema.keyspaces.get(self.keyspace_of(name)?);
        if keyspace.is_some_and(|keyspace| keyspace.views.contains_key(&name.name)) {
            return Err(invalid(format!("Cannot use {statement} on a materialized view{instead}")));
        }
        Ok(())
    }

    /// Whether a table has views.
    pub(super) fn has_views(&self, table: &Table) -> bool {
        self.schema.keyspaces.get(&table.keyspace).is_some_and(|keyspace| keyspace.views_of(table).next().is_some())
    }

    /// Refuses to drop a table that has views: where Cassandra means to name them, it names the keyspace.
    pub(super) fn check_no_views_of(&self, table: &Table) -> Result<(), ServerError> {
        if self.has_views(table) {
            return Err(invalid(format!(
                "Cannot drop a table when materialized views still depend on it ({})",
                table.keyspace
            )));
        }
        Ok(())
    }

    /// What a change of a table does to its views: they take part in new columns and new names.
    pub(super) fn changes_of_views(&self, keyspace: &Keyspace, table: &Table, what: &TableChange) -> Vec<Mutation> {
        let mut rows = Vec::new();
        for view in keyspace.views_of(table) {
            match what {
                TableChange::Add { .. } if view.includes_all => {
                    rows.extend(system::view_rows(self.schema, &with_columns_of(view, table), self.timestamp));
                }
                TableChange::Rename { pairs, .. } => {
                    for (from, _) in pairs {
                        let key = [
                            ("keyspace_name", table.keyspace.as_str()),
                            ("table_name", view.table.name.as_str()),
                            ("column_name", from),
                        ];
                        rows.extend(self.deletion("columns", &key));
                    }
                    rows.extend(system::view_rows(self.schema, &renamed(view, pairs), self.timestamp));
                }
                _ => {}
            }
        }
        rows
    }

    /// Every column of the key is restricted, and no other but by IS NOT NULL.
    fn check_where(&self, create: &CreateView, base: &Table) -> Result<(), ServerError> {
        let context = Context { statement: StatementKind::Select, allow_filtering: true, only_statics: false };
        let mut markers = Vec::new();
        let mut checker = Checker { schema: self.schema, table: base, names: &[], markers: &mut markers };
        let (mut restricted, mut compared) = (Vec::new(), Vec::new());
        for relation in &create.relations {
            let column = match relation {
                Relation::NotNull(column) => existing_column(base, column)?,
                Relation::Compare { column, .. } | Relation::In { column, .. } => {
                    relations::check(&mut checker, std::slice::from_ref(relation), context)?;
                    compared.push(relation.clone());
                    existing_column(base, column)?
                }
                _ => return Err(not_modelled("such a relation in the WHERE clause of a materialized view")),
            };
            restricted.push((column, !matches!(relation, Relation::NotNull(_))));
        }
        relations::check(&mut checker, &compared, context)?;
        let is_free = |name: &&String| !restricted.iter().any(|(column, _)| column.name == **name);
        let free = in_hash_order(create.partition_key.iter().chain(&create.clustering)).filter(is_free);
        let free = free.map(String::as_str).collect::<Vec<_>>();
        if !free.is_empty() {
            return Err(invalid(format!(
                "Primary key columns {} must be restricted with 'IS NOT NULL' or otherwise",
                free.join(", ")
            )));
        }
        let is_key = |column: &Column| matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering);
        let mut illegal: Vec<&str> =
            restricted.iter().filter(|(c, compares)| *compares && !is_key(c)).map(|(c, _)| c.name.as_str()).collect();
        illegal.dedup();
        match illegal[..] {
            [] => Ok(()),
            [column] => Err(invalid(format!(
                "Non-primary key columns can only be restricted with 'IS NOT NULL' (got: {column} restricted illegally)"
            ))),
            _ => Err(not_modelled("naming several columns that a materialized view must not restrict")),
        }
    }
}

/// Refuses to let undelivered changes of views expire at once.
pub(super) fn check_grace(table: &Table, of: &str) -> Result<(), ServerError> {
    if has_no_grace(table) {
        return Err(invalid(format!(
            "Cannot alter gc_grace_seconds of {of} to 0, since this value is used to TTL undelivered updates. Setting gc_grace_seconds too low might cause undelivered updates to expire before being replayed."
        )));
    }
    Ok(())
}

fn has_no_grace(table: &Table) -> bool {
    table.options.get("gc_grace_seconds").is_some_and(|seconds| seconds == "0")
}

/// Whether a table can have a view of this name.
fn check_base(name: &str, base: &Table) -> Result<(), ServerError> {
    if base.is_counter {
        return Err(invalid("Materialized views are not supported on counter tables"));
    }
    if has_no_grace(base) {
        return Err(invalid(format!(
            "Cannot create materialized view '{name}' for base table '{}' with gc_grace_seconds of 0, since this value is used to TTL undelivered updates. Setting gc_grace_seconds too low might cause undelivered updates to expire before being replayed.",
            base.name
        )));
    }
    Ok(())
}

fn existing_column<'a>(table: &'a Table, name: &str) -> Result<&'a Column, ServerError> {
    table.column(name).ok_or_else(|| invalid(show::undefined_column(table, name)))
}

/// The columns that a view selects, in the order in which a hash map holds them.
fn selected_columns<'a>(create: &CreateView, base: &'a Table) -> Result<Vec<&'a Column>, ServerError> {
    let mut selected: Vec<&Column> = Vec::new();
    for (selector, alias) in create.selectors.iter().flatten() {
        if alias.is_some() {
            return Err(invalid(
                "Cannot use aliases when defining a materialized view (got org.apache.cassandra.cql3.selection.RawSelector@1a2b3c4d)",
            ));
        }
        match selector {
            Selector::Column(name) => selected.push(existing_column(base, name)?),
            Selector::Call(..) | Selector::CountRows => {
                return Err(invalid(
                    "Can only select columns by name when defining a materialized view (got org.apache.cassandra.cql3.selection.Selectable$WithFunction$Raw@1a2b3c4d)",
                ));
            }
            _ => return Err(not_modelled("such a selection in a materialized view")),
        }
    }
    if create.selectors.is_none() {
        selected.extend(&base.columns);
    }
    let order = hash_order(selected.iter().map(|column| column.name.as_str()));
    match order.into_iter().map(|place| selected[place]).find(|column| column.kind == ColumnKind::Static) {
        Some(column) => Err(invalid(format!(
            "Cannot include static column '{}' in materialized view '{}'",
            column.name, create.name.name
        ))),
        None => Ok(selected),
    }
}

/// The columns of a view, which have the types of those of its table.
fn key_and_others(create: &CreateView, selected: &[&Column]) -> Result<Vec<Column>, ServerError> {
    let name = &create.name.name;
    let mut columns: Vec<Column> = Vec::new();
    let partition_key = create.partition_key.iter().enumerate().map(|key| (ColumnKind::PartitionKey, key));
    let clustering = create.clustering.iter().enumerate().map(|key| (ColumnKind::Clustering, key));
    for (kind, (position, key)) in partition_key.chain(clustering) {
        let Some(column) = selected.iter().find(|column| column.name == *key) else {
            return Err(invalid(format!(
                "Unknown column '{key}' referenced in PRIMARY KEY for materialized view '{name}'"
            )));
        };
        if columns.iter().any(|earlier| earlier.name == *key) {
            return Err(invalid(format!(
                "Duplicate column '{key}' in PRIMARY KEY clause for materialized view '{name}'"
            )));
        }
        check_key_type(column)?;
        let ordered = create.order.iter().find(|(ordered, _)| ordered == key).map(|(_, descending)| *descending);
        let descending = kind == ColumnKind::Clustering && ordered.unwrap_or(column.descending);
        columns.push(Column { kind, position: position as i32, descending, ..Column::clone(column) });
    }
    for column in selected {
        if !columns.iter().any(|known| known.name == column.name) {
            columns.push(regular(column));
        }
    }
    let ordered: Vec<&String> = create.order.iter().map(|(column, _)| column).collect();
    if !ordered.is_empty() && ordered != create.clustering.iter().collect::<Vec<_>>() {
        return Err(invalid("Clustering key columns must exactly match columns in CLUSTERING ORDER BY directive"));
    }
    Ok(columns)
}

fn check_key_type(column: &Column) -> Result<(), ServerError> {
    if column.cql_type.is_multi_cell() {
        return Err(not_modelled("naming a type that the key of a materialized view cannot have"));
    }
    let unfit = if column.cql_type == CqlType::Counter { "counter" } else { "duration" };
    if column.cql_type == CqlType::Counter || column.cql_type.references_duration() {
        return Err(invalid(format!("{unfit} type is not supported for PRIMARY KEY column '{}'", column.name)));
    }
    Ok(())
}

/// The key of a view is that of its table, and at most one column more.
fn check_key(create: &CreateView, base: &Table) -> Result<(), ServerError> {
    let name = &create.name.name;
    let key: Vec<&String> = create.partition_key.iter().chain(&create.clustering).collect();
    let of_base: Vec<&String> = base.partition_key().iter().chain(base.clustering()).map(|c| &c.name).collect();
    let missing: Vec<&str> = of_base.iter().filter(|column| !key.contains(column)).map(|c| c.as_str()).collect();
    if !missing.is_empty() {
        return Err(invalid(format!(
            "Cannot create materialized view '{name}' without primary key columns {} from base table '{}'",
            missing.join(", "),
            base.name
        )));
    }
    let others: Vec<&str> =
        in_hash_order(key.into_iter()).filter(|column| !of_base.contains(column)).map(String::as_str).collect();
    if others.len() > 1 {
        return Err(invalid(format!(
            "Cannot include more than one non-primary key column in materialized view primary key (got {})",
            others.join(", ")
        )));
    }
    Ok(())
}

/// The names of columns in the order of a hash map.
fn in_hash_order<'a>(names: impl Iterator<Item = &'a String>) -> impl Iterator<Item = &'a String> {
    let names: Vec<&String> = names.collect();
    hash_order(names.iter().map(|name| name.as_str())).into_iter().map(move |place| names[place])
}

/// WITH: properties of tables, without one that would part a view from its table.
fn set_properties(table: &mut Table, properties: &Properties) -> Result<(), ServerError> {
    first_table_properties(table, properties)?;
    if table.options.get("default_time_to_live").is_some_and(|ttl| ttl != "0") {
        return Err(invalid(
            "Cannot set default_time_to_live for a materialized view. Data in a materialized view always expire at the same time than the corresponding data in the parent table.",
        ));
    }
    Ok(())
}

/// The relations of WHERE, as they are kept.
///
/// # Errors
///
/// Values whose notation is not certain are refused as not modelled.
fn where_clause(relations: &[Relation]) -> Result<String, ServerError> {
    let is_plain = |term: &Term| match term {
        Term::Null | Term::Integer(_) | Term::Float(_) | Term::Uuid(_) => true,
        Term::String(text) => !text.contains('\''),
        _ => false,
    };
    let one = |relation: &Relation| match relation {
        Relation::Compare { column, op, term } if is_plain(term) => {
            Ok(format!("{} {} {}", quote_name(column), show::operator(*op), show::term(term)))
        }
        Relation::In { column, values: InValues::Terms(terms) } if terms.iter().all(is_plain) => {
            let shown: Vec<String> = terms.iter().map(show::term).collect();
            Ok(format!("{} IN ({})", quote_name(column), shown.join(", ")))
        }
        Relation::NotNull(column) => Ok(format!("{} IS NOT NULL", quote_name(column))),
        _ => Err(not_modelled("such a value in the WHERE clause of a materialized view")),
    };
    Ok(relations.iter().map(one).collect::<Result<Vec<_>, _>>()?.join(" AND "))
}

fn regular(column: &Column) -> Column {
    Column { kind: ColumnKind::Regular, position: -1, descending: false, ..column.clone() }
}

/// A view of all columns, after its table got more of them.
fn with_columns_of(view: &View, base: &Table) -> View {
    let mut table = Table::clone(&view.table);
    let is_new = |column: &&Column| column.kind == ColumnKind::Regular && view.table.column(&column.name).is_none();
    table.columns.extend(base.columns.iter().filter(is_new).map(regular));
    table.arrange();
    View { table: Arc::new(table), ..view.clone() }
}

/// A view after columns of its table, which are columns of its own key too, got other names.
fn renamed(view: &View, pairs: &[(String, String)]) -> View {
    let mut table = Table::clone(&view.table);
    let mut relations = parse_relations(&view.where_clause).unwrap_or_default();
    for (from, to) in pairs {
        table.columns.iter_mut().filter(|column| column.name == *from).for_each(|column| column.name.clone_from(to));
        for relation in &mut relations {
            if let Relation::NotNull(column) | Relation::Compare { column, .. } | Relation::In { column, .. } = relation
                && column == from
            {
                column.clone_from(to);
            }
        }
    }
    table.arrange();
    // It was written from relations of these kinds.
    let where_clause = where_clause(&relations).unwrap_or_else(|_| view.where_clause.clone());
    View { table: Arc::new(table), where_clause, ..view.clone() }
}
