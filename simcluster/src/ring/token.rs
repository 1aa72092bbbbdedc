//! Tokens: Cassandra's Murmur3Partitioner.
//!
//! The partitioner takes the first 64 bits of MurmurHash3 x64/128, seed 0, of the serialised partition key, in a
//! variant that reads the tail bytes as *signed*. Other implementations of MurmurHash3 differ from it on every key
//! whose tail has a byte above 0x7f.
//!
//! # Source
//!
//! Research on cluster fidelity, section 3.9.

/// A position on the ring, as Murmur3Partitioner computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub i64);

impl Token {
    /// The lowest position. No key but the empty one has it: as the end of an arc it means the end of the ring.
    pub const MIN: Self = Self(i64::MIN);

    /// The token of a serialised partition key (Cassandra's Murmur3 variant; the empty key is `i64::MIN`).
    #[must_use]
    pub fn of_key(partition_key: &[u8]) -> Self {
        if partition_key.is_empty() {
            return Self::MIN;
        }
        let hash = murmur3_first_half(partition_key);
        // The minimum is reserved for the empty key.
        Self(if hash == i64::MIN { i64::MAX } else { hash })
    }
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The first 64 bits of MurmurHash3 x64/128 with sign-extended tail bytes.
fn murmur3_first_half(key: &[u8]) -> i64 {
    let (mut h1, mut h2) = (0u64, 0u64);
    let (blocks, tail) = key.as_chunks::<16>();
    for block in blocks {
        let (k1, k2) = halves(block);
        h1 ^= scramble_1(k1);
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= scramble_2(k2);
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }

    let (mut k1, mut k2) = (0u64, 0u64);
    for (position, byte) in tail.iter().enumerate() {
        // Sign extension smears a byte above 0x7f over all higher bytes: that is the variant.
        let extended = i64::from(byte.cast_signed()).cast_unsigned();
        if position < 8 {
            k1 ^= extended << (8 * position);
        } else {
            k2 ^= extended << (8 * (position - 8));
        }
    }
    h1 ^= scramble_1(k1);
    h2 ^= scramble_2(k2);

    let length = key.len() as u64;
    h1 ^= length;
    h2 ^= length;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finalise(h1);
    h2 = finalise(h2);
    h1.wrapping_add(h2).cast_signed()
}

fn halves(block: &[u8; 16]) -> (u64, u64) {
    let whole = u128::from_le_bytes(*block);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of 128 bits")]
    (whole as u64, (whole >> 64) as u64)
}

fn scramble_1(k: u64) -> u64 {
    k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn scramble_2(k: u64) -> u64 {
    k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finalise(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn tokens_are_those_that_real_clusters_compute() {
        let high_bytes = [0x00, 0xff, 0x10, 0xfa, 0x99].repeat(10);
        let rows: [(&[u8], i64); 5] = [
            (b"123", -7_468_325_962_851_647_638),
            (&high_bytes, 5_837_342_703_291_459_765),
            (&[0xfe; 8], -8_927_430_733_708_461_935),
            (&[0x10; 8], 1_446_172_840_243_228_796),
            (b"9223372036854775807", 7_162_290_910_810_015_547),
        ];
        for (key, token) in rows {
            assert_eq!(Token::of_key(key), Token(token), "key {key:02x?}");
        }
    }

    #[test]
    fn empty_key_has_the_lowest_token() {
        assert_eq!(Token::of_key(b""), Token(i64::MIN));
    }

    #[test]
    fn tail_bytes_above_0x7f_are_hashed_for_every_tail_length() {
        let mut seen = std::collections::BTreeSet::new();
        for length in 1..=33 {
            seen.insert(Token::of_key(&vec![0xf1; length]));
        }
        assert_eq!(seen.len(), 33);
    }
}
