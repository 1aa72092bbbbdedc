//! What to read for bound relations: partitions, an arc of the ring, slices of rows.

use super::{Plan, Test, invalid};
use crate::cql::ast::Op;
use crate::protocol::ServerError;
use crate::ring::{Token, TokenRange};
use crate::schema::{Column, Table};
use crate::storage::Slice;
use crate::types::order;
use bytes::Bytes;
use std::cmp::Ordering;

/// Decides what to read for these tests.
///
/// # Errors
///
/// As Cassandra: a key that is too long or empty.
pub fn plan(table: &Table, tests: Vec<Test>) -> Result<Plan, ServerError> {
    let (slices, served) = slices(table, &tests);
    let partitions = match partition_keys(table, &tests) {
        // Where no row can be, nobody asks for the key.
        Err(_) if slices.as_ref().is_some_and(Vec::is_empty) => Some(Vec::new()),
        found => found?,
    };
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

pub(super) fn partition_keys(table: &Table, tests: &[Test]) -> Result<Option<Vec<Vec<Bytes>>>, ServerError> {
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
        if contradict(table, tests, index) {
            return (Some(Vec::new()), served);
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

/// Whether no values from the column `index` on can be within the bounds of several columns.
fn contradict(table: &Table, tests: &[Test], index: usize) -> bool {
    let bound = |wanted: [Op; 2]| {
        tests.iter().find_map(|test| match test {
            Test::Tuple(columns, op, values) if columns.first() == Some(&index) && wanted.contains(op) => Some(values),
            _ => None,
        })
    };
    let (Some(low), Some(high)) = (bound([Op::Gt, Op::Ge]), bound([Op::Lt, Op::Le])) else { return false };
    let each = low.iter().zip(high).zip(&table.columns[index..]);
    let compared = |((low, high), column): ((&Bytes, &Bytes), &Column)| {
        order::encode(&column.cql_type, low).cmp(&order::encode(&column.cql_type, high))
    };
    each.map(compared).find(|ordering| ordering.is_ne()).is_some_and(Ordering::is_gt)
}

/// The slices of inequalities on the column `index` (and those after it, for tuples) behind each prefix.
fn bounded(table: &Table, tests: &[Test], prefixes: &[Vec<u8>], index: usize, served: &mut Vec<usize>) -> Vec<Slice> {
    let mut bounds: Vec<(Op, Vec<u8>)> = Vec::new();
    let descending = table.columns[index].descending;
    for (place, test) in tests.iter().enumerate() {
        let (op, values) = match test {
            Test::Compare(i, op, value) if *i == index => (*op, std::slice::from_ref(value)),
            Test::Bound(i, op) if *i == index => (*op, [].as_slice()),
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
        if values.is_empty() {
            order::push_component(&mut encoded, &table.columns[index].cql_type, None, false);
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
