//! How a cluster turns partition keys into tokens.
//!
//! # Source
//!
//! `RandomPartitioner.getToken` of Apache Cassandra: the absolute value of the MD5 digest, read as a signed number of
//! 128 bits. `ByteOrderedPartitioner.getToken`: the key, ordered as unsigned bytes.

use md5::{Digest, Md5};

use super::{Token, murmur3, token};

/// A partitioner, by the class that `system.local` names.
///
/// A cluster with a partitioner that is not among these is served as well, but by any of its nodes: requests are not
/// routed to the replicas of their partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    /// `Murmur3Partitioner`, the default since Cassandra 1.2.
    #[default]
    Murmur3,
    /// `RandomPartitioner`, the default before.
    Random,
    /// `ByteOrderedPartitioner`.
    ByteOrdered,
    /// Any other, such as `OrderPreservingPartitioner`.
    Other,
}

impl Partitioner {
    /// Reads the class, with or without its package.
    #[must_use]
    pub fn from_class(class: &str) -> Self {
        match class.rsplit('.').next() {
            Some("Murmur3Partitioner") => Self::Murmur3,
            Some("RandomPartitioner") => Self::Random,
            Some("ByteOrderedPartitioner") => Self::ByteOrdered,
            _ => Self::Other,
        }
    }

    /// The token of a serialized partition key, see [`compose_routing_key`](super::compose_routing_key); `None` with
    /// a partitioner that this driver does not know.
    #[must_use]
    pub fn token_of(self, partition_key: &[u8]) -> Option<Token> {
        match self {
            Self::Murmur3 => Some(Token::Murmur3(murmur3::token_of(partition_key))),
            Self::Random => Some(Token::Random(random_token_of(partition_key))),
            Self::ByteOrdered => Some(Token::ByteOrdered(partition_key.into())),
            Self::Other => None,
        }
    }

    /// Reads a token as Cassandra prints it; `None` if this partitioner prints none like it.
    #[must_use]
    pub fn parse_token(self, text: &str) -> Option<Token> {
        token::parse(self, text)
    }
}

/// The token that `RandomPartitioner` computes.
pub(super) fn random_token_of(key: &[u8]) -> u128 {
    i128::from_be_bytes(Md5::digest(key).into()).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_have_the_tokens_that_the_random_partitioner_of_cassandra_computes() {
        // As Cassandra 5.0.8 answered SELECT token(id).
        let cases: [(&[u8], u128); 6] = [
            (b"123", 42_767_516_990_368_493_138_776_584_305_024_125_808),
            (&[0x10; 8], 17_463_206_225_813_327_117_395_299_609_398_616_914),
            (&[0xfe; 8], 91_310_007_375_721_992_880_667_982_194_184_998_559),
            (b"9223372036854775807", 28_528_976_619_278_518_853_815_276_204_542_453_639),
            (b"\0", 143_927_757_573_010_354_572_009_627_285_182_898_319),
            (b"helenus", 136_181_432_958_184_890_703_401_179_835_776_595_166),
        ];
        for (key, token) in cases {
            assert_eq!(Partitioner::Random.token_of(key), Some(Token::Random(token)), "key {key:?}");
        }
    }

    #[test]
    fn a_partitioner_is_known_by_its_class_with_or_without_the_package() {
        let cases = [
            ("org.apache.cassandra.dht.Murmur3Partitioner", Partitioner::Murmur3),
            ("RandomPartitioner", Partitioner::Random),
            ("org.apache.cassandra.dht.ByteOrderedPartitioner", Partitioner::ByteOrdered),
            ("org.apache.cassandra.dht.OrderPreservingPartitioner", Partitioner::Other),
            ("", Partitioner::Other),
        ];
        for (class, partitioner) in cases {
            assert_eq!(Partitioner::from_class(class), partitioner, "{class}");
        }
    }
}
