//! CQL text that creates again what the metadata describes.
//!
//! The text is the one that DESCRIBE of Apache Cassandra 5.0 answers, option by option; of options that the server's
//! release does not have nothing is written, so a server of the same release accepts it.

mod function;
mod names;
mod table;

use std::collections::BTreeMap;

use super::{IndexMetadata, KeyspaceMetadata, Schema, TriggerMetadata, UserTypeMetadata};
use function::shown_signature;
use names::{literal, qualified, quoted};

impl Schema {
    /// Statements that create the keyspaces that users made, with everything in them, in an order in which they can be
    /// executed. The server's own keyspaces and virtual ones are left out.
    #[must_use]
    pub fn statements(&self) -> Vec<String> {
        let mut keyspaces: Vec<_> = self.keyspaces.values().filter(|keyspace| !keyspace.is_system()).collect();
        keyspaces.sort_by_cached_key(|keyspace| keyspace.name.to_lowercase());
        keyspaces.into_iter().flat_map(|keyspace| keyspace.statements()).collect()
    }

    /// The [statements](Self::statements) as one text.
    #[must_use]
    pub fn describe(&self) -> String {
        self.statements().join("\n\n")
    }
}

impl KeyspaceMetadata {
    /// Whether the keyspace is one of the server's own.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.is_virtual || SYSTEM_KEYSPACES.contains(&&*self.name)
    }

    /// Statements that create this keyspace with everything in it, in an order in which they can be executed: types
    /// after those they use, functions, aggregates, then each table with its indexes, triggers and views.
    #[must_use]
    pub fn statements(&self) -> Vec<String> {
        let mut statements = vec![self.describe_keyspace()];
        statements.extend(self.user_types_in_order().into_iter().map(|user_type| user_type.describe()));
        statements.extend(sorted(&self.functions, shown_signature).map(|function| function.describe()));
        statements.extend(sorted(&self.aggregates, shown_signature).map(|aggregate| aggregate.describe()));
        for table in sorted(&self.tables, ToString::to_string) {
            statements.push(table.describe());
            statements.extend(sorted(&table.indexes, ToString::to_string).map(IndexMetadata::describe));
            statements.extend(sorted(&table.triggers, ToString::to_string).map(TriggerMetadata::describe));
            let mut views: Vec<_> = self.views_of(&table.name).collect();
            views.sort_by_cached_key(|view| view.table.name.to_lowercase());
            statements.extend(views.into_iter().map(|view| view.describe()));
        }
        statements
    }

    /// The [statements](Self::statements) as one text.
    #[must_use]
    pub fn describe(&self) -> String {
        self.statements().join("\n\n")
    }

    /// `CREATE KEYSPACE` alone.
    #[must_use]
    pub fn describe_keyspace(&self) -> String {
        let name = quoted(&self.name);
        if self.is_virtual {
            return virtual_object("Keyspace", "keyspace", &name, &format!("VIRTUAL KEYSPACE {name};"));
        }
        let class = self.replication_options.get("class").map_or("", String::as_str);
        let class = class.strip_prefix("org.apache.cassandra.locator.").unwrap_or(class);
        let mut replication = format!("'class': {}", literal(class));
        for (option, value) in self.replication_options.iter().filter(|(option, _)| *option != "class") {
            replication.push_str(&format!(", {}: {}", literal(option), literal(value)));
        }
        // The server writes two spaces here.
        format!(
            "CREATE KEYSPACE {name} WITH replication = {{{replication}}}  AND durable_writes = {};",
            self.durable_writes
        )
    }
}

impl UserTypeMetadata {
    /// `CREATE TYPE`.
    #[must_use]
    pub fn describe(&self) -> String {
        let fields: Vec<_> = self.fields.iter().map(|(name, text)| format!("    {} {text}", quoted(name))).collect();
        let name = qualified(&self.user_type.keyspace, &self.user_type.name);
        format!("CREATE TYPE {name} (\n{}\n);", fields.join(",\n"))
    }
}

/// Values in the order of their names, in which case does not count, and then of their keys.
fn sorted<K, V>(map: &BTreeMap<K, V>, name: impl Fn(&K) -> String) -> impl Iterator<Item = &V> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_cached_key(|(key, _)| name(key).to_lowercase());
    entries.into_iter().map(|(_, value)| value)
}

/// What the server answers for something that only it can have.
fn virtual_object(what: &str, kind: &str, name: &str, structure: &str) -> String {
    format!(
        "/*\nWarning: {what} {name} is a virtual {kind} and cannot be recreated with CQL.\nStructure, for \
         reference:\n{structure}\n*/"
    )
}

/// Keyspaces that every server creates itself.
const SYSTEM_KEYSPACES: &[&str] =
    &["system", "system_auth", "system_distributed", "system_schema", "system_traces", "system_metadata"];

#[cfg(test)]
mod tests;
