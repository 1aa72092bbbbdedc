//! Traces that clients ask for: `system_traces.sessions` and `system_traces.events`.
//!
//! The rows are written as Cassandra writes them, through the coordinator at consistency ANY, when the request has
//! ended; clients poll for them. All that is in them happened.

use super::Node;
use super::message::Output;
use super::system_tables::{STORAGE_PORT, bigint, inet, int, row, text, text_map, uuid};
use crate::coordinator::{Request, RequestId};
use crate::cql::{Action, WriteKind, WritePlan};
use crate::kernel::{Now, SimInstant};
use crate::protocol::Consistency;
use crate::storage::Mutation;
use std::collections::BTreeMap;
use std::net::IpAddr;
use uuid::Uuid;

/// What is noted while a traced request runs.
#[derive(Debug)]
pub(super) struct Trace {
    /// The session's id, told to the client.
    pub(super) id: Uuid,
    started: Now,
    client: IpAddr,
    command: &'static str,
    parameters: BTreeMap<String, String>,
    events: Vec<(SimInstant, String)>,
}

impl Trace {
    /// Notes something that happened.
    pub(super) fn note(&mut self, now: Now, activity: impl Into<String>) {
        self.events.push((now.at, activity.into()));
    }
}

impl Node {
    /// Begins a trace of a request.
    pub(super) fn begin_trace(
        &mut self,
        now: Now,
        client: IpAddr,
        command: &'static str,
        parameters: BTreeMap<String, String>,
    ) -> Trace {
        let id = self.time_uuid(now.unix_micros);
        Trace { id, started: now, client, command, parameters, events: Vec::new() }
    }

    /// Writes the rows of a finished trace.
    pub(super) fn store_trace(&mut self, now: Now, trace: &Trace, outputs: &mut Vec<Output>) {
        let Some(sessions) = self.tables.system.table("system_traces", "sessions") else { return };
        let Some(events) = self.tables.system.table("system_traces", "events") else { return };
        let micros = |at: SimInstant| i32::try_from(at.since(trace.started.at).as_micros()).unwrap_or(i32::MAX);
        let me = self.config.address.ip();
        let timestamp = self.timestamps.next_local(now);
        let session = [
            ("session_id", uuid(trace.id)),
            ("client", inet(trace.client)),
            ("command", text(trace.command)),
            ("coordinator", inet(me)),
            ("coordinator_port", int(STORAGE_PORT)),
            ("duration", int(micros(now.at).max(1))),
            ("parameters", text_map(&trace.parameters)),
            (
                "request",
                text(if trace.command == "QUERY" { "Execute CQL3 query" } else { "Execute CQL3 prepared query" }),
            ),
            ("started_at", bigint(trace.started.unix_micros.div_euclid(1000))),
        ];
        let mut mutations = Vec::new();
        for (index, (at, activity)) in trace.events.iter().enumerate() {
            let elapsed = micros(*at);
            // Clients read the events in the order of their ids.
            let moment = trace.started.unix_micros + i64::from(elapsed) + i64::try_from(index).unwrap_or(0);
            let cells = [
                ("session_id", uuid(trace.id)),
                ("event_id", uuid(self.time_uuid(moment))),
                ("activity", text(activity)),
                ("source", inet(me)),
                ("source_port", int(STORAGE_PORT)),
                ("source_elapsed", int(elapsed)),
                ("thread", text("Native-Transport-Requests-1")),
            ];
            mutations.push(row(events, timestamp, &cells));
        }
        // The session comes last: clients wait for its duration and then read the events once.
        mutations.push(row(sessions, timestamp, &session));
        for mutation in mutations {
            self.write_internally(now, mutation, outputs);
        }
    }

    /// Writes something of the node's own through the coordinator; nobody waits for the outcome.
    fn write_internally(&mut self, now: Now, mutation: Mutation, outputs: &mut Vec<Output>) {
        let plan =
            WritePlan { mutations: vec![mutation], kind: WriteKind::Simple, is_batch: false, warnings: Vec::new() };
        let request = Request {
            id: self.new_request_id(),
            action: Action::Write(plan),
            consistency: Consistency::Any,
            serial_consistency: Consistency::Serial,
            protocol_version: self.config.protocol_version_max,
        };
        self.coordinate(now, outputs, |coordinator, context, effects| {
            coordinator.handle_request(context, request, effects);
        });
    }

    /// The id of a request, never used before.
    pub(super) fn new_request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// A time-based UUID of a moment in microseconds since 1970.
    fn time_uuid(&mut self, unix_micros: i64) -> Uuid {
        // 100 ns units between 1582-10-15 and 1970-01-01. The lowest digit is drawn, so that ids of one microsecond
        // differ; the clock sequence and node part are drawn too.
        const GREGORIAN_TO_UNIX: u64 = 0x01b2_1dd2_1381_4000;
        let random = self.dice.next_u64();
        let ticks = u64::try_from(unix_micros).unwrap_or(0) * 10 + GREGORIAN_TO_UNIX + random % 10;
        let ticks = ticks.to_be_bytes();
        let mut bytes = self.dice.next_u64().to_be_bytes();
        bytes[0] = bytes[0] & 0x3f | 0x80;
        let [h0, h1, m0, m1, l0, l1, l2, l3] = ticks;
        let [c0, c1, n0, n1, n2, n3, n4, n5] = bytes;
        Uuid::from_bytes([l0, l1, l2, l3, m0, m1, h0 & 0x0f | 0x10, h1, c0, c1, n0 | 1, n1, n2, n3, n4, n5])
    }
}
