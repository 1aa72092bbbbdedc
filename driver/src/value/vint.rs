//! Variable-length integers, as durations and vectors use them.
//!
//! The number of leading one bits of the first byte is the number of bytes that follow.
//!
//! # Source
//!
//! Native protocol v5, section 3 (`[unsigned vint]`, `[vint]`).

/// Appends an unsigned variable-length integer of one to nine bytes.
pub(super) fn write_unsigned(value: u64, out: &mut Vec<u8>) {
    let significant_bits = (64 - (value | 1).leading_zeros()) as usize;
    // Each byte spends one bit on the length, up to nine bytes for anything above 56 bits.
    let extra = if significant_bits > 56 { 8 } else { (significant_bits - 1) / 7 };
    let bytes = value.to_be_bytes();
    let mask = match extra {
        8 => 0xFF,
        extra => !(0xFFu8 >> extra),
    };
    if extra == 8 {
        out.push(mask);
        out.extend_from_slice(&bytes);
    } else {
        out.push(mask | bytes[7 - extra]);
        out.extend_from_slice(&bytes[8 - extra..]);
    }
}

/// Splits an unsigned variable-length integer off the front of `bytes`.
pub(super) fn read_unsigned(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let extra = first.leading_ones() as usize;
    let (tail, rest) = rest.split_at_checked(extra)?;
    let head = if extra >= 7 { 0 } else { u64::from(first & (0xFF >> (extra + 1))) };
    let value = tail.iter().fold(head, |value, &byte| (value << 8) | u64::from(byte));
    Some((value, rest))
}

/// Appends a signed variable-length integer (zigzag).
pub(super) fn write_signed(value: i64, out: &mut Vec<u8>) {
    write_unsigned(((value << 1) ^ (value >> 63)) as u64, out);
}

/// Splits a signed variable-length integer (zigzag) off the front of `bytes`.
pub(super) fn read_signed(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (raw, rest) = read_unsigned(bytes)?;
    Some((((raw >> 1) as i64) ^ -((raw & 1) as i64), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unsigned(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write_unsigned(value, &mut out);
        out
    }

    #[test]
    fn lengths_change_at_multiples_of_seven_bits() {
        assert_eq!(unsigned(0), [0]);
        assert_eq!(unsigned(127), [0x7F]);
        assert_eq!(unsigned(128), [0x80, 0x80]);
        // The specification's example: 256000 is 11000011 11101000 00000000.
        assert_eq!(unsigned(256_000), [0xC3, 0xE8, 0x00]);
        assert_eq!(unsigned((1 << 56) - 1).len(), 8);
        assert_eq!(unsigned(1 << 56).len(), 9);
        assert_eq!(unsigned(u64::MAX), [0xFF; 9]);
    }

    proptest! {
        #[test]
        fn integers_survive_the_round_trip(value in any::<i64>(), shift in 0u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            write_signed(value, &mut out);
            prop_assert_eq!(read_signed(&out), Some((value, &[][..])));
            prop_assert_eq!(read_signed(&out[..out.len() - 1]), None);
        }
    }
}
