//! `CREATE FUNCTION` and `CREATE AGGREGATE`.

use super::names::{qualified, quoted};
use crate::topology::{AggregateMetadata, FunctionMetadata, FunctionSignature};

impl FunctionMetadata {
    /// `CREATE FUNCTION`.
    #[must_use]
    pub fn describe(&self) -> String {
        let arguments: Vec<_> = self
            .argument_names
            .iter()
            .zip(&self.signature.argument_types)
            .map(|(name, text)| format!("{} {}", quoted(name), unfrozen(text)))
            .collect();
        let on_null = if self.is_called_on_null_input { "CALLED" } else { "RETURNS NULL" };
        // A body that contains the delimiter was written in quotes, and has to be again.
        let body = if self.body.contains("$$") {
            format!("'{}'", self.body.replace('\'', "''"))
        } else {
            format!("$${}$$", self.body)
        };
        format!(
            "CREATE FUNCTION {}({})\n    {on_null} ON NULL INPUT\n    RETURNS {}\n    LANGUAGE {}\n    AS {body};",
            qualified(&self.keyspace, &self.signature.name),
            arguments.join(", "),
            unfrozen(&self.return_type),
            self.language,
        )
    }
}

impl AggregateMetadata {
    /// `CREATE AGGREGATE`.
    #[must_use]
    pub fn describe(&self) -> String {
        let arguments: Vec<_> = self.signature.argument_types.iter().map(|text| unfrozen(text)).collect();
        let mut text = format!(
            "CREATE AGGREGATE {}({})\n    SFUNC {}\n    STYPE {}",
            qualified(&self.keyspace, &self.signature.name),
            arguments.join(", "),
            quoted(&self.state_function),
            unfrozen(&self.state_type),
        );
        if let Some(function) = &self.final_function {
            text.push_str(&format!("\n    FINALFUNC {}", quoted(function)));
        }
        if let Some(initial) = &self.initial_condition {
            text.push_str(&format!("\n    INITCOND {initial}"));
        }
        text.push(';');
        text
    }
}

/// The name by which the server orders functions: overloads by the types of their arguments, as they are described.
pub(super) fn shown_signature(signature: &FunctionSignature) -> String {
    let types: Vec<_> = signature.argument_types.iter().map(|text| unfrozen(text)).collect();
    format!("{}({})", signature.name, types.join(", "))
}

/// The type without the freezing of the whole, which arguments and results may not have.
fn unfrozen(text: &str) -> &str {
    text.strip_prefix("frozen<").and_then(|inner| inner.strip_suffix('>')).unwrap_or(text)
}
