//! Values of one fixed or free length: booleans, integers, floats, text, blobs, UUIDs, addresses.
//!
//! # Source
//!
//! Native protocol v5, section 6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use uuid::Uuid;

use super::decode::{exactly, not_null};
use super::{CqlType, DecodeValue, EncodeValue, NativeType, ValueError, ValueErrorKind};

/// A value whose big-endian bytes are its encoding.
macro_rules! big_endian_scalar {
    ($rust:ty: $($native:ident)|+) => {
        impl EncodeValue for $rust {
            fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
                <Self as DecodeValue>::check(cql_type)?;
                out.extend_from_slice(&self.to_be_bytes());
                Ok(())
            }
        }

        impl<'a> DecodeValue<'a> for $rust {
            fn check(cql_type: &CqlType) -> Result<(), ValueError> {
                match cql_type {
                    CqlType::Native($(NativeType::$native)|+) => Ok(()),
                    _ => Err(ValueError::mismatch::<Self>(cql_type)),
                }
            }

            #[inline]
            fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
                exactly::<Self, { size_of::<$rust>() }>(cql_type, content).map(Self::from_be_bytes)
            }
        }
    };
}

big_endian_scalar!(i8: Tinyint);
big_endian_scalar!(i16: Smallint);
big_endian_scalar!(i32: Int);
big_endian_scalar!(i64: Bigint | Counter);
big_endian_scalar!(f32: Float);
big_endian_scalar!(f64: Double);

impl EncodeValue for bool {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        <Self as DecodeValue>::check(cql_type)?;
        out.push(u8::from(*self));
        Ok(())
    }
}

impl<'a> DecodeValue<'a> for bool {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Boolean])
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        exactly::<Self, 1>(cql_type, content).map(|[byte]| byte != 0)
    }
}

impl EncodeValue for str {
    fn len_hint(&self) -> usize {
        self.len()
    }

    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        <&str as DecodeValue>::check(cql_type)?;
        if cql_type.is(NativeType::Ascii) && !self.is_ascii() {
            return Err(ValueError::new::<Self>(ValueErrorKind::InvalidText, cql_type));
        }
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }
}

impl EncodeValue for String {
    fn len_hint(&self) -> usize {
        self.len()
    }

    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        self.as_str().encode(cql_type, out)
    }
}

impl<'a> DecodeValue<'a> for &'a str {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Text, NativeType::Ascii])
    }

    #[inline]
    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        match std::str::from_utf8(not_null::<Self>(cql_type, content)?) {
            Ok(text) => Ok(text),
            Err(_) => Err(ValueError::new::<Self>(ValueErrorKind::InvalidText, cql_type)),
        }
    }
}

impl<'a> DecodeValue<'a> for String {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Text, NativeType::Ascii])
    }

    #[inline]
    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        <&str>::decode(cql_type, content).map(str::to_owned)
    }
}

impl EncodeValue for [u8] {
    fn len_hint(&self) -> usize {
        self.len()
    }

    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        accept_bytes::<Self>(cql_type)?;
        out.extend_from_slice(self);
        Ok(())
    }
}

impl<const N: usize> EncodeValue for [u8; N] {
    fn len_hint(&self) -> usize {
        self.len()
    }

    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        self.as_slice().encode(cql_type, out)
    }
}

impl<'a> DecodeValue<'a> for &'a [u8] {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept_bytes::<Self>(cql_type)
    }

    #[inline]
    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        not_null::<Self>(cql_type, content)
    }
}

macro_rules! owned_bytes {
    ($rust:ty, $from:expr) => {
        impl EncodeValue for $rust {
            fn len_hint(&self) -> usize {
                self.len()
            }

            fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
                let bytes: &[u8] = self;
                bytes.encode(cql_type, out)
            }
        }

        impl<'a> DecodeValue<'a> for $rust {
            fn check(cql_type: &CqlType) -> Result<(), ValueError> {
                accept_bytes::<Self>(cql_type)
            }

            #[inline]
            fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
                not_null::<Self>(cql_type, content).map($from)
            }
        }
    };
}

owned_bytes!(Vec<u8>, <[u8]>::to_vec);
owned_bytes!(Bytes, Bytes::copy_from_slice);

impl EncodeValue for Uuid {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        <Self as DecodeValue>::check(cql_type)?;
        // The server checks this too, but its answer would not name the variable.
        if cql_type.is(NativeType::Timeuuid) && self.get_version_num() != 1 {
            return Err(ValueError::new::<Self>(ValueErrorKind::OutOfRange, cql_type));
        }
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }
}

impl<'a> DecodeValue<'a> for Uuid {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Uuid, NativeType::Timeuuid])
    }

    #[inline]
    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        exactly::<Self, 16>(cql_type, content).map(Self::from_bytes)
    }
}

impl EncodeValue for IpAddr {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        <Self as DecodeValue>::check(cql_type)?;
        match self {
            Self::V4(address) => out.extend_from_slice(&address.octets()),
            Self::V6(address) => out.extend_from_slice(&address.octets()),
        }
        Ok(())
    }
}

impl<'a> DecodeValue<'a> for IpAddr {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Inet])
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        let bytes = not_null::<Self>(cql_type, content)?;
        if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
            return Ok(Ipv4Addr::from(octets).into());
        }
        exactly::<Self, 16>(cql_type, content).map(|octets| Ipv6Addr::from(octets).into())
    }
}

/// Accepts the listed native types for the Rust type `T`.
pub(super) fn accept<T: ?Sized>(cql_type: &CqlType, natives: &[NativeType]) -> Result<(), ValueError> {
    match cql_type {
        CqlType::Native(native) if natives.contains(native) => Ok(()),
        _ => Err(ValueError::mismatch::<T>(cql_type)),
    }
}

fn accept_bytes<T: ?Sized>(cql_type: &CqlType) -> Result<(), ValueError> {
    match cql_type {
        CqlType::Native(NativeType::Blob) | CqlType::Custom(_) => Ok(()),
        _ => Err(ValueError::mismatch::<T>(cql_type)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content<T: EncodeValue + ?Sized>(value: &T, native: NativeType) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&native.into(), &mut out).expect("fits");
        out
    }

    #[test]
    fn scalars_have_the_bytes_of_the_specification() {
        assert_eq!(content(&-2i8, NativeType::Tinyint), [0xFE]);
        assert_eq!(content(&258i16, NativeType::Smallint), [1, 2]);
        assert_eq!(content(&-1i32, NativeType::Int), [0xFF; 4]);
        assert_eq!(content(&1i64, NativeType::Counter), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(content(&1.0f32, NativeType::Float), [0x3F, 0x80, 0, 0]);
        assert_eq!(content(&true, NativeType::Boolean), [1]);
        assert_eq!(content("é", NativeType::Text), [0xC3, 0xA9]);
        assert_eq!(content(&IpAddr::from([10, 0, 1, 2]), NativeType::Inet), [10, 0, 1, 2]);
    }

    #[test]
    fn an_integer_of_the_wrong_width_is_refused_both_ways() {
        let bigint = CqlType::from(NativeType::Bigint);
        let error = 1i32.encode(&bigint, &mut Vec::new()).expect_err("narrower");
        assert_eq!((error.cql_type(), error.rust_type()), ("bigint", "i32"));
        assert!(<i32 as DecodeValue>::check(&bigint).is_err());
    }

    #[test]
    fn values_of_a_wrong_length_are_errors() {
        let int = CqlType::from(NativeType::Int);
        let error = i32::decode(&int, Some(&[1, 2, 3])).expect_err("three bytes");
        assert_eq!(error.kind(), &ValueErrorKind::WrongLength(3));
        let inet = CqlType::from(NativeType::Inet);
        assert!(IpAddr::decode(&inet, Some(&[1, 2, 3, 4, 5])).is_err());
    }

    #[test]
    fn text_outside_its_character_set_is_refused() {
        let ascii = CqlType::from(NativeType::Ascii);
        assert!("é".encode(&ascii, &mut Vec::new()).is_err());
        let text = NativeType::Text.into();
        assert!(<&str>::decode(&text, Some(&[0xFF])).is_err());
        for good in
            ["", "a", "seven b", "eight by", "nine byte", "sixteen bytes ab", "seventeen bytes ab", "né", "\u{7f}\0"]
        {
            assert_eq!(<&str>::decode(&text, Some(good.as_bytes())), Ok(good));
        }
        let mut bytes = *b"a text of more than sixteen bytes";
        for position in 0..bytes.len() {
            let before = std::mem::replace(&mut bytes[position], 0x80);
            assert!(<&str>::decode(&text, Some(&bytes)).is_err(), "{position}");
            bytes[position] = before;
        }
    }
}
