//! One attempt: the request sent to one coordinator, prepared there again if the coordinator asks for it.

use std::sync::Arc;

use tracing::debug;

use super::error::{AttemptKind, ErrorKind};
use super::failure::{call_failure, is_serial, server_error_kind, server_failure};
use super::metrics::Metrics;
use super::repreparation::{REPREPARATIONS_MAX, reprepare};
use super::runner::{Answer, Executor, Job};
use super::work::{Settled, Work};
use crate::connection::Connection;
use crate::env::Instant;
use crate::env::mutants::is_planted;
use crate::policy::AttemptFailure;
use crate::protocol::Consistency;
use crate::protocol::response::{DecodedResponse, Message, ResultBody, ServerErrorKind};
use crate::statement::{BatchEntry, PreparedState, PreparedStatement};
use crate::topology::NodeIndex;

/// One attempt that failed.
pub(super) struct Failed {
    pub index: NodeIndex,
    pub connection: Connection,
    pub consistency: Consistency,
    pub failure: AttemptFailure,
    pub kind: ErrorKind,
    pub what: AttemptKind,
    /// The server's words show that the request is linearizable.
    pub is_serial: bool,
    pub started: Instant,
}

impl Executor {
    /// Sends the request to one coordinator and waits for its answer. `started` is the present.
    pub(super) async fn attempt(
        &self,
        job: &Job<'_>,
        index: NodeIndex,
        connection: Connection,
        consistency: Consistency,
        started: Instant,
    ) -> Result<Answer, Failed> {
        if let Some(pool) = job.view.pool(index) {
            pool.handle_request();
        }
        let deadline = match job.attempt_timeout {
            Some(limit) => job.deadline.min(started + limit),
            None => job.deadline,
        };
        let fail = |what, is_serial, (failure, kind)| Failed {
            index,
            connection: connection.clone(),
            consistency,
            failure,
            kind,
            what,
            is_serial,
            started,
        };
        let mut repreparations = 0;
        loop {
            let restamped = is_planted("B19-new-timestamp-per-attempt").then(|| Settled {
                timestamp: self.timestamps.next(self.environment.wall_clock.unix_micros()),
                ..job.settled
            });
            let settled = restamped.as_ref().unwrap_or(&job.settled);
            let (result, sent_with) = job.work.send(&connection, settled, consistency, deadline).await;
            let response = result.map_err(|error| fail(AttemptKind::Request, false, call_failure(error)))?;
            let known = sent_with.as_ref().and_then(|state| state.known_columns.as_deref());
            let decoded = response.decode_knowing(known).or_else(|error| {
                let empty = DecodedResponse { annotations: None, message: Message::Result(ResultBody::Void) };
                if is_planted("M09-unreadable-answer-taken-for-empty") { Ok(empty) } else { Err(error) }
            });
            let decoded = decoded.map_err(|error| {
                let kind = ErrorKind::Decode(error.to_string());
                fail(AttemptKind::Request, false, (AttemptFailure::UndecodableAnswer, kind))
            })?;
            let Message::Error(error) = decoded.message else {
                let now = Instant::now();
                self.metrics.latencies.record(now - started);
                if let Some(pool) = job.view.pool(index) {
                    pool.handle_answer(started, now);
                }
                return Ok(answer(job, index, connection, decoded, sent_with));
            };
            let ServerErrorKind::Unprepared { id } = &error.kind else {
                let (failure, is_serial) = (server_failure(&error.kind), is_serial(&error.kind));
                return Err(fail(AttemptKind::Request, is_serial, (failure, server_error_kind(error))));
            };
            let Some(statement) = statement_with_id(job.work, id) else {
                let failure = (AttemptFailure::InvalidRequest, server_error_kind(error));
                return Err(fail(AttemptKind::Request, false, failure));
            };
            if repreparations == REPREPARATIONS_MAX {
                let failure = (AttemptFailure::IsBootstrapping, ErrorKind::RepreparationLimit);
                return Err(fail(AttemptKind::Reprepare, false, failure));
            }
            repreparations += 1;
            Metrics::count(&self.metrics.repreparations);
            debug!(host_id = %job.node(index).host_id, "preparing a forgotten statement again");
            if is_planted("P12-executed-again-without-preparing") {
                continue;
            }
            let prepared = Box::pin(reprepare(statement, &connection, &job.view, deadline)).await;
            prepared.map_err(|(failure, kind)| {
                // The statement itself had been sent, and refused.
                let failure =
                    if failure == AttemptFailure::NotSent { AttemptFailure::IsBootstrapping } else { failure };
                fail(AttemptKind::Reprepare, false, (failure, kind))
            })?;
        }
    }
}

fn answer(
    job: &Job<'_>,
    index: NodeIndex,
    connection: Connection,
    decoded: DecodedResponse,
    sent_with: Option<Arc<PreparedState>>,
) -> Answer {
    let mut columns = None;
    if let Message::Result(ResultBody::Rows(rows)) = &decoded.message {
        columns = rows.metadata.columns.clone();
        if let (Work::Execute { statement, .. }, Some(new_id), Some(known)) =
            (job.work, &rows.metadata.new_metadata_id, &sent_with)
        {
            // Id and columns change together, and this very answer is read with the new columns.
            statement.set_state(PreparedState {
                // Copied, because the answer's buffer must not live as long as the statement.
                result_metadata_id: Some(bytes::Bytes::copy_from_slice(new_id)),
                result_columns: columns.clone(),
                ..PreparedState::clone(known)
            });
        }
        columns = columns.or_else(|| sent_with.and_then(|state| state.result_columns.clone()));
    }
    let node = job.node(index);
    Answer { decoded, coordinator: node.host_id, address: node.address, columns, connection, attempts: Vec::new() }
}

/// The statement a coordinator means by `id`.
fn statement_with_id<'a>(work: &'a Work<'a>, id: &[u8]) -> Option<&'a PreparedStatement> {
    match work {
        Work::Execute { statement, .. } => Some(*statement),
        Work::Batch { entries, .. } => entries.iter().find_map(|entry| match entry {
            BatchEntry::Prepared { statement, .. } => (*statement.state().id == *id).then_some(statement),
            BatchEntry::Text(_) => None,
        }),
        Work::Query { .. } | Work::Prepare { .. } => None,
    }
}
