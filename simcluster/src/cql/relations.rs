//! The WHERE clause: which partitions, which rows, and what has to be filtered.

use super::ast::{InValues, Op, Relation, Term};
use super::expr::{Checker, Env, Expr, Receiver};
use super::functions::Function;
use super::parser::not_modelled;
use super::row::RowView;
use super::{Bound, ddl};
use crate::protocol::ServerError;
use crate::ring::{Token, TokenRange};
use crate::schema::{ColumnKind, Table};
use crate::storage::Slice;
use crate::types::{CqlType, Value, codec, order};
use bytes::Bytes;
use std::cmp::Ordering;

/// A relation with types.
#[derive(Clone, Debug)]
pub enum Rel {
    /// `column op value`.
    Compare(usize, Op, Expr),
    /// `column IN values`.
    In(usize, InExpr),
    /// `(columns) op (values)`.
    Tuple(Vec<usize>, Op, Expr),
    /// `(columns) IN ((values), …)`.
    TupleIn(Vec<usize>, InExpr),
    /// `token(key) op value`.
    Token(Op, Expr),
    /// `column CONTAINS [KEY] value`.
    Contains(usize, bool, Expr),
    /// `column[key] = value`.
    Element(usize, Expr, Expr),
}

/// The values of IN: each an expression, or one marker bound to a list.
#[derive(Clone, Debug)]
pub enum InExpr {
    /// `(a, b)`.
    Each(Vec<Expr>),
    /// `?`.
    List(Expr),
}

/// A relation with its values.
#[derive(Clone, Debug)]
pub enum Test {
    Compare(usize, Op, Bytes),
    In(usize, Vec<Bytes>),
    Tuple(Vec<usize>, Op, Vec<Bytes>),
    TupleIn(Vec<usize>, Vec<Vec<Bytes>>),
    Token(Op, i64),
    Contains(usize, bool, Bytes),
    Element(usize, Bytes, Bytes),
}

/// What a WHERE clause selects.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The partition keys in the order of their type, if all components are given.
    pub partitions: Option<Vec<Vec<Bytes>>>,
    /// The arc of the ring; `None` if it is empty.
    pub range: Option<TokenRange>,
    /// Which rows of each partition; `None` is all.
    pub slices: Option<Vec<Slice>>,
    /// What rows must be tested for.
    pub tests: Vec<Test>,
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

/// The text with which Cassandra refuses to filter.
pub const FILTERING: &str = "Cannot execute this query as it might involve data filtering and thus may have unpredictable performance. If you want to execute this query despite the performance unpredictability, use ALLOW FILTERING";

/// Checks the relations of a statement.
///
/// # Errors
///
/// As Cassandra: unknown columns, wrong types, contradictions.
pub fn check(checker: &mut Checker<'_>, relations: &[Relation]) -> Result<Vec<Rel>, ServerError> {
    let table = checker.table;
    let find = |name: &str| {
        table
            .column_index(name)
            .ok_or_else(|| invalid(format!("Undefined column name {name} in table {}", table.full_name())))
    };
    let mut checked = Vec::new();
    for relation in relations {
        checked.push(match relation {
            Relation::Compare { column, op, term } => {
                let index = find(column)?;
                let cql_type = &table.columns[index].cql_type;
                if *op == Op::Ne {
                    return Err(invalid(format!("Unsupported \"!=\" relation: {column} != {}", show(term))));
                }
                if cql_type.is_multi_cell() && cql_type.is_collection() {
                    return Err(invalid(format!(
                        "Collection column '{column}' ({cql_type}) cannot be restricted by a '{}' relation",
                        symbol(*op)
                    )));
                }
                Rel::Compare(index, *op, checker.term(term, &Receiver::new(column, cql_type))?)
            }
            Relation::In { column, values } => {
                let index = find(column)?;
                let cql_type = table.columns[index].cql_type.clone();
                Rel::In(index, in_values(checker, values, column, &cql_type)?)
            }
            Relation::Tuple { columns, op, term } => {
                let (indexes, receiver) = tuple_receiver(table, columns, &find)?;
                if let Term::Tuple(items) = term
                    && items.len() != columns.len()
                {
                    return Err(invalid(format!(
                        "Expected {} elements in value tuple, but got {}: {}",
                        columns.len(),
                        items.len(),
                        show(term)
                    )));
                }
                Rel::Tuple(indexes, *op, tuple_term(checker, term, &receiver)?)
            }
            Relation::TupleIn { columns, values } => {
                let (indexes, receiver) = tuple_receiver(table, columns, &find)?;
                let values = match values {
                    InValues::Terms(terms) => InExpr::Each(
                        terms.iter().map(|t| tuple_term(checker, t, &receiver)).collect::<Result<Vec<_>, _>>()?,
                    ),
                    InValues::Marker(index) => {
                        let list = CqlType::list(receiver.cql_type.clone(), true);
                        InExpr::List(checker.marker(*index, &Receiver::new(&format!("in({})", receiver.name), &list)))
                    }
                };
                Rel::TupleIn(indexes, values)
            }
            Relation::Token { columns, op, term } => {
                let key: Vec<&str> = table.partition_key().iter().map(|c| c.name.as_str()).collect();
                for column in columns {
                    find(column)?;
                }
                if columns.iter().map(String::as_str).ne(key.iter().copied()) {
                    return Err(invalid(format!(
                        "The token() function must be applied to all partition key components or none of them, in partition key order: {}",
                        key.join(", ")
                    )));
                }
                Rel::Token(*op, checker.term(term, &Receiver::new("partition key token", &CqlType::Bigint))?)
            }
            Relation::Contains { column, key, term } => {
                let index = find(column)?;
                let cql_type = &table.columns[index].cql_type;
                let element = match (cql_type, key) {
                    (CqlType::List { element, .. } | CqlType::Set { element, .. }, false) => element,
                    (CqlType::Map { key, .. }, true) => key,
                    (CqlType::Map { value, .. }, false) => value,
                    _ => {
                        let what = if *key { "CONTAINS KEY" } else { "CONTAINS" };
                        return Err(invalid(format!("Cannot use {what} on non-collection column {column}")));
                    }
                };
                let receiver = Receiver::new(&format!("value({column})"), element);
                Rel::Contains(index, *key, checker.term(term, &receiver)?)
            }
            Relation::Element { column, key, term } => {
                let index = find(column)?;
                let CqlType::Map { key: key_type, value, .. } = &table.columns[index].cql_type else {
                    return Err(invalid(format!("Column {column} cannot be used as a map")));
                };
                let key = checker.term(key, &Receiver::new(&format!("key({column})"), key_type))?;
                Rel::Element(index, key, checker.term(term, &Receiver::new(&format!("value({column})"), value))?)
            }
            Relation::NotNull(column) => {
                return Err(invalid(format!(
                    "Unsupported restriction: {column} IS NOT NULL"
                )));
            }
            Relation::Like(column) => {
                find(column)?;
                return Err(not_modelled("LIKE"));
            }
        });
    }
    contradictions(table, &checked)?;
    Ok(checked)
}

/// A column with an equality can have no other relation, and at most one bound on each side.
fn contradictions(table: &Table, relations: &[Rel]) -> Result<(), ServerError> {
    for (index, column) in table.columns.iter().enumerate() {
        let own: Vec<Op> = relations
            .iter()
            .filter_map(|r| match r {
                Rel::Compare(i, op, _) if *i == index => Some(*op),
                Rel::In(i, _) if *i == index => Some(Op::Eq),
                _ => None,
            })
            .collect();
        // Only key columns: other columns may be filtered by any combination.
        if own.len() > 1 && own.contains(&Op::Eq) {
            return Err(invalid(format!(
                "{} cannot be restricted by more than one relation if it includes an Equal",
                column.name
            )));
        }
        let lower = own.iter().filter(|op| matches!(op, Op::Gt | Op::Ge)).count();
        let upper = own.iter().filter(|op| matches!(op, Op::Lt | Op::Le)).count();
        if lower > 1 || upper > 1 {
            let which = if lower > 1 { "start" } else { "end" };
            return Err(invalid(format!(
                "More than one restriction was found for the {which} bound on {}",
                column.name
            )));
        }
    }
    Ok(())
}

/// For each component of the partition key the marker it is bound to; empty unless all are.
#[must_use]
pub fn partition_key_markers(table: &Table, relations: &[Rel]) -> Vec<u16> {
    let marker = |index: usize| {
        relations.iter().find_map(|relation| match relation {
            Rel::Compare(i, Op::Eq, Expr::Marker(marker, _)) if *i == index => u16::try_from(*marker).ok(),
            _ => None,
        })
    };
    (0..table.partition_key_len).map(marker).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Whether the relations give every component of the partition key.
#[must_use]
pub fn names_partitions(table: &Table, relations: &[Rel]) -> bool {
    (0..table.partition_key_len).all(|index| restricts_equally(relations, index))
}

/// Whether a column is given by `=` or IN.
#[must_use]
pub fn restricts_equally(relations: &[Rel], index: usize) -> bool {
    relations.iter().any(|relation| match relation {
        Rel::Compare(i, Op::Eq, _) | Rel::In(i, _) => *i == index,
        Rel::Tuple(columns, Op::Eq, _) | Rel::TupleIn(columns, _) => columns.contains(&index),
        _ => false,
    })
}

/// Whether reading by these relations needs ALLOW FILTERING.
#[must_use]
pub fn needs_filtering(table: &Table, relations: &[Rel]) -> bool {
    let by_partition = names_partitions(table, relations);
    let indexed = |index: usize| table.indexes.values().any(|i| ddl::index_column(i) == table.columns[index].name);
    let columns_of = |relation: &Rel| match relation {
        Rel::Compare(i, ..) | Rel::In(i, _) | Rel::Contains(i, ..) | Rel::Element(i, ..) => vec![*i],
        Rel::Tuple(columns, ..) | Rel::TupleIn(columns, _) => columns.clone(),
        Rel::Token(..) => vec![],
    };
    let uses_index = relations.iter().any(|relation| match relation {
        Rel::Compare(i, Op::Eq, _) | Rel::Contains(i, ..) | Rel::Element(i, ..) => indexed(*i),
        _ => false,
    });
    let mut open = false;
    let mut unserved = 0;
    for index in table.partition_key_len..table.partition_key_len + table.clustering_len {
        let restricted = relations.iter().any(|r| columns_of(r).contains(&index));
        if !restricted {
            open = true;
            continue;
        }
        if open || !by_partition {
            unserved += 1;
        }
        open |= !restricts_equally(relations, index)
            && !relations.iter().any(|r| matches!(r, Rel::Tuple(columns, ..) if columns.contains(&index)));
    }
    let key_restricted = relations.iter().any(|r| columns_of(r).iter().any(|i| *i < table.partition_key_len));
    if key_restricted && !by_partition {
        unserved += 1;
    }
    let others = relations
        .iter()
        .filter(|r| {
            columns_of(r).iter().any(|i| matches!(table.columns[*i].kind, ColumnKind::Static | ColumnKind::Regular))
        })
        .count();
    unserved += others;
    // One index serves one relation.
    let served = usize::from(uses_index);
    unserved > served
}

/// Gives the relations their values.
///
/// # Errors
///
/// As Cassandra: null or unset where a value is needed.
pub fn bind(table: &Table, relations: &[Rel], env: &Env<'_>) -> Result<Vec<Test>, ServerError> {
    let name = |index: usize| table.columns[index].name.as_str();
    let value = |expr: &Expr, name: &str| match env.bound(expr)? {
        Bound::Value(Some(bytes)) => Ok(bytes),
        Bound::Value(None) => Err(invalid(format!("Invalid null value in condition for column {name}"))),
        Bound::Unset => Err(invalid(format!("Invalid unset value for column {name}"))),
    };
    let list = |values: &InExpr, name: &str| match values {
        InExpr::Each(exprs) => exprs.iter().map(|e| value(e, name)).collect::<Result<Vec<_>, _>>(),
        InExpr::List(expr) => {
            let bytes = value(expr, name)?;
            let parts: Option<Vec<Bytes>> =
                codec::split_collection(&bytes, false).and_then(|parts| parts.into_iter().collect());
            parts.ok_or_else(|| invalid(format!("Invalid null value in condition for column {name}")))
        }
    };
    let tuple = |bytes: &Bytes, columns: &[usize]| {
        let parts: Option<Vec<Bytes>> =
            codec::split_tuple(bytes, columns.len()).and_then(|parts| parts.into_iter().collect());
        parts
            .ok_or_else(|| invalid(format!("Invalid null value in condition for columns: ({})", names(table, columns))))
    };
    relations
        .iter()
        .map(|relation| {
            Ok(match relation {
                Rel::Compare(i, op, expr) => Test::Compare(*i, *op, value(expr, name(*i))?),
                Rel::In(i, values) => Test::In(*i, list(values, name(*i))?),
                Rel::Tuple(columns, op, expr) => {
                    Test::Tuple(columns.clone(), *op, tuple(&value(expr, &names(table, columns))?, columns)?)
                }
                Rel::TupleIn(columns, values) => {
                    let values = list(values, &names(table, columns))?;
                    let tuples = values.iter().map(|v| tuple(v, columns)).collect::<Result<Vec<_>, _>>()?;
                    Test::TupleIn(columns.clone(), tuples)
                }
                Rel::Token(op, expr) => {
                    Test::Token(*op, crate::types::text::integer(&value(expr, "partition key token")?))
                }
                Rel::Contains(i, key, expr) => Test::Contains(*i, *key, value(expr, name(*i))?),
                Rel::Element(i, key, expr) => Test::Element(*i, value(key, name(*i))?, value(expr, name(*i))?),
            })
        })
        .collect()
}

/// Decides what to read for these tests.
///
/// # Errors
///
/// As Cassandra: a key that is too long or empty.
pub fn plan(table: &Table, tests: Vec<Test>) -> Result<Plan, ServerError> {
    let partitions = partition_keys(table, &tests)?;
    let (slices, served) = slices(table, &tests);
    let key_len = table.partition_key_len;
    let range = token_range(&tests);
    let tests = tests
        .into_iter()
        .enumerate()
        .filter(|(place, test)| match test {
            Test::Token(..) => partitions.is_some(),
            Test::Compare(i, ..) | Test::In(i, _) if *i < key_len => partitions.is_none(),
            _ => !served.contains(place),
        })
        .map(|(_, test)| test)
        .collect();
    Ok(Plan { partitions, range, slices, tests })
}

fn partition_keys(table: &Table, tests: &[Test]) -> Result<Option<Vec<Vec<Bytes>>>, ServerError> {
    let mut keys: Vec<Vec<Bytes>> = vec![Vec::new()];
    for (index, column) in table.partition_key().iter().enumerate() {
        let given = tests.iter().find_map(|test| match test {
            Test::Compare(i, Op::Eq, value) if *i == index => Some(vec![value.clone()]),
            Test::In(i, values) if *i == index => Some(values.clone()),
            _ => None,
        });
        let Some(mut values) = given else { return Ok(None) };
        if values.iter().any(Bytes::is_empty) && table.partition_key_len == 1 {
            return Err(invalid("Key may not be empty"));
        }
        values.sort_by_cached_key(|value| order::encode(&column.cql_type, value));
        values.dedup();
        keys = keys
            .iter()
            .flat_map(|key| values.iter().map(|value| [key.as_slice(), std::slice::from_ref(value)].concat()))
            .collect();
    }
    if keys.iter().any(|key| key.iter().map(Bytes::len).sum::<usize>() > 65535) {
        return Err(invalid("Key length is longer than maximum of 65535"));
    }
    Ok(Some(keys))
}

/// The slices that clustering relations make, and which tests they fully serve, by place.
fn slices(table: &Table, tests: &[Test]) -> (Option<Vec<Slice>>, Vec<usize>) {
    let first = table.partition_key_len;
    let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
    let mut served = Vec::new();
    let push = |prefix: &[u8], index: usize, value: &Bytes| {
        let column = &table.columns[index];
        let mut out = prefix.to_vec();
        order::push_component(&mut out, &column.cql_type, Some(value), column.descending);
        out
    };
    let mut index = first;
    while index < first + table.clustering_len {
        // Equalities of one or more columns extend every prefix.
        let equal = tests.iter().enumerate().find_map(|(place, test)| match test {
            Test::Compare(i, Op::Eq, value) if *i == index => Some((place, 1, vec![vec![value.clone()]])),
            Test::In(i, values) if *i == index => Some((place, 1, values.iter().map(|v| vec![v.clone()]).collect())),
            Test::Tuple(columns, Op::Eq, values) if columns.first() == Some(&index) => {
                Some((place, columns.len(), vec![values.clone()]))
            }
            Test::TupleIn(columns, tuples) if columns.first() == Some(&index) => {
                Some((place, columns.len(), tuples.clone()))
            }
            _ => None,
        });
        if let Some((place, width, tuples)) = equal {
            served.push(place);
            prefixes = prefixes
                .iter()
                .flat_map(|prefix| {
                    tuples.iter().map(|tuple| {
                        tuple.iter().enumerate().fold(prefix.clone(), |p, (i, value)| push(&p, index + i, value))
                    })
                })
                .collect();
            index += width;
            continue;
        }
        let slices = bounded(table, tests, &prefixes, index, &mut served);
        return (Some(slices).filter(|slices| *slices != whole()), served);
    }
    if index == first {
        return (None, served);
    }
    prefixes.sort();
    prefixes.dedup();
    let slices = prefixes.into_iter().map(|prefix| Slice { end: after(&prefix), start: Bytes::from(prefix) });
    (Some(slices.collect()), served)
}

/// The slices of inequalities on the column `index` (and those after it, for tuples) behind each prefix.
fn bounded(table: &Table, tests: &[Test], prefixes: &[Vec<u8>], index: usize, served: &mut Vec<usize>) -> Vec<Slice> {
    let mut bounds: Vec<(Op, Vec<u8>)> = Vec::new();
    let descending = table.columns[index].descending;
    for (place, test) in tests.iter().enumerate() {
        let (op, values) = match test {
            Test::Compare(i, op, value) if *i == index => (*op, std::slice::from_ref(value)),
            // Mixed directions are no contiguous range of keys: they stay a test.
            Test::Tuple(columns, op, values)
                if columns.first() == Some(&index)
                    && columns.iter().all(|c| table.columns[*c].descending == descending) =>
            {
                (*op, values.as_slice())
            }
            _ => continue,
        };
        served.push(place);
        let mut encoded = Vec::new();
        for (i, value) in values.iter().enumerate() {
            let column = &table.columns[index + i];
            order::push_component(&mut encoded, &column.cql_type, Some(value), column.descending);
        }
        let op = match (op, descending) {
            (Op::Lt, true) => Op::Gt,
            (Op::Le, true) => Op::Ge,
            (Op::Gt, true) => Op::Lt,
            (Op::Ge, true) => Op::Le,
            (op, _) => op,
        };
        bounds.push((op, encoded));
    }
    let mut sorted = prefixes.to_vec();
    sorted.sort();
    sorted.dedup();
    sorted
        .iter()
        .map(|prefix| {
            let (mut start, mut end) = (Bytes::from(prefix.clone()), after(prefix));
            for (op, encoded) in &bounds {
                let key = [prefix.as_slice(), encoded].concat();
                match op {
                    Op::Ge => start = start.max(Bytes::from(key)),
                    Op::Gt => start = start.max(after(&key)),
                    Op::Lt => end = end.min(Bytes::from(key)),
                    Op::Le => end = end.min(after(&key)),
                    Op::Eq | Op::Ne => {}
                }
            }
            Slice { start, end }
        })
        .filter(|slice| slice.start < slice.end)
        .collect()
}

fn whole() -> Vec<Slice> {
    vec![Slice { start: Bytes::new(), end: after(&[]) }]
}

/// The bound above all keys that begin with a prefix.
#[must_use]
pub fn after(prefix: &[u8]) -> Bytes {
    let mut out = prefix.to_vec();
    out.push(order::AFTER_PREFIX);
    Bytes::from(out)
}

fn token_range(tests: &[Test]) -> Option<TokenRange> {
    let whole = TokenRange { after: Token(i64::MIN), up_to: Token(i64::MIN) };
    // Inclusive bounds on numbers; i64::MIN is no key's token but for the empty key's.
    let (mut low, mut high, mut any) = (i128::from(i64::MIN), i128::from(i64::MAX), false);
    for test in tests {
        if let Test::Token(op, value) = test {
            any = true;
            let value = i128::from(*value);
            // The least token as an upper bound means the end of the ring.
            let is_end = value == i128::from(i64::MIN) && matches!(op, Op::Le | Op::Lt);
            match op {
                _ if is_end => {}
                Op::Gt => low = low.max(value + 1),
                Op::Ge => low = low.max(value),
                Op::Lt => high = high.min(value - 1),
                Op::Le => high = high.min(value),
                Op::Eq => (low, high) = (low.max(value), high.min(value)),
                Op::Ne => {}
            }
        }
    }
    if !any {
        return Some(whole);
    }
    if low > high {
        return None;
    }
    let before = i64::try_from(low - 1).unwrap_or(i64::MIN);
    let up_to = i64::try_from(high).unwrap_or(i64::MAX);
    if before == up_to {
        return Some(whole);
    }
    Some(TokenRange { after: Token(before), up_to: Token(up_to) })
}

impl Test {
    /// Whether a row passes.
    #[must_use]
    pub fn passes(&self, row: &RowView<'_>) -> bool {
        let cql_type = |index: usize| &row.table.columns[index].cql_type;
        let compare = |index: usize, value: &Bytes| {
            row.value(index).map(|v| order::compare(cql_type(index), &Some(v), &Some(value.clone())))
        };
        match self {
            Self::Compare(i, op, value) => compare(*i, value).is_some_and(|found| holds(found, *op)),
            Self::In(i, values) => values.iter().any(|v| compare(*i, v) == Some(Ordering::Equal)),
            Self::Tuple(columns, op, values) => {
                let mut found = Ordering::Equal;
                for (column, value) in columns.iter().zip(values) {
                    match compare(*column, value) {
                        None => return false,
                        Some(ordering) => found = found.then(ordering),
                    }
                }
                holds(found, *op)
            }
            Self::TupleIn(columns, tuples) => tuples.iter().any(|values| {
                columns.iter().zip(values).all(|(column, v)| compare(*column, v) == Some(Ordering::Equal))
            }),
            Self::Token(op, value) => {
                codec::join_partition_key(row.key).is_some_and(|key| holds(Token::of_key(&key).0.cmp(value), *op))
            }
            Self::Contains(i, key, value) => elements(cql_type(*i), row.value(*i), *key).contains(value),
            Self::Element(i, key, value) => {
                let parts = row.value(*i).and_then(|bytes| codec::split_collection(&bytes, true)).unwrap_or_default();
                parts.chunks_exact(2).any(|pair| pair[0].as_ref() == Some(key) && pair[1].as_ref() == Some(value))
            }
        }
    }
}

/// Whether an ordering satisfies an operator.
#[must_use]
pub const fn holds(found: Ordering, op: Op) -> bool {
    match op {
        Op::Eq => found.is_eq(),
        Op::Ne => found.is_ne(),
        Op::Lt => found.is_lt(),
        Op::Le => found.is_le(),
        Op::Gt => found.is_gt(),
        Op::Ge => found.is_ge(),
    }
}

fn elements(cql_type: &CqlType, value: Value, keys: bool) -> Vec<Bytes> {
    let Some(bytes) = value else { return Vec::new() };
    let is_map = matches!(cql_type, CqlType::Map { .. });
    let parts = codec::split_collection(&bytes, is_map).unwrap_or_default();
    let wanted = |i: usize| !is_map || i.is_multiple_of(2) == keys;
    parts.into_iter().enumerate().filter(|(i, _)| wanted(*i)).filter_map(|(_, part)| part).collect()
}

fn in_values(
    checker: &mut Checker<'_>,
    values: &InValues,
    column: &str,
    cql_type: &CqlType,
) -> Result<InExpr, ServerError> {
    Ok(match values {
        InValues::Terms(terms) => {
            let receiver = Receiver::new(column, cql_type);
            InExpr::Each(terms.iter().map(|t| checker.term(t, &receiver)).collect::<Result<Vec<_>, _>>()?)
        }
        InValues::Marker(index) => {
            let list = CqlType::list(cql_type.clone(), true);
            InExpr::List(checker.marker(*index, &Receiver::new(&format!("in({column})"), &list)))
        }
    })
}

fn tuple_receiver(
    table: &Table,
    columns: &[String],
    find: &impl Fn(&str) -> Result<usize, ServerError>,
) -> Result<(Vec<usize>, Receiver), ServerError> {
    let indexes = columns.iter().map(|c| find(c)).collect::<Result<Vec<_>, _>>()?;
    for (place, index) in indexes.iter().enumerate() {
        let column = &table.columns[*index];
        if column.kind != ColumnKind::Clustering {
            return Err(invalid(format!(
                "Multi-column relations can only be applied to clustering columns but was applied to: {}",
                column.name
            )));
        }
        if place > 0 && *index != indexes[place - 1] + 1 {
            return Err(invalid(format!(
                "Clustering columns must appear in the PRIMARY KEY order in multi-column relations: ({})",
                columns.join(", ")
            )));
        }
    }
    let types: Vec<CqlType> = indexes.iter().map(|i| table.columns[*i].cql_type.clone()).collect();
    let receiver = Receiver { name: format!("({})", columns.join(",")), cql_type: CqlType::Tuple(types.into()) };
    Ok((indexes, receiver))
}

/// The values of a tuple relation; one column alone is written without a tuple type.
fn tuple_term(checker: &mut Checker<'_>, term: &Term, receiver: &Receiver) -> Result<Expr, ServerError> {
    checker.term(term, receiver)
}

fn names(table: &Table, columns: &[usize]) -> String {
    columns.iter().map(|i| table.columns[*i].name.as_str()).collect::<Vec<_>>().join(", ")
}

const fn symbol(op: Op) -> &'static str {
    match op {
        Op::Eq => "=",
        Op::Ne => "!=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Gt => ">",
        Op::Ge => ">=",
    }
}

fn show(term: &Term) -> String {
    match term {
        Term::Integer(s) | Term::Float(s) | Term::Uuid(s) => s.clone(),
        Term::String(s) => format!("'{s}'"),
        _ => "?".to_owned(),
    }
}

/// A token function for a table, for selections.
#[must_use]
pub fn token_function(table: &Table) -> Function {
    Function::token(&table.partition_key().iter().map(|c| c.cql_type.clone()).collect::<Vec<_>>())
}
