//! A server's answer, decoded completely, and its lines in a golden file.

use super::client::{Envelope, opcode};
use super::mask;
use super::reader::{Malformed, Reader};
use super::render::{hex, on_one_line, value};
use super::script::consistency_name;
use super::types::CqlType;

/// A decoded answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it carries the id of a trace.
    pub is_traced: bool,
    /// The server's warnings.
    pub warnings: Vec<String>,
    /// Keys and values of the custom payload.
    pub payload: Vec<(String, Option<Vec<u8>>)>,
    /// The message.
    pub message: Message,
}

/// A decoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// RESULT Void.
    Void,
    /// RESULT Rows.
    Rows(Rows),
    /// RESULT SetKeyspace.
    SetKeyspace(String),
    /// RESULT Prepared.
    Prepared(Box<Prepared>),
    /// RESULT SchemaChange, or the event of that name: change, target, name.
    SchemaChange(String),
    /// An event about a node: change, address.
    Event(String),
    /// ERROR.
    Error {
        /// Its code.
        code: i32,
        /// Its text.
        text: String,
        /// What follows the text, by name.
        details: Vec<String>,
    },
    /// SUPPORTED: keys and values.
    Supported(Vec<(String, Vec<String>)>),
    /// Anything else: its opcode.
    Other(u8),
}

/// Result rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// What they are made of.
    pub metadata: Metadata,
    /// Values by row and column.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
}

/// Columns of rows or markers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// How many columns there are, also where they are not named.
    pub count: usize,
    /// `keyspace.table` of all columns, if it is sent once.
    pub global: Option<String>,
    /// The columns, unless they were left out.
    pub columns: Option<Vec<Column>>,
    /// Where the next page begins, if there is one.
    pub paging_state: Option<Vec<u8>>,
    /// The new id of the metadata, if it has changed since the statement was prepared.
    pub changed_id: Option<Vec<u8>>,
    /// Which markers make up the partition key, in its order.
    pub partition_key: Vec<u16>,
}

/// A column or a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// `keyspace.table`, if it is sent for each column.
    pub table: Option<String>,
    /// Its name.
    pub name: String,
    /// Its type.
    pub of: CqlType,
}

/// A prepared statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its id.
    pub id: Vec<u8>,
    /// The id of its result columns (protocol v5).
    pub result_metadata_id: Option<Vec<u8>>,
    /// Its markers.
    pub variables: Metadata,
    /// Its result columns.
    pub result: Metadata,
}

const FLAG_TRACING: u8 = 0x02;
const FLAG_PAYLOAD: u8 = 0x04;
const FLAG_WARNING: u8 = 0x08;

impl Answer {
    /// Decodes an answer. `known` are the columns of rows whose metadata were left out on the client's wish.
    ///
    /// # Errors
    ///
    /// The body is not what the protocol says.
    pub fn decode(envelope: &Envelope) -> Result<Self, Malformed> {
        let version = envelope.version & 0x7f;
        let mut reader = Reader(&envelope.body);
        let is_traced = envelope.flags & FLAG_TRACING != 0;
        if is_traced {
            reader.take(16)?;
        }
        let warnings = if envelope.flags & FLAG_WARNING != 0 { reader.string_list()? } else { Vec::new() };
        let mut payload = Vec::new();
        if envelope.flags & FLAG_PAYLOAD != 0 {
            for _ in 0..reader.short()? {
                payload.push((reader.string()?, reader.bytes()?.map(<[u8]>::to_vec)));
            }
        }
        let message = match envelope.opcode {
            opcode::RESULT => result(&mut reader, version)?,
            opcode::ERROR => error(&mut reader, version)?,
            opcode::EVENT => match reader.string()?.as_str() {
                "SCHEMA_CHANGE" => Message::SchemaChange(schema_change(&mut reader)?),
                _ => {
                    let event = format!("{} {}", reader.string()?, reader.inet_addr()?);
                    reader.int()?; // The port.
                    Message::Event(event)
                }
            },
            opcode::SUPPORTED => {
                let count = reader.short()?;
                let entry = |_| Ok((reader.string()?, reader.string_list()?));
                let mut entries = (0..count).map(entry).collect::<Result<Vec<_>, Malformed>>()?;
                entries.sort(); // A map of the server, in an order that means nothing.
                Message::Supported(entries)
            }
            other => return Ok(Self { is_traced, warnings, payload, message: Message::Other(other) }),
        };
        if !matches!(&message, Message::SchemaChange(_)) && !reader.0.is_empty() {
            return Err(Malformed(format!("{} bytes follow the message: {}", reader.0.len(), hex(reader.0))));
        }
        Ok(Self { is_traced, warnings, payload, message })
    }

    /// Its lines, as they stand in a golden file.
    #[must_use]
    pub fn lines(&self, shown: &Shown<'_>) -> Vec<String> {
        let mut lines = match &self.message {
            Message::Void => vec!["void".into()],
            Message::Rows(rows) => rows.lines(shown),
            Message::SetKeyspace(name) => vec![format!("set keyspace {name}")],
            Message::Prepared(prepared) => prepared.lines(),
            Message::SchemaChange(change) => vec![format!("schema change {change}")],
            Message::Event(event) => vec![format!("event {event}")],
            Message::Error { code, text, details } => {
                let mut lines = vec![format!("error {code:#06x} {}: {}", error_name(*code), on_one_line(text))];
                lines.extend(details.iter().map(|detail| format!("  {detail}")));
                lines
            }
            Message::Supported(entries) => {
                entries.iter().map(|(key, values)| format!("supported {key}: {}", values.join(", "))).collect()
            }
            Message::Other(opcode) => vec![format!("message {opcode:#04x}")],
        };
        let warnings = self.warnings.iter().filter(|warning| !mask::is_given_by_chance(warning));
        lines.extend(warnings.map(|warning| format!("warning: {}", on_one_line(warning))));
        let payload = self.payload.iter();
        lines.extend(
            payload
                .map(|(key, value)| format!("payload {key}: {}", value.as_deref().map_or_else(|| "null".into(), hex))),
        );
        if self.is_traced {
            lines.push("traced".into());
        }
        lines
    }
}

/// How rows are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<'a> {
    /// Columns whose values differ by nature.
    pub masked: &'a [String],
    /// Whether the order of rows means nothing.
    pub is_unordered: bool,
    /// The columns, where the server was asked to leave them out.
    pub known_columns: Option<&'a [Column]>,
}

impl Rows {
    fn lines(&self, shown: &Shown<'_>) -> Vec<String> {
        let columns = self.metadata.columns.as_deref().or(shown.known_columns).unwrap_or_default();
        let mut rows: Vec<String> = self.rows.iter().map(|row| row_line(row, columns, shown.masked)).collect();
        if shown.is_unordered {
            rows.sort();
        }
        let mut lines = vec![self.metadata.line("rows")];
        lines.extend(rows);
        if let Some(id) = &self.metadata.changed_id {
            lines.push(format!("metadata changed: {}", hex(id)));
        }
        if self.metadata.paging_state.is_some() {
            lines.push("more pages".into());
        }
        lines
    }
}

fn row_line(row: &[Option<Vec<u8>>], columns: &[Column], masked: &[String]) -> String {
    let cell = |(number, bytes): (usize, &Option<Vec<u8>>)| match columns.get(number) {
        Some(column) if bytes.is_some() && masked.contains(&column.name) => "<masked>".into(),
        Some(column) if column.name.contains("writetime(") => mask::clock(&value(&column.of, bytes.as_deref())),
        Some(column) if column.name.contains("ttl(") => mask::lifetime(&value(&column.of, bytes.as_deref())),
        Some(column) => value(&column.of, bytes.as_deref()),
        None => bytes.as_deref().map_or_else(|| "null".into(), hex),
    };
    let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
    format!("  {}", cells.join(" | "))
}

impl Metadata {
    fn line(&self, kind: &str) -> String {
        let place = self.global.as_ref().map(|table| format!(" of {}", on_one_line(table))).unwrap_or_default();
        let Some(columns) = &self.columns else { return format!("{kind}{place}: {} columns, left out", self.count) };
        let column = |column: &Column| {
            let table = column.table.as_ref().map(|table| format!("{table}.")).unwrap_or_default();
            on_one_line(&format!("{table}{} {}", column.name, column.of))
        };
        let columns: Vec<String> = columns.iter().map(column).collect();
        format!("{kind}{place}: {}", columns.join(", "))
    }

    fn read(reader: &mut Reader<'_>, is_of_markers: bool) -> Result<Self, Malformed> {
        let flags = reader.int()?;
        let count = reader.count()?;
        let mut metadata = Self { count, ..Self::default() };
        if is_of_markers {
            let parts = reader.count()?;
            metadata.partition_key = (0..parts).map(|_| reader.short()).collect::<Result<_, _>>()?;
        }
        if flags & 0x02 != 0 {
            metadata.paging_state = reader.bytes()?.map(<[u8]>::to_vec);
        }
        if flags & 0x08 != 0 {
            metadata.changed_id = Some(reader.short_bytes()?.to_vec());
        }
        if flags & 0x04 != 0 {
            return Ok(metadata);
        }
        let table = |reader: &mut Reader<'_>| Ok(format!("{}.{}", reader.string()?, reader.string()?));
        if flags & 0x01 != 0 {
            metadata.global = Some(table(reader)?);
        }
        let mut columns = Vec::new();
        for _ in 0..count {
            let table = if metadata.global.is_none() { Some(table(reader)?) } else { None };
            columns.push(Column { table, name: reader.string()?, of: CqlType::read(reader)? });
        }
        metadata.columns = Some(columns);
        Ok(metadata)
    }
}

impl Prepared {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("prepared {}", hex(&self.id))];
        lines.extend(self.result_metadata_id.iter().map(|id| format!("result metadata id {}", hex(id))));
        lines.push(self.variables.line("variables"));
        let key: Vec<String> = self.variables.partition_key.iter().map(ToString::to_string).collect();
        lines.push(format!("partition key: [{}]", key.join(", ")));
        lines.push(self.result.line("result"));
        lines
    }
}

fn result(reader: &mut Reader<'_>, version: u8) -> Result<Message, Malformed> {
    Ok(match reader.int()? {
        1 => Message::Void,
        2 => {
            let metadata = Metadata::read(reader, false)?;
            let count = reader.count()?;
            let mut rows = Vec::new();
            for _ in 0..count {
                let cell = |_| Ok(reader.bytes()?.map(<[u8]>::to_vec));
                rows.push((0..metadata.count).map(cell).collect::<Result<_, Malformed>>()?);
            }
            Message::Rows(Rows { metadata, rows })
        }
        3 => Message::SetKeyspace(reader.string()?),
        4 => Message::Prepared(Box::new(Prepared {
            id: reader.short_bytes()?.to_vec(),
            result_metadata_id: if version >= 5 { Some(reader.short_bytes()?.to_vec()) } else { None },
            variables: Metadata::read(reader, version >= 4)?,
            result: Metadata::read(reader, false)?,
        })),
        5 => Message::SchemaChange(schema_change(reader)?),
        kind => return Err(Malformed(format!("result kind {kind}"))),
    })
}

fn schema_change(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let (change, target, keyspace) = (reader.string()?, reader.string()?, reader.string()?);
    Ok(match target.as_str() {
        "KEYSPACE" => format!("{change} KEYSPACE {keyspace}"),
        "FUNCTION" | "AGGREGATE" => {
            let name = reader.string()?;
            format!("{change} {target} {keyspace}.{name}({})", reader.string_list()?.join(", "))
        }
        _ => format!("{change} {target} {keyspace}.{}", reader.string()?),
    })
}

fn error(reader: &mut Reader<'_>, version: u8) -> Result<Message, Malformed> {
    let code = reader.int()?;
    let text = reader.string()?;
    let mut details = Vec::new();
    let counts = |reader: &mut Reader<'_>, names: [&str; 2]| -> Result<Vec<String>, Malformed> {
        let consistency = consistency_name(reader.short()?);
        let [first, second] = [reader.int()?, reader.int()?];
        Ok(vec![format!("consistency {consistency}, {} {first}, {} {second}", names[0], names[1])])
    };
    match code {
        0x1000 => details = counts(reader, ["required", "alive"])?,
        0x1100 | 0x1500 | 0x1200 | 0x1300 => {
            details = counts(reader, ["received", "block for"])?;
            if matches!(code, 0x1300 | 0x1500) {
                details.push(failures(reader, version)?);
            }
            match code {
                0x1200 | 0x1300 => details.push(format!("data present {}", reader.byte()?)),
                _ => details.push(format!("write type {}", reader.string()?)),
            }
            if code == 0x1100 && version >= 5 && !reader.0.is_empty() {
                details.push(format!("contentions {}", reader.short()?));
            }
        }
        0x1400 => {
            let (keyspace, function) = (reader.string()?, reader.string()?);
            details.push(format!("function {keyspace}.{function}({})", reader.string_list()?.join(", ")));
        }
        0x1700 => details = counts(reader, ["received", "block for"])?,
        0x2400 => details.push(format!("exists: {}.{}", reader.string()?, reader.string()?)),
        0x2500 => details.push(format!("id {}", hex(reader.short_bytes()?))),
        _ => {}
    }
    Ok(Message::Error { code, text, details })
}

fn failures(reader: &mut Reader<'_>, version: u8) -> Result<String, Malformed> {
    let count = reader.count()?;
    if version < 5 {
        return Ok(format!("failures {count}"));
    }
    let mut reasons = Vec::new();
    for _ in 0..count {
        reader.inet_addr()?;
        reasons.push(format!("{:#06x}", reader.short()?));
    }
    reasons.sort();
    Ok(format!("failures {}", reasons.join(", ")))
}

fn error_name(code: i32) -> &'static str {
    match code {
        0x0000 => "server error",
        0x000a => "protocol error",
        0x0100 => "bad credentials",
        0x1000 => "unavailable",
        0x1001 => "overloaded",
        0x1002 => "bootstrapping",
        0x1003 => "truncate error",
        0x1100 => "write timeout",
        0x1200 => "read timeout",
        0x1300 => "read failure",
        0x1400 => "function failure",
        0x1500 => "write failure",
        0x1600 => "cdc write failure",
        0x1700 => "cas write unknown",
        0x2000 => "syntax error",
        0x2100 => "unauthorized",
        0x2200 => "invalid",
        0x2300 => "config error",
        0x2400 => "already exists",
        0x2500 => "unprepared",
        _ => "unknown error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(opcode: u8, flags: u8, body: &[u8]) -> Envelope {
        Envelope { version: 0x85, flags, stream: 0, opcode, body: body.to_vec() }
    }

    #[test]
    fn rows_are_shown_with_their_columns_and_literals() {
        let mut body = vec![0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, b'k', 0, 1, b't', 0, 1, b'a', 0, 9];
        body.extend([0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff]);
        let answer = Answer::decode(&envelope(opcode::RESULT, 0, &body)).unwrap();
        assert_eq!(answer.lines(&Shown::default()), ["rows of k.t: a int", "  7", "  null"]);
        let masked = ["a".to_string()];
        let shown = Shown { masked: &masked, is_unordered: true, known_columns: None };
        assert_eq!(answer.lines(&shown), ["rows of k.t: a int", "  <masked>", "  null"]);
    }

    #[test]
    fn bytes_that_follow_a_message_are_an_error() {
        assert!(Answer::decode(&envelope(opcode::RESULT, 0, &[0, 0, 0, 1, 9])).is_err());
        assert!(Answer::decode(&envelope(opcode::RESULT, 0, &[0, 0, 0, 1])).is_ok());
    }

    #[test]
    fn errors_are_shown_with_their_numbers() {
        let mut body = vec![0, 0, 0x10, 0, 0, 1, b'x'];
        body.extend([0, 4, 0, 0, 0, 2, 0, 0, 0, 1]);
        let answer = Answer::decode(&envelope(opcode::ERROR, 0, &body)).unwrap();
        let lines = answer.lines(&Shown::default());
        assert_eq!(lines, ["error 0x1000 unavailable: x", "  consistency QUORUM, required 2, alive 1"]);
    }
}
