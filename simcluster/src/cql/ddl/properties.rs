//! WITH: the properties of keyspaces and tables.

use crate::cql::ast::{Properties, Property};
use crate::cql::parser::not_modelled;
use crate::protocol::ServerError;
use crate::schema::options::{self, show_map, show_string};
use crate::schema::{Keyspace, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Refuses what cannot be the properties of any keyspace.
///
/// # Errors
///
/// As Cassandra: unknown names, no map, no class.
pub fn check_keyspace_properties(properties: &Properties) -> Result<(), ServerError> {
    check_names(properties, &["replication", "durable_writes"])?;
    match properties.iter().find(|(name, _)| name == "replication") {
        Some((_, Property::Map(map))) if !map.contains_key("class") => {
            Err(config("Missing replication strategy class".into()))
        }
        Some((name, Property::Simple(_))) => Err(not_a_map(name)),
        _ => Ok(()),
    }
}

/// Gives a keyspace its properties, which [`check_keyspace_properties`] has seen.
///
/// # Errors
///
/// As Cassandra: unknown strategies and data centres, bad numbers.
pub fn keyspace_properties(
    keyspace: &mut Keyspace,
    properties: &Properties,
    datacenters: &BTreeSet<String>,
) -> Result<(), ServerError> {
    let find = |wanted: &str| properties.iter().find(|(name, _)| name == wanted);
    match find("durable_writes") {
        Some((name, Property::Simple(value))) => keyspace.durable_writes = boolean(name, value)?,
        Some((name, Property::Map(_))) => return Err(not_a_string(name)),
        None => {}
    }
    if let Some((_, Property::Map(map))) = find("replication") {
        keyspace.replication = replication(keyspace, map, datacenters)?;
    }
    Ok(())
}

/// No property may be given twice, and none that is not known.
fn check_names(properties: &Properties, known: &[&str]) -> Result<(), ServerError> {
    for (place, (name, _)) in properties.iter().enumerate() {
        if properties[..place].iter().any(|(earlier, _)| earlier == name) {
            return Err(syntax(format!("Multiple definitions for property '{name}'")));
        }
    }
    match properties.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => Err(syntax(format!("Unknown property '{name}'"))),
        None => Ok(()),
    }
}

fn syntax(message: String) -> ServerError {
    ServerError::Syntax(message)
}

fn config(message: String) -> ServerError {
    ServerError::Config(message)
}

fn not_a_map(name: &str) -> ServerError {
    syntax(format!("Invalid value for property '{name}'. It should be a map."))
}

fn not_a_string(name: &str) -> ServerError {
    syntax(format!("Invalid value for property '{name}'. It should be a string"))
}

fn boolean(name: &str, value: &str) -> Result<bool, ServerError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" => Ok(true),
        "0" | "false" | "no" => Ok(false),
        _ => Err(syntax(format!(
            "Invalid boolean value {value} for '{name}'. Positive values can be '1', 'true' or 'yes'. Negative values can be '0', 'false' or 'no'."
        ))),
    }
}

/// The replicas of each partition, unless the statement says: the server's `default_keyspace_rf`.
const DEFAULT_REPLICATION_FACTOR: &str = "1";

/// The replication options as they are kept: data centres by name, the class with its package.
fn replication(
    keyspace: &Keyspace,
    map: &BTreeMap<String, String>,
    datacenters: &BTreeSet<String>,
) -> Result<BTreeMap<String, String>, ServerError> {
    let class = map.get("class").cloned().unwrap_or_default();
    let short = class.strip_prefix("org.apache.cassandra.locator.").unwrap_or(&class);
    let mut options = map.clone();
    options.remove("class");
    let known: BTreeSet<String> = match short {
        "SimpleStrategy" => {
            let default = || DEFAULT_REPLICATION_FACTOR.to_owned();
            options.entry("replication_factor".to_owned()).or_insert_with(default);
            BTreeSet::from(["replication_factor".to_owned()])
        }
        "NetworkTopologyStrategy" => {
            expand_datacenters(&mut options, &keyspace.replication, datacenters);
            datacenters.clone()
        }
        "LocalStrategy" => {
            return Err(ServerError::Invalid(
                "Unable to use given strategy class: LocalStrategy is reserved for internal use.".into(),
            ));
        }
        "EverywhereStrategy" => return Err(not_modelled("EverywhereStrategy")),
        _ => {
            let full = if class.contains('.') { class } else { format!("org.apache.cassandra.locator.{class}") };
            return Err(config(format!("Unable to find replication strategy class '{full}'")));
        }
    };
    for factor in options.values() {
        check_factor(factor)?;
    }
    if options.is_empty() {
        return Err(config("Configuration for at least one datacenter must be present".into()));
    }
    if let Some(extra) = options.keys().find(|name| !known.contains(*name)) {
        let name = &keyspace.name;
        return Err(config(format!("Unrecognized strategy option {{{extra}}} passed to {short} for keyspace {name}")));
    }
    options.insert("class".to_owned(), format!("org.apache.cassandra.locator.{short}"));
    Ok(options)
}

/// `replication_factor` stands for all data centres that are not named; what an ALTER does not name stays.
fn expand_datacenters(
    options: &mut BTreeMap<String, String>,
    previous: &BTreeMap<String, String>,
    datacenters: &BTreeSet<String>,
) {
    let mut factor = options.remove("replication_factor");
    if factor.is_none() && options.is_empty() {
        let of_simple = previous.get("replication_factor").cloned();
        factor = of_simple.or_else(|| previous.is_empty().then(|| DEFAULT_REPLICATION_FACTOR.to_owned()));
    } else if factor.is_some() {
        let named = previous.iter().filter(|(name, _)| !matches!(name.as_str(), "class" | "replication_factor"));
        for (name, factor) in named {
            options.entry(name.clone()).or_insert_with(|| factor.clone());
        }
    }
    if let Some(factor) = factor.filter(|factor| check_factor(factor).is_ok()) {
        for name in datacenters {
            options.entry(name.clone()).or_insert_with(|| factor.clone());
        }
    }
    options.retain(|_, factor| factor != "0");
}

fn check_factor(factor: &str) -> Result<(), ServerError> {
    let digits = factor.split('/').next().unwrap_or_default();
    match digits.parse::<i32>() {
        Err(_) => Err(config(format!("For input string: \"{digits}\""))),
        Ok(n) if n < 0 => Err(config(format!("Replication factor must be non-negative, found {factor}"))),
        Ok(_) => Ok(()),
    }
}

/// Gives a table the properties that are named.
///
/// # Errors
///
/// As Cassandra: unknown names, values that are none, numbers out of bounds.
pub fn table_properties(table: &mut Table, properties: &Properties) -> Result<(), ServerError> {
    let mut known: Vec<&str> = options::DEFAULTS.iter().map(|(name, _)| *name).collect();
    known.push("id");
    check_names(properties, &known)?;
    for (name, value) in properties {
        match (name.as_str(), value) {
            ("id", Property::Simple(id)) if uuid::Uuid::parse_str(id).is_err() => {
                return Err(config("Invalid table id".into()));
            }
            ("id", _) => return Err(not_modelled("WITH id")),
            _ => {
                let shown = table_property(name, value)?;
                Arc::make_mut(&mut table.options).insert(name.clone(), shown);
            }
        }
    }
    check_numbers(table)
}

/// Gives a new table its properties: what is left out may depend on the others, which it does not when one is altered.
///
/// # Errors
///
/// See [`table_properties`].
pub fn first_table_properties(table: &mut Table, properties: &Properties) -> Result<(), ServerError> {
    let names_chance = properties.iter().any(|(name, _)| name == "bloom_filter_fp_chance");
    table_properties(table, properties)?;
    let is_leveled = table.options.get("compaction").is_some_and(|c| c.contains("LeveledCompactionStrategy"));
    if is_leveled && !names_chance {
        Arc::make_mut(&mut table.options).insert("bloom_filter_fp_chance".to_owned(), "0.1".to_owned());
    }
    Ok(())
}

/// The value of a table's property, in the notation of DESCRIBE.
fn table_property(name: &str, value: &Property) -> Result<String, ServerError> {
    let default = options::DEFAULTS.iter().find(|(known, _)| *known == name).map_or("", |(_, default)| default);
    match (name, value) {
        ("caching", Property::Map(map)) => caching(map).map(|map| show_map(&map)),
        ("compaction", Property::Map(map)) => compaction(map).map(|map| show_map(&map)),
        ("compression", Property::Map(map)) => compression(map).map(|map| show_map(&map)),
        (_, Property::Map(map)) if default.starts_with('{') => Ok(show_map(map)),
        (_, Property::Map(_)) => Err(not_a_string(name)),
        (_, Property::Simple(_)) if default.starts_with('{') => Err(not_a_map(name)),
        ("speculative_retry" | "additional_write_policy", Property::Simple(value)) => {
            speculation(name, value).map(|()| show_string(value))
        }
        ("memtable", Property::Simple(value)) if value != "default" => {
            Err(config(format!("Memtable configuration \"{value}\" not found.")))
        }
        ("read_repair", Property::Simple(value)) => match value.to_ascii_uppercase().as_str() {
            "NONE" | "BLOCKING" => Ok(show_string(&value.to_ascii_uppercase())),
            _ => Err(not_modelled("a read_repair that makes Cassandra fail with an internal error")),
        },
        (_, Property::Simple(value)) if default.starts_with('\'') => Ok(show_string(value)),
        (_, Property::Simple(value)) if default.parse::<bool>().is_ok() => boolean(name, value).map(|b| b.to_string()),
        (_, Property::Simple(value)) if default.contains('.') => match value.parse::<f64>() {
            Ok(number) => Ok(super::super::functions::java_double(number)),
            Err(_) => Err(syntax(format!("Invalid double value {value} for '{name}'"))),
        },
        (_, Property::Simple(value)) => match value.parse::<i32>() {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err(syntax(format!("Invalid integer value {value} for '{name}'"))),
        },
    }
}

/// The bounds that numbers have to keep, in the order in which Cassandra looks at them.
fn check_numbers(table: &Table) -> Result<(), ServerError> {
    let number = |name: &str| table.options.get(name).and_then(|v| v.parse::<f64>().ok()).unwrap_or_default();
    let shown = |name: &str| table.options.get(name).cloned().unwrap_or_default();
    let refuse = |name: &str, bound: &str| Err(config(format!("{name} must be {bound} (got {})", shown(name))));
    let bloom = number("bloom_filter_fp_chance");
    if bloom <= 6.71e-5 || bloom > 1.0 {
        return refuse("bloom_filter_fp_chance", "larger than 6.71E-5 and less than or equal to 1.0");
    }
    if !(0.0..=1.0).contains(&number("crc_check_chance")) {
        return refuse("crc_check_chance", "larger than or equal to 0 and smaller than or equal to 1.0");
    }
    if number("default_time_to_live") > 630_720_000.0 {
        return refuse("default_time_to_live", "less than or equal to 630720000");
    }
    for name in ["default_time_to_live", "gc_grace_seconds"] {
        if number(name) < 0.0 {
            return refuse(name, "greater than or equal to 0");
        }
    }
    if number("min_index_interval") < 1.0 {
        return refuse("min_index_interval", "greater than or equal to 1");
    }
    if number("max_index_interval") < number("min_index_interval") {
        let bound = format!("greater than or equal to min_index_interval ({})", shown("min_index_interval"));
        return refuse("max_index_interval", &bound);
    }
    if number("memtable_flush_period_in_ms") < 0.0 {
        return refuse("memtable_flush_period_in_ms", "greater than or equal to 0");
    }
    Ok(())
}

fn caching(map: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ServerError> {
    let unknown: Vec<&str> =
        map.keys().map(String::as_str).filter(|key| !matches!(*key, "keys" | "rows_per_partition")).collect();
    if !unknown.is_empty() {
        return Err(config(format!(
            "Invalid caching sub-options [{}]: only 'keys' and 'rows_per_partition' are allowed",
            unknown.join(", ")
        )));
    }
    let keys = map.get("keys").map_or("ALL", String::as_str).to_ascii_uppercase();
    if keys != "ALL" && keys != "NONE" {
        let given = map.get("keys").cloned().unwrap_or_default();
        return Err(config(format!(
            "Invalid value '{given}' for caching sub-option 'keys': only 'ALL' and 'NONE' are allowed"
        )));
    }
    let rows = map.get("rows_per_partition").map_or("NONE", String::as_str);
    let upper = rows.to_ascii_uppercase();
    if upper != "ALL" && upper != "NONE" && rows.parse::<u32>().is_err() {
        return Err(config(format!(
            "Invalid value '{rows}' for caching sub-option 'rows_per_partition': only 'ALL', 'NONE', and integer values are allowed"
        )));
    }
    Ok(BTreeMap::from([("keys".to_owned(), keys), ("rows_per_partition".to_owned(), upper)]))
}

/// The sub-options of each compaction strategy, beside those that all have.
const COMPACTION_OPTIONS: &[(&str, &[&str])] = &[
    ("SizeTieredCompactionStrategy", &["min_sstable_size", "bucket_low", "bucket_high"]),
    ("LeveledCompactionStrategy", &["sstable_size_in_mb", "single_sstable_uplevel", "fanout_size"]),
    (
        "TimeWindowCompactionStrategy",
        &[
            "compaction_window_unit",
            "compaction_window_size",
            "timestamp_resolution",
            "expired_sstable_check_frequency_seconds",
            "unsafe_aggressive_sstable_expiration",
            "min_sstable_size",
            "bucket_low",
            "bucket_high",
        ],
    ),
    (
        "UnifiedCompactionStrategy",
        &[
            "scaling_parameters",
            "target_sstable_size",
            "min_sstable_size",
            "base_shard_count",
            "sstable_growth",
            "flush_size_override",
            "expired_sstable_check_frequency_seconds",
            "unsafe_aggressive_sstable_expiration",
            "overlap_inclusion_method",
            "parallelize_output_shards",
        ],
    ),
];

const COMPACTION_OPTIONS_OF_ALL: &[&str] = &[
    "class",
    "enabled",
    "min_threshold",
    "max_threshold",
    "tombstone_threshold",
    "tombstone_compaction_interval",
    "unchecked_tombstone_compaction",
    "only_purge_repaired_tombstones",
    "log_all",
    "provide_overlapping_tombstones",
];

fn compaction(map: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ServerError> {
    let Some(class) = map.get("class") else {
        return Err(config("Missing sub-option 'class' for the 'compaction' option".into()));
    };
    let short = class.strip_prefix("org.apache.cassandra.db.compaction.").unwrap_or(class);
    let full =
        if short.contains('.') { short.to_owned() } else { format!("org.apache.cassandra.db.compaction.{short}") };
    let Some((_, own)) = COMPACTION_OPTIONS.iter().find(|(name, _)| *name == short) else {
        return Err(config(format!("Unable to find compaction strategy class '{full}'")));
    };
    let mut options = map.clone();
    options.insert("class".to_owned(), full);
    options.entry("min_threshold".to_owned()).or_insert_with(|| "4".to_owned());
    options.entry("max_threshold".to_owned()).or_insert_with(|| "32".to_owned());
    if let Some(enabled) =
        options.get("enabled").filter(|e| !["true", "false"].contains(&e.to_ascii_lowercase().as_str()))
    {
        return Err(config(format!("enabled should either be 'true' or 'false', not {enabled}")));
    }
    let unknown: Vec<&str> = options
        .keys()
        .map(String::as_str)
        .filter(|key| !own.contains(key) && !COMPACTION_OPTIONS_OF_ALL.contains(key))
        .collect();
    if !unknown.is_empty() {
        return Err(config(format!("Properties specified [{}] are not understood by {short}", unknown.join(", "))));
    }
    let threshold = |name: &str| -> Result<i64, ServerError> {
        let value = options.get(name).cloned().unwrap_or_default();
        value.parse().map_err(|_| {
            config(format!("Invalid value {value} for '{name}' compaction sub-option - must be an integer"))
        })
    };
    let (least, most) = (threshold("min_threshold")?, threshold("max_threshold")?);
    if least <= 0 || most <= 0 {
        return Err(config("Disabling compaction by setting compaction thresholds to 0 has been removed, set the compaction option 'enabled' to false instead.".into()));
    }
    if least < 2 {
        return Err(config(format!("Min compaction threshold cannot be less than 2 (got {least})")));
    }
    if least > most {
        return Err(config(format!(
            "Min compaction threshold (got {least}) cannot be greater than max compaction threshold (got {most})"
        )));
    }
    Ok(options)
}

const COMPRESSORS: &[&str] =
    &["LZ4Compressor", "SnappyCompressor", "DeflateCompressor", "ZstdCompressor", "NoopCompressor"];

fn compression(map: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ServerError> {
    if map.is_empty() || map.get("enabled").is_some_and(|enabled| enabled == "false") {
        return Ok(BTreeMap::from([("enabled".to_owned(), "false".to_owned())]));
    }
    let Some(class) = map.get("class") else {
        return Err(config("Missing sub-option 'class' for the 'compression' option.".into()));
    };
    let short = class.strip_prefix("org.apache.cassandra.io.compress.").unwrap_or(class);
    if !COMPRESSORS.contains(&short) {
        return Err(config(format!("Could not create Compression for type org.apache.cassandra.io.compress.{short}")));
    }
    let known = |key: &str| {
        matches!(key, "class" | "enabled" | "chunk_length_in_kb" | "min_compress_ratio")
            || short == "ZstdCompressor" && key == "compression_level"
            || short == "LZ4Compressor" && matches!(key, "lz4_compressor_type" | "lz4_high_compressor_level")
    };
    if let Some(unknown) = map.keys().find(|key| !known(key)) {
        return Err(config(format!("Unknown compression options {unknown}")));
    }
    let mut options = map.clone();
    options.remove("enabled");
    options.insert("class".to_owned(), format!("org.apache.cassandra.io.compress.{short}"));
    options.entry("chunk_length_in_kb".to_owned()).or_insert_with(|| "16".to_owned());
    Ok(options)
}

/// `99p`, `50ms`, `ALWAYS`, `NONE`, `MIN(…)`, `MAX(…)`.
fn speculation(name: &str, value: &str) -> Result<(), ServerError> {
    let upper = value.to_ascii_uppercase();
    if matches!(upper.as_str(), "ALWAYS" | "NEVER" | "NONE") || upper.starts_with("MIN(") || upper.starts_with("MAX(") {
        return Ok(());
    }
    let percentile = upper.strip_suffix("PERCENTILE").or_else(|| upper.strip_suffix('P'));
    if let Some(number) = percentile.and_then(|digits| digits.parse::<f64>().ok()) {
        if !(0.0..=100.0).contains(&number) {
            return Err(config(format!(
                "Invalid value {value} for PERCENTILE option '{name}': must be between (0.0 and 100.0)"
            )));
        }
        return Ok(());
    }
    match upper.strip_suffix("MS").and_then(|digits| digits.parse::<f64>().ok()) {
        Some(_) => Ok(()),
        None => Err(config(format!("Invalid value {value} for option '{name}'"))),
    }
}
