//! Fake system tables: topology of `nodes` × `vnodes` tokens and a schema of `tables` tables.

use crate::wire::*;
use std::collections::HashMap;
use std::net::Ipv4Addr;

pub struct Table {
    /// (column, CQL type)
    pub cols: Vec<(&'static str, &'static str)>,
    pub rows: Vec<HashMap<&'static str, Vec<u8>>>,
}
pub type Catalog = HashMap<&'static str, Table>;

pub fn node_ip(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, (i / 250) as u8, (i % 250 + 1) as u8)
}
fn uuid(tag: u8, i: usize) -> Vec<u8> {
    let mut u = vec![tag; 16];
    u[6] = 0x41;
    u[8] = 0x81;
    u[12..].copy_from_slice(&(i as u32).to_be_bytes());
    u
}
pub fn lcg(s: &mut u64) -> u64 {
    *s = s.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *s;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
fn table(spec: &'static str) -> Table {
    let cols = spec.split_whitespace().map(|c| c.split_once(':').unwrap()).collect();
    Table { cols, rows: vec![] }
}

pub fn build(nodes: usize, vnodes: usize, tables: usize, port: u16) -> Catalog {
    let mut c = Catalog::new();
    let mut local = table(
        "key:text bootstrapped:text broadcast_address:inet broadcast_port:int cluster_name:text cql_version:text data_center:text host_id:uuid listen_address:inet listen_port:int native_protocol_version:text partitioner:text rack:text release_version:text rpc_address:inet rpc_port:int schema_version:uuid tokens:set<text>",
    );
    let mut peers = table(
        "peer:inet data_center:text host_id:uuid preferred_ip:inet rack:text release_version:text rpc_address:inet schema_version:uuid tokens:set<text>",
    );
    let mut peers2 = table(
        "peer:inet peer_port:int data_center:text host_id:uuid native_address:inet native_port:int preferred_ip:inet preferred_port:int rack:text release_version:text schema_version:uuid tokens:set<text>",
    );
    let mut seed = 7;
    let t = |s: &str| s.as_bytes().to_vec();
    let port_v = (port as i32).to_be_bytes().to_vec();
    for n in 0..nodes {
        let ip = node_ip(n).octets().to_vec();
        let toks: Vec<Vec<u8>> = (0..vnodes).map(|_| (lcg(&mut seed) as i64).to_string().into_bytes()).collect();
        let base: HashMap<&'static str, Vec<u8>> = HashMap::from([
            ("data_center", t("dc1")),
            ("rack", t(&format!("r{}", n % 3))),
            ("host_id", uuid(0x11, n)),
            ("release_version", t("4.1.5")),
            ("schema_version", uuid(0x22, 0)),
            ("rpc_address", ip.clone()),
            ("tokens", coll(toks.len(), &toks)),
        ]);
        // Every node has its own row, of which it tells: drivers compare the host ids.
        let mut r = base.clone();
        r.extend([
            ("key", t("local")),
            ("bootstrapped", t("COMPLETED")),
            ("broadcast_address", ip.clone()),
            ("broadcast_port", 7000i32.to_be_bytes().to_vec()),
            ("listen_address", ip.clone()),
            ("listen_port", 7000i32.to_be_bytes().to_vec()),
            ("cluster_name", t("bench")),
            ("cql_version", t("3.4.6")),
            ("native_protocol_version", t("5")),
            ("partitioner", t("org.apache.cassandra.dht.Murmur3Partitioner")),
            ("rpc_port", port_v.clone()),
        ]);
        local.rows.push(r);
        if n > 0 {
            let mut r = base;
            r.extend([
                ("peer", ip.clone()),
                ("peer_port", 7000i32.to_be_bytes().to_vec()),
                ("native_address", ip),
                ("native_port", port_v.clone()),
            ]);
            peers.rows.push(r.clone());
            peers2.rows.push(r);
        }
    }
    c.insert("system.local", local);
    c.insert("system.peers", peers);
    c.insert("system.peers_v2", peers2);

    let mut ks = table("keyspace_name:text durable_writes:boolean replication:map<text,text> replication_json:text");
    let mut tb = table(
        "keyspace_name:text table_name:text additional_write_policy:text bloom_filter_fp_chance:double caching:map<text,text> cdc:boolean comment:text compaction:map<text,text> compression:map<text,text> crc_check_chance:double dclocal_read_repair_chance:double default_time_to_live:int extensions:map<text,blob> flags:set<text> gc_grace_seconds:int id:uuid max_index_interval:int memtable:text memtable_flush_period_in_ms:int min_index_interval:int read_repair:text read_repair_chance:double speculative_retry:text",
    );
    let mut co = table(
        "keyspace_name:text table_name:text column_name:text clustering_order:text column_name_bytes:blob kind:text position:int type:text",
    );
    let mut add_ks = |name: &str, repl: &[(&str, &str)]| {
        let json: Vec<String> = repl.iter().map(|(k, v)| format!("\"{k}\": \"{v}\"")).collect();
        ks.rows.push(HashMap::from([
            ("keyspace_name", t(name)),
            ("durable_writes", vec![1]),
            ("replication", text_map(repl)),
            ("replication_json", t(&format!("{{{}}}", json.join(", ")))),
        ]));
    };
    const NTS: &str = "org.apache.cassandra.locator.NetworkTopologyStrategy";
    add_ks("system", &[("class", "org.apache.cassandra.locator.LocalStrategy")]);
    add_ks("system_schema", &[("class", "org.apache.cassandra.locator.LocalStrategy")]);
    add_ks("bench", &[("class", NTS), ("dc1", if nodes >= 3 { "3" } else { "1" })]);
    let mut add_table = |k: &str, name: &str, cols: &[(&str, &str, &str, i32)]| {
        let i = tb.rows.len();
        tb.rows.push(HashMap::from([
            ("keyspace_name", t(k)),
            ("table_name", t(name)),
            ("bloom_filter_fp_chance", 0.01f64.to_be_bytes().to_vec()),
            ("caching", text_map(&[("keys", "ALL"), ("rows_per_partition", "NONE")])),
            ("comment", t("")),
            (
                "compaction",
                text_map(&[
                    ("class", "org.apache.cassandra.db.compaction.SizeTieredCompactionStrategy"),
                    ("max_threshold", "32"),
                    ("min_threshold", "4"),
                ]),
            ),
            (
                "compression",
                text_map(&[("chunk_length_in_kb", "16"), ("class", "org.apache.cassandra.io.compress.LZ4Compressor")]),
            ),
            ("crc_check_chance", 1f64.to_be_bytes().to_vec()),
            ("dclocal_read_repair_chance", 0f64.to_be_bytes().to_vec()),
            ("read_repair_chance", 0f64.to_be_bytes().to_vec()),
            ("default_time_to_live", 0i32.to_be_bytes().to_vec()),
            ("extensions", coll(0, &[])),
            ("flags", coll(1, &[t("compound")])),
            ("gc_grace_seconds", 864000i32.to_be_bytes().to_vec()),
            ("id", uuid(0x33, i)),
            ("max_index_interval", 2048i32.to_be_bytes().to_vec()),
            ("min_index_interval", 128i32.to_be_bytes().to_vec()),
            ("memtable_flush_period_in_ms", 0i32.to_be_bytes().to_vec()),
            ("read_repair", t("BLOCKING")),
            ("speculative_retry", t("99p")),
            ("additional_write_policy", t("99p")),
        ]));
        for (n, ty, kind, pos) in cols {
            co.rows.push(HashMap::from([
                ("keyspace_name", t(k)),
                ("table_name", t(name)),
                ("column_name", t(n)),
                ("column_name_bytes", t(n)),
                ("clustering_order", t(if *kind == "clustering" { "asc" } else { "none" })),
                ("kind", t(kind)),
                ("position", pos.to_be_bytes().to_vec()),
                ("type", t(ty)),
            ]));
        }
    };
    add_table("bench", "kv", &[("k", "bigint", "partition_key", 0), ("v", "blob", "regular", -1)]);
    let mixed: Vec<_> = crate::answers::MIXED
        .iter()
        .enumerate()
        .map(|(i, (n, ty))| (*n, *ty, if i == 0 { "partition_key" } else { "regular" }, if i == 0 { 0 } else { -1 }))
        .collect();
    add_table("bench", "mixed", &mixed);
    // `tables` more tables, 100 per keyspace, ten columns each.
    for i in 0..tables {
        let k = format!("app{}", i / 100);
        if i % 100 == 0 {
            add_ks(&k, &[("class", NTS), ("dc1", if nodes >= 3 { "3" } else { "1" })]);
        }
        add_table(
            &k,
            &format!("table_{i:04}"),
            &[
                ("id", "uuid", "partition_key", 0),
                ("bucket", "int", "partition_key", 1),
                ("at", "timestamp", "clustering", 0),
                ("seq", "bigint", "clustering", 1),
                ("name", "text", "regular", -1),
                ("score", "double", "regular", -1),
                ("payload", "blob", "regular", -1),
                ("tags", "set<text>", "regular", -1),
                ("attrs", "map<text, text>", "regular", -1),
                ("points", "list<frozen<map<text, int>>>", "regular", -1),
            ],
        );
    }
    c.insert("system_schema.keyspaces", ks);
    c.insert("system_schema.tables", tb);
    c.insert("system_schema.columns", co);
    c.insert(
        "system_schema.types",
        table("keyspace_name:text type_name:text field_names:list<text> field_types:list<text>"),
    );
    c.insert("system_schema.functions", table("keyspace_name:text function_name:text argument_types:list<text> argument_names:list<text> body:text called_on_null_input:boolean language:text return_type:text"));
    c.insert("system_schema.aggregates", table("keyspace_name:text aggregate_name:text argument_types:list<text> final_func:text initcond:text return_type:text state_func:text state_type:text"));
    c.insert("system_schema.views", table("keyspace_name:text view_name:text base_table_id:uuid base_table_name:text where_clause:text include_all_columns:boolean id:uuid"));
    c.insert(
        "system_schema.indexes",
        table("keyspace_name:text table_name:text index_name:text kind:text options:map<text,text>"),
    );
    c.insert(
        "system_schema.triggers",
        table("keyspace_name:text table_name:text trigger_name:text options:map<text,text>"),
    );
    c.insert(
        "system_schema.dropped_columns",
        table("keyspace_name:text table_name:text column_name:text dropped_time:timestamp kind:text type:text"),
    );
    c.insert("system_virtual_schema.keyspaces", table("keyspace_name:text"));
    c.insert("system_virtual_schema.tables", table("keyspace_name:text table_name:text comment:text"));
    c.insert("system_virtual_schema.columns", table("keyspace_name:text table_name:text column_name:text clustering_order:text column_name_bytes:blob kind:text position:int type:text"));
    c
}
