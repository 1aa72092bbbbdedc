//! Relations as they are written, given their types.

use super::{InExpr, Rel, invalid};
use crate::cql::ast::{InValues, Op, Relation, Term};
use crate::cql::expr::{Checker, Expr, Receiver};
use crate::cql::parser::not_modelled;
use crate::protocol::ServerError;
use crate::schema::{ColumnKind, Table};
use crate::types::CqlType;

/// Checks the relations of a statement.
///
/// # Errors
///
/// As Cassandra: unknown columns, wrong types, contradictions.
pub fn check(checker: &mut Checker<'_>, relations: &[Relation]) -> Result<Vec<Rel>, ServerError> {
    let table = checker.table;
    let find = |name: &str| find(table, name);
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
            Relation::Tuple { .. } | Relation::TupleIn { .. } => check_tuple(checker, relation)?,
            Relation::Token { columns, op, term } => check_token(checker, columns, *op, term)?,
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
                return Err(invalid(format!("Unsupported restriction: {column} IS NOT NULL")));
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

fn find(table: &Table, name: &str) -> Result<usize, ServerError> {
    table
        .column_index(name)
        .ok_or_else(|| invalid(format!("Undefined column name {name} in table {}", table.full_name())))
}

fn check_tuple(checker: &mut Checker<'_>, relation: &Relation) -> Result<Rel, ServerError> {
    let table = checker.table;
    let (Relation::Tuple { columns, .. } | Relation::TupleIn { columns, .. }) = relation else {
        return Err(invalid("a multi-column relation is needed"));
    };
    let (indexes, receiver) = tuple_receiver(table, columns, &|name: &str| find(table, name))?;
    match relation {
        Relation::TupleIn { values: InValues::Terms(terms), .. } => {
            let values = terms.iter().map(|t| tuple_term(checker, t, &receiver)).collect::<Result<Vec<_>, _>>()?;
            Ok(Rel::TupleIn(indexes, InExpr::Each(values)))
        }
        Relation::TupleIn { values: InValues::Marker(index), .. } => {
            let list = CqlType::list(receiver.cql_type.clone(), true);
            let marker = checker.marker(*index, &Receiver::new(&format!("in({})", receiver.name), &list));
            Ok(Rel::TupleIn(indexes, InExpr::List(marker)))
        }
        Relation::Tuple { op, term, .. } => {
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
            Ok(Rel::Tuple(indexes, *op, tuple_term(checker, term, &receiver)?))
        }
        _ => Err(invalid("a multi-column relation is needed")),
    }
}

fn check_token(checker: &mut Checker<'_>, columns: &[String], op: Op, term: &Term) -> Result<Rel, ServerError> {
    let table = checker.table;
    let key: Vec<&str> = table.partition_key().iter().map(|c| c.name.as_str()).collect();
    for column in columns {
        find(table, column)?;
    }
    if columns.iter().map(String::as_str).ne(key.iter().copied()) {
        return Err(invalid(format!(
            "The token() function must be applied to all partition key components or none of them, in partition key order: {}",
            key.join(", ")
        )));
    }
    Ok(Rel::Token(op, checker.term(term, &Receiver::new("partition key token", &CqlType::Bigint))?))
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
