//! MD5, the digest by which Cassandra names statements and schemas.

use md5::{Digest, Md5};

/// The digest of the parts, one after the other.
#[must_use]
pub fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The id of a prepared statement: the digest of keyspace and text, byte for byte.
///
/// The keyspace is left out for a text that names its keyspaces itself, so that its id does not depend on `USE`.
#[must_use]
pub fn statement_id(keyspace: Option<&str>, text: &str) -> [u8; 16] {
    md5(&[keyspace.unwrap_or_default().as_bytes(), text.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_ids_are_the_digest_of_keyspace_and_text() {
        // RFC 1321, appendix A.5.
        assert_eq!(
            md5(&[b"message ", b"digest"]),
            [0xf9, 0x6b, 0x69, 0x7d, 0x7c, 0xb7, 0x93, 0x8d, 0x52, 0x5a, 0x2f, 0x31, 0xaa, 0xf1, 0x61, 0xd0]
        );
        assert_eq!(statement_id(Some("ks"), "SELECT"), statement_id(None, "ksSELECT"));
    }
}
