//! One attempt: the request sent to one coordinator, prepared there again if the coordinator asks for it.

use bytes::Bytes;
use tracing::debug;

use super::error::{AttemptKind, ErrorKind};
use super::failure::{call_failure, is_serial, server_error_kind, server_failure};
use super::metrics::Metrics;
use super::repreparation::{REPREPARATIONS_MAX, reprepare};
use super::runner::{Answer, Executor, Job};
use super::work::{Sending, Work};
use crate::connection::{Answered, CallError, Connection};
use crate::env::Instant;
use crate::env::mutants::is_planted;
use crate::policy::AttemptFailure;
use crate::protocol::Consistency;
use crate::protocol::response::{DecodedResponse, Message, ResultBody, ServerError, ServerErrorKind};
use crate::statement::{BatchEntry, KnownState, PreparedState, PreparedStatement};
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

/// One attempt that is being made.
pub(super) struct Trial {
    pub index: NodeIndex,
    pub connection: Connection,
    pub consistency: Consistency,
    pub started: Instant,
    pub deadline: Instant,
}

/// What came instead of an answer. Boxed: it must not make every request's future larger.
pub(super) enum Setback {
    Failed(Box<Failed>),
    /// The coordinator has forgotten the statement that it calls this.
    Unprepared(Box<ServerError>),
}

impl Trial {
    /// Counts the attempt. `started` is the present.
    pub(super) fn start(
        job: &Job<'_>,
        index: NodeIndex,
        connection: Connection,
        consistency: Consistency,
        started: Instant,
    ) -> Self {
        if let Some(pool) = job.view.pool(index) {
            pool.handle_request();
        }
        let deadline = match job.attempt_timeout {
            Some(limit) => job.deadline.min(started + limit),
            None => job.deadline,
        };
        Self { index, connection, consistency, started, deadline }
    }

    fn failed(&self, what: AttemptKind, is_serial: bool, (failure, kind): (AttemptFailure, ErrorKind)) -> Box<Failed> {
        Box::new(Failed {
            index: self.index,
            connection: self.connection.clone(),
            consistency: self.consistency,
            failure,
            kind,
            what,
            is_serial,
            started: self.started,
        })
    }
}

impl Executor {
    /// Sends the request to one coordinator and waits for its answer.
    pub(super) async fn attempt(&self, job: &Job<'_>, trial: Trial) -> Result<Answer, Box<Failed>> {
        let sending = self.sending(job, trial.consistency);
        let result = trial.connection.call(&sending, Some(trial.deadline)).await;
        match self.conclude(job, &trial, &sending, result) {
            Ok(answer) => Ok(answer),
            Err(setback) => Box::pin(self.overcome(job, &trial, setback)).await,
        }
    }

    #[inline]
    pub(super) fn sending<'a>(&self, job: &'a Job<'a>, consistency: Consistency) -> Sending<'a> {
        let timestamp = match is_planted("B19-new-timestamp-per-attempt") {
            true => self.timestamps.next(self.environment.wall_clock.unix_micros()),
            false => job.settled.timestamp,
        };
        Sending::new(job.work, &job.settled, consistency, timestamp)
    }

    /// Makes an answer of what came back.
    #[inline]
    pub(super) fn conclude(
        &self,
        job: &Job<'_>,
        trial: &Trial,
        sending: &Sending<'_>,
        result: Result<Answered, CallError>,
    ) -> Result<Answer, Setback> {
        let answered = match result {
            Ok(answered) => answered,
            Err(error) => return Err(Setback::Failed(trial.failed(AttemptKind::Request, false, call_failure(error)))),
        };
        let known = sending.sent_with().and_then(|state| state.known_columns.as_deref());
        let decoded = match answered.response.decode_knowing(known) {
            Ok(DecodedResponse { message: Message::Error(error), .. }) => return Err(refused(trial, error)),
            Ok(decoded) => decoded,
            Err(_) if is_planted("M09-unreadable-answer-taken-for-empty") => {
                DecodedResponse { annotations: None, message: Message::Result(ResultBody::Void) }
            }
            Err(error) => {
                let what = (AttemptFailure::UndecodableAnswer, ErrorKind::Decode(error.to_string()));
                return Err(Setback::Failed(trial.failed(AttemptKind::Request, false, what)));
            }
        };
        self.metrics.latencies.record(answered.at - trial.started);
        if let Some(pool) = job.view.pool(trial.index) {
            pool.handle_answer(trial.started, answered.at);
        }
        Ok(answer(job, trial, decoded, sending.sent_with()))
    }

    /// Prepares forgotten statements again until there is an answer or nothing more can be done on this node.
    pub(super) async fn overcome(
        &self,
        job: &Job<'_>,
        trial: &Trial,
        mut setback: Setback,
    ) -> Result<Answer, Box<Failed>> {
        // How often each statement was prepared again, by its id.
        let mut repreparations: Vec<(Bytes, u32)> = Vec::new();
        loop {
            let error = match setback {
                Setback::Failed(failed) if repreparations.is_empty() => return Err(failed),
                Setback::Failed(failed) => return Err(once_refused(failed)),
                Setback::Unprepared(error) => error,
            };
            let statement = match &error.kind {
                ServerErrorKind::Unprepared { id } => statement_with_id(job.work, id),
                _ => None,
            };
            let Some(statement) = statement else {
                let failure = (AttemptFailure::InvalidRequest, server_error_kind(*error));
                return Err(trial.failed(AttemptKind::Request, false, failure));
            };
            if is_spent(&mut repreparations, &statement.state().id) {
                let failure = (AttemptFailure::IsBootstrapping, ErrorKind::RepreparationLimit);
                return Err(trial.failed(AttemptKind::Reprepare, false, failure));
            }
            Metrics::count(&self.metrics.repreparations);
            debug!(host_id = %job.node(trial.index).host_id, "preparing a forgotten statement again");
            if !is_planted("P12-executed-again-without-preparing") {
                let prepared = reprepare(statement, &trial.connection, &job.view, trial.deadline).await;
                prepared.map_err(|failure| trial.failed(AttemptKind::Reprepare, false, failure))?;
            }
            let sending = self.sending(job, trial.consistency);
            let result = trial.connection.call(&sending, Some(trial.deadline)).await;
            setback = match self.conclude(job, trial, &sending, result) {
                Ok(answer) => return Ok(answer),
                Err(setback) => setback,
            };
        }
    }
}

/// A statement that could not be sent again had been sent before, and the coordinator has refused it.
fn once_refused(mut failed: Box<Failed>) -> Box<Failed> {
    if failed.failure == AttemptFailure::NotSent {
        failed.failure = AttemptFailure::IsBootstrapping;
    }
    failed
}

/// Counts one more preparation of a statement; true if it has had all that an attempt allows.
fn is_spent(repreparations: &mut Vec<(Bytes, u32)>, id: &Bytes) -> bool {
    let position = repreparations.iter().position(|(known, _)| known == id).unwrap_or_else(|| {
        repreparations.push((id.clone(), 0));
        repreparations.len() - 1
    });
    let count = &mut repreparations[position].1;
    *count += 1;
    *count > REPREPARATIONS_MAX
}

/// The coordinator answered with an error.
#[cold]
fn refused(trial: &Trial, error: Box<ServerError>) -> Setback {
    if matches!(error.kind, ServerErrorKind::Unprepared { .. }) {
        return Setback::Unprepared(error);
    }
    let (failure, is_serial) = (server_failure(&error.kind), is_serial(&error.kind));
    Setback::Failed(trial.failed(AttemptKind::Request, is_serial, (failure, server_error_kind(*error))))
}

#[inline]
fn answer(job: &Job<'_>, trial: &Trial, mut decoded: DecodedResponse, sent_with: Option<&KnownState<'_>>) -> Answer {
    if let Message::Result(ResultBody::Rows(rows)) = &mut decoded.message {
        if let (Work::Execute { statement, .. }, Some(new_id), Some(known)) =
            (job.work, rows.metadata.new_metadata_id(), sent_with)
        {
            // Id and columns change together, and this very answer is read with the new columns.
            statement.set_state(PreparedState {
                // Copied, because the answer's buffer must not live as long as the statement.
                result_metadata_id: Some(Bytes::copy_from_slice(new_id)),
                result_columns: rows.metadata.columns.clone(),
                ..PreparedState::clone(known)
            });
        }
        if rows.metadata.columns.is_none() {
            rows.metadata.columns = sent_with.and_then(|state| state.result_columns.clone());
        }
    }
    let node = job.node(trial.index);
    Answer {
        decoded,
        coordinator: node.host_id,
        address: node.address,
        connection: trial.connection.clone(),
        attempts: Box::default(),
    }
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
