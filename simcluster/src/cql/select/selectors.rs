//! Selectors: their types, the inputs they take from a row, and the names of their result columns.
//!
//! Two selectors of the same column share one input, so a row's value is taken once.

use super::selectable::{Chosen, Selectable, find_field, named_columns, prepare, range};
use super::{Input, Meta, Selected, invalid};
use crate::cql::ast::{Name, Selector, Term};
use crate::cql::expr::{Expr, Receiver};
use crate::cql::functions::{Argument, Function};
use crate::cql::parser::not_modelled;
use crate::cql::show;
use crate::cql::terms::Checker;
use crate::protocol::ServerError;
use crate::schema::{ColumnKind, Dialect};
use crate::types::CqlType;

/// Turns selectors into what is made of each row, gathering the inputs they share.
pub(super) struct Builder<'a, 'b> {
    pub(super) checker: &'a mut Checker<'b>,
    pub(super) inputs: Vec<Input>,
    /// Which parts of columns of several cells are selected: the column, where the part begins, whether it is a slice.
    parts: Vec<(usize, Option<Term>, bool)>,
}

/// A selector with its type.
pub(super) struct Built {
    /// What is made of a row.
    pub selected: Selected,
    /// Its type.
    pub cql_type: CqlType,
    /// The type that clients are told.
    pub announced: CqlType,
    /// The name of its column in the result, without an alias.
    pub name: String,
}

impl Built {
    fn new(selected: Selected, cql_type: CqlType, name: String) -> Self {
        Self { selected, announced: cql_type.clone(), cql_type, name }
    }
}

impl<'a, 'b> Builder<'a, 'b> {
    pub(super) const fn new(checker: &'a mut Checker<'b>) -> Self {
        Self { checker, inputs: Vec::new(), parts: Vec::new() }
    }

    pub(super) fn input(&mut self, input: Input) -> Selected {
        let place = self.inputs.iter().position(|present| *present == input).unwrap_or_else(|| {
            self.inputs.push(input);
            self.inputs.len() - 1
        });
        Selected::Input(place)
    }

    /// Finds the columns and functions of selectors until it is known whether a table's static columns are all that
    /// is selected; of a table without such columns nobody asks that.
    pub(super) fn check_statics(&self, selectors: &[(Selector, Option<String>)]) -> Result<(), ServerError> {
        let table = self.checker.table;
        if !table.columns.iter().any(|column| column.kind == ColumnKind::Static) {
            return Ok(());
        }
        let (mut has_static, mut has_other) = (false, false);
        for (selector, _) in selectors {
            prepare(self.checker, selector)?;
            for column in named_columns(selector).iter().filter_map(|name| table.column(name)) {
                has_static |= column.kind == ColumnKind::Static;
                has_other |= !matches!(column.kind, ColumnKind::Static | ColumnKind::PartitionKey);
            }
            if has_static && has_other {
                break;
            }
        }
        Ok(())
    }

    /// Builds all selectors of a clause: first their functions are found, then they are given their types.
    pub(super) fn clause(&mut self, selectors: &[(Selector, Option<String>)]) -> Result<Vec<Built>, ServerError> {
        let prepared: Result<Vec<Selectable>, _> =
            selectors.iter().map(|(selector, _)| prepare(self.checker, selector)).collect();
        let built = prepared?.iter().map(|selectable| self.build(selectable, None)).collect::<Result<Vec<_>, _>>()?;
        self.check_parts()?;
        Ok(built)
    }

    fn build(&mut self, selectable: &Selectable, wanted: Option<&CqlType>) -> Result<Built, ServerError> {
        match selectable {
            Selectable::Column(index) => {
                let column = &self.checker.table.columns[*index];
                let (cql_type, name) = (column.cql_type.clone(), column.name.clone());
                Ok(Built::new(self.input(Input::Column(*index)), cql_type, name))
            }
            Selectable::Term(term) => {
                let cql_type = self.needed_type(selectable, wanted)?;
                let expr = self.checker.term(term, &Receiver::new("[selection]", &cql_type))?;
                Ok(Built::new(Selected::Term(expr), cql_type, show::term(term)))
            }
            Selectable::Meta(kind, index, of) => self.meta(*kind, *index, of),
            Selectable::Call(function, arguments) => self.call(function, arguments),
            Selectable::Cast(of, name, cql_type) => self.cast(of, name, cql_type),
            Selectable::Field(of, field) => self.field(of, field),
            Selectable::Element(of, key) => self.element(of, key),
            Selectable::Slice(of, from, to) => self.slice(of, from.as_ref(), to.as_ref()),
            Selectable::Hint(shown, cql_type, of) => self.hint(selectable, shown, cql_type, of),
            Selectable::List(items) => self.array(selectable, items, wanted),
            Selectable::Set(items) => self.set(selectable, items, wanted),
            Selectable::Entries(entries) => self.entries(selectable, entries, wanted),
            Selectable::Tuple(items) => self.tuple(selectable, items, wanted),
        }
    }

    /// The selector's own type, or the one it is needed as.
    fn needed_type(&self, selectable: &Selectable, wanted: Option<&CqlType>) -> Result<CqlType, ServerError> {
        selectable.exact_type(self.checker).or_else(|| wanted.cloned()).ok_or_else(|| {
            let shown = selectable.shown(self.checker);
            invalid(format!(
                "Cannot infer type for term {shown} in selection clause (try using a cast to force a type)"
            ))
        })
    }

    fn call(&mut self, function: &Function, arguments: &[Selectable]) -> Result<Built, ServerError> {
        let mut parts = Vec::new();
        let mut names = Vec::new();
        for (argument, cql_type) in arguments.iter().zip(&function.arguments) {
            let built = self.build(argument, Some(cql_type))?;
            parts.push(built.selected);
            names.push(built.name);
        }
        if function.is_aggregate() && parts.iter().any(Selected::is_aggregate) {
            return Err(invalid("aggregate functions cannot be used as arguments of aggregate functions"));
        }
        let selected = match (function.is_aggregate(), parts.len()) {
            (true, 0) => Selected::CountRows,
            (true, _) => Selected::Aggregate(function.clone(), Box::new(parts.remove(0))),
            (false, _) => Selected::Call(function.clone(), parts),
        };
        // The type of a column in descending order is told as it is.
        let is_reversed =
            |of: &Selectable| matches!(of, Selectable::Column(i) if self.checker.table.columns[*i].descending);
        let is_told_as_it_is = arguments.iter().any(is_reversed);
        let announced = if is_told_as_it_is { function.result.clone() } else { function.announced() };
        Ok(Built { announced, ..Built::new(selected, function.result.clone(), function.shown(&names)) })
    }

    fn cast(&mut self, of: &Selectable, name: &str, cql_type: &CqlType) -> Result<Built, ServerError> {
        let inner = self.build(of, None)?;
        // To Cassandra the type of a column in descending order is another one, which needs a function.
        let is_reversed = matches!(of, Selectable::Column(index) if self.checker.table.columns[*index].descending);
        if inner.cql_type == *cql_type && !is_reversed {
            return Ok(inner);
        }
        let function = Name { keyspace: Some("system".to_owned()), name: format!("cast_as_{name}") };
        let chosen = Chosen { checker: self.checker, selectable: of };
        let found = self.checker.function(&function, &[&chosen as &dyn Argument], None);
        let Some(function) = found.map_err(|error| self.with_name_of_cast(error, name))? else {
            // Messages name the first column that is read, whatever is cast.
            let Some(Input::Column(index) | Input::Meta(_, index)) = self.inputs.first() else {
                return Err(not_modelled("a cast where Cassandra fails with an internal error"));
            };
            let first = &self.checker.table.columns[*index].name;
            return Err(invalid(format!("{first} cannot be cast to {name}")));
        };
        let shown = function.shown(&[inner.name]);
        Ok(Built::new(Selected::Call(function, vec![inner.selected]), cql_type.clone(), shown))
    }

    /// Before 5.0 the functions behind casts had other names.
    fn with_name_of_cast(&self, error: ServerError, to: &str) -> ServerError {
        match error {
            ServerError::Invalid(message) if self.checker.schema.dialect < Dialect::V50 => {
                let (first, rest) = to.split_at(to.len().min(1));
                let old = format!("castAs{}{rest}", first.to_uppercase());
                let shown = message.replace(&format!("system.cast_as_{to} :"), &format!("system.\"{old}\" :"));
                ServerError::Invalid(shown.replace(&format!("cast_as_{to}"), &old))
            }
            other => other,
        }
    }

    fn field(&mut self, of: &Selectable, field: &str) -> Result<Built, ServerError> {
        let wanted = match of {
            Selectable::Tuple(items) => items.first().and_then(|item| item.exact_type(self.checker)),
            _ => None,
        };
        let inner = self.build(of, wanted.as_ref())?;
        let shown = of.shown(self.checker);
        let CqlType::Udt { definition, .. } = &inner.cql_type else {
            let found = inner.cql_type;
            return Err(invalid(format!("Invalid field selection: {shown} of type {found} is not a user type")));
        };
        let place = definition
            .fields
            .iter()
            .position(|(name, _)| name == field)
            .ok_or_else(|| invalid(format!("{shown} of type {} has no field {field}", inner.cql_type)))?;
        let found = definition.fields[place].1.clone();
        let selected = Selected::Field(Box::new(inner.selected), place, definition.fields.len());
        Ok(Built::new(selected, found, format!("{}.{field}", inner.name)))
    }

    /// The collection of which an element or slice is selected, and the receiver of the places in it.
    fn collection(&mut self, of: &Selectable, what: &str) -> Result<(Built, Receiver), ServerError> {
        let inner = self.build(of, None)?;
        let receiver = match &inner.cql_type {
            CqlType::Map { key, .. } => Receiver::new(&format!("key({})", inner.name), key),
            CqlType::Set { element, .. } => Receiver::new(&format!("value({})", inner.name), element),
            CqlType::List { .. } => {
                let shown = of.shown(self.checker);
                return Err(invalid(format!(
                    "{what} selection is only allowed on sets and maps, but {shown} is a list"
                )));
            }
            other => {
                let (kind, is) = if what == "Slice" { ("slice", "") } else { ("element", "is ") };
                let shown = of.shown(self.checker);
                return Err(invalid(format!(
                    "Invalid {kind} selection: {shown} {is}of type {other} is not a collection"
                )));
            }
        };
        Ok((inner, receiver))
    }

    fn element(&mut self, of: &Selectable, key: &Term) -> Result<Built, ServerError> {
        let (inner, receiver) = self.collection(of, "Element")?;
        let place = self.checker.term(key, &receiver)?;
        if let (Selectable::Column(index), true) = (of, inner.cql_type.is_multi_cell()) {
            if matches!(place, Expr::Const(None)) {
                return Err(ServerError::Server(
                    "java.lang.NullPointerException: Cannot invoke \"java.nio.ByteBuffer.hasArray()\" because \"buffer1\" is null"
                        .to_owned(),
                ));
            }
            self.parts.push((*index, Some(key.clone()), false));
        }
        let found = match &inner.cql_type {
            CqlType::Map { value, .. } => value.as_ref().clone(),
            _ => receiver.cql_type,
        };
        let shown = format!("{}[{}]", of.shown(self.checker), show::term(key));
        let selected = Selected::Element(Box::new(inner.selected), inner.cql_type, place, inner.name);
        Ok(Built::new(selected, found, shown))
    }

    fn slice(&mut self, of: &Selectable, from: Option<&Term>, to: Option<&Term>) -> Result<Built, ServerError> {
        let (inner, receiver) = self.collection(of, "Slice")?;
        if matches!(from, Some(Term::Null)) || matches!(to, Some(Term::Null)) {
            return Err(not_modelled("a slice with a bound of null"));
        }
        let mut bound = |term: Option<&Term>| term.map(|term| self.checker.term(term, &receiver)).transpose();
        let (first, last) = (bound(from)?, bound(to)?);
        if let (Selectable::Column(index), true) = (of, inner.cql_type.is_multi_cell()) {
            self.parts.push((*index, from.cloned(), true));
        }
        let shown = format!("{}[{}]", of.shown(self.checker), range(from, to));
        let selected = Selected::Slice(Box::new(inner.selected), inner.cql_type.clone(), [first, last], inner.name);
        Ok(Built::new(selected, inner.cql_type, shown))
    }

    /// Of two selected parts of a map that begin at the same place, Cassandra reads only the first: the other has
    /// entries without values.
    fn check_parts(&self) -> Result<(), ServerError> {
        for (place, (column, from, is_slice)) in self.parts.iter().enumerate() {
            let is_map = matches!(self.checker.table.columns[*column].cql_type, CqlType::Map { .. });
            let unclear = |term: &Option<Term>| matches!(term, Some(Term::Marker(_) | Term::Call(..)));
            let collides = |(other, start, slice): &(usize, Option<Term>, bool)| {
                other == column && (start == from || unclear(start) || unclear(from)) && (*is_slice || *slice)
            };
            if is_map && self.parts[..place].iter().any(collides) {
                return Err(not_modelled("a slice of a map beside another part that begins at the same place"));
            }
        }
        Ok(())
    }

    fn hint(
        &mut self,
        selectable: &Selectable,
        shown: &str,
        cql_type: &CqlType,
        of: &Selectable,
    ) -> Result<Built, ServerError> {
        let chosen = Chosen { checker: self.checker, selectable: of };
        if !chosen.fit(cql_type)?.is_assignable() {
            let value = selectable.shown(self.checker);
            return Err(invalid(format!("Cannot assign value {value} to {value} of type {cql_type}")));
        }
        let inner = self.build(of, Some(cql_type))?;
        Ok(Built::new(inner.selected, cql_type.clone(), format!("({shown}){}", inner.name)))
    }

    fn each(&mut self, items: &[Selectable], wanted: &CqlType) -> Result<(Vec<Selected>, String), ServerError> {
        let built = items.iter().map(|item| self.build(item, Some(wanted))).collect::<Result<Vec<_>, _>>()?;
        let (selected, names): (Vec<_>, Vec<_>) = built.into_iter().map(|b| (b.selected, b.name)).unzip();
        Ok((selected, names.join(", ")))
    }

    fn array(
        &mut self,
        selectable: &Selectable,
        items: &[Selectable],
        wanted: Option<&CqlType>,
    ) -> Result<Built, ServerError> {
        let cql_type = match wanted {
            Some(vector @ CqlType::Vector { .. }) => vector.clone(),
            _ => self.needed_type(selectable, wanted)?,
        };
        let element = match &cql_type {
            CqlType::List { element, .. } => element.clone(),
            CqlType::Vector { element, dimensions } if items.len() == usize::from(*dimensions) => element.clone(),
            CqlType::Vector { .. } => {
                let count = items.len();
                return Err(invalid(format!(
                    "Unable to create a vector selector of type {cql_type} from {count} elements"
                )));
            }
            _ => return Err(not_modelled("a list selector where Cassandra fails with an internal error")),
        };
        let (selected, names) = self.each(items, &element)?;
        let selected = match cql_type {
            CqlType::Vector { .. } => Selected::Vector(element.as_ref().clone(), selected),
            _ => Selected::List(selected),
        };
        Ok(Built::new(selected, cql_type, format!("[{names}]")))
    }

    fn set(
        &mut self,
        selectable: &Selectable,
        items: &[Selectable],
        wanted: Option<&CqlType>,
    ) -> Result<Built, ServerError> {
        let cql_type = self.needed_type(selectable, wanted)?;
        match &cql_type {
            CqlType::Map { key, .. } => {
                let selected = Selected::Map(key.as_ref().clone(), Vec::new());
                Ok(Built::new(selected, cql_type, "{}".to_owned()))
            }
            CqlType::Set { element, .. } if **element == CqlType::Duration => {
                Err(invalid(format!("Durations are not allowed inside sets: {cql_type}")))
            }
            CqlType::Set { element, .. } => {
                let element = element.as_ref().clone();
                let (selected, names) = self.each(items, &element)?;
                Ok(Built::new(Selected::Set(element, selected), cql_type, format!("{{{names}}}")))
            }
            _ => Err(not_modelled("a set selector where Cassandra fails with an internal error")),
        }
    }

    fn entries(
        &mut self,
        selectable: &Selectable,
        entries: &[(Selector, Selector)],
        wanted: Option<&CqlType>,
    ) -> Result<Built, ServerError> {
        let cql_type = self.needed_type(selectable, wanted)?;
        let mut names = Vec::new();
        let selected = match &cql_type {
            CqlType::Map { key, .. } if **key == CqlType::Duration => {
                return Err(invalid(format!("Durations are not allowed as map keys: {cql_type}")));
            }
            CqlType::Map { key, value, .. } => {
                let mut pairs = Vec::new();
                for (k, v) in entries {
                    let [k, v] = [prepare(self.checker, k)?, prepare(self.checker, v)?];
                    let (k, v) = (self.build(&k, Some(key))?, self.build(&v, Some(value))?);
                    names.push(format!("{}: {}", k.name, v.name));
                    pairs.push((k.selected, v.selected));
                }
                Selected::Map(key.as_ref().clone(), pairs)
            }
            CqlType::Udt { definition, .. } => {
                let mut fields: Vec<Selected> =
                    definition.fields.iter().map(|_| Selected::Term(Expr::Const(None))).collect();
                for (field, value) in entries {
                    let (place, field_type) = find_field(field, definition)?;
                    let value = prepare(self.checker, value)?;
                    let built = self.build(&value, Some(field_type))?;
                    names.push(format!("{}: {}", definition.fields[place].0, built.name));
                    fields[place] = built.selected;
                }
                Selected::Tuple(fields)
            }
            _ => return Err(not_modelled("a map selector where Cassandra fails with an internal error")),
        };
        Ok(Built::new(selected, cql_type, format!("{{{}}}", names.join(", "))))
    }

    fn tuple(
        &mut self,
        selectable: &Selectable,
        items: &[Selectable],
        wanted: Option<&CqlType>,
    ) -> Result<Built, ServerError> {
        let is_tuple = |t: &CqlType| matches!(t, CqlType::Tuple(_));
        if let ([only], false) = (items, wanted.is_some_and(is_tuple)) {
            // What is in parentheses has no type of its own, even if it has one without them.
            self.needed_type(selectable, wanted)?;
            let inner = self.build(only, wanted)?;
            return Ok(Built { name: format!("({})", inner.name), ..inner });
        }
        let cql_type = self.needed_type(selectable, wanted)?;
        let types: Vec<CqlType> = match &cql_type {
            CqlType::Tuple(types) => types.to_vec(),
            // A user type is a tuple with names.
            CqlType::Udt { definition, .. } => definition.fields.iter().map(|(_, t)| t.clone()).collect(),
            _ => return Err(not_modelled("a tuple selector where Cassandra fails with an internal error")),
        };
        let mut selected = Vec::new();
        let mut names = Vec::new();
        for (item, item_type) in items.iter().zip(types.iter()) {
            let built = self.build(item, Some(item_type))?;
            selected.push(built.selected);
            names.push(built.name);
        }
        Ok(Built::new(Selected::Tuple(selected), cql_type, format!("({})", names.join(", "))))
    }

    fn meta(&mut self, kind: Meta, index: usize, of: &Selectable) -> Result<Built, ServerError> {
        let column = &self.checker.table.columns[index];
        let is_before_5 = self.checker.schema.dialect < Dialect::V50;
        let function = if is_before_5 && kind == Meta::WriteTime { "writeTime" } else { kind.name() };
        if is_before_5 && kind == Meta::MaxWriteTime {
            return Err(invalid(format!("Unknown function '{function}'")));
        }
        if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
            let name = &column.name;
            return Err(invalid(format!("Cannot use selection function {function} on PRIMARY KEY part {name}")));
        }
        if is_before_5 && column.cql_type.is_multi_cell() {
            let (name, what) = (&column.name, if column.cql_type.is_collection() { "collection" } else { "UDT" });
            return Err(invalid(format!("Cannot use selection function {function} on non-frozen {what} {name}")));
        }
        let inner = self.build(of, None)?;
        let cql_type = kind.result(&inner.cql_type);
        let name = format!("{}({})", kind.name(), inner.name);
        // A part has one cell: the newest of its write times is the only one.
        let is_whole = matches!(of, Selectable::Column(_));
        let asked = if kind == Meta::MaxWriteTime && !is_whole { Meta::WriteTime } else { kind };
        let whole = self.input(Input::Meta(asked, index));
        let selected = match (of, inner.selected) {
            (Selectable::Column(_), _) => whole,
            (Selectable::Element(inner_of, _), Selected::Element(value, collection, key, column))
                if matches!(**inner_of, Selectable::Column(_)) =>
            {
                Selected::MetaOfElement { metas: Box::new(whole), value, collection, key, column }
            }
            (Selectable::Field(inner_of, _), Selected::Field(value, place, _))
                if matches!(**inner_of, Selectable::Column(_)) =>
            {
                let is_multi_cell = self.checker.table.columns[index].cql_type.is_multi_cell();
                drop(value);
                if is_multi_cell { Selected::MetaOfField(Box::new(whole), place) } else { whole }
            }
            _ => return Err(not_modelled(&format!("{} of a part of a column", kind.name()))),
        };
        Ok(Built::new(selected, cql_type, name))
    }
}
