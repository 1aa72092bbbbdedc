//! SELECT and the WHERE clause.

use super::term::{operator_function, system_function};
use super::{Parse, Parser};
use crate::cql::ast::{InValues, Name, Op, Relation, Select, Selector, Statement, Term};
use crate::cql::functions::NEGATION;
use crate::cql::lexer::Kind;
use crate::protocol::ServerError;

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Parse<Statement> {
        self.next();
        // `json` and `distinct` may also be column names.
        let is_clause = |p: &Self| {
            !p.symbol_at(p.at + 1, ",") && !p.symbol_at(p.at + 1, "(") && p.word_at(p.at + 1) != Some("from")
        };
        let is_json = self.is_word("json") && is_clause(self) && self.eat_word("json");
        let is_distinct = self.is_word("distinct") && is_clause(self) && self.eat_word("distinct");
        let selectors = if self.eat("*") { None } else { Some(self.list(Self::selector_with_alias)?) };
        self.expect_word("from")?;
        let table = self.table_name()?;
        let relations = if self.eat_word("where") { self.relations()? } else { Vec::new() };
        let mut select = Select {
            table,
            is_json,
            is_distinct,
            selectors,
            relations,
            group_by: Vec::new(),
            order_by: Vec::new(),
            per_partition_limit: None,
            limit: None,
            allow_filtering: false,
        };
        if self.eat_word("group") {
            self.expect_word("by")?;
            select.group_by = self.list(|p| {
                let start = p.at;
                let selector = p.selector()?;
                p.open_end = Some((start, p.at));
                Ok(selector)
            })?;
        }
        if self.eat_word("order") {
            self.expect_word("by")?;
            select.order_by = self.list(|p| {
                let column = p.name()?;
                if p.is_word("ann") {
                    return Err(super::not_modelled("ORDER BY … ANN OF"));
                }
                let descending = p.eat_word("desc");
                if !descending {
                    p.eat_word("asc");
                }
                Ok((column, descending))
            })?;
        }
        if self.eat_word("per") {
            self.expect_word("partition")?;
            self.expect_word("limit")?;
            select.per_partition_limit = Some(self.integer()?);
        }
        if self.eat_word("limit") {
            select.limit = Some(self.integer()?);
        }
        if self.eat_word("allow") {
            self.expect_word("filtering")?;
            select.allow_filtering = true;
        }
        Ok(Statement::Select(Box::new(select)))
    }

    pub(super) fn selector_with_alias(&mut self) -> Parse<(Selector, Option<String>)> {
        let start = self.at;
        let selector = self.selector()?;
        let goes_on = matches!(self.peek(), Kind::Symbol("," | "+" | "-" | "*" | "/" | "%") | Kind::End)
            || self.is_word("from")
            || self.is_word("as");
        if matches!(selector, Selector::Column(_)) && !goes_on {
            return Err(self.no_viable_from(start));
        }
        let alias = if self.eat_word("as") { Some(self.name()?) } else { None };
        Ok((selector, alias))
    }

    /// `+` and `-`, which bind less than `*`, `/` and `%`.
    fn selector(&mut self) -> Parse<Selector> {
        self.deeper(|p| {
            let mut left = p.selector_product()?;
            while let Some(operator) = p.operator_sign(&["+", "-"]) {
                p.next();
                let right = p.selector_product()?;
                left = Selector::Call(operator_function(operator), vec![left, right]);
            }
            Ok(left)
        })
    }

    fn selector_product(&mut self) -> Parse<Selector> {
        let mut left = self.signed_selector()?;
        while let Some(operator) = self.operator_sign(&["*", "/", "%"]) {
            self.next();
            let right = self.signed_selector()?;
            left = Selector::Call(operator_function(operator), vec![left, right]);
        }
        Ok(left)
    }

    fn signed_selector(&mut self) -> Parse<Selector> {
        if self.is_symbol("-") && !matches!(self.word_at(self.at + 1), Some("infinity" | "nan")) {
            self.next();
            let inner = self.deeper(Self::signed_selector)?;
            return Ok(Selector::Call(system_function(NEGATION), vec![inner]));
        }
        let inner = self.simple_selector()?;
        self.modified(inner)
    }

    /// The fields, elements and slices that are taken of a selector.
    fn modified(&mut self, mut selector: Selector) -> Parse<Selector> {
        loop {
            if self.eat(".") {
                selector = Selector::Field(Box::new(selector), self.name()?);
            } else if self.eat("[") {
                // Cassandra's parser goes back and tells of the bracket; how much it had read then is not modelled.
                let part = self.part(selector).map_err(|error| match error {
                    ServerError::Syntax(_) => super::not_modelled("a malformed part of a collection"),
                    other => other,
                });
                selector = part?;
            } else {
                return Ok(selector);
            }
        }
    }

    /// An element or a slice, up to the closing bracket.
    fn part(&mut self, of: Selector) -> Parse<Selector> {
        let from = if self.is_symbol("..") { None } else { Some(self.value()?) };
        let is_slice = self.eat("..");
        let to = if !is_slice || from.is_some() && self.is_symbol("]") { None } else { Some(self.value()?) };
        self.expect("]")?;
        Ok(match from {
            Some(key) if !is_slice => Selector::Element(Box::new(of), key),
            from => Selector::Slice(Box::new(of), from, to),
        })
    }

    fn simple_selector(&mut self) -> Parse<Selector> {
        if let Some(constant) = self.constant()? {
            return Ok(Selector::Term(constant));
        }
        let is_call = self.symbol_at(self.at + 1, "(");
        match self.peek().clone() {
            Kind::Word(word) if is_call => self.word_call(&word),
            Kind::Word(_) | Kind::QuotedName(_) => {
                // `ks.function(…)`, against `udt.field`.
                if is_call || self.symbol_at(self.at + 1, ".") && self.symbol_at(self.at + 3, "(") {
                    let name = self.function_name()?;
                    return self.call(name);
                }
                Ok(Selector::Column(self.name()?))
            }
            Kind::Symbol("[") => {
                self.next();
                let items = if self.is_symbol("]") { Vec::new() } else { self.list(Self::selector)? };
                self.expect("]")?;
                Ok(Selector::List(items))
            }
            Kind::Symbol("{") => self.selected_braces(),
            Kind::Symbol("(") => self.selected_parenthesis(),
            _ => Err(self.no_viable()),
        }
    }

    /// What looks like the call of a function, by its name.
    fn word_call(&mut self, word: &str) -> Parse<Selector> {
        match word {
            "count" if self.symbol_at(self.at + 2, "*") => {
                self.at += 3;
                self.expect(")")?;
                Ok(Selector::CountRows)
            }
            "writetime" | "maxwritetime" | "ttl" => {
                self.at += 2;
                let column = Selector::Column(self.name()?);
                let inner = self.modified(column)?;
                self.expect(")")?;
                Ok(Selector::Meta(word.to_owned(), Box::new(inner)))
            }
            "cast" => {
                self.at += 2;
                let inner = self.selector()?;
                self.expect_word("as")?;
                let type_name = self.native_type()?;
                self.expect(")")?;
                Ok(Selector::Cast(Box::new(inner), type_name))
            }
            "token" => {
                self.next();
                self.call(Name { keyspace: None, name: word.to_owned() })
            }
            _ => {
                let name = self.function_name()?;
                self.call(name)
            }
        }
    }

    fn selected_braces(&mut self) -> Parse<Selector> {
        self.next();
        if self.eat("}") {
            return Ok(Selector::Set(Vec::new()));
        }
        let first = self.selector()?;
        if !self.eat(":") {
            let mut items = vec![first];
            while self.eat(",") {
                items.push(self.selector()?);
            }
            self.expect("}")?;
            return Ok(Selector::Set(items));
        }
        let mut entries = vec![(first, self.selector()?)];
        while self.eat(",") {
            let key = self.selector()?;
            self.expect(":")?;
            entries.push((key, self.selector()?));
        }
        self.expect("}")?;
        Ok(Selector::Entries(entries))
    }

    /// A type hint before a selector, a tuple, or a selector in parentheses.
    fn selected_parenthesis(&mut self) -> Parse<Selector> {
        let start = self.at;
        self.next();
        let markers = self.markers.len();
        if matches!(self.peek(), Kind::Word(_))
            && let Ok(type_name) = self.type_name()
            && self.eat(")")
            && let Ok(inner) = self.deeper(Self::simple_selector)
        {
            return Ok(Selector::Hint(type_name, Box::new(inner)));
        }
        self.at = start + 1;
        self.markers.truncate(markers);
        let items = self.list(Self::selector)?;
        // Whether a type was in the parentheses was seen from what follows them.
        self.seen = self.seen.max(self.at + 1);
        self.expect(")")?;
        Ok(Selector::Tuple(items))
    }

    fn call(&mut self, name: Name) -> Parse<Selector> {
        self.expect("(")?;
        if self.eat(")") {
            return Ok(Selector::Call(name, Vec::new()));
        }
        let arguments = self.list(Self::selector)?;
        self.expect(")")?;
        Ok(Selector::Call(name, arguments))
    }

    pub(super) fn relations(&mut self) -> Parse<Vec<Relation>> {
        let mut relations = Vec::new();
        loop {
            self.deeper(|p| p.relation(&mut relations))?;
            if !self.eat_word("and") {
                return Ok(relations);
            }
        }
    }

    fn relation(&mut self, relations: &mut Vec<Relation>) -> Parse<()> {
        if self.is_word("token") && self.symbol_at(self.at + 1, "(") {
            self.at += 2;
            let columns = self.list(Self::name)?;
            self.expect(")")?;
            let op = self.operator()?;
            relations.push(Relation::Token { columns, op, term: self.value()? });
            return Ok(());
        }
        if self.eat("(") {
            // Parentheses hold either a tuple of columns or one relation.
            let start = self.at;
            if let Ok(columns) = self.list(Self::name)
                && self.eat(")")
            {
                if self.eat_word("in") {
                    let values = self.in_values()?;
                    relations.push(Relation::TupleIn { columns, values });
                } else {
                    let op = self.operator()?;
                    relations.push(Relation::Tuple { columns, op, term: self.value()? });
                }
                return Ok(());
            }
            self.at = start;
            self.deeper(|p| p.relation(relations))?;
            self.seen = self.seen.max(self.compared);
            return self.expect(")");
        }
        let start = self.at;
        let column = self.name()?;
        let relation = if self.eat_word("in") {
            if !["(", "?", ":"].iter().any(|s| self.is_symbol(s)) {
                return Err(self.no_viable_from(start));
            }
            Relation::In { column, values: self.in_values()? }
        } else if self.eat_word("contains") {
            let key = self.eat_word("key");
            Relation::Contains { column, key, term: self.value()? }
        } else if self.eat_word("like") {
            Relation::Like(column, self.value()?)
        } else if self.eat_word("is") {
            self.expect_word("not")?;
            self.expect_word("null")?;
            Relation::NotNull(column)
        } else if self.eat("[") {
            let key = self.value()?;
            self.expect("]")?;
            let op = self.operator()?;
            Relation::Element { column, key, op, term: self.value()? }
        } else if self.is_symbol(".") {
            return Err(self.no_viable_from(start));
        } else {
            let op = self.operator().map_err(|_| self.no_viable_from(start))?;
            let at = self.at;
            let term = self.value()?;
            if self.at == at + 1 {
                // What a value is needs a look at what follows it.
                self.compared = self.at + 1;
            }
            Relation::Compare { column, op, term }
        };
        relations.push(relation);
        self.open_end = Some((self.at, self.at));
        Ok(())
    }

    pub(super) fn operator(&mut self) -> Parse<Op> {
        for (symbol, op) in
            [("=", Op::Eq), ("!=", Op::Ne), ("<=", Op::Le), (">=", Op::Ge), ("<", Op::Lt), (">", Op::Gt)]
        {
            if self.eat(symbol) {
                return Ok(op);
            }
        }
        Err(self.no_viable())
    }

    pub(super) fn in_values(&mut self) -> Parse<InValues> {
        if self.is_symbol("?") || self.is_symbol(":") {
            return Ok(InValues::Marker(self.marker()?));
        }
        self.expect("(")?;
        let terms: Vec<Term> = self.terms_until(")")?;
        Ok(InValues::Terms(terms))
    }
}
