//! From rows of the schema tables to schema metadata. Pure.
//!
//! # Invariants
//!
//! - A row that cannot be used is skipped alone; it never spoils the others.
//! - A column that the server's release does not have is an option without a value, not an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::warn;

use crate::topology::{
    AggregateMetadata, ColumnKind, ColumnMetadata, FunctionMetadata, FunctionSignature, IndexMetadata,
    KeyspaceMetadata, Replication, TableMetadata, TableOptions, TriggerMetadata, UserTypeMetadata, ViewMetadata,
};
use crate::value::{CqlRow, CqlType, DecodeValue, NativeType, UserType};

/// Rows of `system_schema`, or of `system_virtual_schema`; whole tables or parts of them.
#[derive(Debug, Default)]
pub(super) struct SchemaRows {
    pub tables: Vec<CqlRow>,
    pub columns: Vec<CqlRow>,
    pub types: Vec<CqlRow>,
    pub indexes: Vec<CqlRow>,
    pub triggers: Vec<CqlRow>,
    pub views: Vec<CqlRow>,
    pub functions: Vec<CqlRow>,
    pub aggregates: Vec<CqlRow>,
    pub column_masks: Vec<CqlRow>,
}

/// Puts keyspaces together. Equal names, type texts and options are kept once.
#[derive(Debug, Default)]
pub(super) struct SchemaBuilder {
    pub keyspaces: BTreeMap<Arc<str>, KeyspaceMetadata>,
    texts: BTreeSet<Arc<str>>,
    options: Vec<Arc<TableOptions>>,
}

impl SchemaBuilder {
    /// Adds the keyspaces themselves, empty.
    pub(super) fn add_keyspaces(&mut self, rows: &[CqlRow]) {
        for row in rows {
            let Some(name) = text(row, "keyspace_name") else { continue };
            let mut keyspace = KeyspaceMetadata::new(name);
            let options: BTreeMap<String, String> = row.get("replication").unwrap_or_default();
            keyspace.replication = Replication::from_options(&options);
            keyspace.replication_options = options;
            keyspace.durable_writes = value(row, "durable_writes").unwrap_or(true);
            self.keyspaces.insert(Arc::clone(&keyspace.name), keyspace);
        }
    }

    /// Adds virtual keyspaces, empty.
    pub(super) fn add_virtual_keyspaces(&mut self, rows: &[CqlRow]) {
        for row in rows {
            let Some(name) = text(row, "keyspace_name") else { continue };
            let keyspace = KeyspaceMetadata { is_virtual: true, ..KeyspaceMetadata::new(name) };
            self.keyspaces.insert(Arc::clone(&keyspace.name), keyspace);
        }
    }

    /// Adds what the keyspaces have in them.
    pub(super) fn add_contents(&mut self, rows: &SchemaRows) {
        self.add_types(&rows.types);
        self.add_functions(&rows.functions);
        self.add_aggregates(&rows.aggregates);
        self.add_tables(&rows.tables);
        self.add_views(&rows.views);
        self.add_columns(&rows.columns);
        self.add_masks(&rows.column_masks);
        self.add_indexes(&rows.indexes);
        self.add_triggers(&rows.triggers);
    }

    /// Puts columns in order and finds their types; answers the keyspaces in which a name could not be found.
    #[expect(clippy::type_complexity, reason = "two plain collections")]
    pub(super) fn finish(mut self) -> (BTreeMap<Arc<str>, Arc<KeyspaceMetadata>>, BTreeSet<Arc<str>>) {
        let mut incomplete = BTreeSet::new();
        for keyspace in self.keyspaces.values_mut() {
            for table in keyspace.tables.values_mut().filter(|table| !is_arranged(table)) {
                arrange(Arc::make_mut(table));
            }
            for view in keyspace.views.values_mut().filter(|view| !is_arranged(&view.table)) {
                arrange(&mut Arc::make_mut(view).table);
            }
            if !keyspace.resolve_types() {
                incomplete.insert(Arc::clone(&keyspace.name));
            }
        }
        let keyspaces = self.keyspaces.into_iter().map(|(name, keyspace)| (name, Arc::new(keyspace))).collect();
        (keyspaces, incomplete)
    }

    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        new
    }

    fn share_all(&mut self, texts: &[&str]) -> Vec<Arc<str>> {
        texts.iter().map(|text| self.share(text)).collect()
    }

    fn share_options(&mut self, options: TableOptions) -> Arc<TableOptions> {
        // The last ones first: tables of a keyspace tend to be alike.
        if let Some(known) = self.options.iter().rev().take(OPTIONS_COMPARED_MAX).find(|known| ***known == options) {
            return Arc::clone(known);
        }
        let new = Arc::new(options);
        self.options.push(Arc::clone(&new));
        new
    }

    fn add_types(&mut self, rows: &[CqlRow]) {
        for row in rows {
            let (Some(keyspace), Some(name)) = (text(row, "keyspace_name"), text(row, "type_name")) else { continue };
            let (names, texts) = (texts(row, "field_names"), texts(row, "field_types"));
            let fields = names.iter().zip(&texts).map(|(name, text)| (self.share(name), self.share(text))).collect();
            let (keyspace, name) = (self.share(keyspace), self.share(name));
            let Some(owner) = self.keyspaces.get_mut(&keyspace) else { continue };
            // Its fields are found when the keyspace is complete.
            let user_type = Arc::new(UserType { keyspace, name: Arc::clone(&name), fields: Vec::new() });
            owner.user_types.insert(name, Arc::new(UserTypeMetadata { fields, user_type }));
        }
    }

    fn add_functions(&mut self, rows: &[CqlRow]) {
        for row in rows {
            let (Some(keyspace), Some(name)) = (text(row, "keyspace_name"), text(row, "function_name")) else {
                continue;
            };
            let function = FunctionMetadata {
                keyspace: self.share(keyspace),
                signature: FunctionSignature {
                    name: self.share(name),
                    argument_types: self.share_all(&texts(row, "argument_types")),
                },
                argument_names: self.share_all(&texts(row, "argument_names")),
                body: text(row, "body").unwrap_or_default().to_owned(),
                is_called_on_null_input: value(row, "called_on_null_input").unwrap_or(false),
                language: self.share(text(row, "language").unwrap_or_default()),
                return_type: self.share(text(row, "return_type").unwrap_or_default()),
            };
            if let Some(owner) = self.keyspaces.get_mut(keyspace) {
                owner.functions.insert(function.signature.clone(), Arc::new(function));
            }
        }
    }

    fn add_aggregates(&mut self, rows: &[CqlRow]) {
        for row in rows {
            let (Some(keyspace), Some(name)) = (text(row, "keyspace_name"), text(row, "aggregate_name")) else {
                continue;
            };
            let aggregate = AggregateMetadata {
                keyspace: self.share(keyspace),
                signature: FunctionSignature {
                    name: self.share(name),
                    argument_types: self.share_all(&texts(row, "argument_types")),
                },
                state_function: self.share(text(row, "state_func").unwrap_or_default()),
                state_type: self.share(text(row, "state_type").unwrap_or_default()),
                final_function: text(row, "final_func").map(|name| self.share(name)),
                initial_condition: text(row, "initcond").map(Arc::from),
                return_type: self.share(text(row, "return_type").unwrap_or_default()),
            };
            if let Some(owner) = self.keyspaces.get_mut(keyspace) {
                owner.aggregates.insert(aggregate.signature.clone(), Arc::new(aggregate));
            }
        }
    }

    fn add_tables(&mut self, rows: &[CqlRow]) {
        for row in rows {
            let Some(table) = self.table(row, "table_name") else { continue };
            if let Some(owner) = self.keyspaces.get_mut(&table.keyspace) {
                owner.tables.insert(Arc::clone(&table.name), Arc::new(table));
            }
        }
    }

    fn add_views(&mut self, rows: &[CqlRow]) {
        for row in rows {
            let (Some(table), Some(base)) = (self.table(row, "view_name"), text(row, "base_table_name")) else {
                continue;
            };
            let view = ViewMetadata {
                base_table: self.share(base),
                includes_all_columns: value(row, "include_all_columns").unwrap_or(false),
                where_clause: text(row, "where_clause").unwrap_or_default().to_owned(),
                table,
            };
            if let Some(owner) = self.keyspaces.get_mut(&view.table.keyspace) {
                owner.views.insert(Arc::clone(&view.table.name), Arc::new(view));
            }
        }
    }

    fn table(&mut self, row: &CqlRow, name_column: &str) -> Option<TableMetadata> {
        let (keyspace, name) = (text(row, "keyspace_name")?, text(row, name_column)?);
        let is_virtual = self.keyspaces.get(keyspace)?.is_virtual;
        let flags = texts_of_set(row, "flags");
        // A table without the flag "compound" has one value per key, as tables had before CQL. A view has no flags.
        let has_flags = row.columns().iter().any(|column| &*column.name == "flags");
        Some(TableMetadata {
            keyspace: self.share(keyspace),
            name: self.share(name),
            id: value(row, "id"),
            columns: Vec::new(),
            indexes: BTreeMap::new(),
            triggers: BTreeMap::new(),
            options: self.share_options(options(row)),
            is_counter: flags.contains("counter"),
            is_compact: has_flags
                && (!flags.contains("compound") || flags.contains("dense") || flags.contains("super")),
            is_virtual,
        })
    }

    fn add_columns(&mut self, rows: &[CqlRow]) {
        for row in rows {
            let names = (text(row, "keyspace_name"), text(row, "table_name"), text(row, "column_name"));
            let (Some(keyspace), Some(table), Some(name)) = names else { continue };
            let Some(type_text) = text(row, "type") else {
                warn!(keyspace, table, column = name, "skipping a column without a type");
                continue;
            };
            // Anything but a plain type is found when the keyspace is complete.
            let type_text = self.share(type_text);
            let cql_type = NativeType::from_name(&type_text)
                .map_or_else(|| CqlType::Custom(Arc::clone(&type_text)), CqlType::Native);
            let column = ColumnMetadata {
                name: self.share(name),
                kind: ColumnKind::from_name(text(row, "kind").unwrap_or_default()),
                position: value(row, "position").unwrap_or(-1),
                is_descending: text(row, "clustering_order").is_some_and(|order| order.eq_ignore_ascii_case("desc")),
                cql_type,
                type_text,
                mask: None,
            };
            if let Some(found) = self.table_mut(keyspace, table) {
                found.columns.push(column);
            }
        }
    }

    fn add_masks(&mut self, rows: &[CqlRow]) {
        for row in rows {
            let names = (text(row, "keyspace_name"), text(row, "table_name"), text(row, "column_name"));
            let (Some(keyspace), Some(table), Some(name)) = names else { continue };
            let mask: Arc<str> = mask_call(row).into();
            let column = |table: &mut TableMetadata| table.columns.iter().position(|column| &*column.name == name);
            if let Some(table) = self.table_mut(keyspace, table)
                && let Some(index) = column(table)
            {
                table.columns[index].mask = Some(mask);
            }
        }
    }

    fn add_indexes(&mut self, rows: &[CqlRow]) {
        for row in rows {
            let names = (text(row, "keyspace_name"), text(row, "table_name"), text(row, "index_name"));
            let (Some(keyspace), Some(table), Some(name)) = names else { continue };
            let index = IndexMetadata {
                keyspace: self.share(keyspace),
                table: self.share(table),
                name: self.share(name),
                kind: self.share(text(row, "kind").unwrap_or_default()),
                options: row.get("options").unwrap_or_default(),
            };
            if let Some(found) = self.table_mut(keyspace, table) {
                found.indexes.insert(Arc::clone(&index.name), index);
            }
        }
    }

    fn add_triggers(&mut self, rows: &[CqlRow]) {
        for row in rows {
            let names = (text(row, "keyspace_name"), text(row, "table_name"), text(row, "trigger_name"));
            let (Some(keyspace), Some(table), Some(name)) = names else { continue };
            let trigger = TriggerMetadata {
                keyspace: self.share(keyspace),
                table: self.share(table),
                name: self.share(name),
                options: row.get("options").unwrap_or_default(),
            };
            if let Some(found) = self.table_mut(keyspace, table) {
                found.triggers.insert(Arc::clone(&trigger.name), trigger);
            }
        }
    }

    /// A table or view that is being put together.
    fn table_mut(&mut self, keyspace: &str, name: &str) -> Option<&mut TableMetadata> {
        let keyspace = self.keyspaces.get_mut(keyspace)?;
        if let Some(table) = keyspace.tables.get_mut(name) {
            return Some(Arc::make_mut(table));
        }
        keyspace.views.get_mut(name).map(|view| &mut Arc::make_mut(view).table)
    }
}

fn is_arranged(table: &TableMetadata) -> bool {
    table.columns.is_sorted_by(|a, b| (a.kind, a.position, &a.name) <= (b.kind, b.position, &b.name))
}

fn arrange(table: &mut TableMetadata) {
    table.columns.sort_by(|a, b| (a.kind, a.position, &a.name).cmp(&(b.kind, b.position, &b.name)));
    table.columns.shrink_to_fit();
}

/// Options, read leniently: what a release does not have, or this driver cannot read, has no value or the default.
fn options(row: &CqlRow) -> TableOptions {
    let default = TableOptions::default();
    let has = |name: &str| row.columns().iter().any(|column| &*column.name == name);
    let string = |name: &str| text(row, name).map(str::to_owned);
    let map = |name: &str| row.get(name).unwrap_or_default();
    TableOptions {
        additional_write_policy: string("additional_write_policy"),
        // Null means the default in these four.
        allow_auto_snapshot: has("allow_auto_snapshot").then(|| value(row, "allow_auto_snapshot").unwrap_or(true)),
        incremental_backups: has("incremental_backups").then(|| value(row, "incremental_backups").unwrap_or(true)),
        memtable: has("memtable").then(|| string("memtable").unwrap_or_else(|| "default".to_owned())),
        cdc: has("cdc").then(|| value(row, "cdc").unwrap_or(false)),
        bloom_filter_fp_chance: value(row, "bloom_filter_fp_chance").unwrap_or(default.bloom_filter_fp_chance),
        caching: map("caching"),
        comment: string("comment").unwrap_or_default(),
        compaction: map("compaction"),
        compression: map("compression"),
        crc_check_chance: value(row, "crc_check_chance").unwrap_or(default.crc_check_chance),
        // Later releases keep these two columns and do not take the options.
        dclocal_read_repair_chance: value(row, "dclocal_read_repair_chance").filter(|_| !has("read_repair")),
        read_repair_chance: value(row, "read_repair_chance").filter(|_| !has("read_repair")),
        default_time_to_live: value(row, "default_time_to_live").unwrap_or(default.default_time_to_live),
        extensions: row.get("extensions").unwrap_or_default(),
        gc_grace_seconds: value(row, "gc_grace_seconds").unwrap_or(default.gc_grace_seconds),
        max_index_interval: value(row, "max_index_interval").unwrap_or(default.max_index_interval),
        memtable_flush_period_in_ms: value(row, "memtable_flush_period_in_ms")
            .unwrap_or(default.memtable_flush_period_in_ms),
        min_index_interval: value(row, "min_index_interval").unwrap_or(default.min_index_interval),
        read_repair: string("read_repair"),
        speculative_retry: string("speculative_retry").unwrap_or_default(),
    }
}

/// The call that a row of `column_masks` stands for.
fn mask_call(row: &CqlRow) -> String {
    let nulls: Vec<bool> = row.get("function_argument_nulls").unwrap_or_default();
    let values = texts(row, "function_argument_values");
    let types = texts(row, "function_argument_types");
    let arguments: Vec<String> = (0..values.len())
        .map(|index| match types.get(index).copied().unwrap_or_default() {
            _ if nulls.get(index) == Some(&true) => "null".to_owned(),
            "text" | "ascii" | "varchar" => format!("'{}'", values[index].replace('\'', "''")),
            _ => values[index].to_owned(),
        })
        .collect();
    let keyspace = text(row, "function_keyspace").unwrap_or("system");
    format!("{keyspace}.{}({})", text(row, "function_name").unwrap_or_default(), arguments.join(", "))
}

fn value<'a, T: DecodeValue<'a>>(row: &'a CqlRow, column: &str) -> Option<T> {
    row.get::<Option<T>>(column).ok().flatten()
}

fn text<'a>(row: &'a CqlRow, column: &str) -> Option<&'a str> {
    value(row, column)
}

fn texts<'a>(row: &'a CqlRow, column: &str) -> Vec<&'a str> {
    value(row, column).unwrap_or_default()
}

fn texts_of_set<'a>(row: &'a CqlRow, column: &str) -> BTreeSet<&'a str> {
    value(row, column).unwrap_or_default()
}

/// Other option sets that a new one is compared with.
const OPTIONS_COMPARED_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{ColumnSpec, EncodeValue, RowIterator};

    /// A row of texts, and of options if there are any.
    fn row(texts: &[(&str, &str)], options: Option<&BTreeMap<String, String>>) -> CqlRow {
        let text_type = || CqlType::from(NativeType::Text);
        let map_type = CqlType::Map(Box::new(text_type()), Box::new(text_type()));
        let column = |name: &str, cql_type: &CqlType| ColumnSpec {
            keyspace: "system_schema".into(),
            table: "any".into(),
            name: name.into(),
            cql_type: cql_type.clone(),
        };
        let mut columns: Vec<ColumnSpec> = texts.iter().map(|(name, _)| column(name, &text_type())).collect();
        let mut values: Vec<Vec<u8>> = texts.iter().map(|(_, text)| text.as_bytes().to_vec()).collect();
        if let Some(options) = options {
            columns.push(column("options", &map_type));
            let mut value = Vec::new();
            options.encode(&map_type, &mut value).unwrap();
            values.push(value);
        }
        let cell = |value: Vec<u8>| [&i32::try_from(value.len()).unwrap().to_be_bytes()[..], &value].concat();
        let content: Vec<u8> = values.into_iter().flat_map(cell).collect();
        RowIterator::<CqlRow>::new(&columns.into(), &content, 1).unwrap().next().unwrap().unwrap()
    }

    #[test]
    fn a_trigger_belongs_to_its_table_and_one_of_an_unknown_table_to_nobody() {
        let class = BTreeMap::from([("class".to_owned(), "org.example.Audit".to_owned())]);
        let of_table = |table| [("keyspace_name", "app"), ("table_name", table), ("trigger_name", "Audit")];
        let mut builder = SchemaBuilder::default();
        builder.add_keyspaces(&[row(&[("keyspace_name", "app")], None)]);
        builder.add_contents(&SchemaRows {
            tables: vec![row(&of_table("songs")[..2], None)],
            triggers: vec![row(&of_table("songs"), Some(&class)), row(&of_table("gone"), Some(&class))],
            ..SchemaRows::default()
        });

        let (keyspaces, _) = builder.finish();

        let songs = &keyspaces["app"].tables["songs"];
        let triggers: Vec<&TriggerMetadata> = songs.triggers.values().collect();
        assert_eq!(triggers.len(), 1);
        assert_eq!(triggers[0].class_name(), "org.example.Audit");
        assert_eq!(triggers[0].describe(), "CREATE TRIGGER \"Audit\" ON app.songs USING 'org.example.Audit';");
    }
}
