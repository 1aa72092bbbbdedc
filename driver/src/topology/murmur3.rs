//! The hash of Cassandra's `Murmur3Partitioner`.
//!
//! It hashes the serialized partition key with MurmurHash3 x64/128, keeps the first half, and reads input bytes as
//! *signed*, which differs from the published algorithm for bytes above 127.
//!
//! # Source
//!
//! MurmurHash3 (Austin Appleby, public domain), `org.apache.cassandra.utils.MurmurHash` for the signed bytes, and
//! `Murmur3Partitioner.getToken` for the two special cases (the empty key, and the excluded minimum).

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The token of a serialized partition key.
pub(super) fn token_of(key: &[u8]) -> i64 {
    if key.is_empty() {
        return i64::MIN;
    }
    let hash = first_half(key);
    // The minimum is not a legal token of a key: it marks the start of the ring.
    if hash == i64::MIN { i64::MAX } else { hash }
}

fn first_half(key: &[u8]) -> i64 {
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
            assert_eq!(token_of(key), token, "key {key:?}");
        }
    }

    #[test]
    fn empty_key_has_the_minimum_token() {
        assert_eq!(token_of(b""), i64::MIN);
    }
}
