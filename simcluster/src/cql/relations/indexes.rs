//! What an index serves.

use crate::cql::ddl::index_column;
use crate::schema::{Column, Index};
use crate::types::CqlType;

/// How an index is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`, of a column or of a map's entry.
    Equal,
    /// `<`, `<=`, `>`, `>=`.
    Range,
    /// CONTAINS.
    Contains,
    /// CONTAINS KEY.
    ContainsKey,
}

/// Whether it is a storage-attached index.
#[must_use]
pub fn is_storage_attached(index: &Index) -> bool {
    index.options.get("class_name").is_some_and(|class| class.ends_with("StorageAttachedIndex") || class == "sai")
}

/// Whether an index can be asked this about a column.
#[must_use]
pub fn supports(index: &Index, column: &Column, operator: Operator) -> bool {
    if index_column(index) != column.name {
        return false;
    }
    let target = index.options.get("target").map_or("", String::as_str);
    let is_open = column.cql_type.is_collection() && column.cql_type.is_multi_cell();
    if is_open {
        let served = match (&column.cql_type, target.split('(').next()) {
            (CqlType::Map { .. }, Some("keys")) => Operator::ContainsKey,
            (CqlType::Map { .. }, Some("entries")) => Operator::Equal,
            _ => Operator::Contains,
        };
        return operator == served;
    }
    // Types of which only equality is indexed.
    let is_literal = matches!(column.cql_type, CqlType::Text | CqlType::Ascii | CqlType::Boolean | CqlType::Uuid)
        || matches!(column.cql_type, CqlType::Udt { .. } | CqlType::Tuple(_))
        || column.cql_type.is_collection();
    match operator {
        Operator::Equal => true,
        Operator::Range => is_storage_attached(index) && !is_literal,
        Operator::Contains | Operator::ContainsKey => false,
    }
}
