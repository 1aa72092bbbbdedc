//! The paging state: where a page ended, in bytes that a client hands back.
//!
//! Version byte, last partition key, last clustering key, remaining limits, checksum. What a client made up is
//! refused as Cassandra does.

use crate::protocol::ServerError;
use crate::storage::Position;
use bytes::{Buf, BufMut, Bytes, BytesMut};

const VERSION: u8 = 1;

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagingState {
    /// The last row read.
    pub position: Position,
    /// How many rows the statement's LIMIT still allows; `u32::MAX` if it has none.
    pub remaining: u32,
    /// How many rows of the last partition were answered: for PER PARTITION LIMIT.
    pub in_partition: u32,
}

impl PagingState {
    /// The state in bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.put_u32(u32::try_from(self.position.key.len()).unwrap_or(u32::MAX));
        out.put_slice(&self.position.key);
        match &self.position.clustering {
            None => out.put_i32(-1),
            Some(clustering) => {
                out.put_i32(i32::try_from(clustering.len()).unwrap_or(i32::MAX));
                out.put_slice(clustering);
            }
        }
        out.put_u32(self.remaining);
        out.put_u32(self.in_partition);
        let checksum = crc32fast::hash(&out);
        out.put_u32(checksum);
        out.freeze()
    }

    /// Reads a client's bytes.
    ///
    /// # Errors
    ///
    /// [`ServerError::Protocol`] for anything that [`PagingState::encode`] did not write.
    pub fn decode(bytes: &Bytes) -> Result<Self, ServerError> {
        Self::read(bytes).ok_or_else(|| ServerError::Protocol("Invalid value for the paging state".to_owned()))
    }

    fn read(bytes: &Bytes) -> Option<Self> {
        let body_len = bytes.len().checked_sub(4)?;
        let (mut body, mut tail) = (bytes.slice(..body_len), bytes.slice(body_len..));
        (crc32fast::hash(&body) == tail.get_u32()).then_some(())?;
        (body.try_get_u8().ok()? == VERSION).then_some(())?;
        let length = body.try_get_u32().ok()? as usize;
        let key = (length <= body.len()).then(|| body.split_to(length))?;
        let clustering = match usize::try_from(body.try_get_i32().ok()?) {
            Err(_) => None,
            Ok(length) => Some((length <= body.len()).then(|| body.split_to(length))?),
        };
        let (remaining, in_partition) = (body.try_get_u32().ok()?, body.try_get_u32().ok()?);
        body.is_empty().then_some(Self { position: Position { key, clustering }, remaining, in_partition })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn states_survive_their_bytes(key: Vec<u8>, clustering: Option<Vec<u8>>, remaining: u32, in_partition: u32) {
            let position = Position { key: key.into(), clustering: clustering.map(Bytes::from) };
            let state = PagingState { position, remaining, in_partition };
            prop_assert_eq!(PagingState::decode(&state.encode()), Ok(state));
        }

        #[test]
        fn made_up_bytes_are_a_protocol_error(bytes: Vec<u8>) {
            prop_assert!(matches!(PagingState::decode(&Bytes::from(bytes)), Err(ServerError::Protocol(_))));
        }
    }
}
