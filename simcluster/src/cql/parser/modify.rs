//! INSERT, UPDATE, DELETE and BATCH.

use super::{Parse, Parser};
use crate::cql::BatchType;
use crate::cql::ast::{
    Assignment, Batch, Condition, ConditionPath, ConditionTest, Deletion, If, InsertValues, Modification,
    ModificationKind, Statement, Term, Using,
};
use crate::cql::lexer::Kind;
use crate::protocol::ServerError;

impl Parser<'_> {
    pub(super) fn insert(&mut self) -> Parse<Modification> {
        self.next();
        self.expect_word("into")?;
        let table = self.table_name()?;
        let values = if self.eat_word("json") {
            let text = self.term()?;
            let mut default_unset = false;
            if self.eat_word("default") {
                default_unset = self.eat_word("unset");
                if !default_unset {
                    self.expect_word("null")?;
                }
            }
            InsertValues::Json { text, default_unset }
        } else {
            self.expect("(")?;
            let columns = self.list(Self::name)?;
            self.expect(")")?;
            self.expect_word("values")?;
            self.expect("(")?;
            let terms = if self.eat(")") {
                Vec::new()
            } else {
                let terms = self.list(Self::value)?;
                self.expect_end_of_term(")")?;
                self.expect(")")?;
                terms
            };
            if columns.len() != terms.len() {
                return Err(ServerError::Invalid("Unmatched column names/values".to_owned()));
            }
            InsertValues::Columns(columns.into_iter().zip(terms).collect())
        };
        let condition = if self.if_not_exists()? { If::NotExists } else { If::None };
        let using = self.using()?;
        Ok(Modification { table, kind: ModificationKind::Insert(values), using, relations: Vec::new(), condition })
    }

    pub(super) fn update(&mut self) -> Parse<Modification> {
        self.next();
        let table = self.table_name()?;
        let using = self.using()?;
        if !self.is_word("set") {
            // Whether the table's name goes on was seen from what follows the next token.
            self.seen = self.seen.max(self.at + 1);
        }
        self.expect_word("set")?;
        let mut assignments: Vec<Assignment> = Vec::new();
        loop {
            let assignment = self.assignment()?;
            if assignments.iter().any(|earlier| contradict(earlier, &assignment)) {
                let column = assignment.column();
                return Err(ServerError::Syntax(format!("Multiple incompatible setting of column {column}")));
            }
            assignments.push(assignment);
            if !self.eat(",") {
                break;
            }
        }
        self.expect_end_of_term("where")?;
        self.expect_word("where")?;
        let relations = self.relations()?;
        let condition = self.condition()?;
        Ok(Modification { table, kind: ModificationKind::Update(assignments), using, relations, condition })
    }

    /// A term could go on with an operator: what is neither one nor the given end fits no alternative.
    fn expect_end_of_term(&self, end: &str) -> Parse<()> {
        let ends = self.is_symbol(end) || self.is_word(end) || *self.peek() == Kind::End;
        if ends { Ok(()) } else { Err(self.no_viable()) }
    }

    pub(super) fn delete(&mut self) -> Parse<Modification> {
        self.next();
        let is_column = matches!(self.peek(), Kind::Word(_) | Kind::QuotedName(_));
        let deletions = if self.is_word("from") || !is_column {
            Vec::new()
        } else {
            self.list(|p| {
                let start = p.at;
                let column = p.name()?;
                if !p.is_word("from") && ![",", "[", "."].iter().any(|s| p.is_symbol(s)) {
                    return Err(p.no_viable_from(start));
                }
                if p.eat("[") {
                    let key = p.term()?;
                    p.expect("]")?;
                    return Ok(Deletion::Element(column, key));
                }
                if p.eat(".") {
                    return Ok(Deletion::Field(column, p.name()?));
                }
                Ok(Deletion::Column(column))
            })?
        };
        self.expect_word("from")?;
        let table = self.table_name()?;
        let mut using = Using::default();
        if self.eat_word("using") {
            self.expect_word("timestamp")?;
            using.timestamp = Some(self.integer()?);
        }
        self.expect_word("where")?;
        let relations = self.relations()?;
        let condition = self.condition()?;
        Ok(Modification { table, kind: ModificationKind::Delete(deletions), using, relations, condition })
    }

    pub(super) fn batch(&mut self) -> Parse<Statement> {
        self.next();
        let kind = if self.eat_word("unlogged") {
            BatchType::Unlogged
        } else if self.eat_word("counter") {
            BatchType::Counter
        } else {
            BatchType::Logged
        };
        self.expect_word("batch")?;
        let using = self.using()?;
        let mut statements = Vec::new();
        while !self.eat_word("apply") {
            let statement = match self.word_at(self.at) {
                Some("insert") => self.insert()?,
                Some("update") => self.update()?,
                Some("delete") => self.delete()?,
                _ => return Err(self.mismatch("K_APPLY")),
            };
            statements.push(statement);
            self.eat(";");
        }
        self.expect_word("batch")?;
        Ok(Statement::Batch(Batch { kind, using, statements }))
    }

    fn using(&mut self) -> Parse<Using> {
        let mut using = Using::default();
        if !self.eat_word("using") {
            return Ok(using);
        }
        loop {
            if self.eat_word("ttl") {
                using.ttl = Some(self.integer()?);
            } else if self.eat_word("timestamp") {
                using.timestamp = Some(self.integer()?);
            } else {
                return Err(self.no_viable());
            }
            if !self.eat_word("and") {
                return Ok(using);
            }
        }
    }

    fn assignment(&mut self) -> Parse<Assignment> {
        let column = self.name()?;
        if self.eat("[") {
            let key = self.term()?;
            self.expect("]")?;
            self.expect("=")?;
            return Ok(Assignment::Element(column, key, self.value()?));
        }
        if self.eat(".") {
            let field = self.name()?;
            self.expect("=")?;
            return Ok(Assignment::Field(column, field, self.value()?));
        }
        if self.eat("+=") {
            return Ok(Assignment::Add(column, self.value()?));
        }
        if self.eat("-=") {
            return Ok(Assignment::Subtract(column, self.value()?));
        }
        if !self.eat("=") {
            return Err(self.no_viable());
        }
        self.assigned(column)
    }

    /// What follows `column =`: a term, or one that is put before or behind the column's own value.
    fn assigned(&mut self, column: String) -> Parse<Assignment> {
        let start = self.at;
        let of_itself = |other: &str, shape: &str| {
            if other == column {
                return Ok(());
            }
            Err(ServerError::Syntax(format!("Only expressions of the form X = {shape} are supported.")))
        };
        self.in_assignment = true;
        let term = self.term();
        self.in_assignment = false;
        let term = term?;
        let Term::Column(other) = term else {
            if self.eat("+") {
                of_itself(&self.name()?, "<value> + X")?;
                return Ok(Assignment::Prepend(column, term));
            }
            return Ok(Assignment::Set(column, term));
        };
        if let Kind::Integer(number) = self.peek().clone() {
            // `c = c -3`: the sign belongs to the number.
            of_itself(&other, if number.starts_with('-') { "X - <value>" } else { "X + <value>" })?;
            return Ok(Assignment::Add(column, self.then(Term::Integer(number))));
        }
        if self.eat("+") {
            let added = self.value()?;
            of_itself(&other, "X +<value>")?;
            return Ok(Assignment::Add(column, added));
        }
        if self.eat("-") {
            let removed = self.value()?;
            of_itself(&other, "X -<value>")?;
            return Ok(Assignment::Subtract(column, removed));
        }
        Err(self.no_viable_from(start))
    }

    fn condition(&mut self) -> Parse<If> {
        if !self.eat_word("if") {
            return Ok(If::None);
        }
        if self.eat_word("exists") {
            return Ok(If::Exists);
        }
        let mut conditions = Vec::new();
        loop {
            let column = self.name()?;
            let path = if self.eat("[") {
                let key = self.term()?;
                self.expect("]")?;
                ConditionPath::Element(key)
            } else if self.eat(".") {
                ConditionPath::Field(self.name()?)
            } else {
                ConditionPath::Whole
            };
            let test = if self.eat_word("in") {
                ConditionTest::In(self.in_values()?)
            } else if path == ConditionPath::Whole && self.eat_word("contains") {
                let key = self.eat_word("key");
                ConditionTest::Contains { key, term: self.term()? }
            } else {
                let op = self.operator()?;
                ConditionTest::Compare(op, self.term()?)
            };
            conditions.push(Condition { column, path, test });
            if !self.eat_word("and") {
                return Ok(If::Conditions(conditions));
            }
        }
    }
}

/// Whether two assignments cannot both be made in one statement.
fn contradict(one: &Assignment, other: &Assignment) -> bool {
    one.column() == other.column()
        && match (one, other) {
            (Assignment::Set(..), _) | (_, Assignment::Set(..)) => true,
            (Assignment::Field(_, field, _), Assignment::Field(_, another, _)) => field == another,
            _ => false,
        }
}
