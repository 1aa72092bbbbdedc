//! SELECT: checking, and what it selects from each row or group of rows.
//!
//! The checked statement, its ordering and its grouping are here; `selectors` checks what is selected, and `evaluate`
//! computes it for rows.

mod evaluate;
mod selectable;
mod selectors;

pub use evaluate::element;

use self::evaluate::meta_value;
use self::selectors::{Builder, Built};
use super::ast::{Select, Selector};
use super::expr::{Env, Expr, Receiver};
use super::functions::Function;
use super::parser::not_modelled;
use super::read::ReadExecution;
use super::relations::{self, Context, Facts, Rel, StatementKind};
use super::row::RowView;
use super::terms::Checker;
use super::{Action, BindOptions, Bound, show};
use crate::protocol::{ColumnSpec, ServerError};
use crate::schema::{ColumnKind, Table};
use crate::types::{CqlType, Value, json};
use bytes::Bytes;
use std::sync::Arc;

/// A checked SELECT.
#[derive(Debug)]
pub struct SelectPlan {
    /// The table it reads.
    pub table: Arc<Table>,
    /// What is taken from every row.
    pub inputs: Vec<Input>,
    /// What is made of it.
    pub selected: Vec<Selected>,
    /// Its result's columns.
    pub columns: Arc<[ColumnSpec]>,
    /// Its WHERE clause.
    pub relations: Vec<Rel>,
    /// Whether rows become JSON texts.
    pub is_json: bool,
    /// One row per partition.
    pub is_distinct: bool,
    /// Whether rows are gathered in groups.
    pub is_aggregate: bool,
    /// How many leading primary key columns make a group; `None` is one group of all.
    pub group_len: Option<usize>,
    /// Whether rows come last first.
    pub reversed: bool,
    /// The columns of ORDER BY.
    pub order_by: Vec<usize>,
    /// LIMIT.
    pub limit: Option<Expr>,
    /// PER PARTITION LIMIT.
    pub per_partition_limit: Option<Expr>,
    /// Server warnings that do not depend on data.
    pub warnings: Vec<String>,
    facts: Facts,
}

/// What is taken from a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A column's value.
    Column(usize),
    /// `writetime`, `maxwritetime` or `ttl` of a column.
    Meta(Meta, usize),
}

/// What is asked about a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// Its write time.
    WriteTime,
    /// The newest write time of its elements.
    MaxWriteTime,
    /// The seconds it has left.
    Ttl,
}

/// What is made of a row's inputs.
#[derive(Clone, Debug)]
pub enum Selected {
    /// An input as it is.
    Input(usize),
    /// The number of rows.
    CountRows,
    /// A scalar function.
    Call(Function, Vec<Selected>),
    /// An aggregate function.
    Aggregate(Function, Box<Selected>),
    /// A field of a user type with so many fields.
    Field(Box<Selected>, usize, usize),
    /// An element of a map or set of a type, at a place; with the name of what it is taken from.
    Element(Box<Selected>, CqlType, Expr, String),
    /// The elements of a map or set between two places; with the name of what they are taken from.
    Slice(Box<Selected>, CqlType, [Option<Expr>; 2], String),
    /// What is asked about the cell of an element, out of what is known of all cells of the column.
    MetaOfElement { metas: Box<Selected>, value: Box<Selected>, collection: CqlType, key: Expr, column: String },
    /// What is asked about the cell of a field.
    MetaOfField(Box<Selected>, usize),
    /// `[a, b]`.
    List(Vec<Selected>),
    /// `[a, b]` where a vector is needed.
    Vector(CqlType, Vec<Selected>),
    /// `{a, b}`.
    Set(CqlType, Vec<Selected>),
    /// `{a: b}`.
    Map(CqlType, Vec<(Selected, Selected)>),
    /// `(a, b)`, or the fields of a user type.
    Tuple(Vec<Selected>),
    /// A constant or a bound value.
    Term(Expr),
}

impl Meta {
    /// The function that asks for it.
    const fn name(self) -> &'static str {
        match self {
            Self::WriteTime => "writetime",
            Self::MaxWriteTime => "maxwritetime",
            Self::Ttl => "ttl",
        }
    }

    /// The type of the answer about a value: one for each cell, except for the newest of all.
    fn result(self, of: &CqlType) -> CqlType {
        let single = if self == Self::Ttl { CqlType::Int } else { CqlType::Bigint };
        if of.is_multi_cell() && self != Self::MaxWriteTime { CqlType::list(single, true) } else { single }
    }
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

/// What is selected, with the names and types of the result's columns.
struct Clause {
    selected: Vec<Selected>,
    specs: Vec<(String, CqlType)>,
}

fn everything(builder: &mut Builder<'_, '_>, table: &Table) -> Clause {
    let selected = (0..table.columns.len()).map(|index| builder.input(Input::Column(index))).collect();
    let specs = table.columns.iter().map(|column| (column.name.clone(), column.cql_type.clone())).collect();
    Clause { selected, specs }
}

fn clause(built: Vec<Built>, selectors: &[(Selector, Option<String>)], is_json: bool) -> Clause {
    let mut clause = Clause { selected: Vec::new(), specs: Vec::new() };
    for (built, (_, alias)) in built.into_iter().zip(selectors) {
        clause.selected.push(built.selected);
        let cql_type = if is_json { built.cql_type } else { built.announced };
        clause.specs.push((alias.clone().unwrap_or(built.name), cql_type));
    }
    clause
}

/// Checks a SELECT.
///
/// # Errors
///
/// As Cassandra.
pub fn check(checker: &mut Checker<'_>, table: &Arc<Table>, select: &Select) -> Result<SelectPlan, ServerError> {
    let mut builder = Builder::new(checker);
    // What is wrong with WHERE is said before what is wrong with selectors, but for those that had to be looked at to
    // know whether only static columns are selected.
    let clause = match &select.selectors {
        None => Ok(everything(&mut builder, table)),
        Some(selectors) => {
            builder.check_statics(selectors)?;
            builder.clause(selectors).map(|built| clause(built, selectors, select.is_json))
        }
    };
    let inputs = builder.inputs;
    let context = Context {
        statement: StatementKind::Select,
        allow_filtering: select.allow_filtering,
        only_statics: select.selectors.is_some() && selects_only_statics(table, &inputs),
    };
    let (relations, facts) = relations::check(checker, &select.relations, context)?;
    let Clause { selected, specs } = clause?;
    if select.is_distinct {
        check_distinct(table, select, &inputs, &facts)?;
    }
    let group_len = grouping(table, select, &facts)?;
    let aggregates = selected.iter().any(Selected::is_aggregate);
    let is_aggregate = group_len.is_some() || aggregates;
    if group_len.is_none() && aggregates && select.per_partition_limit.is_some() {
        return Err(invalid("PER PARTITION LIMIT is not allowed with aggregate queries."));
    }
    let reversed = ordering(table, select, &facts)?;
    facts.check_filtering(select.allow_filtering)?;
    let mut warnings = Vec::new();
    if is_aggregate {
        if !facts.has_key {
            warnings.push("Aggregation query used without partition key".to_owned());
        } else if facts.has_key_in {
            warnings.push("Aggregation query used on multiple partition keys (IN restriction)".to_owned());
        }
    }
    let limit_receiver = |name: &str| Receiver::new(name, &CqlType::Int);
    let per_partition_limit = match &select.per_partition_limit {
        Some(term) => Some(checker.term(term, &limit_receiver("[per_partition_limit]"))?),
        None => None,
    };
    let limit = select.limit.as_ref().map(|term| checker.term(term, &limit_receiver("[limit]"))).transpose()?;
    let spec = |(name, cql_type): (String, CqlType)| ColumnSpec {
        keyspace: table.keyspace.clone(),
        table: table.name.clone(),
        name,
        cql_type,
    };
    let columns: Arc<[ColumnSpec]> = if select.is_json {
        let names: Vec<_> = specs.iter().map(|(name, _)| name.clone()).collect();
        let types: Vec<_> = specs.iter().map(|(_, t)| t.clone()).collect();
        JsonNames { names, types }.into_columns(table)
    } else {
        specs.into_iter().map(spec).collect()
    };
    Ok(SelectPlan {
        table: table.clone(),
        inputs,
        selected,
        columns,
        relations,
        is_json: select.is_json,
        is_distinct: select.is_distinct,
        is_aggregate,
        group_len,
        reversed,
        order_by: select.order_by.iter().filter_map(|(name, _)| table.column_index(name)).collect(),
        limit,
        per_partition_limit,
        warnings,
        facts,
    })
}

/// For SELECT JSON: the first column is the answer's, the others keep the names and types of the values in it.
struct JsonNames {
    names: Vec<String>,
    types: Vec<CqlType>,
}

impl JsonNames {
    fn into_columns(self, table: &Table) -> Arc<[ColumnSpec]> {
        let spec = |name: &str, cql_type: &CqlType| ColumnSpec {
            keyspace: table.keyspace.clone(),
            table: table.name.clone(),
            name: name.to_owned(),
            cql_type: cql_type.clone(),
        };
        let inner = self.names.iter().zip(&self.types).map(|(name, cql_type)| spec(name, cql_type));
        std::iter::once(spec("[json]", &CqlType::Text)).chain(inner).collect()
    }
}

impl SelectPlan {
    /// The columns of the answer.
    #[must_use]
    pub fn result_columns(&self) -> Arc<[ColumnSpec]> {
        if self.is_json { self.columns[..1].to_vec().into() } else { self.columns.clone() }
    }

    /// Begins reading.
    ///
    /// # Errors
    ///
    /// As Cassandra: bad limits, null keys, a bad paging state.
    pub fn bind(self: &Arc<Self>, values: &[Bound], options: &BindOptions) -> Result<Action, ServerError> {
        let env = Env::new(values, options);
        let limit = |expr: &Option<Expr>, name: &str| -> Result<Option<u32>, ServerError> {
            let Some(expr) = expr else { return Ok(None) };
            match env.bound(expr)? {
                Bound::Unset => Ok(None),
                Bound::Value(None) => Err(invalid(format!("Invalid null value of {name}"))),
                Bound::Value(Some(bytes)) => {
                    let n = crate::types::text::integer(&bytes);
                    match u32::try_from(n) {
                        Ok(n) if n > 0 => Ok(Some(n)),
                        _ => Err(invalid("LIMIT must be strictly positive".to_owned())),
                    }
                }
            }
        };
        for selected in &self.selected {
            selected.begin(&env)?;
        }
        let row_limit = limit(&self.limit, "limit")?;
        let partition_limit = limit(&self.per_partition_limit, "limit")?;
        let tests = relations::bind(&self.table, &self.relations, &self.facts, &env)?;
        if self.facts.filters_by_tuple {
            return Err(invalid("Multi-column slice restrictions cannot be used for filtering."));
        }
        let plan = relations::plan(&self.table, tests)?;
        if !self.order_by.is_empty()
            && options.page_size.is_some()
            && plan.partitions.as_ref().is_some_and(|p| p.len() > 1)
        {
            return Err(invalid(
                "Cannot page queries with both ORDER BY and a IN restriction on the partition key; you must either remove the ORDER BY or the IN and sort client side, or disable paging for this query",
            ));
        }
        ReadExecution::new(self.clone(), plan, values.to_vec(), options, row_limit, partition_limit).map(Action::Read)
    }

    /// What a row gives.
    #[must_use]
    pub fn take(&self, row: &RowView<'_>) -> Vec<Value> {
        self.inputs
            .iter()
            .map(|input| match input {
                Input::Column(index) => row.value(*index),
                Input::Meta(meta, index) => meta_value(row, *meta, *index),
            })
            .collect()
    }

    /// Whether a row is answered as it was taken: only columns, in the order of the selection.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let is_input = |(index, selected): (usize, &Selected)| matches!(selected, Selected::Input(n) if *n == index);
        let is_whole = self.selected.len() == self.inputs.len() && self.selected.iter().enumerate().all(is_input);
        is_whole && !self.is_json && !self.is_aggregate && self.group_len.is_none()
    }

    /// The answer's row for a group of rows (a single row, unless it aggregates).
    ///
    /// # Errors
    ///
    /// What functions say about their arguments.
    pub fn answer(&self, rows: &[Vec<Value>], env: &Env<'_>) -> Result<Vec<Value>, ServerError> {
        if !self.is_json {
            return self.selected.iter().map(|s| s.evaluate(rows, env)).collect();
        }
        let mut parts = Vec::new();
        for (selected, spec) in self.selected.iter().zip(&self.columns[1..]) {
            let value = selected.evaluate(rows, env)?;
            parts.push(format!(
                "{}: {}",
                json::quote(&json::name_key(&spec.name)),
                json::to_json(&spec.cql_type, value.as_ref())
            ));
        }
        Ok(vec![Some(Bytes::from(format!("{{{}}}", parts.join(", "))))])
    }
}

/// Whether nothing but static columns is selected, beside the partition key.
fn selects_only_statics(table: &Table, inputs: &[Input]) -> bool {
    let kind = |input: &Input| {
        let (Input::Column(index) | Input::Meta(_, index)) = input;
        table.columns[*index].kind
    };
    inputs.iter().any(|input| kind(input) == ColumnKind::Static)
        && inputs.iter().all(|input| matches!(kind(input), ColumnKind::PartitionKey | ColumnKind::Static))
}

fn check_distinct(table: &Table, select: &Select, inputs: &[Input], facts: &Facts) -> Result<(), ServerError> {
    if select.per_partition_limit.is_some() {
        return Err(invalid("PER PARTITION LIMIT is not allowed with SELECT DISTINCT queries"));
    }
    if facts.has_clustering || facts.others.iter().any(|index| table.columns[*index].kind != ColumnKind::Static) {
        return Err(invalid(
            "SELECT DISTINCT with WHERE clause only supports restriction by partition key and/or static columns.",
        ));
    }
    for input in inputs {
        let (Input::Column(index) | Input::Meta(_, index)) = input;
        let column = &table.columns[*index];
        if !matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Static) {
            return Err(invalid(format!(
                "SELECT DISTINCT queries must only request partition key columns and/or static columns (not {})",
                column.name
            )));
        }
    }
    if facts.is_key_range {
        for (index, column) in table.partition_key().iter().enumerate() {
            if !inputs.contains(&Input::Column(index)) {
                return Err(invalid(format!(
                    "SELECT DISTINCT queries must request all the partition key columns (missing {})",
                    column.name
                )));
            }
        }
    }
    Ok(())
}

/// Whether rows come last first.
fn ordering(table: &Table, select: &Select, facts: &Facts) -> Result<bool, ServerError> {
    const IN_ORDER: &str =
        "Order by currently only supports the ordering of columns following their declared order in the PRIMARY KEY";
    // A column that is named twice counts once, in its first place and with its last direction.
    let mut columns: Vec<(usize, bool)> = Vec::new();
    for (name, descending) in &select.order_by {
        let index = table.column_index(name).ok_or_else(|| invalid(show::undefined_column(table, name)))?;
        match columns.iter_mut().find(|(present, _)| *present == index) {
            Some(present) => present.1 = *descending,
            None => columns.push((index, *descending)),
        }
    }
    if columns.is_empty() {
        return Ok(false);
    }
    if facts.uses_index {
        return Err(invalid("ORDER BY with 2ndary indexes is not supported, except for ANN queries."));
    }
    if facts.is_key_range {
        return Err(invalid("ORDER BY is only supported when the partition key is restricted by an EQ or an IN."));
    }
    let mut expected = table.partition_key_len;
    let mut directions = Vec::new();
    for (index, descending) in columns {
        let column = &table.columns[index];
        if column.kind != ColumnKind::Clustering {
            return Err(invalid(format!(
                "Order by is currently only supported on the clustered columns of the PRIMARY KEY, got {}",
                column.name
            )));
        }
        // Columns fixed by `=` may be skipped.
        while expected != index {
            if expected >= table.partition_key_len + table.clustering_len || !facts.equal.contains(&expected) {
                return Err(invalid(IN_ORDER));
            }
            expected += 1;
        }
        expected += 1;
        directions.push((index, descending != column.descending));
    }
    directions.sort_unstable();
    let reversed = directions.first().is_some_and(|(_, reversed)| *reversed);
    if directions.iter().any(|(_, other)| *other != reversed) {
        return Err(invalid("Unsupported order by relation"));
    }
    Ok(reversed)
}

fn grouped_by_aggregate(name: &str) -> ServerError {
    invalid(format!("Aggregate functions are not supported within the GROUP BY clause, got: system.{name}"))
}

/// How many leading primary key columns make a group.
fn grouping(table: &Table, select: &Select, facts: &Facts) -> Result<Option<usize>, ServerError> {
    if select.group_by.is_empty() {
        return Ok(None);
    }
    let key_len = table.partition_key_len + table.clustering_len;
    let mut next = 0;
    for selector in &select.group_by {
        let name = match selector {
            Selector::Column(name) => name,
            Selector::CountRows => return Err(grouped_by_aggregate("count_rows")),
            Selector::Call(function, _)
                if matches!(function.name.as_str(), "count" | "min" | "max" | "sum" | "avg") =>
            {
                return Err(grouped_by_aggregate(&function.name));
            }
            _ => return Err(not_modelled("GROUP BY a function")),
        };
        let index = table.column_index(name).ok_or_else(|| invalid(show::undefined_column(table, name)))?;
        if index >= key_len {
            return Err(invalid(format!(
                "Group by is currently only supported on the columns of the PRIMARY KEY, got {name}"
            )));
        }
        while next < key_len && next != index && facts.equal.contains(&next) {
            next += 1;
        }
        if index != next {
            return Err(invalid(
                "Group by currently only support groups of columns following their declared order in the PRIMARY KEY",
            ));
        }
        next += 1;
    }
    if next < table.partition_key_len {
        return Err(invalid("Group by is not supported on only a part of the partition key"));
    }
    if next > table.partition_key_len && select.is_distinct {
        return Err(invalid("Grouping on clustering columns is not allowed for SELECT DISTINCT queries"));
    }
    Ok(Some(next))
}
