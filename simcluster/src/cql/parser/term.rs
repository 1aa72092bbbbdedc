//! Values and types.

use super::{Parse, Parser};
use crate::cql::ast::{Name, Term, TypeName};
use crate::cql::functions::{NEGATION, OPERATORS};
use crate::cql::lexer::Kind;
use crate::protocol::ServerError;
use crate::types::CqlType;

/// A function that an operator or a cast stands for.
pub(super) fn system_function(name: &str) -> Name {
    Name { keyspace: Some("system".to_owned()), name: name.to_owned() }
}

/// The function that an operator stands for.
pub(super) fn operator_function(sign: char) -> Name {
    let found = OPERATORS.into_iter().find(|operator| operator.symbol() == sign);
    system_function(found.map_or("", |operator| operator.function()))
}

fn operation(sign: char, left: Term, right: Term) -> Term {
    Term::Call(operator_function(sign), vec![left, right])
}

impl Parser<'_> {
    pub(super) fn term(&mut self) -> Parse<Term> {
        self.deeper(Self::term_inner)
    }

    /// `+` and `-`, which bind less than `*`, `/` and `%`.
    fn term_inner(&mut self) -> Parse<Term> {
        let mut left = self.product()?;
        while let Some(operator) = self.operator_sign(&["+", "-"]).filter(|_| !matches!(left, Term::Column(_))) {
            let before = self.at;
            self.next();
            let start = self.at;
            let right = self.product()?;
            if let Term::Column(_) = right {
                // `term + column` puts elements before those of a list: the assignment goes on from here.
                if operator == '+' && self.in_assignment {
                    self.at = before;
                    break;
                }
                return Err(self.no_viable_from(start));
            }
            left = operation(operator, left, right);
        }
        Ok(left)
    }

    fn product(&mut self) -> Parse<Term> {
        let mut left = self.signed_term()?;
        while let Some(operator) = self.operator_sign(&["*", "/", "%"]).filter(|_| !matches!(left, Term::Column(_))) {
            self.next();
            let start = self.at;
            let right = self.signed_term()?;
            if let Term::Column(_) = right {
                return Err(self.no_viable_from(start));
            }
            left = operation(operator, left, right);
        }
        Ok(left)
    }

    /// The operator that comes next, if it is one of these.
    pub(super) fn operator_sign(&self, signs: &[&str]) -> Option<char> {
        signs.iter().find(|sign| self.is_symbol(sign)).and_then(|sign| sign.chars().next())
    }

    fn signed_term(&mut self) -> Parse<Term> {
        if !self.is_symbol("-") || self.is_negative_word() {
            return self.simple_term();
        }
        self.next();
        let inner = self.simple_term()?;
        if let Term::Column(_) = inner {
            self.at -= 1;
            return Err(self.no_viable());
        }
        Ok(Term::Call(system_function(NEGATION), vec![inner]))
    }

    /// `-infinity` and `-nan`, which are one word to Cassandra.
    fn is_negative_word(&self) -> bool {
        matches!(self.word_at(self.at + 1), Some("infinity" | "nan"))
            && self.tokens[self.at].end == self.tokens[self.at + 1].start
    }

    /// A constant, null or a marker; `None` if there is something else.
    pub(super) fn constant(&mut self) -> Parse<Option<Term>> {
        Ok(Some(match self.peek().clone() {
            Kind::String(s) => self.then(Term::String(s)),
            Kind::Integer(s) => self.then(Term::Integer(s)),
            Kind::Float(s) => {
                self.check_float(&s)?;
                self.then(Term::Float(s))
            }
            Kind::Uuid(s) => self.then(Term::Uuid(s)),
            Kind::Blob(s) => self.then(Term::Blob(s)),
            Kind::Duration(s) => self.then(Term::Duration(s)),
            Kind::Symbol("?" | ":") => Term::Marker(self.marker()?),
            Kind::Symbol("-") if self.is_negative_word() => {
                self.next();
                let is_nan = self.is_word("nan");
                self.then(Term::Float(if is_nan { "NaN" } else { "-Infinity" }.to_owned()))
            }
            Kind::Word(word) => match word.as_str() {
                "null" => self.then(Term::Null),
                "true" => self.then(Term::Boolean(true)),
                "false" => self.then(Term::Boolean(false)),
                "nan" => self.then(Term::Float("NaN".to_owned())),
                "infinity" => self.then(Term::Float("Infinity".to_owned())),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    /// A number that a double cannot hold makes Cassandra's parser fail.
    fn check_float(&self, written: &str) -> Parse<()> {
        if written.parse::<f64>().is_ok_and(f64::is_finite) {
            return Ok(());
        }
        Err(ServerError::Syntax(format!(
            "Failed parsing statement: [{}] reason: NumberFormatException Character I is neither a decimal digit number, decimal point, nor \"e\" notation exponential mark.",
            self.text
        )))
    }

    fn simple_term(&mut self) -> Parse<Term> {
        if let Some(constant) = self.constant()? {
            return Ok(constant);
        }
        Ok(match self.peek().clone() {
            Kind::Symbol("[") => {
                self.next();
                Term::List(self.terms_until("]")?)
            }
            Kind::Symbol("{") => {
                self.next();
                self.braces()?
            }
            Kind::Symbol("(") => self.parenthesis()?,
            Kind::Word(word) if word == "cast" && self.symbol_at(self.at + 1, "(") => {
                self.at += 2;
                let inner = self.simple_term()?;
                self.expect_word("as")?;
                let name = format!("cast_as_{}", self.native_type()?);
                self.expect(")")?;
                Term::Call(system_function(&name), vec![inner])
            }
            Kind::Word(word) if word == "token" => {
                self.next();
                self.expect("(")?;
                Term::Call(Name { keyspace: None, name: word }, self.terms_until(")")?)
            }
            Kind::Word(_) | Kind::QuotedName(_) => {
                let name = self.function_name()?;
                if self.eat("(") {
                    Term::Call(name, self.terms_until(")")?)
                } else if name.keyspace.is_none() {
                    Term::Column(name.name)
                } else {
                    return Err(self.no_viable());
                }
            }
            _ => return Err(self.no_viable()),
        })
    }

    /// The name of a function or column; `system.token` is a name although `token` is a reserved word.
    pub(super) fn function_name(&mut self) -> Parse<Name> {
        if self.symbol_at(self.at + 1, ".") && self.word_at(self.at + 2) == Some("token") {
            let keyspace = Some(self.name()?);
            self.at += 2;
            return Ok(Name { keyspace, name: "token".to_owned() });
        }
        self.qualified_name()
    }

    /// The name of a type without parameters, as it was written.
    pub(super) fn native_type(&mut self) -> Parse<String> {
        match self.peek().clone() {
            Kind::Word(word) if CqlType::native(&word).is_some() => Ok(self.then(word)),
            _ => Err(self.no_viable()),
        }
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
        let terms = self.list(Self::value)?;
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
        // `true` and `false` are no names of types.
        if matches!(self.peek(), Kind::Word(word) if word != "true" && word != "false")
            && let Ok(type_name) = self.type_name()
            && self.eat(")")
            && let Ok(inner) = self.simple_term()
        {
            return Ok(Term::Cast(type_name, Box::new(inner)));
        }
        self.at = start + 1;
        self.markers.truncate(markers);
        if self.is_symbol(")") {
            return Err(self.no_viable_from(start));
        }
        let terms = self.list(Self::value)?;
        self.expect(")")?;
        Ok(Term::Tuple(terms))
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
                    let Kind::Integer(written) = p.peek().clone() else { return Err(p.no_viable()) };
                    p.next();
                    let dimensions = written.parse::<u16>().ok().filter(|n| *n > 0).ok_or_else(|| {
                        ServerError::Invalid(format!("vectors may only have positive dimensions; given {written}"))
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
