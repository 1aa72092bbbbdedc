//! Selectors with their columns and functions found, before it is known what they are needed as.
//!
//! A selector that could be several things (`[1, 2]`, a marker) takes its type from where it stands; how well it would
//! stand there is asked here, for the choice among overloads.

use crate::cql::ast::{Name, Selector, Term};
use crate::cql::functions::{self, Argument, Function};
use crate::cql::parser::not_modelled;
use crate::cql::show;
use crate::cql::terms::{Checker, Given};
use crate::protocol::ServerError;
use crate::types::CqlType;
use crate::types::compatible::{Fit, common, fit, takes};

use super::{Meta, invalid};

/// A selector whose columns and functions are known.
#[derive(Clone, Debug)]
pub(super) enum Selectable {
    Column(usize),
    Term(Term),
    /// What is asked about a cell, by what, of a part of a column.
    Meta(Meta, usize, Box<Selectable>),
    Call(Function, Vec<Selectable>),
    /// To a type by its name.
    Cast(Box<Selectable>, String, CqlType),
    Field(Box<Selectable>, String),
    Element(Box<Selectable>, Term),
    Slice(Box<Selectable>, Option<Term>, Option<Term>),
    /// With the type as it was written.
    Hint(String, CqlType, Box<Selectable>),
    List(Vec<Selectable>),
    Set(Vec<Selectable>),
    /// A map, or a user type whose fields' names are columns' only by their look.
    Entries(Vec<(Selector, Selector)>),
    Tuple(Vec<Selectable>),
}

/// A selectable given to a function, with what knows the types.
pub(super) struct Chosen<'a> {
    pub checker: &'a Checker<'a>,
    pub selectable: &'a Selectable,
}

impl Argument for Chosen<'_> {
    fn fit(&self, receiver: &CqlType) -> Result<Fit, ServerError> {
        self.selectable.fit(self.checker, receiver)
    }

    fn compatible_type(&self) -> Option<CqlType> {
        self.selectable.compatible_type(self.checker)
    }

    fn shown(&self) -> String {
        self.selectable.shown(self.checker)
    }

    fn is_marker(&self) -> bool {
        // Only terms are asked: a marker in a selection is a selector.
        false
    }

    fn array_len(&self) -> Option<u16> {
        match self.selectable {
            Selectable::List(items) => u16::try_from(items.len()).ok(),
            _ => None,
        }
    }
}

/// Finds the columns and functions of a selector.
///
/// # Errors
///
/// As Cassandra: unknown columns and functions, calls that fit no function or several.
pub(super) fn prepare(checker: &Checker<'_>, selector: &Selector) -> Result<Selectable, ServerError> {
    let inner = |selector: &Selector| prepare(checker, selector).map(Box::new);
    let each = |selectors: &[Selector]| selectors.iter().map(|s| prepare(checker, s)).collect::<Result<Vec<_>, _>>();
    Ok(match selector {
        Selector::Column(name) => Selectable::Column(column(checker, name)?),
        Selector::CountRows => Selectable::Call(Function::count_rows(), Vec::new()),
        Selector::Meta(function, of) => {
            let kind = match function.as_str() {
                "writetime" => Meta::WriteTime,
                "maxwritetime" => Meta::MaxWriteTime,
                _ => Meta::Ttl,
            };
            Selectable::Meta(kind, column(checker, named_column(of))?, inner(of)?)
        }
        Selector::Call(name, arguments) => call(checker, name, each(arguments)?)?,
        Selector::Cast(of, type_name) => {
            let cql_type = CqlType::native(type_name).ok_or_else(|| invalid(format!("Unknown type {type_name}")))?;
            Selectable::Cast(inner(of)?, type_name.clone(), cql_type)
        }
        Selector::Field(of, field) => Selectable::Field(inner(of)?, field.clone()),
        Selector::Element(of, key) => Selectable::Element(inner(of)?, key.clone()),
        Selector::Slice(of, from, to) => Selectable::Slice(inner(of)?, from.clone(), to.clone()),
        Selector::Hint(type_name, of) => {
            let cql_type = checker.resolve_type(type_name)?.freeze();
            Selectable::Hint(show::type_name_in(type_name, &checker.table.keyspace), cql_type, inner(of)?)
        }
        Selector::List(items) => Selectable::List(each(items)?),
        Selector::Set(items) => Selectable::Set(each(items)?),
        Selector::Entries(entries) => Selectable::Entries(entries.clone()),
        Selector::Tuple(items) => Selectable::Tuple(each(items)?),
        Selector::Term(term) => Selectable::Term(term.clone()),
    })
}

/// The columns that a selector names.
pub(super) fn named_columns(selector: &Selector) -> Vec<&str> {
    match selector {
        Selector::Column(name) => vec![name],
        Selector::Meta(_, of)
        | Selector::Cast(of, _)
        | Selector::Field(of, _)
        | Selector::Element(of, _)
        | Selector::Slice(of, ..)
        | Selector::Hint(_, of) => named_columns(of),
        Selector::Call(_, parts) | Selector::List(parts) | Selector::Set(parts) | Selector::Tuple(parts) => {
            parts.iter().flat_map(named_columns).collect()
        }
        Selector::Entries(entries) => entries.iter().flat_map(|(_, value)| named_columns(value)).collect(),
        Selector::CountRows | Selector::Term(_) => Vec::new(),
    }
}

fn column(checker: &Checker<'_>, name: &str) -> Result<usize, ServerError> {
    let table = checker.table;
    table.column_index(name).ok_or_else(|| invalid(show::undefined_column(table, name)))
}

/// The column of which a selector takes a part.
fn named_column(selector: &Selector) -> &str {
    match selector {
        Selector::Column(name) => name,
        Selector::Field(of, _) | Selector::Element(of, _) | Selector::Slice(of, ..) => named_column(of),
        _ => "",
    }
}

fn call(checker: &Checker<'_>, name: &Name, arguments: Vec<Selectable>) -> Result<Selectable, ServerError> {
    // A constant is counted as rows are.
    let is_count = name.name == "count" && name.keyspace.as_deref().is_none_or(|keyspace| keyspace == "system");
    if let [Selectable::Term(term)] = &arguments[..]
        && is_count
        && !matches!(term, Term::Null | Term::Marker(_))
    {
        return Ok(Selectable::Call(Function::count_rows(), Vec::new()));
    }
    let chosen: Vec<Chosen<'_>> = arguments.iter().map(|selectable| Chosen { checker, selectable }).collect();
    let chosen: Vec<&dyn Argument> = chosen.iter().map(|c| c as &dyn Argument).collect();
    match checker.function(name, &chosen, None)? {
        Some(function) => Ok(Selectable::Call(function, arguments)),
        None => Err(invalid(format!("Unknown function '{}'", functions::shown_name(name)))),
    }
}

impl Selectable {
    /// How well it can stand where a type is needed.
    fn fit(&self, checker: &Checker<'_>, receiver: &CqlType) -> Result<Fit, ServerError> {
        let all = |items: &[Self], element: &CqlType| {
            if items.is_empty() {
                return Ok(Fit::Weak);
            }
            Fit::worst(items.iter().map(|item| item.fit(checker, element)))
        };
        Ok(match (self, receiver) {
            (Self::Term(term), _) => Given { checker, term }.fit(receiver)?,
            (Self::Hint(_, hinted, _), _) if hinted == receiver => Fit::Exact,
            (Self::Hint(_, hinted, _), _) => {
                if takes(receiver, hinted) {
                    Fit::Weak
                } else {
                    Fit::No
                }
            }
            (Self::List(items), CqlType::List { element, .. } | CqlType::Vector { element, .. }) => {
                all(items, element)?
            }
            (Self::List(_), _) => return Err(fails_inside("a list selector")),
            (Self::Set(items), CqlType::Set { element, .. }) => all(items, element)?,
            (Self::Set(items), CqlType::Map { .. }) if items.is_empty() => Fit::Weak,
            (Self::Set(_), _) => Fit::No,
            (Self::Entries(entries), CqlType::Map { key, value, .. }) => {
                let mut fits = Vec::new();
                for (k, v) in entries {
                    fits.push(prepare(checker, k)?.fit(checker, key));
                    fits.push(prepare(checker, v)?.fit(checker, value));
                }
                Fit::worst(fits)?
            }
            (Self::Entries(entries), CqlType::Udt { definition, .. }) => {
                for (field, value) in entries {
                    let (_, cql_type) = find_field(field, definition)?;
                    if !prepare(checker, value)?.fit(checker, cql_type)?.is_assignable() {
                        return Ok(Fit::No);
                    }
                }
                Fit::Weak
            }
            (Self::Entries(_), _) => return Err(fails_inside("a map selector")),
            (Self::Tuple(items), CqlType::Tuple(_) | CqlType::Udt { .. })
                if items.len() > 1 || matches!(receiver, CqlType::Tuple(_)) =>
            {
                let types: Vec<&CqlType> = match receiver {
                    CqlType::Tuple(types) => types.iter().collect(),
                    CqlType::Udt { definition, .. } => definition.fields.iter().map(|(_, t)| t).collect(),
                    _ => Vec::new(),
                };
                if items.len() > types.len() {
                    return Ok(Fit::No);
                }
                match Fit::worst(items.iter().zip(types).map(|(item, t)| item.fit(checker, t)))? {
                    Fit::No => Fit::No,
                    Fit::Exact | Fit::Weak => Fit::Weak,
                }
            }
            (Self::Tuple(items), _) if items.len() == 1 => items[0].fit(checker, receiver)?,
            (Self::Tuple(_), _) => Fit::No,
            _ => self.exact_type(checker).map_or(Fit::No, |found| fit(&found, receiver)),
        })
    }

    /// The type it has wherever it stands.
    pub(super) fn exact_type(&self, checker: &Checker<'_>) -> Option<CqlType> {
        let table = checker.table;
        match self {
            Self::Column(index) => Some(table.columns[*index].cql_type.clone()),
            Self::Term(term) => checker.exact_type(term),
            Self::Meta(kind, index, _) => Some(kind.result(&table.columns[*index].cql_type)),
            Self::Call(function, _) => Some(function.result.clone()),
            Self::Cast(_, _, cql_type) | Self::Hint(_, cql_type, _) => Some(cql_type.clone()),
            Self::Field(of, field) => match of.exact_type(checker)? {
                CqlType::Udt { definition, .. } => {
                    definition.fields.iter().find(|(name, _)| name == field).map(|(_, t)| t.clone())
                }
                _ => None,
            },
            Self::Element(of, _) => match of.exact_type(checker)? {
                CqlType::Map { value: part, .. }
                | CqlType::Set { element: part, .. }
                | CqlType::List { element: part, .. } => Some(part.as_ref().clone()),
                _ => None,
            },
            Self::Slice(of, ..) => of.exact_type(checker).filter(CqlType::is_collection),
            Self::List(items) => {
                items.iter().find_map(|item| item.exact_type(checker)).map(|element| CqlType::list(element, true))
            }
            Self::Set(items) => {
                items.iter().find_map(|item| item.exact_type(checker)).map(|element| CqlType::set(element, true))
            }
            Self::Entries(_) => None,
            Self::Tuple(items) if items.len() == 1 => None,
            Self::Tuple(items) => {
                let types: Option<Vec<CqlType>> = items.iter().map(|item| item.exact_type(checker)).collect();
                types.map(|types| CqlType::Tuple(types.into()))
            }
        }
    }

    /// The type it has, or would rather have than others.
    fn compatible_type(&self, checker: &Checker<'_>) -> Option<CqlType> {
        let of_all = |items: &[Self]| {
            let types: Vec<CqlType> = items.iter().filter_map(|item| item.compatible_type(checker)).collect();
            common(&types)
        };
        match self {
            Self::Term(term) => checker.compatible_type(term),
            Self::List(items) => of_all(items).map(|element| CqlType::list(element, true)),
            Self::Set(items) => of_all(items).map(|element| CqlType::set(element, true)),
            Self::Tuple(items) if items.len() > 1 => {
                let types: Option<Vec<CqlType>> = items.iter().map(|item| item.compatible_type(checker)).collect();
                types.map(|types| CqlType::Tuple(types.into()))
            }
            _ => self.exact_type(checker),
        }
    }

    /// As messages show it.
    pub(super) fn shown(&self, checker: &Checker<'_>) -> String {
        let list = |items: &[Self]| items.iter().map(|item| item.shown(checker)).collect::<Vec<_>>();
        match self {
            Self::Column(index) => checker.table.columns[*index].name.clone(),
            Self::Term(term) => show::term(term),
            Self::Meta(kind, _, of) => format!("{}({})", kind.name(), of.shown(checker)),
            Self::Call(function, arguments) => function.shown(&list(arguments)),
            Self::Cast(of, name, _) => format!("cast({} as {name})", of.shown(checker)),
            Self::Field(of, field) => format!("{}.{field}", of.shown(checker)),
            Self::Element(of, key) => format!("{}[{}]", of.shown(checker), show::term(key)),
            Self::Slice(of, from, to) => format!("{}[{}]", of.shown(checker), range(from.as_ref(), to.as_ref())),
            Self::Hint(name, _, of) => format!("({name}){}", of.shown(checker)),
            Self::List(items) => format!("[{}]", list(items).join(", ")),
            Self::Set(items) => format!("{{{}}}", list(items).join(", ")),
            Self::Entries(entries) => {
                let shown = entries.iter().map(|(key, value)| {
                    let part = |selector: &Selector| match selector {
                        Selector::Column(name) => name.clone(),
                        other => prepare(checker, other).map(|s| s.shown(checker)).unwrap_or_default(),
                    };
                    format!("{}: {}", part(key), part(value))
                });
                format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
            }
            Self::Tuple(items) => format!("({})", list(items).join(", ")),
        }
    }
}

/// `from..to` as messages and result columns show it.
pub(super) fn range(from: Option<&Term>, to: Option<&Term>) -> String {
    let shown = |bound: Option<&Term>| bound.map(show::term).unwrap_or_default();
    format!("{}..{}", shown(from), shown(to))
}

/// The place and type of the field that an entry names.
pub(super) fn find_field<'t>(
    field: &Selector,
    definition: &'t crate::types::UserType,
) -> Result<(usize, &'t CqlType), ServerError> {
    let Selector::Column(name) = field else {
        return Err(not_modelled("a selector as the name of a field"));
    };
    let place =
        definition.fields.iter().position(|(f, _)| f == name).ok_or_else(|| {
            invalid(format!("Unknown field '{name}' in value of user defined type {}", definition.name))
        })?;
    Ok((place, &definition.fields[place].1))
}

fn fails_inside(what: &str) -> ServerError {
    not_modelled(&format!("{what} where Cassandra fails with an internal error"))
}
