//! Tokens: the position of a partition on the ring.
//!
//! Cassandra's Murmur3Partitioner hashes the serialized partition key with MurmurHash3 x64/128, keeps the first half,
//! and reads input bytes as *signed*, which differs from the published algorithm for bytes above 127.
//!
//! # Source
//!
//! MurmurHash3 (Austin Appleby, public domain), `org.apache.cassandra.utils.MurmurHash` for the signed bytes, and
//! `Murmur3Partitioner.getToken` for the two special cases (the empty key, and the excluded minimum).

/// A position on the ring of the Murmur3 partitioner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(i64);

impl Token {
    /// Builds a token from the number Cassandra prints.
    #[must_use]
    pub fn new(value: i64) -> Self {
        Self(value)
    }

    /// Hashes a serialized partition key; for a composite key see [`compose_routing_key`].
    #[must_use]
    pub fn of_partition_key(key: &[u8]) -> Self {
        if key.is_empty() {
            return Self(i64::MIN);
        }
        let hash = murmur3_first_half(key);
        // The minimum is not a legal token of a key: it marks the start of the ring.
        Self(if hash == i64::MIN { i64::MAX } else { hash })
    }

    /// Reads the decimal text of `system.local.tokens`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (is_negative, digits) = match bytes.split_first() {
            Some((b'-', digits)) => (true, digits),
            Some((b'+', digits)) => (false, digits),
            _ => (false, bytes),
        };
        // A large cluster has tens of thousands of tokens. No 19 digits overflow 64 bits, so only the result is checked.
        if digits.is_empty() || digits.len() > 19 {
            return text.parse().ok().map(Self);
        }
        let mut magnitude = 0_u64;
        for digit in digits {
            let value = digit.wrapping_sub(b'0');
            if value > 9 {
                return None;
            }
            magnitude = magnitude * 10 + u64::from(value);
        }
        let value = if is_negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
        value.map(Self)
    }

    /// The number Cassandra prints.
    #[must_use]
    pub fn value(self) -> i64 {
        self.0
    }
}

/// A partition key component too long for a composite key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutingKeyError {
    /// Bytes in the component; the limit is 65,535.
    pub component_len: usize,
}

impl std::fmt::Display for RoutingKeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a partition key component has {} bytes; the limit is 65535", self.component_len)
    }
}

impl std::error::Error for RoutingKeyError {}

/// Joins the components of a partition key into the bytes that are hashed, appending them to `out`.
///
/// One component is used as it is; several are each written as length (two bytes), content, and a zero byte.
///
/// # Errors
///
/// [`RoutingKeyError`] if one of several components is longer than its two-byte length can say; `out` is then
/// unspecified.
pub fn compose_routing_key(components: &[&[u8]], out: &mut Vec<u8>) -> Result<(), RoutingKeyError> {
    if let [single] = components {
        out.extend_from_slice(single);
        return Ok(());
    }
    for component in components {
        let len = u16::try_from(component.len()).map_err(|_| RoutingKeyError { component_len: component.len() })?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(component);
        out.push(0);
    }
    Ok(())
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

fn murmur3_first_half(key: &[u8]) -> i64 {
    let mut h1 = 0_u64;
    let mut h2 = 0_u64;
    let (blocks, tail) = key.as_chunks::<16>();
    for block in blocks {
        let value = u128::from_le_bytes(*block);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the block are wanted")]
        let (low, high) = (value as u64, (value >> 64) as u64);
        h1 ^= mix_k1(low);
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix_k2(high);
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (low, high) = tail.split_at(tail.len().min(8));
    if !high.is_empty() {
        h2 ^= mix_k2(signed_tail(high));
    }
    if !low.is_empty() {
        h1 ^= mix_k1(signed_tail(low));
    }
    let len = key.len() as u64;
    h1 ^= len;
    h2 ^= len;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finalize(h1);
    h2 = finalize(h2);
    h1.wrapping_add(h2).cast_signed()
}

/// Joins up to eight tail bytes, each sign-extended before it is shifted, as Cassandra does.
fn signed_tail(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .enumerate()
        .fold(0, |joined, (position, byte)| joined ^ (i64::from(byte.cast_signed()).cast_unsigned() << (8 * position)))
}

fn mix_k1(block: u64) -> u64 {
    block.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix_k2(block: u64) -> u64 {
    block.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finalize(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_have_the_tokens_cassandra_computes() {
        let long = [0x00, 0xff, 0x10, 0xfa, 0x99].repeat(10);
        let cases: [(&[u8], i64); 5] = [
            (b"123", -7_468_325_962_851_647_638),
            (&long, 5_837_342_703_291_459_765),
            (&[0xfe; 8], -8_927_430_733_708_461_935),
            (&[0x10; 8], 1_446_172_840_243_228_796),
            (b"9223372036854775807", 7_162_290_910_810_015_547),
        ];

        for (key, token) in cases {
            assert_eq!(Token::of_partition_key(key), Token::new(token), "key {key:?}");
        }
    }

    #[test]
    fn empty_key_has_the_minimum_token() {
        assert_eq!(Token::of_partition_key(b""), Token::new(i64::MIN));
    }

    #[test]
    fn single_component_is_hashed_without_framing() {
        let mut key = Vec::new();

        compose_routing_key(&[b"abc"], &mut key).unwrap();

        assert_eq!(key, b"abc");
    }

    #[test]
    fn composite_components_carry_their_length_and_a_zero_byte() {
        let mut key = Vec::new();

        compose_routing_key(&[b"ab", b""], &mut key).unwrap();

        assert_eq!(key, [0, 2, b'a', b'b', 0, 0, 0, 0]);
    }

    #[test]
    fn composite_component_longer_than_its_length_field_is_refused() {
        let long = vec![0; 65_536];

        let refused = compose_routing_key(&[&long, b"x"], &mut Vec::new());

        assert_eq!(refused, Err(RoutingKeyError { component_len: 65_536 }));
    }

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
            assert_eq!(Token::parse(text), text.parse().ok().map(Token::new), "{text:?}");
        }
    }
}
