//! `CREATE TABLE`, `CREATE INDEX`, `CREATE TRIGGER` and `CREATE MATERIALIZED VIEW`.

use std::collections::BTreeMap;

use super::names::{blob_map_literal, double, literal, map_literal, qualified, quoted};
use super::virtual_object;
use crate::topology::{
    ColumnKind, ColumnMetadata, IndexMetadata, TableMetadata, TableOptions, TriggerMetadata, ViewMetadata,
};

impl TableMetadata {
    /// `CREATE TABLE` with all options. Indexes and views are statements of their own.
    #[must_use]
    pub fn describe(&self) -> String {
        let name = qualified(&self.keyspace, &self.name);
        let create = if self.is_virtual { "VIRTUAL TABLE" } else { "CREATE TABLE" };
        let mut properties = self.clustering_order();
        if self.is_virtual {
            properties.push(format!("comment = {}", literal(&self.options.comment)));
        } else {
            if self.is_compact {
                properties.insert(0, "COMPACT STORAGE".to_owned());
            }
            properties.extend(options(&self.options, false));
        }
        let statement = format!("{create} {name} (\n{}\n) WITH {};", self.definitions(), properties.join("\n    AND "));
        if self.is_virtual { virtual_object("Table", "table", &name, &statement) } else { statement }
    }

    /// Columns and primary key. Among the static and among the regular columns those of one cell come first.
    fn definitions(&self) -> String {
        let is_simple_key = self.partition_key().count() == 1 && self.clustering_columns().next().is_none();
        let mut columns: Vec<&ColumnMetadata> = self.columns.iter().collect();
        columns.sort_by_key(|column| (column.kind, column.is_multi_cell()));
        let mut lines: Vec<String> = columns
            .into_iter()
            .map(|column| {
                let mut line = format!("    {} {}", quoted(&column.name), column.type_text);
                if column.kind == ColumnKind::Static {
                    line.push_str(" static");
                }
                if let Some(mask) = &column.mask {
                    line.push_str(&format!(" MASKED WITH {mask}"));
                }
                if column.kind == ColumnKind::PartitionKey && is_simple_key {
                    line.push_str(" PRIMARY KEY");
                }
                line
            })
            .collect();
        if !is_simple_key {
            lines.push(format!("    {}", self.primary_key()));
        }
        lines.join(",\n")
    }

    fn primary_key(&self) -> String {
        let partition_key: Vec<_> = self.partition_key().map(|column| quoted(&column.name)).collect();
        let first = match partition_key.as_slice() {
            [single] => single.clone(),
            several => format!("({})", several.join(", ")),
        };
        let clustering = self.clustering_columns().map(|column| quoted(&column.name));
        let key: Vec<_> = std::iter::once(first).chain(clustering).collect();
        format!("PRIMARY KEY ({})", key.join(", "))
    }

    fn clustering_order(&self) -> Vec<String> {
        let orders: Vec<_> = self
            .clustering_columns()
            .map(|column| format!("{} {}", quoted(&column.name), if column.is_descending { "DESC" } else { "ASC" }))
            .collect();
        if orders.is_empty() { Vec::new() } else { vec![format!("CLUSTERING ORDER BY ({})", orders.join(", "))] }
    }
}

impl ViewMetadata {
    /// `CREATE MATERIALIZED VIEW` with all options.
    #[must_use]
    pub fn describe(&self) -> String {
        let table = &self.table;
        let selected = if self.includes_all_columns {
            "*".to_owned()
        } else {
            table.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
        };
        let mut properties = table.clustering_order();
        properties.extend(options(&table.options, true));
        format!(
            "CREATE MATERIALIZED VIEW {} AS\n    SELECT {selected}\n    FROM {}\n    WHERE {}\n    {}\n WITH {};",
            qualified(&table.keyspace, &table.name),
            qualified(&table.keyspace, &self.base_table),
            self.where_clause,
            table.primary_key(),
            properties.join("\n    AND "),
        )
    }
}

impl TriggerMetadata {
    /// `CREATE TRIGGER`.
    #[must_use]
    pub fn describe(&self) -> String {
        let on = qualified(&self.keyspace, &self.table);
        format!("CREATE TRIGGER {} ON {on} USING {};", quoted(&self.name), literal(self.class_name()))
    }
}

impl IndexMetadata {
    /// `CREATE INDEX` or `CREATE CUSTOM INDEX`.
    #[must_use]
    pub fn describe(&self) -> String {
        let on = format!(
            "{} ON {} ({})",
            quoted(&self.name),
            qualified(&self.keyspace, &self.table),
            shown_target(self.target())
        );
        let Some(class) = self.class_name().filter(|_| &*self.kind == "CUSTOM") else {
            return format!("CREATE INDEX {on};");
        };
        let options: BTreeMap<String, String> = self
            .options
            .iter()
            .filter(|(option, _)| !matches!(option.as_str(), "target" | "class_name"))
            .map(|(option, value)| (option.clone(), value.clone()))
            .collect();
        let with =
            if options.is_empty() { String::new() } else { format!(" WITH OPTIONS = {}", map_literal(&options)) };
        format!("CREATE CUSTOM INDEX {on} USING {}{with};", literal(class))
    }
}

/// A target is a column, quoted by the server if it must be, or such a column within `keys(…)` and the like.
fn shown_target(target: &str) -> String {
    let column = |name: &str| if name.starts_with('"') { name.to_owned() } else { quoted(name) };
    let part = target.split_once('(').filter(|(part, _)| matches!(*part, "keys" | "values" | "entries" | "full"));
    match part.and_then(|(part, rest)| Some((part, rest.strip_suffix(')')?))) {
        Some((part, name)) => format!("{part}({})", column(name)),
        None => column(target),
    }
}

/// Options in the server's order. A view has no time to live of its own.
fn options(options: &TableOptions, is_view: bool) -> Vec<String> {
    let mut written = Vec::with_capacity(20);
    let mut write = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            written.push(format!("{name} = {value}"));
        }
    };
    let text = |value: &Option<String>| value.as_deref().map(literal);
    write("additional_write_policy", text(&options.additional_write_policy));
    write("allow_auto_snapshot", options.allow_auto_snapshot.map(|value| value.to_string()));
    write("bloom_filter_fp_chance", Some(double(options.bloom_filter_fp_chance)));
    write("caching", Some(map_literal(&options.caching)));
    write("cdc", options.cdc.map(|value| value.to_string()));
    write("comment", Some(literal(&options.comment)));
    write("compaction", Some(map_literal(&options.compaction)));
    write("compression", Some(map_literal(&options.compression)));
    write("memtable", text(&options.memtable));
    write("crc_check_chance", Some(double(options.crc_check_chance)));
    write("dclocal_read_repair_chance", options.dclocal_read_repair_chance.map(double));
    write("default_time_to_live", (!is_view).then(|| options.default_time_to_live.to_string()));
    // Releases without this option do not take it empty either.
    let has_extensions = options.additional_write_policy.is_some() || !options.extensions.is_empty();
    write("extensions", has_extensions.then(|| blob_map_literal(&options.extensions)));
    write("gc_grace_seconds", Some(options.gc_grace_seconds.to_string()));
    write("incremental_backups", options.incremental_backups.map(|value| value.to_string()));
    write("max_index_interval", Some(options.max_index_interval.to_string()));
    write("memtable_flush_period_in_ms", Some(options.memtable_flush_period_in_ms.to_string()));
    write("min_index_interval", Some(options.min_index_interval.to_string()));
    write("read_repair", text(&options.read_repair));
    write("read_repair_chance", options.read_repair_chance.map(double));
    write("speculative_retry", Some(literal(&options.speculative_retry)));
    written
}
