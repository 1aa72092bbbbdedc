//! CREATE and DROP FUNCTION and AGGREGATE.

use super::{Parse, Parser};
use crate::cql::ast::{CreateAggregate, CreateFunction, Ddl, TypeName};
use crate::cql::lexer::Kind;

impl Parser<'_> {
    /// After `CREATE OR REPLACE`, or after `CREATE`; the next word is `FUNCTION` or `AGGREGATE`.
    pub(super) fn create_function(&mut self, or_replace: bool) -> Parse<Ddl> {
        if self.eat_word("aggregate") {
            return self.create_aggregate(or_replace);
        }
        self.expect_word("function")?;
        let if_not_exists = self.if_not_exists()?;
        let name = self.qualified_name()?;
        self.expect("(")?;
        let mut arguments = Vec::new();
        if !self.eat(")") {
            arguments = self.list(|p| Ok((p.name()?, p.type_name()?)))?;
            self.expect(")")?;
        }
        let called_on_null_input = self.eat_word("called");
        if !called_on_null_input {
            self.expect_word("returns")?;
            self.expect_word("null")?;
        }
        for word in ["on", "null", "input", "returns"] {
            self.expect_word(word)?;
        }
        let return_type = self.type_name()?;
        self.expect_word("language")?;
        let language = self.name()?;
        self.expect_word("as")?;
        let Kind::String(body) = self.peek().clone() else { return Err(self.mismatch("STRING_LITERAL")) };
        self.next();
        Ok(Ddl::CreateFunction(Box::new(CreateFunction {
            name,
            or_replace,
            if_not_exists,
            arguments,
            called_on_null_input,
            return_type,
            language,
            body,
        })))
    }

    fn create_aggregate(&mut self, or_replace: bool) -> Parse<Ddl> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.qualified_name()?;
        let arguments = self.argument_types()?;
        self.expect_word("sfunc")?;
        let state_function = self.name()?;
        self.expect_word("stype")?;
        let state_type = self.type_name()?;
        let final_function = if self.eat_word("finalfunc") { Some(self.name()?) } else { None };
        let initial = if self.eat_word("initcond") { Some(self.term()?) } else { None };
        Ok(Ddl::CreateAggregate(Box::new(CreateAggregate {
            name,
            or_replace,
            if_not_exists,
            arguments,
            state_function,
            state_type,
            final_function,
            initial,
        })))
    }

    /// After `DROP`; the next word is `FUNCTION` or `AGGREGATE`.
    pub(super) fn drop_function(&mut self) -> Parse<Ddl> {
        let is_aggregate = self.eat_word("aggregate");
        if !is_aggregate {
            self.expect_word("function")?;
        }
        let if_exists = self.if_exists()?;
        let name = self.qualified_name()?;
        let arguments = if self.is_symbol("(") { Some(self.argument_types()?) } else { None };
        Ok(Ddl::DropFunction { name, arguments, if_exists, is_aggregate })
    }

    fn argument_types(&mut self) -> Parse<Vec<TypeName>> {
        self.expect("(")?;
        if self.eat(")") {
            return Ok(Vec::new());
        }
        let types = self.list(Self::type_name)?;
        self.expect(")")?;
        Ok(types)
    }
}
