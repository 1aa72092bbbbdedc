//! The values of a statement, written against the variables the server described.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{BindError, ColumnSpec, EncodeValue, Presence, write_value};

/// Values for the variables of one statement, by position or by name.
///
/// Implemented for `()`, tuples of up to 16 values, vectors and slices of values of one type (use
/// [`super::CqlValue`] to mix), maps from names to values, and [`NamedValues`].
pub trait BindValues {
    /// Writes one value for each variable, in order.
    ///
    /// # Errors
    ///
    /// If a value is missing, superfluous, or does not fit. What was written is discarded.
    fn bind(&self, writer: &mut BindWriter<'_>) -> Result<(), BindError>;

    /// About how many bytes [`Self::bind`] writes, so that there is room before it starts. Default: 64.
    fn len_hint(&self) -> usize {
        64
    }

    /// Whether there are no values at all, so that a statement without variables can be sent
    /// without being prepared.
    fn is_empty(&self) -> bool {
        false
    }
}

/// Receives the values of a statement, each as a `[value]`.
#[derive(Debug)]
pub struct BindWriter<'a> {
    variables: &'a [ColumnSpec],
    written: usize,
    unset_supported: bool,
    out: &'a mut Vec<u8>,
}

impl<'a> BindWriter<'a> {
    /// Starts writing values for `variables` at the end of `out`.
    ///
    /// `unset_supported` is false in protocol version 3.
    pub fn new(variables: &'a [ColumnSpec], unset_supported: bool, out: &'a mut Vec<u8>) -> Self {
        Self { variables, written: 0, unset_supported, out }
    }

    /// All variables of the statement.
    pub fn variables(&self) -> &'a [ColumnSpec] {
        self.variables
    }

    /// Writes the value of the next variable.
    ///
    /// # Errors
    ///
    /// If the statement has no further variable or the value does not fit it.
    pub fn write<T: EncodeValue + ?Sized>(&mut self, value: &T) -> Result<(), BindError> {
        let Some(variable) = self.variables.get(self.written) else {
            return Err(BindError::WrongCount { expected: self.variables.len(), got: self.written + 1 });
        };
        if !self.unset_supported && value.presence() == Presence::Unset {
            return Err(BindError::UnsetNotSupported(variable.name.clone()));
        }
        write_value(value, &variable.cql_type, self.out)
            .map_err(|error| BindError::Value { name: variable.name.clone(), error })?;
        self.written += 1;
        Ok(())
    }

    /// Fails early, with the right numbers, if the statement does not have `count` variables.
    ///
    /// # Errors
    ///
    /// [`BindError::WrongCount`].
    pub fn expect_count(&self, count: usize) -> Result<(), BindError> {
        if self.variables.len() == count {
            return Ok(());
        }
        Err(BindError::WrongCount { expected: self.variables.len(), got: count })
    }

    /// Checks that every variable got its value. The caller of [`BindValues::bind`] does this.
    ///
    /// # Errors
    ///
    /// [`BindError::WrongCount`].
    pub fn finish(self) -> Result<(), BindError> {
        self.expect_count(self.written)
    }
}

impl BindValues for () {
    fn len_hint(&self) -> usize {
        0
    }

    fn bind(&self, writer: &mut BindWriter<'_>) -> Result<(), BindError> {
        writer.expect_count(0)
    }

    fn is_empty(&self) -> bool {
        true
    }
}

impl<T: BindValues + ?Sized> BindValues for &T {
    fn bind(&self, writer: &mut BindWriter<'_>) -> Result<(), BindError> {
        (**self).bind(writer)
    }

    fn len_hint(&self) -> usize {
        (**self).len_hint()
    }

    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }
}

impl<T: BindValues + ?Sized> BindValues for Box<T> {
    fn bind(&self, writer: &mut BindWriter<'_>) -> Result<(), BindError> {
        (**self).bind(writer)
    }

    fn len_hint(&self) -> usize {
        (**self).len_hint()
    }

    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }
}

impl<T: BindValues + ?Sized> BindValues for Arc<T> {
    fn bind(&self, writer: &mut BindWriter<'_>) -> Result<(), BindError> {
        (**self).bind(writer)
    }

    fn len_hint(&self) -> usize {
        (**self).len_hint()
    }

    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }
}

impl<T: EncodeValue> BindValues for [T] {
    fn bind(&self, writer: &mut BindWriter<'_>) -> Result<(), BindError> {
        writer.expect_count(self.len())?;
        self.iter().try_for_each(|value| writer.write(value))
    }

    fn len_hint(&self) -> usize {
        EncodeValue::len_hint(self)
    }

    fn is_empty(&self) -> bool {
        <[T]>::is_empty(self)
    }
}

impl<T: EncodeValue> BindValues for Vec<T> {
    fn bind(&self, writer: &mut BindWriter<'_>) -> Result<(), BindError> {
        self.as_slice().bind(writer)
    }

    fn len_hint(&self) -> usize {
        EncodeValue::len_hint(self)
    }

    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }
}

impl<K: Borrow<str> + Ord, V: EncodeValue> BindValues for BTreeMap<K, V> {
    fn bind(&self, writer: &mut BindWriter<'_>) -> Result<(), BindError> {
        bind_by_name(writer, self.keys().map(Borrow::borrow), |name| self.get(name))
    }

    fn is_empty(&self) -> bool {
        BTreeMap::is_empty(self)
    }
}

/// Values of any types, each with the name of its variable.
#[derive(Default)]
pub struct NamedValues<'v> {
    values: BTreeMap<&'v str, Box<dyn EncodeValue + Send + Sync + 'v>>,
}

impl<'v> NamedValues<'v> {
    /// No values yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the value of the variable `name`, replacing an earlier one.
    #[must_use]
    pub fn with(mut self, name: &'v str, value: impl EncodeValue + Send + Sync + 'v) -> Self {
        self.values.insert(name, Box::new(value));
        self
    }
}

impl fmt::Debug for NamedValues<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl BindValues for NamedValues<'_> {
    fn bind(&self, writer: &mut BindWriter<'_>) -> Result<(), BindError> {
        bind_by_name(writer, self.values.keys().copied(), |name| self.values.get(name))
    }

    fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// Writes values in the order of the variables. A name used twice gets its value twice.
fn bind_by_name<'n, 'v, V: EncodeValue + 'v>(
    writer: &mut BindWriter<'_>,
    mut names: impl Iterator<Item = &'n str>,
    value_of: impl Fn(&str) -> Option<&'v V>,
) -> Result<(), BindError> {
    let variables = writer.variables();
    if let Some(unknown) = names.find(|name| variables.iter().all(|variable| &*variable.name != *name)) {
        return Err(BindError::UnknownName(unknown.to_owned()));
    }
    for variable in variables {
        let value = value_of(&variable.name).ok_or_else(|| BindError::MissingName(variable.name.clone()))?;
        writer.write(value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{NativeType, Unset};

    fn variables() -> Vec<ColumnSpec> {
        [("id", NativeType::Int), ("title", NativeType::Text)]
            .map(|(name, native)| ColumnSpec {
                keyspace: "app".into(),
                table: "songs".into(),
                name: name.into(),
                cql_type: native.into(),
            })
            .into()
    }

    fn bound(values: &dyn BindValues, unset_supported: bool) -> Result<Vec<u8>, BindError> {
        let variables = variables();
        let mut out = Vec::new();
        let mut writer = BindWriter::new(&variables, unset_supported, &mut out);
        values.bind(&mut writer)?;
        writer.finish().map(|()| out)
    }

    #[test]
    fn names_and_positions_give_the_same_bytes() {
        let positional = bound(&(7, "x"), true).unwrap();
        let named = NamedValues::new().with("title", "x").with("id", 7);
        assert_eq!(bound(&named, true).unwrap(), positional);
        assert_eq!(positional, [0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 1, b'x']);
    }

    #[test]
    fn the_error_names_the_variable_and_both_types() {
        let error = bound(&("x", "x"), true).expect_err("text for an int");
        let BindError::Value { name, error } = error else { panic!("{error}") };
        assert_eq!((&*name, error.cql_type()), ("id", "int"));
    }

    #[test]
    fn too_many_too_few_and_unknown_values_are_refused() {
        assert_eq!(bound(&(1,), true), Err(BindError::WrongCount { expected: 2, got: 1 }));
        assert_eq!(bound(&(1, "x", 2), true), Err(BindError::WrongCount { expected: 2, got: 3 }));
        let unknown = NamedValues::new().with("id", 1).with("title", "x").with("artist", "y");
        assert_eq!(bound(&unknown, true), Err(BindError::UnknownName("artist".to_owned())));
        let missing = NamedValues::new().with("id", 1);
        assert_eq!(bound(&missing, true), Err(BindError::MissingName("title".into())));
    }

    #[test]
    fn unset_needs_protocol_version_4() {
        assert!(bound(&(1, Unset), true).is_ok());
        assert_eq!(bound(&(1, Unset), false), Err(BindError::UnsetNotSupported("title".into())));
    }
}
