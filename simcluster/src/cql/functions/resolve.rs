//! Which function a call means.
//!
//! Every overload of the name is tried: one that fits exactly is taken at once, one that can be assigned is taken if
//! it is the only one. Arguments are asked only how well they fit a type, so terms and selectors are resolved alike.

use super::native::{self, Factory, Parameter};
use super::{Function, Kind, Math};
use crate::cql::ast::Name;
use crate::cql::dialect;
use crate::cql::parser::not_modelled;
use crate::protocol::ServerError;
use crate::schema::Dialect;
use crate::types::CqlType;
use crate::types::compatible::{Fit, fit};

/// What is given to a function, before it is known to which.
pub trait Argument {
    /// How well it can stand where a type is needed.
    ///
    /// # Errors
    ///
    /// [`ServerError::Invalid`] where even asking is refused.
    fn fit(&self, receiver: &CqlType) -> Result<Fit, ServerError>;

    /// The type it has, or would rather have than others.
    fn compatible_type(&self) -> Option<CqlType>;

    /// As messages show it.
    fn shown(&self) -> String;

    /// Whether it is a bind marker.
    fn is_marker(&self) -> bool;

    /// The number of its elements if it is a selector written as `[…]`.
    fn array_len(&self) -> Option<u16>;
}

/// A call as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is called.
    pub name: &'a Name,
    /// What the result is needed as.
    pub wanted: Option<&'a CqlType>,
    /// The types that `token` takes in the table at hand.
    pub key_types: &'a [CqlType],
    /// Whose functions there are.
    pub dialect: Dialect,
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

/// Finds the function a call means; `None` if no function has the name.
///
/// # Errors
///
/// [`ServerError::Invalid`]: no overload or more than one fits, or the function is not modelled.
pub fn resolve(call: Call<'_>, arguments: &[&dyn Argument]) -> Result<Option<Function>, ServerError> {
    if call.name.keyspace.as_deref().is_some_and(|k| k != "system") {
        return Ok(None);
    }
    let name = call.name.name.as_str();
    if !dialect::has_function(call.dialect, name) {
        return Ok(None);
    }
    if native::NOT_MODELLED.contains(&name) {
        return Err(not_modelled(&format!("the function {name}")));
    }
    let mut candidates = native::overloads(name);
    if call.dialect < Dialect::V41 {
        // Texts could not be added yet.
        let is_concatenation = |function: &Function| {
            function.operator().is_some() && matches!(function.result, CqlType::Text | CqlType::Ascii)
        };
        candidates.retain(|function| !is_concatenation(function));
    }
    if name == "token" {
        candidates.push(Function::token(call.key_types));
    } else if let Some(factory) = native::factory(name) {
        let function = made_to_measure(&factory, call.wanted, arguments)?;
        if matches!(name, "min" | "max") && call.dialect < Dialect::V50 && is_compound(&function.result) {
            return Err(not_modelled("min or max of a collection, tuple or user type in a release before 5.0"));
        }
        candidates.push(function);
    }
    match candidates.len() {
        0 => Ok(None),
        1 => {
            let only = candidates.remove(0);
            check_arguments(&only, arguments)?;
            Ok(Some(only))
        }
        _ => best(call, arguments, &candidates).map(Some),
    }
}

const fn is_compound(cql_type: &CqlType) -> bool {
    matches!(
        cql_type,
        CqlType::List { .. } | CqlType::Set { .. } | CqlType::Map { .. } | CqlType::Tuple(_) | CqlType::Udt { .. }
    )
}

fn made_to_measure(
    factory: &Factory,
    wanted: Option<&CqlType>,
    arguments: &[&dyn Argument],
) -> Result<Function, ServerError> {
    if arguments.len() < factory.mandatory || arguments.len() > factory.parameters.len() {
        return Err(invalid(format!("Invalid number of arguments for function {}", factory.shown())));
    }
    let infer = |index: usize, known: &[Option<CqlType>]| {
        let own = inferred(factory.parameters[index], arguments[index], wanted);
        match factory.same_as.get(index).copied().flatten() {
            Some((other, true)) => known.get(other).cloned().flatten().or(own),
            Some((other, false)) => own.or_else(|| known.get(other).cloned().flatten()),
            None => own,
        }
    };
    let mut types: Vec<Option<CqlType>> = (0..arguments.len()).map(|index| infer(index, &[])).collect();
    for (index, argument) in arguments.iter().enumerate() {
        let Some(found) = infer(index, &types) else {
            return Err(invalid(format!(
                "Cannot infer type of argument {} in call to function {}: use type casts to disambiguate",
                argument.shown(),
                factory.shown()
            )));
        };
        factory.parameters[index].check(&found).map_err(|required| {
            invalid(format!(
                "Function system.{} requires {required}, but found argument {} of type {found}",
                factory.name,
                argument.shown()
            ))
        })?;
        if matches!(factory.parameters[index], Parameter::Map | Parameter::FloatVector)
            && !matches!(found, CqlType::Map { .. } | CqlType::Vector { .. })
        {
            return Err(not_modelled("a function on an argument that makes Cassandra fail with an internal error"));
        }
        types[index] = Some(found);
    }
    factory.make(&types.into_iter().flatten().collect::<Vec<_>>(), wanted).map_err(invalid)
}

fn inferred(parameter: Parameter, argument: &dyn Argument, wanted: Option<&CqlType>) -> Option<CqlType> {
    let own = argument.compatible_type();
    match parameter {
        Parameter::Any(true) => own.or_else(|| wanted.cloned()),
        Parameter::Fixed(types) => own.or_else(|| types.first().cloned()),
        Parameter::FloatVector => match argument.array_len() {
            Some(dimensions) => Some(CqlType::Vector { element: CqlType::Float.into(), dimensions }),
            None => own.or_else(|| wanted.cloned()),
        },
        _ => own,
    }
}

/// The only function of a name must take its arguments.
fn check_arguments(function: &Function, arguments: &[&dyn Argument]) -> Result<(), ServerError> {
    if arguments.len() != function.arguments.len() {
        return Err(invalid(format!(
            "Invalid number of arguments in call to function {}: {} required but {} provided",
            function.full_name(),
            function.arguments.len(),
            arguments.len()
        )));
    }
    for (index, (argument, wanted)) in arguments.iter().zip(&function.arguments).enumerate() {
        if !argument.fit(wanted)?.is_assignable() {
            return Err(invalid(format!(
                "Type error: {} cannot be passed as argument {index} of function {} of type {wanted}",
                argument.shown(),
                function.full_name()
            )));
        }
    }
    Ok(())
}

/// How well the arguments fit a function as a whole.
fn arguments_fit(function: &Function, arguments: &[&dyn Argument]) -> Result<Fit, ServerError> {
    if arguments.len() != function.arguments.len() {
        return Ok(Fit::No);
    }
    Fit::worst(arguments.iter().zip(&function.arguments).map(|(argument, wanted)| argument.fit(wanted)))
}

fn best(call: Call<'_>, arguments: &[&dyn Argument], candidates: &[Function]) -> Result<Function, ServerError> {
    let mut fitting = Vec::new();
    for function in candidates {
        if call.wanted.is_some_and(|wanted| !fit(&function.result, wanted).is_assignable()) {
            continue;
        }
        match arguments_fit(function, arguments)? {
            Fit::Exact => return Ok(function.clone()),
            Fit::Weak => fitting.push(function.clone()),
            Fit::No => {}
        }
    }
    let operator = candidates.iter().find_map(|f| match f.kind {
        Kind::Operation(operator) => Some(operator.symbol()),
        _ => None,
    });
    let shown = |index: usize| arguments.get(index).map_or_else(String::new, |a| a.shown());
    let name = shown_name(call.name);
    match (fitting.len(), operator) {
        (1, _) => Ok(fitting.remove(0)),
        (0, Some(operator)) => {
            Err(invalid(format!("the '{operator}' operation is not supported between {} and {}", shown(0), shown(1))))
        }
        (0, None) => Err(invalid(format!(
            "Invalid call to function {name}, none of its type signatures match (known type signatures: {})",
            signatures(candidates)
        ))),
        (_, Some(operator)) => {
            let has_marker = arguments.iter().any(|a| a.is_marker());
            let both = |f: &&Function| call.wanted.is_some_and(|wanted| f.arguments.iter().all(|a| a == wanted));
            match fitting.iter().find(both) {
                Some(function) if !has_marker => Ok(function.clone()),
                _ => Err(invalid(format!(
                    "Ambiguous '{operator}' operation with args {} and {}: use type hint to disambiguate, example '(int) ?'",
                    shown(0),
                    shown(1)
                ))),
            }
        }
        (_, None) if fitting[0].kind == Kind::Math(Math::Negate) => {
            Err(invalid("Ambiguous negation: use type casts to disambiguate"))
        }
        (_, None) => Err(invalid(format!(
            "Ambiguous call to function {name} (can be matched by following signatures: {}): use type casts to disambiguate",
            signatures(&fitting)
        ))),
    }
}

/// A name as messages show it.
#[must_use]
pub fn shown_name(name: &Name) -> String {
    match &name.keyspace {
        Some(keyspace) => format!("{keyspace}.{}", name.name),
        None => name.name.clone(),
    }
}

fn signatures(functions: &[Function]) -> String {
    functions.iter().map(Function::signature).collect::<Vec<_>>().join(", ")
}
