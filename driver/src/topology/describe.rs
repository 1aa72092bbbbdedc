//! CQL text that would create what the metadata describes.

use super::{ColumnKind, KeyspaceMetadata, TableMetadata};

impl KeyspaceMetadata {
    /// Writes the statements that create this keyspace, its types and its tables.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = format!(
            "CREATE KEYSPACE {} WITH replication = {} AND durable_writes = {};\n",
            quoted(&self.name),
            self.replication.to_cql(),
            self.durable_writes
        );
        for (name, user_type) in &self.user_types {
            let fields: Vec<_> =
                user_type.fields.iter().map(|(field, cql)| format!("{} {cql}", quoted(field))).collect();
            text.push_str(&format!("\nCREATE TYPE {}.{} ({});\n", quoted(&self.name), quoted(name), fields.join(", ")));
        }
        for table in self.tables.values() {
            text.push('\n');
            text.push_str(&table.describe());
            text.push('\n');
        }
        text
    }
}

impl TableMetadata {
    /// Writes the statement that creates this table.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = format!("CREATE TABLE {}.{} (\n", quoted(&self.keyspace), quoted(&self.name));
        for column in &self.columns {
            let suffix = if column.kind == ColumnKind::Static { " STATIC" } else { "" };
            text.push_str(&format!("    {} {}{suffix},\n", quoted(&column.name), column.type_text));
        }
        let partition: Vec<_> = self.partition_key().map(|column| quoted(&column.name)).collect();
        let clustering: Vec<_> = self.clustering_columns().map(|column| quoted(&column.name)).collect();
        let partition = match partition.as_slice() {
            [single] if clustering.is_empty() => single.clone(),
            several => format!("({})", several.join(", ")),
        };
        let key: Vec<_> = std::iter::once(partition).chain(clustering).collect();
        text.push_str(&format!("    PRIMARY KEY ({})\n)", key.join(", ")));
        let options = self.options();
        if !options.is_empty() {
            text.push_str(" WITH ");
            text.push_str(&options.join("\n    AND "));
        }
        text.push(';');
        text
    }

    fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        if self.clustering_columns().any(|column| column.is_descending) {
            let order: Vec<_> = self
                .clustering_columns()
                .map(|column| format!("{} {}", quoted(&column.name), if column.is_descending { "DESC" } else { "ASC" }))
                .collect();
            options.push(format!("CLUSTERING ORDER BY ({})", order.join(", ")));
        }
        if !self.comment.is_empty() {
            options.push(format!("comment = '{}'", self.comment.replace('\'', "''")));
        }
        if self.default_time_to_live != 0 {
            options.push(format!("default_time_to_live = {}", self.default_time_to_live));
        }
        options
    }
}

/// Quotes a name unless CQL reads it unchanged without quotes.
pub(crate) fn quoted(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&name);
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Reserved words of CQL, which are names only within quotes.
const RESERVED: &[&str] = &[
    "add",
    "allow",
    "alter",
    "and",
    "apply",
    "asc",
    "authorize",
    "batch",
    "begin",
    "by",
    "columnfamily",
    "create",
    "default",
    "delete",
    "desc",
    "describe",
    "drop",
    "entries",
    "execute",
    "from",
    "full",
    "grant",
    "if",
    "in",
    "index",
    "infinity",
    "insert",
    "into",
    "is",
    "keyspace",
    "limit",
    "materialized",
    "mbean",
    "mbeans",
    "modify",
    "nan",
    "norecursive",
    "not",
    "null",
    "of",
    "on",
    "or",
    "order",
    "primary",
    "rename",
    "replace",
    "revoke",
    "schema",
    "select",
    "set",
    "table",
    "to",
    "token",
    "truncate",
    "unlogged",
    "unset",
    "update",
    "use",
    "using",
    "view",
    "where",
    "with",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ColumnMetadata;
    use crate::value::NativeType;

    fn column(name: &str, kind: ColumnKind, type_text: &str) -> ColumnMetadata {
        ColumnMetadata {
            name: name.to_owned(),
            kind,
            position: 0,
            is_descending: kind == ColumnKind::Clustering,
            type_text: type_text.to_owned(),
            cql_type: NativeType::Int.into(),
        }
    }

    #[test]
    fn described_table_is_the_statement_that_creates_it() {
        let table = TableMetadata {
            keyspace: "app".to_owned(),
            name: "Order".to_owned(),
            id: None,
            columns: vec![
                column("a", ColumnKind::PartitionKey, "int"),
                column("b", ColumnKind::PartitionKey, "int"),
                column("c", ColumnKind::Clustering, "text"),
                column("set", ColumnKind::Static, "frozen<set<int>>"),
            ],
            comment: "it's".to_owned(),
            default_time_to_live: 0,
        };

        assert_eq!(
            table.describe(),
            "CREATE TABLE app.\"Order\" (\n    a int,\n    b int,\n    c text,\n    \"set\" frozen<set<int>> STATIC,\n    \
             PRIMARY KEY ((a, b), c)\n) WITH CLUSTERING ORDER BY (c DESC)\n    AND comment = 'it''s';"
        );
    }
}
