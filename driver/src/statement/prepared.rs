//! Prepared statements: the server's id, the variables, and where the partition key is among them.
//!
//! # Invariants
//!
//! - Id, variables and result columns change together: a reader sees one [`PreparedState`] or the next, never a mix.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::protocol::response::KnownColumns;
use crate::topology::{ClusterSnapshot, NodeIndex, compose_routing_key};
use crate::value::{CellReader, ColumnSpec};

/// What is asked for with PREPARE; equal ones give the same statement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Preparation {
    pub text: Arc<str>,
    /// What unqualified names mean: the keyspace that the application named, or the session's at that time.
    pub keyspace: Option<Arc<str>>,
    /// Whether the application named the keyspace. Then PREPARE names it too, which needs protocol v5.
    pub is_keyspace_named: bool,
    /// Bytes for the server's query handler.
    pub custom_payload: Option<Arc<BTreeMap<String, Bytes>>>,
}

impl Preparation {
    /// Of `text`, in the session's keyspace.
    pub(crate) fn new(text: Arc<str>, keyspace: Option<Arc<str>>) -> Self {
        Self { text, keyspace, is_keyspace_named: false, custom_payload: None }
    }

    /// The keyspace that the application named.
    pub(crate) fn named_keyspace(&self) -> Option<&str> {
        self.keyspace.as_deref().filter(|_| self.is_keyspace_named)
    }
}

/// A statement the cluster has parsed. Cheap to clone; clones share what is learned later.
#[derive(Debug, Clone)]
pub struct PreparedStatement(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What it was prepared from, to do so again.
    preparation: Preparation,
    is_conditional: bool,
    /// What the first answer to PREPARE said. Few statements ever learn anything else, and those that do not need no
    /// lock to read it.
    first: PreparedState,
    has_later: AtomicBool,
    /// Set with `has_later`.
    later: Mutex<Option<Arc<PreparedState>>>,
}

/// What is known about a statement at one moment.
#[derive(Debug, Clone)]
pub(crate) enum KnownState<'a> {
    First(&'a PreparedState),
    Later(Arc<PreparedState>),
}

impl Deref for KnownState<'_> {
    type Target = PreparedState;

    fn deref(&self) -> &PreparedState {
        match self {
            Self::First(state) => state,
            Self::Later(state) => state,
        }
    }
}

/// What the server said about a prepared statement.
#[derive(Debug, Clone)]
pub(crate) struct PreparedState {
    pub id: Bytes,
    /// Identity of `result_columns`; protocol v5 only.
    pub result_metadata_id: Option<Bytes>,
    pub variables: Arc<[ColumnSpec]>,
    pub result_columns: Option<Arc<[ColumnSpec]>>,
    /// What the server will probably say about the columns of an answer, if it must.
    pub known_columns: Option<Arc<KnownColumns>>,
    pub routing: Option<Routing>,
    /// Increments counters.
    pub is_counter: bool,
}

/// How to compute the partition of a bound statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Routing {
    pub keyspace: Arc<str>,
    /// Positions of the partition key columns among the variables, in the order of the key. Never empty.
    pub key_positions: Vec<u16>,
}

impl PreparedStatement {
    pub(crate) fn new(preparation: Preparation, state: PreparedState) -> Self {
        let is_conditional = super::is_conditional(&preparation.text);
        Self(Arc::new(Inner {
            preparation,
            is_conditional,
            first: state,
            has_later: AtomicBool::new(false),
            later: Mutex::new(None),
        }))
    }

    /// The CQL text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.preparation.text
    }

    /// The variables to bind.
    #[must_use]
    pub fn variables(&self) -> Arc<[ColumnSpec]> {
        Arc::clone(&self.state().variables)
    }

    /// The columns of the result, if the server announced them.
    #[must_use]
    pub fn result_columns(&self) -> Option<Arc<[ColumnSpec]>> {
        self.state().result_columns.clone()
    }

    /// Whether the statement is a lightweight transaction.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.0.is_conditional
    }

    pub(crate) fn preparation(&self) -> &Preparation {
        &self.0.preparation
    }

    #[inline]
    pub(crate) fn state(&self) -> KnownState<'_> {
        self.later_state().map_or(KnownState::First(&self.0.first), KnownState::Later)
    }

    /// What was first known; see [`Self::later_state`].
    pub(crate) fn first_state(&self) -> &PreparedState {
        &self.0.first
    }

    /// What has replaced [`Self::first_state`], if anything has.
    #[inline]
    pub(crate) fn later_state(&self) -> Option<Arc<PreparedState>> {
        if !self.0.has_later.load(Ordering::Acquire) {
            return None;
        }
        self.0.later.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces what is known, after the statement was prepared again or its result columns changed.
    pub(crate) fn set_state(&self, state: PreparedState) {
        *self.0.later.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(state));
        self.0.has_later.store(true, Ordering::Release);
    }
}

impl PreparedState {
    /// Finds the replicas of the partition that encoded values determine; none if they determine no partition.
    #[inline]
    pub(crate) fn replicas<'s>(&self, values: &[u8], snapshot: &'s ClusterSnapshot) -> &'s [NodeIndex] {
        let (Some(routing), Some(key)) = (&self.routing, self.partition_key(values)) else { return &[] };
        snapshot.replicas_of_key(&routing.keyspace, &key)
    }

    /// The serialized partition key among encoded values; `None` if they do not determine one.
    #[inline]
    pub(crate) fn partition_key<'v>(&self, values: &'v [u8]) -> Option<Cow<'v, [u8]>> {
        let routing = self.routing.as_ref()?;
        if let [position] = *routing.key_positions.as_slice() {
            return cell(values, position).map(Cow::Borrowed);
        }
        let components: Option<Vec<&[u8]>> =
            routing.key_positions.iter().map(|&position| cell(values, position)).collect();
        let mut key = Vec::with_capacity(64);
        compose_routing_key(&components?, &mut key).ok()?;
        Some(Cow::Owned(key))
    }
}

impl Routing {
    /// Finds the partition key among `variables`: by the positions the server announced, or in protocol v3, which
    /// announces none, by the names of the table's partition key columns.
    pub(crate) fn find(
        variables: &[ColumnSpec],
        announced: &[u16],
        partition_key_of: impl FnOnce(&str, &str) -> Option<Vec<String>>,
    ) -> Option<Self> {
        let first = variables.first()?;
        let keyspace = Arc::clone(&first.keyspace);
        if !announced.is_empty() {
            let is_valid = announced.iter().all(|&position| usize::from(position) < variables.len());
            return is_valid.then(|| Self { keyspace, key_positions: announced.to_vec() });
        }
        let names = partition_key_of(&keyspace, &first.table)?;
        let key_positions: Option<Vec<u16>> = names
            .iter()
            .map(|name| {
                let position = variables.iter().position(|variable| *variable.name == **name)?;
                u16::try_from(position).ok()
            })
            .collect();
        key_positions.filter(|positions| !positions.is_empty()).map(|key_positions| Self { keyspace, key_positions })
    }
}

/// The content of the value at `position`; `None` if it is null, unset or missing.
fn cell(values: &[u8], position: u16) -> Option<&[u8]> {
    let mut cells = CellReader::new(values);
    for _ in 0..position {
        cells.next_cell()?;
    }
    cells.next_cell()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::NativeType;

    fn variable(name: &str) -> ColumnSpec {
        ColumnSpec { keyspace: "app".into(), table: "t".into(), name: name.into(), cql_type: NativeType::Blob.into() }
    }

    fn state(key_positions: &[u16]) -> PreparedState {
        PreparedState {
            id: Bytes::new(),
            result_metadata_id: None,
            variables: [variable("a"), variable("b")].into(),
            result_columns: None,
            known_columns: None,
            routing: Some(Routing { keyspace: "app".into(), key_positions: key_positions.to_vec() }),
            is_counter: false,
        }
    }

    const VALUES: &[u8] = &[0, 0, 0, 1, b'x', 0, 0, 0, 2, b'y', b'z'];

    #[test]
    fn partition_key_has_the_key_columns_in_the_order_of_the_key() {
        let composite = [0, 2, b'y', b'z', 0, 0, 1, b'x', 0];

        assert_eq!(state(&[1]).partition_key(VALUES).as_deref(), Some(&b"yz"[..]));
        assert_eq!(state(&[1, 0]).partition_key(VALUES).as_deref(), Some(&composite[..]));
    }

    #[test]
    fn what_is_learned_later_replaces_what_was_known_first() {
        let statement = PreparedStatement::new(Preparation::new("SELECT".into(), None), state(&[0]));
        let clone = statement.clone();
        assert!(matches!(statement.state(), KnownState::First(_)));
        for id in [&b"second"[..], b"third"] {
            statement.set_state(PreparedState { id: Bytes::copy_from_slice(id), ..state(&[1]) });
            assert_eq!((&clone.state().id[..], clone.later_state().is_some()), (id, true));
        }
    }

    #[test]
    fn null_or_missing_key_determines_no_partition() {
        assert_eq!(state(&[0]).partition_key(&[0xff; 4]), None);
        assert_eq!(state(&[2]).partition_key(VALUES), None);
    }

    #[test]
    fn key_positions_come_from_the_schema_when_the_server_announces_none() {
        let variables = [variable("v"), variable("k2"), variable("k1")];
        let key = |_: &str, _: &str| Some(vec!["k1".to_owned(), "k2".to_owned()]);

        assert_eq!(Routing::find(&variables, &[], key).unwrap().key_positions, [2, 1]);
        assert_eq!(Routing::find(&variables[..2], &[], key), None, "part of the key is not bound");
        assert_eq!(Routing::find(&variables, &[7], key), None, "position beyond the variables");
    }
}
