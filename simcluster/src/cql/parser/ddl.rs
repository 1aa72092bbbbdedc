//! CREATE, ALTER and DROP.

use super::{Parse, Parser, not_modelled};
use crate::cql::ast::{ColumnDefinition, Ddl, Properties, Property, TableChange, TypeChange};
use crate::cql::lexer::Kind;
use crate::protocol::ServerError;
use std::collections::BTreeMap;

/// Kinds of object that Cassandra has and the simulated cluster has not.
const NOT_MODELLED: &[&str] = &["trigger", "role", "user", "identity"];

impl Parser<'_> {
    pub(super) fn create(&mut self) -> Parse<Ddl> {
        self.next();
        let Kind::Word(word) = self.peek().clone() else { return Err(self.no_viable()) };
        match word.as_str() {
            "keyspace" => {
                self.next();
                let if_not_exists = self.if_not_exists()?;
                let name = self.name()?;
                self.expect_word("with")?;
                Ok(Ddl::CreateKeyspace { name, if_not_exists, properties: self.properties()? })
            }
            "table" | "columnfamily" => {
                self.next();
                self.create_table()
            }
            "type" => {
                self.next();
                let if_not_exists = self.if_not_exists()?;
                let name = self.user_type_name()?;
                self.expect("(")?;
                let fields = self.list(|p| Ok((p.name()?, p.type_name()?)))?;
                self.expect(")")?;
                Ok(Ddl::CreateType { name, if_not_exists, fields })
            }
            "index" | "custom" => {
                let custom = self.eat_word("custom");
                self.expect_word("index")?;
                self.create_index(custom)
            }
            "materialized" => self.create_view(),
            "or" => {
                self.next();
                self.expect_word("replace")?;
                if !self.is_word("function") && !self.is_word("aggregate") {
                    return Err(self.no_viable());
                }
                self.create_function(true)
            }
            "function" | "aggregate" => self.create_function(false),
            word if NOT_MODELLED.contains(&word) => Err(not_modelled(&format!("CREATE {}", word.to_ascii_uppercase()))),
            _ => Err(self.no_viable_from(self.at - 1)),
        }
    }

    fn create_table(&mut self) -> Parse<Ddl> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.table_name()?;
        self.expect("(")?;
        let (mut columns, mut partition_key, mut clustering) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            if self.is_word("primary") {
                self.next();
                self.expect_word("key")?;
                if !partition_key.is_empty() {
                    return Err(doubled_key(&name.name));
                }
                (partition_key, clustering) = self.primary_key()?;
            } else {
                let column = self.column_definition()?;
                if self.eat_word("primary") {
                    self.expect_word("key")?;
                    if !partition_key.is_empty() {
                        return Err(doubled_key(&name.name));
                    }
                    partition_key.push(column.name.clone());
                }
                columns.push(column);
            }
            if !self.eat(",") || self.is_symbol(")") {
                break;
            }
        }
        self.expect(")")?;
        let (mut order, mut compact, mut properties) = (Vec::new(), false, Vec::new());
        if self.eat_word("with") {
            loop {
                if self.eat_word("compact") {
                    self.expect_word("storage")?;
                    compact = true;
                } else if self.is_word("clustering") && self.word_at(self.at + 1) == Some("order") {
                    order.extend(self.clustering_order()?);
                } else {
                    properties.push(self.property()?);
                }
                if !self.eat_word("and") {
                    break;
                }
            }
        }
        Ok(Ddl::CreateTable { name, if_not_exists, columns, partition_key, clustering, order, compact, properties })
    }

    /// What is in the parentheses of `PRIMARY KEY`: the partition key and the clustering columns.
    pub(super) fn primary_key(&mut self) -> Parse<(Vec<String>, Vec<String>)> {
        self.expect("(")?;
        let partition_key = if self.eat("(") {
            let columns = self.list(Self::name)?;
            self.expect(")")?;
            columns
        } else {
            vec![self.name()?]
        };
        let mut clustering = Vec::new();
        while self.eat(",") {
            clustering.push(self.name()?);
        }
        self.expect(")")?;
        Ok((partition_key, clustering))
    }

    /// `CLUSTERING ORDER BY (…)`, once it is known to be that.
    pub(super) fn clustering_order(&mut self) -> Parse<Vec<(String, bool)>> {
        self.at += 2;
        self.expect_word("by")?;
        self.expect("(")?;
        let order = self.list(|p| {
            let column = p.name()?;
            let descending = p.eat_word("desc");
            if !descending {
                p.expect_word("asc")?;
            }
            Ok((column, descending))
        })?;
        self.expect(")")?;
        Ok(order)
    }

    fn column_definition(&mut self) -> Parse<ColumnDefinition> {
        let name = self.name()?;
        let type_name = self.type_name()?;
        let is_static = self.eat_word("static");
        if self.is_word("masked") {
            return Err(not_modelled("MASKED"));
        }
        Ok(ColumnDefinition { name, type_name, is_static })
    }

    fn create_index(&mut self, custom: bool) -> Parse<Ddl> {
        let if_not_exists = self.if_not_exists()?;
        let name = if self.is_word("on") { None } else { Some(self.name()?) };
        self.expect_word("on")?;
        let table = self.qualified_name()?;
        self.expect("(")?;
        let part = match self.peek() {
            Kind::Word(word)
                if matches!(word.as_str(), "keys" | "values" | "entries" | "full")
                    && self.symbol_at(self.at + 1, "(") =>
            {
                Some(word.clone())
            }
            _ => None,
        };
        let target = if self.is_symbol(")") {
            String::new()
        } else if part.is_some() {
            self.at += 2;
            let column = self.name()?;
            self.expect(")")?;
            column
        } else {
            self.name()?
        };
        if self.is_symbol(",") {
            return Err(not_modelled("an index on several columns"));
        }
        self.expect(")")?;
        let mut custom_class = None;
        if self.eat_word("using") {
            match self.next() {
                Kind::String(class) => custom_class = Some(class),
                _ => {
                    self.at -= 1;
                    return Err(self.no_viable());
                }
            }
        } else if custom {
            return Err(ServerError::Invalid("CUSTOM index requires specifying the index class".into()));
        }
        let mut options = BTreeMap::new();
        if self.eat_word("with") {
            for (key, value) in self.properties()? {
                match (key.as_str(), value) {
                    ("options", Property::Map(map)) => options = map,
                    _ => return Err(ServerError::Syntax(format!("Unknown property '{key}'"))),
                }
            }
        }
        Ok(Ddl::CreateIndex { name, if_not_exists, table, target: (target, part), custom_class, options })
    }

    pub(super) fn alter(&mut self) -> Parse<Ddl> {
        self.next();
        let Kind::Word(word) = self.peek().clone() else { return Err(self.no_viable()) };
        match word.as_str() {
            "keyspace" => {
                self.next();
                let if_exists = self.if_exists()?;
                let name = self.name()?;
                self.expect_word("with")?;
                Ok(Ddl::AlterKeyspace { name, if_exists, properties: self.properties()? })
            }
            "table" | "columnfamily" => {
                self.next();
                let if_exists = self.if_exists()?;
                let name = self.qualified_name()?;
                Ok(Ddl::AlterTable { name, if_exists, change: self.table_change()? })
            }
            "type" => {
                self.next();
                let if_exists = self.if_exists()?;
                let name = self.user_type_name()?;
                let change = if self.eat_word("add") {
                    let if_not_exists = self.if_not_exists()?;
                    TypeChange::Add { field: self.name()?, type_name: self.type_name()?, if_not_exists }
                } else if self.eat_word("rename") {
                    let if_exists = self.if_exists()?;
                    TypeChange::Rename { pairs: self.renames()?, if_exists }
                } else if self.eat_word("alter") {
                    self.name()?;
                    self.expect_word("type")?;
                    self.type_name()?;
                    TypeChange::Alter
                } else {
                    return Err(self.no_viable());
                };
                Ok(Ddl::AlterType { name, if_exists, change })
            }
            "materialized" => self.alter_view(),
            word if NOT_MODELLED.contains(&word) => Err(not_modelled(&format!("ALTER {}", word.to_ascii_uppercase()))),
            _ => Err(self.no_viable()),
        }
    }

    fn table_change(&mut self) -> Parse<TableChange> {
        if self.eat_word("add") {
            let if_not_exists = self.if_not_exists()?;
            let columns = if self.eat("(") {
                let columns = self.list(Self::column_definition)?;
                self.expect(")")?;
                columns
            } else {
                vec![self.column_definition()?]
            };
            return Ok(TableChange::Add { columns, if_not_exists });
        }
        if self.eat_word("drop") {
            if self.is_word("compact") {
                self.next();
                self.expect_word("storage")?;
                return Err(ServerError::Invalid(
                    "DROP COMPACT STORAGE is disabled. Enable in cassandra.yaml to use.".into(),
                ));
            }
            let if_exists = self.if_exists()?;
            let columns = if self.eat("(") {
                let columns = self.list(Self::name)?;
                self.expect(")")?;
                columns
            } else {
                vec![self.name()?]
            };
            let mut timestamp = None;
            if self.eat_word("using") {
                self.expect_word("timestamp")?;
                let Kind::Integer(digits) = self.peek().clone() else { return Err(self.no_viable()) };
                timestamp = digits.parse().ok();
                self.next();
            }
            return Ok(TableChange::Drop { columns, if_exists, timestamp });
        }
        if self.eat_word("rename") {
            let if_exists = self.if_exists()?;
            return Ok(TableChange::Rename { pairs: self.renames()?, if_exists });
        }
        if self.is_word("alter") {
            return Err(ServerError::Invalid("Altering column types is no longer supported".into()));
        }
        if !self.eat_word("with") {
            return Err(self.no_viable());
        }
        Ok(TableChange::With(self.properties()?))
    }

    fn renames(&mut self) -> Parse<Vec<(String, String)>> {
        let mut pairs = Vec::new();
        loop {
            let from = self.name()?;
            self.expect_word("to")?;
            pairs.push((from, self.name()?));
            if !self.eat_word("and") {
                return Ok(pairs);
            }
        }
    }

    pub(super) fn drop(&mut self) -> Parse<Ddl> {
        self.next();
        let Kind::Word(word) = self.peek().clone() else { return Err(self.no_viable()) };
        if NOT_MODELLED.contains(&word.as_str()) {
            return Err(not_modelled(&format!("DROP {}", word.to_ascii_uppercase())));
        }
        if word == "materialized" {
            return self.drop_view();
        }
        if matches!(word.as_str(), "function" | "aggregate") {
            return self.drop_function();
        }
        if !matches!(word.as_str(), "keyspace" | "table" | "columnfamily" | "type" | "index") {
            return Err(self.no_viable_from(self.at - 1));
        }
        self.next();
        let if_exists = self.if_exists()?;
        if word == "keyspace" {
            return Ok(Ddl::DropKeyspace { name: self.name()?, if_exists });
        }
        let name = if word == "type" { self.user_type_name()? } else { self.qualified_name()? };
        Ok(match word.as_str() {
            "type" => Ddl::DropType { name, if_exists },
            "index" => Ddl::DropIndex { name, if_exists },
            _ => Ddl::DropTable { name, if_exists },
        })
    }

    pub(super) fn properties(&mut self) -> Parse<Properties> {
        let mut properties = vec![self.property()?];
        while self.eat_word("and") {
            properties.push(self.property()?);
        }
        Ok(properties)
    }

    pub(super) fn property(&mut self) -> Parse<(String, Property)> {
        let start = self.at;
        let name = self.name()?;
        if !self.eat("=") {
            return Err(self.no_viable_from(start));
        }
        if !self.eat("{") {
            return Ok((name, Property::Simple(self.property_value()?)));
        }
        let mut map = BTreeMap::new();
        if !self.eat("}") {
            loop {
                let key = self.property_value()?;
                self.expect(":")?;
                map.insert(key, self.property_value()?);
                if !self.eat(",") {
                    break;
                }
            }
            self.expect("}")?;
        }
        Ok((name, Property::Map(map)))
    }

    fn property_value(&mut self) -> Parse<String> {
        let sign = if self.eat("-") { "-" } else { "" };
        match self.next() {
            Kind::String(s) | Kind::Uuid(s) => Ok(s),
            Kind::Integer(s) | Kind::Float(s) => Ok(format!("{sign}{s}")),
            Kind::Blob(s) => Ok(format!("0x{s}")),
            Kind::Word(s) => Ok(s),
            Kind::QuotedName(s) => Ok(s),
            _ => {
                self.at = self.at.saturating_sub(1);
                Err(self.no_viable())
            }
        }
    }
}

fn doubled_key(table: &str) -> ServerError {
    ServerError::Invalid(format!("Multiple PRIMARY KEY specified for table '{table}' (exactly one required)"))
}
