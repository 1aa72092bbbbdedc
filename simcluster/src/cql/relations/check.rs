//! Relations as they are written, given their types.

use super::{Context, Facts, InExpr, Rel, Restrictions, StatementKind, invalid};
use crate::cql::ast::{InValues, Op, Relation, Term};
use crate::cql::expr::{Expr, Receiver};
use crate::cql::show;
use crate::cql::terms::Checker;
use crate::protocol::ServerError;
use crate::schema::{Column, ColumnKind, Dialect, Table};
use crate::types::CqlType;

/// Checks the relations of a statement, each by itself and all together.
///
/// # Errors
///
/// As Cassandra: unknown columns, wrong types, contradictions, what needs filtering.
pub fn check(
    checker: &mut Checker<'_>,
    relations: &[Relation],
    context: Context,
) -> Result<(Vec<Rel>, Facts), ServerError> {
    let mut restrictions = Restrictions::new(checker.table, context);
    let mut checked = Vec::new();
    for relation in relations {
        if let (Relation::Contains { key, .. }, StatementKind::Update | StatementKind::Delete) =
            (relation, context.statement)
        {
            let what = if *key { "CONTAINS KEY" } else { "CONTAINS" };
            return Err(invalid(format!("Cannot use {} with {what}", context.statement.name())));
        }
        let rel = check_one(checker, relation)?;
        restrictions.add(&rel)?;
        checked.push(rel);
    }
    Ok((checked, restrictions.finish()?))
}

fn check_one(checker: &mut Checker<'_>, relation: &Relation) -> Result<Rel, ServerError> {
    let table = checker.table;
    let find = |name: &str| find(table, name);
    let is_unequal = matches!(
        relation,
        Relation::Compare { op: Op::Ne, .. }
            | Relation::Tuple { op: Op::Ne, .. }
            | Relation::Token { op: Op::Ne, .. }
            | Relation::Element { op: Op::Ne, .. }
    );
    if is_unequal {
        return Err(invalid(format!("Unsupported \"!=\" relation: {}", show::relation(relation))));
    }
    Ok(match relation {
        Relation::Compare { column, op, term } => {
            let index = find(column)?;
            if *op != Op::Eq {
                check_comparable(&table.columns[index].cql_type)?;
            }
            check_restrictable(&table.columns[index], show::operator(*op))?;
            Rel::Compare(index, *op, checker.term(term, &Receiver::of(&table.columns[index]))?)
        }
        Relation::In { column, values } => {
            let index = find(column)?;
            check_restrictable(&table.columns[index], "IN")?;
            let is_key = matches!(table.columns[index].kind, ColumnKind::PartitionKey | ColumnKind::Clustering);
            if !is_key && checker.schema.dialect < Dialect::V41 {
                return Err(invalid(format!(
                    "IN predicates on non-primary-key columns ({column}) is not yet supported"
                )));
            }
            Rel::In(index, in_values(checker, values, &table.columns[index])?)
        }
        Relation::Tuple { .. } | Relation::TupleIn { .. } => check_tuple(checker, relation)?,
        Relation::Token { columns, op, term } => check_token(checker, columns, *op, term)?,
        Relation::Contains { column, key, term } => check_contains(checker, find(column)?, *key, term)?,
        Relation::Element { column, key, op, term } => check_element(checker, find(column)?, key, *op, term)?,
        Relation::NotNull(_) => {
            return Err(invalid(format!("Unsupported restriction: {}", show::relation(relation))));
        }
        Relation::Like(column, term) => {
            let index = find(column)?;
            checker.term(term, &Receiver::new(column, &table.columns[index].cql_type))?;
            return Err(invalid(format!(
                "LIKE restriction is only supported on properly indexed columns. {} is not valid.",
                show::relation(relation)
            )));
        }
    })
}

fn check_contains(checker: &mut Checker<'_>, index: usize, key: bool, term: &Term) -> Result<Rel, ServerError> {
    let Column { name, cql_type, .. } = &checker.table.columns[index];
    let (place, element) = match (cql_type, key) {
        (CqlType::List { element, .. } | CqlType::Set { element, .. }, false) => ("value", element),
        (CqlType::Map { key, .. }, true) => ("key", key),
        (CqlType::Map { value, .. }, false) => ("value", value),
        (_, true) => return Err(invalid(format!("Cannot use CONTAINS KEY on non-map column {name}"))),
        (_, false) => return Err(invalid(format!("Cannot use CONTAINS on non-collection column {name}"))),
    };
    let receiver = Receiver::new(&format!("{place}({name})"), element);
    Ok(Rel::Contains(index, key, checker.term(term, &receiver)?))
}

fn check_element(checker: &mut Checker<'_>, index: usize, key: &Term, op: Op, term: &Term) -> Result<Rel, ServerError> {
    let Column { name, cql_type, .. } = &checker.table.columns[index];
    let (key_type, value, frozen) = match cql_type {
        CqlType::Map { key, value, frozen } => (key, value, *frozen),
        CqlType::List { .. } => {
            return Err(invalid(
                "Indexes on list entries (".to_owned() + name + "[index] = value) are not currently supported.",
            ));
        }
        _ => return Err(invalid(format!("Column {name} cannot be used as a map"))),
    };
    if frozen {
        return Err(invalid(format!("Map-entry equality predicates on frozen map column {name} are not supported")));
    }
    if op != Op::Eq {
        return Err(invalid("Only EQ relations are supported on map entries"));
    }
    let key = checker.term(key, &Receiver::new(&format!("key({name})"), key_type))?;
    Ok(Rel::Element(index, key, checker.term(term, &Receiver::new(&format!("value({name})"), value))?))
}

/// Values with durations in them have no order.
fn check_comparable(cql_type: &CqlType) -> Result<(), ServerError> {
    if !cql_type.references_duration() {
        return Ok(());
    }
    let what = match cql_type {
        CqlType::Tuple(_) => "tuples containing durations",
        CqlType::Udt { .. } => "UDTs containing durations",
        other if other.is_collection() => "collections containing durations",
        _ => "duration columns",
    };
    Err(invalid(format!("Slice restrictions are not supported on {what}")))
}

/// Columns of several cells are no one value that could be compared.
fn check_restrictable(column: &Column, operator: &str) -> Result<(), ServerError> {
    let Column { name, cql_type, .. } = column;
    if !cql_type.is_multi_cell() {
        return Ok(());
    }
    if let CqlType::Udt { .. } = cql_type {
        return Err(invalid(format!(
            "Non-frozen UDT column '{name}' ({cql_type}) cannot be restricted by any relation"
        )));
    }
    Err(invalid(format!("Collection column '{name}' ({cql_type}) cannot be restricted by a '{operator}' relation")))
}

fn find(table: &Table, name: &str) -> Result<usize, ServerError> {
    table.column_index(name).ok_or_else(|| invalid(show::undefined_column(table, name)))
}

fn check_tuple(checker: &mut Checker<'_>, relation: &Relation) -> Result<Rel, ServerError> {
    let table = checker.table;
    let (Relation::Tuple { columns, .. } | Relation::TupleIn { columns, .. }) = relation else {
        return Err(invalid("a multi-column relation is needed"));
    };
    let (indexes, receiver) = tuple_receiver(table, columns, relation)?;
    match relation {
        Relation::TupleIn { values: InValues::Terms(terms), .. } => {
            let values =
                terms.iter().map(|t| tuple_term(checker, t, &indexes, &receiver)).collect::<Result<Vec<_>, _>>()?;
            Ok(Rel::TupleIn(indexes, InExpr::Each(values)))
        }
        Relation::TupleIn { values: InValues::Marker(index), .. } => {
            let list = CqlType::list(receiver.cql_type.clone(), true);
            let marker = checker.marker(*index, &Receiver::new(&format!("in{}", receiver.name), &list));
            Ok(Rel::TupleIn(indexes, InExpr::List(marker)))
        }
        Relation::Tuple { op, term, .. } => {
            let values = tuple_term(checker, term, &indexes, &receiver)?;
            Ok(Rel::Tuple(indexes, *op, values))
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
        let doubled = columns.iter().enumerate().any(|(place, column)| columns[..place].contains(column));
        let message = if key.iter().any(|component| !columns.iter().any(|column| column == component)) {
            "The token() function must be applied to all partition key components or none of them".to_owned()
        } else if doubled {
            "The token() function contains duplicate partition key components".to_owned()
        } else if columns.len() > key.len() {
            "The token() function must contains only partition key components".to_owned()
        } else {
            format!("The token function arguments must be in the partition key order: {}", key.join(", "))
        };
        return Err(invalid(message));
    }
    Ok(Rel::Token(op, checker.term(term, &Receiver::new("partition key token", &CqlType::Bigint))?))
}

fn in_values(checker: &mut Checker<'_>, values: &InValues, column: &Column) -> Result<InExpr, ServerError> {
    Ok(match values {
        InValues::Terms(terms) => {
            let receiver = Receiver::of(column);
            InExpr::Each(terms.iter().map(|t| checker.term(t, &receiver)).collect::<Result<Vec<_>, _>>()?)
        }
        InValues::Marker(index) => {
            let list = CqlType::list(column.cql_type.clone(), true);
            InExpr::List(checker.marker(*index, &Receiver::new(&format!("in({})", column.name), &list)))
        }
    })
}

fn tuple_receiver(
    table: &Table,
    columns: &[String],
    relation: &Relation,
) -> Result<(Vec<usize>, Receiver), ServerError> {
    let mut indexes: Vec<usize> = Vec::new();
    for name in columns {
        let index = find(table, name)?;
        let column = &table.columns[index];
        if column.kind != ColumnKind::Clustering {
            return Err(invalid(format!(
                "Multi-column relations can only be applied to clustering columns but was applied to: {}",
                column.name
            )));
        }
        if indexes.contains(&index) {
            let shown = show::relation(relation);
            return Err(invalid(format!("Column \"{}\" appeared twice in a relation: {shown}", column.name)));
        }
        if indexes.last().is_some_and(|previous| index != previous + 1) {
            return Err(invalid(format!(
                "Clustering columns must appear in the PRIMARY KEY order in multi-column relations: {}",
                show::relation(relation)
            )));
        }
        indexes.push(index);
    }
    let types: Vec<CqlType> = indexes.iter().map(|i| table.columns[*i].cql_type.clone()).collect();
    Ok((indexes, Receiver::new(&format!("({})", columns.join(",")), &CqlType::Tuple(types.into()))))
}

/// The values of a tuple relation: each for its column, or one marker for all.
fn tuple_term(
    checker: &mut Checker<'_>,
    term: &Term,
    indexes: &[usize],
    receiver: &Receiver,
) -> Result<Expr, ServerError> {
    let Term::Tuple(items) = term else { return checker.term(term, receiver) };
    if items.len() != indexes.len() {
        return Err(invalid(format!(
            "Expected {} elements in value tuple, but got {}: {}",
            indexes.len(),
            items.len(),
            show::term(term)
        )));
    }
    let mut values = Vec::new();
    for (item, index) in items.iter().zip(indexes) {
        let column = &checker.table.columns[*index];
        values.push(checker.term(item, &Receiver::of(column))?);
    }
    Ok(Expr::Tuple(values))
}
