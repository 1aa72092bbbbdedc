//! What one replica stores: cells with timestamps, tombstones and TTLs, merged by last write wins.
//!
//! Synchronous and pure; partitions are kept in token order. Cassandra's rules are in section 3.9 of the research:
//! ties, liveness of rows, collection tombstones, TTL as expiry. Every merge is commutative, associative and
//! idempotent, so it does not matter in which order or how often a mutation arrives.

mod answer;
mod cell;
mod command;
mod mutation;
mod partition;
mod store;

pub use answer::ReadAnswer;
pub use cell::{Cell, ColumnData, Complex, NEVER, NO_DELETION};
pub use command::{Position, ReadCommand, ReadTarget, Slice};
pub use mutation::Mutation;
pub use partition::{Liveness, Partition, RangeTombstone, Row};
pub use store::Store;

use bytes::Bytes;

/// A serialised partition key: the one component, or length + bytes + 0x00 per component.
pub type PartitionKey = Bytes;

/// A column's identity within its table's stored data: a hash of its name, so that adding and dropping other columns
/// moves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnId(pub u64);

impl ColumnId {
    /// The id of the column with this unquoted name (64-bit FNV-1a).
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(
            name.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)),
        )
    }
}
