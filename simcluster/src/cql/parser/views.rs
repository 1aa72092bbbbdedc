//! CREATE, ALTER and DROP MATERIALIZED VIEW, and the text that is kept of a view's WHERE clause.

use super::{Parse, Parser};
use crate::cql::ast::{CreateView, Ddl, Relation};
use crate::cql::lexer::Kind;
use crate::protocol::ServerError;

/// Parses the relations of a WHERE clause by themselves; `None` if they are none.
#[must_use]
pub fn parse_relations(text: &str) -> Option<Vec<Relation>> {
    let mut parser = Parser::new(text).ok()?;
    let relations = parser.relations().ok()?;
    (*parser.peek() == Kind::End).then_some(relations)
}

impl Parser<'_> {
    fn materialized_view(&mut self) -> Parse<()> {
        self.next();
        self.expect_word("view")
    }

    pub(super) fn create_view(&mut self) -> Parse<Ddl> {
        self.materialized_view()?;
        let if_not_exists = self.if_not_exists()?;
        let name = self.table_name()?;
        self.expect_word("as")?;
        self.expect_word("select")?;
        let selectors = if self.eat("*") { None } else { Some(self.list(Self::selector_with_alias)?) };
        self.expect_word("from")?;
        let base = self.table_name()?;
        let relations = if self.eat_word("where") { self.relations()? } else { Vec::new() };
        self.expect_word("primary")?;
        self.expect_word("key")?;
        let (partition_key, clustering) = self.primary_key()?;
        let (mut order, mut properties) = (Vec::new(), Vec::new());
        if self.eat_word("with") {
            loop {
                if self.is_word("compact") && self.word_at(self.at + 1) == Some("storage") {
                    return Err(ServerError::Syntax(
                        "COMPACT STORAGE tables are not allowed starting with version 4.0".into(),
                    ));
                }
                if self.is_word("clustering") && self.word_at(self.at + 1) == Some("order") {
                    self.view_order(&name.name, &mut order)?;
                } else {
                    properties.push(self.property()?);
                }
                if !self.eat_word("and") {
                    break;
                }
            }
        }
        let has_markers = !self.markers.is_empty();
        self.markers.clear();
        Ok(Ddl::CreateView(Box::new(CreateView {
            name,
            if_not_exists,
            base,
            selectors,
            relations,
            has_markers,
            partition_key,
            clustering,
            order,
            properties,
        })))
    }

    fn view_order(&mut self, view: &str, order: &mut Vec<(String, bool)>) -> Parse<()> {
        for (column, descending) in self.clustering_order()? {
            if order.iter().any(|(earlier, _)| *earlier == column) {
                return Err(ServerError::Invalid(format!(
                    "Duplicate column '{column}' in CLUSTERING ORDER BY clause for view '{view}'"
                )));
            }
            order.push((column, descending));
        }
        Ok(())
    }

    pub(super) fn alter_view(&mut self) -> Parse<Ddl> {
        self.materialized_view()?;
        let if_exists = self.if_exists()?;
        let name = self.qualified_name()?;
        // Whether the name goes on was seen from what follows it.
        self.seen = self.seen.max(self.at + 1);
        self.expect_word("with")?;
        Ok(Ddl::AlterView { name, if_exists, properties: self.properties()? })
    }

    pub(super) fn drop_view(&mut self) -> Parse<Ddl> {
        self.materialized_view()?;
        let if_exists = self.if_exists()?;
        Ok(Ddl::DropView { name: self.qualified_name()?, if_exists })
    }
}
