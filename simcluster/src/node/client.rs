//! One client's connection: handshake, authentication, registration, and the way of requests to their execution.
//!
//! # Invariants
//!
//! - Before STARTUP only STARTUP and OPTIONS are taken; while authenticating only AUTH_RESPONSE.
//! - In v5 the reply to STARTUP is sent as the request came, and segments begin behind it, both ways. Before v5 the
//!   reply is compressed already, as Cassandra does it.
//! - Every request envelope is answered once, whatever is in it.
//!
//! # Source
//!
//! Cassandra's `InitialConnectionHandler` and `ServerConnection`; texts are theirs.

use super::Node;
use super::auth::{PASSWORD_AUTHENTICATOR, authenticate};
use super::config::ReleaseLine;
use super::message::{Asked, ClientId, ClientOutput, NodeStatus, Observation, Output};
use super::misbehaviour::{Spoil, is_malformed};
use crate::kernel::Now;
use crate::protocol::{
    Codec, Compression, Envelope, Incoming, Parameters, Payload, RequestMessage, ResponseEnvelope, ResponseMessage,
    ServerError, decode_request, encode_response, flag, opcode, request_name, supported_versions,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing but OPTIONS has been asked.
    Established,
    /// AUTHENTICATE was answered.
    Authenticating,
    /// Requests are served.
    Ready,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) codec: Codec,
    /// Where the client sits.
    pub(super) from: SocketAddr,
    pub(super) stage: Stage,
    /// What USE said, unquoted.
    pub(super) keyspace: Option<String>,
    /// Whether it was warned that prepared statements and USE go badly together: once is enough.
    pub(super) was_warned_of_use: bool,
    /// The event types it registered for.
    pub(super) events: BTreeSet<&'static str>,
    /// How many answers are owed on each stream; a client that follows the protocol never owes itself two.
    pub(super) busy: BTreeMap<i16, u32>,
    /// Whether it asked to be refused when its address has too many bytes of requests in hand.
    pub(super) throws_on_overload: bool,
    /// Bytes of its requests that are not answered yet.
    pub(super) in_flight_bytes: u64,
    /// What is to happen to the next answer.
    pub(super) spoils: Option<Spoil>,
}

/// Whom an answer is for.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) client: ClientId,
    pub(super) stream: i16,
    pub(super) version: u8,
    /// Length of the request's body.
    pub(super) body_bytes: u64,
    /// What its client is warned of, whatever the answer is.
    pub(super) warning: Option<String>,
    /// The `nonce` of the request's payload, for ledgers.
    pub(super) nonce: Option<Bytes>,
    /// The request's payload, if it is to be echoed.
    pub(super) payload: Option<Payload>,
    /// Whether the client wants the request traced.
    pub(super) wants_trace: bool,
}

/// The event types of REGISTER.
const EVENT_TYPES: [&str; 3] = ["TOPOLOGY_CHANGE", "STATUS_CHANGE", "SCHEMA_CHANGE"];

impl Node {
    pub(super) fn handle_client_opened(&mut self, client: ClientId, from: SocketAddr, outputs: &mut Vec<Output>) {
        if self.members.status == NodeStatus::Left {
            outputs.push(Output::CloseClient { client });
            return;
        }
        let client_state = Client {
            codec: Codec::new(self.config.protocol_version_max),
            from,
            stage: Stage::Established,
            keyspace: None,
            was_warned_of_use: false,
            events: BTreeSet::new(),
            busy: BTreeMap::new(),
            throws_on_overload: false,
            in_flight_bytes: 0,
            spoils: None,
        };
        self.clients.insert(client, client_state);
    }

    pub(super) fn handle_client_bytes(&mut self, now: Now, client: ClientId, bytes: &[u8], outputs: &mut Vec<Output>) {
        let Some(state) = self.clients.get_mut(&client) else { return };
        state.codec.push(bytes);
        // The connection is looked up again for every envelope: handling one may close it or change its framing.
        while let Some(incoming) = self.clients.get_mut(&client).and_then(|state| state.codec.next()) {
            match incoming {
                Incoming::Envelope(envelope) => self.handle_envelope(now, client, &envelope, outputs),
                Incoming::Rejection(rejection) => {
                    let Some(state) = self.clients.get(&client) else { return };
                    let bytes = state.codec.encode_rejection(&rejection);
                    let stream = rejection.stream;
                    outputs.push(violation(client, rejection.message));
                    outputs.push(Output::ToClient { client, kind: ClientOutput::Response { stream }, bytes });
                    let error = Some(0x000A);
                    let observation =
                        Observation::Response { client, stream, opcode: opcode::ERROR, error, nonce: None };
                    outputs.push(Output::Observed(observation));
                    if rejection.is_fatal {
                        self.clients.remove(&client);
                        outputs.push(Output::CloseClient { client });
                    }
                }
            }
        }
    }

    fn handle_envelope(&mut self, now: Now, client: ClientId, envelope: &Envelope, outputs: &mut Vec<Output>) {
        let Some(state) = self.clients.get_mut(&client) else { return };
        let stream = envelope.stream;
        let owed = state.busy.entry(stream).or_insert(0);
        let stream_was_busy = *owed > 0;
        *owed += 1;
        let decoded = decode_request(envelope);
        let payload = decoded.as_ref().ok().and_then(|request| request.payload.as_ref());
        let nonce = payload.and_then(|payload| payload.get("nonce").cloned().flatten());
        let opcode = envelope.opcode;
        let asked = decoded.as_ref().ok().and_then(|request| asked(&request.message));
        let observation = Observation::Request { client, stream, opcode, nonce: nonce.clone(), stream_was_busy, asked };
        outputs.push(Output::Observed(observation));
        if stream < 0 {
            outputs.push(violation(client, format!("Request on stream {stream}: negative ids are the server's")));
        }
        let mut ticket = Ticket {
            client,
            stream,
            version: envelope.version,
            body_bytes: envelope.body.len() as u64,
            warning: None,
            nonce,
            payload: payload.filter(|_| self.config.mirror_custom_payload).cloned(),
            wants_trace: envelope.flags & flag::TRACING != 0,
        };
        if let Some(error) = self.take_in_hand(&mut ticket) {
            return self.respond(&ticket, ResponseMessage::Error(error), ResponseEnvelope::default(), outputs);
        }
        let request = match decoded {
            Ok(request) => request,
            Err(error) => return self.refuse(&ticket, error.to_string(), outputs),
        };
        if request.trailing > 0 {
            let name = request_name(opcode).unwrap_or("request");
            outputs.push(violation(client, format!("{} bytes behind the body of {name}", request.trailing)));
        }
        if let Some(text) = self.stage_refusal(client, opcode) {
            return self.refuse(&ticket, text, outputs);
        }
        match request.message {
            RequestMessage::Startup(options) => self.handle_startup(&ticket, &options, outputs),
            RequestMessage::Options => {
                let supported = ResponseMessage::Supported(self.supported());
                self.respond(&ticket, supported, ResponseEnvelope::default(), outputs);
            }
            RequestMessage::AuthResponse(token) => self.handle_auth_response(&ticket, token, outputs),
            RequestMessage::Register(types) => self.handle_register(&ticket, &types, outputs),
            statement => self.handle_statement(now, ticket, statement, outputs),
        }
    }

    /// Why a request may not come at this stage of its connection.
    fn stage_refusal(&self, client: ClientId, opcode: u8) -> Option<String> {
        let name = request_name(opcode)?;
        match (self.clients.get(&client)?.stage, opcode) {
            (Stage::Established, opcode::STARTUP | opcode::OPTIONS)
            | (Stage::Authenticating, opcode::AUTH_RESPONSE) => None,
            (Stage::Established, _) => Some(format!("Unexpected message {name}, expecting STARTUP or OPTIONS")),
            (Stage::Authenticating, _) => Some(format!("Unexpected message {name}, expecting SASL_RESPONSE")),
            (Stage::Ready, opcode::STARTUP) => {
                Some("Unexpected message STARTUP, the connection is already initialized".into())
            }
            (Stage::Ready, opcode::AUTH_RESPONSE) => {
                Some("Unexpected message AUTH_RESPONSE, the connection needs no authentication".into())
            }
            (Stage::Ready, _) => None,
        }
    }

    fn supported(&self) -> Vec<(&'static str, Vec<String>)> {
        let cql_version = ReleaseLine::of(&self.config.release).cql_version();
        // In the order of the recorded bytes.
        vec![
            ("PROTOCOL_VERSIONS", supported_versions(self.config.protocol_version_max)),
            ("COMPRESSION", vec!["snappy".into(), "lz4".into()]),
            ("CQL_VERSION", vec![cql_version.into()]),
        ]
    }

    fn handle_startup(&mut self, ticket: &Ticket, options: &BTreeMap<String, String>, outputs: &mut Vec<Output>) {
        let compression = match startup_compression(options, ticket.version) {
            Ok(compression) => compression,
            Err(text) => return self.refuse(ticket, text, outputs),
        };
        let (stage, reply) = if self.config.users.is_some() {
            (Stage::Authenticating, ResponseMessage::Authenticate(PASSWORD_AUTHENTICATOR))
        } else {
            (Stage::Ready, ResponseMessage::Ready)
        };
        let start = |node: &mut Self| {
            if let Some(state) = node.clients.get_mut(&ticket.client) {
                state.stage = stage;
                state.throws_on_overload = options.get("THROW_ON_OVERLOAD").is_some_and(|value| value == "1");
                state.codec.start(compression);
            }
        };
        if ticket.version < 5 {
            start(self);
            self.respond(ticket, reply, ResponseEnvelope::default(), outputs);
        } else {
            self.respond(ticket, reply, ResponseEnvelope::default(), outputs);
            start(self);
        }
    }

    fn handle_auth_response(&mut self, ticket: &Ticket, token: Option<Bytes>, outputs: &mut Vec<Output>) {
        let users = self.config.users.as_deref().unwrap_or_default();
        let reply = match authenticate(users, &token.unwrap_or_default()) {
            Ok(user) if self.rejects_logins => {
                let text = format!("Provided username {user} and/or password are incorrect");
                ResponseMessage::Error(ServerError::BadCredentials(text))
            }
            Ok(_) => {
                if let Some(state) = self.clients.get_mut(&ticket.client) {
                    state.stage = Stage::Ready;
                }
                ResponseMessage::AuthSuccess(None)
            }
            Err(error) => ResponseMessage::Error(error),
        };
        self.respond(ticket, reply, ResponseEnvelope::default(), outputs);
    }

    fn handle_register(&mut self, ticket: &Ticket, types: &[String], outputs: &mut Vec<Output>) {
        let mut known = BTreeSet::new();
        for name in types {
            match EVENT_TYPES.iter().find(|known| name.eq_ignore_ascii_case(known)) {
                Some(event_type) => known.insert(*event_type),
                None => return self.refuse(ticket, format!("Invalid value '{name}' for Type"), outputs),
            };
        }
        if let Some(state) = self.clients.get_mut(&ticket.client) {
            state.events.extend(known);
        }
        outputs.push(Output::Observed(Observation::Registered { client: ticket.client }));
        self.respond(ticket, ResponseMessage::Ready, ResponseEnvelope::default(), outputs);
    }

    /// Answers with a protocol error, and notes the violation.
    fn refuse(&mut self, ticket: &Ticket, text: String, outputs: &mut Vec<Output>) {
        outputs.push(violation(ticket.client, text.clone()));
        let error = ResponseMessage::Error(ServerError::Protocol(text));
        self.respond(ticket, error, ResponseEnvelope::default(), outputs);
    }

    /// Sends the answer to a request, if its connection still exists.
    pub(super) fn respond(
        &mut self,
        ticket: &Ticket,
        message: ResponseMessage,
        mut envelope: ResponseEnvelope,
        outputs: &mut Vec<Output>,
    ) {
        let (client, stream) = (ticket.client, ticket.stream);
        let Some(state) = self.clients.get_mut(&client) else { return };
        if let Some(owed) = state.busy.get_mut(&stream) {
            *owed -= 1;
            if *owed == 0 {
                state.busy.remove(&stream);
            }
        }
        state.in_flight_bytes = state.in_flight_bytes.saturating_sub(ticket.body_bytes);
        envelope.payload.clone_from(&ticket.payload);
        envelope.warnings.extend(ticket.warning.clone());
        let message = match message {
            ResponseMessage::Error(error) => ResponseMessage::Error(error.downgraded(ticket.version)),
            other => other,
        };
        let spoils = state.spoils.take();
        let stream = match spoils {
            // The highest free id: the client can hardly have used it.
            Some(Spoil::Misdirect) => (0..=i16::MAX).rev().find(|id| !state.busy.contains_key(id)).unwrap_or(stream),
            _ => stream,
        };
        let mut bytes = encode_response(&state.codec, stream, &message, &envelope);
        if spoils == Some(Spoil::Corrupt) {
            bytes = flip_bit(&bytes, self.dice.next_u64());
        }
        if spoils.is_some() {
            outputs.push(Output::Observed(Observation::Spoiled { client }));
        }
        if is_malformed(&message) {
            outputs.push(Output::Observed(Observation::Malformed { client }));
        }
        let error = if let ResponseMessage::Error(error) = &message { Some(error.code()) } else { None };
        let (opcode, nonce) = (message.opcode(), ticket.nonce.clone());
        outputs.push(Output::Observed(Observation::Response { client, stream, opcode, error, nonce }));
        outputs.push(Output::ToClient { client, kind: ClientOutput::Response { stream }, bytes });
    }
}

/// What a statement's request asks for beside the statement.
fn asked(message: &RequestMessage) -> Option<Asked> {
    let (RequestMessage::Query { parameters, .. }
    | RequestMessage::Execute { parameters, .. }
    | RequestMessage::Batch { parameters, .. }) = message
    else {
        return None;
    };
    let Parameters { consistency, serial_consistency, timestamp, .. } = *parameters;
    Some(Asked { consistency, serial_consistency, timestamp })
}

/// The bytes with one bit, chosen by `random`, the other way round.
fn flip_bit(bytes: &Bytes, random: u64) -> Bytes {
    let mut flipped = bytes.to_vec();
    let bits = (flipped.len() as u64 * 8).max(1);
    let bit = usize::try_from(random % bits).unwrap_or(0);
    if let Some(byte) = flipped.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
    flipped.into()
}

fn violation(client: ClientId, reason: String) -> Output {
    Output::Observed(Observation::ProtocolViolation { client, reason })
}

/// Checks the options of STARTUP; answers the compression they ask for.
fn startup_compression(options: &BTreeMap<String, String>, version: u8) -> Result<Option<Compression>, String> {
    let Some(cql_version) = options.get("CQL_VERSION") else {
        return Err("Missing value CQL_VERSION in STARTUP message".into());
    };
    let mut numbers = cql_version.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (2, 99) => {}
        (Some(Ok(_)), Some(Ok(_))) => {
            return Err(format!(
                "CQL version {cql_version} is not supported by the binary protocol (supported version are >= 3.0.0)"
            ));
        }
        _ => return Err(format!("Invalid version value: {cql_version}")),
    }
    match options.get("COMPRESSION").map(|name| name.to_lowercase()).as_deref() {
        None => Ok(None),
        Some("lz4") => Ok(Some(Compression::Lz4)),
        Some("snappy") if version >= 5 => Err("Snappy compression is not supported in protocol V5".into()),
        Some("snappy") => Ok(Some(Compression::Snappy)),
        Some(other) => Err(format!("Unknown compression algorithm: {other}")),
    }
}
