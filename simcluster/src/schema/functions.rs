//! User-defined functions and aggregates as values.

use crate::types::CqlType;

/// What tells functions of one name apart: the name, and the argument types as `system_schema` writes them.
pub type Signature = (String, Vec<String>);

/// A user-defined function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The keyspace it lives in.
    pub keyspace: String,
    /// Unquoted name.
    pub name: String,
    /// Names of the arguments, in order.
    pub argument_names: Vec<String>,
    /// Their types.
    pub argument_types: Vec<CqlType>,
    /// What it returns.
    pub return_type: CqlType,
    /// Whether it is called when an argument is null.
    pub called_on_null_input: bool,
    /// Language of the body.
    pub language: String,
    /// Source text.
    pub body: String,
}

/// A user-defined aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// The keyspace it lives in.
    pub keyspace: String,
    /// Unquoted name.
    pub name: String,
    /// Types of the arguments.
    pub argument_types: Vec<CqlType>,
    /// Name of the state function.
    pub state_function: String,
    /// Type of the state.
    pub state_type: CqlType,
    /// Name of the final function.
    pub final_function: Option<String>,
    /// The first state as a literal.
    pub initial: Option<String>,
    /// What it returns.
    pub return_type: CqlType,
}

impl Function {
    /// Its signature.
    #[must_use]
    pub fn signature(&self) -> Signature {
        (self.name.clone(), texts(&self.argument_types))
    }
}

impl Aggregate {
    /// Its signature.
    #[must_use]
    pub fn signature(&self) -> Signature {
        (self.name.clone(), texts(&self.argument_types))
    }
}

/// Types as `system_schema` writes them.
#[must_use]
pub fn texts(types: &[CqlType]) -> Vec<String> {
    types.iter().map(ToString::to_string).collect()
}

/// A type as DESCRIBE and error messages write it for arguments and results: without the freezing of the whole.
#[must_use]
pub fn unfrozen(cql_type: &CqlType) -> String {
    let text = cql_type.to_string();
    text.strip_prefix("frozen<").and_then(|inner| inner.strip_suffix('>')).map_or(text.clone(), ToOwned::to_owned)
}
