//! The steps that make a connection usable, without performing them.
//!
//! OPTIONS if compression is wanted, STARTUP, authentication if asked for, the names of cluster and node, the keyspace.
//! The caller sends what [`Handshake`] says and hands in the answers.
//!
//! # Source
//!
//! Native protocol v5, section 4.1; since v5 segments begin right after the first answer to
//! STARTUP, whether READY or AUTHENTICATE.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::ConnectError;
use super::authenticator::AuthExchange;
use super::config::ConnectionConfig;
use super::inbound::Received;
use crate::protocol::compression::Compression;
use crate::protocol::frame::SegmentFormat;
use crate::protocol::request::{AuthResponse, EncodeRequest, EnvelopeOptions, Options, Parameters, Query, Startup};
use crate::protocol::response::{Message, ResultBody, Rows, ServerError, ServerErrorKind};
use crate::protocol::{Consistency, DecodeError, Opcode, ProtocolVersion};
use crate::value::{CqlRow, RowIterator};

/// What was learned while connecting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Name of the node's cluster.
    pub cluster_name: String,
    /// Identity of the node, if it has one yet.
    pub host_id: Option<Uuid>,
    /// Options the node supports, such as `COMPRESSION` and `PROTOCOL_VERSIONS`; empty if no compression was wanted,
    /// since nothing else depends on them and nobody asks.
    pub supported: BTreeMap<String, Vec<String>>,
    /// Compression agreed on.
    pub compression: Option<Compression>,
}

/// Where the handshake stands.
pub(super) struct Handshake<'c> {
    config: &'c ConnectionConfig,
    stage: Stage,
    exchange: Option<Box<dyn AuthExchange>>,
    info: ConnectionInfo,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Options,
    Startup,
    Authentication,
    ClusterName,
    Keyspace,
}

/// What comes next.
pub(super) enum Step {
    /// Send this request. Segments are on from here if the protocol has them.
    Send(Vec<u8>),
    /// The connection is usable.
    Done(ConnectionInfo),
}

const DRIVER_NAME: &str = "Helenus Rust driver";
const DRIVER_VERSION: &str = env!("CARGO_PKG_VERSION");

impl<'c> Handshake<'c> {
    pub(super) fn new(config: &'c ConnectionConfig) -> Self {
        let stage = if config.compression.is_some() { Stage::Options } else { Stage::Startup };
        Self { config, stage, exchange: None, info: ConnectionInfo::default() }
    }

    /// The request to start with.
    pub(super) fn first_request(&self) -> Result<Vec<u8>, ConnectError> {
        match self.stage {
            Stage::Options => self.encode(&Options),
            _ => self.encode(&Startup { options: &self.startup_options() }),
        }
    }

    /// Whether the first answer to STARTUP arrived, which switches segments on.
    pub(super) fn is_started(&self) -> bool {
        !matches!(self.stage, Stage::Options | Stage::Startup)
    }

    /// Compression agreed on; none before STARTUP is sent.
    pub(super) fn compression(&self) -> Option<Compression> {
        self.info.compression
    }

    /// Format of segments, if the version has them.
    pub(super) fn segment_format(&self) -> Option<SegmentFormat> {
        (self.config.protocol_version >= ProtocolVersion::V5).then_some(match self.info.compression {
            Some(Compression::Lz4) => SegmentFormat::Lz4,
            _ => SegmentFormat::Plain,
        })
    }

    /// Takes an answer and says what comes next.
    ///
    /// # Errors
    ///
    /// The connection cannot be used; close it.
    pub(super) fn handle_answer(&mut self, received: &Received) -> Result<Step, ConnectError> {
        let version = received.header.version;
        if received.header.stream != 0 {
            return Err(ConnectError::UnexpectedAnswer("another request"));
        }
        let foreign_version = version != self.config.protocol_version.number();
        if foreign_version && received.header.opcode != Opcode::Error {
            return Err(self.explained(DecodeError::UnexpectedVersion(version).into()));
        }
        let message = received.response.clone().decode()?.message;
        if let Message::Error(error) = message {
            return Err(self.refusal(*error, version, foreign_version));
        }
        match self.stage {
            Stage::Options => self.handle_supported(message),
            Stage::Startup => self.handle_startup_answer(message),
            Stage::Authentication => self.handle_token(message),
            Stage::ClusterName => self.handle_cluster_name(message),
            Stage::Keyspace => match message {
                Message::Result(ResultBody::SetKeyspace(_)) => Ok(self.done()),
                _ => Err(ConnectError::UnexpectedAnswer("USE")),
            },
        }
    }

    /// An answer in another version than asked for, before anything was agreed on, says which version to try: the
    /// framing of v1 and v2 is another one and cannot be read, their number can.
    pub(super) fn explained(&self, error: ConnectError) -> ConnectError {
        match error {
            ConnectError::Protocol(DecodeError::UnexpectedVersion(answered)) if !self.is_started() => {
                let message = format!("it answers in protocol v{answered}");
                ConnectError::UnsupportedVersion { requested: self.config.protocol_version, answered, message }
            }
            other => other,
        }
    }

    fn refusal(&self, error: ServerError, answered: u8, foreign_version: bool) -> ConnectError {
        if !self.is_started() && (foreign_version || is_about_the_version(&error)) {
            let requested = self.config.protocol_version;
            return ConnectError::UnsupportedVersion { requested, answered, message: error.message };
        }
        match (self.stage, &self.config.keyspace) {
            (Stage::Authentication, _) => ConnectError::AuthenticationFailed(error.message),
            (Stage::Keyspace, Some(keyspace)) => ConnectError::Keyspace { keyspace: keyspace.clone(), error },
            _ => ConnectError::Refused(error),
        }
    }

    fn handle_supported(&mut self, message: Message) -> Result<Step, ConnectError> {
        let Message::Supported(supported) = message else {
            return Err(ConnectError::UnexpectedAnswer("OPTIONS"));
        };
        let offered = supported.get("COMPRESSION").map(Vec::as_slice).unwrap_or_default();
        self.info.compression = self.config.compression.filter(|wanted| {
            let in_version = *wanted != Compression::Snappy || self.config.protocol_version < ProtocolVersion::V5;
            in_version && offered.iter().any(|name| name.eq_ignore_ascii_case(wanted.name()))
        });
        self.info.supported = supported;
        self.stage = Stage::Startup;
        self.send(&Startup { options: &self.startup_options() })
    }

    fn startup_options(&self) -> Vec<(&str, &str)> {
        let mut options =
            vec![("CQL_VERSION", "3.0.0"), ("DRIVER_NAME", DRIVER_NAME), ("DRIVER_VERSION", DRIVER_VERSION)];
        options.extend(self.info.compression.map(|wanted| ("COMPRESSION", wanted.name())));
        options.extend(self.config.application_name.as_deref().map(|name| ("APPLICATION_NAME", name)));
        options.extend(self.config.throw_on_overload.then_some(("THROW_ON_OVERLOAD", "1")));
        options
    }

    fn handle_startup_answer(&mut self, message: Message) -> Result<Step, ConnectError> {
        match message {
            Message::Ready => self.ask_cluster_name(),
            Message::Authenticate(class) => {
                self.stage = Stage::Authentication;
                let Some(authenticator) = &self.config.authenticator else {
                    return Err(ConnectError::CredentialsRequired { authenticator: class });
                };
                let exchange = authenticator.start(&class, self.config.address);
                let mut exchange = exchange.map_err(ConnectError::AuthenticationFailed)?;
                let token = exchange.initial_token();
                self.exchange = Some(exchange);
                self.send(&AuthResponse { token: &token })
            }
            _ => Err(ConnectError::UnexpectedAnswer("STARTUP")),
        }
    }

    fn handle_token(&mut self, message: Message) -> Result<Step, ConnectError> {
        match (message, &mut self.exchange) {
            (Message::AuthSuccess(token), Some(exchange)) => {
                exchange.finish(token.as_deref()).map_err(ConnectError::AuthenticationFailed)?;
                self.ask_cluster_name()
            }
            (Message::AuthChallenge(challenge), Some(exchange)) => {
                let answer = exchange.answer(&challenge.unwrap_or_default());
                let token = answer.map_err(ConnectError::AuthenticationFailed)?;
                self.send(&AuthResponse { token: &token })
            }
            _ => Err(ConnectError::UnexpectedAnswer("AUTH_RESPONSE")),
        }
    }

    fn ask_cluster_name(&mut self) -> Result<Step, ConnectError> {
        self.stage = Stage::ClusterName;
        self.send_query("SELECT cluster_name, host_id FROM system.local")
    }

    fn handle_cluster_name(&mut self, message: Message) -> Result<Step, ConnectError> {
        let Message::Result(ResultBody::Rows(rows)) = message else {
            return Err(ConnectError::UnexpectedAnswer("the query for the cluster's name"));
        };
        let row = first_row(&rows).ok_or(ConnectError::UnexpectedAnswer("the query for the cluster's name"))?;
        let got: String = row.get("cluster_name").unwrap_or_default();
        if let Some(expected) = self.config.cluster_name.as_ref().filter(|expected| **expected != got) {
            return Err(ConnectError::WrongCluster { expected: expected.clone(), got });
        }
        self.info.cluster_name = got;
        self.info.host_id = row.get::<Option<Uuid>>("host_id").ok().flatten();
        if let (Some(expected), Some(got)) = (self.config.host_id, self.info.host_id)
            && expected != got
        {
            return Err(ConnectError::WrongNode { expected, got });
        }
        let Some(keyspace) = &self.config.keyspace else { return Ok(self.done()) };
        self.stage = Stage::Keyspace;
        self.send_query(&format!("USE {}", quoted(keyspace)))
    }

    fn done(&self) -> Step {
        Step::Done(self.info.clone())
    }

    fn send_query(&self, text: &str) -> Result<Step, ConnectError> {
        let parameters = Parameters { consistency: Consistency::One, ..Parameters::default() };
        self.send(&Query { text, parameters, options: EnvelopeOptions::default() })
    }

    fn send(&self, request: &impl EncodeRequest) -> Result<Step, ConnectError> {
        self.encode(request).map(Step::Send)
    }

    fn encode(&self, request: &impl EncodeRequest) -> Result<Vec<u8>, ConnectError> {
        let mut out = Vec::new();
        request.encode(self.config.protocol_version, 0, &mut out).map_err(ConnectError::Encode)?;
        Ok(out)
    }
}

/// Whether an error says that the version is not spoken. There is no code for it.
fn is_about_the_version(error: &ServerError) -> bool {
    let message = error.message.to_ascii_lowercase();
    matches!(error.kind, ServerErrorKind::Protocol | ServerErrorKind::ServerError)
        && (message.contains("unsupported protocol version") || message.contains("beta version"))
}

fn first_row(rows: &Rows) -> Option<CqlRow> {
    let columns = rows.metadata.columns.as_ref()?;
    RowIterator::<CqlRow>::new(columns, &rows.content, rows.row_count).ok()?.next()?.ok()
}

/// A name as CQL wants it when every character of it counts.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::PlainAuthenticator;
    use crate::connection::inbound::Inbound;
    use crate::protocol::notation::write_string;
    use std::sync::Arc;

    fn config(version: ProtocolVersion) -> ConnectionConfig {
        let address = "10.0.0.1:9042".parse().unwrap();
        ConnectionConfig { protocol_version: version, ..ConnectionConfig::new(address) }
    }

    fn received(version: u8, opcode: u8, body: &[u8]) -> Received {
        let mut inbound = Inbound::new(ProtocolVersion::V4, 1 << 20);
        let header = [0x80 | version, 0, 0, 0, opcode, 0, 0, 0, u8::try_from(body.len()).unwrap()];
        inbound.buffer().extend_from_slice(&header);
        inbound.buffer().extend_from_slice(body);
        inbound.next().unwrap().unwrap()
    }

    const SUPPORTED: &[u8] = b"\0\x01\0\x0BCOMPRESSION\0\x02\0\x06snappy\0\x03lz4";
    const CLUSTER_NAME: &[u8] = b"\0\0\0\x02\0\0\0\x01\0\0\0\x01\0\x06system\0\x05local\0\x0Ccluster_name\0\x0D\
        \0\0\0\x01\0\0\0\x04Troy";

    fn sent(step: Step) -> Vec<u8> {
        let Step::Send(bytes) = step else { panic!("the handshake is over") };
        bytes
    }

    fn error_body(code: i32, message: &str) -> Vec<u8> {
        let mut body = code.to_be_bytes().to_vec();
        write_string("message", message, &mut body).unwrap();
        body
    }

    #[test]
    fn the_steps_come_in_order_and_end_with_the_keyspace() {
        let mut config = config(ProtocolVersion::V4);
        config.keyspace = Some("app".to_owned());
        config.compression = Some(Compression::Lz4);
        let mut handshake = Handshake::new(&config);
        assert_eq!(handshake.first_request().unwrap()[4], Opcode::Options.to_wire());
        let startup = sent(handshake.handle_answer(&received(4, 6, SUPPORTED)).unwrap());
        assert_eq!(startup[4], Opcode::Startup.to_wire());
        assert!(startup.windows(3).any(|window| window == b"lz4"));
        let query = sent(handshake.handle_answer(&received(4, 2, b"")).unwrap());
        assert!(handshake.is_started());
        assert!(query.ends_with(b"SELECT cluster_name, host_id FROM system.local\0\x01\0"));
        let set_keyspace = sent(handshake.handle_answer(&received(4, 8, CLUSTER_NAME)).unwrap());
        assert!(set_keyspace.ends_with(b"USE \"app\"\0\x01\0"));
        let Ok(Step::Done(info)) = handshake.handle_answer(&received(4, 8, b"\0\0\0\x03\0\x03app")) else {
            panic!("not done")
        };
        assert_eq!((info.cluster_name.as_str(), info.compression), ("Troy", Some(Compression::Lz4)));
    }

    #[test]
    fn startup_names_driver_version_and_application_and_comes_first_without_compression() {
        let mut config = config(ProtocolVersion::V4);
        config.application_name = Some("iliad".to_owned());
        let startup = Handshake::new(&config).first_request().unwrap();
        assert_eq!(startup[4], Opcode::Startup.to_wire());
        for part in ["CQL_VERSION", "DRIVER_NAME", DRIVER_NAME, "DRIVER_VERSION", DRIVER_VERSION, "iliad"] {
            assert!(startup.windows(part.len()).any(|window| window == part.as_bytes()), "{part}");
        }
        assert!(!startup.windows(11).any(|window| window == b"COMPRESSION"), "compression was not asked for");
    }

    #[test]
    fn the_node_is_asked_to_refuse_when_overloaded_only_on_demand() {
        for (throw_on_overload, expected) in [(false, 0), (true, 1)] {
            let config = ConnectionConfig { throw_on_overload, ..config(ProtocolVersion::V4) };
            let startup = Handshake::new(&config).first_request().unwrap();
            let option = b"THROW_ON_OVERLOAD\0\x011";
            assert_eq!(startup.windows(option.len()).filter(|window| *window == option).count(), expected);
        }
    }

    #[test]
    fn a_version_the_node_lacks_is_told_apart_from_other_errors() {
        let config = config(ProtocolVersion::V5);
        let message = "Invalid or unsupported protocol version (5); supported versions are (3/v3, 4/v4)";
        let answer = received(4, 0, &error_body(0x0A, message));
        let error = Handshake::new(&config).handle_answer(&answer).err();
        let expected = ConnectError::UnsupportedVersion {
            requested: ProtocolVersion::V5,
            answered: 4,
            message: message.to_owned(),
        };
        assert_eq!(error, Some(expected));
        let beta = error_body(0x0A, "Beta version of the protocol used (5/v5-beta), but USE_BETA flag is unset");
        let error = Handshake::new(&config).handle_answer(&received(5, 0, &beta)).err();
        assert!(matches!(error, Some(ConnectError::UnsupportedVersion { .. })), "{error:?}");
        let other = received(5, 0, &error_body(0x1001, "busy"));
        let error = Handshake::new(&config).handle_answer(&other).err();
        assert!(matches!(error, Some(ConnectError::Refused(_))), "{error:?}");
    }

    #[test]
    fn credentials_are_sent_when_asked_for_and_only_then() {
        let mut config = config(ProtocolVersion::V4);
        let authenticate = received(4, 3, b"\0\x01P");
        let mut handshake = Handshake::new(&config);
        let error = handshake.handle_answer(&authenticate).err();
        assert_eq!(error, Some(ConnectError::CredentialsRequired { authenticator: "P".to_owned() }));

        config.authenticator = Some(Arc::new(PlainAuthenticator::new("u", "p")));
        let mut handshake = Handshake::new(&config);
        let token = sent(handshake.handle_answer(&authenticate).unwrap());
        assert!(token.ends_with(b"\0\0\0\x04\0u\0p"));
        let refused = received(4, 0, &error_body(0x0100, "no"));
        let error = handshake.handle_answer(&refused).err();
        assert_eq!(error, Some(ConnectError::AuthenticationFailed("no".to_owned())));
    }

    #[test]
    fn another_cluster_is_refused_by_name() {
        let mut config = config(ProtocolVersion::V4);
        config.cluster_name = Some("Sparta".to_owned());
        let mut handshake = Handshake::new(&config);
        handshake.handle_answer(&received(4, 2, b"")).unwrap();
        let error = handshake.handle_answer(&received(4, 8, CLUSTER_NAME)).err();
        let expected = ConnectError::WrongCluster { expected: "Sparta".to_owned(), got: "Troy".to_owned() };
        assert_eq!(error, Some(expected));
    }

    #[test]
    fn another_node_at_the_address_is_refused_by_its_host_id() {
        let identity: &[u8] = b"\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\x06system\0\x05local\0\x0Ccluster_name\0\x0D\
            \0\x07host_id\0\x0C\0\0\0\x01\0\0\0\x04Troy\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07";
        let (asked, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        for (expected, is_welcome) in [(None, true), (Some(asked), true), (Some(other), false)] {
            let mut config = config(ProtocolVersion::V4);
            config.host_id = expected;
            let mut handshake = Handshake::new(&config);
            handshake.handle_answer(&received(4, 2, b"")).unwrap();
            match handshake.handle_answer(&received(4, 8, identity)) {
                Ok(Step::Done(info)) => assert_eq!((info.host_id, is_welcome), (Some(asked), true)),
                Ok(Step::Send(_)) => panic!("not done"),
                Err(error) => {
                    assert_eq!((error, is_welcome), (ConnectError::WrongNode { expected: other, got: asked }, false));
                }
            }
        }
    }

    #[test]
    fn an_answer_in_another_version_names_the_version_to_try() {
        let config = config(ProtocolVersion::V5);
        for answered in [1, 2, 4, 66] {
            let error = Handshake::new(&config).explained(DecodeError::UnexpectedVersion(answered).into());
            let ConnectError::UnsupportedVersion { answered: number, message, .. } = error else { panic!("{error}") };
            assert_eq!((number, message), (answered, format!("it answers in protocol v{answered}")));
        }
        let supported_in_4 = received(4, 6, SUPPORTED);
        let error = Handshake::new(&config).handle_answer(&supported_in_4).err();
        assert!(matches!(error, Some(ConnectError::UnsupportedVersion { answered: 4, .. })), "{error:?}");
    }

    #[test]
    fn snappy_is_not_asked_for_in_version_5() {
        let mut config = config(ProtocolVersion::V5);
        config.compression = Some(Compression::Snappy);
        let mut handshake = Handshake::new(&config);
        handshake.handle_answer(&received(5, 6, SUPPORTED)).unwrap();
        assert_eq!(handshake.compression(), None);
    }

    #[test]
    fn keyspace_names_keep_their_case_and_cannot_escape_their_quotes() {
        assert_eq!(quoted("App"), "\"App\"");
        assert_eq!(quoted("a\"; DROP"), "\"a\"\"; DROP\"");
    }
}
