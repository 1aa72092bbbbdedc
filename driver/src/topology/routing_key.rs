//! Partition keys as the bytes that a partitioner turns into a token.
//!
//! # Source
//!
//! `CompositeType` of Apache Cassandra, whose serialized form the tokens of composite partition keys are computed from.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
