//! CQL text into a statement: recursive descent over the tokens.
//!
//! Depth is bounded, so no text can exhaust the stack. What CQL knows and this parser does not model is refused by
//! name; what CQL does not know is a syntax error with Cassandra's wording.

mod ddl;
mod functions;
mod modify;
mod select;
mod term;
mod views;

pub use views::parse_relations;

use super::ast::{Describe, Name, Statement, Term};
use super::lexer::{Kind, Token, hidden, place, tokenize};
use crate::protocol::ServerError;
use crate::remembered::{Remembered, TEXT_LEN_MAX};
use crate::types::{CqlType, RESERVED};
use std::sync::Arc;

/// A statement and its bind markers, in order; a named marker has its name.
#[derive(Debug)]
pub struct Parsed {
    /// The statement.
    pub statement: Statement,
    /// The markers' names.
    pub markers: Vec<Option<String>>,
}

/// Terms nested deeper than this are refused.
const DEPTH_MAX: usize = 64;

/// Parses one statement.
///
/// # Errors
///
/// [`ServerError::Syntax`], or [`ServerError::Invalid`] for what is not modelled.
pub fn parse(text: &str) -> Result<Parsed, ServerError> {
    let mut parser = Parser::new(text)?;
    let statement = parser.statement()?;
    let is_select = matches!(statement, Statement::Select(_));
    while parser.eat(";") {}
    if *parser.peek() != Kind::End {
        return Err(match parser.open_end {
            // What can follow a relation in some other statement ends this one.
            Some((_, at)) if at == parser.at && !is_select && parser.is_clause() => {
                parser.seen = parser.seen.max(parser.compared);
                parser.mismatch("EOF")
            }
            Some((decision, at)) if at == parser.at => parser.no_viable_from(decision),
            _ => parser.mismatch("EOF"),
        });
    }
    Ok(Parsed { statement, markers: parser.markers })
}

/// Parses one statement, unless the same text was parsed before: clusters are asked the same few questions.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_remembered(text: &str) -> Result<Arc<Parsed>, ServerError> {
    thread_local! {
        static PARSED: Remembered<String, Arc<Parsed>> = const { Remembered::new(1_024) };
    }
    if let Some(known) = PARSED.with(|known| known.recall(text)) {
        return Ok(known);
    }
    let parsed = Arc::new(parse(text)?);
    if text.len() <= TEXT_LEN_MAX {
        PARSED.with(|known| known.remember(text.to_owned(), Arc::clone(&parsed)));
    }
    Ok(parsed)
}

/// Parses a type as `system_schema.columns.type` holds it.
///
/// # Errors
///
/// [`ServerError::Syntax`].
pub fn parse_type(text: &str) -> Result<super::ast::TypeName, ServerError> {
    Parser::new(text)?.type_name()
}

/// What the refusal of CQL ends with that exists but is not modelled.
pub const NOT_MODELLED: &str = "is not modelled by the simulated cluster";

/// Refuses CQL that exists but is not modelled.
#[must_use]
pub fn not_modelled(what: &str) -> ServerError {
    ServerError::Invalid(format!("{what} {NOT_MODELLED}"))
}

type Parse<T> = Result<T, ServerError>;

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    markers: Vec<Option<String>>,
    /// Whether the term at hand is assigned in an UPDATE.
    in_assignment: bool,
    /// Where something ended that could have gone on: the token it is decided from, and the one behind it.
    open_end: Option<(usize, usize)>,
    /// The last token that Cassandra's parser has looked at by now, if it looked further than this one.
    seen: usize,
    /// The same, for a look behind the value of a comparison, which it takes only where a clause may follow.
    compared: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parse<Self> {
        Ok(Self {
            text,
            tokens: tokenize(text)?,
            at: 0,
            depth: 0,
            markers: Vec::new(),
            in_assignment: false,
            open_end: None,
            seen: 0,
            compared: 0,
        })
    }
}

impl Parser<'_> {
    fn statement(&mut self) -> Parse<Statement> {
        let Kind::Word(word) = self.peek().clone() else { return Err(self.no_viable()) };
        match word.as_str() {
            "select" => self.select(),
            "insert" => self.insert().map(|m| Statement::Modify(Box::new(m))),
            "update" => self.update().map(|m| Statement::Modify(Box::new(m))),
            "delete" => self.delete().map(|m| Statement::Modify(Box::new(m))),
            "begin" => self.batch(),
            "use" => {
                self.next();
                Ok(Statement::Use(self.name()?))
            }
            "truncate" => {
                self.next();
                if !self.eat_word("table") {
                    self.eat_word("columnfamily");
                }
                Ok(Statement::Truncate(self.table_name()?))
            }
            "create" => self.create().map(Statement::Ddl),
            "alter" => self.alter().map(Statement::Ddl),
            "drop" => self.drop().map(Statement::Ddl),
            "describe" | "desc" => self.describe(),
            "grant" | "revoke" | "list" => Err(not_modelled(&word.to_ascii_uppercase())),
            _ => Err(self.no_viable()),
        }
    }

    fn describe(&mut self) -> Parse<Statement> {
        self.next();
        let Kind::Word(word) = self.peek().clone() else {
            let name = self.described_name()?;
            return self.describe_end(Describe::Anything(name));
        };
        let is_last = matches!(self.tokens[self.at + 1].kind, Kind::End | Kind::Symbol(";"))
            || self.word_at(self.at + 1) == Some("with");
        let what = match (word.as_str(), is_last) {
            ("cluster", true) => self.then(Describe::Cluster),
            ("schema", true) => self.then(Describe::Schema { full: false }),
            ("full", _) => {
                self.next();
                self.expect_word("schema")?;
                Describe::Schema { full: true }
            }
            ("keyspaces", true) => self.then(Describe::Keyspaces),
            ("tables" | "columnfamilies", true) => self.then(Describe::Tables),
            ("types", true) => self.then(Describe::Types),
            ("functions", true) => self.then(Describe::Functions),
            ("aggregates", true) => self.then(Describe::Aggregates),
            ("only", false) => {
                self.next();
                self.expect_word("keyspace")?;
                let name = if matches!(self.peek(), Kind::End) { None } else { Some(self.name()?) };
                Describe::Keyspace { name, only: true }
            }
            ("keyspace", true) => self.then(Describe::Keyspace { name: None, only: false }),
            ("keyspace", false) => {
                self.next();
                Describe::Keyspace { name: Some(self.name()?), only: false }
            }
            ("table" | "columnfamily", _) => {
                self.next();
                Describe::Table(self.described_name()?)
            }
            ("type", false) => {
                self.next();
                Describe::Type(self.described_name()?)
            }
            ("index", _) => {
                self.next();
                Describe::Index(self.described_name()?)
            }
            ("materialized", _) => {
                self.next();
                self.expect_word("view")?;
                Describe::View(self.described_name()?)
            }
            ("function", false) => {
                self.next();
                Describe::Function(self.described_name()?)
            }
            ("aggregate", false) => {
                self.next();
                Describe::Aggregate(self.described_name()?)
            }
            ("cluster" | "tables" | "columnfamilies" | "types" | "functions" | "aggregates" | "keyspaces", false)
                if !self.symbol_at(self.at + 1, ".") =>
            {
                self.next();
                // Cassandra shows no snippet here.
                let at = place(self.text, self.tokens[self.at].start);
                let found = self.shown(self.at);
                return Err(ServerError::Syntax(format!("{at} mismatched input '{found}' expecting EOF")));
            }
            _ => Describe::Anything(self.described_name()?),
        };
        self.describe_end(what)
    }

    /// The name of what is described, which nothing but WITH may follow.
    fn described_name(&mut self) -> Parse<Name> {
        let start = self.at;
        let name = self.qualified_name()?;
        let ends = matches!(self.peek(), Kind::End | Kind::Symbol(";")) || self.is_word("with");
        if name.keyspace.is_none() && !ends {
            return Err(self.no_viable_from(start));
        }
        Ok(name)
    }

    fn describe_end(&mut self, what: Describe) -> Parse<Statement> {
        let with_internals = self.eat_word("with");
        if with_internals {
            self.expect_word("internals")?;
        }
        Ok(Statement::Describe { what, with_internals })
    }

    // tokens

    fn peek(&self) -> &Kind {
        &self.tokens[self.at].kind
    }

    fn next(&mut self) -> Kind {
        let kind = self.peek().clone();
        if kind != Kind::End {
            self.at += 1;
        }
        kind
    }

    fn then<T>(&mut self, value: T) -> T {
        self.next();
        value
    }

    /// Whether a clause begins that may stand behind WHERE.
    fn is_clause(&self) -> bool {
        ["group", "order", "per", "limit", "allow", "if"].iter().any(|word| self.is_word(word))
    }

    /// The name of a user type, which cannot be that of a native one.
    fn user_type_name(&mut self) -> Parse<Name> {
        let is_native = |kind: &Kind| matches!(kind, Kind::Word(word) if CqlType::native(word).is_some());
        if is_native(self.peek()) {
            self.next();
            self.expect(".")?;
            self.at -= 2;
        }
        if self.symbol_at(self.at + 1, ".") && self.tokens.get(self.at + 2).is_some_and(|token| is_native(&token.kind))
        {
            self.at += 2;
            return Err(self.no_viable());
        }
        self.qualified_name()
    }

    fn word_at(&self, at: usize) -> Option<&str> {
        match &self.tokens.get(at)?.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    fn is_word(&self, word: &str) -> bool {
        self.word_at(self.at) == Some(word)
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Kind::Symbol(s) if *s == symbol)
    }

    fn symbol_at(&self, at: usize, symbol: &str) -> bool {
        matches!(self.tokens.get(at).map(|t| &t.kind), Some(Kind::Symbol(s)) if *s == symbol)
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Parse<()> {
        if self.eat(symbol) { Ok(()) } else { Err(self.mismatch(&format!("'{symbol}'"))) }
    }

    fn expect_word(&mut self, word: &str) -> Parse<()> {
        if self.eat_word(word) { Ok(()) } else { Err(self.mismatch(&format!("K_{}", word.to_ascii_uppercase()))) }
    }

    /// `IF [NOT] EXISTS` as far as it is there.
    fn if_not_exists(&mut self) -> Parse<bool> {
        if !self.eat_word("if") {
            return Ok(false);
        }
        self.expect_word("not")?;
        self.expect_word("exists")?;
        Ok(true)
    }

    fn if_exists(&mut self) -> Parse<bool> {
        if !self.eat_word("if") {
            return Ok(false);
        }
        self.expect_word("exists")?;
        Ok(true)
    }

    /// An identifier, unquoted.
    fn name(&mut self) -> Parse<String> {
        match self.peek().clone() {
            Kind::Word(word) if !RESERVED.contains(&word.as_str()) => Ok(self.then(word)),
            Kind::QuotedName(name) => Ok(self.then(name)),
            _ => Err(self.no_viable()),
        }
    }

    fn qualified_name(&mut self) -> Parse<Name> {
        let first = self.name()?;
        if self.eat(".") {
            return Ok(Name { keyspace: Some(first), name: self.name()? });
        }
        Ok(Name { keyspace: None, name: first })
    }

    /// The name of a table; what follows must be able to follow one in some statement.
    fn table_name(&mut self) -> Parse<Name> {
        const FOLLOWS: &[&str] = &[
            "where", "group", "order", "per", "limit", "allow", "using", "set", "json", "with", "add", "drop", "alter",
            "rename", "to", "from", "primary", "if", "as",
        ];
        let start = self.at;
        let name = self.qualified_name()?;
        let follows = match self.peek() {
            Kind::Word(word) => FOLLOWS.contains(&word.as_str()),
            Kind::Symbol(symbol) => matches!(*symbol, "(" | ";" | ")"),
            Kind::End => true,
            _ => false,
        };
        if name.keyspace.is_none() && !follows {
            return Err(self.no_viable_from(start));
        }
        Ok(name)
    }

    /// A value, where a bare name is none.
    fn value(&mut self) -> Parse<Term> {
        let start = self.at;
        let term = self.term()?;
        if let Term::Column(_) = term {
            return Err(self.no_viable_from(start));
        }
        Ok(term)
    }

    /// An integer or a marker.
    fn integer(&mut self) -> Parse<Term> {
        let fits = matches!(self.peek(), Kind::Integer(_) | Kind::Symbol("?" | ":"));
        match if fits { self.constant()? } else { None } {
            Some(constant) => Ok(constant),
            None => Err(self.no_viable()),
        }
    }

    /// Items separated by commas, at least one.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parse<T>) -> Parse<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.depth == DEPTH_MAX {
            return Err(ServerError::Syntax(format!(
                "{} nested too deeply",
                place(self.text, self.tokens[self.at].start)
            )));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    // errors

    /// The next token fits no alternative.
    fn no_viable(&self) -> ServerError {
        self.no_viable_from(self.at)
    }

    /// The next token fits no alternative, and Cassandra's parser had to look at it from an earlier token on.
    fn no_viable_from(&self, decision: usize) -> ServerError {
        self.syntax("no viable alternative at input", "", decision)
    }

    fn mismatch(&self, expected: &str) -> ServerError {
        self.syntax("mismatched input", &format!(" expecting {expected}"), self.at)
    }

    fn syntax(&self, problem: &str, after: &str, decision: usize) -> ServerError {
        let token = &self.tokens[self.at];
        if token.kind == Kind::End {
            // The end has no place of its own in Cassandra's parser.
            return ServerError::Syntax(format!("line 0:-1 {problem} '<EOF>'{after}"));
        }
        let at = place(self.text, token.start);
        ServerError::Syntax(format!("{at} {problem} '{}'{after} ({})", self.shown(self.at), self.snippet(decision)))
    }

    /// A token's text without quotes.
    fn shown(&self, at: usize) -> String {
        let token = &self.tokens[at];
        match &token.kind {
            Kind::String(text) | Kind::QuotedName(text) => text.clone(),
            _ => self.text[token.start..token.end].to_owned(),
        }
    }

    /// The neighbourhood of a token: ten tokens before it (blanks and comments count), and up to two after it as far
    /// as they were read. Line ends are left out.
    fn snippet(&self, decision: usize) -> String {
        let token = &self.tokens[decision];
        let starts = self.stream_starts(decision);
        let from = starts[starts.len().saturating_sub(10)..].first().copied().unwrap_or(token.start);
        let mark = (token.start + self.shown(decision).len()).min(self.text.len());
        let last = if self.seen.max(self.at) > decision { (decision + 1).min(self.tokens.len() - 1) } else { decision };
        let end = (self.tokens[last].start + self.shown(last).len()).min(self.text.len()).max(mark);
        let piece = |range: std::ops::Range<usize>| self.text.get(range).unwrap_or_default().replace('\n', "");
        let dots = if from == 0 { "" } else { "..." };
        let more = if end == self.text.trim_end_matches(';').len() || end == self.text.len() { "" } else { "..." };
        format!("{dots}{}[{}]{}{more}", piece(from..token.start), piece(token.start..mark), piece(mark..end))
    }

    /// Where the tokens before this one begin, blanks and comments among them.
    fn stream_starts(&self, at: usize) -> Vec<usize> {
        let mut starts = Vec::new();
        let mut end = 0;
        for (index, token) in self.tokens[..=at].iter().enumerate() {
            starts.extend(hidden(self.text, end..token.start));
            if index < at {
                starts.push(token.start);
            }
            end = token.end;
        }
        starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn statements_of_every_kind_parse() {
        for text in [
            "SELECT * FROM k.t",
            "select a, \"B\" as b, count(*), writetime(c), cast(d as text), e.f, m['x'], now() from t where k = ? and c > 5 limit 10;",
            "SELECT JSON DISTINCT a FROM t WHERE (a, b) IN ((1, 2), (3, 4)) AND token(k) > -5 ORDER BY a DESC, b PER PARTITION LIMIT 2 LIMIT :n ALLOW FILTERING",
            "INSERT INTO k.t (a, b) VALUES (1, {'x': [1, -2]}) IF NOT EXISTS USING TTL 5 AND TIMESTAMP ?",
            "INSERT INTO t JSON '{}' DEFAULT UNSET",
            "UPDATE t USING TTL 3 SET a = 1, b = b + {1}, c[2] = 3, d.e = 4, f = [1] + f, g += 1 WHERE k IN (1, 2) IF a = 1 AND b[1] IN (2, 3)",
            "DELETE a, b['x'], c.d FROM t USING TIMESTAMP 4 WHERE k = 1 IF EXISTS",
            "BEGIN UNLOGGED BATCH USING TIMESTAMP 1 INSERT INTO t (a) VALUES (1); DELETE FROM t WHERE a = 2 APPLY BATCH",
            "BEGIN BATCH APPLY BATCH",
            "USE \"Ks\"",
            "TRUNCATE TABLE t",
            "CREATE KEYSPACE IF NOT EXISTS k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1} AND durable_writes = false",
            "CREATE TABLE t (a int, b frozen<map<text, list<int>>>, c text STATIC, v vector<float, 3>, PRIMARY KEY ((a, b), c)) WITH CLUSTERING ORDER BY (c DESC) AND comment = 'x'",
            "ALTER TABLE t ADD (a int, b text)",
            "ALTER TABLE t RENAME a TO b AND c TO d",
            "DROP TABLE IF EXISTS k.t",
            "CREATE TYPE k.address (street text, zip int)",
            "ALTER TYPE address ADD x int",
            "CREATE CUSTOM INDEX IF NOT EXISTS i ON t (KEYS(m)) USING 'sai' WITH OPTIONS = {'a': 'b'}",
            "DESCRIBE TABLE k.t WITH INTERNALS",
            "DESC KEYSPACES",
            "DESCRIBE simplex",
        ] {
            if let Err(error) = parse(text) {
                panic!("{text}: {error:?}");
            }
        }
    }

    #[test]
    fn syntax_errors_say_where_and_what() {
        for (text, message) in [
            ("SELEC * FROM t", "line 1:0 no viable alternative at input 'SELEC' ([SELEC]...)"),
            ("SELECT FROM", "line 1:7 no viable alternative at input 'FROM' (SELECT [FROM])"),
            ("SELECT * FROM t WHERE", "line 0:-1 no viable alternative at input '<EOF>'"),
        ] {
            assert_eq!(parse(text).expect_err(text), ServerError::Syntax(message.into()));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(words in prop::collection::vec("[a-z]{1,6}|[(){}\\[\\],.;:=<>?*'\"+-]|select|from|where|insert|[0-9]{1,3}", 0..20)) {
            let _ = parse(&words.join(" "));
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let text = format!("SELECT * FROM t WHERE k = {}", "[".repeat(100_000));
        assert!(matches!(parse(&text), Err(ServerError::Syntax(_))));
    }
}
