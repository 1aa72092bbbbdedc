//! What the cluster recorded about one request.
//!
//! # Source
//!
//! The tables `sessions` and `events` of the keyspace `system_traces`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use uuid::Uuid;

use super::handle::Session;
use crate::env::{Instant, sleep};
use crate::execution::{Error, ErrorKind, Result};
use crate::protocol::Consistency;

/// The trace of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryTrace {
    /// Its id, see `QueryResult::tracing_id`.
    pub id: Uuid,
    /// Kind of the request, such as `Execute CQL3 query`.
    pub request: String,
    /// The node that coordinated it.
    pub coordinator: Option<IpAddr>,
    /// The client as the coordinator saw it.
    pub client: Option<IpAddr>,
    /// What the coordinator noted about the request, such as its text and consistency level.
    pub parameters: BTreeMap<String, String>,
    /// When it began, in milliseconds since 1970.
    pub started_at_millis: Option<i64>,
    /// How long the coordinator needed.
    pub duration: Duration,
    /// What happened, in the order of the events' ids.
    pub events: Vec<TraceEvent>,
}

/// One step of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceEvent {
    /// What happened.
    pub activity: String,
    /// The node it happened on.
    pub source: Option<IpAddr>,
    /// Time since the node began to work on the request.
    pub source_elapsed: Option<Duration>,
    /// The thread it happened in.
    pub thread: Option<String>,
}

type SessionRow = (
    Option<String>,
    Option<IpAddr>,
    Option<IpAddr>,
    Option<BTreeMap<String, String>>,
    Option<crate::value::CqlTimestamp>,
    Option<i32>,
);
type EventRow = (Option<String>, Option<IpAddr>, Option<i32>, Option<String>);

impl Session {
    /// Reads the trace of a request that was made with `Query::tracing`.
    ///
    /// The cluster writes traces after it has answered, so this asks again, at growing intervals, for two seconds or
    /// until the trace is complete.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TraceIncomplete`] if the trace is not there, or not complete, by then; those of a query.
    pub async fn query_trace(&self, id: Uuid) -> Result<QueryTrace> {
        let until = Instant::now() + TRACE_LIMIT;
        let mut pause = FIRST_PAUSE;
        let (request, coordinator, client, parameters, started_at, duration) = loop {
            if let Some(row) = self.trace_session(id).await? {
                break row;
            }
            if Instant::now() + pause >= until {
                return Err(Error::not_sent(ErrorKind::TraceIncomplete(id)));
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        };
        let text = format!(
            "SELECT activity, source, source_elapsed, thread FROM system_traces.events WHERE session_id = {id}"
        );
        let events: Vec<EventRow> = self.query(text).consistency(Consistency::One).idempotent(true).all().await?;
        Ok(QueryTrace {
            id,
            request: request.unwrap_or_default(),
            coordinator,
            client,
            parameters: parameters.unwrap_or_default(),
            started_at_millis: started_at.map(|at| at.0),
            duration: micros(duration.unwrap_or_default()),
            events: events
                .into_iter()
                .map(|(activity, source, elapsed, thread)| TraceEvent {
                    activity: activity.unwrap_or_default(),
                    source,
                    source_elapsed: elapsed.map(micros),
                    thread,
                })
                .collect(),
        })
    }

    /// The row of the trace, once the coordinator has written the duration, which it does last.
    async fn trace_session(&self, id: Uuid) -> Result<Option<SessionRow>> {
        let text = format!(
            "SELECT request, coordinator, client, parameters, started_at, duration FROM system_traces.sessions \
             WHERE session_id = {id}"
        );
        let query = self.query(text).consistency(Consistency::One).idempotent(true);
        let row: Option<SessionRow> = query.optional().await?;
        Ok(row.filter(|row| row.5.is_some()))
    }
}

fn micros(micros: i32) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

const TRACE_LIMIT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(3);
const PAUSE_MAX: Duration = Duration::from_millis(200);
