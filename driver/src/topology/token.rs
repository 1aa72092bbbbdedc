//! Tokens: positions on the ring, and the lists of them that nodes own.
//!
//! No cluster has tokens of two kinds, so lists keep what the tokens of one kind consist of: large clusters have tens
//! of thousands of them.

use std::fmt;
use std::sync::Arc;

use super::{Partitioner, murmur3};

/// A position on the ring, of the kind that the cluster's partitioner computes.
///
/// Printed as Cassandra prints it in `system.local` and `nodetool ring`. Tokens of different kinds have no order that
/// means anything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Token {
    /// Of `Murmur3Partitioner`.
    Murmur3(i64),
    /// Of `RandomPartitioner`: 0 to 2^127.
    Random(u128),
    /// Of `ByteOrderedPartitioner`: the serialized partition key itself.
    ByteOrdered(Arc<[u8]>),
}

impl Token {
    /// The token that `Murmur3Partitioner` computes for a serialized partition key; for a composite key see
    /// [`compose_routing_key`](super::compose_routing_key). Other partitioners: [`Partitioner::token_of`].
    #[must_use]
    pub fn murmur3_of(key: &[u8]) -> i64 {
        murmur3::token_of(key)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Murmur3(token) => token.fmt(f),
            Self::Random(token) => token.fmt(f),
            Self::ByteOrdered(key) => key.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// The tokens of one node, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens(pub(super) TokenList);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenList {
    Murmur3(Arc<[i64]>),
    Random(Arc<[u128]>),
    ByteOrdered(Arc<[Arc<[u8]>]>),
}

impl Tokens {
    /// Reads the texts of `system.local.tokens` or its like. What the partitioner cannot have written is left out, so
    /// there is nothing left of tokens of an unknown partitioner.
    pub(crate) fn parse(partitioner: Partitioner, texts: &[&str]) -> Self {
        let texts = texts.iter().copied();
        match partitioner {
            Partitioner::Murmur3 => Self::murmur3(texts.filter_map(parse_murmur3).collect()),
            Partitioner::Random => Self(TokenList::Random(sorted(texts.filter_map(parse_random).collect()))),
            Partitioner::ByteOrdered => Self(TokenList::ByteOrdered(sorted(texts.filter_map(parse_bytes).collect()))),
            Partitioner::Other => Self::murmur3(Vec::new()),
        }
    }

    pub(super) fn murmur3(tokens: Vec<i64>) -> Self {
        Self(TokenList::Murmur3(sorted(tokens)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            TokenList::Murmur3(tokens) => tokens.len(),
            TokenList::Random(tokens) => tokens.len(),
            TokenList::ByteOrdered(tokens) => tokens.len(),
        }
    }

    /// Whether there are none, which is so with a partitioner that this driver does not know.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Token> {
        (0..self.len()).map(|position| match &self.0 {
            TokenList::Murmur3(tokens) => Token::Murmur3(tokens[position]),
            TokenList::Random(tokens) => Token::Random(tokens[position]),
            TokenList::ByteOrdered(tokens) => Token::ByteOrdered(Arc::clone(&tokens[position])),
        })
    }
}

fn sorted<T: Ord>(mut tokens: Vec<T>) -> Arc<[T]> {
    tokens.sort_unstable();
    tokens.into()
}

/// Reads a token as Cassandra prints it; `None` if the partitioner prints none like it.
pub(super) fn parse(partitioner: Partitioner, text: &str) -> Option<Token> {
    match partitioner {
        Partitioner::Murmur3 => parse_murmur3(text).map(Token::Murmur3),
        Partitioner::Random => parse_random(text).map(Token::Random),
        Partitioner::ByteOrdered => parse_bytes(text).map(Token::ByteOrdered),
        Partitioner::Other => None,
    }
}

fn parse_murmur3(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (is_negative, digits) = match bytes.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, bytes),
    };
    // A large cluster has tens of thousands of tokens. No 19 digits overflow 64 bits, so only the result is checked.
    if digits.is_empty() || digits.len() > 19 {
        return text.parse().ok();
    }
    let mut magnitude = 0_u64;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(value);
    }
    if is_negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

fn parse_random(text: &str) -> Option<u128> {
    let is_token = |token: &u128| *token <= 1 << 127;
    text.parse().ok().filter(is_token)
}

/// Reads hexadecimal digits.
fn parse_bytes(text: &str) -> Option<Arc<[u8]>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_the_standard_library_reads_numbers() {
        let texts = [
            "0",
            "-0",
            "+7",
            "-1",
            "",
            "-",
            "+",
            "1a",
            "a1",
            " 1",
            "--1",
            "1-",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "9999999999999999999",
            "00000000000000000000001",
            "99999999999999999999",
            "-99999999999999999999",
        ];
        for text in texts {
            assert_eq!(parse_murmur3(text), text.parse().ok(), "{text:?}");
        }
    }

    #[test]
    fn tokens_are_printed_as_they_are_read() {
        let cases = [
            (Partitioner::Murmur3, "-9223372036854775808"),
            (Partitioner::Random, "0"),
            (Partitioner::Random, "170141183460469231731687303715884105728"),
            (Partitioner::ByteOrdered, ""),
            (Partitioner::ByteOrdered, "00ff7a"),
        ];
        for (partitioner, text) in cases {
            assert_eq!(partitioner.parse_token(text).map(|token| token.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_a_partitioner_does_not_print_is_no_token_of_it() {
        let cases = [
            (Partitioner::Murmur3, "ff"),
            (Partitioner::Random, "-1"),
            (Partitioner::Random, "170141183460469231731687303715884105729"),
            (Partitioner::ByteOrdered, "0"),
            (Partitioner::ByteOrdered, "0g"),
            (Partitioner::ByteOrdered, "é"),
            (Partitioner::Other, "1"),
        ];
        for (partitioner, text) in cases {
            assert_eq!(partitioner.parse_token(text), None, "{partitioner:?} {text:?}");
        }
    }

    #[test]
    fn tokens_of_a_node_are_sorted_whatever_their_kind() {
        let printed = |partitioner, texts: &[&str]| {
            Tokens::parse(partitioner, texts).iter().map(|token| token.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(printed(Partitioner::Murmur3, &["5", "-7", "x"]), ["-7", "5"]);
        assert_eq!(printed(Partitioner::Random, &["50", "7"]), ["7", "50"]);
        assert_eq!(printed(Partitioner::ByteOrdered, &["80", "7fff", "7f"]), ["7f", "7fff", "80"]);
        assert!(Tokens::parse(Partitioner::Other, &["1"]).is_empty());
    }
}
