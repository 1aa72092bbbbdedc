//! The tokens of ten thousand keys of every shape a partition key may have.
//!
//! Keys come from their number alone. A server that is asked for `token(…)` of all of them answers with numbers of
//! which `corpus/tokens.txt` keeps a digest for each five hundred, in the order of the ring: enough to say which
//! shape is wrong, small enough to read.

use super::answer::Message;
use super::client::{Connection, opcode, put_bytes, put_long_string, put_short, put_short_bytes};
use super::runner::{World, drop_keyspaces, exchange, must};
use super::types::{CqlType, Native};
use num_bigint::BigInt;
use std::fmt::Write as _;
use std::io;

/// How many keys of each shape are tried, if its types have so many values.
pub const KEYS: u32 = 10_000;
/// How many keys one digest stands for.
const CHUNK: usize = 500;
/// Rows of a page when they are read back.
const PAGE: u32 = 1_000;
/// Writes that travel together; more would be refused as too large a batch.
const BATCH: usize = 50;

/// The columns of a partition key.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What it is called in the file: its types.
    pub name: String,
    columns: Vec<Column>,
}

#[derive(Clone, Debug)]
struct Column {
    /// As in CREATE TABLE.
    declared: String,
    of: CqlType,
}

/// A key with its token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placed {
    /// Where it is on the ring.
    pub token: i64,
    /// The values of its columns.
    pub key: Vec<Vec<u8>>,
}

/// Every native type that a key may have, collections, tuples, user-defined types and vectors, and keys of several
/// columns.
#[must_use]
pub fn shapes() -> Vec<Shape> {
    let singles = NATIVES.iter().map(|native| vec![column(CqlType::Native(*native))]);
    let int = || CqlType::Native(Native::Int);
    let text = || CqlType::Native(Native::Text);
    let pair = Column { declared: "frozen<pair>".into(), of: CqlType::Tuple(vec![int(), text()]) };
    let composites = [
        vec![column(CqlType::List(int().into()))],
        vec![column(CqlType::Set(text().into()))],
        vec![column(CqlType::Map(int().into(), text().into()))],
        vec![column(CqlType::Tuple(vec![text(), int(), CqlType::Native(Native::Uuid)]))],
        vec![pair.clone()],
        vec![column(CqlType::Vector(CqlType::Native(Native::Float).into(), 3))],
        vec![column(int()), column(text())],
        vec![column(text()), column(text())],
        vec![column(CqlType::Native(Native::Uuid)), column(CqlType::Native(Native::Bigint)), column(text())],
        vec![column(CqlType::Native(Native::Blob)), column(CqlType::Native(Native::Timestamp))],
        vec![column(CqlType::Native(Native::Boolean)), column(CqlType::List(text().into())), pair],
    ];
    singles.chain(composites).map(shape).collect()
}

const NATIVES: [Native; 18] = [
    Native::Ascii,
    Native::Bigint,
    Native::Blob,
    Native::Boolean,
    Native::Date,
    Native::Decimal,
    Native::Double,
    Native::Float,
    Native::Inet,
    Native::Int,
    Native::Smallint,
    Native::Text,
    Native::Time,
    Native::Timestamp,
    Native::Timeuuid,
    Native::Tinyint,
    Native::Uuid,
    Native::Varint,
];

fn column(of: CqlType) -> Column {
    let declared = match of {
        CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..) | CqlType::Tuple(_) => format!("frozen<{of}>"),
        _ => of.to_string(),
    };
    Column { declared, of }
}

fn shape(columns: Vec<Column>) -> Shape {
    let declared: Vec<&str> = columns.iter().map(|column| column.declared.as_str()).collect();
    Shape { name: declared.join(", "), columns }
}

impl Shape {
    /// The values of a key's columns.
    #[must_use]
    pub fn key(&self, number: u32) -> Vec<Vec<u8>> {
        let mut draw = Draw(u64::from(number) << 8);
        let is_alone = self.columns.len() == 1;
        self.columns.iter().map(|column| column_value(&column.of, is_alone, &mut draw)).collect()
    }

    /// The different keys among the first `count`.
    #[must_use]
    pub fn keys(&self, count: u32) -> Vec<Vec<Vec<u8>>> {
        let mut keys: Vec<_> = (0..count).map(|number| self.key(number)).collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

/// Alone, a partition key must have at least one byte.
fn column_value(of: &CqlType, is_alone: bool, draw: &mut Draw) -> Vec<u8> {
    loop {
        let value = value(of, draw);
        if !(is_alone && value.is_empty()) {
            return value;
        }
    }
}

/// Numbers from a seed (SplitMix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.next().to_be_bytes()[0]).collect()
    }
}

fn value(of: &CqlType, draw: &mut Draw) -> Vec<u8> {
    match of {
        CqlType::Native(native) => native_value(*native, draw),
        CqlType::List(element) => {
            let values: Vec<_> = (0..draw.below(4)).map(|_| value(element, draw)).collect();
            collection(values.len(), &values)
        }
        CqlType::Set(element) => {
            let values = distinct(element, draw);
            collection(values.len(), &values)
        }
        CqlType::Map(key, of) => {
            let keys = distinct(key, draw);
            let entries: Vec<_> = keys.into_iter().flat_map(|key| [key, value(of, draw)]).collect();
            collection(entries.len() / 2, &entries)
        }
        CqlType::Tuple(elements) => {
            let values: Vec<_> = elements.iter().map(|element| value(element, draw)).collect();
            values.iter().flat_map(|value| with_len(value)).collect()
        }
        CqlType::Vector(element, dimension) => (0..*dimension).flat_map(|_| value(element, draw)).collect(),
        CqlType::Udt { .. } | CqlType::Custom { .. } => Vec::new(),
    }
}

/// Elements of a set, in the order in which the server keeps them.
fn distinct(element: &CqlType, draw: &mut Draw) -> Vec<Vec<u8>> {
    let mut values: Vec<_> = (0..draw.below(4)).map(|_| value(element, draw)).collect();
    let is_signed = matches!(element, CqlType::Native(Native::Int));
    values.sort_by_key(|value| match value.split_first() {
        Some((first, rest)) if is_signed => [&[first ^ 0x80], rest].concat(),
        _ => value.clone(),
    });
    values.dedup();
    values
}

fn collection(count: usize, values: &[Vec<u8>]) -> Vec<u8> {
    let mut out = i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes().to_vec();
    out.extend(values.iter().flat_map(|value| with_len(value)));
    out
}

fn with_len(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, value);
    out
}

fn native_value(native: Native, draw: &mut Draw) -> Vec<u8> {
    const NANOSECONDS_OF_A_DAY: u64 = 86_400_000_000_000;
    match native {
        Native::Ascii => {
            let len = draw.below(40);
            draw.bytes(len).iter().map(|byte| byte & 0x7f).collect()
        }
        Native::Text => {
            let of_any_plane = |draw: &mut Draw| [0x7f, 0x7ff, 0xffff, 0x0010_ffff][usize::from(draw.next() as u8 & 3)];
            let characters = (0..draw.below(14)).filter_map(|_| {
                let bound = of_any_plane(draw);
                char::from_u32(draw.below(bound) as u32)
            });
            characters.collect::<String>().into_bytes()
        }
        Native::Blob => {
            let len = draw.below(70);
            draw.bytes(len)
        }
        Native::Boolean => vec![draw.next() as u8 & 1],
        Native::Tinyint => draw.bytes(1),
        Native::Smallint => draw.bytes(2),
        Native::Int | Native::Date => draw.bytes(4),
        Native::Float => (draw.next() as i32 as f32 / 1_000.0).to_be_bytes().to_vec(),
        Native::Double => (draw.next() as i64 as f64 / 1_000.0).to_be_bytes().to_vec(),
        Native::Time => draw.below(NANOSECONDS_OF_A_DAY).to_be_bytes().to_vec(),
        Native::Bigint | Native::Timestamp | Native::Counter => draw.bytes(8),
        Native::Inet => {
            let len = if draw.next() & 1 == 0 { 4 } else { 16 };
            draw.bytes(len)
        }
        Native::Uuid => draw.bytes(16),
        Native::Timeuuid => {
            let mut bytes = draw.bytes(16);
            bytes[6] = bytes[6] & 0x0f | 0x10;
            bytes
        }
        Native::Varint | Native::Duration => integer(draw),
        Native::Decimal => {
            let mut bytes = (draw.below(80) as i32 - 40).to_be_bytes().to_vec();
            bytes.extend(integer(draw));
            bytes
        }
    }
}

/// In the fewest bytes, as the server would write it.
fn integer(draw: &mut Draw) -> Vec<u8> {
    let len = 1 + draw.below(12);
    BigInt::from_signed_bytes_be(&draw.bytes(len)).to_signed_bytes_be()
}

/// Writes the first `count` keys of a shape into a table of their own and reads them back with their tokens.
///
/// # Errors
///
/// The world cannot be reached, or refuses a statement.
pub async fn ask(world: &dyn World, shape: &Shape, count: u32) -> io::Result<Vec<Placed>> {
    let mut connection = Connection::open(world.connect().await?, 5, None).await?;
    drop_keyspaces(&mut connection).await?;
    let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
    let names: Vec<String> = (0..shape.columns.len()).map(|number| format!("k{number}")).collect();
    let columns: Vec<String> =
        names.iter().zip(&shape.columns).map(|(name, column)| format!("{name} {}", column.declared)).collect();
    let names = names.join(", ");
    for statement in [
        format!("CREATE KEYSPACE tokens WITH replication = {replication}"),
        "USE tokens".into(),
        "CREATE TYPE pair (a int, b text)".into(),
        format!("CREATE TABLE t ({}, PRIMARY KEY (({names})))", columns.join(", ")),
    ] {
        must(&mut connection, &statement).await?;
    }
    write(&mut connection, shape, &names, count).await?;
    let mut placed = read(&mut connection, shape, &names).await?;
    placed.sort();
    drop_keyspaces(&mut connection).await?;
    Ok(placed)
}

async fn write(connection: &mut Connection, shape: &Shape, names: &str, count: u32) -> io::Result<()> {
    let markers = vec!["?"; shape.columns.len()].join(", ");
    let mut body = Vec::new();
    put_long_string(&mut body, &format!("INSERT INTO t ({names}) VALUES ({markers})"));
    body.extend(0_u32.to_be_bytes());
    let Message::Prepared(prepared) = exchange(connection, opcode::PREPARE, &body).await? else {
        return Err(io::Error::other("the statement was not prepared"));
    };
    for keys in shape.keys(count).chunks(BATCH) {
        let mut body = vec![1];
        put_short(&mut body, u16::try_from(keys.len()).unwrap_or(u16::MAX));
        for key in keys {
            body.push(1);
            put_short_bytes(&mut body, &prepared.id);
            put_short(&mut body, u16::try_from(key.len()).unwrap_or(u16::MAX));
            key.iter().for_each(|value| put_bytes(&mut body, value));
        }
        put_short(&mut body, 1);
        body.extend(0_u32.to_be_bytes());
        match exchange(connection, opcode::BATCH, &body).await? {
            Message::Void => {}
            other => return Err(io::Error::other(format!("{}: {other:?}", shape.name))),
        }
    }
    Ok(())
}

async fn read(connection: &mut Connection, shape: &Shape, names: &str) -> io::Result<Vec<Placed>> {
    let (mut placed, mut paging_state) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let mut body = Vec::new();
        put_long_string(&mut body, &format!("SELECT token({names}), {names} FROM t"));
        put_short(&mut body, 1);
        body.extend((0x04 | if paging_state.is_some() { 0x08_u32 } else { 0 }).to_be_bytes());
        body.extend(PAGE.to_be_bytes());
        if let Some(state) = &paging_state {
            put_bytes(&mut body, state);
        }
        let Message::Rows(rows) = exchange(connection, opcode::QUERY, &body).await? else {
            return Err(io::Error::other(format!("{}: no rows", shape.name)));
        };
        for row in rows.rows {
            let mut values = row.into_iter().map(Option::unwrap_or_default);
            let token = values.next().and_then(|token| token.try_into().ok()).map(i64::from_be_bytes);
            let token = token.ok_or_else(|| io::Error::other("a token has eight bytes"))?;
            placed.push(Placed { token, key: values.collect() });
        }
        paging_state = rows.metadata.paging_state;
        if paging_state.is_none() {
            return Ok(placed);
        }
    }
}

/// A shape's line of the file: how many keys, then a digest for each five hundred in the order of the ring.
#[must_use]
pub fn line(shape: &Shape, placed: &[Placed]) -> String {
    let mut line = format!("{} | {} keys |", shape.name, placed.len());
    for chunk in placed.chunks(CHUNK) {
        let _ = write!(line, " {:016x}", digest(chunk));
    }
    line
}

/// FNV-1a of tokens and keys.
fn digest(placed: &[Placed]) -> u64 {
    let bytes = placed.iter().flat_map(|Placed { token, key }| {
        token.to_be_bytes().into_iter().chain(key.iter().flat_map(|value| with_len(value)))
    });
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The file in the repository.
#[must_use]
pub fn file() -> std::path::PathBuf {
    super::folder().join("tokens.txt")
}

/// The file's text.
#[must_use]
pub fn text(recorded_from: &str, lines: &[String]) -> String {
    format!(
        "# Partition keys made from the numbers 0 to {last} and their tokens, as {recorded_from} computed them: for each\n\
         # {CHUNK} of them in the order of the ring a digest. Written by `cargo xtask cassandra record`.\n{}\n",
        lines.join("\n"),
        last = KEYS - 1,
    )
}
