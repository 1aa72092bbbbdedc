//! Why a value could not be encoded or decoded.

use std::fmt;
use std::sync::Arc;

use super::CqlType;

/// A Rust value does not fit a CQL type, or the bytes of a value are not what its type demands.
///
/// One word wide, so that `Result` stays small where rows are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    kind: ValueErrorKind,
    cql_type: String,
    rust_type: &'static str,
}

/// What was wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueErrorKind {
    /// The Rust type cannot hold values of the CQL type.
    TypeMismatch,
    /// The value is null and the Rust type has no null: use `Option`.
    UnexpectedNull,
    /// The value has this many bytes, which its type does not allow.
    WrongLength(usize),
    /// The bytes are not valid UTF-8 (or not ASCII).
    InvalidText,
    /// The value lies outside the range of its type.
    OutOfRange,
    /// The value ends before its announced content.
    Truncated,
    /// Bytes are left after the end of the value.
    TrailingBytes,
    /// A vector needs this many elements and got another number.
    WrongDimensions {
        /// Elements the type demands.
        expected: u32,
        /// Elements given.
        got: usize,
    },
    /// A tuple or user type has no such field.
    UnknownField(String),
    /// Nulls are not allowed inside lists, sets, maps and vectors.
    NullElement,
    /// The value or collection exceeds what the protocol can express (2^31 - 1 bytes).
    TooLong,
}

impl ValueError {
    /// Builds an error for values of `cql_type` and the Rust type `T`.
    #[cold]
    pub fn new<T: ?Sized>(kind: ValueErrorKind, cql_type: &CqlType) -> Self {
        let rust_type = std::any::type_name::<T>();
        Self(Box::new(Inner { kind, cql_type: cql_type.to_string(), rust_type }))
    }

    /// The Rust type `T` cannot hold values of `cql_type`.
    pub fn mismatch<T: ?Sized>(cql_type: &CqlType) -> Self {
        Self::new::<T>(ValueErrorKind::TypeMismatch, cql_type)
    }

    /// What was wrong.
    pub fn kind(&self) -> &ValueErrorKind {
        &self.0.kind
    }

    /// The CQL type, as CQL writes it.
    pub fn cql_type(&self) -> &str {
        &self.0.cql_type
    }

    /// Name of the Rust type.
    pub fn rust_type(&self) -> &'static str {
        self.0.rust_type
    }
}

impl fmt::Display for ValueErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TypeMismatch => f.write_str("the types do not match"),
            Self::UnexpectedNull => f.write_str("the value is null, use Option to accept nulls"),
            Self::WrongLength(len) => write!(f, "a value of {len} bytes is not allowed"),
            Self::InvalidText => f.write_str("the text is not valid in its encoding"),
            Self::OutOfRange => f.write_str("the value is out of range"),
            Self::Truncated => f.write_str("the value ends too early"),
            Self::TrailingBytes => f.write_str("bytes are left after the value"),
            Self::WrongDimensions { expected, got } => {
                write!(f, "the vector needs {expected} elements and has {got}")
            }
            Self::UnknownField(name) => write!(f, "the type has no field {name:?}"),
            Self::NullElement => f.write_str("collections cannot hold nulls"),
            Self::TooLong => f.write_str("the value is longer than 2^31 - 1 bytes"),
        }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, cql_type, rust_type } = &*self.0;
        write!(f, "{kind} (CQL type {cql_type}, Rust type {rust_type})")
    }
}

impl std::error::Error for ValueError {}

/// Why the values given to a statement cannot be bound to its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindError {
    /// The statement has another number of variables.
    WrongCount {
        /// Variables of the statement.
        expected: usize,
        /// Values given.
        got: usize,
    },
    /// The statement has a variable for which no value was given by name.
    MissingName(Arc<str>),
    /// A value was given for a name that the statement does not have.
    UnknownName(String),
    /// Protocol version 3 cannot leave a variable unset.
    UnsetNotSupported(Arc<str>),
    /// A value does not fit its variable.
    Value {
        /// Name of the variable.
        name: Arc<str>,
        /// What was wrong with the value.
        error: ValueError,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongCount { expected, got } => {
                write!(f, "the statement has {expected} variables and {got} values were given: bind one for each")
            }
            Self::MissingName(name) => write!(f, "no value was given for variable {name:?}: bind one, null or Unset"),
            Self::UnknownName(name) => {
                write!(f, "the statement has no variable {name:?}: correct the name, or leave the value out")
            }
            Self::UnsetNotSupported(name) => {
                write!(f, "variable {name:?} is unset, which protocol version 3 cannot express: bind a value or null")
            }
            Self::Value { name, .. } => write!(f, "cannot encode the value of variable {name:?}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Value { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Why a row cannot be decoded into a Rust type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowError {
    /// The row has another number of columns than the Rust type.
    WrongColumnCount {
        /// Columns the Rust type needs.
        expected: usize,
        /// Columns of the row.
        got: usize,
    },
    /// The row has no column of this name.
    NoSuchColumn(String),
    /// The row has no column at this index.
    NoSuchIndex(usize),
    /// The bytes of the row end before its last column.
    Truncated,
    /// A column cannot be decoded.
    Column {
        /// Table of the column, with its keyspace.
        table: String,
        /// Name of the column.
        name: Arc<str>,
        /// What was wrong with the value.
        error: ValueError,
    },
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongColumnCount { expected, got } => {
                write!(f, "the row has {got} columns, the Rust type needs {expected}")
            }
            Self::NoSuchColumn(name) => write!(f, "the row has no column {name:?}"),
            Self::NoSuchIndex(index) => write!(f, "the row has no column at index {index}"),
            Self::Truncated => f.write_str("the row ends before its last column"),
            Self::Column { table, name, .. } => {
                write!(f, "cannot decode column {name:?} of table {table}")
            }
        }
    }
}

impl std::error::Error for RowError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Column { error, .. } => Some(error),
            _ => None,
        }
    }
}
