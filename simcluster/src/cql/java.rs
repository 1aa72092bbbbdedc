//! The order in which Java's `HashMap` goes through names, where Cassandra lets it decide what is told first.

/// The hash of a `ByteBuffer` with these bytes, which is that of a column's name.
fn hash_of_bytes(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(1_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add((*byte as i8) as u32))
}

/// The hash of a `String`.
fn hash_of_string(text: &str) -> u32 {
    text.encode_utf16().fold(0, |hash: u32, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
}

/// The places of these columns' names, in the order in which a `HashMap` that took them one by one goes through them.
#[must_use]
pub fn hash_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    places_by_hash(names.map(|name| hash_of_bytes(name.as_bytes())))
}

/// The same of names that are kept as a `String`.
#[must_use]
pub fn string_hash_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    places_by_hash(names.map(hash_of_string))
}

fn places_by_hash(hashes: impl Iterator<Item = u32>) -> Vec<usize> {
    let hashes: Vec<u32> = hashes.map(|hash| hash ^ (hash >> 16)).collect();
    // A table of 16 places doubles when it is three quarters full.
    let mut places = 16;
    while hashes.len() * 4 > places * 3 {
        places *= 2;
    }
    let mut order: Vec<usize> = (0..hashes.len()).collect();
    // Names of one place stay in the order in which they came.
    order.sort_by_key(|index| hashes[*index] as usize & (places - 1));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_the_order_of_a_java_hash_map() {
        // 'v' is 149 and 'k' is 138: places 5 and 10 of 16.
        assert_eq!(hash_order(["k", "v"].into_iter()), [1, 0]);
        assert_eq!(hash_order(["p", "a", "b"].into_iter()), [1, 2, 0]);
        assert_eq!(string_hash_order(["v1", "v2", "x"].into_iter()), [2, 0, 1]);
    }
}
