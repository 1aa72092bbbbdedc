//! Reads the type text of `system_schema.columns`, such as `frozen<map<text, list<int>>>`.
//!
//! Bounded: nesting is followed to a fixed depth, and nothing is allocated beyond what the text holds.

use std::fmt;
use std::sync::Arc;

use crate::value::{CqlType, NativeType, UserType};

/// A type text that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CqlTypeParseError {
    /// The text.
    pub text: String,
    /// Byte position where reading stopped.
    pub position: usize,
}

impl fmt::Display for CqlTypeParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read the CQL type {:?} at byte {}", self.text, self.position)
    }
}

impl std::error::Error for CqlTypeParseError {}

/// Parses a type; `user_type` finds user-defined types of the same keyspace by name.
///
/// # Errors
///
/// [`CqlTypeParseError`] if the text is not a type or nests deeper than 32 levels. An unknown name is not an error:
/// it becomes [`CqlType::Custom`].
pub fn parse_cql_type(
    text: &str,
    user_type: &dyn Fn(&str) -> Option<Arc<UserType>>,
) -> Result<CqlType, CqlTypeParseError> {
    let mut parser = Parser { text, position: 0, user_type };
    let parsed = parser.cql_type(0);
    parser.skip_spaces();
    match parsed {
        Some(cql_type) if parser.position == text.len() => Ok(cql_type),
        Some(_) | None => Err(CqlTypeParseError { text: text.to_owned(), position: parser.position }),
    }
}

const DEPTH_MAX: usize = 32;

struct Parser<'a> {
    text: &'a str,
    position: usize,
    user_type: &'a dyn Fn(&str) -> Option<Arc<UserType>>,
}

impl Parser<'_> {
    fn cql_type(&mut self, depth: usize) -> Option<CqlType> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.skip_spaces();
        if self.rest().starts_with('\'') {
            return self.quoted('\'').map(|class| CqlType::Custom(class.into()));
        }
        if self.rest().starts_with('"') {
            let name = self.quoted('"')?;
            return Some(self.named(&name));
        }
        let name = self.word()?;
        match name.as_str() {
            "frozen" => self.one_parameter(depth),
            "list" => Some(CqlType::List(Box::new(self.one_parameter(depth)?))),
            "set" => Some(CqlType::Set(Box::new(self.one_parameter(depth)?))),
            "map" => {
                let mut parameters = self.parameters(depth)?.into_iter();
                match (parameters.next(), parameters.next(), parameters.next()) {
                    (Some(key), Some(value), None) => Some(CqlType::Map(Box::new(key), Box::new(value))),
                    _ => None,
                }
            }
            "tuple" => self.parameters(depth).map(CqlType::Tuple),
            "vector" => self.vector(depth),
            other => Some(NativeType::from_name(other).map_or_else(|| self.named(other), CqlType::Native)),
        }
    }

    fn named(&self, name: &str) -> CqlType {
        (self.user_type)(name).map_or_else(|| CqlType::Custom(name.into()), CqlType::UserDefined)
    }

    fn one_parameter(&mut self, depth: usize) -> Option<CqlType> {
        self.expect('<')?;
        let parameter = self.cql_type(depth + 1)?;
        self.expect('>')?;
        Some(parameter)
    }

    fn parameters(&mut self, depth: usize) -> Option<Vec<CqlType>> {
        self.expect('<')?;
        let mut parameters = vec![self.cql_type(depth + 1)?];
        while self.expect(',').is_some() {
            parameters.push(self.cql_type(depth + 1)?);
        }
        self.expect('>')?;
        Some(parameters)
    }

    fn vector(&mut self, depth: usize) -> Option<CqlType> {
        self.expect('<')?;
        let element = Box::new(self.cql_type(depth + 1)?);
        self.expect(',')?;
        self.skip_spaces();
        let dimensions = self.word()?.parse().ok()?;
        self.expect('>')?;
        Some(CqlType::Vector { element, dimensions })
    }

    fn rest(&self) -> &str {
        &self.text[self.position..]
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start().len();
    }

    fn word(&mut self) -> Option<String> {
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = rest[..len].to_owned();
        self.position += len;
        (len > 0).then_some(word)
    }

    /// Reads a quoted name in which the quote is escaped by doubling it.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut name = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((index, c)) = chars.next() {
            if c != quote {
                name.push(c);
            } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
                name.push(quote);
                chars.next();
            } else {
                self.position += index + 1;
                return Some(name);
            }
        }
        None
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        self.skip_spaces();
        self.rest().starts_with(wanted).then(|| self.position += wanted.len_utf8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CqlType, CqlTypeParseError> {
        parse_cql_type(text, &|name| {
            (name == "address")
                .then(|| Arc::new(UserType { keyspace: "app".into(), name: "address".into(), fields: Vec::new() }))
        })
    }

    #[test]
    fn nested_types_are_read_without_their_freezing() {
        for (text, written) in [
            ("int", "int"),
            ("frozen<map<text, frozen<list<int>>>>", "map<text, list<int>>"),
            ("tuple<int,set<uuid>>", "tuple<int, set<uuid>>"),
            ("vector<float, 3>", "vector<float, 3>"),
            ("frozen<address>", "app.address"),
            ("\"Mixed\"", "'Mixed'"),
            ("'org.example.Custom'", "'org.example.Custom'"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), written, "{text}");
        }
    }

    #[test]
    fn broken_texts_are_refused_and_never_panic() {
        for text in ["", "<", "map<int>", "list<int", "list<int>>", "vector<float, x>", "'open", "list<é", "tuple<>"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"list<".repeat(10_000)).is_err());
    }
}
