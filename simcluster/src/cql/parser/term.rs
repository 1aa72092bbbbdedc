//! Values and types.

use super::{Parse, Parser};
use crate::cql::ast::{Name, Term, TypeName};
use crate::cql::lexer::Kind;
use crate::protocol::ServerError;
use crate::types::CqlType;

impl Parser<'_> {
    pub(super) fn term(&mut self) -> Parse<Term> {
        self.deeper(Self::term_inner)
    }

    fn term_inner(&mut self) -> Parse<Term> {
        let term = match self.peek().clone() {
            Kind::String(s) => self.then(Term::String(s)),
            Kind::Integer(s) => self.then(Term::Integer(s)),
            Kind::Float(s) => self.then(Term::Float(s)),
            Kind::Uuid(s) => self.then(Term::Uuid(s)),
            Kind::Blob(s) => self.then(Term::Blob(s)),
            Kind::Duration(s) => self.then(Term::Duration(s)),
            Kind::Symbol("?" | ":") => Term::Marker(self.marker()?),
            Kind::Symbol("-") => {
                self.next();
                match self.next() {
                    Kind::Integer(s) => Term::Integer(format!("-{s}")),
                    Kind::Float(s) => Term::Float(format!("-{s}")),
                    Kind::Duration(s) => Term::Duration(format!("-{s}")),
                    Kind::Word(w) if w == "infinity" => Term::Float("-Infinity".to_owned()),
                    Kind::Word(w) if w == "nan" => Term::Float("NaN".to_owned()),
                    _ => {
                        self.at -= 1;
                        return Err(self.no_viable());
                    }
                }
            }
            Kind::Symbol("[") => {
                self.next();
                Term::List(self.terms_until("]")?)
            }
            Kind::Symbol("{") => {
                self.next();
                self.braces()?
            }
            Kind::Symbol("(") => self.parenthesis()?,
            Kind::Word(word) => match word.as_str() {
                "null" => self.then(Term::Null),
                "true" => self.then(Term::Boolean(true)),
                "false" => self.then(Term::Boolean(false)),
                "nan" => self.then(Term::Float("NaN".to_owned())),
                "infinity" => self.then(Term::Float("Infinity".to_owned())),
                "cast" if self.symbol_at(self.at + 1, "(") => {
                    self.next();
                    self.next();
                    let inner = self.term()?;
                    self.expect_word("as")?;
                    let type_name = self.type_name()?;
                    self.expect(")")?;
                    Term::Cast(type_name, Box::new(inner))
                }
                "token" => {
                    self.next();
                    self.expect("(")?;
                    Term::Call(Name { keyspace: None, name: word }, self.terms_until(")")?)
                }
                _ => {
                    let name = self.qualified_name()?;
                    if self.eat("(") {
                        Term::Call(name, self.terms_until(")")?)
                    } else if name.keyspace.is_none() {
                        Term::Column(name.name)
                    } else {
                        return Err(self.no_viable());
                    }
                }
            },
            Kind::QuotedName(_) => {
                let name = self.qualified_name()?;
                if self.eat("(") { Term::Call(name, self.terms_until(")")?) } else { Term::Column(name.name) }
            }
            _ => return Err(self.no_viable()),
        };
        Ok(term)
    }

    /// Registers `?` or `:name` and answers its index.
    pub(super) fn marker(&mut self) -> Parse<usize> {
        let name = if self.eat("?") {
            None
        } else {
            self.expect(":")?;
            Some(match self.next() {
                // Any word can name a marker, reserved or not.
                Kind::Word(word) => word,
                Kind::QuotedName(name) => name,
                Kind::Integer(number) => number,
                _ => {
                    self.at -= 1;
                    return Err(self.no_viable());
                }
            })
        };
        self.markers.push(name);
        Ok(self.markers.len() - 1)
    }

    pub(super) fn terms_until(&mut self, close: &str) -> Parse<Vec<Term>> {
        if self.eat(close) {
            return Ok(Vec::new());
        }
        let terms = self.list(Self::term)?;
        self.expect(close)?;
        Ok(terms)
    }

    fn braces(&mut self) -> Parse<Term> {
        if self.eat("}") {
            return Ok(Term::Set(Vec::new()));
        }
        let first = self.term()?;
        if !self.eat(":") {
            let mut items = vec![first];
            while self.eat(",") {
                items.push(self.term()?);
            }
            self.expect("}")?;
            return Ok(Term::Set(items));
        }
        let mut pairs = vec![(first, self.term()?)];
        while self.eat(",") {
            let key = self.term()?;
            self.expect(":")?;
            pairs.push((key, self.term()?));
        }
        self.expect("}")?;
        // Bare names before the colons are the fields of a user type.
        if pairs.iter().all(|(key, _)| matches!(key, Term::Column(_))) {
            let field = |key| if let Term::Column(name) = key { name } else { String::new() };
            return Ok(Term::Udt(pairs.into_iter().map(|(key, value)| (field(key), value)).collect()));
        }
        Ok(Term::Map(pairs))
    }

    /// A tuple, or a type hint before a term: `(int)5`.
    fn parenthesis(&mut self) -> Parse<Term> {
        let start = self.at;
        self.next();
        let markers = self.markers.len();
        if matches!(self.peek(), Kind::Word(_))
            && let Ok(type_name) = self.type_name()
            && self.eat(")")
            && let Ok(inner) = self.term()
        {
            return Ok(Term::Cast(type_name, Box::new(inner)));
        }
        self.at = start + 1;
        self.markers.truncate(markers);
        Ok(Term::Tuple(self.terms_until(")")?))
    }

    pub(in crate::cql) fn type_name(&mut self) -> Parse<TypeName> {
        self.deeper(|p| {
            if let Kind::String(_) = p.peek() {
                return Err(super::not_modelled("a type given as a Java class name"));
            }
            let opens = p.symbol_at(p.at + 1, "<");
            let Kind::Word(word) = p.peek().clone() else { return Ok(TypeName::Named(p.qualified_name()?)) };
            if p.depth > 1 && CqlType::native(&word).is_some() {
                p.seen = p.at + 2;
            }
            if !opens {
                return Ok(TypeName::Named(p.qualified_name()?));
            }
            p.next();
            p.next();
            let inner = match word.as_str() {
                "list" => TypeName::List(Box::new(p.type_name()?)),
                "set" => TypeName::Set(Box::new(p.type_name()?)),
                "frozen" => TypeName::Frozen(Box::new(p.type_name()?)),
                "map" => {
                    let key = p.type_name()?;
                    p.expect(",")?;
                    TypeName::Map(Box::new(key), Box::new(p.type_name()?))
                }
                "tuple" if p.is_symbol(">") => {
                    return Err(super::not_modelled("a tuple of nothing, which is an internal error"));
                }
                "tuple" => TypeName::Tuple(p.list(Self::type_name)?),
                "vector" => {
                    let element = p.type_name()?;
                    p.expect(",")?;
                    let negative = p.eat("-");
                    let Kind::Integer(written) = p.peek().clone() else { return Err(p.no_viable()) };
                    p.next();
                    let sign = if negative { "-" } else { "" };
                    let dimensions = written.parse::<u16>().ok().filter(|n| *n > 0 && !negative).ok_or_else(|| {
                        ServerError::Invalid(format!(
                            "vectors may only have positive dimensions; given {sign}{written}"
                        ))
                    })?;
                    TypeName::Vector(Box::new(element), dimensions)
                }
                _ => {
                    p.at -= 1;
                    return Err(p.no_viable());
                }
            };
            p.expect(">")?;
            Ok(inner)
        })
    }
}
