//! Prepares a statement again on a coordinator that has forgotten it.
//!
//! # Invariants
//!
//! - At most [`REPREPARATIONS_MAX`] times per statement and attempt: a cache that is too small must not become an endless
//!   loop, and a batch of many statements that a coordinator has forgotten must not fail for their number.
//! - The statement keeps its identity: another id means another statement.

use std::sync::Arc;

use super::error::ErrorKind;
use super::failure::{call_failure, server_error_kind, server_failure};
use super::preparation::prepare_again;
use crate::connection::Connection;
use crate::control::ClusterView;
use crate::env::Instant;
use crate::policy::AttemptFailure;
use crate::protocol::ProtocolVersion;
use crate::protocol::response::{Message, Prepared, ResultBody};
use crate::statement::{PreparedState, PreparedStatement, Routing};
use crate::value::{ColumnSpec, CqlType, NativeType};

/// How often one attempt prepares the same statement before it gives up.
pub(super) const REPREPARATIONS_MAX: u32 = 3;

/// Turns the answer to PREPARE into what the driver keeps.
pub(crate) fn prepared_state(prepared: Prepared, view: &ClusterView) -> PreparedState {
    let key_names = |keyspace: &str, table: &str| {
        let table = view.snapshot.schema().table(keyspace, table)?;
        Some(table.partition_key().map(|column| column.name.to_string()).collect())
    };
    let routing = Routing::find(&prepared.variables, &prepared.partition_key, key_names);
    let is_counter = is_counter(&prepared, view);
    PreparedState {
        id: prepared.id,
        result_metadata_id: prepared.result_metadata_id,
        variables: prepared.variables,
        result_columns: prepared.result.columns,
        known_columns: prepared.known_columns.map(Arc::new),
        routing,
        is_counter,
    }
}

/// Whether the statement increments counters: it writes to a table that has some.
fn is_counter(prepared: &Prepared, view: &ClusterView) -> bool {
    let is_read = prepared.result.columns.as_ref().is_some_and(|columns| !columns.is_empty());
    let has_counters = |variable: &ColumnSpec| {
        let table = view.snapshot.schema().table(&variable.keyspace, &variable.table);
        table.is_some_and(|table| table.columns.iter().any(|column| is_counter_type(&column.cql_type)))
    };
    let by_variable = prepared.variables.iter().any(|variable| is_counter_type(&variable.cql_type));
    !is_read && (by_variable || prepared.variables.first().is_some_and(has_counters))
}

fn is_counter_type(cql_type: &CqlType) -> bool {
    matches!(cql_type, CqlType::Native(NativeType::Counter))
}

/// Prepares `statement` on `connection`'s node.
pub(super) async fn reprepare(
    statement: &PreparedStatement,
    connection: &Connection,
    view: &Arc<ClusterView>,
    deadline: Instant,
) -> Result<(), (AttemptFailure, ErrorKind)> {
    // The application may have changed the keyspace since; only v5 can say which one was meant.
    let keyspace = statement.preparation().keyspace.as_deref();
    let prepare = prepare_again(statement, keyspace.filter(|_| connection.version() >= ProtocolVersion::V5));
    // The statement itself was refused as unprepared, so losing this answer leaves nothing behind.
    let harmless = |(failure, kind): (AttemptFailure, ErrorKind)| {
        if failure == AttemptFailure::InvalidRequest {
            (failure, kind)
        } else {
            (AttemptFailure::IsBootstrapping, kind)
        }
    };
    let response = connection.call(&prepare, Some(deadline)).await.map_err(|error| harmless(call_failure(error)))?;
    let decoded = response
        .response
        .decode()
        .map_err(|error| (AttemptFailure::IsBootstrapping, ErrorKind::Decode(error.to_string())))?;
    match decoded.message {
        Message::Result(ResultBody::Prepared(prepared)) => {
            let known = statement.state();
            if prepared.id != known.id {
                return Err((AttemptFailure::InvalidRequest, ErrorKind::PreparedIdChanged));
            }
            // The schema may have changed since: variables and columns are those of the server from now on.
            statement.set_state(prepared_state(*prepared, view));
            Ok(())
        }
        Message::Error(error) => Err(harmless((server_failure(&error.kind), server_error_kind(*error)))),
        _ => Err((AttemptFailure::IsBootstrapping, ErrorKind::Decode("PREPARE was not answered as such".to_owned()))),
    }
}
