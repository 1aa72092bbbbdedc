//! Table options: their defaults and the order in which DESCRIBE shows them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Every option of a new table, in the order of DESCRIBE and in its notation.
pub const DEFAULTS: &[(&str, &str)] = &[
    ("additional_write_policy", "'99p'"),
    ("allow_auto_snapshot", "true"),
    ("bloom_filter_fp_chance", "0.01"),
    ("caching", "{'keys': 'ALL', 'rows_per_partition': 'NONE'}"),
    ("cdc", "false"),
    ("comment", "''"),
    (
        "compaction",
        "{'class': 'org.apache.cassandra.db.compaction.SizeTieredCompactionStrategy', 'max_threshold': '32', 'min_threshold': '4'}",
    ),
    ("compression", "{'chunk_length_in_kb': '16', 'class': 'org.apache.cassandra.io.compress.LZ4Compressor'}"),
    ("memtable", "'default'"),
    ("crc_check_chance", "1.0"),
    ("default_time_to_live", "0"),
    ("extensions", "{}"),
    ("gc_grace_seconds", "864000"),
    ("incremental_backups", "true"),
    ("max_index_interval", "2048"),
    ("memtable_flush_period_in_ms", "0"),
    ("min_index_interval", "128"),
    ("read_repair", "'BLOCKING'"),
    ("speculative_retry", "'99p'"),
];

/// The options of a table by name; most tables share those of a new one.
pub type TableOptions = Arc<BTreeMap<String, String>>;

static OF_A_NEW_TABLE: LazyLock<TableOptions> = LazyLock::new(|| {
    Arc::new(DEFAULTS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
});

/// The options of a new table.
#[must_use]
pub fn defaults() -> TableOptions {
    Arc::clone(&OF_A_NEW_TABLE)
}

/// A map in DESCRIBE's notation.
#[must_use]
pub fn show_map(map: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> =
        map.iter().map(|(key, value)| format!("{}: {}", show_string(key), show_string(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A string in DESCRIBE's notation.
#[must_use]
pub fn show_string(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The map that [`show_map`] wrote.
#[must_use]
pub fn read_map(shown: &str) -> BTreeMap<String, String> {
    let mut strings = Vec::new();
    let mut rest = shown;
    while let Some(start) = rest.find('\'') {
        let mut text = String::new();
        let mut chars = rest[start + 1..].char_indices().peekable();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            if c != '\'' {
                text.push(c);
            } else if chars.peek().is_some_and(|(_, next)| *next == '\'') {
                text.push(c);
                chars.next();
            } else {
                end = start + 1 + at + 1;
                break;
            }
        }
        strings.push(text);
        rest = &rest[end..];
    }
    strings.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// The string that [`show_string`] wrote.
#[must_use]
pub fn read_string(shown: &str) -> String {
    let inner = shown.strip_prefix('\'').and_then(|s| s.strip_suffix('\'')).unwrap_or(shown);
    inner.replace("''", "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_survive_their_notation() {
        let map: BTreeMap<_, _> =
            [("a", "it's"), ("b", "{'x': ','}")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(read_map(&show_map(&map)), map);
        assert_eq!(read_string(&show_string("it's")), "it's");
    }
}
