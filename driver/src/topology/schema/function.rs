//! User-defined functions and aggregates.

use std::sync::Arc;

/// What tells functions of one name apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionSignature {
    /// Name of the function.
    pub name: Arc<str>,
    /// Types of the arguments, as the server writes them.
    pub argument_types: Vec<Arc<str>>,
}

/// One user-defined function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionMetadata {
    /// Keyspace that owns the function.
    pub keyspace: Arc<str>,
    /// Name and argument types.
    pub signature: FunctionSignature,
    /// Names of the arguments, in order.
    pub argument_names: Vec<Arc<str>>,
    /// Source text in `language`.
    pub body: String,
    /// Whether it is called when an argument is null; otherwise its result is null then.
    pub is_called_on_null_input: bool,
    /// Language of the body, such as `java`.
    pub language: Arc<str>,
    /// Type of the result.
    pub return_type: Arc<str>,
}

/// One user-defined aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateMetadata {
    /// Keyspace that owns the aggregate.
    pub keyspace: Arc<str>,
    /// Name and argument types.
    pub signature: FunctionSignature,
    /// Function that takes the state and a row's values and returns the next state.
    pub state_function: Arc<str>,
    /// Type of the state.
    pub state_type: Arc<str>,
    /// Function that makes the result of the last state, if there is one.
    pub final_function: Option<Arc<str>>,
    /// First state as a CQL literal; null if there is none.
    pub initial_condition: Option<Arc<str>>,
    /// Type of the result.
    pub return_type: Arc<str>,
}
