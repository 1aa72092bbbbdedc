//! INSERT, UPDATE and DELETE: checking, binding, and the mutations they make.

use super::ast::{Assignment, Deletion, InsertValues, Modification, ModificationKind, Using};
use super::conditions::{self, BoundCondition, CheckedIf};
use super::expr::{Checker, Env, Expr, Receiver, check_value};
use super::relations::{self, Rel, Test};
use super::row::{clustering_key, explode, field_path, time_uuid};
use super::{Bound, ast::Op};
use crate::protocol::ServerError;
use crate::schema::{ColumnKind, Table};
use crate::storage::{
    Cell, ColumnData, ColumnId, Complex, Liveness, Mutation, NEVER, Partition, PartitionKey, RangeTombstone, Row, Slice,
};
use crate::types::json::{Json, from_json};
use crate::types::{CqlType, Value, codec, order, text};
use bytes::Bytes;
use std::sync::Arc;

/// A checked statement that writes.
#[derive(Debug)]
pub struct ModificationPlan {
    /// The table it writes.
    pub table: Arc<Table>,
    /// What it is.
    pub verb: Verb,
    /// Which rows; for INSERT its key columns as equalities.
    pub relations: Vec<Rel>,
    /// What it does to their columns.
    pub operations: Vec<Operation>,
    /// IF.
    pub condition: CheckedIf,
    json: Option<(Expr, bool)>,
    ttl: Option<Expr>,
    timestamp: Option<Expr>,
}

/// The kind of a statement that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// INSERT: the row exists afterwards.
    Insert,
    /// UPDATE: only cells.
    Update,
    /// DELETE.
    Delete,
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// What is done to a column, by its index.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Overwrites it.
    Set(usize, Expr),
    /// Overwrites an element of a list or map.
    SetElement(usize, Expr, Expr),
    /// Overwrites a field of a user type.
    SetField(usize, usize, Expr),
    /// Adds elements.
    Append(usize, Expr),
    /// Adds elements before the others.
    Prepend(usize, Expr),
    /// Removes elements or keys.
    Remove(usize, Expr),
    /// Adds to a counter; the flag is for subtracting.
    Increment(usize, Expr, bool),
    /// Deletes an element.
    DeleteElement(usize, Expr),
}

/// An operation with its values.
#[derive(Clone, Debug)]
enum BoundOperation {
    Set(usize, Value),
    SetElement(usize, Bytes, Value),
    SetField(usize, usize, Value),
    Append(usize, Bytes),
    Prepend(usize, Bytes),
    Remove(usize, Bytes),
    Increment(usize, i64),
    DeleteElement(usize, Bytes),
}

/// Which part of a partition a write changes.
#[derive(Clone, Debug)]
pub enum Target {
    /// The static columns.
    Static,
    /// Single rows.
    Rows(Vec<(Bytes, Arc<[Bytes]>)>),
    /// Ranges of rows.
    Ranges(Vec<Slice>),
    /// All of it.
    Partition,
}

/// A statement with its values, for one partition.
#[derive(Debug)]
pub struct BoundWrite {
    /// The statement.
    pub plan: Arc<ModificationPlan>,
    /// The partition.
    pub key: PartitionKey,
    /// Its components.
    pub key_parts: Vec<Bytes>,
    /// Which part of it.
    pub target: Target,
    /// Conditions with their values.
    pub conditions: Vec<BoundCondition>,
    operations: Vec<BoundOperation>,
    timestamp: i64,
    ttl: u32,
    unix_seconds: i64,
    entropy: u64,
    /// The first of the numbers that keep the list elements of one execution apart.
    sequence: u64,
}

/// The longest TTL: twenty years.
const TTL_MAX: i64 = 630_720_000;

/// Prepended list elements get times mirrored around this moment (2010-01-01), as Cassandra does it.
const PREPEND_REFERENCE_MICROS: i64 = 1_262_304_000_000_000;

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

/// Checks a statement that writes.
///
/// # Errors
///
/// As Cassandra.
pub fn check(
    checker: &mut Checker<'_>,
    table: &Arc<Table>,
    statement: &Modification,
) -> Result<ModificationPlan, ServerError> {
    let find = |name: &str| {
        table
            .column_index(name)
            .ok_or_else(|| invalid(format!("Undefined column name {name} in table {}", table.full_name())))
    };
    let key_len = table.partition_key_len + table.clustering_len;
    let (mut relations, mut operations, mut json) = (Vec::new(), Vec::new(), None);
    let verb = match &statement.kind {
        ModificationKind::Insert(InsertValues::Columns(values)) => {
            if table.is_counter {
                return Err(invalid("INSERT statements are not allowed on counter tables, use UPDATE instead"));
            }
            for (place, (name, term)) in values.iter().enumerate() {
                let index = find(name)?;
                if values[..place].iter().any(|(earlier, _)| earlier == name) {
                    return Err(invalid(format!("The column names contains duplicates: {name}")));
                }
                let expr = checker.term(term, &Receiver::new(name, &table.columns[index].cql_type))?;
                if index < key_len {
                    relations.push(Rel::Compare(index, Op::Eq, expr));
                } else {
                    operations.push(Operation::Set(index, expr));
                }
            }
            Verb::Insert
        }
        ModificationKind::Insert(InsertValues::Json { text, default_unset }) => {
            let expr = checker.term(text, &Receiver::new("[json]", &CqlType::Text))?;
            json = Some((expr, *default_unset));
            Verb::Insert
        }
        ModificationKind::Update(assignments) => {
            for assignment in assignments {
                operations.push(check_assignment(checker, table, assignment)?);
            }
            Verb::Update
        }
        ModificationKind::Delete(deletions) => {
            for deletion in deletions {
                operations.push(check_deletion(checker, table, deletion)?);
            }
            Verb::Delete
        }
    };
    let using = check_using(checker, &statement.using)?;
    if verb != Verb::Insert {
        relations = relations::check(checker, &statement.relations)?;
    }
    let condition = conditions::check(checker, table, &statement.condition)?;
    if !condition.is_none() && using.1.is_some() {
        return Err(invalid("Cannot provide custom timestamp for conditional updates"));
    }
    if table.is_counter && !condition.is_none() {
        return Err(invalid("Conditional updates are not supported on counter tables"));
    }
    if table.is_counter && (using.0.is_some() || using.1.is_some()) {
        return Err(invalid("Cannot provide custom timestamp for counter updates"));
    }
    let plan = ModificationPlan {
        table: table.clone(),
        verb,
        relations,
        operations,
        condition,
        json,
        ttl: using.0,
        timestamp: using.1,
    };
    plan.check_keys()?;
    Ok(plan)
}

/// TTL and TIMESTAMP of USING.
pub fn check_using(checker: &mut Checker<'_>, using: &Using) -> Result<(Option<Expr>, Option<Expr>), ServerError> {
    let ttl = using.ttl.as_ref().map(|t| checker.term(t, &Receiver::new("[ttl]", &CqlType::Int))).transpose()?;
    let timestamp = using
        .timestamp
        .as_ref()
        .map(|t| checker.term(t, &Receiver::new("[timestamp]", &CqlType::Bigint)))
        .transpose()?;
    Ok((ttl, timestamp))
}

fn check_assignment(
    checker: &mut Checker<'_>,
    table: &Table,
    assignment: &Assignment,
) -> Result<Operation, ServerError> {
    let (Assignment::Set(name, _)
    | Assignment::Element(name, ..)
    | Assignment::Field(name, ..)
    | Assignment::Add(name, _)
    | Assignment::Subtract(name, _)
    | Assignment::Prepend(name, _)) = assignment;
    let index = table
        .column_index(name)
        .ok_or_else(|| invalid(format!("Undefined column name {name} in table {}", table.full_name())))?;
    let column = &table.columns[index];
    let cql_type = &column.cql_type;
    if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
        return Err(invalid(format!("PRIMARY KEY part {name} found in SET part")));
    }
    let receiver = Receiver::new(name, cql_type);
    if *cql_type == CqlType::Counter {
        return match assignment {
            Assignment::Add(_, term) => Ok(Operation::Increment(index, checker.term(term, &receiver)?, false)),
            Assignment::Subtract(_, term) => Ok(Operation::Increment(index, checker.term(term, &receiver)?, true)),
            _ => Err(invalid(format!(
                "Cannot set the value of counter column {name} (counters can only be incremented/decremented, not set)"
            ))),
        };
    }
    let wrong_operation = |shown: &str| {
        let what = if cql_type.is_collection() {
            format!("frozen collection column {name}")
        } else {
            format!("non counter column {name}")
        };
        invalid(format!("Invalid operation ({shown}) for {what}"))
    };
    let is_open = cql_type.is_collection() && cql_type.is_multi_cell();
    Ok(match assignment {
        Assignment::Set(_, term) => Operation::Set(index, checker.term(term, &receiver)?),
        Assignment::Add(_, term) if is_open => Operation::Append(index, checker.term(term, &receiver)?),
        Assignment::Add(..) => return Err(wrong_operation(&format!("{name} = {name} + {}", shown(assignment)))),
        Assignment::Prepend(_, term) if is_open && matches!(cql_type, CqlType::List { .. }) => {
            Operation::Prepend(index, checker.term(term, &receiver)?)
        }
        Assignment::Prepend(..) => return Err(wrong_operation(&format!("{name} = {} + {name}", shown(assignment)))),
        Assignment::Subtract(_, term) if is_open => {
            let removed = match cql_type {
                CqlType::Map { key, .. } => CqlType::set(key.as_ref().clone(), false),
                other => other.clone(),
            };
            Operation::Remove(index, checker.term(term, &Receiver::new(name, &removed))?)
        }
        Assignment::Subtract(..) => {
            return Err(wrong_operation(&format!("{name} = {name} - {}", shown(assignment))));
        }
        Assignment::Element(_, key, term) => {
            let (key_type, value_type) = match cql_type {
                CqlType::List { element, frozen: false } => (CqlType::Int, element.as_ref().clone()),
                CqlType::Map { key, value, frozen: false } => (key.as_ref().clone(), value.as_ref().clone()),
                _ => return Err(wrong_operation(&format!("{name}[…] = …"))),
            };
            let key_name = if matches!(cql_type, CqlType::List { .. }) { "idx" } else { "key" };
            let key = checker.term(key, &Receiver::new(&format!("{key_name}({name})"), &key_type))?;
            let value = checker.term(term, &Receiver::new(&format!("value({name})"), &value_type))?;
            Operation::SetElement(index, key, value)
        }
        Assignment::Field(_, field, term) => {
            let place = field_of(table, index, field)?;
            let CqlType::Udt { definition, .. } = cql_type else { return Err(wrong_operation(name)) };
            let receiver = Receiver::new(&format!("{name}.{field}"), &definition.fields[place].1);
            Operation::SetField(index, place, checker.term(term, &receiver)?)
        }
    })
}

fn shown(assignment: &Assignment) -> String {
    use super::ast::Term;
    let (Assignment::Add(_, term) | Assignment::Subtract(_, term) | Assignment::Prepend(_, term)) = assignment else {
        return String::new();
    };
    match term {
        Term::Integer(s) | Term::Float(s) => s.clone(),
        Term::String(s) => format!("'{s}'"),
        _ => "?".to_owned(),
    }
}

fn field_of(table: &Table, index: usize, field: &str) -> Result<usize, ServerError> {
    let column = &table.columns[index];
    let CqlType::Udt { definition, frozen } = &column.cql_type else {
        return Err(invalid(format!(
            "Invalid operation ({}.{field} = …) for non-UDT column {}",
            column.name, column.name
        )));
    };
    if *frozen {
        return Err(invalid(format!(
            "Invalid operation ({}.{field} = …) for frozen UDT column {}",
            column.name, column.name
        )));
    }
    definition
        .fields
        .iter()
        .position(|(name, _)| name == field)
        .ok_or_else(|| invalid(format!("UDT column {} does not have a field named {field}", column.name)))
}

fn check_deletion(checker: &mut Checker<'_>, table: &Table, deletion: &Deletion) -> Result<Operation, ServerError> {
    let (Deletion::Column(name) | Deletion::Element(name, _) | Deletion::Field(name, _)) = deletion;
    let index = table
        .column_index(name)
        .ok_or_else(|| invalid(format!("Undefined column name {name} in table {}", table.full_name())))?;
    let column = &table.columns[index];
    if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
        return Err(invalid(format!("Invalid identifier {name} for deletion (should not be a PRIMARY KEY part)")));
    }
    Ok(match deletion {
        Deletion::Column(_) => Operation::Set(index, Expr::Const(None)),
        Deletion::Element(_, key) => {
            let key_type = match &column.cql_type {
                CqlType::List { frozen: false, .. } => CqlType::Int,
                CqlType::Set { element, frozen: false } => element.as_ref().clone(),
                CqlType::Map { key, frozen: false, .. } => key.as_ref().clone(),
                _ => return Err(invalid(format!("Invalid deletion operation for non collection column {name}"))),
            };
            Operation::DeleteElement(index, checker.term(key, &Receiver::new(&format!("key({name})"), &key_type))?)
        }
        Deletion::Field(_, field) => Operation::SetField(index, field_of(table, index, field)?, Expr::Const(None)),
    })
}

impl Operation {
    /// The column it is about.
    #[must_use]
    pub const fn column(&self) -> usize {
        match self {
            Self::Set(i, _)
            | Self::SetElement(i, ..)
            | Self::SetField(i, ..)
            | Self::Append(i, _)
            | Self::Prepend(i, _)
            | Self::Remove(i, _)
            | Self::Increment(i, ..)
            | Self::DeleteElement(i, _) => *i,
        }
    }
}

impl ModificationPlan {
    /// Whether it changes counters.
    #[must_use]
    pub fn is_counter(&self) -> bool {
        self.table.is_counter
    }

    /// The keys must be given, as far as that can be seen without values.
    fn check_keys(&self) -> Result<(), ServerError> {
        if self.json.is_some() {
            return Ok(());
        }
        let table = &self.table;
        let columns_missing = |range: std::ops::Range<usize>| -> Vec<String> {
            range
                .filter(|i| !relations::restricts_equally(&self.relations, *i))
                .map(|i| table.columns[i].name.clone())
                .collect()
        };
        let missing = columns_missing(0..table.partition_key_len);
        if !missing.is_empty() {
            return Err(invalid(format!("Some partition key parts are missing: {}", missing.join(", "))));
        }
        let key_len = table.partition_key_len + table.clustering_len;
        for relation in &self.relations {
            let (Rel::Compare(index, ..) | Rel::In(index, _) | Rel::Contains(index, ..) | Rel::Element(index, ..)) =
                relation
            else {
                continue;
            };
            if *index >= key_len {
                return Err(invalid(format!(
                    "Non PRIMARY KEY columns found in where clause: {}",
                    table.columns[*index].name
                )));
            }
        }
        let missing = columns_missing(table.partition_key_len..key_len);
        if missing.is_empty() || self.is_static_only(missing.len() == table.clustering_len) {
            return Ok(());
        }
        let has_slices =
            self.relations.iter().any(|r| matches!(r, Rel::Compare(_, op, _) | Rel::Tuple(_, op, _) if *op != Op::Eq));
        match self.verb {
            Verb::Delete if self.operations.is_empty() && self.condition.is_none() => Ok(()),
            Verb::Delete if self.operations.is_empty() => Err(invalid(
                "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to use IF condition on non static columns",
            )),
            Verb::Delete => Err(invalid("Range deletions are not supported for specific columns")),
            verb if has_slices => Err(invalid(format!(
                "Slice restrictions are not supported on the clustering columns in {} statements",
                verb.name()
            ))),
            _ => Err(invalid(format!("Some clustering keys are missing: {}", missing.join(", ")))),
        }
    }

    /// Whether it names no clustering column and concerns only static ones.
    fn is_static_only(&self, no_clustering: bool) -> bool {
        let is_static = |index: usize| self.table.columns[index].kind == ColumnKind::Static;
        let touches = !self.operations.is_empty() || self.condition.touches_columns();
        no_clustering
            && self.table.clustering_len > 0
            && touches
            && self.operations.iter().all(|o| is_static(o.column()))
            && self.condition.columns().all(is_static)
    }

    /// Gives the statement its values: one write per partition.
    ///
    /// # Errors
    ///
    /// As Cassandra: null keys, bad TTLs, …
    pub fn bind(self: &Arc<Self>, env: &Env<'_>, batch_timestamp: Option<i64>) -> Result<Vec<BoundWrite>, ServerError> {
        let table = &self.table;
        let (tests, operations) = match &self.json {
            Some((expr, default_unset)) => self.bind_json(env, expr, *default_unset)?,
            None => {
                let tests = relations::bind(table, &self.relations, env)?;
                let mut operations = Vec::new();
                for operation in &self.operations {
                    operations.extend(bind_operation(table, operation, env)?);
                }
                (tests, operations)
            }
        };
        let timestamp = match &self.timestamp {
            None => batch_timestamp.unwrap_or(env.options.timestamp),
            Some(expr) => match env.bound(expr)? {
                Bound::Unset => env.options.timestamp,
                Bound::Value(None) => return Err(invalid("Invalid null value of timestamp")),
                Bound::Value(Some(bytes)) => text::integer(&bytes),
            },
        };
        let ttl = self.time_to_live(env)?;
        let no_clustering = !tests.iter().any(|test| match test {
            Test::Compare(i, ..) | Test::In(i, _) => *i >= table.partition_key_len,
            Test::Tuple(..) | Test::TupleIn(..) => true,
            _ => false,
        });
        let static_only =
            self.is_static_only(no_clustering) || self.json.is_some() && no_clustering && table.clustering_len > 0;
        let rows = clustering_values(table, &tests);
        let plan = relations::plan(table, tests)?;
        if !plan.tests.is_empty() {
            return Err(invalid(format!("Invalid restrictions in {} statement", self.verb.name())));
        }
        let target = self.target(static_only, no_clustering, rows, plan.slices);
        let conditions = self.condition.bind(table, env)?;
        let partitions = plan.partitions.unwrap_or_default();
        let mut writes = Vec::new();
        for key_parts in partitions {
            let Some(key) = codec::join_partition_key(&key_parts) else {
                return Err(invalid("Key length is longer than maximum of 65535"));
            };
            // Room for the elements of all list operations of this write.
            let sequence = env.sequence() * 1000;
            writes.push(BoundWrite {
                plan: self.clone(),
                key,
                key_parts,
                target: target.clone(),
                conditions: conditions.clone(),
                operations: operations.clone(),
                timestamp,
                ttl,
                unix_seconds: env.options.unix_seconds,
                entropy: env.options.entropy,
                sequence,
            });
        }
        Ok(writes)
    }

    fn time_to_live(&self, env: &Env<'_>) -> Result<u32, ServerError> {
        let default = || {
            let shown = self.table.options.get("default_time_to_live");
            shown.and_then(|s| s.parse().ok()).unwrap_or_default()
        };
        let Some(expr) = &self.ttl else { return Ok(default()) };
        match env.bound(expr)? {
            Bound::Unset | Bound::Value(None) => Ok(default()),
            Bound::Value(Some(bytes)) => {
                let ttl = text::integer(&bytes);
                if ttl < 0 {
                    return Err(invalid(format!("A TTL must be greater or equal to 0, but was {ttl}")));
                }
                if ttl > TTL_MAX {
                    return Err(invalid(format!("ttl is too large. requested ({ttl}) maximum ({TTL_MAX})")));
                }
                Ok(ttl as u32)
            }
        }
    }

    fn target(
        &self,
        static_only: bool,
        no_clustering: bool,
        rows: Option<Vec<Vec<Bytes>>>,
        slices: Option<Vec<Slice>>,
    ) -> Target {
        let table = &self.table;
        if static_only {
            return Target::Static;
        }
        if self.verb == Verb::Delete && self.operations.is_empty() && no_clustering {
            return if table.clustering_len == 0 && !self.condition.is_none() {
                Target::Rows(vec![row_key(table, Vec::new())])
            } else {
                Target::Partition
            };
        }
        match rows {
            Some(rows) => Target::Rows(rows.into_iter().map(|values| row_key(table, values)).collect()),
            None => Target::Ranges(slices.unwrap_or_default()),
        }
    }

    fn bind_json(
        &self,
        env: &Env<'_>,
        expr: &Expr,
        default_unset: bool,
    ) -> Result<(Vec<Test>, Vec<BoundOperation>), ServerError> {
        let table = &self.table;
        let written = env.value(expr)?.unwrap_or_default();
        let written = String::from_utf8_lossy(&written).into_owned();
        let Some(Json::Object(pairs)) = Json::parse(&written) else {
            return Err(invalid(format!("Could not decode JSON string as a map: {written}")));
        };
        let column_name = |key: &str| match key.strip_prefix('"').and_then(|k| k.strip_suffix('"')) {
            Some(exact) => exact.to_owned(),
            None => key.to_lowercase(),
        };
        for (key, _) in &pairs {
            let name = column_name(key);
            if table.column(&name).is_none() {
                return Err(invalid(format!("JSON values map contains unrecognized column: {name}")));
            }
        }
        let (mut tests, mut operations) = (Vec::new(), Vec::new());
        for (index, column) in table.columns.iter().enumerate() {
            let given = pairs.iter().find(|(key, _)| column_name(key) == column.name);
            let value = match given {
                None if default_unset => continue,
                None => None,
                Some((_, json)) => from_json(&column.cql_type, json)
                    .map_err(|e| invalid(format!("Error decoding JSON value for {}: {e}", column.name)))?,
            };
            if let Some(bytes) = &value {
                check_value(&column.cql_type, bytes)?;
            }
            if index < table.partition_key_len + table.clustering_len {
                match value {
                    Some(bytes) => tests.push(Test::Compare(index, Op::Eq, bytes)),
                    None => return Err(invalid(format!("Invalid null value in condition for column {}", column.name))),
                }
            } else {
                operations.push(BoundOperation::Set(index, value));
            }
        }
        Ok((tests, operations))
    }
}

fn bind_operation(table: &Table, operation: &Operation, env: &Env<'_>) -> Result<Option<BoundOperation>, ServerError> {
    let name = |i: usize| table.columns[i].name.as_str();
    let given = |expr: &Expr| {
        Ok::<_, ServerError>(match env.bound(expr)? {
            Bound::Value(value) => Some(value),
            Bound::Unset => None,
        })
    };
    let key = |expr: &Expr, i: usize| {
        env.value(expr)?.ok_or_else(|| match table.columns[i].cql_type {
            CqlType::List { .. } => invalid(format!("Invalid null value for list index for column {}", name(i))),
            _ => invalid("Invalid null map key".to_owned()),
        })
    };
    Ok(match operation {
        Operation::Set(i, expr) => given(expr)?.map(|value| BoundOperation::Set(*i, value)),
        Operation::SetElement(i, k, expr) => {
            let k = key(k, *i)?;
            given(expr)?.map(|value| BoundOperation::SetElement(*i, k, value))
        }
        Operation::SetField(i, field, expr) => given(expr)?.map(|value| BoundOperation::SetField(*i, *field, value)),
        // Adding or removing null does nothing.
        Operation::Append(i, expr) => given(expr)?.flatten().map(|value| BoundOperation::Append(*i, value)),
        Operation::Prepend(i, expr) => given(expr)?.flatten().map(|value| BoundOperation::Prepend(*i, value)),
        Operation::Remove(i, expr) => given(expr)?.flatten().map(|value| BoundOperation::Remove(*i, value)),
        Operation::Increment(i, expr, negative) => match given(expr)? {
            None => None,
            Some(None) => return Err(invalid("Invalid null value for counter increment")),
            Some(Some(bytes)) => {
                let amount = text::integer(&bytes);
                if *negative && amount == i64::MIN {
                    return Err(invalid(format!(
                        "The negation of {amount} overflows supported counter precision (signed 8 bytes integer)"
                    )));
                }
                Some(BoundOperation::Increment(*i, if *negative { -amount } else { amount }))
            }
        },
        Operation::DeleteElement(i, k) => Some(BoundOperation::DeleteElement(*i, key(k, *i)?)),
    })
}

impl BoundWrite {
    /// Whether it depends on what is stored: list elements by index or value.
    #[must_use]
    pub fn needs_read(&self) -> bool {
        self.operations.iter().any(|operation| match operation {
            BoundOperation::SetElement(i, ..) | BoundOperation::DeleteElement(i, _) | BoundOperation::Remove(i, _) => {
                matches!(self.plan.table.columns[*i].cql_type, CqlType::List { .. })
            }
            _ => false,
        })
    }

    /// The slices that hold the rows it concerns.
    #[must_use]
    pub fn slices(&self) -> Vec<Slice> {
        match &self.target {
            Target::Static => Vec::new(),
            Target::Rows(rows) => {
                rows.iter().map(|(key, _)| Slice { start: key.clone(), end: relations::after(key) }).collect()
            }
            Target::Ranges(slices) => slices.clone(),
            Target::Partition => vec![Slice { start: Bytes::new(), end: relations::after(&[]) }],
        }
    }

    /// Adds what it changes to a mutation. `current` is what is stored, if it was read.
    ///
    /// # Errors
    ///
    /// As Cassandra: list index out of bounds.
    pub fn write(&self, mutation: &mut Mutation, current: Option<&Partition>) -> Result<(), ServerError> {
        let table = &self.plan.table;
        let changes = &mut mutation.changes;
        let mut addition = Partition::default();
        match &self.target {
            Target::Static => self.write_row(&mut addition.static_row, current.map(|p| &p.static_row), true)?,
            Target::Rows(rows) => {
                for (key, clustering) in rows {
                    let row = addition.row_mut(key.clone(), clustering);
                    self.write_row(row, current.and_then(|p| p.rows.get(key)), false)?;
                }
                self.write_row(&mut addition.static_row, current.map(|p| &p.static_row), true)?;
            }
            Target::Ranges(slices) => {
                addition.range_tombstones = slices
                    .iter()
                    .map(|s| RangeTombstone { start: s.start.clone(), end: s.end.clone(), timestamp: self.timestamp })
                    .collect();
            }
            Target::Partition => addition.deletion = self.timestamp,
        }
        addition.rows.retain(|_, row| !row.is_empty());
        debug_assert_eq!(mutation.table, table.id, "a mutation is of one table");
        changes.merge(addition);
        Ok(())
    }

    fn expires_at(&self) -> i64 {
        if self.ttl == 0 { NEVER } else { self.unix_seconds + i64::from(self.ttl) }
    }

    fn write_row(&self, row: &mut Row, current: Option<&Row>, statics: bool) -> Result<(), ServerError> {
        let table = &self.plan.table;
        if !statics {
            if self.plan.verb == Verb::Insert {
                row.liveness =
                    Some(Liveness { timestamp: self.timestamp, expires_at: self.expires_at(), ttl: self.ttl });
            }
            if self.plan.verb == Verb::Delete && self.operations.is_empty() {
                row.deletion = self.timestamp;
            }
        }
        let mut sequence = self.sequence;
        for operation in &self.operations {
            let index = operation.column();
            let column = &table.columns[index];
            if (column.kind == ColumnKind::Static) != statics {
                continue;
            }
            let id = ColumnId::of(&column.name);
            let present = match current.and_then(|row| row.columns.get(&id)) {
                Some(ColumnData::Complex(complex)) => Some(complex),
                _ => None,
            };
            let data = self.operate(operation, &column.cql_type, present, &mut sequence)?;
            match row.columns.get_mut(&id) {
                Some(earlier) => earlier.merge(data),
                None => {
                    row.columns.insert(id, data);
                }
            }
        }
        Ok(())
    }

    fn cell(&self, value: Value) -> Cell {
        match value {
            None => Cell::tombstone(self.timestamp),
            Some(bytes) => {
                Cell { timestamp: self.timestamp, value: Some(bytes), ttl: self.ttl, expires_at: self.expires_at() }
            }
        }
    }

    fn operate(
        &self,
        operation: &BoundOperation,
        cql_type: &CqlType,
        present: Option<&Complex>,
        sequence: &mut u64,
    ) -> Result<ColumnData, ServerError> {
        let mut complex = Complex::default();
        let mut append_path = |micros: i64| {
            *sequence += 1;
            time_uuid(micros, *sequence, self.entropy)
        };
        match operation {
            BoundOperation::Set(_, value) if !cql_type.is_multi_cell() && *cql_type != CqlType::Counter => {
                return Ok(ColumnData::Simple(self.cell(value.clone())));
            }
            BoundOperation::Set(_, value) => {
                // Deletes what was there, just below the new elements.
                complex.deletion = if value.is_some() { self.timestamp - 1 } else { self.timestamp };
                if let Some(bytes) = value {
                    for (order, path, value) in explode(cql_type, bytes, || append_path(self.timestamp)) {
                        if value.is_some() {
                            complex.insert(order, path, self.cell(value));
                        }
                    }
                }
            }
            BoundOperation::Append(_, bytes) => {
                for (order, path, value) in explode(cql_type, bytes, || append_path(self.timestamp)) {
                    complex.insert(order, path, self.cell(value));
                }
            }
            BoundOperation::Prepend(_, bytes) => {
                let mirrored = PREPEND_REFERENCE_MICROS - (self.timestamp - PREPEND_REFERENCE_MICROS);
                for (order, path, value) in explode(cql_type, bytes, || append_path(mirrored)) {
                    complex.insert(order, path, self.cell(value));
                }
            }
            BoundOperation::Remove(_, bytes) => {
                let removed: Vec<Bytes> =
                    codec::split_collection(bytes, false).unwrap_or_default().into_iter().flatten().collect();
                match cql_type {
                    CqlType::List { .. } => {
                        for (path, value, _) in present.into_iter().flat_map(|p| p.live(self.unix_seconds)) {
                            if removed.contains(value) {
                                let order = order::encode(&CqlType::Timeuuid, path);
                                complex.insert(order, path.clone(), Cell::tombstone(self.timestamp));
                            }
                        }
                    }
                    CqlType::Set { element: of, .. } | CqlType::Map { key: of, .. } => {
                        for path in removed {
                            complex.insert(order::encode(of, &path), path, Cell::tombstone(self.timestamp));
                        }
                    }
                    _ => {}
                }
            }
            BoundOperation::SetElement(_, key, value) => {
                let (order, path) = self.element_path(cql_type, key, present, true)?;
                complex.insert(order, path, self.cell(value.clone()));
            }
            BoundOperation::DeleteElement(_, key) => {
                // Deleting from a list that is not there is an error as well, unless it is conditional.
                let (order, path) = self.element_path(cql_type, key, present, false)?;
                complex.insert(order, path, Cell::tombstone(self.timestamp));
            }
            BoundOperation::SetField(_, field, value) => {
                let path = field_path(*field);
                complex.insert(path.clone(), path, self.cell(value.clone()));
            }
            BoundOperation::Increment(_, amount) => {
                let value = Bytes::copy_from_slice(&amount.to_be_bytes());
                complex.insert(Bytes::new(), Bytes::new(), Cell::live(self.timestamp, value));
            }
        }
        Ok(ColumnData::Complex(complex))
    }

    fn element_path(
        &self,
        cql_type: &CqlType,
        key: &Bytes,
        present: Option<&Complex>,
        sets: bool,
    ) -> Result<(Bytes, Bytes), ServerError> {
        match cql_type {
            CqlType::Map { key: of, .. } | CqlType::Set { element: of, .. } => {
                Ok((order::encode(of, key), key.clone()))
            }
            _ => {
                let live: Vec<_> = present.into_iter().flat_map(|p| p.live(self.unix_seconds)).collect();
                if live.is_empty() {
                    let verb = if sets { "set" } else { "delete" };
                    let preposition = if sets { "on" } else { "from" };
                    return Err(invalid(format!("Attempted to {verb} an element {preposition} a list which is null")));
                }
                let index = text::integer(key);
                let found = usize::try_from(index).ok().and_then(|i| live.get(i));
                let (path, ..) = found
                    .ok_or_else(|| invalid(format!("List index {index} out of bound, list has size {}", live.len())))?;
                Ok((order::encode(&CqlType::Timeuuid, path), (*path).clone()))
            }
        }
    }
}

impl BoundOperation {
    const fn column(&self) -> usize {
        match self {
            Self::Set(i, _)
            | Self::SetElement(i, ..)
            | Self::SetField(i, ..)
            | Self::Append(i, _)
            | Self::Prepend(i, _)
            | Self::Remove(i, _)
            | Self::Increment(i, _)
            | Self::DeleteElement(i, _) => *i,
        }
    }
}

/// Counter increments of one execution add up instead of superseding each other.
pub fn merge_increments(mutation: &mut Mutation, addition: &Mutation) {
    let sum_rows = |mine: &mut Row, theirs: &Row| {
        for (id, data) in theirs.columns.iter() {
            let (Some(ColumnData::Complex(mine)), ColumnData::Complex(theirs)) = (mine.columns.get_mut(id), data)
            else {
                mine.columns.insert(*id, data.clone());
                continue;
            };
            for (order, (path, cell)) in &theirs.cells {
                let number = |cell: &Cell| cell.value.as_ref().map_or(0, |v| text::integer(v));
                let before = mine.cells.get(order).map_or(0, |(_, cell)| number(cell));
                let sum = before.wrapping_add(number(cell));
                let cell = Cell::live(cell.timestamp, Bytes::copy_from_slice(&sum.to_be_bytes()));
                mine.cells.insert(order.clone(), (path.clone(), cell));
            }
        }
    };
    sum_rows(&mut mutation.changes.static_row, &addition.changes.static_row);
    for (key, row) in &addition.changes.rows {
        sum_rows(mutation.changes.row_mut(key.clone(), &row.clustering), row);
    }
    let deletions = Partition {
        deletion: addition.changes.deletion,
        range_tombstones: addition.changes.range_tombstones.clone(),
        ..Partition::default()
    };
    mutation.changes.merge(deletions);
}

/// The clustering values of every row that the tests name, if they name single rows.
fn clustering_values(table: &Table, tests: &[Test]) -> Option<Vec<Vec<Bytes>>> {
    let mut rows: Vec<Vec<Bytes>> = vec![Vec::new()];
    let mut index = table.partition_key_len;
    while index < table.partition_key_len + table.clustering_len {
        let tuples: Vec<Vec<Bytes>> = tests.iter().find_map(|test| match test {
            Test::Compare(i, Op::Eq, value) if *i == index => Some(vec![vec![value.clone()]]),
            Test::In(i, values) if *i == index => Some(values.iter().map(|v| vec![v.clone()]).collect()),
            Test::Tuple(columns, Op::Eq, values) if columns.first() == Some(&index) => Some(vec![values.clone()]),
            Test::TupleIn(columns, tuples) if columns.first() == Some(&index) => Some(tuples.clone()),
            _ => None,
        })?;
        index += tuples.first().map_or(1, Vec::len);
        rows = rows.iter().flat_map(|row| tuples.iter().map(|t| [row.as_slice(), t.as_slice()].concat())).collect();
    }
    Some(rows)
}

/// The encoded key and values of a row's clustering.
fn row_key(table: &Table, values: Vec<Bytes>) -> (Bytes, Arc<[Bytes]>) {
    (clustering_key(table, &values), Arc::from(values))
}
