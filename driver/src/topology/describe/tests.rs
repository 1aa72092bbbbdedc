//! Metadata built by hand against what DESCRIBE of Apache Cassandra 5.0.8 answered for the same objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::function::shown_signature;
use crate::topology::{
    AggregateMetadata, ColumnKind, ColumnMetadata, FunctionMetadata, FunctionSignature, IndexMetadata,
    KeyspaceMetadata, TableMetadata, TableOptions, TriggerMetadata, UserTypeMetadata, ViewMetadata, test_table,
};
use crate::value::{CqlType, UserType};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Options of a new table of 5.0.
fn options() -> TableOptions {
    TableOptions {
        additional_write_policy: Some("99p".to_owned()),
        allow_auto_snapshot: Some(true),
        caching: map(&[("keys", "ALL"), ("rows_per_partition", "NONE")]),
        cdc: Some(false),
        compaction: map(&[
            ("class", "org.apache.cassandra.db.compaction.SizeTieredCompactionStrategy"),
            ("max_threshold", "32"),
            ("min_threshold", "4"),
        ]),
        compression: map(&[("chunk_length_in_kb", "16"), ("class", "org.apache.cassandra.io.compress.LZ4Compressor")]),
        incremental_backups: Some(true),
        memtable: Some("default".to_owned()),
        read_repair: Some("BLOCKING".to_owned()),
        speculative_retry: "99p".to_owned(),
        ..TableOptions::default()
    }
}

fn column(name: &str, kind: ColumnKind, position: i32, type_text: &str) -> ColumnMetadata {
    ColumnMetadata {
        name: name.into(),
        kind,
        position,
        is_descending: false,
        type_text: type_text.into(),
        cql_type: CqlType::Custom(type_text.into()),
        mask: None,
    }
}

fn regular(name: &str, type_text: &str) -> ColumnMetadata {
    column(name, ColumnKind::Regular, -1, type_text)
}

fn table(name: &str, columns: Vec<ColumnMetadata>, options: TableOptions) -> TableMetadata {
    TableMetadata { columns, options: Arc::new(options), ..test_table("md", name, &[]) }
}

fn keyspace() -> KeyspaceMetadata {
    let mut keyspace = KeyspaceMetadata::new("md");
    keyspace.replication_options =
        map(&[("class", "org.apache.cassandra.locator.SimpleStrategy"), ("replication_factor", "1")]);
    for (name, fields) in [("outer_t", &[("x", "frozen<z_inner>")][..]), ("z_inner", &[("a", "int"), ("B", "text")])] {
        let fields = fields.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
        let user_type = Arc::new(UserType { keyspace: "md".into(), name: name.into(), fields: Vec::new() });
        keyspace.user_types.insert(name.into(), Arc::new(UserTypeMetadata { fields, user_type }));
    }
    keyspace
}

#[test]
fn a_table_with_all_kinds_of_columns_is_described_as_the_server_does() {
    let mut c = column("c", ColumnKind::Clustering, 0, "int");
    c.is_descending = true;
    let columns = vec![
        column("k", ColumnKind::PartitionKey, 0, "int"),
        column("k2", ColumnKind::PartitionKey, 1, "text"),
        c,
        column("d", ColumnKind::Clustering, 1, "text"),
        column("s", ColumnKind::Static, -1, "int"),
        regular("V2", "int"),
        regular("fu", "frozen<outer_t>"),
        regular("l", "list<int>"),
        regular("m", "map<text, int>"),
        regular("tu", "frozen<tuple<int, text>>"),
        regular("u", "outer_t"),
        regular("vec", "vector<float, 3>"),
    ];
    let options = TableOptions {
        bloom_filter_fp_chance: 0.1,
        cdc: Some(true),
        comment: "it's".to_owned(),
        compression: map(&[("enabled", "false")]),
        default_time_to_live: 100,
        ..options()
    };
    let mut keyspace = keyspace();
    keyspace.tables.insert("t".into(), Arc::new(table("t", columns, options)));
    assert!(keyspace.resolve_types());

    assert_eq!(
        keyspace.tables["t"].describe(),
        r#"CREATE TABLE md.t (
    k int,
    k2 text,
    c int,
    d text,
    s int static,
    "V2" int,
    fu frozen<outer_t>,
    tu frozen<tuple<int, text>>,
    vec vector<float, 3>,
    l list<int>,
    m map<text, int>,
    u outer_t,
    PRIMARY KEY ((k, k2), c, d)
) WITH CLUSTERING ORDER BY (c DESC, d ASC)
    AND additional_write_policy = '99p'
    AND allow_auto_snapshot = true
    AND bloom_filter_fp_chance = 0.1
    AND caching = {'keys': 'ALL', 'rows_per_partition': 'NONE'}
    AND cdc = true
    AND comment = 'it''s'
    AND compaction = {'class': 'org.apache.cassandra.db.compaction.SizeTieredCompactionStrategy', 'max_threshold': '32', 'min_threshold': '4'}
    AND compression = {'enabled': 'false'}
    AND memtable = 'default'
    AND crc_check_chance = 1.0
    AND default_time_to_live = 100
    AND extensions = {}
    AND gc_grace_seconds = 864000
    AND incremental_backups = true
    AND max_index_interval = 2048
    AND memtable_flush_period_in_ms = 0
    AND min_index_interval = 128
    AND read_repair = 'BLOCKING'
    AND speculative_retry = '99p';"#
    );
}

#[test]
fn a_view_names_its_columns_unless_it_has_all_and_has_no_time_to_live() {
    let mut d = column("d", ColumnKind::Clustering, 1, "int");
    d.is_descending = true;
    let columns = vec![
        column("k", ColumnKind::PartitionKey, 0, "int"),
        column("V2", ColumnKind::PartitionKey, 1, "int"),
        column("c", ColumnKind::Clustering, 0, "int"),
        d,
        regular("v", "text"),
    ];
    let mut view = ViewMetadata {
        table: table("Mv2", columns, TableOptions { comment: "v".to_owned(), ..options() }),
        base_table: "g".into(),
        includes_all_columns: false,
        where_clause: r#"k IS NOT NULL AND c IN (1, 2) AND d > 5 AND "V2" IS NOT NULL"#.to_owned(),
    };

    let described = view.describe();

    let start = r#"CREATE MATERIALIZED VIEW md."Mv2" AS
    SELECT k, "V2", c, d, v
    FROM md.g
    WHERE k IS NOT NULL AND c IN (1, 2) AND d > 5 AND "V2" IS NOT NULL
    PRIMARY KEY ((k, "V2"), c, d)
 WITH CLUSTERING ORDER BY (c ASC, d DESC)
    AND additional_write_policy = '99p'
"#;
    assert!(described.starts_with(start), "{described}");
    assert!(!described.contains("default_time_to_live"));
    view.includes_all_columns = true;
    assert!(view.describe().contains("SELECT *\n"));
}

#[test]
fn functions_and_aggregates_are_described_without_the_freezing_of_their_types() {
    let function = FunctionMetadata {
        keyspace: "md".into(),
        signature: FunctionSignature {
            name: "F2".into(),
            argument_types: vec!["frozen<tuple<int, bigint>>".into(), "list<frozen<z_inner>>".into()],
        },
        argument_names: vec!["A".into(), "b".into()],
        body: " return s; ".to_owned(),
        is_called_on_null_input: true,
        language: "java".into(),
        return_type: "frozen<tuple<int, bigint>>".into(),
    };
    let aggregate = AggregateMetadata {
        keyspace: "md".into(),
        signature: FunctionSignature { name: "ag".into(), argument_types: vec!["int".into()] },
        state_function: "sf".into(),
        state_type: "frozen<tuple<int, bigint>>".into(),
        final_function: Some("ff".into()),
        initial_condition: Some("(0, 0)".into()),
        return_type: "double".into(),
    };

    assert_eq!(
        function.describe(),
        "CREATE FUNCTION md.\"F2\"(\"A\" tuple<int, bigint>, b list<frozen<z_inner>>)\n    CALLED ON NULL INPUT\n    \
         RETURNS tuple<int, bigint>\n    LANGUAGE java\n    AS $$ return s; $$;"
    );
    assert_eq!(
        aggregate.describe(),
        "CREATE AGGREGATE md.ag(int)\n    SFUNC sf\n    STYPE tuple<int, bigint>\n    FINALFUNC ff\n    INITCOND (0, 0);"
    );
    assert_eq!(shown_signature(&function.signature), "F2(tuple<int, bigint>, list<frozen<z_inner>>)");
    let quoted = FunctionMetadata { body: "return '$$';".to_owned(), ..function };
    assert!(quoted.describe().ends_with("AS 'return ''$$'';';"));
}

#[test]
fn indexes_name_their_target_as_the_server_stores_it() {
    let index = |name: &str, kind: &str, options: &[(&str, &str)]| IndexMetadata {
        keyspace: "md".into(),
        table: "t".into(),
        name: name.into(),
        kind: kind.into(),
        options: map(options),
    };
    let sai = [("case_sensitive", "false"), ("class_name", "sai"), ("target", "v")];

    for (index, described) in [
        (index("Mixed", "COMPOSITES", &[("target", "\"V2\"")]), r#"CREATE INDEX "Mixed" ON md.t ("V2");"#),
        (index("fli", "COMPOSITES", &[("target", "full(fl)")]), "CREATE INDEX fli ON md.t (full(fl));"),
        (
            index("sai1", "CUSTOM", &sai),
            "CREATE CUSTOM INDEX sai1 ON md.t (v) USING 'sai' WITH OPTIONS = {'case_sensitive': 'false'};",
        ),
    ] {
        assert_eq!(index.describe(), described);
    }
}

#[test]
fn a_keyspace_is_described_in_an_order_in_which_it_can_be_created() {
    let mut keyspace = keyspace();
    for name in ["t", "Z", "a"] {
        let columns = vec![column("k", ColumnKind::PartitionKey, 0, "int"), regular("v", "int")];
        let mut table = table(name, columns, options());
        let index = IndexMetadata {
            keyspace: "md".into(),
            table: name.into(),
            name: format!("{name}_v_idx").into(),
            kind: "COMPOSITES".into(),
            options: map(&[("target", "v")]),
        };
        table.indexes.insert(Arc::clone(&index.name), index);
        if name == "a" {
            let trigger = TriggerMetadata {
                keyspace: "md".into(),
                table: name.into(),
                name: "Audit".into(),
                options: map(&[("class", "org.example.Audit")]),
            };
            table.triggers.insert(Arc::clone(&trigger.name), trigger);
        }
        keyspace.tables.insert(name.into(), Arc::new(table));
    }
    keyspace.resolve_types();

    let first_lines: Vec<String> =
        keyspace.statements().iter().map(|text| text.lines().next().unwrap_or_default().to_owned()).collect();

    assert_eq!(
        first_lines,
        [
            "CREATE KEYSPACE md WITH replication = {'class': 'SimpleStrategy', 'replication_factor': '1'}  AND \
             durable_writes = true;",
            "CREATE TYPE md.z_inner (",
            "CREATE TYPE md.outer_t (",
            "CREATE TABLE md.a (",
            "CREATE INDEX a_v_idx ON md.a (v);",
            "CREATE TRIGGER \"Audit\" ON md.a USING 'org.example.Audit';",
            "CREATE TABLE md.t (",
            "CREATE INDEX t_v_idx ON md.t (v);",
            "CREATE TABLE md.\"Z\" (",
            "CREATE INDEX \"Z_v_idx\" ON md.\"Z\" (v);",
        ]
    );
}

#[test]
fn virtual_tables_are_described_as_what_cannot_be_created() {
    let columns = vec![column("k", ColumnKind::PartitionKey, 0, "int"), regular("v", "text")];
    let mut table = table("clients", columns, TableOptions { comment: "who".to_owned(), ..TableOptions::default() });
    table.is_virtual = true;

    assert_eq!(
        table.describe(),
        "/*\nWarning: Table md.clients is a virtual table and cannot be recreated with CQL.\nStructure, for \
         reference:\nVIRTUAL TABLE md.clients (\n    k int PRIMARY KEY,\n    v text\n) WITH comment = 'who';\n*/"
    );
}
