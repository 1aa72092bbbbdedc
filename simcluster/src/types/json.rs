//! JSON text: what `SELECT JSON` writes and `INSERT JSON` reads.

use super::{CqlType, codec, text};
use bytes::Bytes;
use std::fmt::Write as _;

/// A parsed JSON document; numbers keep their text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are JSON's own names")]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Nesting deeper than this is refused: the parser recurses.
const DEPTH_MAX: usize = 64;

impl Json {
    /// Parses a whole text; `None` if it is not JSON.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0)?;
        parser.skip_space();
        (parser.at == text.len()).then_some(value)
    }
}

/// Writes a value as `SELECT JSON` does.
#[must_use]
pub fn to_json(cql_type: &CqlType, value: Option<&Bytes>) -> String {
    use CqlType as T;
    let Some(bytes) = value else { return "null".to_owned() };
    let join = |parts: Vec<String>, open: &str, close: &str| format!("{open}{}{close}", parts.join(", "));
    match cql_type {
        T::Int | T::Bigint | T::Counter | T::Smallint | T::Tinyint | T::Varint | T::Decimal | T::Boolean => {
            let text = text::to_text(cql_type, bytes);
            if text.is_empty() { "\"\"".to_owned() } else { text }
        }
        T::Float | T::Double => {
            let text = text::to_text(cql_type, bytes);
            match text.as_str() {
                "" => "\"\"".to_owned(),
                text if text.contains('N') || text.contains("Inf") => "null".to_owned(),
                text => text.to_owned(),
            }
        }
        T::Blob => quote(&format!("0x{}", text::encode_hex(bytes))),
        T::List { element, .. } | T::Set { element, .. } => {
            let parts = codec::split_collection(bytes, false).unwrap_or_default();
            join(parts.iter().map(|p| to_json(element, p.as_ref())).collect(), "[", "]")
        }
        T::Vector { element, dimensions } => {
            let parts = codec::split_vector(element, *dimensions, bytes).unwrap_or_default();
            join(parts.iter().map(|p| to_json(element, Some(p))).collect(), "[", "]")
        }
        T::Map { key, value, .. } => {
            let parts = codec::split_collection(bytes, true).unwrap_or_default();
            let pairs = parts.chunks(2).map(|pair| {
                let name = to_json(key, pair[0].as_ref());
                let name = if name.starts_with('"') { name } else { quote(&name) };
                format!("{name}: {}", to_json(value, pair.get(1).and_then(Option::as_ref)))
            });
            join(pairs.collect(), "{", "}")
        }
        T::Tuple(types) => {
            let parts = codec::split_tuple(bytes, types.len()).unwrap_or_default();
            join(parts.iter().zip(types.iter()).map(|(p, t)| to_json(t, p.as_ref())).collect(), "[", "]")
        }
        T::Udt { definition, .. } => {
            let parts = codec::split_tuple(bytes, definition.fields.len()).unwrap_or_default();
            let fields = parts.iter().zip(&definition.fields);
            join(
                fields
                    .map(|(p, (name, t))| format!("{}: {}", quote(&name_key(name)), to_json(t, p.as_ref())))
                    .collect(),
                "{",
                "}",
            )
        }
        _ => quote(&text::to_text(cql_type, bytes)),
    }
}

/// A column or field name as a JSON key: in CQL quotes if it is not lower case.
#[must_use]
pub fn name_key(name: &str) -> String {
    if name.chars().any(char::is_uppercase) { format!("\"{name}\"") } else { name.to_owned() }
}

/// Reads a value of a type; `Ok(None)` is null.
///
/// # Errors
///
/// What Cassandra says about a value of the wrong kind.
pub fn from_json(cql_type: &CqlType, json: &Json) -> Result<Option<Bytes>, String> {
    use CqlType as T;
    let wrong = |expected: &str| format!("Expected {expected}, but got a {}: {}", kind(json), show(json));
    Ok(Some(match (cql_type, json) {
        (_, Json::Null) => return Ok(None),
        // A nested value may also be given as a string that holds JSON.
        (T::List { .. } | T::Set { .. } | T::Map { .. } | T::Tuple(_) | T::Udt { .. }, Json::String(inner)) => {
            let inner = Json::parse(inner).ok_or_else(|| format!("Error decoding JSON string: {inner}"))?;
            return from_json(cql_type, &inner);
        }
        (T::List { element, .. }, Json::Array(items)) => {
            let parts = items.iter().map(|i| element_from(element, i)).collect::<Result<Vec<_>, _>>()?;
            codec::join_collection(parts.len(), &parts)
        }
        (T::Set { element, .. }, Json::Array(items)) => {
            let mut parts = items.iter().map(|i| element_from(element, i)).collect::<Result<Vec<_>, _>>()?;
            parts.sort_by(|a, b| super::order::compare(element, a, b));
            parts.dedup();
            codec::join_collection(parts.len(), &parts)
        }
        (T::Vector { dimensions, .. }, Json::Array(items)) if items.len() != usize::from(*dimensions) => {
            return Err(format!(
                "List had incorrect size: expected {dimensions} but given {}; {}",
                items.len(),
                show(json)
            ));
        }
        (T::Vector { element, .. }, Json::Array(items)) => {
            let parts = items.iter().map(|i| element_from(element, i)).collect::<Result<Vec<_>, _>>()?;
            codec::join_vector(element, &parts.into_iter().flatten().collect::<Vec<_>>())
        }
        (T::Tuple(types), Json::Array(items)) => {
            if items.len() > types.len() {
                return Err(format!("Tuple contains extra items (expected {}): {}", types.len(), show(json)));
            }
            if items.len() < types.len() {
                return Err(format!("Tuple is missing items (expected {}): {}", types.len(), show(json)));
            }
            let parts = items.iter().zip(types.iter()).map(|(i, t)| from_json(t, i)).collect::<Result<Vec<_>, _>>()?;
            codec::join_tuple(&parts)
        }
        (T::Map { key, value, .. }, Json::Object(pairs)) => {
            let mut parts = Vec::new();
            for (name, item) in pairs {
                let name = from_json(key, &Json::String(name.clone()))?;
                let item = from_json(value, item)?.ok_or("Invalid null value in map")?;
                parts.push((name, Some(item)));
            }
            parts.sort_by(|a, b| super::order::compare(key, &a.0, &b.0));
            codec::join_collection(parts.len(), parts.iter().flat_map(|(k, v)| [k, v]))
        }
        (T::Udt { definition, .. }, Json::Object(pairs)) => {
            let is_field = |key: &str, name: &str| key == name || key.trim_matches('"') == name;
            let stranger = pairs.iter().find(|(key, _)| !definition.fields.iter().any(|(name, _)| is_field(key, name)));
            if let Some((key, _)) = stranger {
                return Err(format!("Unknown field '{key}' in value of user defined type {}", definition.name));
            }
            let mut parts = Vec::new();
            for (name, field) in &definition.fields {
                let found = pairs.iter().find(|(k, _)| k == name || k.trim_matches('"') == name);
                parts.push(found.map_or(Ok(None), |(_, v)| from_json(field, v))?);
            }
            codec::join_tuple(&parts)
        }
        (T::Blob, Json::String(s)) => blob_from(s)?,
        (T::Boolean, Json::Bool(b)) => Bytes::copy_from_slice(&[u8::from(*b)]),
        (T::Text | T::Ascii, Json::String(s)) => text::from_text(cql_type, s)?,
        (T::Text, _) => return Err(wrong("a UTF-8 string")),
        (T::Ascii, _) => return Err(wrong("an ascii string")),
        (T::Date | T::Time, Json::Number(_)) => {
            return Err(wrong(&format!("a string representation of a {cql_type} value")));
        }
        // What the server reads as a double loses its trailing zeros.
        (T::Decimal, Json::Number(n)) if n.contains(['.', 'e', 'E']) => {
            let double = text::from_text(&T::Double, n)?;
            text::from_text(cql_type, &text::to_text(&T::Double, &double))?
        }
        (T::Smallint | T::Tinyint, Json::Number(n)) if n.parse::<i32>().is_ok() => text::from_text(cql_type, n)?,
        (T::Varint | T::Decimal, Json::Number(n) | Json::String(n)) => {
            text::from_text(cql_type, n).map_err(|_| no_representation(cql_type, json))?
        }
        (T::Varint | T::Decimal, _) => return Err(no_representation(cql_type, json)),
        (T::Timestamp, Json::Number(n)) if n.parse::<i64>().is_ok() => text::from_text(cql_type, n)?,
        (T::Int | T::Bigint | T::Smallint | T::Tinyint | T::Counter, Json::Number(n)) => {
            text::from_text(cql_type, n).map_err(|_| wrong(&article(cql_type)))?
        }
        (T::Float | T::Double, Json::Number(n)) => text::from_text(cql_type, n)?,
        (_, Json::String(s)) => text::from_text(cql_type, s)?,
        (T::Blob, _) => return Err(no_blob(json)),
        (T::Int | T::Bigint | T::Smallint | T::Tinyint | T::Counter | T::Boolean | T::Float | T::Double, _) => {
            return Err(wrong(&article(cql_type)));
        }
        _ => return Err(wrong(&wanted(cql_type))),
    }))
}

fn blob_from(s: &str) -> Result<Bytes, String> {
    let wrong = |why: String| format!("Value '{s}' is not a valid blob representation: {why}");
    let digits = s
        .strip_prefix("0x")
        .ok_or_else(|| wrong(format!("String representation of blob is missing 0x prefix: {s}")))?;
    text::decode_hex(digits).ok_or_else(|| wrong(format!("cannot parse '{digits}' as hex bytes")))
}

/// What is no string is told with the Java class it has instead.
fn no_blob(json: &Json) -> String {
    let package = match kind(json) {
        "BigInteger" => "java.math",
        "ArrayList" | "LinkedHashMap" => "java.util",
        _ => "java.lang",
    };
    let class = format!("{package}.{}", kind(json));
    format!(
        "Value '{}' is not a valid blob representation: class {class} cannot be cast to class java.lang.String ({class} and java.lang.String are in module java.base of loader 'bootstrap')",
        show(json)
    )
}

/// `an int value`, `a bigint value`; two types have Java's names here.
fn article(cql_type: &CqlType) -> String {
    match cql_type {
        CqlType::Int => "an int value".to_owned(),
        CqlType::Smallint => "a short value".to_owned(),
        CqlType::Tinyint => "a byte value".to_owned(),
        other => format!("a {other} value"),
    }
}

/// What is expected of types that are not numbers.
fn wanted(cql_type: &CqlType) -> String {
    use CqlType as T;
    match cql_type {
        T::Uuid | T::Timeuuid | T::Duration => format!("a string representation of a {cql_type}"),
        T::Inet => "a string representation of an inet value".to_owned(),
        T::Date | T::Time => format!("a string representation of a {cql_type} value"),
        T::Timestamp => "a long or a datestring representation of a timestamp value".to_owned(),
        T::List { .. } | T::Vector { .. } => "a list".to_owned(),
        T::Set { .. } => "a list (representing a set)".to_owned(),
        T::Map { .. } | T::Udt { .. } => "a map".to_owned(),
        T::Tuple(_) => "a list representation of a tuple".to_owned(),
        other => format!("a value of type {other}"),
    }
}

fn no_representation(cql_type: &CqlType, json: &Json) -> String {
    format!("Value '{}' is not a valid representation of a {cql_type} value", show(json))
}

fn element_from(cql_type: &CqlType, json: &Json) -> Result<Option<Bytes>, String> {
    match from_json(cql_type, json)? {
        None => Err("Invalid null element in list".to_owned()),
        some => Ok(some),
    }
}

/// A string in JSON's quotes and escapes.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "Boolean",
        Json::Number(n) if n.contains(['.', 'e', 'E']) => "Double",
        Json::Number(n) if n.parse::<i32>().is_ok() => "Integer",
        Json::Number(n) if n.parse::<i64>().is_ok() => "Long",
        Json::Number(_) => "BigInteger",
        Json::String(_) => "String",
        Json::Array(_) => "ArrayList",
        Json::Object(_) => "LinkedHashMap",
    }
}

fn show(json: &Json) -> String {
    match json {
        Json::Null => "null".to_owned(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => n.clone(),
        Json::String(s) => s.clone(),
        Json::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Json::Object(pairs) => {
            format!("{{{}}}", pairs.iter().map(|(k, v)| format!("{k}={}", show(v))).collect::<Vec<_>>().join(", "))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.skip_space();
        let next = self.text[self.at..].chars().next()?;
        match next {
            '{' => {
                self.at += 1;
                let mut pairs = Vec::new();
                if self.eat("}") {
                    return Some(Json::Object(pairs));
                }
                loop {
                    self.skip_space();
                    let name = self.string()?;
                    self.eat(":").then_some(())?;
                    pairs.push((name, self.value(depth + 1)?));
                    if self.eat("}") {
                        return Some(Json::Object(pairs));
                    }
                    self.eat(",").then_some(())?;
                }
            }
            '[' => {
                self.at += 1;
                let mut items = Vec::new();
                if self.eat("]") {
                    return Some(Json::Array(items));
                }
                loop {
                    items.push(self.value(depth + 1)?);
                    if self.eat("]") {
                        return Some(Json::Array(items));
                    }
                    self.eat(",").then_some(())?;
                }
            }
            '"' => self.string().map(Json::String),
            't' => self.eat("true").then_some(Json::Bool(true)),
            'f' => self.eat("false").then_some(Json::Bool(false)),
            'n' => self.eat("null").then_some(Json::Null),
            _ => {
                let rest = &self.text[self.at..];
                let end =
                    rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
                rest[..end].parse::<f64>().ok()?;
                self.at += end;
                Some(Json::Number(rest[..end].to_owned()))
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.text[self.at..].starts_with('"').then_some(())?;
        self.at += 1;
        let mut out = String::new();
        loop {
            let c = self.text[self.at..].chars().next()?;
            self.at += c.len_utf8();
            match c {
                '"' => return Some(out),
                '\\' => {
                    let escape = self.text[self.at..].chars().next()?;
                    self.at += escape.len_utf8();
                    out.push(match escape {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'u' => self.unicode()?,
                        other => other,
                    });
                }
                c => out.push(c),
            }
        }
    }

    fn unicode(&mut self) -> Option<char> {
        let unit = self.hex4()?;
        if !(0xd800..0xdc00).contains(&unit) {
            return char::from_u32(unit);
        }
        self.text[self.at..].starts_with("\\u").then_some(())?;
        self.at += 2;
        let low = self.hex4()?.checked_sub(0xdc00)?;
        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + low)
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_values_become_cql_values_and_back() {
        let set = CqlType::set(CqlType::Int, false);
        let json = Json::parse("[2, 1, 2]").expect("JSON");
        let bytes = from_json(&set, &json).expect("ints");
        assert_eq!(to_json(&set, bytes.as_ref()), "[1, 2]");
        let map = CqlType::map(CqlType::Int, CqlType::Text, false);
        let json = Json::parse(r#"{"2": "b\u00e9", "1": "a\"x"}"#).expect("JSON");
        let bytes = from_json(&map, &json).expect("a map");
        assert_eq!(to_json(&map, bytes.as_ref()), r#"{"1": "a\"x", "2": "bé"}"#);
    }

    #[test]
    fn texts_that_are_no_json_are_refused() {
        for text in ["", "{", "[1,]", "{\"a\"}", "tru", "\"a", "1 2", "\"\\ud800\""] {
            assert_eq!(Json::parse(text), None, "{text}");
        }
        assert_eq!(Json::parse(&"[".repeat(100_000)), None, "deep nesting");
    }
}
