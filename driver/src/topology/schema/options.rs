//! Options of tables and views.

use std::collections::BTreeMap;

/// Options of a table or view. `None` means that the server's release has no such option.
#[derive(Debug, Clone, PartialEq)]
pub struct TableOptions {
    /// When a write asks further replicas early, such as `99p` (Cassandra 4.0).
    pub additional_write_policy: Option<String>,
    /// Whether a snapshot is taken before TRUNCATE and DROP (5.0).
    pub allow_auto_snapshot: Option<bool>,
    /// Wanted share of false positives of the Bloom filters, between 0 and 1.
    pub bloom_filter_fp_chance: f64,
    /// What the key and row caches hold.
    pub caching: BTreeMap<String, String>,
    /// Whether changes are kept for consumers (3.8).
    pub cdc: Option<bool>,
    /// Comment, possibly empty.
    pub comment: String,
    /// Compaction strategy, `class` among its options.
    pub compaction: BTreeMap<String, String>,
    /// Compression, `class` among its options.
    pub compression: BTreeMap<String, String>,
    /// Share of reads whose checksums are verified.
    pub crc_check_chance: f64,
    /// Share of reads that repair within the data centre (until 3.11).
    pub dclocal_read_repair_chance: Option<f64>,
    /// Seconds after which written values expire; zero never.
    pub default_time_to_live: i32,
    /// Bytes by name, which only extensions of the server understand.
    pub extensions: BTreeMap<String, Vec<u8>>,
    /// Seconds for which tombstones are kept.
    pub gc_grace_seconds: i32,
    /// Whether flushed tables are hard-linked for backups (5.0).
    pub incremental_backups: Option<bool>,
    /// Largest distance between samples of the partition index.
    pub max_index_interval: i32,
    /// Configuration of the memtable (4.1).
    pub memtable: Option<String>,
    /// Milliseconds after which memtables are flushed; zero never.
    pub memtable_flush_period_in_ms: i32,
    /// Smallest distance between samples of the partition index.
    pub min_index_interval: i32,
    /// `BLOCKING` or `NONE` (4.0).
    pub read_repair: Option<String>,
    /// Share of reads that repair in all data centres (until 3.11).
    pub read_repair_chance: Option<f64>,
    /// When a read asks further replicas early, such as `99p`.
    pub speculative_retry: String,
}

impl Default for TableOptions {
    /// Options of a new table, as far as all releases have them.
    fn default() -> Self {
        Self {
            additional_write_policy: None,
            allow_auto_snapshot: None,
            bloom_filter_fp_chance: 0.01,
            caching: BTreeMap::new(),
            cdc: None,
            comment: String::new(),
            compaction: BTreeMap::new(),
            compression: BTreeMap::new(),
            crc_check_chance: 1.0,
            dclocal_read_repair_chance: None,
            default_time_to_live: 0,
            extensions: BTreeMap::new(),
            gc_grace_seconds: 864_000,
            incremental_backups: None,
            max_index_interval: 2048,
            memtable: None,
            memtable_flush_period_in_ms: 0,
            min_index_interval: 128,
            read_repair: None,
            read_repair_chance: None,
            speculative_retry: String::new(),
        }
    }
}
