//! Runs a script in a world and answers what was seen, as blocks of a golden file.

use super::answer::{Answer, Column, Message, Prepared, Shown};
use super::client::{
    Connection, Envelope, Stream, opcode, put_bytes, put_long_string, put_short, put_short_bytes, put_string,
};
use super::encode::{Encoded, encode};
use super::golden::Block;
use super::literal::{Literal, Values, values};
use super::mask;
use super::script::{Options, Script, Step};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;

/// A connection being made.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// A cluster of one node, real or simulated, as the corpus sees it: something to connect to. Time is tokio's.
pub trait World: Sync {
    /// Connects to the node.
    fn connect(&self) -> Connecting<'_>;
}

/// The superuser every Cassandra begins with.
const SUPERUSER: (&str, &str) = ("cassandra", "cassandra");
const VERSION_DEFAULT: u8 = 5;
/// No script has so many pages: the server hands out the same page for ever.
const PAGES_MAX: usize = 1000;

/// Runs a script in a keyspace of its own, which exists only meanwhile.
///
/// # Errors
///
/// The world cannot be reached, or refuses to create the keyspace. What happens to single statements is part of the
/// answer.
pub async fn run_script(world: &dyn World, script: &Script) -> io::Result<Vec<Block>> {
    run_script_in(world, script, VERSION_DEFAULT).await
}

/// Runs a script with another protocol version where it does not say which.
///
/// # Errors
///
/// As [`run_script`].
pub async fn run_script_in(world: &dyn World, script: &Script, version: u8) -> io::Result<Vec<Block>> {
    let keyspace = script.keyspace();
    let user = script.needs_users().then_some(SUPERUSER);
    let mut setup = Connection::open(world.connect().await?, version, user).await?;
    drop_keyspaces(&mut setup).await?;
    let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
    must(&mut setup, &format!("CREATE KEYSPACE {keyspace} WITH replication = {replication}")).await?;
    let mut events = Connection::open(world.connect().await?, version, user).await?;
    events.register(&["SCHEMA_CHANGE"]).await?;
    let mut run = Run { world, keyspace, user, version, connections: BTreeMap::new() };
    let mut blocks = Vec::new();
    for step in &script.steps {
        if let Some(pause) = step.options.sleep {
            tokio::time::sleep(pause).await;
        }
        let mut answer = run.step(step).await;
        answer.extend(schema_events(&mut events).await?);
        // The values of DESCRIBE are texts, too.
        let is_description = step.cql.trim_start().to_ascii_lowercase().starts_with("desc");
        let is_text = |line: &str| ["error", "warning", "no answer"].iter().any(|word| line.starts_with(word));
        let masked = |line: &String| if is_description || is_text(line) { mask::text(line) } else { line.clone() };
        let answer = answer.iter().map(masked).collect();
        blocks.push(Block { statement: step.source.clone(), answer });
    }
    drop_keyspaces(&mut setup).await?;
    Ok(blocks)
}

/// Whose statement it is: protocol version and user.
type Speaker = (u8, Option<(String, String)>);

struct Run<'a> {
    world: &'a dyn World,
    keyspace: String,
    user: Option<(&'static str, &'static str)>,
    version: u8,
    connections: BTreeMap<Speaker, Connection>,
}

impl Run<'_> {
    async fn step(&mut self, step: &Step) -> Vec<String> {
        let user = step.options.user.clone().or_else(|| self.user.map(|(name, word)| (name.into(), word.into())));
        let speaker = (step.options.protocol.unwrap_or(self.version), user);
        let mut lines = Vec::new();
        let outcome = match self.connection(&speaker).await {
            Ok(connection) => execute(connection, step, &mut lines).await,
            Err(e) => Err(e),
        };
        if let Err(e) = outcome {
            self.connections.remove(&speaker);
            lines.push(format!("no answer: {e}"));
        }
        lines
    }

    async fn connection(&mut self, speaker: &Speaker) -> io::Result<&mut Connection> {
        if !self.connections.contains_key(speaker) {
            let (version, user) = speaker;
            let user = user.as_ref().map(|(name, word)| (name.as_str(), word.as_str()));
            let mut connection = Connection::open(self.world.connect().await?, *version, user).await?;
            must(&mut connection, &format!("USE {}", self.keyspace)).await?;
            self.connections.insert(speaker.clone(), connection);
        }
        self.connections.get_mut(speaker).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// Executes a statement in all the ways its directives want.
async fn execute(connection: &mut Connection, step: &Step, lines: &mut Vec<String>) -> io::Result<()> {
    let options = &step.options;
    if options.is_options {
        let envelope = connection.request(opcode::OPTIONS, &[]).await?;
        return show(&envelope, options, None, lines).map(drop);
    }
    if let Some(kind) = options.batch {
        let envelope = batch(connection, kind, step).await?;
        return show(&envelope, options, None, lines).map(drop);
    }
    if !options.prepare && options.binds.is_empty() {
        let start = |parameters: &[u8]| {
            let mut body = Vec::new();
            put_long_string(&mut body, &step.cql);
            body.extend(parameters);
            (opcode::QUERY, body)
        };
        return pages(connection, options, None, &[], start, lines).await;
    }
    let Some(prepared) = prepare(connection, &step.cql, options, lines).await? else { return Ok(()) };
    for bind in &options.binds {
        if options.binds.len() > 1 {
            lines.push(format!("bind {bind}"));
        }
        match bound(bind, &prepared) {
            Ok(values) => {
                let start = |parameters: &[u8]| {
                    let mut body = Vec::new();
                    put_short_bytes(&mut body, &prepared.id);
                    if let Some(id) = &prepared.result_metadata_id {
                        put_short_bytes(&mut body, id);
                    }
                    body.extend(parameters);
                    (opcode::EXECUTE, body)
                };
                let columns = prepared.result.columns.as_deref();
                pages(connection, options, columns, &values, start, lines).await?;
            }
            Err(reason) => lines.push(format!("cannot be bound: {reason}")),
        }
    }
    Ok(())
}

/// A value of a request, with the marker's name if it is bound by name.
type Bound = (Option<String>, Encoded);

async fn pages(
    connection: &mut Connection,
    options: &Options,
    known_columns: Option<&[Column]>,
    values: &[Bound],
    start: impl Fn(&[u8]) -> (u8, Vec<u8>),
    lines: &mut Vec<String>,
) -> io::Result<()> {
    let mut paging_state = None;
    for _ in 0..PAGES_MAX {
        let parameters = parameters(connection.version(), options, values, paging_state.as_deref());
        let (opcode, body) = start(&parameters);
        let envelope = connection.request(opcode, &body).await?;
        paging_state = show(&envelope, options, known_columns, lines)?;
        if paging_state.is_none() || options.page.is_none() {
            return Ok(());
        }
    }
    lines.push(format!("more than {PAGES_MAX} pages"));
    Ok(())
}

/// Shows an answer; the paging state of its rows.
fn show(
    envelope: &Envelope,
    options: &Options,
    known_columns: Option<&[Column]>,
    lines: &mut Vec<String>,
) -> io::Result<Option<Vec<u8>>> {
    let answer = decoded(envelope)?;
    let shown = Shown { masked: &options.masked, is_unordered: options.unordered, known_columns };
    lines.extend(answer.lines(&shown));
    match answer.message {
        Message::Rows(rows) => Ok(rows.metadata.paging_state),
        _ => Ok(None),
    }
}

fn decoded(envelope: &Envelope) -> io::Result<Answer> {
    Answer::decode(envelope).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Prepares; `None` if the server refuses. What it says is shown if it was asked for or is a refusal.
async fn prepare(
    connection: &mut Connection,
    cql: &str,
    options: &Options,
    lines: &mut Vec<String>,
) -> io::Result<Option<Prepared>> {
    let mut body = Vec::new();
    put_long_string(&mut body, cql);
    if connection.version() >= 5 {
        body.extend(u32::from(options.keyspace.is_some()).to_be_bytes());
        if let Some(keyspace) = &options.keyspace {
            put_string(&mut body, keyspace);
        }
    }
    let envelope = connection.request(opcode::PREPARE, &body).await?;
    match decoded(&envelope)?.message {
        Message::Prepared(prepared) => {
            if options.prepare {
                show(&envelope, options, None, lines)?;
            }
            Ok(Some(*prepared))
        }
        _ => show(&envelope, options, None, lines).map(|_| None),
    }
}

fn bound(bind: &str, prepared: &Prepared) -> Result<Vec<Bound>, String> {
    let markers = prepared.variables.columns.as_deref().unwrap_or_default();
    match values(bind)? {
        // Values for which there is no marker are sent as well: the server is to refuse them.
        Values::Positional(literals) => {
            let encoded = |(number, literal): (usize, &Literal)| match (markers.get(number), literal) {
                (Some(marker), _) => Ok((None, encode(literal, &marker.of)?)),
                (None, Literal::Bytes(bytes)) => Ok((None, Encoded::Bytes(bytes.clone()))),
                (None, Literal::Null) => Ok((None, Encoded::Null)),
                (None, _) => Err("for a value without a marker, write its bytes".to_string()),
            };
            literals.iter().enumerate().map(encoded).collect()
        }
        Values::Named(named) => {
            let encoded = |(name, literal): &(String, Literal)| {
                let marker = markers.iter().find(|marker| marker.name == *name);
                let value = match (marker, literal) {
                    (Some(marker), _) => encode(literal, &marker.of)?,
                    (None, Literal::Bytes(bytes)) => Encoded::Bytes(bytes.clone()),
                    (None, _) => return Err(format!("there is no marker `{name}`: write the value's bytes")),
                };
                Ok((Some(name.clone()), value))
            };
            named.iter().map(encoded).collect()
        }
    }
}

/// The parameters of QUERY and EXECUTE.
fn parameters(version: u8, options: &Options, values: &[Bound], paging_state: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    put_short(&mut out, options.consistency.unwrap_or(1));
    let is_named = values.iter().any(|(name, _)| name.is_some());
    let mut flags = common_flags(version, options);
    for (is_set, flag) in [
        (!values.is_empty(), 0x01),
        (options.skip_metadata, 0x02),
        (options.page.is_some(), 0x04),
        (paging_state.is_some(), 0x08),
        (is_named, 0x40),
    ] {
        flags |= if is_set { flag } else { 0 };
    }
    put_flags(&mut out, version, flags);
    if !values.is_empty() {
        put_values(&mut out, values);
    }
    if let Some(page) = options.page {
        out.extend(page.to_be_bytes());
    }
    if let Some(state) = paging_state {
        put_bytes(&mut out, state);
    }
    put_common(&mut out, version, options);
    out
}

/// The flags that statements and batches share.
fn common_flags(version: u8, options: &Options) -> u32 {
    let is_v5 = version >= 5;
    let set = [
        (options.serial.is_some(), 0x10),
        (options.timestamp.is_some(), 0x20),
        (is_v5 && options.keyspace.is_some(), 0x80),
        (is_v5 && options.now.is_some(), 0x100),
    ];
    set.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum()
}

fn put_flags(out: &mut Vec<u8>, version: u8, flags: u32) {
    match u8::try_from(flags) {
        Ok(byte) if version < 5 => out.push(byte),
        _ => out.extend(flags.to_be_bytes()),
    }
}

/// What [`common_flags`] has announced.
fn put_common(out: &mut Vec<u8>, version: u8, options: &Options) {
    if let Some(serial) = options.serial {
        put_short(out, serial);
    }
    if let Some(timestamp) = options.timestamp {
        out.extend(timestamp.to_be_bytes());
    }
    if version >= 5 {
        if let Some(keyspace) = &options.keyspace {
            put_string(out, keyspace);
        }
        if let Some(now) = options.now {
            out.extend(now.to_be_bytes());
        }
    }
}

fn put_values(out: &mut Vec<u8>, values: &[Bound]) {
    put_short(out, u16::try_from(values.len()).unwrap_or(u16::MAX));
    for (name, value) in values {
        if let Some(name) = name {
            put_string(out, name);
        }
        match value {
            Encoded::Unset => out.extend((-2_i32).to_be_bytes()),
            Encoded::Null => out.extend((-1_i32).to_be_bytes()),
            Encoded::Bytes(bytes) => put_bytes(out, bytes),
        }
    }
}

/// Sends a BATCH message: the lines between `BEGIN …` and `APPLY BATCH` are its statements. The values of a `bind`
/// directive are dealt out to the markers in order, for which the statements are prepared first.
async fn batch(connection: &mut Connection, kind: u8, step: &Step) -> io::Result<Envelope> {
    let mut statements: Vec<&str> = step.cql.lines().map(|line| line.trim().trim_end_matches(';')).collect();
    statements.retain(|line| {
        let lower = line.to_ascii_lowercase();
        !lower.is_empty() && !lower.starts_with("begin") && !lower.starts_with("apply batch")
    });
    let mut literals = match step.options.binds.first().map(|bind| values(bind)).transpose() {
        Ok(Some(Values::Positional(literals))) => literals,
        Ok(None) => Vec::new(),
        Ok(Some(Values::Named(_))) => return Err(io::Error::other("values of a batch have no names")),
        Err(reason) => return Err(io::Error::other(reason)),
    };
    let mut body = vec![kind];
    put_short(&mut body, u16::try_from(statements.len()).unwrap_or(u16::MAX));
    for cql in statements {
        if !cql.contains('?') {
            body.push(0);
            put_long_string(&mut body, cql);
            put_short(&mut body, 0);
            continue;
        }
        let mut refused = Vec::new();
        let Some(prepared) = prepare(connection, cql, &Options::default(), &mut refused).await? else {
            return Err(io::Error::other(refused.join("; ")));
        };
        let markers = prepared.variables.columns.as_deref().unwrap_or_default();
        let own: Vec<Literal> = literals.drain(..markers.len().min(literals.len())).collect();
        let encoded = own.iter().zip(markers).map(|(literal, marker)| Ok((None, encode(literal, &marker.of)?)));
        let values: Vec<Bound> = encoded.collect::<Result<_, String>>().map_err(io::Error::other)?;
        body.push(1);
        put_short_bytes(&mut body, &prepared.id);
        put_values(&mut body, &values);
    }
    put_short(&mut body, step.options.consistency.unwrap_or(1));
    put_flags(&mut body, connection.version(), common_flags(connection.version(), &step.options));
    put_common(&mut body, connection.version(), &step.options);
    connection.request(opcode::BATCH, &body).await
}

async fn query(connection: &mut Connection, cql: &str) -> io::Result<Message> {
    let mut body = Vec::new();
    put_long_string(&mut body, cql);
    body.extend(parameters(connection.version(), &Options::default(), &[], None));
    exchange(connection, opcode::QUERY, &body).await
}

/// Sends a message; the message that answers it.
pub(super) async fn exchange(connection: &mut Connection, opcode: u8, body: &[u8]) -> io::Result<Message> {
    let envelope = connection.request(opcode, body).await?;
    decoded(&envelope).map(|answer| answer.message)
}

/// Executes a statement that cannot be refused.
///
/// # Errors
///
/// The stream breaks, or the statement is refused.
pub async fn must(connection: &mut Connection, cql: &str) -> io::Result<Message> {
    match query(connection, cql).await? {
        Message::Error { text, .. } => Err(io::Error::other(format!("{cql}: {text}"))),
        message => Ok(message),
    }
}

/// Drops every keyspace that is not Cassandra's own: scripts may have left some.
pub(super) async fn drop_keyspaces(connection: &mut Connection) -> io::Result<()> {
    let Message::Rows(rows) = must(connection, "SELECT keyspace_name FROM system_schema.keyspaces").await? else {
        return Err(io::Error::other("system_schema.keyspaces has no rows"));
    };
    for name in rows.rows.iter().filter_map(|row| row.first()?.as_deref()) {
        let name = String::from_utf8_lossy(name);
        if name != "system" && !name.starts_with("system_") {
            must(connection, &format!("DROP KEYSPACE \"{}\"", name.replace('"', "\"\""))).await?;
        }
    }
    Ok(())
}

/// The events that a registered connection has been sent. A server writes them before it answers the statement that
/// caused them, so that all have come when a later request is answered.
async fn schema_events(connection: &mut Connection) -> io::Result<Vec<String>> {
    connection.request(opcode::OPTIONS, &[]).await?;
    let mut lines = Vec::new();
    for event in connection.take_events() {
        match decoded(&event)?.message {
            Message::SchemaChange(change) => lines.push(format!("event {change}")),
            other => lines.push(format!("event {other:?}")),
        }
    }
    Ok(lines)
}
