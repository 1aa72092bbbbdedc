//! What the relations of a WHERE clause restrict together, and what Cassandra refuses of it.
//!
//! Relations are merged one by one, in the order of the text, because the first contradiction is the one that is
//! told. What is left decides between reading partitions, using an index and filtering.

mod finish;

use super::indexes::{Operator, supports};
use super::{FILTERING, InExpr, Rel, invalid};
use crate::cql::ast::Op;
use crate::protocol::ServerError;
use crate::schema::{ColumnKind, Index, Table};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The statement a WHERE clause belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// SELECT.
    Select,
    /// INSERT: its key columns count as equalities.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
}

impl StatementKind {
    /// Its verb.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }

    const fn allows_ranges_of_rows(self) -> bool {
        matches!(self, Self::Select | Self::Delete)
    }
}

/// What else decides about a WHERE clause.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The statement.
    pub statement: StatementKind,
    /// ALLOW FILTERING.
    pub allow_filtering: bool,
    /// Whether it selects or changes static columns and no others.
    pub only_statics: bool,
}

/// What a WHERE clause means, once nothing in it is refused.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether more than the named partitions is read.
    pub is_key_range: bool,
    /// Whether an index is used.
    pub uses_index: bool,
    /// Whether the partition key is restricted at all.
    pub has_key: bool,
    /// Whether the partition key is restricted by IN.
    pub has_key_in: bool,
    /// Whether clustering columns are restricted by IN.
    pub has_clustering_in: bool,
    /// Whether clustering columns are restricted.
    pub has_clustering: bool,
    /// Whether every key column is restricted by `=` or IN.
    pub names_rows: bool,
    /// Restricted columns that are no key columns.
    pub others: Vec<usize>,
    /// Columns restricted by `=`.
    pub equal: Vec<usize>,
    /// Whether rows are to be filtered by bounds of several columns at once.
    pub filters_by_tuple: bool,
    /// Columns by which rows are filtered.
    pub filtered: Vec<usize>,
    needs_filtering: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Equal,
    In,
    Slice { start: bool, end: bool },
    Contains { values: usize, keys: usize, entries: usize },
}

#[derive(Clone, Debug)]
struct Restriction {
    columns: Vec<usize>,
    is_multi: bool,
    /// The operators of its bounds, for indexes.
    kind: Kind,
}

impl Restriction {
    const fn is_slice(&self) -> bool {
        matches!(self.kind, Kind::Slice { .. })
    }

    const fn is_contains(&self) -> bool {
        matches!(self.kind, Kind::Contains { .. })
    }

    const fn is_equality(&self) -> bool {
        matches!(self.kind, Kind::Equal | Kind::In)
    }
}

/// Restrictions by column.
type Set = BTreeMap<usize, Rc<Restriction>>;

/// The restrictions of a statement, as far as its relations were added.
pub struct Restrictions<'a> {
    table: &'a Table,
    context: Context,
    token: Option<Kind>,
    key: Set,
    clustering: Set,
    others: Set,
}

const fn kind_of(op: Op) -> Kind {
    match op {
        Op::Eq | Op::Ne => Kind::Equal,
        Op::Gt | Op::Ge => Kind::Slice { start: true, end: false },
        Op::Lt | Op::Le => Kind::Slice { start: false, end: true },
    }
}

fn kind_of_in(values: &InExpr) -> Kind {
    match values {
        InExpr::Each(each) if each.len() == 1 => Kind::Equal,
        _ => Kind::In,
    }
}

impl<'a> Restrictions<'a> {
    /// No restrictions yet.
    #[must_use]
    pub fn new(table: &'a Table, context: Context) -> Self {
        let (key, clustering, others) = (Set::new(), Set::new(), Set::new());
        Self { table, context, token: None, key, clustering, others }
    }

    fn name(&self, index: usize) -> &str {
        &self.table.columns[index].name
    }

    /// Adds one relation.
    ///
    /// # Errors
    ///
    /// As Cassandra: what cannot stand beside the relations before it.
    pub fn add(&mut self, relation: &Rel) -> Result<(), ServerError> {
        let single = |index: usize, kind| Restriction { columns: vec![index], is_multi: false, kind };
        let multi = |columns: &Vec<usize>, kind| Restriction { columns: columns.clone(), is_multi: true, kind };
        let contains = |values, keys, entries| Kind::Contains { values, keys, entries };
        let restriction = match relation {
            Rel::Token(op, _) => return self.add_token(kind_of(*op)),
            Rel::Compare(index, op, _) => single(*index, kind_of(*op)),
            Rel::In(index, values) => single(*index, kind_of_in(values)),
            Rel::Tuple(columns, op, _) => multi(columns, kind_of(*op)),
            Rel::TupleIn(columns, values) => multi(columns, kind_of_in(values)),
            Rel::Contains(index, false, _) => single(*index, contains(1, 0, 0)),
            Rel::Contains(index, true, _) => single(*index, contains(0, 1, 0)),
            Rel::Element(index, ..) => single(*index, contains(0, 0, 1)),
        };
        let Some(first) = restriction.columns.first().copied() else { return Ok(()) };
        match self.table.columns[first].kind {
            ColumnKind::PartitionKey => self.key = self.merged(&self.key, &restriction)?,
            ColumnKind::Clustering => self.add_clustering(first, &restriction)?,
            ColumnKind::Static | ColumnKind::Regular => self.others = self.merged(&self.others, &restriction)?,
        }
        Ok(())
    }

    fn add_token(&mut self, kind: Kind) -> Result<(), ServerError> {
        let columns = self.table.partition_key().iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
        let merged = match (self.token, kind) {
            (None, kind) => kind,
            (Some(Kind::Slice { start, end }), Kind::Slice { start: more_start, end: more_end }) => {
                check_bounds((start, end), (more_start, more_end), &columns)?;
                Kind::Slice { start: start || more_start, end: end || more_end }
            }
            (Some(Kind::Slice { .. }), _) => {
                return Err(invalid(format!(
                    "Columns \"{columns}\" cannot be restricted by both an equality and an inequality relation"
                )));
            }
            (Some(_), _) => {
                return Err(invalid(format!(
                    "{columns} cannot be restricted by more than one relation if it includes an Equal"
                )));
            }
        };
        self.token = Some(merged);
        Ok(())
    }

    fn add_clustering(&mut self, first: usize, restriction: &Restriction) -> Result<(), ServerError> {
        let is_slice = restriction.is_slice();
        let is_indexed = self.context.statement == StatementKind::Select && self.is_indexed(restriction);
        let merged = self.merged(&self.clustering, restriction)?;
        if let Some((_, last)) = self.clustering.last_key_value()
            && !self.context.allow_filtering
            && !is_indexed
        {
            let last_first = last.columns[0];
            if last.is_slice() && first > last_first {
                return Err(invalid(format!(
                    "Clustering column \"{}\" cannot be restricted (preceding column \"{}\" is restricted by a non-EQ relation)",
                    self.name(first),
                    self.name(last_first)
                )));
            }
            if first < last_first && is_slice {
                let next = merged.range(first + 1..).next().map_or(first, |(column, _)| *column);
                return Err(invalid(format!(
                    "PRIMARY KEY column \"{}\" cannot be restricted (preceding column \"{}\" is restricted by a non-EQ relation)",
                    self.name(next),
                    self.name(first)
                )));
            }
        }
        self.clustering = merged;
        Ok(())
    }

    /// A set with one restriction more.
    fn merged(&self, set: &Set, added: &Restriction) -> Result<Set, ServerError> {
        let mut result = set.clone();
        let mut existing: Vec<Rc<Restriction>> = Vec::new();
        for column in &added.columns {
            if let Some(found) = set.get(column)
                && !existing.iter().any(|seen| Rc::ptr_eq(seen, found))
            {
                existing.push(found.clone());
            }
        }
        let mut merged = vec![Rc::new(added.clone())];
        if !existing.is_empty() {
            merged = existing.iter().map(|e| self.merge(e, added).map(Rc::new)).collect::<Result<_, _>>()?;
        }
        for restriction in merged {
            for column in &added.columns {
                result.insert(*column, restriction.clone());
            }
        }
        Ok(result)
    }

    fn merge(&self, existing: &Restriction, added: &Restriction) -> Result<Restriction, ServerError> {
        let common: Vec<&str> =
            existing.columns.iter().filter(|c| added.columns.contains(c)).map(|c| self.name(*c)).collect();
        let common = common.join(" ,");
        match (existing.kind, added.kind) {
            (Kind::Equal, _) => {
                Err(invalid(format!("{common} cannot be restricted by more than one relation if it includes an Equal")))
            }
            (Kind::In, _) => {
                Err(invalid(format!("{common} cannot be restricted by more than one relation if it includes a IN")))
            }
            (Kind::Slice { start, end }, Kind::Slice { start: more_start, end: more_end }) => {
                if existing.columns[0] != added.columns[0] {
                    return Err(invalid(format!(
                        "Column \"{}\" cannot be restricted by two inequalities not starting with the same column",
                        self.name(existing.columns[0].max(added.columns[0]))
                    )));
                }
                check_bounds((start, end), (more_start, more_end), &common)?;
                let longer = if existing.columns.len() >= added.columns.len() { existing } else { added };
                Ok(Restriction {
                    columns: longer.columns.clone(),
                    is_multi: existing.is_multi || added.is_multi,
                    kind: Kind::Slice { start: start || more_start, end: end || more_end },
                })
            }
            (Kind::Slice { .. }, _) => Err(invalid(format!(
                "Column \"{common}\" cannot be restricted by both an equality and an inequality relation"
            ))),
            (
                Kind::Contains { values, keys, entries },
                Kind::Contains { values: more_values, keys: more_keys, entries: more_entries },
            ) => {
                let (values, keys, entries) = (values + more_values, keys + more_keys, entries + more_entries);
                Ok(Restriction { kind: Kind::Contains { values, keys, entries }, ..existing.clone() })
            }
            (Kind::Contains { .. }, _) => Err(invalid(format!(
                "Collection column {common} can only be restricted by CONTAINS, CONTAINS KEY, or map-entry equality"
            ))),
        }
    }

    fn is_served_by(&self, restriction: &Restriction, index: &Index) -> bool {
        let any = |operators: &[Operator]| {
            let on = |column: &usize| operators.iter().any(|op| supports(index, &self.table.columns[*column], *op));
            restriction.columns.iter().any(on)
        };
        match restriction.kind {
            Kind::Equal => any(&[Operator::Equal]),
            Kind::In => false,
            Kind::Slice { .. } => any(&[Operator::Range]),
            Kind::Contains { values, keys, entries } => {
                values > 0 && any(&[Operator::Contains])
                    || keys > 0 && any(&[Operator::ContainsKey])
                    || entries > 0 && any(&[Operator::Equal])
            }
        }
    }

    fn is_indexed(&self, restriction: &Restriction) -> bool {
        self.table.indexes.values().any(|index| self.is_served_by(restriction, index))
    }
}

impl Facts {
    /// Whether rows are filtered by a relation, instead of being found by it.
    #[must_use]
    pub fn is_filtered(&self, relation: &Rel) -> bool {
        let column = match relation {
            Rel::Compare(column, ..) | Rel::In(column, _) | Rel::Contains(column, ..) | Rel::Element(column, ..) => {
                Some(column)
            }
            Rel::Tuple(columns, ..) | Rel::TupleIn(columns, _) => columns.first(),
            Rel::Token(..) => None,
        };
        column.is_some_and(|column| self.filtered.contains(column))
    }

    /// Refuses a SELECT without ALLOW FILTERING that would filter.
    ///
    /// # Errors
    ///
    /// [`ServerError::Invalid`].
    pub fn check_filtering(&self, allow_filtering: bool) -> Result<(), ServerError> {
        if !allow_filtering && (self.is_key_range || self.uses_index) && self.needs_filtering {
            return Err(invalid(FILTERING));
        }
        Ok(())
    }
}

fn check_bounds(present: (bool, bool), added: (bool, bool), columns: &str) -> Result<(), ServerError> {
    for (both, which) in [(present.0 && added.0, "start"), (present.1 && added.1, "end")] {
        if both {
            return Err(invalid(format!("More than one restriction was found for the {which} bound on {columns}")));
        }
    }
    Ok(())
}
