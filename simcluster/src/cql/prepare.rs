//! Text into a checked statement, and a checked statement with values into what is to be done.

use super::ast::{Ddl, Describe, Modification, Name, Statement, Using};
use super::ddl::no_keyspace;
use super::expr::{Env, Expr};
use super::modify::{self, ModificationPlan};
use super::parser::{Parsed, not_modelled, parse_remembered};
use super::relations;
use super::select::{self, SelectPlan};
use super::system::is_system;
use super::terms::Checker;
use super::write::check_batch;
use super::{Action, Answer, BatchType, BindOptions, Bound, Prepared, SchemaStatement, describe, dialect, write};
use crate::protocol::{ColumnSpec, ServerError};
use crate::schema::views::View;
use crate::schema::{Schema, Table};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A statement after checking.
#[derive(Clone, Debug)]
pub enum Checked {
    /// SELECT.
    Select(Arc<SelectPlan>),
    /// INSERT, UPDATE or DELETE.
    Modify(Arc<ModificationPlan>),
    /// BEGIN BATCH with its USING TIMESTAMP.
    Batch(BatchType, Vec<Arc<ModificationPlan>>, Option<Arc<Expr>>),
    /// USE.
    Use(String),
    /// TRUNCATE.
    Truncate(Name),
    /// CREATE, ALTER or DROP.
    Schema(SchemaStatement),
    /// DESCRIBE, WITH INTERNALS or not.
    Describe(Describe, bool),
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

/// Parses and checks one statement.
///
/// # Errors
///
/// [`ServerError::Syntax`] or [`ServerError::Invalid`] (and `Config`, `AlreadyExists` where Cassandra decides so
/// early), with Cassandra's text.
pub fn prepare(schema: &Schema, keyspace: Option<&str>, text: &str) -> Result<Prepared, ServerError> {
    let parsed = parse_remembered(text)?;
    let Parsed { statement, markers: names } = &*parsed;
    dialect::check(statement, schema.dialect)?;
    let mut markers: Vec<Option<ColumnSpec>> = vec![None; names.len()];
    let mut prepared = Prepared {
        text: text.to_owned(),
        markers: Vec::new(),
        partition_key_markers: Vec::new(),
        result_columns: None,
        is_fully_qualified: false,
        keyspace: keyspace.map(ToOwned::to_owned),
        checked: Checked::Use(String::new()),
    };
    let check_modification = |markers: &mut Vec<Option<ColumnSpec>>, modification: &Modification| {
        let view = find_view(schema, keyspace, &modification.table);
        let table = match view {
            Some(view) => view.table.clone(),
            None => find_table(schema, keyspace, &modification.table)?,
        };
        let mut checker = Checker { schema, table: &table, names, markers };
        let plan = modify::check(&mut checker, &table, modification)?;
        if view.is_some() {
            return Err(invalid("Cannot directly modify a materialized view"));
        }
        Ok(Arc::new(plan))
    };
    prepared.checked = match statement {
        Statement::Select(select) => {
            prepared.is_fully_qualified = select.table.keyspace.is_some();
            let table = find_table(schema, keyspace, &select.table)?;
            let mut checker = Checker { schema, table: &table, names, markers: &mut markers };
            let plan = select::check(&mut checker, &table, select)?;
            prepared.partition_key_markers = relations::partition_key_markers(&table, plan.relations.iter());
            prepared.result_columns = Some(plan.result_columns());
            Checked::Select(Arc::new(plan))
        }
        Statement::Modify(modification) => {
            prepared.is_fully_qualified = modification.table.keyspace.is_some();
            let plan = check_modification(&mut markers, modification)?;
            prepared.partition_key_markers = relations::partition_key_markers(&plan.table, plan.relations.iter());
            Checked::Modify(plan)
        }
        Statement::Batch(batch) => {
            prepared.is_fully_qualified = batch.statements.iter().all(|s| s.table.keyspace.is_some());
            let plans = batch
                .statements
                .iter()
                .map(|statement| check_modification(&mut markers, statement))
                .collect::<Result<Vec<_>, _>>()?;
            if let Some(first) = plans.first() {
                let table = &first.table;
                let of_one_table = plans.iter().all(|p| p.table.id == table.id);
                if of_one_table {
                    prepared.partition_key_markers =
                        relations::partition_key_markers(table, plans.iter().flat_map(|plan| &plan.relations));
                }
            }
            let timestamp = batch_timestamp(schema, names, &mut markers, &batch.using)?;
            check_batch(batch.kind, &plans.iter().collect::<Vec<_>>(), timestamp.is_some())?;
            Checked::Batch(batch.kind, plans, timestamp.map(Arc::new))
        }
        Statement::Use(name) => {
            if !schema.keyspaces.contains_key(name) {
                return Err(invalid(format!("Keyspace '{name}' does not exist")));
            }
            Checked::Use(name.clone())
        }
        Statement::Truncate(name) => {
            prepared.is_fully_qualified = name.keyspace.is_some();
            if find_view(schema, keyspace, name).is_none() {
                find_table(schema, keyspace, name)?;
            }
            Checked::Truncate(name.clone())
        }
        Statement::Ddl(ddl) => {
            if needs_keyspace(ddl) && keyspace.is_none() {
                return Err(no_keyspace());
            }
            Checked::Schema(SchemaStatement::new(ddl.clone(), keyspace))
        }
        Statement::Describe { what, with_internals } => Checked::Describe(what.clone(), *with_internals),
    };
    // A marker that nothing gave a type stands where none is allowed.
    prepared.markers =
        markers.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| invalid("Invalid amount of bind variables"))?;
    Ok(prepared)
}

/// Whether a DDL statement has an unqualified name that needs the connection's keyspace.
fn needs_keyspace(ddl: &Ddl) -> bool {
    match ddl {
        Ddl::CreateKeyspace { .. } | Ddl::AlterKeyspace { .. } | Ddl::DropKeyspace { .. } => false,
        Ddl::CreateTable { name, .. }
        | Ddl::AlterTable { name, .. }
        | Ddl::DropTable { name, .. }
        | Ddl::CreateType { name, .. }
        | Ddl::AlterType { name, .. }
        | Ddl::DropType { name, .. }
        | Ddl::DropIndex { name, .. }
        | Ddl::AlterView { name, .. }
        | Ddl::DropView { name, .. }
        | Ddl::DropFunction { name, .. } => name.keyspace.is_none(),
        Ddl::CreateView(create) => create.name.keyspace.is_none(),
        Ddl::CreateFunction(create) => create.name.keyspace.is_none(),
        Ddl::CreateAggregate(create) => create.name.keyspace.is_none(),
        Ddl::CreateIndex { table, .. } => table.keyspace.is_none(),
    }
}

fn batch_timestamp(
    schema: &Schema,
    names: &[Option<String>],
    markers: &mut Vec<Option<ColumnSpec>>,
    using: &Using,
) -> Result<Option<Expr>, ServerError> {
    if using.ttl.is_some() {
        return Err(invalid("Global TTL on the BATCH statement is not supported."));
    }
    if using.timestamp.is_none() {
        return Ok(None);
    }
    // It belongs to no table.
    let nothing = Table::empty("[batch]", "[batch]");
    let mut checker = Checker { schema, table: &nothing, names, markers };
    Ok(modify::check_using(&mut checker, using)?.1)
}

/// Looks a table up as statements name it.
fn find_table(schema: &Schema, keyspace: Option<&str>, name: &Name) -> Result<Arc<Table>, ServerError> {
    let keyspace = name.keyspace.as_deref().or(keyspace).ok_or_else(no_keyspace)?;
    let found = schema.keyspaces.get(keyspace).ok_or_else(|| invalid(format!("keyspace {keyspace} does not exist")))?;
    if found.views.contains_key(&name.name) {
        return Err(not_modelled("reading a materialized view"));
    }
    if tells_of_builds(keyspace, &name.name) && schema.keyspaces.values().any(|keyspace| !keyspace.views.is_empty()) {
        return Err(not_modelled("what is told of the building of materialized views"));
    }
    found.tables.get(&name.name).cloned().ok_or_else(|| invalid(format!("table {} does not exist", name.name)))
}

/// Whether nodes write into this table while they fill a view.
fn tells_of_builds(keyspace: &str, table: &str) -> bool {
    matches!(
        (keyspace, table),
        ("system", "built_views" | "view_builds_in_progress") | ("system_distributed", "view_build_status")
    )
}

fn find_view<'a>(schema: &'a Schema, keyspace: Option<&str>, name: &Name) -> Option<&'a Arc<View>> {
    schema.keyspaces.get(name.keyspace.as_deref().or(keyspace)?)?.views.get(&name.name)
}

impl Prepared {
    /// Binds values by position and decides what is to be done.
    ///
    /// A statement whose table was altered since it was prepared is checked again.
    ///
    /// # Errors
    ///
    /// As Cassandra: wrong number of values, wrong length, null key, …
    pub fn bind(&self, schema: &Schema, values: &[Bound], options: &BindOptions) -> Result<Action, ServerError> {
        if self.is_outdated(schema) {
            return prepare(schema, self.keyspace.as_deref(), &self.text)?.bind_current(schema, values, options);
        }
        self.bind_current(schema, values, options)
    }

    /// Whether a table it was checked against has changed in the schema.
    #[must_use]
    pub fn is_outdated(&self, schema: &Schema) -> bool {
        let changed = |table: &Arc<Table>| {
            schema.table(&table.keyspace, &table.name).is_none_or(|now| {
                !Arc::ptr_eq(now, table)
                    && (now.id != table.id
                        || now.columns != table.columns
                        || now.indexes != table.indexes
                        || now.options != table.options)
            })
        };
        match &self.checked {
            Checked::Select(plan) => changed(&plan.table),
            Checked::Modify(plan) => changed(&plan.table),
            Checked::Batch(_, plans, _) => plans.iter().any(|plan| changed(&plan.table)),
            _ => false,
        }
    }

    fn bind_current(&self, schema: &Schema, values: &[Bound], options: &BindOptions) -> Result<Action, ServerError> {
        self.check_count(values)?;
        Ok(match &self.checked {
            Checked::Select(plan) => plan.bind(values, options)?,
            Checked::Modify(plan) => {
                write::bind(&[(plan.clone(), Env::new(values, options))], None, None, options.unix_seconds)?
            }
            Checked::Batch(kind, plans, timestamp) => {
                let statements: Vec<_> = plans.iter().map(|plan| (plan.clone(), Env::new(values, options))).collect();
                write::bind(&statements, Some(*kind), timestamp.as_deref(), options.unix_seconds)?
            }
            Checked::Use(name) => Action::Answer(Answer::SetKeyspace(name.clone())),
            Checked::Truncate(name) => {
                if find_view(schema, self.keyspace.as_deref(), name).is_some() {
                    return Err(invalid(
                        "Cannot TRUNCATE materialized view directly; must truncate base table instead",
                    ));
                }
                let table = find_table(schema, self.keyspace.as_deref(), name)?;
                Action::Truncate { keyspace: table.keyspace.clone(), table: table.id }
            }
            Checked::Schema(statement) => Action::Schema(statement.clone()),
            Checked::Describe(what, with_internals) => {
                describe::action(schema, self.keyspace.as_deref(), what, *with_internals, options)?
            }
        })
    }

    /// Refuses a QUERY with the wrong number of values, which is told of in other words than for EXECUTE.
    ///
    /// # Errors
    ///
    /// [`ServerError::Invalid`].
    pub fn check_count_of_query(&self, given: usize) -> Result<(), ServerError> {
        if given == self.markers.len() { Ok(()) } else { Err(invalid("Invalid amount of bind variables")) }
    }

    fn check_count(&self, values: &[Bound]) -> Result<(), ServerError> {
        if values.len() == self.markers.len() {
            return Ok(());
        }
        Err(invalid(format!(
            "there were {} markers(?) in CQL but {} bound variables",
            self.markers.len(),
            values.len()
        )))
    }
}

/// Binds the statements of a BATCH message together.
///
/// # Errors
///
/// As Cassandra: a SELECT inside, counters in a logged batch, conditions on several partitions, too large, …
pub fn bind_batch(
    schema: &Schema,
    batch_type: BatchType,
    statements: &[(Arc<Prepared>, Vec<Bound>)],
    options: &BindOptions,
) -> Result<Action, ServerError> {
    let mut plans = Vec::new();
    for (prepared, values) in statements {
        if values.len() != prepared.markers.len() {
            return Err(invalid(format!(
                "There were {} markers(?) in CQL but {} bound variables",
                prepared.markers.len(),
                values.len()
            )));
        }
        let again;
        let prepared: &Prepared = if prepared.is_outdated(schema) {
            again = prepare(schema, prepared.keyspace.as_deref(), &prepared.text)?;
            &again
        } else {
            prepared
        };
        let Checked::Modify(plan) = &prepared.checked else {
            return Err(invalid("Invalid statement in batch: only UPDATE, INSERT and DELETE statements are allowed."));
        };
        plans.push(plan.clone());
    }
    check_batch(batch_type, &plans.iter().collect::<Vec<_>>(), false)?;
    // Every statement has its own numbers for functions.
    let own = |place: usize| BindOptions { entropy: options.entropy.wrapping_add(place as u64), ..options.clone() };
    let own: Vec<BindOptions> = (0..plans.len()).map(own).collect();
    let bound = plans.into_iter().zip(statements).zip(&own);
    let bound: Vec<_> = bound.map(|((plan, (_, values)), own)| (plan, Env::new(values, own))).collect();
    write::bind(&bound, Some(batch_type), None, options.unix_seconds)
}

impl Prepared {
    /// The tables the statement reads or writes: nodes forget the statements of tables that changed.
    #[must_use]
    pub fn tables(&self) -> BTreeMap<Uuid, String> {
        let one = |table: &Table| (table.id, table.full_name());
        match &self.checked {
            Checked::Select(plan) => BTreeMap::from([one(&plan.table)]),
            Checked::Modify(plan) => BTreeMap::from([one(&plan.table)]),
            Checked::Batch(_, plans, _) => plans.iter().map(|plan| one(&plan.table)).collect(),
            _ => BTreeMap::new(),
        }
    }

    /// Whether it is a SELECT from a system table that calls no function, which needs parentheses: what the schema
    /// holds beside the system keyspaces is of no matter to it.
    #[must_use]
    pub fn reads_only_system_tables(&self) -> bool {
        matches!(&self.checked, Checked::Select(plan) if is_system(&plan.table.keyspace)) && !self.text.contains('(')
    }

    /// Whether it has IF: its consistency is checked differently.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        match &self.checked {
            Checked::Modify(plan) => !plan.condition.is_none(),
            Checked::Batch(_, plans, _) => plans.iter().any(|plan| !plan.condition.is_none()),
            _ => false,
        }
    }
}
