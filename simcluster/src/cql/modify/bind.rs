//! A statement with its values: which partitions and rows it writes, when, and for how long.

use super::json::{self, JsonRow};
use super::operations::{BoundOperation, bind_operation};
use super::{ModificationPlan, Operation, invalid};
use crate::cql::Bound;
use crate::cql::ast::Op;
use crate::cql::conditions::BoundCondition;
use crate::cql::expr::{Env, Expr};
use crate::cql::parser::not_modelled;
use crate::cql::relations::{self, Rel, StatementKind, Test};
use crate::cql::row::clustering_key;
use crate::protocol::ServerError;
use crate::schema::Table;
use crate::storage::{PartitionKey, Slice};
use crate::types::{codec, text};
use bytes::Bytes;
use std::sync::Arc;

/// Which part of a partition a write changes.
#[derive(Clone, Debug)]
pub enum Target {
    /// The static columns.
    Static,
    /// Single rows.
    Rows(Vec<(Bytes, Arc<[Bytes]>)>),
    /// Ranges of rows.
    Ranges(Vec<Slice>),
    /// All of it.
    Partition,
}

impl Target {
    /// Whether no row can be meant, as by a range that ends before it begins.
    fn is_nothing(&self) -> bool {
        match self {
            Self::Rows(rows) => rows.is_empty(),
            Self::Ranges(slices) => slices.is_empty(),
            Self::Static | Self::Partition => false,
        }
    }
}

/// The partitions that a statement writes. Those of a whole batch are known before any of its rows is.
#[derive(Debug)]
pub struct BoundKeys {
    /// Each as it is stored, and its components.
    pub keys: Vec<(PartitionKey, Vec<Bytes>)>,
    json: Option<JsonRow>,
}

/// A statement with its values, for one partition.
#[derive(Debug)]
pub struct BoundWrite {
    /// The statement.
    pub plan: Arc<ModificationPlan>,
    /// The partition.
    pub key: PartitionKey,
    /// Its components.
    pub key_parts: Vec<Bytes>,
    /// Which part of it.
    pub target: Target,
    /// Conditions with their values.
    pub conditions: Vec<BoundCondition>,
    /// The first of the numbers that keep the list elements of one execution apart.
    pub sequence: u64,
    /// What it does; of a transaction nobody asks before the conditions hold, so that an error waits until then.
    pub(super) effects: Result<Effects, ServerError>,
    pub(super) unix_seconds: i64,
    pub(super) clock: i64,
    pub(super) entropy: u64,
}

/// What a statement does to its rows, when, and for how long.
#[derive(Clone, Debug)]
pub struct Effects {
    pub(super) operations: Vec<BoundOperation>,
    pub(super) timestamp: i64,
    pub(super) ttl: u32,
}

/// The longest TTL: twenty years.
const TTL_MAX: i64 = 630_720_000;

/// The first second at which nothing may expire: 2038-01-19T03:14:06Z.
const EXPIRATION_MAX: i64 = i32::MAX as i64 - 1;

impl ModificationPlan {
    /// Finds the partitions that the statement writes.
    ///
    /// # Errors
    ///
    /// As Cassandra: keys that are null, empty or too long; JSON that is no row.
    pub fn bind_keys(&self, env: &Env<'_>) -> Result<BoundKeys, ServerError> {
        let read = |(expr, default_unset): &(Expr, bool)| json::read_bound(&self.table, env, expr, *default_unset);
        let json = self.json.as_ref().map(read).transpose()?;
        let relations = json.as_ref().map_or(&self.relations, |row| &row.relations);
        let mut keys = Vec::new();
        for parts in relations::bind_keys(&self.table, relations, env)? {
            let Some(key) = codec::join_partition_key(&parts) else {
                return Err(invalid("Key length is longer than maximum of 65535"));
            };
            keys.push((key, parts));
        }
        Ok(BoundKeys { keys, json })
    }

    /// Gives the rest of the statement its values: one write per partition; none where no row is meant.
    ///
    /// # Errors
    ///
    /// As Cassandra: null keys, bad TTLs, …
    pub fn bind(
        self: &Arc<Self>,
        bound: BoundKeys,
        env: &Env<'_>,
        batch_timestamp: Option<i64>,
        is_conditional: bool,
    ) -> Result<Vec<BoundWrite>, ServerError> {
        let table = &self.table;
        self.check_bounds(env)?;
        let (relations, operations) = match &bound.json {
            Some(row) => (&row.relations, &row.operations),
            None => (&self.relations, &self.operations),
        };
        let tests = relations::bind_rows(table, relations, env)?;
        let no_clustering = tests.is_empty();
        let static_only = self.is_static_only(no_clustering);
        let rows = clustering_values(table, &tests);
        let plan = relations::plan(table, tests)?;
        if !plan.tests.is_empty() {
            return Err(invalid(format!("Invalid restrictions in {} statement", self.verb.name())));
        }
        let target = self.target(static_only, no_clustering, rows, plan.slices);
        if target.is_nothing() {
            return Ok(Vec::new());
        }
        let conditions = self.condition.bind(table, env)?;
        let mut effects = self.effects(operations, &target, env, batch_timestamp);
        if !is_conditional {
            effects = Ok(effects?);
        }
        let write = |(key, key_parts)| BoundWrite {
            plan: self.clone(),
            key,
            key_parts,
            target: target.clone(),
            conditions: conditions.clone(),
            sequence: 0,
            effects: effects.clone(),
            unix_seconds: env.options.unix_seconds,
            clock: env.options.clock,
            entropy: env.options.entropy,
        };
        Ok(bound.keys.into_iter().map(write).collect())
    }

    fn effects(
        &self,
        operations: &[Operation],
        target: &Target,
        env: &Env<'_>,
        batch_timestamp: Option<i64>,
    ) -> Result<Effects, ServerError> {
        let timestamp = self.timestamp(env, batch_timestamp)?;
        let ttl = self.time_to_live(env)?;
        Ok(Effects { operations: self.bind_operations(operations, env, target)?, timestamp, ttl })
    }

    /// A deletion of rows up to null is taken, and then fails on the replicas.
    fn check_bounds(&self, env: &Env<'_>) -> Result<(), ServerError> {
        for relation in &self.relations {
            if let Rel::Compare(_, Op::Lt | Op::Le | Op::Gt | Op::Ge, expr) = relation
                && matches!(env.bound(expr)?, Bound::Value(None))
            {
                return Err(not_modelled("a range of rows that ends at null, which replicas refuse"));
            }
        }
        Ok(())
    }

    fn bind_operations(
        &self,
        operations: &[Operation],
        env: &Env<'_>,
        target: &Target,
    ) -> Result<Vec<BoundOperation>, ServerError> {
        let names_no_rows = match target {
            Target::Ranges(slices) => !slices.is_empty(),
            Target::Partition => true,
            Target::Static | Target::Rows(_) => false,
        };
        if self.verb == StatementKind::Delete && names_no_rows && !operations.is_empty() {
            return Err(invalid("Range deletions are not supported for specific columns"));
        }
        let mut bound = Vec::new();
        for operation in operations {
            bound.extend(bind_operation(&self.table, operation, env)?);
        }
        Ok(bound)
    }

    fn timestamp(&self, env: &Env<'_>, of_batch: Option<i64>) -> Result<i64, ServerError> {
        let Some(expr) = &self.timestamp else { return Ok(of_batch.unwrap_or(env.options.timestamp)) };
        match env.bound(expr)? {
            Bound::Unset => Ok(env.options.timestamp),
            Bound::Value(None) => Err(invalid("Invalid null value of timestamp")),
            Bound::Value(Some(bytes)) => match text::integer(&bytes) {
                i64::MIN => Err(invalid(format!("Out of bound timestamp, must be in [{}, {}]", -i64::MAX, i64::MAX))),
                micros => Ok(micros),
            },
        }
    }

    fn time_to_live(&self, env: &Env<'_>) -> Result<u32, ServerError> {
        let default = || {
            let shown = self.table.options.get("default_time_to_live");
            shown.and_then(|s| s.parse().ok()).unwrap_or_default()
        };
        let Some(expr) = &self.ttl else { return self.check_expiration(default(), "default ", env) };
        match env.bound(expr)? {
            Bound::Unset => Ok(default()),
            Bound::Value(None) => Ok(0),
            Bound::Value(Some(bytes)) if bytes.is_empty() => Ok(0),
            Bound::Value(Some(bytes)) => {
                let ttl = text::integer(&bytes);
                if ttl < 0 {
                    return Err(invalid(format!("A TTL must be greater or equal to 0, but was {ttl}")));
                }
                if ttl > TTL_MAX {
                    return Err(invalid(format!("ttl is too large. requested ({ttl}) maximum ({TTL_MAX})")));
                }
                self.check_expiration(ttl as u32, "", env)
            }
        }
    }

    /// Expiration dates are stored in 32 bits, as long as nodes may have to read what others of 4.x wrote.
    fn check_expiration(&self, ttl: u32, origin: &str, env: &Env<'_>) -> Result<u32, ServerError> {
        if ttl == 0 || env.options.unix_seconds + i64::from(ttl) < EXPIRATION_MAX {
            return Ok(ttl);
        }
        let table = self.table.full_name();
        Err(invalid(format!(
            "Request on table {table} with {origin}ttl of {ttl} seconds exceeds maximum supported expiration date of 2038-01-19T03:14:06+00:00. In order to avoid this use a lower TTL, change the expiration date overflow policy or upgrade to a version where this limitation is fixed. See CASSANDRA-14092 and CASSANDRA-14227 for more details."
        )))
    }

    fn target(
        &self,
        static_only: bool,
        no_clustering: bool,
        rows: Option<Vec<Vec<Bytes>>>,
        slices: Option<Vec<Slice>>,
    ) -> Target {
        let table = &self.table;
        if static_only {
            return Target::Static;
        }
        if self.verb == StatementKind::Delete
            && no_clustering
            && (self.operations.is_empty() || table.clustering_len > 0)
        {
            return if table.clustering_len == 0 && !self.condition.is_none() {
                Target::Rows(vec![row_key(table, Vec::new())])
            } else {
                Target::Partition
            };
        }
        match rows {
            Some(rows) => Target::Rows(rows.into_iter().map(|values| row_key(table, values)).collect()),
            None => Target::Ranges(slices.unwrap_or_default()),
        }
    }
}

/// The clustering values of every row that the tests name, if they name single rows.
fn clustering_values(table: &Table, tests: &[Test]) -> Option<Vec<Vec<Bytes>>> {
    let mut rows: Vec<Vec<Bytes>> = vec![Vec::new()];
    let mut index = table.partition_key_len;
    while index < table.partition_key_len + table.clustering_len {
        let tuples: Vec<Vec<Bytes>> = tests.iter().find_map(|test| match test {
            Test::Compare(i, Op::Eq, value) if *i == index => Some(vec![vec![value.clone()]]),
            Test::In(i, values) if *i == index => Some(values.iter().map(|v| vec![v.clone()]).collect()),
            Test::Tuple(columns, Op::Eq, values) if columns.first() == Some(&index) => Some(vec![values.clone()]),
            Test::TupleIn(columns, tuples) if columns.first() == Some(&index) => Some(tuples.clone()),
            _ => None,
        })?;
        index += tuples.first().map_or(1, Vec::len);
        rows = rows.iter().flat_map(|row| tuples.iter().map(|t| [row.as_slice(), t.as_slice()].concat())).collect();
    }
    Some(rows)
}

/// The encoded key and values of a row's clustering.
fn row_key(table: &Table, values: Vec<Bytes>) -> (Bytes, Arc<[Bytes]>) {
    (clustering_key(table, &values), Arc::from(values))
}
