//! Rust tuples: as CQL tuples, as the values of a statement, as rows.

use super::decode::{CellReader, not_null};
use super::row::column_error;
use super::{
    BindError, BindValues, BindWriter, ColumnSpec, CqlType, DecodeRow, DecodeValue, EncodeValue, RowCells, RowError,
    RowLayout, ValueError, ValueErrorKind, write_value,
};

macro_rules! tuple {
    ($count:literal: $($name:ident $index:tt),+) => {
        impl<$($name: EncodeValue),+> EncodeValue for ($($name,)+) {
            fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
                let types = element_types::<Self>(cql_type, $count)?;
                $(write_value(&self.$index, &types[$index], out)?;)+
                Ok(())
            }
        }

        impl<'a, $($name: DecodeValue<'a>),+> DecodeValue<'a> for ($($name,)+) {
            fn check(cql_type: &CqlType) -> Result<(), ValueError> {
                let types = element_types::<Self>(cql_type, $count)?;
                $($name::check(&types[$index])?;)+
                Ok(())
            }

            fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
                let types = element_types::<Self>(cql_type, $count)?;
                let mut cells = CellReader::new(not_null::<Self>(cql_type, content)?);
                let tuple = ($($name::decode(&types[$index], element::<Self>(cql_type, &mut cells)?)?,)+);
                if !cells.rest().is_empty() {
                    return Err(ValueError::new::<Self>(ValueErrorKind::TrailingBytes, cql_type));
                }
                Ok(tuple)
            }
        }

        impl<$($name: EncodeValue),+> BindValues for ($($name,)+) {
            fn len_hint(&self) -> usize {
                0 $(+ 4 + self.$index.len_hint())+
            }

            fn bind(&self, writer: &mut BindWriter<'_>) -> Result<(), BindError> {
                writer.expect_count($count)?;
                $(writer.write(&self.$index)?;)+
                Ok(())
            }
        }

        impl<'a, $($name: DecodeValue<'a>),+> RowLayout for ($($name,)+) {
            type Layout = ();

            fn layout(columns: &[ColumnSpec]) -> Result<(), RowError> {
                if columns.len() != $count {
                    return Err(RowError::WrongColumnCount { expected: $count, got: columns.len() });
                }
                $($name::check(&columns[$index].cql_type)
                    .map_err(|error| column_error(&columns[$index], error))?;)+
                Ok(())
            }
        }

        impl<'a, $($name: DecodeValue<'a>),+> DecodeRow<'a> for ($($name,)+) {
            #[inline]
            fn decode_row((): &(), cells: &mut RowCells<'a>) -> Result<Self, RowError> {
                Ok(($(cells.next_value::<$name>()?,)+))
            }
        }
    };
}

/// The types of a tuple with exactly `count` elements.
fn element_types<T>(cql_type: &CqlType, count: usize) -> Result<&[CqlType], ValueError> {
    match cql_type {
        CqlType::Tuple(types) if types.len() == count => Ok(types),
        _ => Err(ValueError::mismatch::<T>(cql_type)),
    }
}

/// The next element. A tuple may end early: elements added to its type later are null.
fn element<'a, T>(cql_type: &CqlType, cells: &mut CellReader<'a>) -> Result<Option<&'a [u8]>, ValueError> {
    if cells.rest().is_empty() {
        return Ok(None);
    }
    cells.next_cell().ok_or_else(|| ValueError::new::<T>(ValueErrorKind::Truncated, cql_type))
}

tuple!(1: A 0);
tuple!(2: A 0, B 1);
tuple!(3: A 0, B 1, C 2);
tuple!(4: A 0, B 1, C 2, D 3);
tuple!(5: A 0, B 1, C 2, D 3, E 4);
tuple!(6: A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(7: A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuple!(9: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuple!(10: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuple!(11: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuple!(12: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
tuple!(13: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12);
tuple!(14: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13);
tuple!(15: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14);
tuple!(16: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::NativeType;

    #[test]
    fn a_tuple_keeps_its_nulls_and_may_end_early() {
        let cql_type = CqlType::Tuple(vec![NativeType::Int.into(), NativeType::Text.into()]);
        let mut out = Vec::new();
        (7, None::<&str>).encode(&cql_type, &mut out).unwrap();
        assert_eq!(out, [0, 0, 0, 4, 0, 0, 0, 7, 255, 255, 255, 255]);
        type Pair<'a> = (i32, Option<&'a str>);
        assert_eq!(Pair::decode(&cql_type, Some(&out)), Ok((7, None)));
        assert_eq!(Pair::decode(&cql_type, Some(&out[..8])), Ok((7, None)));
        assert!(Pair::decode(&cql_type, Some(&out[..10])).is_err());
    }
}
