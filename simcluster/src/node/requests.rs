//! QUERY, PREPARE, EXECUTE and BATCH: from the message to an action, and from its outcome to the answer.
//!
//! Reads of the node's own keyspaces are carried out at once and whatever the consistency level; schema statements
//! by the node itself; everything else by the coordinator.

use super::client::Ticket;
use super::message::Output;
use super::prepared::PreparedEntry;
use super::schema_answers::{self, Question};
use super::system_tables::STORAGE_PORT;
use super::tracing::Trace;
use super::{Node, NodeStatus};
use crate::coordinator::Request;
use crate::cql::{self, Action, Answer, BatchType, BindOptions, Bound, ClusterFacts, DescribeCluster, Prepared};
use crate::kernel::Now;
use crate::protocol::{
    BatchStatement, ColumnSpec, Consistency, Parameters, PreparedMessage, RequestMessage, ResponseEnvelope,
    ResponseMessage, ResultRows, RowsMessage, ServerError, WireValue, WireValues, opcode, result_metadata_id,
};
use crate::ring::Token;
use crate::schema::{Keyspace, Schema};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A request whose answer is still to come.
#[derive(Debug)]
pub(super) struct Pending {
    ticket: Ticket,
    format: RowsFormat,
    trace: Option<Trace>,
}

/// How rows are to be told.
#[derive(Debug)]
struct RowsFormat {
    /// The client knows the columns and does not want to hear them again.
    skip_metadata: bool,
    /// The statement, if it was prepared and is no batch.
    entry: Option<Arc<PreparedEntry>>,
    /// The id of the columns the client knows (v5).
    known_metadata_id: Option<Bytes>,
}

/// What is to be done, and the columns that the statement answers.
type BoundStatement = (Action, Option<Arc<[ColumnSpec]>>);

/// A request on its way to execution.
struct Job {
    ticket: Ticket,
    format: RowsFormat,
    parameters: Parameters,
    /// `QUERY`, `EXECUTE` or `BATCH`, with the statement's text where there is one.
    command: &'static str,
    text: String,
}

impl Node {
    /// Handles a message that carries a statement.
    pub(super) fn handle_statement(
        &mut self,
        now: Now,
        ticket: Ticket,
        message: RequestMessage,
        outputs: &mut Vec<Output>,
    ) {
        let format = RowsFormat { skip_metadata: false, entry: None, known_metadata_id: None };
        match message {
            RequestMessage::Query { text, parameters } => {
                let keyspace = self.keyspace_of(&ticket, parameters.keyspace.as_deref());
                let question = Question::of(self.schema_contents, ticket.version, &text, &parameters);
                if let Some(question) = question.filter(|_| !ticket.wants_trace) {
                    return self.answer_from_schema(now, &ticket, question, &text, &parameters, outputs);
                }
                let skip_metadata = parameters.skip_metadata;
                let format = RowsFormat { skip_metadata, ..format };
                let outcome = keyspace
                    .and_then(|keyspace| self.schema_contents.prepare(&self.schema, keyspace.as_deref(), &text))
                    .and_then(|prepared| {
                        prepared.check_count_of_query(bound_values(&prepared, &parameters.values).len())?;
                        Ok((self.bind(now, &prepared, &parameters)?, prepared.result_columns.clone()))
                    });
                let job = Job { ticket, format, parameters, command: "QUERY", text };
                self.run(now, job, outcome, outputs);
            }
            RequestMessage::Prepare { text, keyspace } => {
                self.prepare(&ticket, &text, keyspace.as_deref(), outputs);
            }
            RequestMessage::Execute { id, result_metadata_id, parameters } => {
                let Some(entry) = self.prepared.get(&id).cloned() else {
                    let error = ResponseMessage::Error(ServerError::Unprepared { id });
                    return self.respond(&ticket, error, ResponseEnvelope::default(), outputs);
                };
                let outcome = self
                    .bind(now, &entry.prepared, &parameters)
                    .map(|action| (action, entry.prepared.result_columns.clone()));
                let format = RowsFormat {
                    skip_metadata: parameters.skip_metadata,
                    entry: Some(entry.clone()),
                    known_metadata_id: result_metadata_id,
                };
                let text = entry.prepared.text.clone();
                let job = Job { ticket, format, parameters, command: "EXECUTE", text };
                self.run(now, job, outcome, outputs);
            }
            RequestMessage::Batch { kind, statements, parameters } => {
                let keyspace = self.keyspace_of(&ticket, parameters.keyspace.as_deref());
                let outcome = keyspace
                    .and_then(|keyspace| self.bind_batch(now, kind, statements, keyspace.as_deref(), &parameters))
                    .map(|action| (action, None));
                let job = Job { ticket, format, parameters, command: "BATCH", text: String::new() };
                self.run(now, job, outcome, outputs);
            }
            // The connection has handled these.
            RequestMessage::Startup(_)
            | RequestMessage::Options
            | RequestMessage::AuthResponse(_)
            | RequestMessage::Register(_) => {}
        }
    }

    /// Answers a read of the schema tables, from memory if the same was asked before.
    fn answer_from_schema(
        &mut self,
        now: Now,
        ticket: &Ticket,
        question: Question,
        text: &str,
        parameters: &Parameters,
        outputs: &mut Vec<Output>,
    ) {
        // Remembered or not, the request takes its timestamp and its draw.
        let options = self.bind_options(now, parameters);
        let body = schema_answers::recall(&question).map_or_else(
            || {
                let prepared = self.schema_contents.prepare(&self.schema, None, text)?;
                let Action::Read(read) = prepared.bind(&self.schema, &[], &options)? else {
                    return Err(ServerError::Server("a SELECT that reads nothing".into()));
                };
                let warnings = read.warnings.clone();
                let rows = self.read_locally(now, read)?;
                let skip_metadata = parameters.skip_metadata;
                let rows = ResponseMessage::Rows(RowsMessage { rows, skip_metadata, new_metadata_id: None });
                let body = rows.body(ticket.version);
                if warnings.is_empty() {
                    schema_answers::remember(question, body.clone());
                }
                Ok((body, warnings))
            },
            |body| Ok((body, Vec::new())),
        );
        let (message, warnings) = match body {
            Ok((body, warnings)) => (ResponseMessage::Raw { opcode: opcode::RESULT, body }, warnings),
            Err(error) => (ResponseMessage::Error(error), Vec::new()),
        };
        self.respond(ticket, message, ResponseEnvelope { warnings, ..ResponseEnvelope::default() }, outputs);
    }

    /// The keyspace for unqualified names: the request's own (v5), or the connection's.
    ///
    /// # Errors
    ///
    /// Invalid, if the request names one that does not exist.
    fn keyspace_of(&self, ticket: &Ticket, of_request: Option<&str>) -> Result<Option<String>, ServerError> {
        match of_request {
            Some(keyspace) if !self.schema.keyspaces.contains_key(keyspace) => {
                Err(ServerError::Invalid(format!("Keyspace '{keyspace}' does not exist")))
            }
            Some(keyspace) => Ok(Some(keyspace.to_owned())),
            None => Ok(self.clients.get(&ticket.client).and_then(|state| state.keyspace.clone())),
        }
    }

    fn prepare(&mut self, ticket: &Ticket, text: &str, of_request: Option<&str>, outputs: &mut Vec<Output>) {
        let found = self.keyspace_of(ticket, of_request);
        let prepared = found.and_then(|keyspace| {
            Ok((self.schema_contents.prepare(&self.schema, keyspace.as_deref(), text)?, keyspace))
        });
        let (message, warnings) = match prepared {
            Ok((prepared, keyspace)) => {
                let keyspace = keyspace.as_deref();
                let depends_on_use = !prepared.is_fully_qualified && keyspace.is_some() && of_request.is_none();
                let warns = depends_on_use
                    && self
                        .clients
                        .get_mut(&ticket.client)
                        .is_some_and(|state| !std::mem::replace(&mut state.was_warned_of_use, true));
                let (id, entry) = self.prepared.insert(prepared, keyspace);
                let message = PreparedMessage {
                    id: Bytes::copy_from_slice(&id),
                    result_metadata_id: entry.result_metadata_id.clone(),
                    markers: entry.prepared.markers.clone(),
                    partition_key_markers: entry.prepared.partition_key_markers.clone(),
                    result_columns: entry.prepared.result_columns.clone(),
                };
                let warning = warns.then(|| use_warning(keyspace.unwrap_or_default(), &id));
                (ResponseMessage::Prepared(Box::new(message)), warning.into_iter().collect())
            }
            Err(error) => (ResponseMessage::Error(error), Vec::new()),
        };
        self.respond(ticket, message, ResponseEnvelope { warnings, ..ResponseEnvelope::default() }, outputs);
    }

    fn bind(&mut self, now: Now, prepared: &Prepared, parameters: &Parameters) -> Result<Action, ServerError> {
        let values = bound_values(prepared, &parameters.values);
        let options = self.bind_options(now, parameters);
        prepared.bind(&self.schema, &values, &options)
    }

    fn bind_options(&mut self, now: Now, parameters: &Parameters) -> BindOptions {
        let clock = self.coordinator.next_timestamp(now);
        BindOptions {
            timestamp: parameters.timestamp.unwrap_or(clock),
            clock,
            unix_seconds: parameters.now_in_seconds.map_or(now.unix_seconds(), i64::from),
            page_size: parameters.page_size,
            paging_state: parameters.paging_state.clone(),
            entropy: self.dice.next_u64(),
        }
    }

    fn bind_batch(
        &mut self,
        now: Now,
        kind: u8,
        statements: Vec<(BatchStatement, Vec<WireValue>)>,
        keyspace: Option<&str>,
        parameters: &Parameters,
    ) -> Result<Action, ServerError> {
        let batch_type = match kind {
            0 => BatchType::Logged,
            1 => BatchType::Unlogged,
            _ => BatchType::Counter,
        };
        let mut bound = Vec::with_capacity(statements.len());
        for (statement, values) in statements {
            let prepared = match statement {
                BatchStatement::Text(text) => self.schema_contents.prepare(&self.schema, keyspace, &text)?,
                BatchStatement::Id(id) => match self.prepared.get(&id) {
                    Some(entry) => entry.prepared.clone(),
                    None => return Err(ServerError::Unprepared { id }),
                },
            };
            bound.push((prepared, values.into_iter().map(bound_value).collect()));
        }
        let options = self.bind_options(now, parameters);
        cql::bind_batch(&self.schema, batch_type, &bound, &options)
    }

    /// Carries out a bound action, or answers why there is none.
    fn run(&mut self, now: Now, job: Job, outcome: Result<BoundStatement, ServerError>, outputs: &mut Vec<Output>) {
        let Job { ticket, format, parameters, command, text } = job;
        let trace = if ticket.wants_trace {
            let client = self.clients.get(&ticket.client).map(|state| state.from.ip());
            let client = client.unwrap_or(self.config.address.ip());
            let mut trace = self.begin_trace(now, client, command, trace_parameters(&parameters, &text));
            if !text.is_empty() && command == "QUERY" {
                trace.note(now, format!("Parsing {text}"));
                trace.note(now, "Preparing statement");
            }
            Some(trace)
        } else {
            None
        };
        let mut pending = Pending { ticket, format, trace };
        let (action, result_columns) = match outcome {
            Ok(bound) => bound,
            Err(error) => return self.finish(now, pending, Err(error), Vec::new(), outputs),
        };
        let result_keyspace = result_columns.as_ref().and_then(|columns| Some(columns.first()?.keyspace.as_str()));
        let outcome = match action {
            Action::Answer(answer) => Ok(answer),
            Action::Schema(statement) => {
                if let Some(trace) = &mut pending.trace {
                    trace.note(now, "Changing the schema");
                }
                let outcome = self.change_schema(now, &statement, outputs);
                let warnings = if outcome.is_ok() { statement.warnings() } else { Vec::new() };
                return self.finish(now, pending, outcome, warnings, outputs);
            }
            Action::DescribeCluster(describe) => Ok(Answer::Rows(self.describe_cluster(&describe))),
            Action::Read(read) if result_keyspace.is_some_and(|keyspace| is_local(&self.schema, keyspace)) => {
                if let Some(trace) = &mut pending.trace {
                    trace.note(now, "Reading from the node's own tables");
                }
                let warnings = read.warnings.clone();
                let outcome = self.read_locally(now, read).map(Answer::Rows);
                return self.finish(now, pending, outcome, warnings, outputs);
            }
            Action::Read(_) if parameters.paging_state.is_some() && self.empty_pages > 0 => {
                // `bind` has checked the paging state: an invalid one is refused all the same.
                let page = self.take_empty_page(result_columns.as_ref(), parameters.paging_state.as_ref());
                let page = page.ok_or(ServerError::Server("a page without columns".into()));
                return self.finish(now, pending, page.map(Answer::Rows), Vec::new(), outputs);
            }
            action => match self.refusal(&action, &parameters) {
                Some(error) => Err(error),
                None => match self.take_forced_answer() {
                    Some(message) => {
                        return self.respond(&pending.ticket, message, ResponseEnvelope::default(), outputs);
                    }
                    None => return self.coordinate_request(now, pending, action, &parameters, outputs),
                },
            },
        };
        self.finish(now, pending, outcome, Vec::new(), outputs);
    }

    /// Why the node does not let its coordinator carry out an action.
    fn refusal(&self, action: &Action, parameters: &Parameters) -> Option<ServerError> {
        let written = match action {
            Action::Write(plan) => plan.mutations.first().map(|mutation| mutation.keyspace.as_str()),
            Action::Conditional(plan) => Some(plan.keyspace.as_str()),
            Action::Truncate { keyspace, .. } => Some(keyspace.as_str()),
            Action::Read(_)
            | Action::ReadThenWrite(_)
            | Action::Answer(_)
            | Action::Schema(_)
            | Action::DescribeCluster(_) => None,
        };
        if let Some(keyspace) = written.filter(|keyspace| is_local(&self.schema, keyspace)) {
            return Some(ServerError::Unauthorized(format!("{keyspace} keyspace is not user-modifiable.")));
        }
        let serial = parameters.serial_consistency.unwrap_or(Consistency::Serial);
        if matches!(action, Action::Conditional(_)) && !matches!(serial, Consistency::Serial | Consistency::LocalSerial)
        {
            let text = "Invalid consistency for conditional update. Must be one of SERIAL or LOCAL_SERIAL";
            return Some(ServerError::Invalid(text.into()));
        }
        let reads = matches!(action, Action::Read(_) | Action::ReadThenWrite(_) | Action::Conditional(_));
        (reads && self.members.status == NodeStatus::Joining).then_some(ServerError::IsBootstrapping)
    }

    fn coordinate_request(
        &mut self,
        now: Now,
        pending: Pending,
        action: Action,
        parameters: &Parameters,
        outputs: &mut Vec<Output>,
    ) {
        let id = self.new_request_id();
        let request = Request {
            id,
            action,
            consistency: parameters.consistency,
            serial_consistency: parameters.serial_consistency.unwrap_or(Consistency::Serial),
            protocol_version: pending.ticket.version,
        };
        self.requests.insert(id, pending);
        let sent_before = outputs.len();
        self.coordinate(now, outputs, |coordinator, context, effects| {
            coordinator.handle_request(context, request, effects);
        });
        if let Some(trace) = self.requests.get_mut(&id).and_then(|pending| pending.trace.as_mut()) {
            for output in &outputs[sent_before..] {
                if let Output::ToPeer { to, .. } = output
                    && let Some(address) = self.members.ring.addresses.get(to)
                {
                    trace.note(now, format!("Sending a message to /{address}:7000"));
                }
            }
        }
    }

    /// Answers a DESCRIBE CLUSTER from the node's own view of the ring.
    fn describe_cluster(&self, describe: &DescribeCluster) -> ResultRows {
        let ring = &self.members.ring;
        let keyspace = describe.ownership_keyspace().and_then(|name| self.schema.keyspaces.get(name));
        let replicas = |token: Token, keyspace: &Keyspace| {
            let nodes = ring.replicas(token, &keyspace.replication);
            nodes.into_iter().map(|node| format!("/{}:{STORAGE_PORT}", ring.address(node))).collect()
        };
        let tokens = keyspace.into_iter().flat_map(|keyspace| ring.tokens.keys().map(move |token| (*token, keyspace)));
        describe.answer(&ClusterFacts {
            name: self.config.cluster_name.clone(),
            range_ownership: tokens.map(|(token, keyspace)| (token.0.to_string(), replicas(token, keyspace))).collect(),
        })
    }

    /// Answers a request that has ended.
    pub(super) fn finish(
        &mut self,
        now: Now,
        pending: Pending,
        outcome: Result<Answer, ServerError>,
        warnings: Vec<String>,
        outputs: &mut Vec<Output>,
    ) {
        let Pending { ticket, format, trace } = pending;
        let message = match outcome {
            Ok(Answer::Void) => ResponseMessage::Void,
            Ok(Answer::Rows(rows)) => ResponseMessage::Rows(format.rows(rows, ticket.version)),
            Ok(Answer::SetKeyspace(keyspace)) => {
                if let Some(state) = self.clients.get_mut(&ticket.client) {
                    state.keyspace = Some(keyspace.clone());
                }
                ResponseMessage::SetKeyspace(keyspace)
            }
            Ok(Answer::SchemaChange(event)) => ResponseMessage::SchemaChange(event),
            Err(error) => ResponseMessage::Error(error),
        };
        let tracing_id = trace.as_ref().map(|trace| trace.id);
        let envelope = ResponseEnvelope { tracing_id, warnings, payload: None };
        self.respond(&ticket, message, envelope, outputs);
        if let Some(mut trace) = trace {
            trace.note(now, "Request complete");
            self.store_trace(now, &trace, outputs);
        }
    }
}

impl RowsFormat {
    /// Decides what is said about the columns.
    fn rows(&self, rows: ResultRows, version: u8) -> RowsMessage {
        let Some(entry) = &self.entry else {
            return RowsMessage { rows, skip_metadata: self.skip_metadata, new_metadata_id: None };
        };
        // The columns of a conditional statement depend on its outcome: they are always told, never "changed".
        let Some(prepared_columns) = &entry.prepared.result_columns else {
            return RowsMessage { rows, skip_metadata: false, new_metadata_id: None };
        };
        let is_as_prepared = Arc::ptr_eq(prepared_columns, &rows.columns) || *prepared_columns == rows.columns;
        let mut new_metadata_id = None;
        if version >= 5 && is_as_prepared {
            let id = &entry.result_metadata_id;
            new_metadata_id = (self.known_metadata_id.as_ref() != Some(id)).then(|| id.clone());
        } else if version >= 5 {
            let id = result_metadata_id(Some(&rows.columns));
            new_metadata_id = (self.known_metadata_id.as_ref() != Some(&id)).then_some(id);
        }
        RowsMessage { rows, skip_metadata: self.skip_metadata && is_as_prepared, new_metadata_id }
    }
}

/// Whether each node has a keyspace for itself.
pub(super) fn is_local(schema: &Schema, keyspace: &str) -> bool {
    schema.keyspaces.get(keyspace).is_some_and(|keyspace| {
        keyspace.is_virtual || keyspace.replication.get("class").is_some_and(|class| class.ends_with("LocalStrategy"))
    })
}

/// Values in the order of the markers. A name that no marker has is ignored, and a marker without a value makes the
/// number of values wrong, which binding refuses.
fn bound_values(prepared: &Prepared, values: &WireValues) -> Vec<Bound> {
    match values {
        WireValues::Positional(values) => values.iter().cloned().map(bound_value).collect(),
        WireValues::Named(named) => prepared
            .markers
            .iter()
            .filter_map(|marker| named.iter().find(|(name, _)| *name == marker.name))
            .map(|(_, value)| bound_value(value.clone()))
            .collect(),
    }
}

fn bound_value(value: WireValue) -> Bound {
    match value {
        WireValue::Value(value) => Bound::Value(value),
        WireValue::Unset => Bound::Unset,
    }
}

fn trace_parameters(parameters: &Parameters, text: &str) -> BTreeMap<String, String> {
    let mut told: BTreeMap<String, String> =
        [("consistency_level".to_owned(), parameters.consistency.name().to_owned())].into();
    let serial = parameters.serial_consistency.unwrap_or(Consistency::Serial);
    told.insert("serial_consistency_level".into(), serial.name().into());
    if let Some(size) = parameters.page_size {
        told.insert("page_size".into(), size.to_string());
    }
    if !text.is_empty() {
        told.insert("query".into(), text.to_owned());
    }
    told
}

fn use_warning(keyspace: &str, id: &[u8; 16]) -> String {
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "`USE <keyspace>` with prepared statements is considered to be an anti-pattern due to ambiguity in \
         non-qualified table names. Please consider removing instances of `Session#setKeyspace(<keyspace>)`, \
         `Session#execute(\"USE <keyspace>\")` and `cluster.newSession(<keyspace>)` from your code, and always use \
         fully qualified table names (e.g. <keyspace>.<table>). Keyspace used: {keyspace}, statement keyspace: \
         {keyspace}, statement id: {id}"
    )
}
