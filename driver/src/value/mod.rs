//! CQL types and values, and how Rust values become them and come back.
//!
//! - [`CqlType`] and [`CqlValue`]: any type, any value, for code that learns both at run time.
//! - [`EncodeValue`] and [`DecodeValue`]: one Rust type to and from the bytes of one value.
//! - [`BindValues`] and [`DecodeRow`]: the values of a statement, the columns of a row.
//!
//! # Invariants
//!
//! - Decoding never panics and never allocates more than the bytes at hand justify.
//! - A value is checked against its CQL type before a byte is written or believed.
//!
//! # Source
//!
//! Native protocol v5, sections 3 and 6.

mod bind;
mod collections;
mod cql_type;
mod cql_value;
mod cursors;
mod decode;
mod encode;
mod error;
mod numbers;
mod owned;
mod row;
mod scalars;
mod temporal;
mod timeuuid;
mod tuples;
mod vint;

pub use bind::{BindValues, BindWriter, NamedValues};
pub use cql_type::{ColumnSpec, CqlType, NativeType, UserType};
pub use cql_value::CqlValue;
pub use cursors::{ListIterator, MapIterator};
pub use decode::{CellReader, DecodeValue};
pub use encode::{EncodeValue, MaybeUnset, Presence, Unset, write_value};
pub use error::{BindError, RowError, ValueError, ValueErrorKind};
pub use numbers::{Counter, CqlDecimal};
pub(crate) use row::read_row;
pub use row::{CqlRow, DecodeRow, RowCells, RowIterator, RowLayout, column_error};
pub use temporal::{CqlDate, CqlDuration, CqlTime, CqlTimestamp};
pub use timeuuid::Timeuuid;
