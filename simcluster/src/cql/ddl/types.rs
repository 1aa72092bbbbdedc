//! CREATE, ALTER and DROP TYPE; types as they are written, looked up.

use super::functions::{functions_using, in_known_order};
use super::{Change, Changes, event, invalid};
use crate::cql::ast::{Name, TypeChange, TypeName};
use crate::cql::{show, system};
use crate::protocol::ServerError;
use crate::types::{CqlType, UserType};
use std::sync::Arc;

impl Change<'_> {
    pub(super) fn create_type(
        &self,
        name: &Name,
        if_not_exists: bool,
        fields: &[(String, TypeName)],
    ) -> Result<Option<Changes>, ServerError> {
        let keyspace_name = self.keyspace_of(name)?;
        let keyspace = self.existing_keyspace(keyspace_name)?;
        if keyspace.types.contains_key(&name.name) {
            if if_not_exists {
                return Ok(None);
            }
            return Err(invalid(format!("A user type with name '{}' already exists", name.name)));
        }
        let mut resolved: Vec<(String, CqlType)> = Vec::new();
        for (field, type_name) in fields {
            if resolved.iter().any(|(present, _)| present == field) {
                return Err(invalid(format!("Duplicate field name '{field}' in type '{}'", name.name)));
            }
            check_frozen(type_name)?;
            let cql_type = resolve_type(type_name, &|t| keyspace.types.get(t).cloned(), keyspace_name)?;
            check_field(&cql_type)?;
            resolved.push((field.clone(), cql_type));
        }
        let user_type = UserType { keyspace: keyspace_name.to_owned(), name: name.name.clone(), fields: resolved };
        let rows = system::type_rows(self.schema, &user_type, self.timestamp);
        Ok(Some((rows, event("CREATED", "TYPE", keyspace_name, &name.name))))
    }

    fn existing_type(
        &self,
        name: &Name,
        if_exists: bool,
        missing: fn(&str, &str) -> ServerError,
    ) -> Result<Option<&Arc<UserType>>, ServerError> {
        let keyspace = self.keyspace_of(name)?;
        let found = self.schema.keyspaces.get(keyspace).and_then(|k| k.types.get(&name.name));
        if found.is_none() && !if_exists {
            return Err(missing(keyspace, &name.name));
        }
        Ok(found)
    }

    pub(super) fn alter_type(
        &self,
        name: &Name,
        if_exists: bool,
        what: &TypeChange,
    ) -> Result<Option<Changes>, ServerError> {
        let missing = |keyspace: &str, name: &str| invalid(format!("Type {keyspace}.{name} doesn't exist"));
        let Some(found) = self.existing_type(name, if_exists, missing)? else { return Ok(None) };
        let keyspace = self.existing_keyspace(&found.keyspace)?;
        let mut user_type = UserType::clone(found);
        match what {
            TypeChange::Add { field, type_name, if_not_exists } => {
                if user_type.fields.iter().any(|(present, _)| present == field) {
                    if *if_not_exists {
                        return Ok(None);
                    }
                    return Err(invalid(format!(
                        "Cannot add field {field} to type {}.{}: a field with name {field} already exists",
                        found.keyspace, found.name
                    )));
                }
                check_frozen(type_name)?;
                let cql_type = resolve_type(type_name, &|t| keyspace.types.get(t).cloned(), &keyspace.name)?;
                check_field(&cql_type)?;
                let mut used = Vec::new();
                cql_type.user_types(&mut used);
                if used.iter().any(|t| t.name == found.name || reaches(t, &found.name)) {
                    return Err(invalid(format!(
                        "Cannot add new field {field} of type {} to user type {}.{} as it would create a circular reference",
                        qualified(&cql_type, &found.keyspace),
                        found.keyspace,
                        found.name
                    )));
                }
                user_type.fields.push((field.clone(), cql_type));
            }
            TypeChange::Alter => return Err(invalid("Altering field types is no longer supported")),
            TypeChange::Rename { pairs, if_exists } => {
                for (from, to) in pairs {
                    if *if_exists && !user_type.fields.iter().any(|(field, _)| field == from) {
                        continue;
                    }
                    let unknown =
                        || invalid(format!("Unkown field {from} in user type {}.{}", found.keyspace, found.name));
                    let field = user_type.fields.iter_mut().find(|(f, _)| f == from).ok_or_else(unknown)?;
                    field.0.clone_from(to);
                }
                for (place, (field, _)) in user_type.fields.iter().enumerate() {
                    if user_type.fields[..place].iter().any(|(earlier, _)| earlier == field) {
                        return Err(invalid(format!("Duplicate field name {field} in type {}", found.keyspace)));
                    }
                }
                if user_type == **found {
                    return Ok(None);
                }
            }
        }
        let rows = system::type_rows(self.schema, &user_type, self.timestamp);
        Ok(Some((rows, event("UPDATED", "TYPE", &found.keyspace, &found.name))))
    }

    pub(super) fn drop_type(&self, name: &Name, if_exists: bool) -> Result<Option<Changes>, ServerError> {
        let missing = |keyspace: &str, name: &str| invalid(format!("Type '{keyspace}.{name}' doesn't exist"));
        let Some(found) = self.existing_type(name, if_exists, missing)? else { return Ok(None) };
        let keyspace = self.existing_keyspace(&found.keyspace)?;
        let uses = |cql_type: &CqlType| {
            let mut used = Vec::new();
            cql_type.user_types(&mut used);
            used.iter().any(|t| t.name == found.name)
        };
        let types: Vec<_> =
            keyspace.types.values().filter(|t| t.fields.iter().any(|(_, f)| uses(f))).map(|t| t.name.clone()).collect();
        let tables: Vec<_> = keyspace
            .tables
            .values()
            .filter(|t| t.columns.iter().any(|c| uses(&c.cql_type)))
            .map(|t| t.name.clone())
            .collect();
        if let Some(users) = in_known_order(functions_using(keyspace, &uses))? {
            return Err(invalid(format!(
                "Cannot drop user type '{}.{}' as it is still used by functions {users}",
                found.keyspace, found.name
            )));
        }
        for (what, users) in [("user types", types), ("tables", tables)] {
            if !users.is_empty() {
                return Err(invalid(format!(
                    "Cannot drop user type '{}.{}' as it is still used by {what} {}",
                    found.keyspace,
                    found.name,
                    users.join(", ")
                )));
            }
        }
        let key = [("keyspace_name", found.keyspace.as_str()), ("type_name", found.name.as_str())];
        let rows = self.deletion("types", &key).into_iter().collect();
        Ok(Some((rows, event("DROPPED", "TYPE", &found.keyspace, &found.name))))
    }
}

/// Looks up the names in a type.
///
/// # Errors
///
/// As Cassandra: unknown types, non-frozen collections inside collections.
pub fn resolve_type(
    name: &TypeName,
    types: &dyn Fn(&str) -> Option<Arc<UserType>>,
    keyspace: &str,
) -> Result<CqlType, ServerError> {
    let inner = |name: &TypeName, parent: &str| -> Result<CqlType, ServerError> {
        // A user type is refused before it is looked for.
        if is_user_type(name) {
            let shown = show::type_name(name);
            return Err(invalid(format!("Non-frozen UDTs are not allowed inside collections: {parent}<{shown}>")));
        }
        let found = resolve_type(name, types, keyspace)?;
        if found.is_multi_cell() {
            let what = if found.is_collection() { "collections" } else { "UDTs" };
            return Err(invalid(format!("Non-frozen {what} are not allowed inside collections: {parent}<{found}>")));
        }
        if found == CqlType::Counter {
            return Err(invalid(format!("Counters are not allowed inside collections: {parent}<counter>")));
        }
        Ok(found)
    };
    // Messages show a map whole.
    let inner_of_map = |part: &TypeName, whole: &TypeName| {
        let found = resolve_type(part, types, keyspace)?;
        let shown = show::type_name(whole);
        match &found {
            CqlType::Counter => Err(invalid(format!("Counters are not allowed inside collections: {shown}"))),
            found if found.is_multi_cell() => {
                let what = if found.is_collection() { "collections" } else { "UDTs" };
                Err(invalid(format!("Non-frozen {what} are not allowed inside collections: {shown}")))
            }
            _ => Ok(found),
        }
    };
    Ok(match name {
        TypeName::Named(Name { keyspace: in_keyspace, name }) => {
            if let (None, Some(native)) = (in_keyspace, CqlType::native(name)) {
                return Ok(native);
            }
            if let Some(other) = in_keyspace.as_ref().filter(|other| *other != keyspace && !keyspace.is_empty()) {
                return Err(invalid(format!(
                    "Statement on keyspace {keyspace} cannot refer to a user type in keyspace {other}; user types can only be used in the keyspace they are defined in"
                )));
            }
            let definition = types(name).ok_or_else(|| {
                invalid(format!("Unknown type {}.{name}", in_keyspace.as_deref().unwrap_or(keyspace)))
            })?;
            CqlType::Udt { definition, frozen: false }
        }
        TypeName::List(element) => CqlType::list(inner(element, "list")?, false),
        TypeName::Set(element) => {
            let element = inner(element, "set")?;
            if element == CqlType::Duration {
                return Err(invalid("Durations are not allowed inside sets: set<duration>"));
            }
            CqlType::set(element, false)
        }
        TypeName::Map(key, value) => {
            let (key, value) = (inner_of_map(key, name)?, inner_of_map(value, name)?);
            if key == CqlType::Duration {
                return Err(invalid(format!("Durations are not allowed as map keys: map<duration, {value}>")));
            }
            CqlType::map(key, value, false)
        }
        TypeName::Tuple(parts) => {
            let parts = parts.iter().map(|part| Ok(resolve_type(part, types, keyspace)?.freeze()));
            CqlType::Tuple(parts.collect::<Result<Vec<_>, ServerError>>()?.into())
        }
        // Freezing allows everything inside to be written without its own `frozen`.
        TypeName::Frozen(inner) => match inner.as_ref() {
            TypeName::List(e) => CqlType::list(resolve_type(e, types, keyspace)?.freeze(), true),
            TypeName::Set(e) => CqlType::set(resolve_type(e, types, keyspace)?.freeze(), true),
            TypeName::Map(k, v) => CqlType::map(
                resolve_type(k, types, keyspace)?.freeze(),
                resolve_type(v, types, keyspace)?.freeze(),
                true,
            ),
            other => {
                let found = resolve_type(other, types, keyspace)?;
                if !matches!(found, CqlType::Tuple(_) | CqlType::Udt { .. } | CqlType::Vector { .. }) {
                    return Err(ServerError::Syntax(format!(
                        "frozen<> is only allowed on collections, tuples, and user-defined types (got {found})"
                    )));
                }
                found.freeze()
            }
        },
        TypeName::Vector(element, dimensions) => CqlType::Vector {
            element: Arc::new(resolve_type(element, types, keyspace)?.freeze()),
            dimensions: *dimensions,
        },
    })
}

fn is_user_type(name: &TypeName) -> bool {
    matches!(name, TypeName::Named(name) if name.keyspace.is_some() || CqlType::native(&name.name).is_none())
}

/// A type cannot hold another type that is not frozen; it is refused before it is looked for.
fn check_frozen(name: &TypeName) -> Result<(), ServerError> {
    if is_user_type(name) {
        return Err(invalid("A user type cannot contain non-frozen UDTs"));
    }
    Ok(())
}

/// Whether a type holds values of another, at whatever depth.
fn reaches(user_type: &UserType, wanted: &str) -> bool {
    let mut used = Vec::new();
    for (_, field) in &user_type.fields {
        field.user_types(&mut used);
    }
    used.iter().any(|t| t.name == wanted || reaches(t, wanted))
}

/// A type with its keyspace before its name.
fn qualified(cql_type: &CqlType, keyspace: &str) -> String {
    match cql_type {
        CqlType::Udt { definition, frozen: true } => format!("frozen<{keyspace}.{}>", definition.name),
        other => other.to_string(),
    }
}

fn check_field(cql_type: &CqlType) -> Result<(), ServerError> {
    if *cql_type == CqlType::Counter {
        return Err(invalid("A user type cannot contain counters"));
    }
    if matches!(cql_type, CqlType::Udt { frozen: false, .. }) {
        return Err(invalid("A user type cannot contain non-frozen UDTs"));
    }
    Ok(())
}
